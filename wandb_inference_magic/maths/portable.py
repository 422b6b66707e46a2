r"""Write formulas so that each front end draws them: MathJax 2 and 3, KaTeX, and what reads them as Markdown first.

What a model writes is often drawn by one of these only: `\text{a_b}`, lines outside an environment, `€`, `\bm`.
"""

from __future__ import annotations

import re
from typing import Final

# Names that models use and MathJax or KaTeX does not know, and labels, which show nothing.
_OTHER_NAMES: Final = {"bm": r"\boldsymbol", "mbox": r"\text"}
_NAMES: Final = re.compile(rf"\\({'|'.join(_OTHER_NAMES)})(?![A-Za-z])")
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
# Currencies and phonetic letters: MathJax 3 shows an error in place of a formula that has them outside texts.
_SIGNS: Final = re.compile(rf"{_TEXT.pattern}|(?P<signs>[\u0250-\u02af\u20a0-\u20cf]+)")
_NESTING: Final = re.compile(
    r"(?P<opens>\\begin\{[A-Za-z]+\*?\}|\{)|(?P<closes>\\end\{[A-Za-z]+\*?\}|\})|(?P<tag>\\tag(?![A-Za-z]))"
    r"|(?P<line_end>\\\\)|(?P<column>&)|\\.",
    re.DOTALL,
)
# The argument of mhchem's commands, in which `<=>` is an arrow, and two brackets are the texts above and below one.
_CHEMICAL: Final = re.compile(r"(\\(?:ce|pu)\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})")

_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_LINK: Final = re.compile(r"\](?=[(:])")
_LINK_OR_REFERENCE: Final = re.compile(r"\](?=[(\[:])")


def portable_formula(tex: str) -> str:
    """Return a formula of the same meaning that each front end draws, and that is harmless if one reads it as text."""
    # To Pandoc, no formula ends with a blank.
    return re.sub(r"\\lt \Z", r"\\lt", _in_lines(portable_environment(tex)))


def portable_environment(inner: str) -> str:
    """Return a formula as `portable_formula` does, without an environment for its lines."""
    inner = _NAMES.sub(lambda found: _OTHER_NAMES[found[1]], _LABEL.sub("", inner))
    inner = _SIGNS.sub(_text_apart, inner)
    inner = inner.replace("![", "!{}[").replace("~~", "~{}~")
    # Every second piece is chemical.
    return "".join(
        _harmless(piece, is_chemical=bool(number % 2)) for number, piece in enumerate(_CHEMICAL.split(inner))
    )


def _harmless(piece: str, *, is_chemical: bool) -> str:
    """Return LaTeX without what may begin a tag, and with `{}` after a `]` that may end the label of a link."""
    piece = _TAG.sub(r"\\lt ", piece) if is_chemical else piece.replace("<", r"\lt ")
    return (_LINK if is_chemical else _LINK_OR_REFERENCE).sub("]{}", piece)


def _text_apart(found: re.Match[str]) -> str:
    r"""Return a text command with what is not text between pieces of text: `\text{a_b}` as `\text{a}\_\text{b}`."""
    command, body = found["command"], found["body"]
    if command is None:
        return rf"\text{{{found['signs']}}}"
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
            script = _SIGNS.sub(_text_apart, f"{command}{{{one['braced'] or one['raised'] or ''}}}")
            parts.append(f"{one['script'] or '^'}{{{script}}}")
    if not parts:
        return found[0]
    add(body[position:])
    return f"{{{''.join(parts)}}}"


def _in_lines(tex: str) -> str:
    r"""Return a formula with its lines in an environment: MathJax 3 shows the lines outside of one side by side."""
    depth, is_broken, is_aligned = 0, False, False
    for mark in _NESTING.finditer(tex):
        if mark["opens"]:
            depth += 1
        elif mark["closes"]:
            depth -= 1
        elif not depth and mark["tag"]:
            # It may not be in the environments below.
            return tex
        elif not depth:
            is_aligned |= mark["column"] is not None
            is_broken |= mark["line_end"] is not None and bool(tex[mark.end() :].strip())
    name = "aligned" if is_aligned else "gathered"
    return rf"\begin{{{name}}}{tex}\end{{{name}}}" if is_broken else tex


def in_line(text: str) -> str:
    """Return display maths as inline maths; any other text unchanged."""
    return rf"$\displaystyle {text[2:-2].strip()}$" if text.startswith("$$") else text


def with_letters(formula: str, letters: str) -> str:
    """Return a formula in dollars with the letters that follow it, as in "$n$th", within it."""
    return rf"{formula[:-1]}\text{{{letters}}}$"


def in_cell(text: str) -> str:
    r"""Return maths without `|`: front ends that read it before the table would take the backslash of `\|` for TeX."""

    def without(found: re.Match[str]) -> str:
        name = {"|": r"\vert", r"\|": r"\Vert"}.get(found[0])
        space = " " if text[found.end() : found.end() + 1].isalpha() else ""
        return found[0].replace("|", "\u2223") if name is None else name + space

    return _BAR.sub(without, text)


def of_json(tex: str | None) -> str:
    """Return a formula with one backslash for two, as in the text of a JSON answer, unless it has names with one."""
    if tex is None:
        return ""
    return tex if re.search(r"(?<!\\)\\[A-Za-z]", tex) else tex.replace(r"\\", "\\")
