"""How front ends read Markdown that look for maths before anything else: what JupyterLab and nbconvert make of it.

They go by the marks alone, in code as well. Where marks in two pieces of code make a pair, the text between
becomes code and the code behind becomes text: what is safe as it stands must be safe in these readings too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_BLOCK: Final = "x\n\n"
_WORDS: Final = ""


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
        for place in (_PLACE, _WORDS, _BLOCK):
            yield _nbconvert_reading(markdown, with_round=with_round, place=place)


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


def _nbconvert_reading(markdown: str, *, with_round: bool, place: str) -> str:
    r"""Return text as nbconvert reads it, which takes display maths for a part of a paragraph.

    There it is maths (a `_PLACE`), unless code begins before it: then it is `_WORDS` without lines. At a
    paragraph's start it is a `_BLOCK`, and what comes behind begins another. `\\(` counts only within a paragraph
    (`with_round`).
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
        inner = markdown[found.start() : position].replace("\n", " ") if place == _WORDS else place
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
