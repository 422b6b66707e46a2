"""Charts and geometries in prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib import pyplot

from wandb_inference_magic.prompts import Image, as_prompt

FRAME = pd.DataFrame({"a": range(6000), "b": np.arange(6000) / 2, "config": "kept"})


def text_of(value: object) -> str:
    shown = as_prompt(value)
    assert isinstance(shown, str)
    return shown


def test_an_altair_chart_is_its_specification_with_the_start_of_its_data() -> None:
    import altair as alt

    chart = alt.Chart(FRAME, title="Growth").mark_line().encode(x="a:Q", y="b:Q")
    for one in (chart, chart | chart, chart + chart, chart & chart):
        text = text_of(one)
        assert text.startswith("Altair chart, as Vega-Lite:\n{")
        assert '"field": "b"' in text
        assert '{"a": 0, "b": 0.0, "config": "kept"}' in text
        assert "[... 5,980 more left out ...]" in text
        assert len(text) < 5000
    assert alt.data_transformers.options == {}


@pytest.mark.parametrize("transformer", ["json", "csv"])
def test_an_altair_chart_writes_no_file(transformer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import altair as alt

    monkeypatch.chdir(tmp_path)
    with alt.data_transformers.enable(transformer):
        text = text_of(alt.Chart(FRAME).mark_line().encode(x="a:Q", y="b:Q"))
        assert alt.data_transformers.active == transformer
    assert '{"a": 0, "b": 0.0, "config": "kept"}' in text
    assert list(tmp_path.iterdir()) == []


def test_the_random_name_of_a_trace_of_plotly_is_not_sent() -> None:
    assert "u1" not in text_of(go.Figure(go.Bar(y=[1], uid="u1")))


def test_a_plotly_figure_is_its_data_and_layout_in_short() -> None:
    figure = go.Figure(go.Scatter(x=FRAME["a"], y=FRAME["b"], name="line"), layout={"title": "Growth"})
    figure.update_layout(template="plotly_dark")
    text = text_of(figure)
    assert text.startswith("Plotly figure, as JSON:\n{")
    assert '"y": [0.0, 0.5, 1.0,' in text
    assert text.count("[... 5,980 more left out ...]") == 2
    assert '"title": {"text": "Growth"}' in text
    assert len(text) < 2000
    heat = text_of(go.Figure(go.Heatmap(z=np.arange(900).reshape(30, 30))))
    assert "[0, 1, 2," in heat
    assert "[... 10 more left out ...]" in heat
    for unit in ("s", "us", "ns"):
        dates = pd.to_datetime(["2026-01-02", None]).astype(f"M8[{unit}]")
        for held in (dates, pd.Series(dates), dates.to_numpy()):
            assert '"2026-01-02 00:00:00", null]' in text_of(go.Figure(go.Bar(x=held, y=[1, 2])))
    assert '"y": [1.0, null, "inf"]' in text_of(go.Figure(go.Bar(y=np.array([1, np.nan, np.inf]))))


def test_the_times_of_a_plotly_figure_are_no_integers() -> None:
    times = np.array(["2024-01-01", "2024-01-02"], "M8[ns]")
    text = text_of(go.Figure(go.Scatter(x=times, customdata=np.array([[times[0], np.longdouble(1.5)]], dtype=object))))
    assert '"x": ["2024-01-01 00:00:00", "2024-01-02 00:00:00"]' in text
    assert '"customdata": [["2024-01-01 00:00:00", 1.5]]' in text


def test_a_part_of_a_matplotlib_figure_is_the_picture_of_the_figure() -> None:
    figure, axes = pyplot.subplots()
    (line,) = axes.plot([1, 2])
    grid = type("FacetGrid", (), {"figure": figure})()
    for value in (figure, axes, line, grid):
        assert isinstance(as_prompt(value), Image)
    pyplot.close(figure)


def test_a_geometry_is_its_text_shortened() -> None:
    import shapely

    assert text_of(shapely.Point(1, 2)) == "POINT (1 2)"
    assert text_of({"where": shapely.Point(1, 2)}) == '{"where": "POINT (1 2)"}'
    text = text_of(shapely.Point(1, 2).buffer(3, quad_segs=500))
    assert text.startswith("Polygon with bounds (-2, -1, 4, 5)\nPOLYGON ((4 2, ")
    assert text.endswith("characters left out ...]")
    assert len(text) < 2200
    frame = text_of(pd.DataFrame({"n": [1], "geometry": [shapely.Point(1, 2).buffer(3, quad_segs=500)]}))
    assert '1,"POLYGON ((4 2' in frame
    assert len(frame) < 500


def test_what_plots_of_numbers_give_is_the_picture_of_their_figure() -> None:
    figure = pyplot.figure()
    axes = figure.subplots()
    for made in (axes.boxplot([[1, 2], [3, 4]]), axes.hist([1, 2, 2]), axes.hist([[1, 2], [2, 3]])):
        assert isinstance(as_prompt(made), Image)


def test_a_picture_in_the_specification_of_a_chart_is_cut() -> None:
    figure = go.Figure(layout_images=[{"source": f"data:image/png;base64,{'A' * 1_000_000}"}])
    shown = as_prompt(figure)
    assert len(str(shown)) < 3000
    assert "characters left out" in str(shown)


def test_lists_in_lists_without_an_end_are_no_figure() -> None:
    own: list[Any] = []
    own.append(own)
    assert text_of(own) == '["..."]'
    empty: list[Any] = []
    for _ in range(40):
        empty = [empty, empty]
    # Each look at all of it would take years.
    assert text_of(empty).startswith("[")
