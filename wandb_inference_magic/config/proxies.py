"""The proxies that the environment names: whether their addresses can be read, checked without showing any of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# As the HTTP library looks them up, each also in capitals.
SCHEMES: Final = ("http_proxy", "https_proxy", "all_proxy")
_AROUND: Final = re.compile(r"^\s|\s\Z")
# In an address these end the part before the host: what follows would be read as a host, a port or a path.
_ENDS_USER: Final = re.compile(r"[/?#]")


def proxy_fault(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first variable whose proxy cannot be read, and why, in words that show nothing of its value."""
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if "*" in (one.strip() for one in excluded.split(",")):
        return None
    for name in environ:
        if name.lower() in SCHEMES and environ[name] and (fault := _fault(environ[name])):
            return name, fault
    return None


def _fault(address: str) -> str:
    """Return why an address is not that of a proxy; nothing for one that is."""
    if _AROUND.search(address):
        return "It has a blank or a line break before or after it"
    _, separator, rest = address.partition("://")
    user_part, at, host = (rest if separator else address).rpartition("@")
    if at and _ENDS_USER.search(user_part):
        return "Its user name or password has a character that must be percent-encoded"
    try:
        parts = urlsplit(f"http://{host}")
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    return "" if is_usable else "It is not an address with a host and a port"
