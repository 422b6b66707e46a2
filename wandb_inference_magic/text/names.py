"""Names in any script, and the marks between and around them: where a name ends, and which other name is the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import takewhile
from typing import Any, Final
from unicodedata import normalize

from .invisible import JOINERS

# What separates, ends and encloses names and values, as input methods for Chinese, Japanese and Arabic write it too.
COMMAS: Final = ",\uff0c\u3001\uff64\u060c"
BARS: Final = "|\uff5c"
COLONS: Final = ":\uff1a"
QUESTION_MARKS: Final = "?\uff1f\u061f"
QUOTES: Final = (
    ('"', '"'), ("'", "'"),
    ("\u201c", "\u201d"), ("\u201e", "\u201c"), ("\u201e", "\u201d"), ("\u00ab", "\u00bb"), ("\u00bb", "\u00ab"),
    ("\u2018", "\u2019"), ("\u201a", "\u2018"), ("\u2039", "\u203a"), ("\u203a", "\u2039"),
    ("\u300c", "\u300d"), ("\uff62", "\uff63"), ("\u300e", "\u300f"), ("\u300a", "\u300b"), ("\u3008", "\u3009"),
    ("\u3010", "\u3011"),
)  # fmt: skip
# A regular expression.
IN_QUOTES: Final = "|".join(f"{first}[^{last}]+{last}" for first, last in QUOTES)


def leading_name(text: str) -> str:
    """Return the name that a text begins with: letters and digits of any script, with their marks, and underscores.

    It is empty if the text begins with none. `\\w` has no vowel signs of Hindi, Tamil and Thai, and no accent that is a
    character of its own. Python's identifiers have no joiners.
    """
    name = "".join(takewhile(lambda one: one in JOINERS or f"_{one}".isidentifier(), text)).rstrip(JOINERS)
    return name if name[:1].isidentifier() else ""


def composed(name: str) -> str:
    """Return a name with its letters in one form (Unicode's NFC). Files of macOS have their accents apart."""
    return normalize("NFC", name)


def python_name(name: str) -> str:
    """Return an identifier in the form in which Python looks it up (NFKC), and any other name in form NFC."""
    return normalize("NFKC", name) if name.isidentifier() else composed(name)


def same_name(name: str, names: Collection[Any], form: Callable[[str], str] = composed) -> str | None:
    """Return the one of some names that a name is: itself, or one that has the same form. None if it is none of them.

    Names that are no texts are passed over.
    """
    if name in names:
        return name
    wanted, texts = form(name), (one for one in names if isinstance(one, str))
    return next((one for one in texts if (one if one.isascii() else form(one)) == wanted), None)
