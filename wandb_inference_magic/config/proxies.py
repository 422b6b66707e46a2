"""Find proxies and certificates in the environment. No message shows a proxy's user name or password."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from re import split, sub
from typing import Final
from urllib.parse import urlsplit

from .address import port_of

# The variables that name certificates. The first one set counts.
CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
KINDS: Final = ("http", "https", "all")
SCHEMES: Final = ("http", "https", "socks5", "socks5h")
# These characters end the user part of an address. The text after them would be parsed as a host, port or path.
ENDS_OF_USER: Final = frozenset("/?#")
# The names of this machine. Excluding one of them excludes all.
HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names: the variable, and the proxy's address, which may hold a password."""

    variable: str
    address: str = field(repr=False)

    @property
    def label(self) -> str:
        """Its name in a message: its host and port, and the variable."""
        host_and_port = self.address.rpartition("@")[2].split("://")[-1].partition("/")[0]
        return f"proxy {host_and_port} in {self.variable}"

    @property
    def fault(self) -> str:
        """Why the address cannot be used, or an empty string if it can. Shows no part of the address."""
        if self.address != self.address.strip():
            return "It has a blank or a line break before or after it"
        if self.address != self.address.strip("\"'"):
            return "It has quotation marks around it"
        scheme, _, rest = self.address.partition("://")
        user_part, at, host = rest.rpartition("@")
        if at and not ENDS_OF_USER.isdisjoint(user_part):
            return "Its user name or password has a character that must be percent-encoded"
        if scheme.lower() not in SCHEMES:
            return f"The HTTP library does not accept it: it begins with none of {', '.join(SCHEMES)}"
        with suppress(ValueError):
            parts = urlsplit(f"http://{host}")
            if parts.hostname and parts.port != 0 and not parts.netloc.endswith(":") and ";" not in parts.netloc:
                return ""
        return "It is not an address with a host and a port"


def names_proxies() -> bool:
    """Return whether the environment, or the system's settings, name a proxy for any address."""
    return any(_settings().get(kind) for kind in KINDS)


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy for a URL, or None if there is none or NO_PROXY excludes the host."""
    given = _settings()
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), port_of(parts)
    kind = next((kind for kind in (parts.scheme, "all") if given.get(kind)), "")
    names = HERE if host in HERE else {host}
    excluded = split(r"[,\s]+", given.get("no", ""))
    if not kind or any(_excludes(entry.lower(), parts.scheme, name, port) for entry in excluded for name in names):
        return None
    address, variable = given[kind], f"{kind}_proxy"
    known = (variable, variable.upper(), *(name for name in os.environ if name.lower() == variable))
    named = next((name for name in known if os.environ.get(name) == address), "the system's settings")
    return Proxy(named, address if "://" in address else f"http://{address}")


def _settings() -> dict[str, str]:
    # Imported on first use: `%load_ext` does not wait for it.
    from urllib.request import getproxies

    return getproxies()


def _excludes(entry: str, scheme: str, host: str, port: int | None) -> bool:
    """Return whether an entry of NO_PROXY names a host: by its name or a domain's, an IP address, a network, a port."""
    named, _, entry = entry.rpartition("://")
    if named not in ("", "all", scheme):
        return False
    with suppress(ValueError):
        return ip_address(host) in ip_network(sub(r"^\[(.*)\](/\d+)?$", r"\1\2", entry), strict=False)
    with suppress(ValueError):
        parts = urlsplit(f"//{entry}")
        name = (parts.hostname or "").removeprefix("*").strip(".")
        is_named = entry == "*" or (bool(name) and not parts.path and f".{host}".endswith(f".{name}"))
        return is_named and parts.port in (None, port)
    return False


def named_certificates() -> str:
    """Return the variable that names the certificates, with its value, or an empty string."""
    return next((f"{name}={os.environ[name]}" for name in CERTIFICATES if os.environ.get(name)), "")
