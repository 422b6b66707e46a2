"""Check the address of an endpoint, and say which one was probably meant."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ..errors import InferenceError, did_you_mean
from ..text import UNSEEN

NAMES: Final = ("wandb", "local", "auto")
# Paths of the service, which are added to an endpoint's URL. Patterns as text: `re` compiles each on its first use.
_SERVICE_PATH: Final = r"(?i)/+(?:chat(?:/+completions)?|completions|responses|embeddings|models)/*$"
_SCHEME: Final = r"(?:([A-Za-z][A-Za-z+.-]*)(?::[/\\]{1,2}|[/\\]{2})|[/\\]{2})?(.*)"
_PLACE: Final = r"(?i)(localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?(?:/[\w.~/-]*)?"
# Without a scheme, other text may be a key.
_HOST: Final = r"localhost|[\d.]+|\[.*|.{1,80}\.[a-z]{2,20}"
_ZONE: Final = r"(?i)(\[[0-9a-f:.]+)%25"
_AROUND: Final = rf"[{UNSEEN}\"'`<>\u2018-\u201f]+"


def check_endpoint(text: str) -> str:
    """Return the endpoint's name or its URL without a trailing slash.

    Raises
    ------
    InferenceError
        When the text is neither `wandb`, `local`, `auto` nor an http(s) URL without a user name, password, query,
        fragment or path of the service.
    """
    # The zone of an IPv6 address as a URL writes it (RFC 6874); the system's look-up takes it as it is.
    text = re.sub(_ZONE, r"\1%", text.strip())
    if text in NAMES:
        return text
    if not (fault := _fault(text)):
        return text.rstrip("/")
    remedy = did_you_mean(text, NAMES)
    if probable := _probable(text):
        remedy = f"Did you mean {probable}?"
    elif not remedy:
        remedy = "A URL looks like https://my-server.example/v1."
    if re.search("[@?#]", text):
        # There may be one in it.
        remedy += " Set the key with %wbconfig --key or WANDB_INFERENCE_API_KEY."
    raise InferenceError(fault, remedy=remedy)


def _fault(text: str) -> str:
    """Return why a text is not the URL of an endpoint; empty if it is one."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in text):
        return "This is not an endpoint: it is neither wandb, local, auto nor an http:// or https:// URL."
    if "@" in text:
        return "An endpoint's URL must not contain a user name or password, because it is shown and saved."
    if "?" in text or "#" in text:
        return "An endpoint's URL ends before any ? or #: the paths of the service are added to it, and it is shown."
    if found := re.search(_SERVICE_PATH, parts.path):
        return f"An endpoint's URL ends before {found[0].rstrip('/')}: the paths of the service are added to it."
    return ""


def _probable(text: str) -> str:
    """Return the URL that was probably meant, without a user name, password or query; empty if none is plausible."""
    scheme, rest = re.findall(_SCHEME, re.sub(_AROUND, "", text))[0]
    scheme = scheme.lower()
    before, _, rest = rest.rpartition("@")
    rest = re.split(r"[?#]", rest)[0].rstrip("/")
    place = re.fullmatch(_PLACE, rest := re.sub(_SERVICE_PATH, "", rest))
    if place is None or "?" in before or "#" in before:
        return ""
    is_host = re.fullmatch(_HOST, place[1])
    if not scheme and not (is_host or place[2]):
        return ""
    is_plain = scheme in ("http", "ws") or (scheme not in ("https", "wss") and (place[2] or re.match(r"[\dl\[]", rest)))
    url = f"{'http' if is_plain else 'https'}://{rest}"
    return "" if _fault(url) else url


def port_of(address: SplitResult) -> int | None:
    """Return the port of a split address: the one that it names, or that of its scheme; None for another scheme.

    Raises
    ------
    ValueError
        When the port that it names is no port.
    """
    return address.port or {"https": 443, "http": 80}.get(address.scheme)
