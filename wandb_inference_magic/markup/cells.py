r"""Keep the cells of Markdown tables whole: in a row, each `|` ends a cell unless it is escaped, in code too.

Models write `a|b` and `$P(A|B)$` in tables. A parser cuts such cells, and drops those that are then beyond the columns.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ..maths import rules as maths
from .parser import parse_blocks

if TYPE_CHECKING:
    from markdown_it.token import Token

# The row of dashes that makes the lines around it a table.
ROW_OF_DASHES: Final = re.compile(r"^(?=[^\n]*-)(?=[^\n]*[|:])[-|: \t>]+$", re.MULTILINE)
_NEWLINE: Final = re.compile(r"\r\n?")
_MARK: Final = re.compile(r"`+|\\.|\$")
_PIPE: Final = re.compile(r"(?<!\\)\|")
# The marks of quotations and lists before a row.
_CONTAINERS: Final = re.compile(r"(?:[ \t>]|(?:[-+*]|\d{1,9}[.)])[ \t])*")


def keep_cells(text: str) -> str:
    r"""Return Markdown with `|` escaped in the cells of its tables.

    In code, `|` becomes `\|`. In a formula each `|` gets a backslash more, so that `\|` stays the mark of a norm. That
    is done if the row then has as many cells as its table has columns, or if it had more. Cells that are still beyond
    the columns become text of the last cell.
    """
    text = _NEWLINE.sub("\n", text)
    if ROW_OF_DASHES.search(text) is None:
        return text
    lines = text.split("\n")
    tokens = parse_blocks(text)
    if headings := _headings(lines, tokens):
        tokens = parse_blocks("\n".join(headings.get(number, line) for number, line in enumerate(lines)))
    columns = 0
    for token in tokens:
        if token.map is None:
            continue
        if token.type == "table_open":
            columns = _columns(lines[token.map[0] + 1])
        elif token.type == "tr_open":
            lines[token.map[0]] = _whole(lines[token.map[0]], columns)
    return "\n".join(lines)


def _headings(lines: list[str], tokens: list[Token]) -> dict[int, str]:
    """Return the lines that would be the heading of a table, with their cells whole."""
    known = ("fence", "code_block", "table_open", maths.BLOCK, maths.OPEN_BLOCK)
    read = {number for token in tokens if token.type in known and token.map for number in range(*token.map)}
    return {
        number: shown
        for number, (line, dashes) in enumerate(pairwise(lines))
        if number not in read
        and ROW_OF_DASHES.fullmatch(dashes)
        and _count(_bare(shown := _escaped(line))) == _columns(dashes)
    }


def _columns(dashes: str) -> int:
    return sum("-" in cell for cell in dashes.split("|"))


def _bare(line: str) -> str:
    return _CONTAINERS.sub("", line, count=1)


def _whole(line: str, columns: int) -> str:
    """Return the line of a row, in a table with that many columns, with its cells whole."""
    row = _bare(line)
    shown = _escaped(row)
    if _count(row) <= columns != _count(shown):
        return line
    return line.removesuffix(row) + _joined(shown, columns)


def _count(row: str) -> int:
    cells = _PIPE.split(row.strip())
    return len(cells) - (not cells[0]) - (not cells[-1])


def _escaped(row: str) -> str:
    """Return a row with `|` escaped in its code and its formulas."""
    parts, position, at = [], 0, 0
    while mark := _MARK.search(row, at):
        start, at = mark.span()
        if found := maths.CODE.match(row, start):
            shown = _PIPE.sub(r"\|", found[0])
        elif found := maths.match_inline(row, start, len(row)):
            shown = found[0].replace("|", r"\|")
        else:
            continue
        parts += [row[position:start], shown]
        position = at = found.end()
    return "".join([*parts, row[position:]])


def _joined(row: str, columns: int) -> str:
    """Return a row with the cells beyond the columns as text of the last cell."""
    cells = _PIPE.split(row.rstrip())
    kept = columns - 1 + (not cells[0])
    closing = [""] if not cells[-1] else []
    last = cells[kept : len(cells) - len(closing)]
    return "|".join([*cells[:kept], r"\|".join(last), *closing]) if any(map(str.strip, last[1:])) else row
