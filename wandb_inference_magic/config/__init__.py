"""The settings and their sources, the key, the project and the endpoint.

This package reads the files and environment variables that they come from.
"""

from __future__ import annotations

from .address import check_endpoint as check_endpoint, port_of as port_of
from .credentials import (
    KeySearch as KeySearch,
    notebook_secrets as notebook_secrets,
    resolve_key as resolve_key,
    resolve_server_key as resolve_server_key,
    secrets_in as secrets_in,
)
from .endpoint import Endpoint as Endpoint, is_wandb as is_wandb
from .files import (
    absolute as absolute,
    cache_folder as cache_folder,
    check_file as check_file,
    expanded as expanded,
    read_file as read_file,
    replace_file as replace_file,
    working_folder as working_folder,
)
from .key import TYPED as TYPED, Key as Key, check_key as check_key
from .project import (
    PROJECT_VARIABLE as PROJECT_VARIABLE,
    check_project as check_project,
    ignored_project as ignored_project,
)
from .proxies import (
    CERTIFICATES as CERTIFICATES,
    Proxy as Proxy,
    find_proxy as find_proxy,
    named_certificates as named_certificates,
    names_proxies as names_proxies,
)
from .settings import (
    BUDGETS as BUDGETS,
    CONCURRENCY as CONCURRENCY,
    DEFAULT as DEFAULT,
    FEED_URL as FEED_URL,
    FILE as FILE,
    INTO as INTO,
    MODES as MODES,
    PACES as PACES,
    SECONDS as SECONDS,
    SESSION as SESSION,
    SETTING_NAMES as SETTING_NAMES,
    TEMPERATURES as TEMPERATURES,
    WANDB_URL as WANDB_URL,
    Mode as Mode,
    Pace as Pace,
    Resolved as Resolved,
    WandbInference as WandbInference,
    check_trace as check_trace,
    one_of as one_of,
    setting_named as setting_named,
)
