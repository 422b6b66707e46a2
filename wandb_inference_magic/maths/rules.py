r"""Parser rules for maths in Markdown: `\( \)`, `\[ \]`, `$ $`, `$$ $$` and bare environments.

A formula that is ordinary maths (`tex`) becomes text that Jupyter renders; any other becomes code, as received.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock

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
_WORDS: Final = re.compile(r"[\w\s.,:'-]*")
_BRACKET: Final = re.compile(r"(?:\\(?:left|right|[Bb]igg?[lmr]?)\s*)?[()[\]]")
_OPENER: Final = re.compile(r"\\\[|\$\$|\\begin\{[A-Za-z]+\*?\}")
CLOSERS: Final = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]", r"\\(": r"\\)", r"\\[": r"\\]"}
# A name that models use and MathJax does not know, and labels, which show nothing.
_BOLD: Final = re.compile(r"\\bm(?![A-Za-z])")
# Bars, and what they must not be confused with: a line break, and the text in a formula.
_BAR: Final = re.compile(r"\\text[a-z]*\s*\{[^{}]*\}|\\\\|\\?\|")
_LABEL: Final = re.compile(r"\\label\s*\{[\w:.\- ]{1,60}\}")
# Text within a formula, and what the renderers of formulas do not all take in it: JupyterLab's refuses `_`, nbconvert's
# shows the backslash of `\_`, and `\lt` belongs to formulas.
_TEXT: Final = re.compile(
    r"(?P<command>\\(?:text(?:rm|up|normal|it|bf|sf|tt)?|mbox|hbox|emph))\s*\{(?P<body>(?:[^{}\\^_]|\\[^A-Za-z]|[\^_](?:\{[^{}\\]*\})?)*)\}"
)
_NOT_TEXT: Final = re.compile(
    r"(?P<script>[_^])\{(?P<braced>[^{}]*)\}|\^(?P<raised>[^\s{}\\])|\\?(?P<mark>[_&#%])|(?P<less><)|\$(?P<maths>[^$]+)\$"
)
# The argument of mhchem's commands, in which `<=>` is an arrow, and two brackets are the texts above and below one.
_CHEMICAL: Final = re.compile(r"(\\(?:ce|pu)\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})")


def match_inline(text: str, position: int, end: int) -> re.Match[str] | None:
    """Match inline maths that begins at `position`."""
    found = _INLINE.match(text, position, end)
    if found is None or "\n\n" in found[0] or (found["single"] and _closes_unopened(found["single"])):
        return None
    if _is_bracketed_text(found):
        return None
    of_json = found["round_of_json"] or found["square_of_json"]
    return found if of_json is None or (_TEX_OF_JSON.search(of_json) and inline_text(found) is not None) else None


def _is_bracketed_text(found: re.Match[str]) -> bool:
    r"""Whether display maths is text in brackets, as in `see \[1\]`: words or nothing, with more text on the line."""
    if found["square"] is None or not _WORDS.fullmatch(found["square"]):
        return False
    before, after = found.string[: found.start()].rpartition("\n")[2], found.string[found.end() :].partition("\n")[0]
    return not found["square"].strip() or bool((before + after).strip())


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
    if found["name"] is not None:
        return _checked(safe_as_text(found[0]))
    if (inner := found["round"] or found["single"] or _of_json(found["round_of_json"])) is not None:
        return _checked(safe_as_text(inner.strip()), "$")
    tex = safe_as_text(found["square"] or found["double"] or _of_json(found["square_of_json"]) or "")
    # Within a paragraph, VS Code would read a delimiter at the start of a line as an opening one, up to the text's end.
    return _checked(f"{tex}{{}}" if tex.rstrip(" ").endswith("\n") else tex, "$$")


def _of_json(tex: str | None) -> str | None:
    """Return a formula with one backslash for two, as in the text of a JSON answer, unless it has names with one."""
    is_doubled = tex is not None and re.search(r"(?<!\\)\\[A-Za-z]", tex) is None
    return tex.replace(r"\\", "\\") if tex is not None and is_doubled else tex


def _checked(tex: str, mark: str = "") -> str | None:
    # Imported with the first formula: a first chat does not wait until its patterns are compiled.
    from .tex import is_ordinary_maths

    return f"{mark}{tex}{mark}" if is_ordinary_maths(tex) else None


def safe_as_text(inner: str) -> str:
    """Return LaTeX with the same meaning that is harmless if a front end reads it as text."""
    inner = _TEXT.sub(_text_apart, _LABEL.sub("", _BOLD.sub(r"\\boldsymbol", inner)))
    inner = inner.replace("![", "!{}[").replace("~~", "~{}~")
    # Every second piece is chemical.
    return "".join(
        _harmless(piece, *(("<(?=[A-Za-z/!?])", "(:") if number % 2 else ("<", "([:")))
        for number, piece in enumerate(_CHEMICAL.split(inner))
    )


def _harmless(piece: str, tag: str, after_bracket: str) -> str:
    """Return LaTeX without what may begin a tag, and with `{}` between `]` and the given characters."""
    return re.sub(rf"\](?=[{re.escape(after_bracket)}])", "]{}", re.sub(tag, r"\\lt ", piece))


def _text_apart(found: re.Match[str]) -> str:
    r"""Return a text command with what is not text between pieces of text: `\text{a_b}` as `\text{a}\_\text{b}`."""
    command, body = found["command"], found["body"]
    parts, position = [], 0

    def add(text: str) -> None:
        if text:
            parts.append(f"{command}{{{text}}}")

    for one in _NOT_TEXT.finditer(body):
        add(body[position : one.start()])
        position = one.end()
        if one["mark"]:
            parts.append(f"\\{one['mark']}")
        elif one["less"]:
            parts.append(r"{\lt}")
        elif one["maths"]:
            parts.append(f"{{{one['maths']}}}")
        else:
            script = _TEXT.sub(_text_apart, f"{command}{{{one['braced'] or one['raised'] or ''}}}")
            parts.append(f"{one['script'] or '^'}{{{script}}}")
    if not parts:
        return found[0]
    add(body[position:])
    return f"{{{''.join(parts)}}}"


def block_lines(lines: list[str], opener: str) -> list[str] | None:
    r"""Return the source lines of a display block with `$$` for `\[` and `\]`; None if it is not ordinary maths."""
    closer = closer_of(opener)
    before, _, rest = "\n".join(lines).partition(opener)
    inner, _, after = rest.rpartition(closer)
    tex = safe_as_text(inner)
    shown = _checked(tex, "$$") if opener in CLOSERS else _checked(opener + tex + closer)
    return None if shown is None else f"{before}{shown}{after}".split("\n")


def in_line(text: str) -> str:
    """Return display maths as inline maths; any other text unchanged."""
    return rf"$\displaystyle {text[2:-2].strip()}$" if text.startswith("$$") else text


def in_cell(text: str) -> str:
    r"""Return maths without `|`: front ends that read it before the table would take the backslash of `\|` for TeX."""

    def without(found: re.Match[str]) -> str:
        name = {"|": r"\vert", r"\|": r"\Vert"}.get(found[0])
        space = " " if text[found.end() : found.end() + 1].isalpha() else ""
        return found[0].replace("|", "\u2223") if name is None else name + space

    return _BAR.sub(without, text)


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
            return number
    # Maths may stay open only in a text that may still grow.
    may_grow = state.env.get("may_grow", False) and end == state.lineMax
    return end if may_grow else None


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].rstrip()
