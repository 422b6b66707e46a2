r"""Maths in Markdown: `\( \)`, `\[ \]`, `$ $` and `$$ $$` as rules for the parser, and as text that Jupyter renders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock

BLOCK: Final = "maths_block"
OPEN_BLOCK: Final = "maths_open"

# Pandoc's rule for `$`: no blank inside the marks, no digit behind, so that "$5 and $6" stays money.
# The lengths are bounded and no mark is passed over, or a text of opening marks alone would be searched to its
# end for each of them.
_INLINE: Final = re.compile(
    r"\\\((?P<round>(?:[^\\$]|\\[^()]){1,2000})\\\)"
    r"|\\\[(?P<square>(?:(?!\$\$)[^\\]|\\[^\[\]]){1,4000})\\\]"
    r"|\$\$(?P<double>[^$]{1,4000})\$\$"
    r"|\$(?P<single>(?![\s$])(?:\\.|[^$\\]){1,2000})(?<!\s)\$(?!\d)",
    re.DOTALL,
)
_CLOSER: Final = {"\\[": "\\]", "$$": "$$"}


def match_inline(text: str, position: int, end: int) -> re.Match[str] | None:
    """Match maths within a line of text that begins at `position`."""
    found = _INLINE.match(text, position, end)
    return found if found and "\n\n" not in found.group() else None


def inline_text(found: re.Match[str]) -> str:
    """Return matched maths in the marks that Jupyter renders."""
    if (inner := found["round"]) is not None:
        return f"${inert(inner.strip())}$"
    if (inner := found["single"]) is not None:
        return f"${inert(inner)}$"
    return f"$${inert(found['square'] or found['double'])}$$"


def inert(inner: str) -> str:
    """Return LaTeX that means the same and is inert where a front end takes it for text instead."""
    inner = inner.replace("<", r"\lt ").replace("![", "!{}[")
    return re.sub(r"\](?=[(\[:])", "]{}", inner)


def block_lines(lines: list[str]) -> list[str]:
    r"""Return the source lines of a display block with `$$` for `\[` and `\]`."""
    text = "\n".join(lines)
    opener = "\\[" if _first(text, "\\[") < _first(text, "$$") else "$$"
    before, _, rest = text.partition(opener)
    inner, _, after = rest.rpartition(_CLOSER[opener])
    return f"{before}$${inert(inner)}$${after}".split("\n")


def _first(text: str, mark: str) -> int:
    position = text.find(mark)
    return len(text) if position < 0 else position


def install(parser: MarkdownIt) -> None:
    """Teach the parser display maths, before anything that could take a line of it for a list or a heading."""
    parser.block.ruler.before("fence", BLOCK, _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    # A quotation's lazy line has no indent of its own: it was seen to begin nothing.
    if state.is_code_block(start) or state.sCount[start] < 0:
        return False
    first = _line(state, start)
    opener = next((mark for mark in _CLOSER if first.startswith(mark)), None)
    if opener is None:
        return False
    last = _closing_line(state, start, end, opener)
    if last is None:
        return False
    if silent:
        return True
    is_closed = last < end and _closes(_line(state, last), _CLOSER[opener], is_first=last == start)
    state.line = min(last + 1, end)
    token = state.push(BLOCK if is_closed else OPEN_BLOCK, "", 0)
    token.map = [start, state.line]
    return True


def _closing_line(state: StateBlock, start: int, end: int, opener: str) -> int | None:
    """Return the line that closes the block; `end` when the text ends before; None when it is no block."""
    closer = _CLOSER[opener]
    for number in range(start, end):
        line = _line(state, number)
        inner = line[2:] if number == start else line
        is_outside = number > start and state.sCount[number] < state.blkIndent
        if not line or is_outside:
            return None
        closes = inner.endswith(closer)
        inner = inner.removesuffix(closer)
        if closer in inner or "$$" in inner:
            return None
        if closes:
            return number
    # Only a text that may still grow leaves maths open.
    may_grow = state.env.get("may_grow", False) and end == state.lineMax
    return end if may_grow else None


def _closes(line: str, closer: str, *, is_first: bool) -> bool:
    return line[2 if is_first else 0 :].endswith(closer)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()
