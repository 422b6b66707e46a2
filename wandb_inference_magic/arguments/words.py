"""Split the line of a magic into words."""

from __future__ import annotations

import re
from typing import Final

from ..errors import InferenceError, shortened
from ..text import INVISIBLE, UNSEEN, bare

DOUBLE_QUOTES: Final = """Put a text with an apostrophe into double quotes: "don't"."""
# What word processors and slides make of quotes and spaces.
_CURLY = re.compile(
    r"(?P<option>--?[A-Za-z][\w-]*=)?(?:[\u201c-\u201f\xab](?P<double>[^\u201c-\u201f\xab\xbb]*)[\u201c-\u201f\xbb]"
    rf"|[\u2018\u201a\u201b](?P<single>(?:[^\u2018-\u201b]|\u2019(?=\w))*)[\u2018\u2019])[{INVISIBLE}]*(?=\s|$)"
)
_SPACES = " \t\r\n\xa0\u2002\u2003\u2007\u2009\u202f\u3000"
_QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1)[^\\])*\1""")
# A last backslash before the closing quote, as in a folder of Windows, is one of the text.
_WORD_PART = re.compile(
    rf"""(?P<mark>["'])(?P<quoted>(?:\\(?P=mark)|(?!(?P=mark)).)*)(?P=mark)|[^{_SPACES}"']+""", re.DOTALL
)
# An option's name and `=` may come before a template, and more text after it: `--system={{ who }}-{{ place }}`.
_TEMPLATE_WORD = re.compile(r"""[^\s'"{}]*\{\{.*?\}\}(?:\{\{.*?\}\}|\S)*""")


def next_word(text: str) -> tuple[str, str]:
    """Split off the first word. Quotes and template braces may contain spaces.

    In quotes, a backslash makes the same quote a part of the text. Elsewhere it is an ordinary character. The word has
    no characters at its edges that are not seen.
    """
    text = text.lstrip(UNSEEN)
    if curly := _CURLY.match(text):
        word = f"{curly['option'] or ''}{curly['double'] or curly['single'] or ''}"
        return bare(word), text[curly.end() :].lstrip()
    if template := _TEMPLATE_WORD.match(text):
        return bare(template[0]), text[template.end() :].lstrip()
    word, position = "", 0
    while part := _WORD_PART.match(text, position):
        mark = part["mark"]
        word += part[0] if mark is None else part["quoted"].replace(f"\\{mark}", mark)
        position = part.end()
        if mark == "'" and text[position : position + 1].isalpha():
            what = f"An apostrophe ends the text in single quotes: {shortened(text)}"
            raise InferenceError(what, remedy=DOUBLE_QUOTES)
    if text[position : position + 1] in ("'", '"'):
        what = f"A quotation mark is not closed: {shortened(text)}"
        raise InferenceError(what, remedy="Close it, or leave it out.")
    return bare(word), text[position:].lstrip()


def next_part(text: str) -> tuple[str, str]:
    """Split off the text before the first space that is outside quotes and brackets.

    It has no characters at its edges that are not seen.
    """
    text = text.lstrip(UNSEEN)
    depth = position = 0
    while position < len(text):
        if quoted := _QUOTED.match(text, position):
            position = quoted.end()
            continue
        one = text[position]
        if one.isspace() and depth <= 0:
            break
        depth += (one in "([{") - (one in ")]}")
        position += 1
    return bare(text[:position]), text[position:].lstrip()
