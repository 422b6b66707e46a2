"""Shares with their intervals as bars: an HTML table whose bars are borders, in the colour of the text; and as text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ..rendering import PLAIN, table_bundle
from ..text import safe_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

PIXELS: Final = 240
BAR: Final = 21


class Shown:
    """What shows itself as a MIME bundle: in a notebook as a whole, elsewhere and to a model as the text in it."""

    def bundle(self) -> dict[str, Any]:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        return self.bundle()

    def __repr__(self) -> str:
        return str(self.bundle()[PLAIN])

    _ai_repr_ = __repr__


@dataclass(frozen=True, repr=False)
class Plot(Shown):
    """A row for each candidate: its name, its share as text, and the share with the ends of its interval."""

    rows: Sequence[tuple[str, str, float | None, float, float]]

    def bundle(self) -> dict[str, Any]:
        texts = [(name, said, bar(share, low, high)) for name, said, share, low, high in self.rows]
        plain = table_bundle(("candidate", "share", "0 to 100 %"), texts)[PLAIN]
        body = "".join(
            # MathJax leaves code alone.
            f"<tr><td><code>{escape(safe_plain(name))}</code></td><td>{escape(said)}</td>"
            f"<td>{_drawn(share, low, high)}</td></tr>"
            for name, said, share, low, high in self.rows
        )
        head = "<tr><th>candidate</th><th>share</th><th>0 to 100 %</th></tr>"
        return {PLAIN: plain, "text/html": f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"}


def bar(share: float | None, low: float, high: float) -> str:
    """Return a share with its interval as a bar of text, from 0 to 1."""
    if share is None:
        return "·" * BAR
    first, last, at = (round(one * (BAR - 1)) for one in (low, high, share))
    return "".join("●" if place == at else "━" if first <= place <= last else "·" for place in range(BAR))


def _drawn(share: float | None, low: float, high: float) -> str:
    """Return the interval as a thin line, and the share as a short thick one below it."""
    if share is None:
        return ""
    lines = [(low, high - low, 2), (share - 0.01, 0.02, 8)]
    drawn = "".join(
        f'<div style="margin-left:{max(start, 0) * PIXELS:.0f}px;width:{width * PIXELS:.0f}px;'
        f'border-top:{thick}px solid"></div>'
        for start, width, thick in lines
    )
    return f'<div style="width:{PIXELS}px;border-left:1px solid;border-right:1px solid">{drawn}</div>'
