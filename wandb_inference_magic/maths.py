r"""Maths in Markdown: `\( \)`, `\[ \]`, `$ $` and `$$ $$` as rules for the parser, and as text that Jupyter renders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock

BLOCK: Final = "maths_block"
OPEN_BLOCK: Final = "maths_open"

# Pandoc's rule for `$`: no blank inside the marks, no digit behind, so that "$5 and $6" stays money.
# The lengths are bounded and no mark is passed over, or a text of opening marks alone would be searched to its
# end for each of them.
_INLINE: Final = re.compile(
    r"\\\((?P<round>(?:[^\\]|\\[^()]){1,2000})\\\)"
    r"|\\\[(?P<square>(?:[^\\]|\\[^\[\]]){1,4000})\\\]"
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
    return inner.replace("<", r"\lt ").replace("](", "]{}(").replace("![", "!{}[").replace("][", "]{}[")


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
    if state.is_code_block(start):
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
    for number in range(start, end):
        line = _line(state, number)
        if _closes(line, _CLOSER[opener], is_first=number == start):
            return number
        within = line[2:] if number == start else line
        is_outside = number > start and state.sCount[number] < state.blkIndent
        if not line or is_outside or _CLOSER[opener] in within:
            return None
    # Only a text that may still grow leaves maths open; a container's end does not.
    may_grow = state.env.get("may_grow", False) and state.level == 0 and end == state.lineMax
    return end if may_grow else None


def _closes(line: str, closer: str, *, is_first: bool) -> bool:
    return line[2 if is_first else 0 :].endswith(closer)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()


# What the front ends make of it --------------------------------------------------------------------------
#
# JupyterLab and nbconvert look for maths by its marks alone and before anything else, in code as well. Where
# marks in two pieces of code make a pair, the text between becomes code and the code behind becomes text.

_OPENS: Final = {"$": "$", "$$": "$$", r"\\(": r"\\)", r"\\[": r"\\]"}
_LAB_MARK: Final = re.compile(r"(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|\n\s*|@@\d+@@|\\\\[()[\]])", re.I)
_LAB_FENCE: Final = re.compile(r"^(?P<fence>`{3,}|~{3,})[^`\n]*\n.*?^(?P=fence)`*$", re.MULTILINE | re.DOTALL)
_LAB_CODE: Final = re.compile(r"(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)", re.MULTILINE)
_NBCONVERT_STEP: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*$"
    r"|(?P<mark>(?<!\\)\$\$|\\\\[(\[]|\\begin\{[a-z]*\*?\})",
    re.MULTILINE,
)
_MANY: Final = 200
_PLACE: Final = "x"


def readings(markdown: str) -> Iterator[str | None]:
    """Yield a text as it is and as front ends read it that look for maths first; None where that is uncertain."""
    yield markdown
    seen: set[str | None] = {markdown}
    for reading in _without_maths(markdown):
        if reading not in seen:
            yield reading
            seen.add(reading)


def _without_maths(markdown: str) -> Iterator[str | None]:
    if "`" * _MANY in markdown:
        yield None  # JupyterLab's search for code takes time with the cube of their number.
        return
    yield _lab_reading(_hide_dollars(markdown))
    # Text before this one may have left the dollars of its code in another state.
    yield _lab_reading(markdown)
    for with_round in (False, True):
        for is_flat in (False, True):
            yield _nbconvert_reading(markdown, with_round=with_round, is_flat=is_flat)


def _closer_of(mark: str) -> str | None:
    return rf"\end{mark[6:]}" if mark.startswith(r"\begin") else _OPENS.get(mark)


def _hide_dollars(markdown: str) -> str:
    """Return text with other characters for the dollars in what JupyterLab takes for code."""
    if "`" not in markdown and "~~~" not in markdown:
        return markdown
    for code in (_LAB_FENCE, _LAB_CODE):
        markdown = code.sub(lambda found: found[0].replace("$", "S"), markdown)
    return markdown


def _lab_reading(markdown: str) -> str | None:
    """Return text without what JupyterLab's `removeMath` takes for maths, by the same steps."""
    pieces = _LAB_MARK.split(markdown)
    start, last, depth, closer, tries = 0, 0, 0, None, 0
    position = 1
    while position < len(pieces):
        mark = pieces[position]
        if closer is None:
            closer = _closer_of(mark)
            start, last, depth = position, 0, 0
        elif mark == closer and not depth:
            _take(pieces, start, position)
            closer = None
        elif mark == closer:
            last = position
        elif mark.startswith("\n") and mark.count("\n") > 1:
            if last:
                # It reads on from the last mark that could have closed the maths.
                _take(pieces, start, last)
                position, tries = last, tries + 1
                if tries > _MANY:
                    return None
            closer = None
        elif mark in "{}":
            depth = max(0, depth + (1 if mark == "{" else -1))
        position += 2
    if closer is not None and last:
        _take(pieces, start, last)
    return "".join(pieces)


def _take(pieces: list[str], start: int, end: int) -> None:
    pieces[start : end + 1] = [_PLACE] + [""] * (end - start)


def _nbconvert_reading(markdown: str, *, with_round: bool, is_flat: bool) -> str:
    r"""Return text as nbconvert reads it, which takes display maths for a part of a paragraph.

    There it is maths, unless code begins before it (`is_flat`): then it is words without lines. `\\(` counts only
    within a paragraph (`with_round`).
    """
    parts, done, position = [], 0, 0
    absent: set[str] = set()
    while found := _NBCONVERT_STEP.search(markdown, position):
        position = found.end()
        if found["fence"]:
            position = _end_of_fence(markdown, found)
            continue
        closer = _closer_of(found["mark"])
        if closer is None or closer in absent or (found["mark"] == r"\\(" and not with_round):
            continue
        end = _unescaped(closer).search(markdown, position)
        if end is None:
            absent.add(closer)
            continue
        position = end.end()
        inner = markdown[found.start() : position].replace("\n", " ") if is_flat else _PLACE
        parts += [markdown[done : found.start()], inner]
        done = position
    return "".join([*parts, markdown[done:]])


def _end_of_fence(markdown: str, opening: re.Match[str]) -> int:
    fence = opening["fence"]
    closing = re.compile(rf"^ {{0,3}}{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    found = closing.search(markdown, opening.end())
    return found.end() if found else len(markdown)


def _unescaped(mark: str) -> re.Pattern[str]:
    return re.compile((r"(?<!\\)" if mark == "$$" else "") + re.escape(mark))
