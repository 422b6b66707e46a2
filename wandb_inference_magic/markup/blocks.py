"""Split Markdown into blocks: finished ones and the one that may still grow, and those written from right to left."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Final

from ..maths import rules as maths
from ..text import safe_plain
from .parser import lines_of_blocks, parse_blocks, top_blocks
from .sanitize import DocumentPart, Untrusted

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
# Blocks that may continue after a blank line, and blocks that may continue on the very next line.
_LISTS: Final = ("bullet_list_open", "ordered_list_open")
_GOES_ON: Final = (*_LISTS, "paragraph_open", "blockquote_open", "table_open")
_CODE: Final = ("fence", "code_block")
# How lines begin that go on with a table, with a list (the groups are of an item at its top), and code.
_ROW: Final = re.compile(r" {0,3}\|")
_ITEM: Final = re.compile(r" {0,3}(?:(?P<bullet>[-*+])|\d{1,9}(?P<end>[.)]))[ \t]|[ \t]+\S")
_FENCE: Final = re.compile(r"(?:\s*\n)? {0,3}(`{3}(?=`*[^`\n]*(?:\n|\Z))|~{3})[^\n]*")
_TABLE: Final = re.compile(r"[\r\n]* {0,3}\|[^\n]*\n {0,3}\|[-:| \t]+\n")
# The letters of Hebrew, Arabic and the other scripts that are written from right to left.
_RIGHT_TO_LEFT: Final = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001eeff]"
)
# Code, addresses and formulas have Latin letters in every language.
_NO_WORDS: Final = re.compile(r"`[^`]*`|https?://\S+|\$[^$]*\$")


def split_finished(text: str) -> tuple[str, str]:
    """Split off the top-level blocks that no later text can change.

    Parameters
    ----------
    text : str
        The part of a reply that has not been split off yet. All of it is parsed each time.

    Returns
    -------
    tuple of str
        The finished blocks and the rest, which begins with the last block. Joined, they are `text`.
    """
    lines = _LINE.findall(text)
    # Their line numbers are those of `text`.
    blocks = top_blocks(parse_blocks(safe_plain(text), {"may_grow": True}))
    cut = len("".join(lines[: _open_line(lines, blocks)]))
    return text[:cut], text[cut:]


def goes_on(text: str, known: int) -> bool:
    """Return whether what was added to a text goes on with its last block: rows, items, or lines of code.

    The beginnings of the lines tell: nothing is parsed. Of an odd text, such as rows that are no table, the end of a
    block is not seen before another kind of line.

    Parameters
    ----------
    text : str
    known : int
        The position from which it was added.
    """
    start = text.rfind("\n", 0, known) + 1
    # An empty last line has not begun.
    lines = text[start:].removesuffix("\n").split("\n")
    if fence := _FENCE.match(text):
        inner = lines[1:] if start <= fence.end() else lines
        return not any(line.lstrip().startswith(fence[1]) for line in inner)
    # The last block is the first one too: it begins so.
    if _TABLE.match(text):
        return all(map(_ROW.match, lines))
    items = [_ITEM.match(line) for line in (text.lstrip("\r\n").partition("\n")[0], *lines)]
    is_list = None not in items and items[0] is not None and items[0].lastgroup is not None
    return is_list and len({one[one.lastgroup] for one in items if one and one.lastgroup}) == 1


def _open_line(lines: list[str], blocks: list[tuple[str, int]]) -> int:
    """Return the first line that later text may change."""
    if not blocks:
        return 0
    last, start = blocks[-1]
    if len(blocks) == 1 or not _may_turn_out_otherwise(last, start, lines):
        return start
    before, start_before = blocks[-2]
    is_apart = not safe_plain(lines[start - 1]).strip()
    return start_before if before in (_LISTS if is_apart else _GOES_ON) else start


def _may_turn_out_otherwise(block: str, start: int, lines: list[str]) -> bool:
    """Whether a block may still become part of the one before.

    "#" may become a word, "1" a list item, and "$$" or "|-" plain text.
    """
    is_line_whole = lines[-1].endswith(("\r", "\n"))
    if block in (maths.BLOCK, maths.OPEN_BLOCK):
        return block == maths.OPEN_BLOCK or not is_line_whole
    return start >= len(lines) - 2 and not is_line_whole


def directed(text: str) -> list[DocumentPart]:
    """Return untrusted Markdown as parts for `safe_document` that lay out each block as its language is written.

    Blocks most of whose letters are written from right to left are in an element that says so. Code is not, also in a
    list: its brackets would be on the wrong side. Nor is a text with link definitions, which count in one part only.
    """
    if _RIGHT_TO_LEFT.search(text) is None:
        return [Untrusted(text)]
    lines = safe_plain(text).split("\n")
    tokens = parse_blocks("\n".join(lines))
    code = [token.map[0] for token in tokens if token.type in _CODE and token.map]
    parts: list[DocumentPart] = []

    def is_reversed(block: tuple[int, int]) -> bool:
        words = _NO_WORDS.sub("", "\n".join(lines[slice(*block)]))
        letters = sum(map(str.isalpha, words))
        return 2 * len(_RIGHT_TO_LEFT.findall(words)) > letters and not any(line in range(*block) for line in code)

    for rtl, group in groupby(lines_of_blocks(tokens, len(lines)), is_reversed):
        blocks = [*group]
        part = Untrusted("\n".join(lines[blocks[0][0] : blocks[-1][1]]).strip("\n"))
        # The blank lines end the HTML, so that front ends read the content as Markdown.
        parts += ['<div dir="rtl">\n\n', part, "\n\n</div>\n\n"] if rtl else [part, "\n\n"]
    is_whole = len(parts) == 2 or any(token.type == "definition" for token in tokens)
    return [Untrusted(text)] if is_whole else parts
