"""What is read back of a column is what was answered, also from parquet and pickle."""

from __future__ import annotations

import json
import math
import os
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from keyword import iskeyword
from typing import Any, Literal, Union
from uuid import UUID

import pytest
from framed_answers import (
    Mood,
    Point,
    frame_of,
    framed,
    from_parquet,
    is_same,
    record_of,
    type_of,
    values_of,
)
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from pydantic import (
    BaseModel,
    Json,
    RootModel,
)

from wandb_inference_magic.frames.columns import plain
from wandb_inference_magic.schemas import Mismatch, Schema, schema_of

# More by hand: PROPERTY_EXAMPLES=2000 uv run pytest tests/frames/test_reading_back.py
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "100"))


class Mixed(Enum):
    ONE = 1
    A = "a"


class Node(BaseModel):
    value: int
    children: list[Node] = []


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
        # Nor does one without fields.
        assume("has no fields" not in str(error))
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
