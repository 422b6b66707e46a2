"""Columns of answers in every frame library: their types, and what no column holds."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import InitVar, dataclass, field
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from framed_answers import (
    SCALAR_TYPES,
    SCALARS,
    Address,
    Mood,
    Person,
    Point,
    frame_of,
    framed,
    from_parquet,
    is_same,
    record_of,
    type_of,
    values_of,
)
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    RootModel,
    WrapValidator,
    computed_field,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from service import Service, completion

from wandb_inference_magic.errors import InferenceWarning
from wandb_inference_magic.frames.columns import TypedColumn, column_of, plain, typed_column
from wandb_inference_magic.frames.kinds import ANY, FLOAT, INT53, MIXED, STRING, STRUCT, Kind, finalized, kind_of_schema
from wandb_inference_magic.frames.native_columns import arrow_array
from wandb_inference_magic.frames.rows import read_rows
from wandb_inference_magic.schemas import schema_of
from wandb_inference_magic.text import is_missing


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
            {"inner": {"size": 0, "double": 0}, "double": None},
            ("'double' holds no value in 1 row, where the field double raised ZeroDivisionError.",),
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


class Shared(BaseModel):
    done: int
    total: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float:
        return self.done / self.total

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return {0: "none", 1: "one"}[self.done]


BAD, GOOD = (plain(Shared(done=1, total=total)) for total in (0, 2))
WITHOUT = {"done": 1, "total": 0, "share": None, "label": "one"}


class Labelled(Shared):
    text: str = "ok"


class Mean(BaseModel):
    given: list[float]

    def __init__(self, given: list[float]) -> None:
        super().__init__(given=given)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> float:
        return self.given[0]


class Team(BaseModel):
    best: Shared
    all: list[Shared]
    by_name: dict[str, Shared]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_computed_field_that_raises_has_no_value_and_its_column_keeps_its_type(library: str) -> None:
    schema = schema_of(Shared)
    answers = [Shared(done=done, total=total) for done, total in ((1, 2), (1, 0), (2, 0), (0, 4))]
    out, notices = framed(frame_of(library, {"text": list("abcd")}), answers, schema)
    for read in (out, from_parquet(out)):
        shares, labels = values_of(read, "share"), values_of(read, "label")
        assert [None if is_missing(one) else one for one in shares] == [0.5, None, None, 0.0]
        assert [None if is_missing(one) else one for one in labels] == ["one", "one", None, "none"]
    assert notices == (
        "'share' holds no value in 2 rows, where the field share raised ZeroDivisionError.",
        "'label' holds no value in 1 row, where the field label raised KeyError.",
    )


def test_a_computed_field_that_raises_within_another_value_has_no_value_there() -> None:
    bad, good = Shared(done=1, total=0), Shared(done=1, total=2)
    teams = [Team(best=bad, all=[bad, good, bad], by_name={"a": bad}), Team(best=good, all=[], by_name={"b": good})]
    out, notices = framed(pl.DataFrame({"text": ["a", "b"]}), teams, Team)
    empty, full = (
        {"done": 1, "total": total, "share": share, "label": "one"} for total, share in ((0, None), (2, 0.5))
    )
    assert out["best"].to_list() == [empty, full]
    assert out["all"].to_list() == [[empty, full, empty], []]
    assert out["by_name"].to_list() == [{"a": empty, "b": None}, {"a": None, "b": full}]
    assert notices == tuple(
        f"{name!r} holds no value in 1 row, where the field share raised ZeroDivisionError."
        for name in ("best", "all", "by_name")
    )


RAISED = "holds no value, where the field share raised ZeroDivisionError"


@pytest.mark.parametrize(
    ("kind", "values", "held", "said"),
    [
        (FLOAT, [GOOD["share"], BAD["share"], "much"], [0.5, None, None], {1: RAISED, 2: 'cannot hold "much"'}),
        (STRING, ["a", [BAD["share"]]], ["a", None], {1: f"{RAISED}, and cannot hold [null]"}),
        (STRUCT, [GOOD, BAD], [GOOD, WITHOUT], {1: RAISED}),
        (ANY, [[GOOD], [BAD, BAD], []], [[GOOD], [WITHOUT, WITHOUT], []], {1: RAISED}),
    ],
)
def test_a_type_of_a_column_that_is_known_beforehand_holds_no_computed_field_that_raises(
    kind: str, values: list[Any], held: list[Any], said: dict[int, str]
) -> None:
    column, reports = typed_column(Kind(kind), values)
    assert (column.values, reports) == (held, said)


def test_a_computed_field_that_raises_is_null_in_json_text() -> None:
    column, reports = column_of(Kind(ANY), [1, [BAD], {"a": [BAD]}])
    assert [json.loads(one) for one in column.values] == [1, [WITHOUT], {"a": [WITHOUT]}]
    assert "no value in 2 rows, where the field share raised ZeroDivisionError" in reports


@pydantic_dataclass
class Half:
    whole: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def half(self) -> float:
        return 1 / self.whole


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([Shared(done=1, total=0), Shared(done=1, total=2)], "share"),
        ([Half(0), Half(2)], "half"),
        ((one for one in (Half(0), Half(2))), "half"),
        ([Mean([]), Mean([0.5])], "mean"),
    ],
    ids=["models", "dataclasses", "a generator", "another exception"],
)
def test_a_computed_field_that_raises_has_no_value_in_rows(
    api: ModuleType, service: Service, values: Any, column: str
) -> None:
    """The rows that a map is given, not its answers."""
    service.always = completion("ok")
    with pytest.warns(InferenceWarning, match=f"'{column}' holds no value in 1 row, where the field {column} raised"):
        out = api.map_prompts(values, "{{ row }}")
    assert out[column].dtype == "float64"
    assert from_parquet(out)[column].to_pylist() == [None, 0.5]


@pytest.mark.parametrize("is_evaluation", [False, True])
def test_a_computed_field_that_raises_within_a_value_of_a_row_has_no_value(
    api: ModuleType, service: Service, is_evaluation: bool
) -> None:
    service.always = completion("ok")
    bad, good = Shared(done=1, total=0), Shared(done=1, total=2)
    rows = [Team(best=one, all=[one], by_name={"a": one}) for one in (bad, good)]
    if is_evaluation:
        given = [Labelled(done=1, total=total) for total in (0, 2)]
        found = api.evaluate(given, "{{ done }}", truth="text", models="test/x").rows
        assert found.share.isna().tolist() == [True, False]
        return
    with pytest.warns(InferenceWarning) as caught:
        out = api.map_prompts(rows, "{{ row }}")
    assert out.best[0] == WITHOUT
    assert out["all"][0] == [WITHOUT]
    assert out.by_name[0] == {"a": WITHOUT}
    said = [f"{name!r} holds no value in 1 row, where the field share" for name in ("best", "all", "by_name")]
    assert [str(one.message).partition(" raised")[0] for one in caught] == said
    from_parquet(out)


class Older(BaseModel):
    model_config = ConfigDict(extra="allow")

    old: int = Field(deprecated="use new")

    @computed_field(deprecated="use new")  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.__dict__["old"]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def warned(self) -> int:
        warnings.warn("be careful", UserWarning, stacklevel=2)
        return 3


class HoldsOlder(BaseModel):
    older: list[Older]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_fields_that_warn_are_columns_where_warnings_are_errors(library: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = frame_of(library, {"text": ["a"]})
        out, notices = framed(frame, [Older(old=1)], Older)
        held, more = framed(frame, [HoldsOlder(older=[Older(old=1)])], HoldsOlder)
    assert [values_of(out, name) for name in ("old", "twice", "warned")] == [[1], [2], [3]]
    assert is_same(list(values_of(held, "older")[0]), [{"old": 1, "twice": 2, "warned": 3}])
    assert (*notices, *more) == ()


@dataclass
class Made:
    a: int
    by: InitVar[int]
    and_by: InitVar[int] = 10
    made: int = field(init=False, default=0)

    def __post_init__(self, by: int, and_by: int) -> None:
        self.made = self.a * by + and_by


@pytest.mark.parametrize("kind", [Made, pydantic_dataclass(Made)])
def test_an_init_var_is_asked_for_and_is_no_column(kind: Any) -> None:
    schema = schema_of(kind)
    assert list(schema.json_schema["properties"]) == ["a", "by", "and_by"]
    answers = [schema.read('{"a": 1, "by": 2, "and_by": 3}'), schema.read('{"a": 4, "by": 5}')]
    out, notices = framed(pd.DataFrame({"text": ["a", "b"]}), answers, schema)
    assert out.drop(columns="text").to_dict("list") == {"a": [1, 4], "made": [5, 30]}
    assert notices == ()
    within, _ = framed(pl.DataFrame({"text": ["a"]}), [schema_of(list[kind]).read('[{"a": 1, "by": 2}]')], list[kind])
    assert within["reply"].to_list() == [[{"a": 1, "made": 12}]]


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


class Ratio(BaseModel):
    whole: float | None
    anything: Any
    parts: list[float | None]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> float:
        return math.nan if self.whole is None else self.whole / 2


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_nan_is_a_missing_value(library: str) -> None:
    schema = schema_of(Ratio)
    texts = [f'{{"whole": {one}, "anything": {one}, "parts": [1, {one}]}}' for one in ("NaN", "1.5")]
    out, notices = framed(frame_of(library, {"text": ["a", "b"]}), list(map(schema.read, texts)), schema)
    for read in (out, from_parquet(out)):
        for name, found in (("whole", 1.5), ("anything", 1.5), ("ratio", 0.75)):
            values = values_of(read, name)
            assert (is_missing(values[0]), values[1]) == (True, found)
        assert is_same(list(values_of(read, "parts")[0]), [1.0, None])
    assert notices == ()
    if library == "pandas":
        assert (out.whole.mean(), out.ratio.mean(), out.anything.isna().tolist()) == (1.5, 0.75, [True, False])


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


def test_half_a_character_is_replaced_and_reported() -> None:
    out, notices = framed(pl.DataFrame({"text": ["a", "b"]}), ["x\ud83d", "y"], None)
    assert out["reply"].to_list() == ["x�", "y"]
    assert notices == ("'reply' holds halves of characters (lone surrogates): they are replaced.",)
