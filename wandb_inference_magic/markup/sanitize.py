"""The one place that makes untrusted text safe as Markdown: `safe_document`, through which every output passes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from ..text import safe_plain
from .check import is_safe, tags_in
from .literal import dollars_apart, fenced, safe_inline
from .rewrite import CannotRewriteError, Rewriting

# Several drawings of a comparison, in which all columns but one may be as they were.
_KEPT: Final = 16
# Each block that is looked for takes several checks of the whole.
_MAX_NARROWED: Final = 3


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Markdown from outside, such as a model's reply, as received."""

    text: str


# A part of what is shown together: this package's own Markdown, with texts that `safe_inline` has made literal, or
# untrusted Markdown.
DocumentPart = str | Untrusted


def sanitize_markdown(text: str, allow_images_from: Collection[str] = ()) -> str:
    """Return untrusted Markdown with the same look and nothing active in it; see `safe_document`."""
    return _sanitized(text, _hosts(allow_images_from))


def _hosts(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def safe_document(parts: Sequence[DocumentPart], allow_images_from: Collection[str] = ()) -> str:
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
        maths is code. Text that cannot be rewritten with certainty is shown as received: a block of it or all of it in
        a code block or, if that is not certain either, line by line.
    """
    allowed = _hosts(allow_images_from)
    parts = [dollars_apart(part) if isinstance(part, str) else Untrusted(safe_plain(part.text)) for part in parts]
    tags = tags_in("".join(part for part in parts if isinstance(part, str)))
    attempts = [
        partial(_each, parts, lambda text: _joined(_rewritten(text, allowed))),
        # With display maths within a paragraph as inline maths: see `maths.portable.in_line`.
        partial(_each, parts, lambda text: _joined(_rewritten(text, allowed, in_line=True))),
        *([partial(_each, parts, lambda text: _sanitized(text, allowed))] if len(parts) > 1 else []),
        partial(_narrowed, parts, allowed),
        partial(_each, parts, lambda text: fenced(text, "text")),
        partial(_each, parts, _line_by_line),
    ]
    candidate = ""
    for attempt in attempts:
        with suppress(ValueError):  # among them CannotRewriteError
            candidate = attempt()
            if is_safe(candidate, allowed, tags):
                break
    return candidate


@lru_cache(maxsize=_KEPT)
def _sanitized(text: str, allowed: frozenset[str]) -> str:
    return safe_document([Untrusted(text)], allowed)


@lru_cache(maxsize=_KEPT)
def _rewritten(text: str, allowed: frozenset[str], *, in_line: bool = False) -> Sequence[tuple[str, str]]:
    return Rewriting(text, allowed, in_line=in_line).blocks()


def _joined(blocks: Sequence[tuple[str, str]]) -> str:
    return "".join(shown for _, shown in blocks).removesuffix("\n")


def _each(parts: Sequence[DocumentPart], rewrite: Callable[[str], str]) -> str:
    """Return the parts with each untrusted one rewritten."""
    return "".join(part if isinstance(part, str) else rewrite(part.text) for part in parts)


def _narrowed(parts: Sequence[DocumentPart], allowed: frozenset[str]) -> str:
    """Return the parts rewritten, with those blocks as code that would not be safe together with what follows."""
    # Each block as received, or None for a trusted part, and as it is shown.
    blocks: list[tuple[str | None, str]] = []
    for part in parts:
        blocks += [(None, part)] if isinstance(part, str) else _rewritten(part.text, allowed)

    def is_safe_from(start: int) -> bool:
        trusted = "".join(shown for source, shown in blocks[start:] if source is None)
        return is_safe("".join(shown for _, shown in blocks[start:]), allowed, tags_in(trusted))

    last = len(blocks)
    for _ in range(_MAX_NARROWED):
        if is_safe_from(0):
            break
        # The last block that is not safe together with those after it.
        last = bisect_left(range(1, last), True, key=is_safe_from)
        source, _ = blocks[last]
        if source is None:
            raise CannotRewriteError
        blocks[last] = (source, f"\n{fenced(source, 'text')}\n\n")
    return "".join(shown for _, shown in blocks)


def _line_by_line(text: str) -> str:
    return dollars_apart("  \n".join(map(safe_inline, text.split("\n"))))
