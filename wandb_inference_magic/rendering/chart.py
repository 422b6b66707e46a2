"""A small chart that compares models: always as text, and drawn with matplotlib if it is installed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from itertools import zip_longest
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from ..text import safe_plain
from .reply import HTML, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PNG: Final = "image/png"
BAR_CHARACTERS: Final = 24
MOST_MODELS: Final = 12
PANELS_A_ROW: Final = 2
# The image has twice the resolution of an older screen and is shown at half its size.
FINE: Final = 2
DPI: Final = 100
COLOUR: Final = "#3b6fb6"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of models: a title with its unit, one value per model (None: unknown), and a format function."""

    title: str
    values: Sequence[float | None]
    words: Callable[[float], str]


def chart_bundle(models: Sequence[str], measures: Sequence[Measure]) -> dict[str, Any]:
    """Return a bar chart as a MIME bundle, with one row per model. The text form is for users who cannot see it.

    Parameters
    ----------
    models : sequence of str
        Their ids. Only the first twelve are drawn.
    measures : sequence of Measure
        Drawn side by side. A measure without any known value is left out.

    Returns
    -------
    dict
        Always `text/plain`. If matplotlib is installed, also `image/png`, and `text/html` that contains it. Empty if
        there is nothing to draw.
    """
    names = [safe_plain(model).replace("\n", " ") for model in models[:MOST_MODELS]]
    drawn = [replace(one, values=[*map(_finite, one.values[: len(names)])]) for one in measures]
    known = [one for one in drawn if any(value is not None for value in one.values)]
    if not known:
        return {}
    bundle: dict[str, Any] = {PLAIN: _as_text(names, known)}
    try:
        bundle[PNG] = b64encode(_image(names, known)).decode()
    except Exception:  # noqa: BLE001 - a failed drawing must not lose a comparison that was paid for
        return bundle
    # Front ends show a PNG without alternative text. Untrusted notebooks and GitHub do not show this HTML.
    bundle[HTML] = f'<img alt="{escape(bundle[PLAIN])}" width="{_width(bundle)}" src="data:{PNG};base64,{bundle[PNG]}">'
    return bundle


def chart_metadata(data: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a chart's image: its display width and its alternative text."""
    return {PNG: {"width": _width(data), "alt": data[PLAIN]}} if PNG in data else {}


def _width(data: dict[str, Any]) -> int:
    # A PNG's width is in its header, bytes 16 to 19 (PNG specification, section 11.2.2).
    return int.from_bytes(b64decode(data[PNG][:64])[16:20], "big") // FINE


def _finite(value: float | None) -> float | None:
    """Return the value if it is finite, else None."""
    return value if value is not None and isfinite(value) else None


def _words(measure: Measure, value: float | None) -> str:
    return "unknown" if value is None else measure.words(value)


def _as_text(names: Sequence[str], measures: Sequence[Measure]) -> str:
    width = max(map(len, names))
    blocks = []
    for measure in measures:
        largest = max(value for value in measure.values if value is not None)
        lines = [measure.title]
        for name, value in zip(names, measure.values, strict=True):
            share = (value or 0.0) / largest if largest > 0 else 0.0
            bar = "█" * round(share * BAR_CHARACTERS)
            lines.append(f"  {name:<{width}}  {bar}{' ' * bool(bar)}{_words(measure, value)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _image(names: Sequence[str], measures: Sequence[Measure]) -> bytes:
    """Return the chart as a PNG. Raise what matplotlib raises, for example if it is not installed."""
    # pyplot is not used, so that the user's current figure and backend do not change.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    own: dict[Any, Any] = {
        "font.size": 9,
        "font.family": ["sans-serif"],
        "text.usetex": False,
        "text.parse_math": False,
    }
    # The user's style may use white text, which is invisible on this chart's white background.
    with style.context(["default", own]):
        rows, columns = -(-len(measures) // PANELS_A_ROW), min(len(measures), PANELS_A_ROW)
        size = (2.0 + 2.4 * columns, rows * (0.5 + 0.3 * len(names)))
        figure = Figure(figsize=size, dpi=DPI * FINE, layout="constrained")
        FigureCanvasAgg(figure)
        # Opaque, because the text is dark and the page may be dark too.
        figure.set_facecolor("white")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        panels[0, 0].invert_yaxis()
        for panel, measure in zip_longest(panels.flat, measures):
            if measure is None:
                panel.set_visible(False)
            else:
                _draw_panel(panel, names, measure)
        image = BytesIO()
        figure.savefig(image, format="png", dpi=DPI * FINE)
    return image.getvalue()


def _draw_panel(panel: Any, names: Sequence[str], measure: Measure) -> None:
    values = [value or 0.0 for value in measure.values]
    places = range(len(names))
    bars = panel.barh(places, values, height=0.62, color=COLOUR)
    labels = [_words(measure, value) for value in measure.values]
    panel.bar_label(bars, labels=labels, padding=3, fontsize=8, color="#333333")
    panel.set_yticks(places, names)
    # Leave space for the label after the longest bar.
    panel.set_xlim(0, (max(values) or 1.0) * 1.45)
    panel.set_xticks([])
    panel.set_title(measure.title, fontsize=9, loc="left", color="#333333")
    panel.tick_params(length=0)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color("#999999")
