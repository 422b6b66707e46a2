"""Columns of answers: what is read back is what was answered, in every frame library and from parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import field, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from io import BytesIO
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, Union
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    Json,
    PlainValidator,
    RootModel,
    WrapValidator,
    computed_field,
    create_model,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from python_processes import run_python
from service import Answer, Service, completion, refused
from typing_extensions import TypedDict

from wandb_inference_magic.errors import InferenceWarning
from wandb_inference_magic.frames.columns import ColumnNames, TypedColumn, plain, result_columns
from wandb_inference_magic.frames.kinds import INT53, MIXED, Kind, finalized, kind_of_schema
from wandb_inference_magic.frames.names import WrittenColumns, name_columns
from wandb_inference_magic.frames.native_columns import arrow_array
from wandb_inference_magic.frames.rows import read_rows
from wandb_inference_magic.schemas import Mismatch, Schema, schema_of

# More by hand: PROPERTY_EXAMPLES=2000 uv run pytest tests/frames/test_columns.py -k property
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "100"))


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Mixed(Enum):
    ONE = 1
    A = "a"


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Point(NamedTuple):
    x: int
    y: float = 0.5


# Frames -------------------------------------------------------------------------------------------------------------


def frame_of(library: str, data: Mapping[str, list[Any]]) -> Any:
    makers = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    if library == "list":
        return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    return makers[library](dict(data))


def framed(frame: Any, answers: list[Any], schema: Any, into: str = "reply") -> tuple[Any, tuple[str, ...]]:
    """Return a frame with the columns of answers, and the notices."""
    rows = read_rows(frame)
    schema = schema if schema is None or isinstance(schema, Schema) else schema_of(schema)
    rows.read_rest()
    names, dropped, renamed = name_columns(rows, schema, into, [], WrittenColumns())
    columns, reports = result_columns([(answers, {}, {})], schema, names, rows.length)
    out, problems = rows.with_columns(columns, dropped)
    return out, (*renamed, *reports, *problems)


def values_of(frame: Any, name: str) -> list[Any]:
    if isinstance(frame, pd.DataFrame):
        return frame[name].tolist()
    return frame[name].to_pylist() if isinstance(frame, pa.Table) else frame[name].to_list()


def from_parquet(frame: Any) -> Any:
    """Return a frame as it comes back from a parquet file."""
    file = BytesIO()
    if isinstance(frame, pd.DataFrame):
        frame.to_parquet(file)
        assert list(pd.read_parquet(BytesIO(file.getvalue()))) == list(frame)
        # Inside structs and lists, pandas itself reads whole numbers beside missing ones as floats, and times in UTC
        # without their zone.
        return pq.read_table(BytesIO(file.getvalue()))
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(file)
        return pl.read_parquet(BytesIO(file.getvalue()))
    pq.write_table(frame, file)
    return pq.read_table(BytesIO(file.getvalue()))


def type_of(frame: Any, name: str) -> str:
    if isinstance(frame, pd.DataFrame):
        return str(frame[name].dtype)
    return str(frame.schema.field(name).type if isinstance(frame, pa.Table) else frame.schema[name])


# What is read back --------------------------------------------------------------------------------------------------


def in_json(value: Any) -> Any:
    """Return an answered value as it is in JSON text."""
    if isinstance(value, dict):
        return {name: in_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [in_json(one) for one in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | timedelta) else value


def is_empty(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def is_same(read: Any, answered: Any) -> bool:
    """Return whether a value that was read is the plain value that was answered."""
    if hasattr(read, "tolist"):
        read = read.tolist()
    if answered is None or (isinstance(answered, float) and math.isnan(answered)):
        return is_empty(read) or read == "NaN" or (isinstance(read, dict) and all(map(is_empty, read.values())))
    if isinstance(read, str) and not isinstance(answered, str):
        # Dates and decimals are without quotes, unless they are inside of JSON text.
        return read == in_json(answered) or json_equal(json.loads(read), in_json(answered))
    if isinstance(read, datetime) and isinstance(answered, datetime) and answered.tzinfo is None:
        return read == answered.replace(tzinfo=read.tzinfo and timezone.utc)
    if isinstance(answered, dict):
        # A field that another row has is without a value here.
        return isinstance(read, dict) and all(
            is_same(read.get(name), answered.get(name)) for name in {**read, **answered}
        )
    if isinstance(answered, list):
        return len(read) == len(answered) and all(map(is_same, read, answered))
    if isinstance(answered, str):
        return (
            read == answered
            or read == answered.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            or (json_equal(json.loads(read), answered))
        )
    if isinstance(answered, date) and not isinstance(answered, datetime):
        return read == answered or read == datetime(answered.year, answered.month, answered.day)
    return bool(read == answered) and isinstance(read, bool) == isinstance(answered, bool)


def json_equal(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# Schemas and values -------------------------------------------------------------------------------------------------

Typed = tuple[Any, st.SearchStrategy[Any]]

names = st.text("abcdeXYZ_", min_size=1, max_size=3).filter(
    lambda name: not iskeyword(name) and not name.startswith("_") and not name.startswith("model")
)
texts = st.one_of(st.text(max_size=4), st.sampled_from(["\ud83d", "a\0b", "NaN", "null", "1", "", "[]", "�"]))
keys = st.one_of(st.text(max_size=3), st.sampled_from(["", "a", "b", "\0", "a.b", "A", "\ud800"]))
numbers = st.one_of(st.floats(), st.integers(-3, 3), st.sampled_from([1e308, 0.1, math.nan, math.inf, 2**53 + 1]))
integers = st.one_of(
    st.integers(-3, 3), st.integers(-(2**70), 2**70), st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1])
)
decimals = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(str), st.sampled_from(["1.10", "1e-20", "1E+20", "0"])
)
zones = st.sampled_from([None, timezone.utc, timezone(timedelta(hours=2)), timezone(timedelta(hours=-11, minutes=-30))])
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
LEAVES: list[Typed] = [
    (int, integers),
    (float, numbers),
    (bool, st.booleans()),
    (str, texts),
    (Decimal, decimals),
    (date, st.dates().map(str)),
    (datetime, st.datetimes(timezones=zones).map(datetime.isoformat)),
    (time, st.times(timezones=st.sampled_from([None, timezone.utc])).map(time.isoformat)),
    (timedelta, st.sampled_from(["P1D", "PT0.000001S", "-P3DT4H", "P999999999D"])),
    (UUID, st.uuids().map(str)),
    (bytes, st.text("ab", max_size=3)),
    (Mood, st.sampled_from(["good", "bad"])),
    (Mixed, st.sampled_from([1, "a"])),
    (Literal["a", "b"], st.sampled_from("ab")),
    (Literal[1, "a", None], st.sampled_from([1, "a", None])),
    (Any, anything),
    (dict, st.dictionaries(keys, anything, max_size=3)),
    (list, st.lists(anything, max_size=3)),
    (Json, st.just('{"a": [1, 2.5]}')),
    (Node, st.sampled_from([{"value": 1}, {"value": 2, "children": [{"value": 3, "children": [{"value": 4}]}]}])),
    (Point, st.sampled_from([[1, 2.5], [3]])),
]


def record_of(kind: str, fields: dict[str, Any]) -> Any:
    if kind == "model":
        return create_model("Record", **{name: (one, ...) for name, one in fields.items()})
    if kind == "dataclass":
        return make_dataclass("Record", [(name, one, field()) for name, one in fields.items()])
    if kind == "named tuple":
        return NamedTuple("Record", list(fields.items()))
    return TypedDict("Record", fields)  # type: ignore[operator]


@st.composite
def composed(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    form = draw(st.sampled_from(["list", "dict", "optional", "union", "pair", "tuple", "set", "root", "record"]))
    kind, values = draw(inner)
    if form == "list":
        return list[kind], st.lists(values, max_size=3)
    if form == "dict":
        return dict[str, kind], st.dictionaries(keys, values, max_size=3)
    if form == "optional":
        return Union[kind, None], st.one_of(st.none(), values)  # noqa: UP007
    if form in ("union", "pair"):
        other, others = draw(inner)
        if form == "union":
            return Union[kind, other], st.one_of(values, others)  # noqa: UP007
        return tuple[kind, other], st.tuples(values, others).map(list)
    if form == "tuple":
        return tuple[kind, ...], st.lists(values, max_size=3)
    if form == "set":
        return set[int], st.lists(st.integers(-3, 3), max_size=3)
    if form == "root":
        return RootModel[kind], values
    return draw(record(inner))


@st.composite
def record(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    fields = draw(st.dictionaries(names, inner, max_size=3))
    kind = draw(st.sampled_from(["model", "dataclass", "named tuple", "typed dict"]))
    values = st.fixed_dictionaries({name: one for name, (_, one) in fields.items()})
    if kind == "named tuple":
        values = values.map(lambda value: list(value.values()))
    return record_of(kind, {name: one for name, (one, _) in fields.items()}), values


types = st.recursive(st.sampled_from(LEAVES), lambda inner: composed(inner), max_leaves=6)


@st.composite
def schemas_and_answers(draw: st.DrawFn) -> tuple[Schema, list[Any]]:
    annotation, values = draw(st.one_of(record(types), record(types), types))
    try:
        schema = schema_of(annotation if not isinstance(annotation, type) or annotation is not Any else dict[str, Any])
    except Exception as error:
        # A scalar type alone says nothing about an answer.
        assert "not a schema" in str(error), error
        schema = schema_of(list[annotation])
        values = st.lists(values, max_size=2)
    return schema, [read_by(schema, value) for value in draw(st.lists(st.one_of(st.none(), values), max_size=4))]


def read_by(schema: Schema, value: Any) -> Any:
    """Return the answer that a value is in JSON, or None if it is none."""
    try:
        return None if value is None else schema.read(json.dumps({schema.wrapped: value} if schema.wrapped else value))
    except Mismatch:
        # Not every value that is drawn fits.
        return None


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=schemas_and_answers())
def test_property_what_is_read_back_is_what_was_answered(library: str, asked: tuple[Schema, list[Any]]) -> None:
    schema, answers = asked
    frame = frame_of(library, {"text": ["a"] * len(answers)})
    out, _ = framed(frame, answers, schema)
    for read in (out, from_parquet(out)):
        assert values_of(read, "text") == ["a"] * len(answers)
        for name in schema.fields or ["reply"]:
            records = [plain(answer) for answer in answers]
            expected = [one and one[name] for one in records] if schema.fields else records
            found = values_of(read, name)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert is_same(one, other), (name, one, other, type_of(read, name))


# Types --------------------------------------------------------------------------------------------------------------

SCALARS = "price float, n int, sure bool, label good|bad, when date, note text?"
SCALAR_TYPES = {
    "pandas": ["Float64", "Int64", "boolean", "object"],
    "polars": ["Float64", "Int64", "Boolean", "Date"],
    "pyarrow": ["double", "int64", "bool", "date32[day]"],
}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "list"])
def test_the_schema_alone_decides_the_types_of_columns(library: str) -> None:
    schema = schema_of(SCALARS)
    whole = {"price": 1.0, "n": 1, "sure": True, "label": "good", "when": "2024-01-05", "note": None}
    answers = [schema.read(json.dumps(whole)), schema.read(json.dumps(whole | {"price": 2}))]
    for some in ([*answers, None], answers[:1] * 3, [None] * 3):
        out, notices = framed(frame_of(library, {"text": ["a", "b", "c"]}), some, schema)
        types = [type_of(out, name) for name in ("price", "n", "sure", "when")]
        assert types == SCALAR_TYPES["pandas" if library == "list" else library]
        assert type_of(out, "label") == type_of(out, "note") == type_of(out, "text")
        assert notices == ()
    empty = frame_of(library, {"text": []})
    out, _ = framed(empty if library != "list" else pd.DataFrame({"text": []}), [], schema)
    assert [type_of(out, name) for name in ("price", "n", "sure", "when")] == types
    assert len(out) == 0


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (list[Point], "list<item: struct<x: int64, y: double>>"),
        (Point, "struct<x: int64, y: double>"),
        (tuple[int, ...], "list<item: int64>"),
        (tuple[int, float], "list<item: double>"),
        (set[str], "list<item: string>"),
        (Union[int, float], "double"),  # noqa: UP007
        (Union[int, str], "string"),  # noqa: UP007
        (Decimal, "decimal128(38, 10)"),
        (datetime, "timestamp[us]"),
        (time, "time64[us]"),
        (timedelta, "duration[us]"),
        (UUID, "string"),
        (Mood, "string"),
        (Literal[1, 2], "int64"),
        (Any, "string"),
        (dict[str, float], "string"),
        (RootModel[list[int]], "list<item: int64>"),
        (list[list[Union[bool, None]]], "list<item: list<item: bool>>"),  # noqa: UP007
    ],
)
def test_a_field_without_any_answer_has_a_type(annotation: Any, expected: str) -> None:
    schema = schema_of(record_of("typed dict", {"x": annotation}))
    out, notices = framed(pa.table({"text": ["a"]}), [None], schema)
    assert type_of(out, "x") == expected
    assert notices == ()


@pytest.mark.parametrize(
    ("validator", "function", "kind", "expected"),
    [
        (BeforeValidator, len, float, pl.Series([3.0])),
        (WrapValidator, lambda value, inner: inner(value.split(",")), list[str], pl.Series([["a", "b"]])),
        (PlainValidator, len, int, pl.Series([3])),
    ],
)
def test_what_a_validator_takes_is_not_the_type_of_a_column(
    validator: Any, function: Any, kind: Any, expected: pl.Series
) -> None:
    field = Annotated[kind, validator(function, json_schema_input_type=str)]
    schema = schema_of(record_of("typed dict", {"x": field}))
    out, notices = framed(pl.DataFrame({"text": ["a"]}), [schema.check({"x": "a,b"})], schema)
    assert (out["x"].dtype, out["x"].to_list()) == (expected.dtype, expected.to_list())
    assert notices == ()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "int64"),
        ({"type": ["number", "null"]}, "double"),
        ({"enum": ["a", "b"]}, "string"),
        ({"const": 3}, "int64"),
        ({"$ref": "#/$defs/point"}, "struct<x: int64>"),
        ({"$ref": "#/$defs/tree"}, "struct<inner: string>"),
        ({"$ref": "#/nowhere"}, "string"),
        (
            {"allOf": [{"$ref": "#/$defs/point"}, {"properties": {"y": {"type": "number"}}}]},
            "struct<x: int64, y: double>",
        ),
        ({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "a"}]}, "string"),
        ({"type": "integer", "anyOf": [{"minimum": 1}]}, "int64"),
    ],
)
def test_a_json_schema_decides_the_types_of_columns_too(schema: dict[str, Any], expected: str) -> None:
    definitions = {
        "point": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "tree": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/tree"}}},
    }
    whole = {"type": "object", "properties": {"x": schema}, "$defs": definitions}
    assert str(arrow_array(TypedColumn(finalized(kind_of_schema(whole).fields["x"]), [])).type) == expected


def test_a_format_of_a_json_schema_does_not_make_a_text_a_date() -> None:
    schema = schema_of({"type": "object", "properties": {"x": {"type": "string", "format": "date"}}})
    out, notices = framed(pl.DataFrame({"text": ["a"]}), [schema.read('{"x": "2024-01-05"}')], schema)
    assert out["x"].to_list() == ["2024-01-05"]
    assert notices == ()


# Values -------------------------------------------------------------------------------------------------------------


class Address(BaseModel):
    city: str
    zip_code: int | None


class Person(BaseModel):
    name: str
    address: Address
    friends: list[Address]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "list"])
def test_nested_answers_are_plain_structs_and_lists(library: str) -> None:
    oslo, nowhere = {"city": "Oslo", "zip_code": 150}, {"city": "", "zip_code": None}
    answer = Person(name="Ada", address=Address(**oslo), friends=[Address(**nowhere)])
    out, notices = framed(frame_of(library, {"text": ["a", "b"]}), [answer, None], Person)
    for read in (out, from_parquet(out)):
        assert values_of(read, "address") == [oslo, None]
        assert [is_same(values_of(read, "friends")[0], [nowhere]), values_of(read, "friends")[1]] == [True, None]
    assert notices == ()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_objects_with_other_keys_in_other_rows_keep_all_of_them(library: str) -> None:
    schema = schema_of(record_of("typed dict", {"scores": dict[str, float]}))
    answers: list[Any] = [{"scores": {"a": 1}}, {"scores": {"b": 2.5, "c": 3}}, None, {"scores": {}}]
    out, _ = framed(frame_of(library, {"text": list("abcd")}), answers, schema)
    for read in (out, from_parquet(out)):
        found = [
            one and {name: score for name, score in one.items() if score is not None}
            for one in values_of(read, "scores")
        ]
        assert found == [{"a": 1.0}, {"b": 2.5, "c": 3.0}, None, {}]
    if library == "pandas":
        assert values_of(out, "scores") == [{"a": 1.0}, {"b": 2.5, "c": 3.0}, None, {}]


def assert_is_text(library: str, annotation: Any, values: list[Any], texts: list[str], said: str) -> None:
    """Check that the column of these answers has these texts, also from parquet, and that a notice says why."""
    schema = schema_of(record_of("typed dict", {"x": annotation}))
    answers = [schema.read(json.dumps({"x": value})) for value in values]
    out, notices = framed(frame_of(library, {"text": ["a", "b"]}), answers, schema)
    assert values_of(from_parquet(out), "x") == values_of(out, "x") == texts
    assert notices == (f"'x' holds {said}.",)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("annotation", "values", "texts", "why"),
    [
        (Any, [{"a": 1}, "b"], ['{"a": 1}', '"b"'], "values of several types"),
        (Any, ["b", {"a": 1}], ['"b"', '{"a": 1}'], "values of several types"),
        (Any, [{"a": 1}, [1]], ['{"a": 1}', "[1]"], "values of several types"),
        (list[Any], [[1, "a"], []], ['[1, "a"]', "[]"], "values of several types"),
        (dict, [{}, {}], ["{}", "{}"], "objects without a field"),
        (dict, [{"\0": 1}, {"a": 2}], ['{"\\u0000": 1}', '{"a": 2}'], "names of fields that no column can have"),
    ],
)
def test_values_that_no_column_holds_are_json_text_and_reported_once(
    library: str, annotation: Any, values: list[Any], texts: list[str], why: str
) -> None:
    assert_is_text(library, annotation, values, texts, f"{why}: they are JSON text")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("annotation", "values", "texts", "why"),
    [
        (int, [1, 2**70], ["1", str(2**70)], "whole numbers beyond 64 bits"),
        (Union[int, str], [1, 'a "b"'], ["1", 'a "b"'], "values of several types"),  # noqa: UP007
        (Union[str, int], ['"a"', 2**70], ['"a"', str(2**70)], "values of several types"),  # noqa: UP007
        (Any, [True, 1.5], ["true", "1.5"], "values of several types"),
        (Union[datetime, Literal["soon"]], ["2024-01-01T00:00:00", "soon"], ["2024-01-01T00:00:00", "soon"], MIXED),  # noqa: UP007
        (Decimal, ["1e-20", "2"], ["1E-20", "2"], "decimals with too many digits"),
        (
            timedelta,
            ["P999999999D", "P1D"],
            ["999999999 days, 0:00:00", "1 day, 0:00:00"],
            "durations that are too long",
        ),
        (time, ["10:00:00Z", "10:00:00"], ["10:00:00+00:00", "10:00:00"], "times with a time zone"),
    ],
)
def test_scalars_that_no_column_holds_are_text_without_quotes_and_reported_once(
    library: str, annotation: Any, values: list[Any], texts: list[str], why: str
) -> None:
    assert_is_text(library, annotation, values, texts, f"{why}: they are text")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_datetimes_with_and_without_a_time_zone_are_one_column_in_utc(library: str) -> None:
    schema = schema_of("d datetime")
    texts = ["2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"]
    answers = [schema.read(json.dumps({"d": text})) for text in texts]
    out, notices = framed(frame_of(library, {"text": ["a", "b", "c"]}), answers, schema)
    for read in (out, from_parquet(out)):
        assert values_of(read, "d") == [datetime(2024, 1, 1, tzinfo=timezone.utc)] * 3
    assert notices == ("'d' holds times with a time zone and times without one: those without are read as UTC.",)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (json.loads("[" * 40 + "]" * 40), "objects that are nested too deeply"),
        ({str(number): number for number in range(2000)}, "objects with too many different fields"),
    ],
)
def test_too_many_levels_or_fields_are_json_text(value: Any, why: str) -> None:
    schema = schema_of(record_of("typed dict", {"x": Any}))
    out, notices = framed(pl.DataFrame({"text": ["a"]}), [{"x": value}], schema)
    assert json.loads(from_parquet(out)["x"][0]) == value
    assert notices == (f"'x' holds {why}: they are JSON text.",)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_column_that_a_library_does_not_build_is_json_text(library: str) -> None:
    rows = read_rows(frame_of(library, {"text": ["a", "b"]}))
    wrong = {"good": TypedColumn(Kind(INT53), [1, None]), "odd": TypedColumn(Kind(INT53), ["x", None])}
    out, notices = rows.with_columns(wrong)
    assert values_of(out, "good")[0] == 1
    assert values_of(out, "odd")[0] == '"x"'
    (notice,) = notices
    assert notice.startswith("The column 'odd' is JSON text, because it cannot be built: ")


class Measured(BaseModel):
    size: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.size


@pydantic_dataclass
class Holding:
    inner: Measured

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.inner.double // self.inner.size


@pytest.mark.parametrize(
    ("kind", "answer", "columns", "reports"),
    [
        (Measured, {"size": 2}, {"size": 2, "double": 4}, ()),
        (Holding, {"inner": {"size": 2}}, {"inner": {"size": 2, "double": 4}, "double": 2}, ()),
        (
            Holding,
            {"inner": {"size": 0}},
            {"inner": {"size": 0, "double": 0}, "double": "<ZeroDivisionError>"},
            ("'double' holds values of several types: they are text.",),
        ),
        (list[Measured], [{"size": 2}], {"reply": [{"size": 2, "double": 4}]}, ()),
    ],
)
def test_fields_that_a_type_computes_are_columns(
    kind: Any, answer: Any, columns: dict[str, Any], reports: tuple[str, ...]
) -> None:
    schema = schema_of(kind)
    out, notices = framed(pl.DataFrame({"text": ["a"]}), [schema.read(json.dumps(answer))], schema)
    assert out.drop("text").to_dicts() == [columns]
    assert notices == reports
    assert "double" not in json.dumps(schema.json_schema)


def test_half_a_character_is_replaced_and_reported() -> None:
    out, notices = framed(pl.DataFrame({"text": ["a", "b"]}), ["x\ud83d", "y"], None)
    assert out["reply"].to_list() == ["x�", "y"]
    assert notices == ("'reply' holds halves of characters (lone surrogates): they are replaced.",)


@pytest.mark.parametrize(
    "source",
    [
        ["fine", "x\ud83d"],
        [{"text": "fine"}, {"text": "x\ud83d"}],
        [("fine",), ("x\ud83d",)],
        [{"text": 1, "x\ud83d": 2}, {"text": 2, "x\ud83d": 3}],
    ],
    ids=["texts", "dicts", "tuples", "names"],
)
def test_half_a_character_in_a_row_is_replaced_and_reported(source: list[Any]) -> None:
    out, notices = framed(source, ["yes", "no"], None)
    assert out["reply"].to_list() == ["yes", "no"]
    name = next((one for one in out if "\ufffd" in one), next(iter(out)))
    assert "x\ufffd" in [name, *out[name]]
    assert notices == (f"{name!r} holds halves of characters (lone surrogates): they are replaced.",)


def test_a_nan_that_was_answered_is_not_a_missing_answer() -> None:
    schema = schema_of("price float")
    answers = [schema.read('{"price": NaN}'), None]
    out, notices = framed(pd.DataFrame({"text": ["a", "b"]}), answers, schema)
    assert out.price.isna().tolist() == [False, True]
    assert values_of(framed(pl.DataFrame({"text": ["a", "b"]}), answers, schema)[0], "price")[1] is None
    assert notices == ()


def test_a_compiled_pattern_is_its_text_and_another_object_with_one_is_its_own() -> None:
    class Rule:
        pattern = "*.csv"

        def __str__(self) -> str:
            return "the rule"

    assert plain([re.compile("a+"), Rule()]) == ["a+", "the rule"]


def test_an_object_that_raises_is_text() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert plain(Odd()) == "<Odd>"
    assert "Odd" in plain({"a": Odd()})


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "list"])
def test_a_column_of_the_frame_is_kept_beside_a_field_of_its_name(library: str) -> None:
    schema = schema_of("label good|bad, n int, n_reply int")
    frame = frame_of(library, {"label": ["mine"], "n": [7]})
    out, notices = framed(frame, [{"label": "good", "n": 1, "n_reply": 2}], schema)
    found = {name: values_of(out, name)[0] for name in ("label", "label_reply", "n", "n_reply", "n_2")}
    assert found == {"label": "mine", "label_reply": "good", "n": 7, "n_reply": 2, "n_2": 1}
    assert notices == (
        "The frame has a column 'label', which is kept: the answers are in 'label_reply'.",
        "The frame has a column 'n', which is kept: the answers are in 'n_2'.",
    )


def test_a_column_that_only_a_later_row_has_is_kept_too() -> None:
    out, notices = framed([{"text": "a"}, {"text": "b", "label": "mine"}], [{"label": "x"}, {"label": "y"}], "label")
    assert out.label.tolist()[1] == "mine"
    assert out.label_reply.tolist() == ["x", "y"]
    assert len(notices) == 1


def test_the_index_of_the_result_can_be_named_without_the_frame() -> None:
    frame = pd.DataFrame({"text": ["a"]}, index=["x"])
    out, _ = framed(frame, [{"label": "good"}], schema_of("label"))
    out.index.name = "id"
    assert (frame.index.name, list(out.index)) == (None, ["x"])


def test_the_column_of_answers_and_that_of_errors_do_not_replace_others_either() -> None:
    rows = read_rows(pd.DataFrame({"reply": ["mine"], "reply_2_error": [0.5], "reply_a": [1], "reply_error": [2]}))
    names, replaced, notices = name_columns(rows, None, "reply", [], WrittenColumns())
    assert [(dict(one.answers), one.error) for one in names] == [({"": "reply_2"}, "reply_2_error_2")]
    assert replaced == ()
    assert len(notices) == 2
    names, _, _ = name_columns(rows, None, "reply", ["x/a", "x/b"], WrittenColumns())
    assert [next(iter(one.answers.values())) for one in names] == ["reply_a_2", "reply_b"]


def written(frame: Any, *names: ColumnNames) -> WrittenColumns:
    """Return the columns of a session in which runs have written those of these names."""
    found = WrittenColumns()
    found.add(read_rows(frame), names)
    return found


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("values", [["x", None], ["x", "cut"], [[{"y": 1}], None]])
def test_only_the_columns_that_a_run_has_written_are_replaced(library: str, values: list[Any]) -> None:
    ours = {"label": [*values, None], "reply_error": [None, "too odd", "Not answered yet."]}
    frame = frame_of(library, {"text": ["a", "b", "c"], "note": ["mine", None, None]} | ours)
    before = written(frame, ColumnNames({"label": "label"}, "reply_error", "reply_text"))
    schema = schema_of("label, note")
    names, replaced, notices = name_columns(read_rows(frame), schema, "reply", [], before)
    assert (names, replaced) == (
        [ColumnNames({"label": "label", "note": "note_reply"}, "reply_error", "reply_text")],
        tuple(ours),
    )
    assert notices == (
        "The columns of an earlier run are replaced: label, reply_error.",
        "The frame has a column 'note', which is kept: the answers are in 'note_reply'.",
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    "changed",
    [
        {"label": ["x", "by hand"]},
        {"label": ["by hand", None]},
        {"reply_error": [None, "my note"]},
        {"reply_error": [None, None]},
    ],
)
def test_columns_that_the_user_has_changed_are_kept(library: str, changed: dict[str, list[Any]]) -> None:
    ours = {"label": ["x", None], "reply_error": [None, "too odd"]}
    before = written(frame_of(library, ours), ColumnNames({"label": "label"}, "reply_error", "reply_text"))
    _, replaced, _ = name_columns(read_rows(frame_of(library, ours | changed)), schema_of("label"), "reply", [], before)
    assert "label" not in replaced
    assert not {*changed} & {*replaced}


def test_the_replaced_columns_of_several_models_are_each_named_once() -> None:
    models = ["x/a", "x/b"]
    answers, reasons = ["yes", None], [None, "odd"]
    earlier = {"text": ["x", "y"], "reply_a": answers, "reply_b": answers}
    frame = pd.DataFrame(earlier | {"reply_a_error": reasons, "reply_b_error": reasons})
    before = written(
        frame, *(ColumnNames({"": f"reply_{one}"}, f"reply_{one}_error", f"reply_{one}_text") for one in "ab")
    )
    _, replaced, notices = name_columns(read_rows(frame), None, "reply", models, before)
    assert sorted(replaced) == ["reply_a", "reply_a_error", "reply_b", "reply_b_error"]
    assert len(notices) == 1


# Whole runs ---------------------------------------------------------------------------------------------------------


def without_nan(values: list[Any]) -> list[Any]:
    return [value if value == value else None for value in values]


def label_or_refuse(one: Answer) -> None:
    is_odd = "ODD" in one.received.body["messages"][-1]["content"]
    (refused(400, "too odd") if is_odd else completion('{"label": "good", "topic": "film"}'))(one)


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_second_run_over_its_own_result_replaces_what_it_wrote_and_nothing_of_the_user(
    api: ModuleType, service: Service, library: str
) -> None:
    service.always = label_or_refuse
    users = {"text": ["a", "ODD", "c"], "reply": ["S1", "S2", "S3"], "label": ["H1", None, "H3"]}
    frame = api.map_prompts(frame_of(library, users), "{{ text }}", schema="topic")
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ text }}", schema="label")
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ text }}")
    assert {name: without_nan(values_of(frame, name)) for name in users} == users
    names = list(frame.columns if library != "pyarrow" else frame.column_names)
    assert names == [*users, "topic", "label_reply", "reply_error", "reply_2", "reply_2_error"]
    assert without_nan(values_of(frame, "label_reply")) == ["good", None, "good"]
    assert len(service.chats) == 9


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_whole_row_in_a_prompt_is_without_the_columns_that_are_replaced(
    api: ModuleType, service: Service, library: str
) -> None:
    service.always = label_or_refuse
    frame = frame_of(library, {"text": ["a", "ODD", "c"]})
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ row }}", schema="label")
    assert len(service.chats) == 3, "nothing is asked twice"
    for named in ("label", "row.label", "row['label']", "row.get('label')"):
        api.map_prompts(frame, "{{ " + named + " }} {{ row }}", schema="label", concurrency=1)
        sent = [chat.body["messages"][-1]["content"] for chat in service.chats[-3:]]
        assert sorted(sent) == [
            ' {"text": "ODD", "label": null}',
            'good {"text": "a", "label": "good"}',
            'good {"text": "c", "label": "good"}',
        ]


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_interrupted_run_over_its_own_result_is_completed(api: ModuleType, service: Service, library: str) -> None:
    def reply(one: Answer) -> None:
        if len(service.chats) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        label_or_refuse(one)

    service.always = reply
    frame = frame_of(library, {"text": ["a", "b", "c", "d"]})
    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(frame, "{{ row }}", schema="label", concurrency=1)
    partial = raised.value.partial  # type: ignore[attr-defined]
    assert without_nan(values_of(partial, "label"))[::3] == ["good", None]
    assert values_of(partial, "reply_error")[-1] == "Not answered yet."
    whole = api.map_prompts(partial, "{{ row }}", schema="label")
    assert list(whole.columns if library != "pyarrow" else whole.column_names) == ["text", "label"]
    assert values_of(whole, "label") == ["good"] * 4
    assert len({chat.body["messages"][-1]["content"] for chat in service.chats}) == 4


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_row_without_an_answer_does_not_lose_the_nested_answers_of_others(
    api: ModuleType, service: Service, library: str
) -> None:
    answer = {"name": "Ada", "address": {"city": "Oslo", "zip_code": 150}, "friends": []}

    def reply(one: Answer) -> None:
        is_odd = "b" in one.received.body["messages"][-1]["content"]
        (refused(400, "too odd") if is_odd else completion(json.dumps(answer)))(one)

    service.always = reply
    out = api.map_prompts(frame_of(library, {"text": ["a", "b"]}), "Who is {{ text }}?", schema=Person)
    assert values_of(out, "address") == [answer["address"], None]
    assert "too odd" in values_of(out, "reply_error")[1]
    assert values_of(from_parquet(out), "address") == [answer["address"], None]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_interrupt_does_not_lose_the_nested_answers_so_far(api: ModuleType, service: Service, library: str) -> None:
    answer = {"name": "Ada", "address": {"city": "Oslo", "zip_code": 150}, "friends": []}

    def reply(one: Answer) -> None:
        if "b" in one.received.body["messages"][-1]["content"]:
            os.kill(os.getpid(), signal.SIGINT)
        completion(json.dumps(answer))(one)

    service.always = reply
    frame = frame_of(library, {"text": ["a", "b", "c"]})
    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(frame, "Who is {{ text }}?", schema=Person, concurrency=1)
    partial = raised.value.partial  # type: ignore[attr-defined]
    assert values_of(partial, "address")[0] == answer["address"]
    assert values_of(partial, "address")[2] is None
    assert values_of(from_parquet(partial), "address") == values_of(partial, "address")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_empty_frame_gets_the_typed_columns(api: ModuleType, service: Service, library: str) -> None:
    empty = frame_of("pyarrow", {"text": pa.array([], pa.string())})
    empty = {"pandas": empty.to_pandas, "polars": lambda: pl.from_arrow(empty), "pyarrow": lambda: empty}[library]()
    out = api.map_prompts(empty, "{{ text }}?", schema=SCALARS)
    assert [type_of(out, name) for name in ("price", "n", "sure", "when")] == SCALAR_TYPES[library]
    both = api.map_prompts(empty, "{{ text }}?", model=["x/a", "x/b"])
    assert type_of(both, "reply_a") == type_of(both, "reply_b") == type_of(empty, "text")
    assert service.chats == []


@pytest.mark.parametrize("kind", ["cursor", "csv"])
def test_a_source_without_rows_keeps_the_columns_that_it_names(api: ModuleType, service: Service, kind: str) -> None:
    if kind == "csv":
        out = api.map_prompts(csv.DictReader(io.StringIO("text,n\n")), "{{ text }}?")
    else:
        with closing(sqlite3.connect(":memory:")) as base:
            base.execute("create table t (text, n)")
            out = api.map_prompts(base.execute("select * from t"), "{{ text }}?")
    assert list(out.columns) == ["text", "n", "reply"]
    assert service.chats == []


def test_a_kept_column_is_reported_before_anything_is_sent(api: ModuleType, service: Service) -> None:
    service.always = completion('{"label": "good"}')
    frame = pd.DataFrame({"label": ["mine"]})
    # Warnings are errors in tests.
    with pytest.raises(InferenceWarning, match="'label', which is kept: the answers are in 'label_reply'"):
        api.map_prompts(frame, "{{ label }}?", schema="label good|bad")
    assert service.chats == []
    with pytest.warns(InferenceWarning) as warned:
        out = api.map_prompts(frame, "{{ label }}?", schema="label good|bad")
    assert len(warned) == 1
    assert out.iloc[0].to_dict() == {"label": "mine", "label_reply": "good"}


DASK = """
import dask, dask.dataframe as dd, os, pandas as pd, warnings
from pydantic import BaseModel
from wandb_inference_magic import map_prompts
dask.config.set(scheduler="synchronous")

class Place(BaseModel):
    city: str

class Found(BaseModel):
    n: int
    size: float
    place: Place
    scores: dict[str, float]
    text: str

frame = pd.DataFrame({"text": ["a", "b", "c"]})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    out = map_prompts(dd.from_pandas(frame, npartitions=2), "{{ text }}", schema=Found)
print([str(one.message) for one in caught if "column" in str(one.message)])
done = out.compute()
print(list(done), [str(done[name].dtype) for name in ("n", "size")], (done.dtypes == out.dtypes).all())
print(done.place.tolist(), done.scores.tolist(), done.n.isna().tolist())
print(done.reply_error.tolist())
done.to_parquet("whole.parquet")
print(pd.read_parquet("whole.parquet").place.tolist())
out[["text", "n", "size", "text_reply", "reply_error"]].to_parquet("parts")
print(dd.read_parquet("parts").compute()["size"].tolist(), flush=True)
# Threads of pyarrow can abort an interpreter that ends meanwhile.
os._exit(0)
"""


def test_partitions_of_dask_have_the_same_types_and_plain_values(
    service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    def reply(one: Answer) -> None:
        row = one.received.body["messages"][-1]["content"]
        found = {"n": 2**70 if row == "c" else 1, "size": 2, "place": {"city": row}, "scores": {row: 1}, "text": row}
        (refused(400, "too odd") if row == "b" else completion(json.dumps(found)))(one)

    service.always = reply
    process = run_python("-c", DASK, environment=environment | service.environment, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    warned, names, values, errors, whole, parts = process.stdout.splitlines()
    assert "'text', which is kept: the answers are in 'text_reply'" in warned
    assert names.startswith(
        "['text', 'n', 'size', 'place', 'scores', 'text_reply', 'reply_error'] ['Int64', 'Float64'] True"
    )
    assert values == "[{'city': 'a'}, None, {'city': 'c'}] [{'a': 1.0}, None, {'c': 1.0}] [False, True, True]"
    assert "too odd" in errors
    assert f"'n' cannot hold {2**70}." in errors
    assert whole == "[{'city': 'a'}, None, {'city': 'c'}]"
    assert parts == "[2.0, <NA>, 2.0]"


def test_the_columns_of_a_user_with_an_empty_column_of_errors_are_kept(api: ModuleType, service: Service) -> None:
    service.always = completion("answer")
    frame = pd.DataFrame({"x": ["a", "b"], "reply": ["human", "words"], "reply_error": [None, None]})
    with pytest.warns(InferenceWarning, match="'reply', which is kept"):
        out = api.map_prompts(frame, "{{ x }}")
    assert out["reply"].tolist() == ["human", "words"]
    assert out["reply_2"].tolist() == ["answer", "answer"]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_fields_that_a_schema_does_not_name_are_reported(api: ModuleType, service: Service, kind: Any) -> None:
    class Open(BaseModel, extra="allow"):
        a: int

    service.always = completion('{"a": 1, "q": 2}')
    with pytest.warns(InferenceWarning, match="the schema does not name are left out: q"):
        out = api.map_prompts(kind({"x": ["a"]}), "{{ x }}", schema=Open)
    assert list(out.columns) == ["x", "a"]
    # Warnings are errors in tests. What is paid for is not lost.
    with pytest.raises(InferenceWarning) as warned:
        api.map_prompts(kind({"x": ["a"]}), "{{ x }}", schema=Open)
    assert warned.value.partial.equals(out)
