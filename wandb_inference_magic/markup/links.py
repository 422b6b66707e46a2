"""Addresses in Markdown: which may be links, which images may load, and how an address is written."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote, urlsplit

_LINK: Final = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
# What GitHub's Markdown turns into a link by itself. The link continues to the next space, whatever comes before it.
_BARE_LINK: Final = re.compile(r"(?P<scheme>https?|ftp|www)(?P<mark>:(?=//)|\.)", re.IGNORECASE)
MAX_DATA_IMAGE_CHARS: Final = 2_700_000
_DATA_IMAGE: Final = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+", re.IGNORECASE)


def is_link(href: str) -> bool:
    """Whether a link leads to the web, to mail or within the page, ignoring the whitespace that browsers ignore."""
    return bool(_LINK.match(re.sub(r"[\s\x00-\x20]", "", href)))


def host_of(url: str) -> str:
    """Return a URL's host; empty if it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def may_load(url: str, allowed: frozenset[str]) -> bool:
    """Whether an image may load: a small one embedded in the text, or one from an allowed host."""
    if _DATA_IMAGE.fullmatch(url):
        return len(url) <= MAX_DATA_IMAGE_CHARS
    return url.lower().startswith(("http://", "https://")) and host_of(url) in allowed


def linked(shown: str, href: str) -> str:
    """Return safe Markdown as a link if its address leads to the web, or unchanged."""
    return f"[{shown}]({quoted_url(href)})" if is_link(href) else shown


def quoted_url(url: str) -> str:
    """Return a URL in which nothing ends a link's destination or starts maths, code or a table cell."""
    bare = "".join(one for one in url if unicodedata.category(one) not in ("Cc", "Cs"))
    return quote(bare, safe="/:?#@!&'+,;=%-._~*")


def unlinked(text: str) -> str:
    return _BARE_LINK.sub(lambda found: f"{found['scheme']}&#{ord(found['mark'])};", text)
