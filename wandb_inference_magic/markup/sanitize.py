"""The one place that makes untrusted text safe as Markdown: `safe_document`, through which every output passes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text import safe_plain
from .check import is_safe, tags_in
from .literal import fenced, safe_inline, with_dollars_apart
from .rewrite import Rewriting

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Markdown from outside, such as a model's reply, as received."""

    text: str


# A part of what is shown together: this package's own Markdown, with texts that `safe_inline` has made literal, or
# untrusted Markdown.
Part = str | Untrusted


def sanitize_markdown(text: str, allow_images_from: Collection[str] = ()) -> str:
    """Return untrusted Markdown with the same look and nothing active in it; see `safe_document`."""
    return safe_document([Untrusted(text)], allow_images_from)


def safe_document(parts: Sequence[Part], allow_images_from: Collection[str] = ()) -> str:
    """Return everything that is shown together as Markdown with nothing active in it. Every output passes through here.

    Parts that are harmless alone may not be harmless together: a maths delimiter in one may pair with one in another.

    Parameters
    ----------
    parts : sequence of str and Untrusted
        The parts, in order. A `str` is trusted and used unchanged.
    allow_images_from : collection of str
        Hosts whose images may load. Other images become links, except small `data:` images.

    Returns
    -------
    str
        Markdown whose untrusted parts have no HTML, no remote images, no links other than to the web, no reference
        definitions and no unclosed code. Ordinary maths (`tex`) has the delimiters that Jupyter renders; any other
        maths is code. Text that cannot be rewritten with certainty is shown as received: in a code block or, if that
        is not certain either, line by line.
    """
    allowed = frozenset(host.lower() for host in allow_images_from)
    parts = [with_dollars_apart(part) if isinstance(part, str) else Untrusted(safe_plain(part.text)) for part in parts]
    tags = tags_in("".join(part for part in parts if isinstance(part, str)))
    candidate = ""
    for attempt in (_rewritten, _rewritten_in_line, _safe_alone, _as_code, _line_by_line):
        if attempt is _safe_alone and len(parts) == 1:
            continue
        with suppress(ValueError):  # among them CannotRewriteError
            candidate = "".join(part if isinstance(part, str) else attempt(part.text, allowed) for part in parts)
            if is_safe(candidate, allowed, tags):
                break
    return candidate


def _rewritten(text: str, allowed: frozenset[str]) -> str:
    return Rewriting(text, allowed).result()


def _rewritten_in_line(text: str, allowed: frozenset[str]) -> str:
    """Rewrite a text, with display maths within a paragraph as inline maths: see `maths.in_line`."""
    return Rewriting(text, allowed, in_line=True).result()


def _safe_alone(text: str, allowed: frozenset[str]) -> str:
    return safe_document([Untrusted(text)], allowed)


def _as_code(text: str, _allowed: frozenset[str]) -> str:
    return fenced(text, "text")


def _line_by_line(text: str, _allowed: frozenset[str]) -> str:
    return with_dollars_apart("  \n".join(map(safe_inline, text.split("\n"))))
