"""Find what MathJax would typeset in a page: the strings of text that it sees, and the formulas in them.

MathJax sees the rendered page, not the Markdown. The text in one element is one string. `code` is left out, and every
other element ends a string (MathJax 3.2.2, `HTMLDomStrings.js` and `FindTeX.js`, with JupyterLab's options).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import TYPE_CHECKING, Final

from .rules import BLOCK, CLOSERS

if TYPE_CHECKING:
    from markdown_it.token import Token

_TAGS: Final = re.compile(r"<[^<>]*>")
_PLACE: Final = re.compile(r"@@(\d{1,9})@@")
_START: Final = re.compile(
    r"\$\$|\\\[|\\\(|\$|\\begin\s*\{(?P<name>[^}]*)\}|(?P<escape>\\[\\$])|(?P<reference>\\(?:eq)?ref\s*\{[^}]*\})"
)
# The limit on the search for the ends of formulas. A text that needs more steps is not shown as it is.
_STEPS_PER_CHARACTER: Final = 20


def page_strings(tokens: Sequence[Token], maths: Sequence[str]) -> Iterator[str]:
    """Yield the strings of a page made from Markdown tokens, with each piece of maths put back in its place."""
    pieces = dict(enumerate(maths))
    for text in _texts(tokens):
        yield _PLACE.sub(lambda found: pieces.get(int(found[1]), found[0]), text)


def _texts(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "html_block":
            yield from map(unescape, _TAGS.split(token.content))
        elif token.type == BLOCK:
            yield token.content
        parts: list[str] = []
        for child in token.children or []:
            if child.type in ("text", "text_special", "maths"):
                parts.append(child.content)
            elif child.type in ("softbreak", "hardbreak"):
                parts.append("\n")
            else:
                yield "".join(parts)
                parts = []
        yield "".join(parts)


def formulas(text: str) -> Iterator[str | None]:
    """Yield the formulas that MathJax finds in a string. Yield None and stop if that would take too long."""
    position, steps = 0, _STEPS_PER_CHARACTER * len(text) + 1000
    while found := _START.search(text, position):
        position = found.end()
        if found["escape"]:
            continue
        if found["reference"]:
            yield found[0]
            continue
        name = found["name"]
        closer = CLOSERS.get(found[0]) or f"{{{name}}}"
        if text.find(closer, position) < 0:
            continue
        mark = re.escape(closer) if name is None else rf"\\end\s*{re.escape(closer)}"
        marks = re.compile(rf"(?P<end>{mark})|\\(?:[a-zA-Z]|.)|[{{}}]")
        depth = 0
        for one in marks.finditer(text, position):
            steps -= 1
            if one["end"] and not depth:
                yield text[found.start() : one.end()] if name is not None else text[position : one.start()]
                position = one.end()
                break
            depth = max(0, depth + (one[0] == "{") - (one[0] == "}"))
        if steps < 0:
            yield None
            return
