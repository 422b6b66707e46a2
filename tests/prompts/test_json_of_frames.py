"""Frames and series as JSON, by `tojson`: all of their rows."""

from __future__ import annotations

import csv
import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from prompt_values import text_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames import read_rows, with_index, with_label
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import json_of

pytestmark = pytest.mark.short


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


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_as_json_is_all_of_its_rows(make: Any) -> None:
    shown = render("{{ frame | tojson }}", {"frame": make({"n": range(100)})})
    assert json.loads(str(shown)) == [{"n": n} for n in range(100)]


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


def test_the_json_of_a_frame_has_its_index_where_that_has_a_name_or_labels() -> None:
    frame = pd.DataFrame({"city": ["Paris", "Rome", "Rome"], "year": [1, 1, 2], "units": [1, 2, 3]})
    assert json.loads(json_of(frame.groupby("city").sum()))[0] == {"city": "Paris", "year": 1, "units": 1}
    assert json.loads(json_of(frame.groupby(["city", "year"]).sum()))[2] == {"city": "Rome", "year": 2, "units": 3}
    assert json.loads(json_of(frame.describe()))[0]["index"] == "count"
    assert json.loads(json_of(frame[frame.units > 1]))[0] == {"city": "Rome", "year": 1, "units": 2}


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


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_two_columns_of_one_name_are_refused_where_one_would_be_lost(kind: str) -> None:
    twice: Any = pd.DataFrame([[1, 2]], columns=["a", "a"])
    if kind == "pyarrow":
        twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(InferenceError, match="two columns with the same name") as refused:
        json_of(twice)
    assert "Rename" in refused.value.remedy
    assert "DuplicateError" not in str(refused.value)


GROUPS = pd.DataFrame({"k": ["a", "b"], "v": [1, 2], "n": [3, 4]}).groupby("k")


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (GROUPS.agg({"v": ["mean", "sum"]}), ["k", "v, mean", "v, sum"]),
        (GROUPS[["n"]].describe().iloc[:, :2], ["k", "n, count", "n, mean"]),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", ""), ("", "b")])), ["a", "b"]),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([[1], [2, 3]])), ["1, 2", "1, 3"]),
        (pd.DataFrame({"a": [1]}, index=pd.Index([2], name=("k", "x"))), ["k, x", "a"]),
    ],
)
def test_columns_of_several_levels_have_one_name_everywhere(frame: pd.DataFrame, names: list[str]) -> None:
    assert [*json.loads(json_of(frame))[0]] == names
    assert next(csv.reader(text_of(frame).split("\n\n")[1].splitlines())) == names
    (row, *_) = read_rows(frame)
    assert [*with_label(row)] == names
    assert [*json.loads(json_of(with_index(row)))] == names


class Address(NamedTuple):
    """A named tuple with a text of its own, which may hide a part."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


def test_keys_of_several_parts_have_a_name_as_columns_have() -> None:
    keys = {("p", 1): 3, frozenset({2, 1}): 4, Address("a", "b"): 5}
    expected = {"p, 1": 3, "1, 2": 4, "a@b": 5}
    assert json.loads(text_of(keys)) == json.loads(json_of(keys)) == expected
    cell = next(csv.reader([text_of(pd.DataFrame({"c": [keys]})).splitlines()[-1]]))[0]
    assert json.loads(cell) == expected
    series = pd.Series([3, 4], index=pd.MultiIndex.from_tuples([("p", 1), ("q", 2)]))
    assert json.loads(json_of(series)) == {"p, 1": 3, "q, 2": 4}


@pytest.mark.parametrize(
    ("frame", "row"),
    [
        (pd.DataFrame({"k": [1], "v": [3]}).set_index("k", drop=False), {"level_0": 1, "k": 1, "v": 3}),
        (GROUPS[["k", "v"]].agg("first"), {"level_0": "a", "k": "a", "v": 1}),
        (pd.DataFrame({"k": [1], "level_0": [2]}, index=pd.Index([7], name="k")), {"level_1": 7, "k": 1, "level_0": 2}),
        (pd.Series([1, 2], index=pd.Index(["a", "a"], name="n"), name="n"), {"level_0": "a", "n": 1}),
        (
            pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([(2, 3)], names=["k", "k"])),
            {"k": 2, "level_1": 3, "v": 1},
        ),
    ],
)
def test_an_index_with_the_name_of_a_column_has_the_name_that_it_has_in_rows(frame: Any, row: dict[str, Any]) -> None:
    assert json.loads(json_of(frame))[0] == row
    assert dict(with_label(next(iter(read_rows(frame))))) == row


SHORT = np.array([0.1, 3.3])


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"f": SHORT.astype("f4")}),
        pd.DataFrame({"f": pd.array(SHORT, dtype="Float32")}),
        pd.DataFrame({"f": pd.Series(SHORT, dtype=pd.ArrowDtype(pa.float32()))}),
        pl.DataFrame({"f": SHORT}, schema={"f": pl.Float32}),
        pa.table({"f": pa.array(SHORT, pa.float32())}),
    ],
)
def test_short_floats_of_a_frame_have_their_shortest_decimals(frame: Any) -> None:
    assert json_of(frame) == '[{"f": 0.1}, {"f": 3.3}]'
    assert text_of(frame).endswith("f\n0.1\n3.3")
    assert [json.loads(json_of(with_label(row))) for row in read_rows(frame)] == [{"f": 0.1}, {"f": 3.3}]


def test_short_floats_of_an_index_have_their_shortest_decimals() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(SHORT.astype("f4"), name="f"))
    assert json_of(frame) == '[{"f": 0.1, "a": 1}, {"f": 3.3, "a": 2}]'
    assert text_of(frame).endswith("f,a\n0.1,1\n3.3,2")
    assert [with_label(row)["f"] for row in read_rows(frame)] == [0.1, 3.3]


def test_short_floats_of_a_series_and_within_lists_have_their_shortest_decimals() -> None:
    assert json_of(pd.Series(SHORT.astype("f4"))) == '{"0": 0.1, "1": 3.3}'
    assert json_of(pl.Series(SHORT, dtype=pl.Float32)) == "[0.1, 3.3]"
    lists = pl.DataFrame({"f": [[0.1, None]]}, schema={"f": pl.List(pl.Float32)})
    assert json_of(lists) == '[{"f": [0.1, null]}]'


def test_the_labels_of_a_series_are_short_floats_too() -> None:
    series = pd.Series([1, 2], index=pd.Index(np.array([0.1, 3.3], dtype="float32")))
    assert json_of(series) == '{"0.1": 1, "3.3": 2}'
