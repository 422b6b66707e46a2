"""The one place that makes untrusted text safe to show as it is: in terminals, in messages."""

from __future__ import annotations

import re
from typing import Final

# None goes beyond its line: an unfinished one would take the rest of the reply with it.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\]|\x9d|\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # strings: titles, links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor
    r"|\x1b[ -/]*[0-~]?"
)
# All control characters but tab and newline, and the marks that reorder text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What ends a line, or is a blank, for JavaScript alone.
_LINE_ENDS: Final = str.maketrans({"\u2028": " ", "\u2029": " ", "\ufeff": ""})
# Half a character, which no front end can be sent.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """Return a text of whole characters: two halves that follow each other are joined, one alone is replaced."""
    if _SURROGATES.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def safe_plain(text: str) -> str:
    """Return text without terminal escape sequences, control characters and marks that reorder it."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LINE_ENDS)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text)))
