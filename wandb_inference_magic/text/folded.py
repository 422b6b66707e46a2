"""Short texts without what models add to them or write otherwise: case, outer marks, typographic characters."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize

# Models put a short answer in quotation marks, or emphasize it.
_MARKS: Final = (
    ("***", "***"), ("**", "**"), ("`", "`"), ('"', '"'), ("'", "'"),
    ("\u201c", "\u201d"), ("\u201e", "\u201c"), ("\u201e", "\u201d"), ("\u00ab", "\u00bb"), ("\u00bb", "\u00ab"),
    ("\u2018", "\u2019"), ("\u201a", "\u2018"), ("\u2039", "\u203a"), ("\u203a", "\u2039"),
    ("\u300c", "\u300d"), ("\u300e", "\u300f"),
)  # fmt: skip
# A block of code, with its language.
_FENCE: Final = re.compile(r"(`{3,}|~{3,})[^\n`]*\n(.*)\n[ \t]*\1", re.DOTALL)
# Full stops: of Latin, Chinese and Japanese, and of Hindi.
_STOPS: Final = ".\u3002\uff0e\uff61\u0964"
# Hyphens, dashes of ranges, minus signs, spaces and quotation marks that models write in place of those on a keyboard.
_PLAIN: Final = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u201c\u201d\u201e", '"')
)

_BOOLEANS: Final = dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "f", "off", "0"), False
)


def boolean_of(text: str) -> bool | None:
    """Return what a text says as a boolean: True for "Yes.", False for "off". None if it says neither."""
    return _BOOLEANS.get(folded(text))


def folded(text: str) -> str:
    """Return a text in lower case, without outer blanks, final full stops, and marks around the whole.

    Typographic hyphens, en dashes, minus signs, spaces and quotation marks are plain, line ends are those of Unix, and
    characters are composed.
    """
    # Marks around the whole come before those within it. Folding may take an accent apart.
    plain = without_marks(without_marks(normalize("NFC", text.replace("\r\n", "\n"))).translate(_PLAIN))
    return normalize("NFC", plain.casefold())


def without_marks(text: str) -> str:
    """Return a text without outer blanks, final full stops, and marks or the fences of a block around the whole."""
    while True:
        text = text.strip().rstrip(_STOPS).rstrip()
        if (block := _FENCE.fullmatch(text)) is not None and block[1] not in block[2]:
            text = block[2]
            continue
        mark = next((one for one in _MARKS if text.startswith(one[0]) and text.endswith(one[1])), None)
        if mark is None or len(text) <= len(mark[0]) + len(mark[1]):
            return text
        inside = text[len(mark[0]) : -len(mark[1])]
        # Otherwise the marks are those of two parts.
        if mark[0] in inside or mark[1] in inside:
            return text
        text = inside
