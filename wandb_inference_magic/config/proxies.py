"""Check whether the addresses of the proxies in the environment can be parsed, without showing the addresses."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# The variables that the HTTP library reads, each also in upper case.
SCHEMES: Final = ("http_proxy", "https_proxy", "all_proxy")
# These characters end the user part of an address. The text after them would be parsed as a host, port or path.
ENDS_OF_USER: Final = frozenset("/?#")


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
    if address != address.strip():
        return "It has a blank or a line break before or after it"
    user_part, at, host = address.split("://", 1)[-1].rpartition("@")
    if at and not ENDS_OF_USER.isdisjoint(user_part):
        return "Its user name or password has a character that must be percent-encoded"
    with suppress(ValueError):
        parts = urlsplit(f"http://{host}")
        if parts.hostname and parts.port != 0:
            return ""
    return "It is not an address with a host and a port"
