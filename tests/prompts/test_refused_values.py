"""Values whose text says nothing of them are refused."""

from __future__ import annotations

import ctypes
import hashlib
import io
import sys
import zipfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import click
import httpx
import IPython.core.interactiveshell
import IPython.display
import IPython.utils.capture
import jinja2
import matplotlib
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
from prompt_values import Described, Nothing, axes_with_line, picture_of, png, text_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import as_prompt

pytestmark = pytest.mark.short

matplotlib.use("agg")


@pytest.mark.parametrize(
    "value",
    [Nothing(), object(), (one for one in "ab"), iter([1]), map(str, [1]), sys.__stdout__,
     Mock(), Mock(name="a"), ctypes.byref(ctypes.c_int()), jinja2.Template("x"),
     hashlib.sha256(), pa.py_buffer(b""), pa.table({"a": [1]}).to_reader(),
     IPython.core.interactiveshell.ExecutionResult(None), [Nothing()], {"a": (one for one in "ab")}, IPython.display.Video("https://ok.example/a.mp4")],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_a_value_whose_repr_says_nothing_is_refused_with_advice(value: object) -> None:
    with pytest.raises(InferenceError) as refused:
        as_prompt(value)
    assert "no readable form" in refused.value.what
    assert "as_prompt.register" in refused.value.remedy


@pytest.mark.parametrize(
    "text", ["<p>at 0x1f2e3d</p>", "<Response [200]>", "<Axes: xlabel='x'>", "<an object>", "denied (0x80070005)"]
)
def test_a_text_or_a_repr_that_says_something_is_kept(text: str) -> None:
    assert text_of(text) == text
    assert text_of(type("Own", (), {"__str__": lambda _: text})()) == text


DAYS = pd.Series([1, 2], index=pd.to_datetime(["2026-01-01", "2026-01-02"]), name="n")
CAPTURED = {"data": {"text/plain": "a frame"}}


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (DAYS.rolling(2), ".mean()"),
        (DAYS.ewm(1), ".mean()"),
        (DAYS.resample("D"), ".mean()"),
        (DAYS.to_frame().groupby("n"), ".mean()"),
        (httpx.Response(200, text="found"), ".json()"),
        (click.Command("cli", callback=lambda: None), ".callback"),
        (zipfile.ZipFile(io.BytesIO(), "w"), ".read(name)"),
        (IPython.utils.capture.CapturedIO(io.StringIO("printed"), None, [CAPTURED]), ".stdout"),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("template", ["{{ x }}", "{{ [x] }}", "{{ 'a' ~ x }}"])
def test_an_object_whose_text_has_none_of_its_data_is_refused(template: str, value: Any, remedy: str) -> None:
    with pytest.raises(InferenceError, match="has none of its data") as refused:
        render(template, {"x": value})
    assert remedy in refused.value.remedy


def test_such_an_object_in_a_cell_is_its_type() -> None:
    values = [zipfile.ZipFile(io.BytesIO(), "w"), [DAYS.rolling(2)], "text"]
    assert text_of(pd.DataFrame({"x": values})).endswith('[ZipFile]\n"[""[Rolling]""]"\ntext')


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("duckdb.DuckDBPyConnection", ".sql(query)"),
        ("pyarrow.dataset.Dataset", ".head(20)"),
        ("sklearn.metrics.RocCurveDisplay", ".figure_"),
        ("sqlalchemy.engine.Result", ".all()"),
        ("statsmodels.base.wrapper.ResultsWrapper", ".summary()"),
        ("statsmodels.regression._prediction.PredictionResults", ".summary_frame()"),
        ("statsmodels.tsa.seasonal.DecomposeResult", ".trend"),
    ],
)
def test_a_result_without_a_text_is_refused_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    module, _, kind = name.rpartition(".")
    base = type(kind, (), {})
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{kind: base}))
    with pytest.raises(InferenceError, match="has none of its data") as refused:
        as_prompt(type("Own", (base,), {})())
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    "name",
    [
        "bokeh.model.Model",
        "datasets.arrow_dataset.DatasetInfoMixin",
        "h5py.Dataset",
        "ibis.expr.types.generic.Value",
        "networkx.Graph",
        "netCDF4.Variable",
        "openpyxl.cell.cell.Cell",
        "xarray.core.groupby.GroupBy",
    ],
)
def test_a_chart_or_a_cell_whose_text_is_its_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, _, kind = name.rpartition(".")
    base = type(kind, (), {"__repr__": lambda _: "figure(id='p1006', ...)"})
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{kind: base}))
    with pytest.raises(InferenceError, match="has none of its data"):
        as_prompt(type("figure", (base,), {})())
    drawn = type("figure", (base,), {"_repr_png_": lambda _: png()})()
    assert picture_of(drawn).size == (4, 3)


@pytest.mark.parametrize("made", ["Array", "Bag", "Delayed", "Scalar"])
def test_a_value_of_dask_that_is_not_computed_is_refused(made: str) -> None:
    import dask
    import dask.array
    import dask.bag
    import dask.dataframe

    numbers = dask.dataframe.from_dict({"n": [1, 2]}, npartitions=1)
    values = [dask.array.arange(3), dask.bag.from_sequence([1]), dask.delayed(sum)([1]), numbers.n.sum()]
    value = next(each for each in values if type(each).__name__ == made)
    for one in (value, [value]):
        with pytest.raises(InferenceError, match=rf"value of type {made} has none of its data.*\.compute\(\)"):
            as_prompt(one)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_an_array_of_xarray_is_refused_unless_it_is_loaded(monkeypatch: pytest.MonkeyPatch, is_loaded: bool) -> None:
    shown = {"__str__": lambda _: "[6 values]", "_in_memory": is_loaded}
    known = [type("DataWithCoords", (), shown), type("Variable", (), shown)]
    for kind in known:
        module = "xarray.core.common" if kind is known[0] else "xarray.core.variable"
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{kind.__name__: kind}))
    dataset = type("Dataset", (known[0],), {"variables": {"t": known[1]()}})
    for value in (known[0](), known[1](), dataset()):
        if is_loaded:
            assert text_of(value) == "[6 values]"
        else:
            with pytest.raises(InferenceError, match=r"none of its data.*\.load\(\)"):
                as_prompt(value)


IN_TEXTS = (
    *("{{ [x] | join }}", "{{ x | string }}", "{{ x | upper }}", "{{ 'a' ~ x }}", "{{ 'a %s' % x }}"),
    *("{{ 'a %(x)s' % {'x': x, 'y': y} }}", "{{ 'a {}'.format(x) }}", "{{ 'a %s' | format(x) }}"),
)


@pytest.mark.parametrize("template", IN_TEXTS)
def test_a_text_made_in_a_template_has_no_part_that_is_refused_by_itself(template: str) -> None:
    for value in (Nothing(), axes_with_line(), PIL.Image.new("RGB", (2, 2)), [Nothing()]):
        with pytest.raises(InferenceError, match=r"no readable form|without the picture"):
            render(template, {"x": value, "y": Nothing()})
    for value, text in ((IPython.display.Markdown("**m**"), "**m**"), (Described(), "described for models")):
        assert text in str(render(template, {"x": value, "y": Nothing()})).lower()
    for kept in (Path("x.txt"), date(2026, 1, 2), [1], 1.5):
        assert str(kept) in str(render("{{ 'a' ~ x }}", {"x": kept}))


@dataclass(init=False)
class Undeclared:
    def __init__(self) -> None:
        self.address = "db.example"


@dataclass
class Hidden:
    key: str = field(default="secret", repr=False)


@pytest.mark.parametrize("value", [Undeclared(), Hidden(), [Hidden()], {"a": Undeclared()}])
def test_a_record_without_a_field_that_may_be_shown_is_refused(value: object) -> None:
    with pytest.raises(InferenceError, match=r"A value of type (Undeclared|Hidden) has no readable form"):
        text_of(value)


def test_a_record_that_has_no_fields_is_its_text() -> None:
    @dataclass
    class Stop:
        pass

    assert text_of([Stop()]) == "[{}]"
