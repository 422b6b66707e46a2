"""Check whether the addresses of the proxies in the environment can be parsed, without showing the addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# The variables that the HTTP library reads, each also in upper case.
SCHEMES: Final = ("http_proxy", "https_proxy", "all_proxy")
_AROUND: Final = re.compile(r"^\s|\s\Z")
# These characters end the user part of an address. The text after them would be parsed as a host, port or path.
_ENDS_USER: Final = re.compile(r"[/?#]")


def proxy_fault(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first variable whose proxy cannot be parsed, and why. The reason shows no part of the value."""
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if "*" in (one.strip() for one in excluded.split(",")):
        return None
    for name in environ:
        if name.lower() in SCHEMES and environ[name] and (fault := _fault(environ[name])):
            return name, fault
    return None


def _fault(address: str) -> str:
    """Return why an address is not a proxy's, or an empty string if it is."""
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
