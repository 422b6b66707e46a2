"""The settings and their sources, the key, the project and the endpoint.

This package reads the files and environment variables that they come from.
"""

from __future__ import annotations

from .address import check_endpoint, port_of
from .credentials import KeySearch, notebook_secrets, resolve_key, resolve_server_key, secrets_in
from .endpoint import Endpoint, is_wandb, origin_of
from .files import (
    absolute,
    cache_folder,
    check_file,
    copy_permissions,
    expanded,
    flush_to_disk,
    how_to_write,
    is_disk_full,
    on_disk,
    read_file,
    replace_file,
    working_folder,
)
from .key import TYPED, Key, check_key
from .locks import LOCK_SECONDS, wait_for_lock
from .project import PROJECT_VARIABLE, check_project, ignored_project
from .proxies import CERTIFICATES, Proxy, find_proxy, named_certificates, names_proxies
from .settings import (
    BUDGETS,
    CONCURRENCY,
    DEFAULT,
    FEED_URL,
    FILE,
    INTO,
    MODES,
    PACES,
    SECONDS,
    SESSION,
    SETTING_NAMES,
    TEMPERATURES,
    WANDB_URL,
    Mode,
    Pace,
    Resolved,
    WandbInference,
    check_trace,
    one_of,
    setting_named,
)
