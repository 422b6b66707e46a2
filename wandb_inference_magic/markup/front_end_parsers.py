"""Read Markdown as the front ends do that look for maths before anything else: JupyterLab and nbconvert.

They go by the delimiters alone, in code as well. If delimiters in two pieces of code make a pair, the text between
them becomes code and the code after them becomes text. Markdown that is safe as written must be safe in these readings
too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Final

from ..maths.rules import CLOSERS, closer_of

_LAB_MARK: Final = re.compile(r"(\$\$?|(?ai:\\(?:begin|end)\{[a-z]*\*?\})|\\[{}$]|[{}]|\n\s*|@@[0-9]+@@|\\\\[()[\]])")
_LAB_FENCE: Final = re.compile(r"^(?P<fence>`{3,}|~{3,})[^`\n]*\n.*?^(?P=fence)`*$", re.MULTILINE | re.DOTALL)
_LAB_CODE: Final = re.compile(r"(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)", re.MULTILINE)
_NBCONVERT_STEP: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*$"
    r"|(?P<mark>(?<!\\)\$\$|\\\\[(\[]|\\begin\{[a-z]*\*?\})",
    re.MULTILINE,
)
# In these, a placeholder is one word, except in maths.
_TEX: Final = ("latex", "tex")
_TEX_MATHS: Final = re.compile(r"\$|\\[(\[]")
_MANY: Final = 200
_MAX_UNSURE: Final = 3
# Replaces a dollar in code during the search for maths: a character that no text holds (a Unicode noncharacter).
_HIDDEN_DOLLAR: Final = "\ufdd0"
_BLOCK: Final = "\n\n"
_WORDS: Final = "words"


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as a front end passes it to its Markdown parser.

    Attributes
    ----------
    markdown : str
        The text, with `@@0@@` for the first piece of maths in it, and so on.
    maths : tuple of str, optional
        The pieces of maths, with their delimiters. The front end puts them back after the Markdown is parsed. None if
        the resulting page is not searched for maths.
    keeps_dollars : bool
        Whether the Markdown parser itself leaves maths unchanged.
    is_open : bool
        Whether the text ends within what may be maths, if more text follows.
    """

    markdown: str
    maths: tuple[str, ...] | None = None
    keeps_dollars: bool = False
    is_open: bool = field(default=False, compare=False)


def readings(markdown: str, unsure: Sequence[int], fences: Sequence[range]) -> Iterator[Reading | None]:
    """Yield a text as it is, and as front ends that look for maths first read it; None if that is uncertain.

    `unsure` holds the positions of display maths delimiters that nbconvert's parser may see or skip. `fences` holds the
    positions of fenced blocks, in lists and quotations too.
    """
    # The time of JupyterLab's search for code grows with the cube of the number of backticks.
    if "`" * _MANY in markdown or _HIDDEN_DOLLAR in markdown or len(unsure) > _MAX_UNSURE:
        yield None
        return
    yield Reading(markdown)
    # Because of earlier text, the dollars in this text's code may not be hidden.
    found = [_lab_reading(_hide_dollars(markdown)), _lab_reading(markdown)]
    rounds = (False, True) if r"\\(" in markdown else (False,)
    passed_over = (marks for number in range(len(unsure) + 1) for marks in combinations(unsure, number))
    for marks, with_round, place, code in product(passed_over, rounds, ("", _WORDS, _BLOCK), (None, fences)):
        found.append(_nbconvert_reading(markdown, marks, code, with_round=with_round, place=place))
    yield from dict.fromkeys(found)


def maths_in_code(fence: str, language: str) -> tuple[bool, bool]:
    """Return whether JupyterLab shows a placeholder in a fenced block, and whether later text may be maths with it.

    It takes maths out of code as well, leaves a placeholder, and puts the maths back after the code is highlighted. In
    most languages it does not find the placeholder then.
    """
    if "$" not in fence and "\\" not in fence:
        return False, False
    reading = _lab_reading(_hide_dollars(fence))
    keeps_placeholders = language in _TEX and _TEX_MATHS.search(fence) is None
    return reading is None or (bool(reading.maths) and not keeps_placeholders), reading is None or reading.is_open


def _hide_dollars(markdown: str) -> str:
    """Return text with the dollars replaced in what JupyterLab reads as code."""
    for code in (_LAB_FENCE, _LAB_CODE):
        markdown = code.sub(lambda found: found[0].replace("$", _HIDDEN_DOLLAR), markdown)
    return markdown


def _lab_reading(markdown: str) -> Reading | None:
    """Return text without what JupyterLab's `removeMath` reads as maths, by the same steps."""
    pieces = _LAB_MARK.split(markdown)
    maths: list[str] = []
    start, last, depth, closer, tries = 0, 0, 0, None, 0
    position = 1
    while position < len(pieces):
        mark = pieces[position]
        if mark.startswith("@"):
            # What looks like a placeholder for maths becomes one, so that it is put back unchanged.
            _take(pieces, position, position, maths)
        elif closer is None:
            closer = closer_of(mark) if mark in CLOSERS or mark.startswith(r"\begin") else None
            start, last, depth = position, 0, 0
        elif mark == closer and not depth:
            _take(pieces, start, position, maths)
            closer = None
        elif mark == closer:
            last = position
        elif mark.count("\n") > 1:
            if last:
                # JupyterLab continues from the last delimiter that could have closed the maths.
                _take(pieces, start, last, maths)
                position, tries = last, tries + 1
                if tries > _MANY:
                    return None
            closer = None
        elif mark in "{}":
            depth = max(0, depth + (1 if mark == "{" else -1))
        position += 2
    if closer is not None and last:
        _take(pieces, start, last, maths)
    whole = "".join(pieces).replace(_HIDDEN_DOLLAR, "$")
    return Reading(whole, tuple(map(_put_back, maths)), is_open=closer is not None)


def _take(pieces: list[str], start: int, end: int, maths: list[str]) -> None:
    taken = "".join(pieces[start : end + 1]).replace(_HIDDEN_DOLLAR, "$")
    pieces[start : end + 1] = [f"@@{len(maths)}@@"] + [""] * (end - start)
    maths.append(taken)


def _put_back(taken: str) -> str:
    r"""Return maths as JupyterLab's `replaceMath` puts it back: `\\(` and `\\[` lose a backslash."""
    return f"{taken[1:-3]}{taken[-2:]}" if taken.startswith((r"\\(", r"\\[")) else taken


def _nbconvert_reading(
    markdown: str, passed_over: Collection[int], fences: Sequence[range] | None, *, with_round: bool, place: str
) -> Reading:
    r"""Return text as nbconvert reads it: display maths is part of a paragraph.

    It is maths there, unless code begins before it: then it is text without line breaks (`_WORDS`). At the start of a
    paragraph it is a separate block, and what follows starts another block (`_BLOCK`). `\\(` counts only within a
    paragraph (`with_round`). Without `fences`, each line that looks like the begin of a fenced block is one.
    """
    parts: list[str] = []
    maths: list[str] = []
    done, position = 0, 0
    absent: set[str] = set()
    while found := _NBCONVERT_STEP.search(markdown, position):
        position = found.end()
        if found["fence"]:
            if fences is None:
                position = end_of_fence(found) or len(markdown)
            continue
        if block := next((one for one in fences or () if found.start() in one), None):
            position = block.stop
            continue
        closer = closer_of(found["mark"])
        if closer in absent or found.start() in passed_over or (found["mark"] == r"\\(" and not with_round):
            continue
        end = _unescaped(closer).search(markdown, position)
        if end is None:
            absent.add(closer)
            continue
        position = end.end()
        inner = markdown[found.start() : position]
        parts.append(markdown[done : found.start()])
        if place == _WORDS:
            parts.append(inner.replace("\n", " "))
        else:
            parts.append(f"@@{len(maths)}@@{place}")
            maths.append(_put_back(inner))
        done = position
    return Reading("".join([*parts, markdown[done:]]), tuple(maths), keeps_dollars=True)


def end_of_fence(opening: re.Match[str]) -> int | None:
    """Return the end of the fenced code whose first line is a match, with its `fence`; None if nothing closes it."""
    fence = opening["fence"]
    closing = re.compile(rf"^ {{0,3}}{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    found = closing.search(opening.string, opening.end())
    return found and found.end()


def _unescaped(mark: str) -> re.Pattern[str]:
    return re.compile((r"(?<!\\)" if mark == "$$" else "") + re.escape(mark))
