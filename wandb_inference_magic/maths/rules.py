r"""Parser rules for maths in Markdown: `\( \)`, `\[ \]`, `$ $`, `$$ $$` and bare environments.

A formula that is ordinary maths (`tex`) becomes text that Jupyter renders; any other becomes code, as received.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock

# Text between equal numbers of backticks.
CODE: Final = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
BLOCK: Final = "maths_block"
OPEN_BLOCK: Final = "maths_open"

# Pandoc's rule for `$`: no space inside the delimiters, no digit after them, so that "$5 and $6" stays money.
# The lengths are bounded and no delimiter is skipped. Otherwise a text of opening delimiters alone would be searched
# to its end for each of them.
_INLINE: Final = re.compile(
    r"\\\((?P<round>(?:[^\\$]|\\[^()]){1,2000})\\\)"
    r"|\\\[(?P<square>(?:(?!\$\$)[^\\]|\\[^\[\]]){1,4000})\\\]"
    r"|\$\$(?P<double>[^$]{1,4000})\$\$"
    r"|\$(?P<single>(?![\s$])(?:\\.|[^$\\]){1,2000})(?<!\s)\$(?!\d)"
    r"|\\\\\((?P<round_of_json>(?:(?!\\\\[()])[^$]){1,2000})\\\\\)"
    r"|\\\\\[(?P<square_of_json>(?:(?!\\\\[\[\]])[^$]){1,4000})\\\\\]"
    r"|\\begin\{(?P<name>[A-Za-z]+\*?)\}(?P<body>[^$]{0,4000}?)\\end\{(?P=name)\}",
    re.DOTALL,
)
# What a formula has between delimiters with two backslashes, which are in text about delimiters as well.
_TEX_OF_JSON: Final = re.compile(r"[=^_+<>]|\\\\[A-Za-z]|^\s*\w\s*$")
# What is in the brackets of a text. A formula between display marks has spaces within them.
_WORDS: Final = re.compile(r"\s*|[\w.,:'-](?:[\w\s.,:'-]*[\w.,:'-])?")
_BRACKET: Final = re.compile(r"(?:\\(?:left|right|[Bb]igg?[lmr]?)\s*)?[()[\]]")
_OPENER: Final = re.compile(r"\\\[|\$\$|\\begin\{[A-Za-z]+\*?\}")
CLOSERS: Final = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]", r"\\(": r"\\)", r"\\[": r"\\]"}


def match_inline(text: str, position: int, end: int) -> re.Match[str] | None:
    """Match inline maths that begins at `position`."""
    found = _INLINE.match(text, position, end)
    if found is None or "\n\n" in found[0] or (found["single"] and _closes_unopened(found["single"])):
        return None
    if _is_bracketed_text(found) or _ends_in_code(found):
        return None
    of_json = found["round_of_json"] or found["square_of_json"]
    return found if of_json is None or (_TEX_OF_JSON.search(of_json) and inline_text(found) is not None) else None


def _is_bracketed_text(found: re.Match[str]) -> bool:
    r"""Whether display maths is text in brackets, as in `see \[1\]`: words or nothing, with more text on the line."""
    if found["square"] is None or not _WORDS.fullmatch(found["square"]):
        return False
    before, after = found.string[: found.start()].rpartition("\n")[2], found.string[found.end() :].partition("\n")[0]
    return not found["square"].strip() or bool((before + after).strip())


def _ends_in_code(found: re.Match[str]) -> bool:
    """Whether code begins within maths and ends after it, as in "$HOME or `$PATH`": then it is code, and no maths."""
    if "`" not in found[0]:
        return False
    codes = takewhile(lambda code: code.start() < found.end(), CODE.finditer(found.string, found.start(), found.endpos))
    return any(code.end() > found.end() for code in codes)


def _closes_unopened(tex: str) -> bool:
    """Whether text closes a bracket that it has not opened, as between prices: `($/kg) and ($/lb)`."""
    depth = 0
    for mark in _BRACKET.findall(tex):
        # The intervals of some countries open with `]`.
        if mark[-1] in "([" or (mark[-1] == "]" and not depth):
            depth += 1
        elif depth:
            depth -= 1
        elif mark == ")":
            return True
    return False


def inline_text(found: re.Match[str]) -> str | None:
    """Return matched maths in the delimiters that Jupyter renders; None if it is not ordinary maths."""
    # Imported with the first formula, as what checks it: a first chat does not wait until their patterns are compiled.
    from .portable import of_json, portable_environment, portable_formula

    if found["name"] is not None:
        return _checked(portable_environment(found[0]))
    if inner := found["round"] or found["single"] or of_json(found["round_of_json"]):
        return _checked(portable_formula(inner.strip()), "$")
    tex = portable_formula(found["square"] or found["double"] or of_json(found["square_of_json"]))
    # Within a paragraph, VS Code would read a delimiter at the start of a line as an opening one, up to the text's end.
    return _checked(f"{tex}{{}}" if tex.rstrip(" ").endswith("\n") else tex, "$$")


def _checked(tex: str, mark: str = "") -> str | None:
    from .tex import is_ordinary_maths

    return f"{mark}{tex}{mark}" if is_ordinary_maths(tex) else None


def block_lines(lines: list[str], opener: str) -> list[str] | None:
    r"""Return the source lines of a display block with `$$` for `\[` and `\]`; None if it is not ordinary maths."""
    from .portable import portable_environment, portable_formula

    closer = closer_of(opener)
    before, _, rest = "\n".join(lines).partition(opener)
    inner, _, after = rest.rpartition(closer)
    is_formula = opener in CLOSERS
    tex = portable_formula(inner) if is_formula else portable_environment(f"{opener}{inner}{closer}")
    shown = _checked(tex, "$$" if is_formula else "")
    # To VS Code, blanks after it would be text within it.
    return None if shown is None else f"{before}{shown}{after.rstrip(' ')}".split("\n")


def closer_of(opener: str) -> str:
    """Return the delimiter that closes maths."""
    return CLOSERS.get(opener) or opener.replace("begin", "end", 1)


def install(parser: MarkdownIt) -> None:
    """Add display maths to the parser, before any rule that could read a line of it as a list or a heading."""
    parser.block.ruler.before("fence", BLOCK, _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    # A lazy continuation line of a quotation has no indent of its own: it is already known to start no block.
    if state.is_code_block(start) or state.sCount[start] < 0:
        return False
    found = _OPENER.match(_line(state, start))
    last = _closing_line(state, start, end, found[0]) if found else None
    if found is None or last is None:
        return False
    if silent:
        return True
    state.line = min(last + 1, end)
    token = state.push(BLOCK if last < end else OPEN_BLOCK, "", 0)
    token.block = True
    token.map = [start, state.line]
    token.markup = found[0]
    token.content = "\n".join(_line(state, number) for number in range(start, state.line))
    return True


def _closing_line(state: StateBlock, start: int, end: int, opener: str) -> int | None:
    """Return the line that closes the block; `end` if the text ends first; None if it is not a block."""
    closer = closer_of(opener)
    for number in range(start, end):
        line = _line(state, number)
        if not line or (number > start and state.sCount[number] < state.blkIndent):
            return None
        inner = line[len(opener) if number == start else 0 :]
        if closer in (before := inner.removesuffix(closer)) or "$$" in before:
            return None
        if before != inner:
            # Four dollars are no formula: Pandoc would look for the end of one below them.
            return None if number == start and opener == "$$" and not before.strip() else number
    # Maths may stay open only in a text that may still grow.
    may_grow = state.env.get("may_grow", False) and end == state.lineMax
    return end if may_grow else None


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()
