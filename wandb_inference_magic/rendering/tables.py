"""Static tables that are safe and readable in every front end, as Markdown and as aligned plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..markup import safe_document, safe_inline
from ..text import safe_plain
from .reply import MARKDOWN, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table_bundle(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, above: str = "", below: str = ""
) -> dict[str, Any]:
    """Return a table as a MIME bundle.

    Parameters
    ----------
    headings, rows : sequence of str, sequence of sequences of str
        The cells, as plain text from any source.
    above, below : str
        A line of plain text before and after the table.
    """
    markdown = [_markdown_row(map(safe_inline, row)) for row in (headings, *rows)]
    markdown.insert(1, _markdown_row(["---"] * len(headings)))
    note = f"<small>{safe_inline(below)}</small>" if below else ""
    parts = (safe_inline(above), "\n".join(markdown), note)
    return {
        MARKDOWN: safe_document(["\n\n".join(part for part in parts if part)]),
        PLAIN: "\n".join(part for part in (safe_plain(above), _aligned(headings, rows), safe_plain(below)) if part),
    }


def line_bundle(text: str) -> dict[str, Any]:
    """Return one line of plain text as a MIME bundle."""
    return {MARKDOWN: safe_document([safe_inline(text)]), PLAIN: safe_plain(text)}


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[safe_plain(cell).replace("\n", " ") for cell in row] for row in (headings, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
