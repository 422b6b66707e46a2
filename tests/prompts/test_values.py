"""How values of the notebook are written in a prompt."""

from __future__ import annotations

import base64
import csv
import ctypes
import enum
import hashlib
import io
import json
import linecache
import sqlite3
import subprocess
import sys
import tracemalloc
import zipfile
from array import array
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache, update_wrapper
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock

import attrs
import click
import httpx
import IPython.core.interactiveshell
import IPython.display
import IPython.utils.capture
import ipywidgets
import jinja2
import matplotlib
import narwhals as nw
import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageSequence
import PIL.PngImagePlugin
import polars as pl
import pyarrow as pa
import pydantic.dataclasses
import pytest
from hypothesis import given, strategies as st
from matplotlib.figure import Figure
from plotly import graph_objects
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, model_serializer

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import Reply
from wandb_inference_magic.messages.tokens import estimate
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.value_spans import LEFT_OUT, cut
from wandb_inference_magic.prompts.values import Image, as_prompt, image_of, json_of

pytestmark = pytest.mark.short

matplotlib.use("agg")


def text_of(value: object) -> str:
    shown = as_prompt(value)
    assert isinstance(shown, str)
    return shown


def picture_of(value: object) -> PIL.Image.Image:
    """Open the image that the value is converted to."""
    shown = as_prompt(value)
    assert isinstance(shown, Image)
    head, _, data = shown.url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


MASKED = attrs.field(repr=lambda _: "*")


class Quantity:
    """A number with a unit, as of Astropy: its item has the unit too."""

    shape = ()

    def item(self) -> Quantity:
        return Quantity()

    def __str__(self) -> str:
        return "3 m"


@dataclass
class Point:
    x: int
    when: date


@dataclass
class FileAndSize:
    file: Path
    size: int


class Movie(BaseModel):
    title: str
    year: int = 1979


class Found(tuple[float, float]):
    """As the results of SciPy: its dict has more than the tuple, and private parts."""

    _fields = ("statistic", "_1")

    def _asdict(self) -> dict[str, Any]:
        return {"statistic": self[0], "_1": self[1], "df": 4, "_xp": "a module"}


class Pay(NamedTuple):
    name: str
    pay: float


class Measured(BaseModel):
    low: float


class Mood(enum.Enum):
    GOOD = "good"


class Plain:
    def __str__(self) -> str:
        return "plainly"


def halve(x: float) -> float:
    """Halve it."""
    return x / 2


REPLY = Reply(text="the answer", asked_model="m", model="m", endpoint="wandb")
SIMPLE: list[tuple[Any, str]] = [
    ("text {{ x }} $y$", "text {{ x }} $y$"),
    (None, ""),
    (UserString("a"), "a"),
    (pd.NaT, ""),
    (1.5, "1.5"),
    (True, "True"),
    (np.float64(2.5), "2.5"),
    (Plain(), "plainly"),
    (Mood.GOOD, "Mood.GOOD"),
    ({"a": 1, "b": [None, True]}, '{"a": 1, "b": [null, true]}'),
    ([1, "é"], '[1, "é"]'),
    ((1, 2), "[1, 2]"),
    (OrderedDict(a=1), '{"a": 1}'),
    ({1: date(2026, 1, 2), "n": np.int64(3)}, '{"1": "2026-01-02", "n": 3}'),
    (Point(1, date(2026, 1, 2)), '{"x": 1, "when": "2026-01-02"}'),
    (Movie(title="Alien"), '{"title": "Alien", "year": 1979}'),
    ([Movie(title="Alien")], '[{"title": "Alien", "year": 1979}]'),
    (Measured(low=float("-inf")), '{"low": "-inf"}'),
    (Pay("Bo", float("inf")), '{"name": "Bo", "pay": "inf"}'),
    (Found((1.5, 2.5)), '{"statistic": 1.5, "_1": 2.5, "df": 4}'),
    ([Pay("Bo", 3)], '[{"name": "Bo", "pay": 3}]'),
    (next(pd.DataFrame({"name": ["Bo"], "pay": [3]}).itertuples()), '{"Index": 0, "name": "Bo", "pay": 3}'),
    (halve, 'def halve(x: float) -> float:\n    """Halve it."""\n    return x / 2'),
    (Plain, 'class Plain:\n    def __str__(self) -> str:\n        return "plainly"'),
    (REPLY, "the answer"),
    ([REPLY], '["the answer"]'),
    ({"a": REPLY}, '{"a": "the answer"}'),
]


@pytest.mark.parametrize(("value", "text"), SIMPLE, ids=[type(one[0]).__name__ for one in SIMPLE])
def test_a_simple_value_is_written_as_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_reply_as_json_is_its_text() -> None:
    assert json_of({"a": [REPLY]}) == '{"a": ["the answer"]}'


def test_a_class_of_the_user_is_not_missing_because_of_its_name() -> None:
    for name in ("PriceScalar", "NAType", "NaTType", "MaskedConstant"):
        value = type(name, (), {"is_valid": False, "__str__": lambda _: "3 EUR"})()
        assert text_of(value) == "3 EUR"
        assert render("{{ 'x' ~ v }}{{ v or 'nothing' }}", {"v": value}) == "x3 EUR3 EUR"


def test_a_row_of_a_database_is_written_with_its_columns() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        row = database.execute("SELECT 'Bo' AS name, 3 AS pay").fetchone()
    assert text_of(row) == '{"name": "Bo", "pay": 3}'
    assert text_of([row]) == '[{"name": "Bo", "pay": 3}]'


class ResultSet:
    """A result of SQL as jupysql has it. Its text has the first row only."""

    def __init__(self, keys: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self._keys, self._rows = keys, rows

    @property
    def keys(self) -> Sequence[str]:
        return self._keys

    def __iter__(self) -> Iterator[Sequence[object]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        return f"{self._keys}\n{self._rows[:1]}"

    _repr_html_ = __str__


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ResultSet(["a", "b"], [(1, 2), (3, None)]), '[{"a": 1, "b": 2}, {"a": 3, "b": null}]'),
        ([ResultSet(["a"], [(1,), (2,)])], '[[{"a": 1}, {"a": 2}]]'),
        (ResultSet(["a", "a"], [(1, 2), (3, 4)]), '[["a", "a"], [1, 2], [3, 4]]'),
        (ResultSet(["a"], []), "[]"),
        (ResultSet(["a", "b"], "xyz"), '["x", "y", "z"]'),
    ],
)
def test_all_rows_of_a_result_of_sql_are_sent(result: object, text: str) -> None:
    assert text_of(result) == json_of(result) == text


def test_rows_of_a_result_of_sql_that_are_left_out_are_counted() -> None:
    assert text_of(ResultSet(["a"], [(1,)] * 3000)).endswith('"[... 2,000 more left out ...]"\n]')


def test_an_object_without_source_shows_its_signature() -> None:
    assert text_of(len).startswith("len(obj, /)\n\nReturn the number of items")
    assert text_of(json).startswith("module json\n\nJSON (JavaScript Object Notation)")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pydantic.create_model("Made", a=(int, ...), b=(str, "c")), "Made(*, a: int, b: str = 'c') -> None"),
        (type("Made", (Plain,), {"__doc__": "Count it.", "__init__": lambda self, n: None}), "Made(n)\n\nCount it."),
    ],
)
def test_a_class_without_source_shows_nothing_of_the_one_that_it_is_made_from(kind: type, text: str) -> None:
    # Python 3.10 has this documentation for each enumeration.
    assert text_of(kind).removesuffix("\n\nAn enumeration.") == text


def test_an_exception_shows_its_traceback() -> None:
    try:
        halve("x")  # type: ignore[arg-type]
    except TypeError as error:
        text = text_of(error)
    assert text.startswith("Traceback (most recent call last):")
    assert "return x / 2" in text
    assert text.splitlines()[-1].startswith("TypeError: unsupported operand")


def test_the_text_of_long_and_recursive_containers_is_bounded() -> None:
    text = text_of(list(range(5000)))
    assert "4,000 more left out" in text
    assert len(text) < 20_000
    loop: list[Any] = [1]
    loop.append(loop)
    assert text_of(loop) == '[1, "..."]'
    assert '"..."' in text_of(_nested(100))
    assert json.loads(text_of({str(number): number for number in range(50)}))["49"] == 49


def test_values_that_json_does_not_have_are_described() -> None:
    class Own:
        """A type that the user has registered."""

    as_prompt.register(Own, lambda value: "an Own")
    assert text_of({"a": Own()}) == '{"a": "an Own"}'
    assert text_of({1: "i", "1": "s"}) == '{"1": "i", "\'1\'": "s"}'
    assert text_of([10**5000]) == '["an integer of about 4,983 digits"]'
    assert text_of(10**5000) == "an integer of about 4,983 digits"
    assert text_of(deque([1, 2])) == "[1, 2]"


class Pairs(UserDict[str, int]):
    """A mapping that may have a key several times, as of multidict."""

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "a", "a", "b"])

    def getall(self, key: str) -> tuple[int, ...]:
        return (1, 2, 3) if key == "a" else (4,)


@pytest.mark.parametrize("value", [Pairs(a=1, b=4), httpx.QueryParams("a=1&a=2&a=3&b=4")])
def test_a_key_that_a_mapping_has_several_times_has_all_its_values(value: Any) -> None:
    for text in (text_of(value), json_of(value), str(render("{{ x }}", {"x": value}))):
        assert text.replace('"', "") == "{a: [1, 2, 3], b: 4}"


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


# The start of an image without its end is refused.
binary = st.binary().filter(lambda data: not data.startswith((b"\x89PNG", b"\xff\xd8\xff")))
json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.dates(),
    lambda inner: (
        st.lists(inner | binary) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(json_like)
def test_any_container_becomes_text(value: object) -> None:
    assert isinstance(as_prompt(value), str)


SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (IPython.display.Markdown("**x**"), "**x**"),
        (IPython.display.HTML("<b>x</b>"), "<b>x</b>"),
        (IPython.display.Latex("$x$"), "$x$"),
        (IPython.display.SVG(SVG), SVG),
        (IPython.display.JSON({"a": [1, None]}), '{"a": [1, null]}'),
        ([IPython.display.Markdown("**x**")], '["**x**"]'),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_a_notebook_displays_is_written_as_its_content(value: object, text: str) -> None:
    assert text_of(value) == text


class ShownAs:
    """A value whose text says nothing, and that notebooks show by one method."""


@pytest.mark.parametrize(
    ("method", "shown", "text"),
    [
        ("_repr_markdown_", "**x**", "**x**"),
        ("_repr_latex_", "$x$", "$x$"),
        (
            "_repr_html_",
            "<style>#T_1 {}</style><table><tr><td>x</td></tr></table>",
            "<table><tr><td>x</td></tr></table>",
        ),
        ("_repr_html_", ("<p>x</p>", {}), "<p>x</p>"),
        ("_repr_html_", '<div id="dqafriefvo" class="t">x id="y"</div>', '<div class="t">x id="y"</div>'),
    ],
)
def test_a_value_without_a_text_of_its_own_is_written_as_notebooks_show_it(method: str, shown: Any, text: str) -> None:
    assert text_of(type("Table", (ShownAs,), {method: lambda _: shown})()) == text


def test_a_value_that_notebooks_show_without_words_is_refused() -> None:
    with pytest.raises(InferenceError, match="no readable form"):
        as_prompt(type("Video", (ShownAs,), {"_repr_html_": lambda _: "<video src='data:...'></video>"})())


# Frames ------------------------------------------------------------------------------------------------------------

DATA = {"name": ["Ada", "Bob", None], "age": [36, 41, 5]}


def test_a_styled_frame_is_shown_as_its_frame() -> None:
    pytest.importorskip("jinja2", minversion="3.1.2", reason="pandas makes no styles with an older one")
    frame = pd.DataFrame(DATA)
    assert text_of(frame.style) == text_of(frame)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_small_frame_is_shown_whole(make: Callable[[Any], Any]) -> None:
    lines = text_of(make(DATA)).splitlines()
    assert lines[0] == "DataFrame, 3 rows x 2 columns:"
    assert lines[1].startswith("Columns: name (")
    assert ", 1 missing), age (" in lines[1]
    assert lines[2:] == ["", "name,age", "Ada,36", "Bob,41", ",5"]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_long_frame_shows_its_first_and_last_rows(make: Callable[[Any], Any]) -> None:
    lines = text_of(make({"n": range(1000), "t": ["x" * 1000] * 1000})).splitlines()
    assert lines[0] == "DataFrame, 1,000 rows x 2 columns; the first 20 and last 5 rows:"
    rows = [line.partition(",")[0] for line in lines[4:]]
    assert rows == [*map(str, range(20)), "...", *map(str, range(995, 1000))]
    assert lines[4].endswith("xxx[...]")
    assert len(lines[4]) < 220


def test_a_wide_frame_names_the_columns_that_are_left_out() -> None:
    text = text_of(pd.DataFrame({f"c{number}": [number] for number in range(60)}))
    assert "1 row x 60 columns" in text
    assert "and 10 columns left out: c50, c51," in text
    assert text.splitlines()[-1].endswith(",49")


def test_a_styled_frame_has_its_caption_and_the_rows_appended_to_it() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=["x", "y"])
    style = frame.style.hide(["x"]).hide(["b"], axis=1).set_caption("in EUR").concat(frame.agg(["sum"]).style)
    assert text_of(style) == "in EUR\n" + text_of(pd.DataFrame({"a": [2, 3]}, index=["y", "sum"]))
    assert json.loads(json_of(style)) == [{"index": "y", "a": 2}, {"index": "sum", "a": 3}]


UNUSUAL_FRAMES: list[tuple[str, Any, list[str]]] = [
    ("index", pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), ["index,a", "x,1", "y,2"]),
    ("named index", pd.DataFrame({"a": [1]}, index=pd.Index([7], name="id")), ["id,a", "7,1"]),
    ("nameless level", pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("u", "v")], names=[None, "h"])),
     ['"level_0, h",a', '"[""u"", ""v""]",1']),
    ("two columns of one name", pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a,a", "1,2"]),
    ("names that are no text", pd.DataFrame([[1, 2]], columns=[7, "b"]), ["7,b", "1,2"]),
    ("two levels", pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), ['"a, b"', "1"]),
    ("no rows", pd.DataFrame({"a": []}), ["a"]),
    ("nothing", pd.DataFrame(), [""]),
    ("kinds", pd.DataFrame({"c": pd.Categorical(["u"]), "d": [pd.Timestamp("2026-01-02")], "l": [[1, 2]]}),
     ["c,d,l", 'u,2026-01-02 00:00:00,"[1, 2]"']),
    ("arrays in cells", pd.DataFrame({"a": [np.array([1, 2])]}), ["a", '"[1, 2]"']),
    ("arrays of pandas in cells", pd.DataFrame({"a": [pd.array([1, None])]}), ["a", '"[1, null]"']),
    ("series", pd.Series([1.5, None], name="score"), ["score", "1.5", '""']),
    ("series with index", pd.Series([1], index=["x"]), ["index,values", "x,1"]),
    ("polars series", pl.Series("n", [1, 2]), ["n", "1", "2"]),
    ("polars lists", pl.DataFrame({"l": [[1, 2]]}), ["l", '"[1, 2]"']),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "rows"), [one[1:] for one in UNUSUAL_FRAMES], ids=[one[0] for one in UNUSUAL_FRAMES])
def test_an_unusual_frame_is_shown(frame: Any, rows: list[str]) -> None:
    assert text_of(frame).split("\n")[3:] == rows


def test_column_types_are_the_same_for_every_version_of_pandas() -> None:
    # As in pandas before version 3: text as objects, times in nanoseconds.
    frame = pd.DataFrame(
        {
            "text": pd.Series(["a", None], dtype=object),
            "mixed": pd.Series(["a", 1], dtype=object),
            "none": pd.Series([None, None], dtype=object),
            "when": pd.Series(pd.to_datetime(["2026-01-02", "2026-01-03"])).astype("datetime64[ns]"),
            "there": pd.Series(pd.to_datetime(["2026-01-02", "2026-01-03"], utc=True)),
            "took": pd.to_timedelta([1, 2], unit="s"),
        }
    )
    assert text_of(frame).splitlines()[1] == (
        "Columns: text (str, 1 missing), mixed (object), none (object, 2 missing), when (datetime64), "
        "there (datetime64[UTC]), took (timedelta64)"
    )
    assert text_of(frame.text).splitlines()[1] == "Columns: text (str, 1 missing)"
    assert text_of(pd.Series(["a", "b"])).splitlines()[1] == "Columns: values (str)"


def test_a_lazy_frame_shows_its_first_rows() -> None:
    lines = text_of(pl.LazyFrame({"n": range(100)})).splitlines()
    assert lines[0] == "lazy DataFrame, 1 column; its first rows, at most 20:"
    assert len(lines) == 4 + 20
    header, row = text_of(pl.LazyFrame({f"c{n}": [n] for n in range(60)})).splitlines()[-2:]
    assert len(header.split(",")) == len(row.split(",")) == 50


def text_and_peak_of(value: object) -> tuple[str, int]:
    """Return the text of a value in a prompt, and the peak of the memory in use while it was made."""
    tracemalloc.start()
    try:
        return text_of(value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_huge_frame_is_not_copied() -> None:
    frame = pd.DataFrame({"a": np.arange(3_000_000), "b": np.random.default_rng(0).random(3_000_000)})
    code, peak = text_and_peak_of(frame)
    assert code.startswith("DataFrame, 3,000,000 rows x 2 columns")
    assert len(code) < 2000
    # One of its columns alone takes 24 MB.
    assert peak < 10_000_000


# Arrays --------------------------------------------------------------------------------------------------------------

ARRAYS: list[tuple[Any, list[str]]] = [
    (np.arange(6).reshape(2, 3), ["array of shape (2, 3), int64; min 0, mean 2.5, max 5", "[[0 1 2]\n [3 4 5]]"]),
    (np.array([1.0, np.nan, np.inf]), ["min 1, mean 1, max 1; 2 not finite or masked"]),
    (np.array([np.nan]), ["no number in it"]),
    (np.zeros((0, 3)), ["shape (0, 3)"]),
    (np.array(["a", "b"]), ["shape (2,)", "['a' 'b']"]),
    (np.array([[1, None]], dtype=object), ["object", "[[1 None]]"]),
    (np.array([(1, "x")], dtype=[("n", int), ("s", "U1")]), ["shape (1,)", "[(1, 'x')]"]),
    (np.ma.masked_array([1, 2], mask=[True, False]), ["min 2", "1 not finite or masked"]),
    (np.ma.array(np.array(["2024-01-01", "NaT"], "M8[ns]"), mask=[0, 1]), ["['2024-01-01T00:00:00.000000000' --]"]),
    (np.array([True, False]), ["bool", "mean 0.5"]),
    (np.array(5), ["5"]),
    (np.zeros((1000, 1000)), ["shape (1000, 1000)", "..."]),
    (np.array([1 + 2j]), ["complex128"]),
    (np.ones((2,) * 16), ["shape (2, 2,", "min 1"]),
]


@pytest.mark.parametrize(("array", "expected"), ARRAYS)
def test_an_array_shows_shape_type_and_range(array: Any, expected: list[str]) -> None:
    text = text_of(array)
    assert all(fragment in text for fragment in expected), text
    assert len(text) < 1500


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # A list that was written to parquet and read again.
        (np.array(["a", None], dtype=object), '["a", null]'),
        ({"tags": np.array(["a", "b"], dtype=object)}, '{"tags": ["a", "b"]}'),
        (pd.Series(["x", "y", "x"], dtype="category").unique(), '["x", "y"]'),
        (pd.Index(["x", "y"]), '["x", "y"]'),
        (pd.MultiIndex.from_tuples([("a", 1)]), '[["a", 1]]'),
        (pd.array([1, None], dtype="Int64"), "[1, null]"),
        (pa.array([1, None]), "[1, null]"),
        (pa.chunked_array([["a"], ["b"]]), '["a", "b"]'),
        ({"index": pd.Index([3, 4])}, '{"index": [3, 4]}'),
        # The order of a set differs in each process.
        ({"good", "bad", "mixed"}, '["bad", "good", "mixed"]'),
        # Containers of other classes, whose own texts are those of Python.
        ({"b": np.nan, "a": 1}.values(), "[null, 1]"),
        ({"b": 2, "a": 1}.keys(), '["b", "a"]'),
        ({"a": 1}.items(), '[["a", 1]]'),
        (UserList([1, None]), "[1, null]"),
        ([UserString("a")], '["a"]'),
        (graph_objects.Figure().layout, "{}"),
        (array("i", [1, 2]), "[1, 2]"),
        (UserDict(a=pd.NA), '{"a": null}'),
        (ChainMap({"a": 1}), '{"a": 1}'),
        (MappingProxyType({"a": {2, 1}}), '{"a": [1, 2]}'),
        (SimpleNamespace(a=None), '{"a": null}'),
        (attrs.make_class("Row", ["a"])(pd.NaT), '{"a": null}'),
        (graph_objects.Figure(graph_objects.Bar(x=[1])).data, '[{"x": [1], "type": "bar"}]'),
        (frozenset({2, 1}), "[1, 2]"),
        ({"labels": {"b", "a"}}, '{"labels": ["a", "b"]}'),
        ({"a", 1}, '[1, "a"]'),
        ([Quantity()], '["3 m"]'),
    ],
)
def test_a_list_in_another_form_is_its_items(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_items_that_are_left_out_are_counted() -> None:
    assert "999 more" in text_of(pd.Index([f"name {number}" for number in range(1999)]))


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": range(50)}),
        pl.LazyFrame({"a": range(50)}),
        pa.table({"a": range(50)}),
        pa.record_batch({"a": list(range(50))}),
    ],
)
def test_tojson_is_all_rows_of_a_frame(frame: object) -> None:
    assert json.loads(json_of(frame)) == [{"a": number} for number in range(50)]
    assert "DataFrame, " in text_of(frame)


def test_tojson_is_all_values_of_a_series() -> None:
    assert json.loads(json_of(pl.Series(range(50)))) == list(range(50))


def test_objects_in_a_frame_are_named_without_their_addresses() -> None:
    picture = PIL.Image.new("RGB", (2, 2))
    frame = pd.DataFrame({"a": [picture, object()], "b": [[picture, pd.NA], {"low": float("-inf"), "nan": np.nan}]})
    assert text_of(frame).endswith("""[Image],"[""[Image]"", null]"\n[object],"{""low"": ""-inf"", ""nan"": null}\"""")
    others = [UserDict(a=picture), UserList([pd.NA]), SimpleNamespace(a=object()), np.array([picture], dtype=object)]
    text = text_of(pd.DataFrame({"a": others}))
    assert '"{""a"": ""[Image]""}"\n[null]\nnamespace(a=<object object>)' in text
    assert "0x" not in text
    assert "0x" not in text_of(np.array([[object()]]))


class Account(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")
    data: Any = 1
    note: str = Field("private", exclude=True)
    key: str = Field("secret", repr=False)


class Accounts(BaseModel):
    first: Account = Account()
    others: tuple[Account, ...] = (Account(),)
    by_name: dict[str, Account] = {"a": Account(more=2)}  # type: ignore[call-arg]


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class OnlyComputing(BaseModel):
    @computed_field
    def made(self) -> Account:
        return Account()


@pydantic.dataclasses.dataclass
class PydanticLogin:
    user: str = "bo"
    key: str = Field("private", exclude=True)


@dataclass
class Login:
    user: str = "bo"
    key: str = field(default="secret", repr=False)


class Listed(RootModel[list[Account]]):
    pass


@dataclass
class Holder:
    held: Account


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    user: str = "bo"
    key: str = Field("secret", repr=False)


class Computing(BaseModel):
    first: Account = Account()

    @computed_field
    def again(self) -> Account:
        return self.first

    @computed_field(repr=False)
    def key(self) -> str:
        return "secret"


class Serialized(BaseModel):
    first: Account | None = Account()

    @model_serializer
    def _as_list(self) -> Any:
        return [self.first]


class Url(NamedTuple):
    user: str = "bo"
    key: str = "secret"

    def __repr__(self) -> str:
        return f"{self.user}:***"


def test_the_name_of_the_axis_of_the_columns_is_sent() -> None:
    table = pd.crosstab(pd.Series(["a", "b"], name="store"), pd.Series(["x", "y"], name="returned"))
    assert "\nColumns by returned: x (int64), y (int64)\n" in text_of(table)


def test_long_names_and_types_of_columns_are_cut() -> None:
    kind = pl.Enum([f"product {number}" for number in range(5000)])
    assert len(text_of(pl.DataFrame({"n" * 1000: pl.Series(["product 1"], dtype=kind)}))) < 1000


def test_a_dataclass_that_notebooks_show_is_sent_as_they_show_it() -> None:
    @dataclass
    class Table:
        body: Any = field(default_factory=Nothing)

        def _repr_html_(self) -> str:
            return "<b>shown</b>"

    assert text_of([Table()]) == f'["{text_of(Table())}"]' == '["<b>shown</b>"]'
    # As data it is its fields.
    assert json_of(Table(1)) == json_of([Table(1)])[1:-1] == '{"body": 1}'


@pytest.mark.parametrize("value", [pd.Timedelta("1h30min"), timedelta(hours=1), np.timedelta64(3, "D")])
def test_a_duration_is_the_same_text_in_a_list(value: Any) -> None:
    assert text_of([value]) == f'["{text_of(value)}"]'


class OwnFrame(pd.DataFrame):
    @property
    def _constructor(self) -> type[OwnFrame]:
        return OwnFrame


class OwnPolars(pl.DataFrame):
    pass


def styled(data: Any) -> Any:
    pytest.importorskip("jinja2", minversion="3.1.2", reason="pandas makes no styles with an older one")
    return pd.DataFrame(data).style


@pytest.mark.parametrize("made", [OwnFrame, OwnPolars, styled])
def test_a_frame_of_a_class_of_its_own_is_all_its_rows_as_json(made: Any) -> None:
    assert json.loads(json_of(made({"a": range(100)}))) == [{"a": number} for number in range(100)]


def test_what_a_styled_frame_hides_is_not_sent() -> None:
    frame = styled({"a": [1, 2], "salary": [3, 4]}).hide(["salary"], axis=1).hide([0])
    assert json_of(frame) == '[{"a": 2}]'
    assert "salary" not in text_of(frame)


TEXTS = [
    *("{{ x | tojson }}", "{{ 'a ' ~ x }}", "{{ [x] | join }}", "{{ 'a %s' % [x] }}", "{{ 'a %s' | format(x) }}"),
    *(
        "{{ x | string }}",
        "{{ [x] | string }}",
        "{{ x | upper | lower }}",
        "{{ x | pprint }}",
        "{{ {'a': x} | pprint }}",
    ),
    *("{{ 'a {}'.format(x) }}", "{{ '{!r}'.format(x) }}", "{{ '{a!s}'.format(a=[x]) }}"),
]


@dataclass
class Written:
    account: Account = field(default_factory=Account)

    def __str__(self) -> str:
        return f"account of {self.account.data}"


def test_a_text_of_the_users_own_is_its_text_in_a_template() -> None:
    assert render("{{ 'the ' ~ x }}, {{ '%s' % x }}", {"x": Written()}) == "the account of 1, account of 1"
    assert "private" not in str(render("{{ [x] | string }} {{ x | pprint }}", {"x": Written()}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Login(), '{"user": "bo"}'),
        (PydanticLogin(), '{"user": "bo"}'),
        (Loose(more=[Account()]), '{"more": [{"data": 1}]}'),  # type: ignore[call-arg]
        (OnlyComputing(), '{"made": {"data": 1}}'),
        (attrs.make_class("Login", {"user": attrs.field(), "key": attrs.field(repr=False)})("bo", "secret"), None),
        (
            attrs.make_class("Login", {"user": attrs.field(), "key": attrs.field(repr=lambda _: "*")})("bo", "secret"),
            None,
        ),
        (httpx.Headers({"Authorization": "secret", "Accept": "a"}), '{"accept": "a"}'),
        (Account(), '{"data": 1}'),
        (Account(data=pd.DataFrame({"a": [1]}), more=2), None),  # type: ignore[call-arg]
        (Accounts(), '{"first": {"data": 1}, "others": [{"data": 1}], "by_name": {"a": {"data": 1, "more": 2}}}'),
        (Accounts(first=Account(data=Login())), None),
        (Listed([Account()]), '[{"data": 1}]'),
        (Account(data=Listed([Account()])), '{"data": [{"data": 1}]}'),
        (Account(data=Holder(Account())), '{"data": {"held": {"data": 1}}}'),
        (Account(data=deque([Account()]), more=Login()), '{"data": [{"data": 1}], "more": {"user": "bo"}}'),  # type: ignore[call-arg]
        (Account(data={Frozen()}), '{"data": [{"user": "bo"}]}'),
        (Account(data={"at": timedelta(1), "url": Url()}, more=timedelta(1)), None),  # type: ignore[call-arg]
        (Computing(), '{"first": {"data": 1}, "again": {"data": 1}}'),
        (Url(), "bo:***"),
        (type("Sub", (Url,), {})(), "bo:***"),
    ],
    ids=str,
)
def test_what_a_value_keeps_out_of_its_own_text_is_not_sent(value: Any, text: str | None) -> None:
    assert text in (None, text_of(value))
    shown = text_of([value, {"a": value}]) + text_of(pd.DataFrame({"a": [value, [value]]}))
    made = [str(render(text, {"x": value})) for text in TEXTS]
    arrays = [text_of(np.array([[value, [value]], [value, None]], dtype=object)), text_of(pd.Series({"a": value}))]
    for found in (text_of(value), shown, *made, *arrays):
        assert "secret" not in found
        assert "private" not in found


def test_a_model_whose_serializer_may_show_what_is_hidden_is_refused() -> None:
    with pytest.raises(InferenceError, match="A Serialized has a serializer of its own") as caught:
        text_of(Serialized())
    assert "@as_prompt.register" in caught.value.remedy
    assert text_of(Serialized(first=None)) == "[null]"


class Failing(BaseModel):
    a: int = 1

    @computed_field
    def b(self) -> int:
        raise ValueError("no")


class Wrapping(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    frame: pd.DataFrame = pd.DataFrame({"a": [1]})

    @model_serializer(mode="wrap")
    def _as_is(self, write: Any) -> Any:
        return write(self)


class Partly(BaseModel):
    held: Frozen
    missing: int


class Dumping:
    def model_dump(self, **_: Any) -> Any:
        return {"a": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Failing(), '{"a": 1}'),
        (Wrapping(), "DataFrame, 1 row x 1 column"),
        (Dumping(), '{"a": 1}'),
        (Computing.model_construct(), '{"first": {"data": 1}, "again": {"data": 1}}'),
        (Partly.model_construct(held=Frozen()), '{"held": {"user": "bo"}}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_is_sent_without_what_it_does_not_have(value: Any, text: str) -> None:
    assert text in text_of(value)


def test_a_registered_class_has_its_own_form_in_a_container_whatever_it_is_made_of() -> None:
    @dataclass
    class Recipe:
        name: str

    as_prompt.register(Recipe, lambda value: value.name)
    kind = type("Registered", (UserDict,), {})
    as_prompt.register(kind, lambda value: "registered")
    assert text_of([Recipe("soup"), kind(a=1)]) == '["soup", "registered"]'
    assert text_of([Recipe("")]) == '[""]'


@dataclass
class Patient:
    name: str
    diagnosis: str = "a secret"


@as_prompt.register
def _of_patient(patient: Patient) -> str:
    return f"patient {patient.name}"


@pytest.mark.parametrize(
    "of",
    [
        lambda one: pd.DataFrame({"p": [one]}),
        lambda one: pd.Series([one], index=[one]),
        lambda one: pd.DataFrame({"p": [[one, {"a": one}]]}),
        lambda one: pl.DataFrame({"p": pl.Series([one], dtype=pl.Object)}),
        lambda one: pd.DataFrame({"p": [one]}).values,
        lambda one: np.array([[one, None], [1, [one]]], dtype=object),
        lambda one: [pd.DataFrame({"p": [one]})],
    ],
)
def test_a_registered_class_has_its_own_form_in_a_frame_and_in_an_array(of: Callable[[Any], Any]) -> None:
    shown = text_of(of(Patient("Bo")))
    assert "patient Bo" in shown
    assert "secret" not in shown
    shown = text_of(of(REPLY))
    assert "the answer" in shown
    assert "asked_model" not in shown


@pytest.mark.parametrize(
    "spelling",
    [
        *("{{ v }}", "{{ [v] }}", "{{ {'a': v} }}", "{{ v ~ '' }}", "{{ v | string }}", "{{ [v] | join }}"),
        *("{{ '%s' % v }}", "{{ '{}'.format(v) }}", "{{ [v] | tojson }}", "{{ v | whole }}", "{{ frame }}"),
    ],
)
def test_a_registered_class_has_its_own_form_in_every_spelling(spelling: str) -> None:
    shown = render(spelling, {"v": Patient("Bo"), "frame": pd.DataFrame({"p": [Patient("Bo")]})})
    assert "patient Bo" in shown
    assert "secret" not in shown


def test_a_container_that_notebooks_show_by_a_summary_is_that_summary() -> None:
    kind = type("Dataset", (UserDict,), {"_repr_html_": lambda _: "<b>set</b>", "__str__": lambda _: "Dataset of 1"})
    assert text_of(kind(a=1)) == "Dataset of 1"
    assert text_of([kind(a=1)]) == '["Dataset of 1"]'


class Held(BaseModel, arbitrary_types_allowed=True):
    frame: pd.DataFrame
    size: int = 1


def test_a_model_with_a_field_that_has_no_json_form_is_its_fields() -> None:
    held = json.loads(text_of(Held(frame=pd.DataFrame({"a": [1]}))))
    assert held["size"] == 1
    assert held["frame"].startswith("DataFrame, 1 row x 1 column")


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_array() -> None:
    assert text_of(np.asmatrix([[1, 2]])) == text_of(np.array([[1, 2]]))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_a_pil_image_of_several_pages_is_refused_unless_one_is_chosen(kind: str) -> None:
    pages = [PIL.Image.new("RGB", (4, 3), color) for color in ("red", "green", "blue")]
    data = io.BytesIO()
    pages[0].save(data, kind, save_all=True, append_images=pages[1:])
    with PIL.Image.open(data) as picture:
        with pytest.raises(InferenceError, match="has 3 pages or frames") as refused:
            as_prompt(picture)
        assert "image.copy()" in refused.value.remedy
        assert len({str(as_prompt(page.copy())) for page in PIL.ImageSequence.Iterator(picture)}) == 3
        picture.seek(1)
        assert picture_of(picture).size == (4, 3)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_a_pil_image_of_one_page_or_a_photo_with_its_preview_is_an_image(kind: str) -> None:
    data, picture = io.BytesIO(), PIL.Image.new("RGB", (4, 3), "red")
    picture.save(data, kind, save_all=True, append_images=[picture.resize((2, 2))] if kind == "MPO" else [])
    with PIL.Image.open(data) as opened:
        opened.load()
        assert picture_of(opened).size == (4, 3)
    # The file is closed, the picture is loaded.
    assert kind == "MPO" or picture_of(opened).size == (4, 3)


def test_a_grey_picture_with_its_alpha_multiplied_in_is_an_image() -> None:
    picture = picture_of(PIL.Image.new("LA", (2, 2), (100, 255)).convert("La"))
    assert (picture.mode, picture.getpixel((0, 0))) == ("LA", (100, 255))


def test_an_attribute_called_figure_is_not_read_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be costly, or change something."""
    read: list[object] = []

    class Model:
        figure = property(read.append)

        def __str__(self) -> str:
            return "a model"

    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    assert as_prompt(Model()) == "a model"
    assert not read


@pytest.mark.parametrize("picture", [PIL.Image.new("RGB", (0, 0)), PIL.Image.new("RGB", (2, 2))])
def test_a_picture_that_pil_cannot_read_is_refused(picture: PIL.Image.Image) -> None:
    picture.close()
    with pytest.raises(InferenceError, match=r"A PIL image cannot be put into a prompt\.(?s:.*)PIL says: ValueError"):
        as_prompt(picture)


def test_what_a_plot_returns_is_its_figure() -> None:
    axes = Figure().add_subplot()
    (line,) = axes.plot([1, 2])
    assert as_prompt([line]) == as_prompt(line) == as_prompt(axes)
    bars = axes.bar([1, 2], [1, 2])
    assert as_prompt(bars) == as_prompt(axes)
    assert as_prompt(axes.errorbar([1], [1], yerr=[1])) == as_prompt(axes)


def test_a_series_of_pictures_is_the_list_of_them() -> None:
    axes = Figure().add_subplot()
    picture = PIL.Image.new("RGB", (2, 2))
    assert as_prompt(pd.Series([axes, axes])) == as_prompt(axes)
    content = render("{{ x }}", {"x": pd.Series([picture, picture])})
    assert [part["type"] for part in content if not isinstance(part, str)] == ["image_url", "image_url"]
    with pytest.raises(InferenceError, match="would be sent here as a text without the picture"):
        render("{{ x }}", {"x": pd.Series([picture, "a text"])})


@pytest.mark.parametrize(
    "frame",
    [pa.RecordBatch.from_pydict({"a": [1]}), nw.from_native(pl.DataFrame({"a": [1]})),
     nw.from_native(pl.LazyFrame({"a": [1]})), nw.from_native(pl.Series("a", [1]), series_only=True)],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_a_frame_of_any_library_is_described_wherever_it_is(frame: Any) -> None:
    text = text_of(frame)
    assert "Columns: a (Int64)" in text
    assert json.loads(text_of([frame])) == [text]
    assert json.loads(text_of({"a": frame})) == {"a": text}
    assert render("{{ 'x' ~ frame }}", {"frame": frame}) == f"x{text}"


class Proxy:
    """A proxy as wrapt makes it."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


@pytest.mark.parametrize("template", ["{{ x }}", "{{ [x] }}", "{{ 'a' ~ x }}", "{{ x | tojson }}"])
@pytest.mark.parametrize("value", [pd.DataFrame({"a": range(100)}), pl.Series([1, 2]), Point(1, date(2026, 1, 2))],
                         ids=lambda one: type(one).__name__)  # fmt: skip
def test_a_proxy_is_what_it_stands_for(template: str, value: Any) -> None:
    assert render(template, {"x": Proxy(value)}) == render(template, {"x": value})


def test_a_set_in_a_frame_has_one_order() -> None:
    assert '"[""bad"", ""good"", ""mixed""]"' in text_of(pd.DataFrame({"tags": [{"good", "bad", "mixed"}]}))
    assert '"{""tags"": [""bad"", ""good""]}"' in text_of(pd.DataFrame({"of": [{"tags": {"good", "bad"}}]}))


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_short_float_in_a_frame_has_its_shortest_decimals(kind: str) -> None:
    frame = pd.DataFrame({"price": np.array([19.98, np.nan], dtype=kind)}, index=["a", "b"])
    assert "a,19.98\nb," in text_of(frame)


def test_a_short_float_of_polars_has_its_shortest_decimals() -> None:
    assert "\n19.99\n" in text_of(pl.DataFrame({"price": pl.Series([19.99, 1.5], dtype=pl.Float32)}))


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ x }}", pl.DataFrame({"v": pl.Series([[0.1]], dtype=pl.List(pl.Float32))})),
        ("{{ x }}", pl.DataFrame({"v": pl.Series([{"x": 0.1}], dtype=pl.Struct({"x": pl.Float32}))})),
        ("{{ x }}", pd.DataFrame({"v": pd.array([0.1], dtype=pd.ArrowDtype(pa.float32()))})),
        ("{{ x }} {{ x | tojson }}", pd.array([0.1], dtype=pd.ArrowDtype(pa.float32()))),
        ("{{ x }} {{ x | tojson }}", pa.array([0.1], pa.float32())),
        ("{{ x }} {{ [x] }} {{ x + 0 }} {{ 'a' ~ x }}", pa.scalar(0.1, pa.float32())),
        ("{{ x | tojson }}", np.array([[0.1]], dtype="f4")),
    ],
    ids=str,
)
def test_a_short_float_has_its_shortest_decimals_also_in_lists_and_in_types_of_pyarrow(
    template: str, value: Any
) -> None:
    text = str(render(template, {"x": value}))
    assert "0.1" in text
    assert "0.1000" not in text


def test_floats_of_several_sizes_in_one_column_are_not_shortened() -> None:
    kind = pl.Struct({"x": pl.Float32, "y": pl.Float64})
    assert '""y"": 0.123456789' in text_of(pl.DataFrame({"v": pl.Series([{"x": 0.5, "y": 0.123456789}], dtype=kind)}))


def test_an_address_in_a_text_is_left_out() -> None:
    """It is another one in each process, and so would be the prompt."""
    assert (
        text_of(type("Own", (), {"__str__": lambda _: "f(<a.B object at 0x7f12ab3456>, 1)"})()) == "f(<a.B object>, 1)"
    )


def test_an_image_in_the_form_of_a_dataset_is_an_image() -> None:
    data = png()
    assert isinstance(as_prompt({"bytes": data, "path": "a.png"}), Image)
    content = render("{{ pictures }}", {"pictures": [{"bytes": data, "path": None}, {"bytes": data, "path": "b.png"}]})
    assert [part["type"] for part in content] == ["image_url", "image_url"]
    assert text_of({"bytes": b"no image", "path": "a.png"}) == '{"bytes": "[8 bytes]", "path": "a.png"}'


def test_the_users_print_options_of_numpy_are_not_used() -> None:
    array = np.array([1 / 3, 0.0001, np.nan])
    text = text_of(array)
    with np.printoptions(precision=2, suppress=True, threshold=2, sign="+", nanstr="-", floatmode="fixed"):
        assert text_of(array) == text
    assert "0.0001" in text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ({"a": np.int64(1), "b": np.bool_(True), "c": np.array([1, 2])}, {"a": 1, "b": True, "c": [1, 2]}),
        ([np.float32(0.1), np.int8(3), np.float64("inf"), np.nan], [0.1, 3, "inf", None]),
        ({np.int64(3)}, [3]),
        (np.array([1.5, 2]), [1.5, 2.0]),
        (np.array([["a"], ["b"]]), [["a"], ["b"]]),
        (np.array(["2026-01-02"], dtype="datetime64[D]"), ["2026-01-02"]),
    ],
)
def test_a_cell_of_numpys_values_is_json_as_one_of_pythons(cell: Any, text: Any) -> None:
    frames: list[Any] = [pd.Series([None, cell]), pd.DataFrame({"c": [None, cell]})]
    for frame in [*frames, pl.DataFrame({"c": pl.Series([None, cell], dtype=pl.Object)})]:
        assert json.loads(list(csv.reader(text_of(frame).splitlines()))[-1][0]) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array(["2026-01-02", "NaT"], "M8[ns]"), ["2026-01-02T00:00:00", None]),
        ({"a": np.array([["2026-01-02T10:00"]], "M8[ns]")}, {"a": [["2026-01-02T10:00:00"]]}),
        (pd.Series([np.array(["2026-01-02"], "M8[ns]")]), {"0": ["2026-01-02T00:00:00"]}),
        (np.array([(1, "2026-01-02")], [("n", "i8"), ("t", "M8[ns]")]), [{"n": 1, "t": "2026-01-02T00:00:00"}]),
        (np.array([3_600_000_000_000], "m8[ns]"), ["1:00:00"]),
    ],
)
def test_times_in_nanoseconds_are_no_whole_numbers_in_json(value: Any, text: Any) -> None:
    assert json.loads(json_of(value)) == text


def test_a_huge_array_is_not_copied() -> None:
    array = np.zeros(6_000_000)
    text, peak = text_and_peak_of(array)
    assert text.startswith("array of shape (6000000,), float64\n[0. 0. 0. ... 0. 0. 0.]")
    assert peak < 5_000_000


def test_long_texts_in_an_array_are_bounded() -> None:
    assert len(text_of(np.array(["x" * 100_000]))) < 6000


# Images --------------------------------------------------------------------------------------------------------------


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(data, "PNG")
    return data.getvalue()


class Drawn:
    def _repr_png_(self) -> bytes:
        return png()


class DrawnAsText:
    def _repr_png_(self) -> str:
        return base64.encodebytes(png()).decode()


def test_a_figure_becomes_an_image_of_bounded_size_and_is_not_changed() -> None:
    figure = Figure(figsize=(40, 20), dpi=100)
    axes = figure.add_subplot()
    axes.plot([1, 2])
    assert picture_of(figure).size == (1600, 800)
    assert picture_of(axes).size == (1600, 800)
    assert (figure.dpi, list(figure.get_size_inches())) == (100, [40, 20])


@pytest.mark.parametrize(("missing", "shade"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_an_image_whose_points_are_not_all_numbers_shows_the_others(missing: float, shade: int) -> None:
    shades = np.array([[missing, 0.0], [0.5, 1.0]], dtype="float32")
    shown = as_prompt(PIL.Image.fromarray(shades))
    assert isinstance(shown, Image)
    read = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2]))))
    assert read.tolist() == [[shade, 0], [127, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F", "LAB"])
def test_an_image_of_any_mode_is_converted(mode: str) -> None:
    assert picture_of(PIL.Image.new(mode, (4, 3))).size == (4, 3)


def test_large_images_are_scaled_down() -> None:
    assert picture_of(PIL.Image.new("RGB", (5000, 100))).size == (2048, 41)
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8))
    assert picture_of(noise).format == "JPEG"


class Broken:
    def _repr_png_(self) -> bytes:
        raise RuntimeError("no engine")

    def __str__(self) -> str:
        return "a broken plot"


def test_an_object_that_fails_to_draw_itself_is_shown_as_text() -> None:
    assert text_of(Broken()) == "a broken plot"


@pytest.mark.parametrize("value", [Drawn(), DrawnAsText(), IPython.display.Image(png())])
def test_an_object_that_draws_itself_becomes_an_image(value: object) -> None:
    assert picture_of(value).size == (4, 3)


def test_an_ipython_image_with_a_url_is_sent_by_url() -> None:
    assert as_prompt(IPython.display.Image(url="https://ok.example/a.png")) == Image("https://ok.example/a.png")


# Paths ---------------------------------------------------------------------------------------------------------------


def test_a_path_becomes_the_contents_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffcafé", encoding="utf-8")
    (tmp_path / "picture.dat").write_bytes(png())
    (tmp_path / "binary.bin").write_bytes(b"\x00\x01\x02")
    assert text_of(tmp_path / "words.txt") == "café"
    assert picture_of(tmp_path / "picture.dat").size == (4, 3)
    assert text_of(tmp_path) == "binary.bin\npicture.dat\nwords.txt"
    for name, why in (("binary.bin", "It holds no text."), ("missing.txt", "No such file")):
        with pytest.raises(InferenceError) as refused:
            as_prompt(tmp_path / name)
        assert why in refused.value.why
        assert refused.value.cause == "option"


def test_a_path_in_a_container_becomes_its_name(tmp_path: Path) -> None:
    secret, missing = tmp_path / "secret.txt", Path("missing.txt")
    secret.write_text("the secret")
    assert json.loads(text_of({"out": secret, "more": [missing]})) == {"out": str(secret), "more": ["missing.txt"]}
    assert text_of(FileAndSize(missing, 3)) == '{"file": "missing.txt", "size": 3}'


def test_an_image_is_found_by_path_or_url(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(png())
    found = image_of(str(tmp_path / "picture.png"))
    assert found == as_prompt(tmp_path / "picture.png")
    assert image_of("https://ok.example/a.png") == Image("https://ok.example/a.png")
    assert image_of("just words") is None
    assert image_of(3) is None
    assert image_of("~nobody_at_all/x.png") is None
    assert image_of("x" * 100_000) is None


# Extending -----------------------------------------------------------------------------------------------------------


def run_alone(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_module_imports_none_of_the_packages_whose_types_it_knows() -> None:
    packages = ["pandas", "polars", "narwhals", "numpy", "matplotlib", "PIL", "IPython", "pydantic", "jinja2"]
    code = f"import sys, wandb_inference_magic.prompts.values; print([one for one in {packages} if one in sys.modules])"
    assert run_alone(code) in ("[]", "['IPython']")


def test_the_users_own_registrations_are_used() -> None:
    code = """
import pandas as pd
from wandb_inference_magic import as_prompt
class Mine: pass
class Frame(pd.DataFrame): pass
@as_prompt.register
def _(value: Mine) -> str: return "mine"
@as_prompt.register
def _(value: pd.DataFrame) -> str: return "my frame"
series = as_prompt(pd.Series([1])).splitlines()[0]
print(as_prompt(Mine()), series, as_prompt(pd.DataFrame()), as_prompt(Frame()), sep="; ")
"""
    assert run_alone(code) == "mine; Series, 1 row:; my frame; my frame"


def test_in_a_container_a_frame_is_described_whatever_was_shown_before() -> None:
    code = "import pandas as pd\nfrom wandb_inference_magic import as_prompt\nprint(as_prompt([pd.Series([1])])[:15])"
    assert run_alone(code) == '["Series, 1 row'


def test_a_subclass_is_shown_as_its_base() -> None:
    class Frame(pd.DataFrame):
        pass

    assert text_of(Frame({"a": [1]})).endswith("a\n1")


class Described:
    def _ai_repr_(self, **kwargs: Any) -> dict[str, Any]:
        return {"image/png": base64.b64encode(png()).decode(), "text/plain": "described for models"}


class DescribedDict(dict[str, int]):
    def _ai_repr_(self, **kwargs: Any) -> str:
        return "a dict described for models"


class Pictured:
    def _ai_repr_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": png()}, {}


class DescribedLater:
    async def _ai_repr_(self, **kwargs: Any) -> dict[str, Any]:
        raise AssertionError("a coroutine is not run")

    def __str__(self) -> str:
        return "as text"


class BadlyDescribed(DescribedLater):
    def _ai_repr_(self, **kwargs: Any) -> Any:  # type: ignore[override]
        raise ValueError("no")


def test_the_form_for_models_that_jupyter_proposes_is_used_after_registrations() -> None:
    assert text_of(Described()) == "described for models"
    assert text_of(DescribedDict(a=1)) == "a dict described for models"
    assert text_of([Described(), DescribedDict(a=1)]) == '["described for models", "a dict described for models"]'
    assert picture_of(Pictured()).size == (4, 3)
    assert text_of(DescribedLater()) == text_of(BadlyDescribed()) == "as text"

    class Registered(Described):
        pass

    as_prompt.register(Registered, lambda value: "registered")
    assert text_of(Registered()) == "registered"


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


def test_what_a_cell_printed_is_a_text() -> None:
    assert text_of(IPython.utils.capture.CapturedIO(io.StringIO("printed"), None, [])) == "printed"


class Nothing:
    """An object with Python's own repr."""


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


@pytest.mark.parametrize(
    "text", ["<p>at 0x1f2e3d</p>", "<Response [200]>", "<Axes: xlabel='x'>", "<an object>", "denied (0x80070005)"]
)
def test_a_text_or_a_repr_that_says_something_is_kept(text: str) -> None:
    assert text_of(text) == text
    assert text_of(type("Own", (), {"__str__": lambda _: text})()) == text


IN_TEXTS = (
    *("{{ [x] | join }}", "{{ x | string }}", "{{ x | upper }}", "{{ 'a' ~ x }}", "{{ 'a %s' % x }}"),
    *("{{ 'a %(x)s' % {'x': x, 'y': y} }}", "{{ 'a {}'.format(x) }}", "{{ 'a %s' | format(x) }}"),
)


@pytest.mark.parametrize("template", IN_TEXTS)
def test_a_text_made_in_a_template_has_no_part_that_is_refused_by_itself(template: str) -> None:
    for value in (Nothing(), Figure(), PIL.Image.new("RGB", (2, 2)), [Nothing()]):
        with pytest.raises(InferenceError, match=r"no readable form|without the picture"):
            render(template, {"x": value, "y": Nothing()})
    for value, text in ((IPython.display.Markdown("**m**"), "**m**"), (Described(), "described for models")):
        assert text in str(render(template, {"x": value, "y": Nothing()})).lower()
    for kept in (Path("x.txt"), date(2026, 1, 2), [1], 1.5):
        assert str(kept) in str(render("{{ 'a' ~ x }}", {"x": kept}))


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, None),
        ((one for one in "a"), None),
        (pd.DataFrame({"a": [1]}), "DataFrame, 1 row x 1 column:\nColumns: a (int64)\n\na\n1"),
        ({"a": 1}, '{"a": 1}'),
        (3, "3"),
    ],
    ids=["none", "generator", "frame", "dict", "number"],
)
def test_what_a_registered_function_returns_is_a_value_of_its_own(returned: Any, text: str | None) -> None:
    kind = type("Kind", (), {})

    def form(value: Any) -> Any:
        return returned

    as_prompt.register(kind, form)
    for value in (kind(), [kind()], pd.DataFrame({"a": [kind()]})):
        if text is None:
            with pytest.raises(InferenceError, match="The function form, registered with as_prompt, returned"):
                render("{{ x }}", {"x": value})
        else:
            render("{{ x }}", {"x": value})
    assert text is None or render("{{ x }}", {"x": kind()}) == text


def test_a_registered_function_may_return_a_figure_and_is_used_for_numbers_in_lists() -> None:
    kind = type("Kind", (), {})
    as_prompt.register(kind, lambda value: Figure())
    for value in (kind(), [kind()]):
        (part,) = render("{{ x }}", {"x": value})
        assert part["type"] == "image_url"  # type: ignore[index]
    number = type("Money", (float,), {})
    as_prompt.register(number, lambda value: f"{value:.2f} EUR")
    assert render("{{ x }} {{ [x] }}", {"x": number(3)}) == '3.00 EUR ["3.00 EUR"]'


@pytest.mark.parametrize("template", ["{{ 'x' ~ value }}", "{{ ['x', value] | join }}", "{{ 'x%s' | format(value) }}"])
def test_a_value_has_its_own_form_in_a_text(template: str) -> None:
    kind = type("Word", (str,), {})
    as_prompt.register(kind, lambda value: f"word {str.__str__(value)}")
    assert render(template, {"value": kind("a")}) == "xword a"
    frame = pd.DataFrame({"a": [1, Url()]})
    assert render(template, {"value": frame}) == f"x{text_of(frame)}"
    framed = type("Framed", (), {})
    as_prompt.register(framed, lambda _: frame)  # type: ignore[arg-type]
    assert render(template, {"value": framed()}) == f"x{text_of(frame)}"


def test_numbers_of_numpy_are_written_shortly_in_json() -> None:
    values = {
        "f": np.float32(0.1), "l": np.longdouble(1.5), "i": np.int8(3), "b": np.bool_(True), "s": np.str_("s"),
        "n": np.float32("nan"), "d": np.datetime64("2026-01-02T00:00:00.000000000"), "z": np.array(2.5),
    }  # fmt: skip
    assert json.loads(text_of(values)) == {
        "f": 0.1, "l": 1.5, "i": 3, "b": True, "s": "s", "n": None, "d": "2026-01-02T00:00:00.000000000", "z": 2.5,
    }  # fmt: skip


def test_a_sparse_or_nested_frame_is_shown() -> None:
    sparse = pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])})
    assert text_of(sparse).split("\n")[1:] == ["Columns: s (Sparse[int64, 0])", "", "s", "0", "0", "1"]
    inner = pd.DataFrame({"a": [1, 2]})
    nested = pd.DataFrame({"f": [inner], "d": [{"k": None}], "b": [b"123"], "o": [Nothing()], "n": [None]})
    assert text_of(nested).split("\n")[-1] == '"[DataFrame, 2 rows]","{""k"": null}",[3 bytes],[Nothing],'


# Cutting -------------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(10, 200))
def test_a_cut_text_stays_within_the_limit(text: str, tokens: int) -> None:
    short = cut(text, tokens)
    if estimate(text) <= tokens or len(text) <= len(LEFT_OUT):
        # The note that says what is left out would not be shorter.
        assert short == text
        return
    head, gap, tail = short.rpartition("\n[... ")[0], "characters left out ...]", short.partition("left out ...]\n")[2]
    assert gap in short
    assert text.startswith(head)
    assert text.endswith(tail)
    assert estimate(head) + estimate(tail) <= tokens + 2


def test_a_text_is_cut_between_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(10_000))
    lines = cut(text, 500).splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert all(line.startswith(("line ", "[... ")) for line in lines)
    assert sum(line.startswith("[... ") for line in lines) == 1


def test_a_traceback_does_not_say_where_packages_are_installed() -> None:
    try:
        pd.DataFrame()["x"]
    except KeyError as error:
        text = text_of(error)
    assert 'File "pandas/core/' in text
    assert "site-packages" not in text


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_as_json_is_all_of_its_rows(make: Any) -> None:
    shown = render("{{ frame | tojson }}", {"frame": make({"n": range(100)})})
    assert json.loads(str(shown)) == [{"n": n} for n in range(100)]


CLASSES = """
import dataclasses, enum

@dataclasses.dataclass
class Point:
    x: int = 1

class Cart:
    'A cart.'

    def total(self):
        return 1

class Mood(enum.Enum):
    GOOD = 1
"""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Point", "@dataclasses.dataclass\nclass Point:\n    x: int = 1"),
        ("Cart", "class Cart:\n    'A cart.'\n\n    def total(self):\n        return 1"),
        ("Mood", "class Mood(enum.Enum):\n    GOOD = 1"),
    ],
)
def test_a_class_of_the_notebook_is_its_source(name: str, source: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = {
        f"<ipython-input-{number}-aa>": text for number, text in enumerate(("class Cart:\n    old = 1\n", CLASSES))
    }
    try:
        for cell, text in cells.items():
            linecache.cache[cell] = (len(text), None, text.splitlines(keepends=True), cell)
            exec(compile(text, cell, "exec"), namespace)
        assert text_of(namespace[name]) == source
    finally:
        for cell in cells:
            del linecache.cache[cell]


def test_groups_of_jinja_are_json() -> None:
    rows = [{"x": 1, "n": "a"}]
    assert render("{% for one in rows|groupby('n') %}{{ one }}{% endfor %}", {"rows": rows}) == (
        '{"grouper": "a", "list": [{"x": 1, "n": "a"}]}'
    )


@cache
def slow() -> int:
    """A function that is remembered."""
    return 1


class Remembered:
    """A function as joblib, Numba and JAX wrap it."""

    def __init__(self) -> None:
        update_wrapper(self, halve)

    def __call__(self) -> None: ...

    def __repr__(self) -> str:
        return "Remembered(func=<function halve>)"


@pytest.mark.parametrize("template", ["{{ x }}", "{% for one in [x] %}{{ one }}{% endfor %}"])
def test_a_function_that_a_library_has_wrapped_is_its_source(template: str) -> None:
    assert str(render(template, {"x": Remembered()})).startswith("def halve(")
    assert "def mean(" in str(render(template, {"x": np.mean}))
    assert str(render(template, {"x": np.sin})).startswith("sin(")
    assert "def halve(" in text_of([Remembered()])


def test_a_cached_function_is_its_source_and_a_text_in_memory_is_its_text() -> None:
    assert "A function that is remembered." in text_of(slow)
    assert "return 1" in text_of(slow)
    buffer = io.StringIO()
    pd.DataFrame({"a": [1]}).info(buf=buffer)
    assert text_of(buffer) == buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.concat([pd.Series([1, 2]), pd.Series([3, 4])]).rename("n"), [0, 1, 0, 1]),
        (pd.Series([1, 2], index=["a", "a"], name="n"), ["a", "a"]),
    ],
)
def test_the_json_of_a_series_with_repeated_labels_has_every_value(value: Any, expected: list[Any]) -> None:
    found = json.loads(json_of(value))
    assert [one["n"] for one in found] == value.tolist()
    if isinstance(expected[0], str):
        assert [one["index"] for one in found] == expected


def test_the_json_of_a_frame_has_its_index_where_that_has_a_name_or_labels() -> None:
    frame = pd.DataFrame({"city": ["Paris", "Rome", "Rome"], "year": [1, 1, 2], "units": [1, 2, 3]})
    assert json.loads(json_of(frame.groupby("city").sum()))[0] == {"city": "Paris", "year": 1, "units": 1}
    assert json.loads(json_of(frame.groupby(["city", "year"]).sum()))[2] == {"city": "Rome", "year": 2, "units": 3}
    assert json.loads(json_of(frame.describe()))[0]["index"] == "count"
    assert json.loads(json_of(frame[frame.units > 1]))[0] == {"city": "Rome", "year": 1, "units": 2}


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "index"])
def test_two_columns_of_one_name_are_refused_where_one_would_be_lost(kind: str) -> None:
    twice: Any = pd.DataFrame([[1, 2]], columns=["a", "a"])
    if kind == "index":
        twice = pd.DataFrame({"a": [1]}).set_index("a", drop=False)
    if kind == "pyarrow":
        twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(InferenceError, match="two columns with the same name") as refused:
        json_of(twice)
    assert "Rename" in refused.value.remedy


class Bundled:
    """Shows itself by a MIME bundle alone."""

    def __init__(self, bundle: Any) -> None:
        self.bundle = bundle

    def __repr__(self) -> str:
        return "<Bundled object at 0x7f0000000000>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.bundle


def test_an_object_that_shows_itself_by_a_bundle_is_its_picture_or_its_text() -> None:
    data = io.BytesIO()
    PIL.Image.new("RGB", (2, 2), "red").save(data, "PNG")
    assert picture_of(Bundled({"image/png": data.getvalue()})).size == (2, 2)
    assert picture_of(Bundled(({"image/png": base64.b64encode(data.getvalue()).decode()}, {}))).size == (2, 2)
    assert text_of(Bundled({"text/plain": "<Bundled>", "text/markdown": "**yes**"})) == "**yes**"
    for nothing in ({"text/html": "<p>Trust this notebook</p><iframe srcdoc='a map'></iframe>"}, {}, None, 1):
        with pytest.raises(InferenceError, match="no readable form"):
            text_of(Bundled(nothing))


# Older ipywidgets use what ipykernel has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_picture_in_a_widget_is_a_picture() -> None:
    data = io.BytesIO()
    PIL.Image.new("RGB", (3, 3), "red").save(data, "PNG")
    assert picture_of(ipywidgets.Image(value=data.getvalue())).size == (3, 3)


def test_a_cell_of_nested_lists_that_share_their_parts_is_shown_at_once() -> None:
    nested: Any = 1
    for _ in range(60):
        nested = [nested, nested]
    frame = pd.DataFrame({"a": [nested, list(range(3_000_000))]})
    # Without a limit it would take years.
    assert "[0, 1, 2, 3" in text_of(frame)


def test_a_range_longer_than_any_list_is_shown_by_its_start() -> None:
    shown = json.loads(text_of(pd.RangeIndex(10**12)))
    assert shown[:3] == [0, 1, 2]
    assert shown[-1] == "[... 999,999,999,000 more left out ...]"


@pytest.mark.parametrize("form", ["xmp", "raw profile"])
def test_a_photo_that_other_metadata_turns_is_upright(tmp_path: Path, form: str) -> None:
    path = tmp_path / "turned.png"
    about = PIL.PngImagePlugin.PngInfo()
    if form == "xmp":
        about.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    else:
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        data = exif.tobytes()
        about.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", zip=True)
    PIL.Image.new("RGB", (4, 2)).save(path, pnginfo=about)
    assert picture_of(path).size == (2, 4)
