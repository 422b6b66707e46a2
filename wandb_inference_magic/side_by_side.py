"""Several texts side by side, readable everywhere: a table whose cells are Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plain_text import safe_plain
from .rendering import MARKDOWN, PLAIN
from .safety import safe_inline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and a text below it: as Markdown that has been made safe, and as plain text."""

    heading: str
    markdown: str
    plain: str


def side_by_side_bundle(columns: Sequence[Column]) -> dict[str, Any]:
    """Return columns as a MIME bundle; more than three stand in several rows."""
    rows = [row for group in _groups(columns) for row in _rows(group)]
    return {
        MARKDOWN: "\n".join(["<table>", *rows, "</table>"]),
        PLAIN: "\n\n".join(f"=== {safe_plain(one.heading)} ===\n\n{one.plain}" for one in columns),
    }


def _groups(columns: Sequence[Column]) -> Iterator[Sequence[Column]]:
    width = 2 if len(columns) in (2, 4) else 3
    for start in range(0, len(columns), width):
        yield columns[start : start + width]


def _rows(columns: Sequence[Column]) -> Iterator[str]:
    share = f"{100 // len(columns)}%"
    yield _row("th", [f"**{safe_inline(one.heading)}**" for one in columns], share)
    yield _row("td", [one.markdown for one in columns], share)


def _row(tag: str, cells: Sequence[str], share: str) -> str:
    # The blank lines make front ends read what is inside as Markdown, and end the HTML around it.
    # GitHub heeds the attributes alone, JupyterLab the style alone.
    opening = f'<{tag} align="left" valign="top" width="{share}" style="text-align: left; vertical-align: top">'
    return "<tr>" + "".join(f"{opening}\n\n{cell.strip()}\n\n</{tag}>" for cell in cells) + "</tr>"
