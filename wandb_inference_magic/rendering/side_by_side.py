"""Several texts side by side, as a table whose cells are Markdown. Every front end can show it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..markup import safe_document, safe_inline
from ..text import safe_plain
from .reply import MARKDOWN, PLAIN

if TYPE_CHECKING:
    from ..markup import DocumentPart


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and the text below it, as parts of a Markdown document and as plain text.

    `below` are lines of plain text under that, such as a reply's footer, which the parts contain too.
    """

    heading: str
    parts: Sequence[DocumentPart]
    plain: str
    below: Sequence[str] = ()

    @property
    def whole(self) -> str:
        """All text as plain text, with its heading."""
        return "\n\n".join(filter(None, (f"=== {safe_plain(self.heading)} ===", self.plain, "\n".join(self.below))))


def side_by_side_bundle(columns: Sequence[Column], allow_images_from: Collection[str] = ()) -> dict[str, Any]:
    """Return columns as a MIME bundle. More than three columns are split into several rows."""
    width = 2 if len(columns) in (2, 4) else 3
    rows: list[DocumentPart] = []
    for start in range(0, len(columns), width):
        group = columns[start : start + width]
        rows += _row("th", [[f"**{safe_inline(one.heading)}**"] for one in group])
        rows += _row("td", [one.parts for one in group])
    return {
        MARKDOWN: safe_document(["<table>\n", *rows, "</table>"], allow_images_from),
        PLAIN: "\n\n".join(one.whole for one in columns),
    }


def _row(tag: str, cells: Sequence[Sequence[DocumentPart]]) -> Iterator[DocumentPart]:
    share = f"{100 // len(cells)}%"
    # The blank lines end the HTML, so that front ends read the content as Markdown.
    # GitHub uses only the attributes, JupyterLab only the style.
    opening = f'<{tag} align="left" valign="top" width="{share}" style="text-align: left; vertical-align: top">'
    yield "<tr>"
    for cell in cells:
        yield from (f"{opening}\n\n", *cell, f"\n\n</{tag}>")
    yield "</tr>\n"
