"""A small chart that compares models: an HTML table with bars, and text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from html import escape
from math import isfinite
from shutil import get_terminal_size
from typing import Any, Final, NamedTuple

from ..text import is_terminal, safe_plain
from .reply import HTML, PLAIN

BAR_CHARACTERS: Final = 24
# In a narrow terminal.
SHORTEST_BAR: Final = 4
BAR_PIXELS: Final = 110
MAX_MODELS: Final = 10


class Measure(NamedTuple):
    """One measure of models: a title with its unit, one value per model (None: unknown), and a format function."""

    title: str
    values: Sequence[float | None]
    format: Callable[[float], str]


def chart_bundle(models: Sequence[str], measures: Sequence[Measure]) -> dict[str, Any]:
    """Return a bar chart as a MIME bundle, with one row per model. The text form is for users who cannot see it.

    Parameters
    ----------
    models : sequence of str
        Their ids. Only the first ten are drawn.
    measures : sequence of Measure
        Drawn side by side. A measure without any known value is left out.

    Returns
    -------
    dict
        `text/plain` and `text/html`. Empty if there is nothing to draw.
    """
    names = [safe_plain(model).replace("\n", " ") for model in models[:MAX_MODELS]]
    drawn = [one._replace(values=[*map(_finite, one.values[: len(names)])]) for one in measures]
    known = [one for one in drawn if any(value is not None for value in one.values)]
    if not known:
        return {}
    return {PLAIN: _as_text(names, known), HTML: _as_html(names, known)}


def _finite(value: float | None) -> float | None:
    """Return the value if it is finite, else None."""
    return value if value is not None and isfinite(value) else None


def _formatted(measure: Measure, value: float | None) -> str:
    return "unknown" if value is None else measure.format(value)


def _as_text(names: Sequence[str], measures: Sequence[Measure]) -> str:
    # Loading the extension does not import it.
    from rich.cells import cell_len, set_cell_size

    width = max(map(cell_len, names))
    blocks = []
    for measure in measures:
        lines = [measure.title]
        texts = [_formatted(measure, value) for value in measure.values]
        longest = _longest_bar(width + 5 + max(map(len, texts)))
        for name, text, share in zip(names, texts, _shares(measure), strict=True):
            bar = "█" * round(share * longest)
            lines.append(f"  {set_cell_size(name, width)}  {bar}{' ' * bool(bar)}{text}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _longest_bar(others: int) -> int:
    """Return the length of the longest bar, in characters. `others` are those of its line besides it."""
    room = get_terminal_size().columns - others if is_terminal(sys.stdout) else BAR_CHARACTERS
    return min(max(room, SHORTEST_BAR), BAR_CHARACTERS)


def _shares(measure: Measure) -> list[float]:
    """Return the length of each bar as a share of the longest."""
    largest = max(value for value in measure.values if value is not None)
    return [(value or 0.0) / largest if largest > 0 else 0.0 for value in measure.values]


def _as_html(names: Sequence[str], measures: Sequence[Measure]) -> str:
    """Return the chart as a table. A bar is a border without a colour: it has the text's, in any theme."""
    head = ["model", *(escape(one.title) for one in measures)]
    # MathJax leaves code alone.
    rows = [[f"<code>{escape(name)}</code>"] for name in names]
    for measure in measures:
        for row, value, share in zip(rows, measure.values, _shares(measure), strict=True):
            bar = f'<div style="border-top:7px solid;width:{share * BAR_PIXELS:.0f}px"></div>' if share else ""
            row.append(f"{escape(_formatted(measure, value))}{bar}")
    body = "".join(_row("td", row) for row in rows)
    return f"<table><thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="text-align:left">{cell}</{tag}>' for cell in cells) + "</tr>"
