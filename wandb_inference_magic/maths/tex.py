r"""Check that a formula is ordinary maths: it has only allowed names, and its arguments hold no URL and no style.

MathJax, as JupyterLab runs it, can make links, load URLs, set styles and define names. So a formula is maths only if
every name in it is known (`tex_names`). The position of a name in the formula does not matter: it is enough to split
the text into control words as MathJax does.
"""

from __future__ import annotations

import re
from typing import Final

from . import tex_names as names

# Limits within which MathJax needs only a moment.
MAX_CHARS: Final = 8000
MAX_DEPTH: Final = 30
MAX_ENVIRONMENTS: Final = 40
MAX_CELLS: Final = 1000


def _braced(inner: str, depth: int) -> str:
    """Return a pattern for text between braces, with nested braces down to some depth."""
    return rf"\{{(?:{inner}{'|' + _braced(inner, depth - 1) if depth else ''})*\}}"


# As MathJax's `TexParser.GetCS` reads a control word: letters, or any one character.
_TOKEN: Final = re.compile(r"\\([A-Za-z]+|[\s\S]|$)|[{}%#$]")
# Markdown turns this into a link if the front end has not removed the formula first.
_ADDRESS: Final = re.compile(r"://|www\.", re.IGNORECASE)
_LENGTH: Final = r"\d{0,2}(?:\.\d{1,4})?\s*(?:em|ex|mu|pt|px|mm)"
# mhchem has its own syntax: it splits two backslashes, and reads a backslash before a brace as a letter. So its
# argument may hold only the backslashes of names and of spaces.
_CHEMICAL: Final = r"(?:[^{}\\]|\\[A-Za-z,;: %_&#])"
# What an environment may have after its name, besides maths.
_ENVIRONMENTS: Final = {
    **dict.fromkeys(names.ENVIRONMENTS, ""),
    **dict.fromkeys(names.BOX_ENVIRONMENTS, r"(?:\[[tbc]\]|(?!\s*\[))"),
    **dict.fromkeys(names.COLUMN_ENVIRONMENTS, r"(?:\[[tbc]\])?\s*\{(?:@\{\}|[lcr|: ]){1,60}\}"),
    **dict.fromkeys(names.COUNTED_ENVIRONMENTS, r"\s*\{\s*\d{1,2}\s*\}"),
    **dict.fromkeys(names.PLACED_ENVIRONMENTS, r"(?:\s*\[[lcr]\]|(?!\s*\[))"),
}
# What must follow each control word.
_FORMS: Final = {
    **dict.fromkeys(names.SYMBOLS | names.COMMANDS, re.compile("")),
    # A line end may have a star. Then comes a length in brackets, or no bracket directly.
    "\\": re.compile(rf"\*?(?:\[\s*-?{_LENGTH}\s*\]|(?!\[))"),
    **dict.fromkeys(
        ("hspace", "hskip", "mspace", "mskip", "kern", "mkern"),
        re.compile(rf"\s*(?:\{{\s*-?{_LENGTH}\s*\}}|-?{_LENGTH})"),
    ),
    **dict.fromkeys(
        ("color", "textcolor"),
        re.compile(rf"\s*\{{(?:{'|'.join(sorted(names.COLOURS))}|#[0-9A-Fa-f]{{3}}(?:[0-9A-Fa-f]{{3}})?)\}}"),
    ),
    **dict.fromkeys(("cancel", "bcancel", "xcancel", "cancelto"), re.compile(r"(?!\s*\[)")),
    **dict.fromkeys(("ce", "pu"), re.compile(rf"(?=\s*{_braced(_CHEMICAL, 4)})")),
    "smash": re.compile(r"(?!\s*\[)|\[[tb]\]"),
    "tag": re.compile(r"\*?\s*\{[^{}\\$%#&]{1,40}\}"),
    "begin": re.compile("|".join(rf"\{{{re.escape(name)}\}}{form}" for name, form in _ENVIRONMENTS.items())),
    "end": re.compile("|".join(rf"\{{{re.escape(name)}\}}" for name in _ENVIRONMENTS)),
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
    if len(tex) > MAX_CHARS or tex.count("&") > MAX_CELLS or tex.count(r"\begin") > MAX_ENVIRONMENTS:
        return False
    depth, position = 0, 0
    while (token := _TOKEN.search(tex, position)) is not None:
        position = token.end()
        if (name := token[1]) is not None:
            if name not in _FORMS or (found := _FORMS[name].match(tex, position)) is None:
                return False
            position = found.end()
        elif token[0] not in "{}":
            return False
        else:
            depth += 1 if token[0] == "{" else -1
            if not 0 <= depth <= MAX_DEPTH:
                return False
    return depth == 0
