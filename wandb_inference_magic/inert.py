"""Whether Markdown does nothing: read as every front end would, HTML enabled, it holds no more than words and links."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .readings import readings
from .reply_parser import accept_any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LARGEST_DATA_IMAGE: Final = 2_000_000
_DATA_IMAGE: Final = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+", re.IGNORECASE)
_LINK: Final = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)


@cache
def _checking_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 60}).enable(["table", "strikethrough"])
    parser.validateLink = accept_any  # type: ignore[method-assign]
    return parser


def is_inert(markdown: str, allowed: frozenset[str]) -> bool:
    """Whether nothing is active in Markdown, with these hosts' images allowed, in any front end's reading."""
    parser = _checking_parser()
    return all(reading is not None and _are_harmless(parser.parse(reading), allowed) for reading in readings(markdown))


def _are_harmless(tokens: list[Token], allowed: frozenset[str]) -> bool:
    return all(_is_harmless(token, allowed) for token in _all_tokens(tokens))


def _all_tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all_tokens(token.children or [])


def _is_harmless(token: Token, allowed: frozenset[str]) -> bool:
    if token.type in ("html_block", "html_inline"):
        return False
    if token.type == "image":
        return may_load(str(token.attrs["src"]), allowed)
    return token.type != "link_open" or is_link(str(token.attrs["href"]))


def is_link(href: str) -> bool:
    """Whether a link leads to the web, to mail or within the page, whatever blanks a browser would ignore."""
    return bool(_LINK.match(re.sub(r"[\s\x00-\x20]", "", href)))


def host_of(url: str) -> str:
    """Return an address's host; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def may_load(url: str, allowed: frozenset[str]) -> bool:
    """Whether an image may load: a small one that the text holds, or one of an allowed host."""
    if _DATA_IMAGE.fullmatch(url):
        return len(url) <= LARGEST_DATA_IMAGE
    return bool(allowed) and url.lower().startswith(("http://", "https://")) and host_of(url) in allowed
