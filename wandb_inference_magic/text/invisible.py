"""Characters that are not seen, and where they count: they come with what is copied from pages, slides and chats.

In the text of a prompt, all of them count. On the line of a magic and in a schema, none counts at the edges of words.
In the names of options, in numbers, choices and ids, none counts anywhere. In answers, only joiners count.
"""

from __future__ import annotations

import re
from typing import Final

# Words of Persian and Hindi have them within, and so have emoji.
JOINERS: Final = "\u200c\u200d"
# Marks of direction and of encoding, places where a line may break, and operators that are not written.
_MARKS: Final = "".join(
    map(chr, (0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF))
)
# They choose the form of the character before them, such as that of an emoji.
_VARIANTS: Final = "\ufe00-\ufe0f"
_IN_ANSWERS: Final = re.compile(f"[{_MARKS}{_VARIANTS}]")
# For a class of a regular expression.
INVISIBLE: Final = _MARKS + JOINERS
_ANY: Final = re.compile(f"[{INVISIBLE}{_VARIANTS}]")
_SPACES: Final = "".join(map(chr, range(0x2000, 0x200B)))
_BLANKS: Final = f" \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000{_SPACES}"
# What is around a word.
UNSEEN: Final = _BLANKS + INVISIBLE


def without_invisible(text: str) -> str:
    """Return a text of an answer without characters that are not seen, but for joiners."""
    return text if text.isascii() else _IN_ANSWERS.sub("", text)


def visible_only(text: str) -> str:
    """Return a word in which no character counts that is not seen: the name of an option, a number, an id."""
    return text if text.isascii() else _ANY.sub("", text)


def is_blank(text: str) -> bool:
    """Return whether a text has nothing that is seen."""
    return not text.strip(UNSEEN)


def bare(text: str, marks: str = "") -> str:
    """Return a text without characters that are not seen at its edges, and at those of the parts between `marks`.

    Its blanks stay. With marks, a blank is one too.
    """
    if text.isascii():
        return text
    if marks:
        return "".join(map(bare, re.split(rf"([\s{re.escape(marks)}])", text)))
    core = text.strip(UNSEEN)
    begin = len(text) - len(text.lstrip(UNSEEN))
    before, after = text[:begin], text[begin + len(core) :]
    return f"{visible_only(before)}{core}{visible_only(after)}"
