"""Shares with their intervals as bars: an HTML table whose bars are borders, in the colour of the text; and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..rendering import PLAIN, table_bundle
from ..statistics import SHARE, whole
from ..text import safe_plain, three_digits

if TYPE_CHECKING:
    from ..statistics import ScoreMeasure

PIXELS: Final = 240
BAR: Final = 21


class MimeBundle:
    """What shows itself as a MIME bundle: in a notebook as a whole, elsewhere and to a model as the text in it."""

    def bundle(self) -> dict[str, Any]:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        return self.bundle()

    def __repr__(self) -> str:
        return str(self.bundle()[PLAIN])

    _ai_repr_ = __repr__


class Figures(NamedTuple):
    """The share or mean score of a candidate: as a text, and as a part of the axis with the ends of its interval."""

    label: str
    value: float | None
    low: float
    high: float


class Bars(NamedTuple):
    """What is shown of the candidates: its name, from where to where the axis is, and the figures of each."""

    name: str
    axis: str
    figures: Sequence[Figures]


def bars_of(facts: Sequence[Mapping[str, Any]], measure: ScoreMeasure) -> Bars:
    """Return the shares of right answers, or the mean scores, of candidates with these facts (see `summary`)."""
    if measure == SHARE:
        shares = [(one["share"], one["low"], one["high"]) for one in facts]
        return Bars("share", "0 to 100 %", [Figures(_percent(*each), *each) for each in shares])
    most = (max(one["score_high"] or one["score"] or 0.0 for one in facts) or 1.0) if measure.is_error else 1.0
    return Bars(measure.name, f"0 to {three_digits(most)}", [_score_figures(one, most) for one in facts])


def _score_figures(facts: Mapping[str, Any], most: float) -> Figures:
    score, low, high = facts["score"], facts["score_low"], facts["score_high"]
    if score is None:
        return Figures("unknown", None, 0.0, 0.0)
    if low is None:
        return Figures(three_digits(score), score / most, score / most, score / most)
    return Figures(
        f"{three_digits(score)} ({three_digits(low)} to {three_digits(high)})", score / most, low / most, high / most
    )


def _percent(share: float | None, low: float, high: float) -> str:
    return "unknown" if share is None else f"{whole(share * 100)}% ({whole(low * 100)} to {whole(high * 100)})"


@dataclass(frozen=True, repr=False)
class Plot(MimeBundle):
    """A row for each candidate, with its name and its figures."""

    names: Sequence[str]
    bars: Bars

    def bundle(self) -> dict[str, Any]:
        rows = [(name, *figures) for name, figures in zip(self.names, self.bars.figures, strict=True)]
        texts = [(name, label, bar(share, low, high)) for name, label, share, low, high in rows]
        plain = table_bundle(("candidate", *self.bars[:2]), texts)[PLAIN]
        body = "".join(
            # MathJax leaves code alone.
            f"<tr><td><code>{escape(safe_plain(name))}</code></td><td>{escape(label)}</td>"
            f"<td>{_drawn(share, low, high)}</td></tr>"
            for name, label, share, low, high in rows
        )
        head = "".join(f"<th>{escape(safe_plain(one))}</th>" for one in ("candidate", *self.bars[:2]))
        return {
            PLAIN: plain,
            "text/html": f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        }


def bar(share: float | None, low: float, high: float) -> str:
    """Return a part of an axis, with its interval, as a bar of text."""
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
