"""Names in any script: where one ends, and which of other names is the same one in another form of Unicode."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import takewhile
from typing import Any, Final
from unicodedata import normalize

# Words of Persian and Hindi have these within them. Python's identifiers do not.
_JOINERS: Final = ("\u200c", "\u200d")


def leading_name(text: str) -> str:
    """Return the name that a text begins with: letters and digits of any script, with their marks, and underscores.

    It is empty if the text begins with none. `\\w` has no vowel signs of Hindi, Tamil and Thai, and no accent that is a
    character of its own.
    """
    name = "".join(takewhile(lambda one: one in _JOINERS or f"_{one}".isidentifier(), text)).rstrip("".join(_JOINERS))
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
