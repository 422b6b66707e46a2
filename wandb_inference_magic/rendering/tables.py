"""Static tables that are safe and readable in every front end, as Markdown and as aligned plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Final

from ..markup import safe_document, safe_inline
from ..text import is_terminal, safe_plain, wrapped
from .reply import MARKDOWN, PLAIN

GAP: Final = "  "
# The width of a column, in characters, from which it is not made narrower to fit the terminal.
NARROWEST: Final = 6


def table_bundle(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    above: str = "",
    below: str = "",
    folded: Sequence[Sequence[str]] = (),
    summary: str = "",
) -> dict[str, Any]:
    """Return a table as a MIME bundle.

    Parameters
    ----------
    headings, rows : sequence of str, sequence of sequences of str
        The cells, as plain text from any source.
    above, below : str
        A line of plain text before and after the table.
    folded, summary : sequence of sequences of str, str
        More rows, in a second table that is folded under its summary. In plain text: each name with its value.
    """
    note = f"<small>{safe_inline(below)}</small>" if below else ""
    fold = fold_text = ""
    if folded:
        fold = f"<details><summary>{safe_inline(summary)}</summary>\n\n{_markdown(headings, folded)}\n\n</details>"
        fold_text = wrapped(safe_plain(f"{summary}: {', '.join(f'{row[0]} ({row[1]})' for row in folded)}."))
    parts = (safe_inline(above), _markdown(headings, rows), fold, note)
    plain = (safe_plain(above), _aligned(headings, rows), fold_text, safe_plain(below))
    return {
        MARKDOWN: safe_document(["\n\n".join(part for part in parts if part)]),
        PLAIN: "\n".join(part for part in plain if part),
    }


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    markdown = [_markdown_row(map(safe_inline, row)) for row in (headings, *rows)]
    markdown.insert(1, _markdown_row(["---"] * len(headings)))
    return "\n".join(markdown)


def line_bundle(text: str) -> dict[str, Any]:
    """Return one line of plain text as a MIME bundle."""
    return {MARKDOWN: safe_document([safe_inline(text)]), PLAIN: safe_plain(text)}


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as lines of plain text. In a terminal it fits: long cells are broken into several lines."""
    # Loading the extension does not import it.
    from rich.cells import cell_len

    cells = [[safe_plain(cell).replace("\n", " ") for cell in row] for row in (headings, *rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(headings))]
    if is_terminal(sys.stdout):
        room = get_terminal_size().columns - len(GAP) * (len(widths) - 1)
        while sum(widths) > room and max(widths) > NARROWEST:
            widths[widths.index(max(widths))] -= 1
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(line for row in cells for line in _lines(row, widths))


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    from rich.cells import cell_len, set_cell_size

    broken = [
        _broken(cell, width) if cell_len(cell) > width else [cell] for cell, width in zip(row, widths, strict=True)
    ]
    for parts in zip_longest(*broken, fillvalue=""):
        yield GAP.join(set_cell_size(part, width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _broken(cell: str, width: int) -> list[str]:
    """Return a cell in lines of at most this width: broken at words or, where a character can be wide, anywhere."""
    from rich.cells import chop_cells

    return wrap(cell, width) if cell.isascii() else chop_cells(cell, width)
