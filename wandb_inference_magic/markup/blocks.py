"""Split a growing Markdown text into the finished blocks and the one that may still grow."""

from __future__ import annotations

import re
from typing import Final

from ..maths import rules as maths
from ..text import safe_plain
from .parser import block_parser, expanded, top_blocks

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
# Blocks that may continue after a blank line, and blocks that may continue on the very next line.
_LISTS: Final = ("bullet_list_open", "ordered_list_open")
_GOES_ON: Final = (*_LISTS, "paragraph_open", "blockquote_open", "table_open")


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
    blocks = top_blocks(block_parser().parse(expanded(safe_plain(text)), {"may_grow": True}))
    cut = len("".join(lines[: _open_line(lines, blocks)]))
    return text[:cut], text[cut:]


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
