"""Frames in prompts."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections import UserDict, UserList
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pyarrow as pa
import pytest
from prompt_values import Nothing, run_alone, text_and_peak_of, text_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames import read_rows
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import json_of

pytestmark = pytest.mark.short

DATA = {"name": ["Ada", "Bob", None], "age": [36, 41, 5]}


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
    pytest.importorskip("jinja2", minversion="3.1.2", reason="pandas makes no styles with an older one")
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=["x", "y"])
    style = frame.style.hide(["x"]).hide(["b"], axis=1).set_caption("in EUR").concat(frame.agg(["sum"]).style)
    assert text_of(style) == "in EUR\n" + text_of(pd.DataFrame({"a": [2, 3]}, index=["y", "sum"]))
    assert json.loads(json_of(style)) == [{"index": "y", "a": 2}, {"index": "sum", "a": 3}]


def test_long_names_and_types_of_columns_are_cut() -> None:
    kind = pl.Enum([f"product {number}" for number in range(5000)])
    assert len(text_of(pl.DataFrame({"n" * 1000: pl.Series(["product 1"], dtype=kind)}))) < 1000


def test_the_name_of_the_axis_of_the_columns_is_sent() -> None:
    table = pd.crosstab(pd.Series(["a", "b"], name="store"), pd.Series(["x", "y"], name="returned"))
    assert "\nColumns by returned: x (int64), y (int64)\n" in text_of(table)


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


def test_a_sparse_or_nested_frame_is_shown() -> None:
    sparse = pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])})
    assert text_of(sparse).split("\n")[1:] == ["Columns: s (Sparse[int64, 0])", "", "s", "0", "0", "1"]
    inner = pd.DataFrame({"a": [1, 2]})
    nested = pd.DataFrame({"f": [inner], "d": [{"k": None}], "b": [b"123"], "o": [Nothing()], "n": [None]})
    assert text_of(nested).split("\n")[-1] == '"[DataFrame, 2 rows]","{""k"": null}",123,[Nothing],'


def test_a_lazy_frame_shows_its_first_rows() -> None:
    lines = text_of(pl.LazyFrame({"n": range(100)})).splitlines()
    assert lines[0] == "lazy DataFrame, 1 column; its first rows, at most 20:"
    assert len(lines) == 4 + 20
    header, row = text_of(pl.LazyFrame({f"c{n}": [n] for n in range(60)})).splitlines()[-2:]
    assert len(header.split(",")) == len(row.split(",")) == 50


def test_a_styled_frame_is_shown_as_its_frame() -> None:
    pytest.importorskip("jinja2", minversion="3.1.2", reason="pandas makes no styles with an older one")
    frame = pd.DataFrame(DATA)
    assert text_of(frame.style) == text_of(frame)


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


def test_in_a_container_a_frame_is_described_whatever_was_shown_before() -> None:
    code = "import pandas as pd\nfrom wandb_inference_magic import as_prompt\nprint(as_prompt([pd.Series([1])])[:15])"
    assert run_alone(code) == '["Series, 1 row'


def test_objects_in_a_frame_are_named_without_their_addresses() -> None:
    picture = PIL.Image.new("RGB", (2, 2))
    frame = pd.DataFrame({"a": [picture, object()], "b": [[picture, pd.NA], {"low": float("-inf"), "nan": np.nan}]})
    assert text_of(frame).endswith("""[Image],"[""[Image]"", null]"\n[object],"{""low"": ""-inf"", ""nan"": null}\"""")
    others = [UserDict(a=picture), UserList([pd.NA]), SimpleNamespace(a=object()), np.array([picture], dtype=object)]
    text = text_of(pd.DataFrame({"a": others}))
    assert '"{""a"": ""[Image]""}"\n[null]\nnamespace(a=<object object>)' in text
    assert "0x" not in text
    assert "0x" not in text_of(np.array([[object()]]))


class Fit(NamedTuple):
    slope: float
    p: int = 10**5000


class Address(NamedTuple):
    host: str
    password: str

    def __repr__(self) -> str:
        return f"{self.host}:***"


ITSELF: list[Any] = [1]
ITSELF += [{"in": ITSELF}, ITSELF[:]]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (
            {1: "a", "1": "b", None: 1, "None": 2, "'1'": 3},
            {"1": "a", "'1'": "b", "None": 1, "'None'": 2, "\"'1'\"": 3},
        ),
        (Fit(0.5, 1), {"slope": 0.5, "p": 1}),
        ([Fit(0.5), -(10**5000)], [{"slope": 0.5, "p": (digits := "an integer of about 4,983 digits")}, digits]),
        ([next(pd.DataFrame({"a": [1]}).itertuples())], [{"Index": 0, "a": 1}]),
        ([Address("h", "secret")], ["h:***"]),
        (ITSELF, [1, {"in": "..."}, [1]]),
        (pa.scalar([("a", 1)], pa.map_(pa.string(), pa.int64())), [["a", 1]]),
        ([pa.scalar({"k": 1}), pa.scalar(None, pa.int64())], [{"k": 1}, None]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_nothing_of_a_container_in_a_cell_is_lost(cell: Any, shown: Any) -> None:
    for frame in (
        pd.DataFrame({"c": pd.Series([cell], dtype=object)}),
        pl.DataFrame({"c": pl.Series([cell], dtype=pl.Object)}),
    ):
        _, (row,) = csv.reader(text_of(frame).splitlines()[-2:])
        assert json.loads(row) == shown


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_in_a_cell_is_shown_as_an_array() -> None:
    matrix = np.matrix([[1, 2], [3, 4]])
    assert text_of(pd.DataFrame({"m": [matrix, {"m": matrix}]})).endswith("""\n"[[1, 2], [3, 4]]"
"{""m"": [[1, 2], [3, 4]]}\"""")


def test_all_fields_of_a_time_in_a_cell_are_shown() -> None:
    assert '""tm_gmtoff"": 0' in text_of(pd.DataFrame({"t": pd.Series([time.gmtime(0)], dtype=object)}))


def test_a_scalar_of_pyarrow_is_json_in_each_place() -> None:
    value = pa.scalar([("a", 1)], pa.map_(pa.string(), pa.int64()))
    assert render("{{ x | tojson }} {{ [x] ~ '' }}", {"x": value}) == '[["a", 1]] [[["a", 1]]]'
    assert json_of({float("nan"): 1, float("NaN"): 2}) == '{"nan": 1, "nan_2": 2}'


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


def test_a_cell_of_nested_lists_that_share_their_parts_is_shown_at_once() -> None:
    nested: Any = 1
    for _ in range(60):
        nested = [nested, nested]
    frame = pd.DataFrame({"a": [nested, list(range(3_000_000))]})
    # Without a limit it would take years.
    assert "[0, 1, 2, 3" in text_of(frame)


def test_a_huge_frame_is_not_copied() -> None:
    frame = pd.DataFrame({"a": np.arange(3_000_000), "b": np.random.default_rng(0).random(3_000_000)})
    code, peak = text_and_peak_of(frame)
    assert code.startswith("DataFrame, 3,000,000 rows x 2 columns")
    assert len(code) < 2000
    # One of its columns alone takes 24 MB.
    assert peak < 10_000_000


class OfAnotherLibrary:
    """A table or an array that only offers its data by Arrow's interface. Its own text is a preview."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._data.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return "a preview of 10 rows"


@pytest.mark.parametrize("template", ["{{ x }}", "{{ [x] }}", "{{ {'t': x} }}", "{{ x | whole }}"])
def test_a_table_of_any_arrow_library_is_described_like_one_of_pyarrow(template: str) -> None:
    table = pa.table({"a": range(1000)})
    assert render(template, {"x": OfAnotherLibrary(table)}) == render(template, {"x": table})


def test_the_data_of_any_arrow_library_is_whole_as_json() -> None:
    text = render("{{ x | tojson }}", {"x": OfAnotherLibrary(pa.table({"a": range(30)}))})
    assert json.loads(str(text)) == [{"a": number} for number in range(30)]
    text = render("{{ x | tojson }}", {"x": OfAnotherLibrary(pa.chunked_array([range(30)]))})
    assert json.loads(str(text)) == [*range(30)]


def test_a_stream_of_arrow_is_refused_and_not_read() -> None:
    class Stream(OfAnotherLibrary):
        def read_all(self) -> Any: ...

    with pytest.raises(InferenceError, match="A value of type Stream has no readable form"):
        text_of(Stream(None))


class Uncollected:
    """Offers Arrow's interface, but has no data yet."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        raise RuntimeError("not collected yet")


def test_data_that_pyarrow_does_not_read_is_refused_if_it_has_no_text() -> None:
    for template in ("{{ x }}", "{{ [x] }}", "{{ x | tojson }}"):
        with pytest.raises(InferenceError, match="A value of type Uncollected cannot be read") as refused:
            render(template, {"x": Uncollected()})
        assert "RuntimeError: not collected yet" in str(refused.value)


@pytest.mark.parametrize("interface", ["__arrow_c_stream__", "__arrow_c_array__"])
@pytest.mark.parametrize("has_pyarrow", [True, False])
def test_a_value_whose_data_cannot_be_read_is_its_text(
    interface: str, has_pyarrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_pyarrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    methods = {interface: Uncollected.__arrow_c_stream__, "__repr__": lambda self: "POINT (1 2)"}
    shown = render("{{ x }}; {{ [x] }}; {{ x | tojson }}; {{ x | whole }}", {"x": type("Point", (), methods)()})
    assert shown == 'POINT (1 2); ["POINT (1 2)"]; "POINT (1 2)"; POINT (1 2)'


@pytest.mark.parametrize("kind", [list, UserList])
def test_a_container_that_offers_arrow_data_is_its_items(kind: Any) -> None:
    value = type("Rows", (kind,), {"__arrow_c_stream__": lambda self, _=None: pa.table({"a": [3]})})([1, 2])
    assert render("{{ x }} {{ [x] }} {{ x | tojson }}", {"x": value}) == "[1, 2] [[1, 2]] [1, 2]"
    assert [dict(row) for row in read_rows(value)] == [{"text": 1}, {"text": 2}]


def test_long_bytes_in_a_cell_are_cut_and_no_codec_of_bytes_decodes_them() -> None:
    assert len(text_of(pd.DataFrame({"b": [b"word " * 20_000] * 3}))) < 2000
    mail = b"Content-Transfer-Encoding: quoted-printable\n\nCaf\xe9 for all of us, and more.\n"
    for one in (mail, mail.replace(b"quoted-printable", b"base64"), b"coding: undefined \xe9\xff"):
        assert "bytes]" in text_of(pd.DataFrame({"b": [one]})) or "Caf" in text_of(pd.DataFrame({"b": [one]}))


def test_bytes_with_a_text_of_their_own_keep_what_it_hides() -> None:
    class Key(bytes):
        def __repr__(self) -> str:
            return "Key(...)"

        __str__ = __repr__

    for value in (pd.DataFrame({"k": [Key(b"hunter2")]}), [Key(b"hunter2")]):
        assert "hunter2" not in text_of(value)


class Url(NamedTuple):
    user: str
    password: str

    def __str__(self) -> str:
        return "a URL"


def test_the_second_of_two_equal_names_shows_nothing_that_a_key_hides() -> None:
    both = {Url("me", "hunter2"): 1, Url("you", "hunter3"): 2}
    for value in (both, pd.DataFrame({"u": [both]})):
        assert "hunter" not in text_of(value)
    assert json_of({10**5000: 1, 1: "a", "1": "b"}).endswith("""\"1": "a", "'1'": "b"}""")
