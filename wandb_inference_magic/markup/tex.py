r"""Check that a formula is ordinary maths: it has only allowed names, and its arguments hold no URL and no style.

MathJax, as JupyterLab runs it, can make links, load URLs, set styles and define names. So a formula is maths only if
every name in it is known (`tex_names`). The position of a name in the formula does not matter: it is enough to split
the text into control words as MathJax does.
"""

from __future__ import annotations

import re
from typing import Final

from .tex_names import (
    BOX_ENVIRONMENTS,
    COLOURS,
    COLUMN_ENVIRONMENTS,
    COMMANDS,
    COUNTED_ENVIRONMENTS,
    ENVIRONMENTS,
    PLACED_ENVIRONMENTS,
    SYMBOLS,
)

# Limits within which MathJax needs only a moment.
LONGEST: Final = 8000
DEEPEST: Final = 30
MOST_ENVIRONMENTS: Final = 40
MOST_CELLS: Final = 1000


def _braced(inner: str, depth: int) -> str:
    """Return a pattern for text between braces, with nested braces down to some depth."""
    return rf"\{{(?:{inner}{'|' + _braced(inner, depth - 1) if depth else ''})*\}}"


# As MathJax's `TexParser.GetCS` reads a control word: letters, or any one character.
_TOKEN: Final = re.compile(r"\\([A-Za-z]+|[\s\S]|$)|[{}%#$]")
# Markdown turns this into a link if the front end has not removed the formula first.
_ADDRESS: Final = re.compile(r"://|www\.", re.IGNORECASE)
_LENGTH: Final = r"\d{0,2}(?:\.\d{1,4})?\s*(?:em|ex|mu|pt|px|mm)"
_NO_BRACKET: Final = re.compile(r"(?!\s*\[)")
_ANYTHING: Final = re.compile("")
_PLACE: Final = re.compile(r"(?!\s*\[)|\[[tb]\]")
# A line end may have a star. Then comes a length in brackets, or no bracket directly.
_LINE_END: Final = re.compile(rf"\*?(?:\[\s*-?{_LENGTH}\s*\]|(?!\[))")
_SPACE: Final = re.compile(rf"\s*(?:\{{\s*-?{_LENGTH}\s*\}}|-?{_LENGTH})")
_TAG: Final = re.compile(r"\*?\s*\{[^{}\\$%#&]{1,40}\}")
_COLOUR: Final = re.compile(rf"\s*\{{(?:{'|'.join(sorted(COLOURS))}|#[0-9A-Fa-f]{{3}}(?:[0-9A-Fa-f]{{3}})?)\}}")
# What follows `\begin`: the name, and what the environment reads besides maths.
_ENVIRONMENT: Final = re.compile(r"\{([A-Za-z]+\*?)\}")
_BOX: Final = re.compile(rf"{_ENVIRONMENT.pattern}(?:\[[tbc]\]|(?!\s*\[))")
_COLUMNS: Final = re.compile(rf"{_ENVIRONMENT.pattern}(?:\[[tbc]\])?\s*\{{(?:@\{{\}}|[lcr|: ]){{1,60}}\}}")
_COUNT: Final = re.compile(rf"{_ENVIRONMENT.pattern}\s*\{{\s*\d{{1,2}}\s*\}}")
_PLACED: Final = re.compile(rf"{_ENVIRONMENT.pattern}(?:\s*\[[lcr]\]|(?!\s*\[))")
# mhchem has its own syntax: it splits two backslashes, and reads a backslash before a brace as a letter. So its
# argument may hold only the backslashes of names and of spaces.
_CHEMICAL: Final = r"(?:[^{}\\]|\\[A-Za-z,;: %_&#])"
_CHEMISTRY: Final = re.compile(rf"(?=\s*{_braced(_CHEMICAL, 4)})")

_CHECKED: Final = {
    "\\": _LINE_END,
    **dict.fromkeys(("hspace", "hskip", "mspace", "mskip", "kern", "mkern"), _SPACE),
    **dict.fromkeys(("color", "textcolor"), _COLOUR),
    **dict.fromkeys(("cancel", "bcancel", "xcancel", "cancelto"), _NO_BRACKET),
    **dict.fromkeys(("ce", "pu"), _CHEMISTRY),
    "smash": _PLACE,
    "tag": _TAG,
}


def is_ordinary_maths(tex: str) -> bool:
    """Whether a formula holds only known names, with harmless arguments.

    Parameters
    ----------
    tex : str
        The LaTeX between the delimiters.

    Returns
    -------
    bool
        False also for a formula that MathJax would reject: one with unbalanced braces, a comment or a dollar.
    """
    if _ADDRESS.search(tex) is not None:
        return False
    if len(tex) > LONGEST or tex.count("&") > MOST_CELLS or tex.count(r"\begin") > MOST_ENVIRONMENTS:
        return False
    depth, position = 0, 0
    while (token := _TOKEN.search(tex, position)) is not None:
        position = token.end()
        if (name := token[1]) is not None:
            form = _form(name, tex, position)
            found = form.match(tex, position) if form is not None else None
            if found is None:
                return False
            position = found.end()
        elif token[0] not in "{}":
            return False
        else:
            depth += 1 if token[0] == "{" else -1
            if not 0 <= depth <= DEEPEST:
                return False
    return depth == 0


def _form(name: str, tex: str, position: int) -> re.Pattern[str] | None:
    """Return the pattern for what must follow a control word, which may match anything; None for an unknown word."""
    if name in _CHECKED:
        return _CHECKED[name]
    if name not in ("begin", "end"):
        return _ANYTHING if name in SYMBOLS or name in COMMANDS else None
    named = _ENVIRONMENT.match(tex, position)
    if named is None:
        return None
    form = _environment_form(named[1])
    return _ENVIRONMENT if name == "end" and form is not None else form


def _environment_form(name: str) -> re.Pattern[str] | None:
    if name in ENVIRONMENTS:
        return _ENVIRONMENT
    if name in BOX_ENVIRONMENTS:
        return _BOX
    if name in COLUMN_ENVIRONMENTS:
        return _COLUMNS
    if name in COUNTED_ENVIRONMENTS:
        return _COUNT
    return _PLACED if name in PLACED_ENVIRONMENTS else None
