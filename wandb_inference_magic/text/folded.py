"""Short texts without what models add to them or write otherwise: case, outer marks, typographic characters."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from unicodedata import decomposition, name, normalize

from .figures import plain_number, with_plain_digits
from .invisible import INVISIBLE, JOINERS, without_invisible
from .names import QUOTES

# Models put a short answer in quotation marks, or emphasize it.
_MARKS: Final = (("***", "***"), ("**", "**"), ("`", "`"), *QUOTES)
# A block of code, with its language.
_FENCE: Final = re.compile(r"(`{3,}|~{3,})[^\n`]*\n(.*)\n[ \t]*\1", re.DOTALL)
# Full stops: of Latin, Chinese and Japanese, Hindi, Urdu, Armenian, Amharic, Burmese and Khmer.
_STOPS: Final = ".\u3002\uff0e\uff61\u0964\u06d4\u0589\u1362\u104b\u17d4"
# Superscripts, subscripts and fractions: x² is another label than x2.
_NOT_ON_LINE: Final = re.compile(
    "[\u00aa\u00b2\u00b3\u00b9\u00ba\u00bc-\u00be\u02b0-\u02e4\u1d2c-\u1dbf\u2070-\u209c\u2150-\u215f\u2189]"
)
# Hyphens, dashes of ranges, minus signs, spaces and quotation marks that models write in place of those on a keyboard.
_PLAIN: Final = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u201c\u201d\u201e", '"')
)
# In code, and as keyboards have them.
_IN_CODE: Final = (
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | {mark: "'" if first in "'\u2018\u201a\u2039\u203a" else '"' for first, last in QUOTES for mark in (first, last)}
    | {"\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u00d7": "*", "\u00f7": "/", "\u2032": "'", "\u2033": '"'}
)
# Of Turkish, whose capital letters are others.
_DOTS: Final = re.compile("i\u0307|\u0131")

_BOOLEANS: Final = dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "f", "off", "0"), False
)


def boolean_of(text: str) -> bool | None:
    """Return what a text says as a boolean: True for "Yes.", False for "off". None if it says neither."""
    return _BOOLEANS.get(folded(text))


def folded(text: str) -> str:
    """Return a text in lower case, without outer blanks, final full stops, and marks around the whole.

    Typographic hyphens, en dashes, minus signs, spaces and quotation marks are plain, line ends are those of Unix,
    characters are composed and of normal width, digits are 0 to 9, and what is not seen is left out.
    """
    text = text.replace("\r\n", "\n")
    if not text.isascii():
        text = normalize("NFC", "".join(map(_on_line, text)))
        text = with_plain_digits(text)
    # Marks around the whole come before those within it. Folding may take an accent apart.
    plain = without_marks(without_marks(text).translate(_PLAIN))
    return normalize("NFC", _DOTS.sub("i", plain.casefold()))


def advice_on(character: str) -> str:
    """Return what to do about a character in code that is not seen or looks like another one; empty for any other."""
    if character in INVISIBLE:
        what = f"{name(character, 'character').lower()} (U+{ord(character):04X})"
        return f"Delete the {what}, which is not seen{', unless a name has it' * (character in JOINERS)}."
    tag, *codes = decomposition(character).split() or [""]
    meant = chr(int(codes[0], 16)) if tag == "<wide>" else _IN_CODE.get(character, "")
    if not meant or character.isascii():
        return ""
    both = dict.fromkeys((character, dict(QUOTES).get(character, character)))
    return f"Replace {' and '.join(both)} by {meant}."


@lru_cache(maxsize=4096)
def _on_line(character: str) -> str:
    """Return a character taken apart as by NFKC, but for its superscripts, subscripts and fractions."""
    parts = [] if _NOT_ON_LINE.match(character) else decomposition(character).split()
    # The first may be a tag, such as `<wide>`.
    return "".join(_on_line(chr(int(part, 16))) for part in parts if part[0] != "<") or character


def without_marks(text: str) -> str:
    """Return a text without outer blanks, final full stops, and marks or the fences of a block around the whole.

    Characters that are not seen are left out, too.
    """
    text = without_invisible(text)
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


def number_in(text: str) -> str:
    """Return the text of a number as Python writes it, without marks around it. Any other text is without its marks."""
    return plain_number(without_marks(text))
