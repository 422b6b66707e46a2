"""The one place that makes untrusted text safe to show as plain text: in terminals and in messages."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Final, TextIO
from unicodedata import category, combining

# No sequence extends beyond its line: otherwise an unfinished one would remove the rest of the reply.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\]|\x9d|\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # strings: titles, links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor
    r"|\x1b[ -/]*[0-~]?"
)
# All control characters except tab and newline, and the characters that reorder text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Characters that are line ends or whitespace only in JavaScript.
_LINE_ENDS: Final = str.maketrans({"\u2028": " ", "\u2029": " ", "\ufeff": ""})
# Surrogates: half a character cannot be sent to a front end.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


# What continues a character besides the marks: joiners, skin tones, tags, vowels and ends of Korean syllables, voiced
# marks of half width, and the vowel am of Thai and Lao.
_GOES_ON: Final = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u1160-\u11ff\uff9e\uff9f\u0e33\u0eb3]"
)
_FLAGS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))
# The combining class of the sign that joins the letters of India's scripts.
VIRAMA: Final = 9
# Longer ones are taken apart.
MAX_GRAPHEME_CHARS: Final = 64

# JupyterLab breaks longer lines of errors inside words. A window of 700 pixels shows as many characters.
MESSAGE_WIDTH: Final = 72


def wrapped(text: str, indent: str = "") -> str:
    """Return a text in lines that break at words, each but the first after `indent`. A long word stays whole."""
    # Imported for messages only, so that loading is fast.
    from shutil import get_terminal_size
    from textwrap import fill

    width = min(get_terminal_size((MESSAGE_WIDTH, 24)).columns, MESSAGE_WIDTH)
    return "\n".join(
        fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def is_terminal(stream: object) -> bool:
    """Return whether a stream is a terminal. A stream of the user's may have no more than `write`, or be None."""
    with suppress(AttributeError, ValueError):  # ValueError: it is closed
        return bool(stream.isatty())  # type: ignore[attr-defined]
    return False


def grapheme_start(text: str, at: int) -> int:
    """Return where the character begins that a reader sees at a place of a text: a cut there takes no character apart.

    Such a character can be several of Unicode's: a letter with its accents, an emoji of a family, a flag.
    """
    for start in range(at, max(at - MAX_GRAPHEME_CHARS, -1), -1):
        if not 0 < start < len(text) or _is_boundary(text, start):
            return start
    return at


def _is_boundary(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if after.isascii() or before in "\n\t ":
        return True
    if _GOES_ON.match(after) or category(after)[0] == "M" or before == "\u200d" or combining(before) == VIRAMA:
        return False
    # Each two of these letters are a flag.
    return after not in _FLAGS or (at - len(text[:at].rstrip(_FLAGS))) % 2 == 0


def printable(text: str, stream: TextIO | None = None) -> str:
    """Return a text that a stream, stdout by default, can print: a character that its encoding lacks is `?`.

    Windows has such an encoding where stdout is a file, and so have clusters with a locale of their own.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text if text.isascii() else text.encode(encoding, "replace").decode(encoding)


def without_surrogates(text: str) -> str:
    """Return a text of whole characters: surrogate pairs are joined, lone surrogates are replaced."""
    if _SURROGATES.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, also of one with lone surrogates."""
    # `%load_ext` does not wait for it.
    from hashlib import sha256

    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def safe_plain(text: str) -> str:
    """Return text without terminal escape sequences, control characters and characters that reorder it."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LINE_ENDS)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text)))
