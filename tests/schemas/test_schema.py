"""Schemas: what can be one, and what is sent to the model."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import core_schema
from schema_types import Actor, Address, Dog, Good, Id, Mood, Movie, Node, Owner, Person, Point
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.schemas.schema import Mismatch, read_schema, schema_of

pytestmark = pytest.mark.short


class Pair(NamedTuple):
    a: int
    b: str


Choice = TypeAliasType("Choice", Literal["yes", "no"])


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema in a schema."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for one in node.values():
            yield from objects(one)
    elif isinstance(node, list):
        for one in node:
            yield from objects(one)


class Level(Enum):
    LOW = 1
    HIGH = 2


class Step(Enum):
    """Its values are no values of JSON."""

    UP = (0, 1)
    DAY = date(2026, 1, 2)
    HALF = Decimal("0.5")

    @classmethod
    def _missing_(cls, value: Any) -> Step:
        return cls[value.upper()]


class Bad(BaseModel):
    mood: Literal[Mood.BAD]
    how: int


class Moods(BaseModel):
    seen: list[Annotated[Good | Bad, Field(discriminator="mood")]]


class Bounded(BaseModel):
    stars: int = Field(np.int64(3), ge=np.int64(1), le=Decimal(5))
    tags: list[str] = Field(max_length=np.int64(2))


KINDS: list[tuple[Any, str, Any]] = [
    (Address, '{"street": "Main", "number": 2}', Address(street="Main", number=2)),
    (Point, '{"x": 1, "y": 2}', Point(1.0, 2.0)),
    (Movie, '{"title": "Alien", "year": 1979}', {"title": "Alien", "year": 1979}),
    (Actor, '{"name": "A", "films": []}', {"name": "A", "films": []}),
    (list[Actor | None], '[{"name": "A", "films": []}, null]', [{"name": "A", "films": []}, None]),
    (Pair, '{"items": [1, "x"]}', Pair(1, "x")),
    (Mood, '{"value": "good"}', Mood.GOOD),
    (list[Movie], '{"items": [{"title": "A", "year": 1}]}', [{"title": "A", "year": 1}]),
    (list[Movie], '[{"title": "A", "year": 1}]', [{"title": "A", "year": 1}]),
    (list[int] | None, '{"value": null}', None),
    (Literal["yes", "no"], '{"value": "no"}', "no"),
    (Literal[1, 2], '{"value": "2"}', 2),
    (Choice, '{"value": "no"}', "no"),
    (Id, '{"value": 3}', 3),
    (list[Step], '[[0, 1], "2026-01-02", "0.5", 0.5, "up"]', [Step.UP, Step.DAY, Step.HALF, Step.HALF, Step.UP]),
    (TypeAdapter(Literal[Mood.GOOD, 3]), '{"value": "good"}', Mood.GOOD),
    (dict[Literal[1, 2], Step], '{"2": [0, 1]}', {2: Step.UP}),
    (
        Moods,
        '{"seen": [{"mood": "good", "why": "x"}, {"mood": "bad", "how": "1"}]}',
        Moods(seen=[Good(mood=Mood.GOOD, why="x"), Bad(mood=Mood.BAD, how=1)]),
    ),
    ({"enum": np.array([1, 2])}, '{"value": 2}', 2),
    (Bounded, '{"stars": 2, "tags": ["a"]}', Bounded(stars=2, tags=["a"])),
    (Literal[True] | None, '{"value": "true"}', True),
    (list[Literal[1, 2] | str], '["1"]', ["1"]),
    (
        "score 1|2|3, half 0.5|1, more 1|null",
        '{"score": "3.0", "half": "1.0", "more": "1"}',
        {"score": 3, "half": 1, "more": 1},
    ),
    (dict[str, list[Level]], '{"a": ["1", 2]}', {"a": [Level.LOW, Level.HIGH]}),
    (int, '{"value": 3}', 3),
    (TypeAdapter(list[date]), '{"items": ["2026-01-02"]}', [date(2026, 1, 2)]),
    (
        Node,
        '{"value": {"value": 1, "children": [{"value": 2, "children": []}]}}',
        Node(value=1, children=[Node(value=2)]),
    ),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    ("name, age int", '{"name": "Ada", "age": 36}', {"name": "Ada", "age": 36}),
    ("name, age int", '{"name": "Ada \\ud83d", "age": 36}', {"name": "Ada \ufffd", "age": 36}),
    ("list of name, age int?", '{"items": [{"name": "Ada", "age": null}]}', [{"name": "Ada", "age": None}]),
    ({"type": "object", "properties": {"n": {"type": "integer"}}}, '{"n": 1}', {"n": 1}),
    ({"type": "array", "items": {"type": "string"}}, '{"items": ["a"]}', ["a"]),
]


@pytest.mark.parametrize(("kind", "answer", "value"), KINDS, ids=[str(one[0])[:30] for one in KINDS])
def test_each_kind_of_schema_is_sent_and_reads_its_answer(kind: Any, answer: str, value: Any) -> None:
    schema = schema_of(kind)
    assert schema.read(answer) == value
    assert schema.read(f"Sure!\n```json\n{answer}\n```\n") == value
    assert schema.read(f"Here it is: {answer}. Anything else?") == value
    sent = schema.response_format
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"]["type"] == "object"
    json.dumps(sent)
    if sent["json_schema"]["strict"]:
        for one in objects(sent["json_schema"]["schema"]):
            assert one["additionalProperties"] is False
            assert sorted(one["required"]) == sorted(one["properties"])
    assert "JSON" in schema.instructions


def test_a_strict_schema_keeps_descriptions_and_contains_no_defaults() -> None:
    schema = schema_of(Person).response_format["json_schema"]
    assert schema["name"] == "Person"
    assert schema["strict"] is True
    assert schema["schema"]["description"] == "Somebody."
    properties = schema["schema"]["properties"]
    assert properties["name"] == {"description": "The full name", "type": "string"}
    assert properties["title"] == {"type": "string"}
    assert properties["age"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert "default" not in json.dumps(schema)


def test_a_strict_schema_has_a_discriminated_union_as_any_of() -> None:
    schema = schema_of(Owner)
    sent = schema.json_schema["properties"]["pet"]
    assert sent == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert schema.read('{"pet": {"kind": "dog"}}') == Owner(pet=Dog(kind="dog"))


def test_a_schema_with_arbitrary_keys_is_not_strict() -> None:
    assert schema_of(dict[str, int]).is_strict is False
    assert schema_of({"type": "object"}).is_strict is False


Counted = Annotated[int, "How many", Field(ge=0)]


class CountedModel(BaseModel):
    n: Counted
    m: Annotated[int, "Not this", Field(description="How many")]


class CountedDict(TypedDict):
    n: Counted
    m: NotRequired[Annotated[int, "How many"]]


@dataclass
class CountedData:
    n: Counted
    m: Annotated[int | None, "How many"] = None


# Before 2.8, pydantic does not say of which class a TypedDict is.
NEEDS_CLASS = pytest.mark.skipif(
    "cls" not in inspect.signature(core_schema.typed_dict_schema).parameters, reason="This pydantic is too old."
)


@pytest.mark.parametrize("kind", [CountedModel, CountedData, pytest.param(CountedDict, marks=NEEDS_CLASS)])
def test_texts_in_annotated_describe_the_fields(kind: Any) -> None:
    properties = schema_of(list[kind]).json_schema["$defs"][kind.__name__]["properties"]
    assert {name: of["description"] for name, of in properties.items()} == {"n": "How many", "m": "How many"}


class Place(NamedTuple):
    lat: float
    lon: Annotated[float, "east is positive"] = 0.0


def test_a_named_tuple_is_sent_as_an_object_and_read_as_a_list_too() -> None:
    schema = schema_of(list[Place])
    (sent,) = schema.json_schema["$defs"].values()
    assert sent["properties"] == {
        "lat": {"type": "number"}, "lon": {"type": "number", "description": "east is positive"}
    }  # fmt: skip
    assert schema.read('[{"lon": 1, "lat": 2}, [2, "1"]]') == [Place(2, 1)] * 2


def test_a_json_schema_can_be_written_as_text() -> None:
    text = '{"type": "object", "properties": {"age": {"type": "integer"}}}'
    for schema in (schema_of(text), read_schema(text, {}), read_schema("js", {"js": text})):
        assert schema.read('{"age": 3}') == {"age": 3}


class Plain:
    name: str


class Unfinished(BaseModel):
    name: Missing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            Plain,
            "A type in it does not say what an answer must look like. Make it a dataclass or a pydantic model "
            "(of pydantic 2, not of pydantic.v1).",
        ),
        (list[Plain], "A type in it does not say what an answer must look like. Make it a dataclass or a pydantic"),
        (Callable[[int], int], "A type in it does not say what an answer must look like. Make it a dataclass or a"),
        (Unfinished, "The type Missing in it is not defined. Define it at the top level of the notebook or module"),
        (
            list[Unfinished],
            "The type Missing in it is not defined. Define it at the top level of the notebook or module",
        ),
        ({"name": str}, "This dict is not a JSON schema: its values are types."),
    ],
)
def test_what_is_no_schema_is_explained(value: Any, why: str) -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(value)
    assert why in refused.value.why


def test_a_class_without_annotations_is_refused_by_its_name() -> None:
    class Plain:
        pass

    with pytest.raises(InferenceError, match="not a schema") as refused:
        schema_of(Plain)
    assert "type type" not in str(refused.value)


KEYWORDS = st.sampled_from(
    [
        "$ref",
        "$id",
        "type",
        "properties",
        "items",
        "anyOf",
        "enum",
        "pattern",
        "minimum",
        "dependentSchemas",
        "prefixItems",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYWORDS | st.text(), one, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYWORDS, VALUES, max_size=3), VALUES)
def test_any_dict_is_a_schema_or_refused(schema: dict[str, Any], answer: Any) -> None:
    try:
        schema_of(schema).read(json.dumps(answer))
    except InferenceError as refused:
        assert refused.cause == "option"
    except Mismatch as mismatch:
        assert mismatch.problems


def test_the_module_imports_neither_pydantic_nor_fastjsonschema() -> None:
    code = (
        "import sys, wandb_inference_magic.schemas.schema, wandb_inference_magic.schemas.validation\n"
        "print({'pydantic', 'fastjsonschema'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_schema_is_taken_out_of_the_format_of_a_request() -> None:
    plain = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    named = {"name": "person", "strict": True, "schema": plain}
    for schema in (named, {"type": "json_schema", "json_schema": named}, json.dumps(named)):
        found = schema_of(schema)
        assert found.json_schema == schema_of(plain).json_schema
        assert found.name == "person"
        assert found.read('{"name": "Ada"}') == {"name": "Ada"}


class Limit(Enum):
    NONE = math.inf
    LOW = 1.5


class Range(BaseModel):
    low: float = -math.inf
    high: float = math.inf


class Plan(BaseModel):
    ranges: list[Range] = Field([Range()], description="They overlap.")
    default: float = Field(math.nan, title="A name as that of a keyword")


def with_x(kind: Any) -> Any:
    return TypedDict("WithX", {"x": kind})


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (with_x(Annotated[float, Field(ge=-math.inf, lt=math.inf, multiple_of=0.5)]), {"multipleOf": 0.5}),
        (with_x(Annotated[float, Field(examples=[np.float64("nan"), 1.5])]), {"examples": [1.5]}),
        (with_x(Annotated[float, Field(examples=[math.inf], json_schema_extra={"scale": [math.nan]})]), {}),
        (with_x(Annotated[float, Field(json_schema_extra={"examples": {"a": math.inf}})]), {}),
        (with_x(Annotated[dict[str, float], Field(examples=[{"a": 1}, {"a": [math.inf]}])]), {"examples": [{"a": 1}]}),
        (
            with_x(Annotated[float, WithJsonSchema({"type": "number", "default": math.nan, "minimum": 1})]),
            {"minimum": 1},
        ),
        (
            {"type": "object", "properties": {"x": {"type": "number", "maximum": math.inf, "minimum": 0}}},
            {"minimum": 0},
        ),
    ],
)
def test_numbers_that_are_not_finite_are_not_sent(kind: Any, sent: dict[str, Any]) -> None:
    schema = schema_of(kind).json_schema
    json.dumps(schema, allow_nan=False)
    found = schema["properties"]["x"]
    assert {name: one for name, one in found.items() if name not in ("type", "additionalProperties")} == sent


@pytest.mark.parametrize("kind", [Range, Plan, Range.model_json_schema(), Plan.model_json_schema()])
def test_defaults_that_are_not_finite_are_not_sent(kind: Any) -> None:
    own = Plan if "Plan" in str(kind) else Range
    schema = schema_of(kind)
    json.dumps(schema.json_schema, allow_nan=False)
    assert list(schema.json_schema["properties"]) == list(own.model_fields)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (with_x(Annotated[float, Field(ge=math.nan)]), "Minimum is nan: JSON has only finite numbers."),
        (with_x(Limit), "Enum is [inf, 1.5]: JSON has only finite numbers."),
        ({"type": "array", "items": {"const": [-math.inf]}}, "const is [-inf]: JSON has only finite numbers."),
    ],
)
def test_a_number_that_no_answer_can_be_is_refused(kind: Any, why: str) -> None:
    with pytest.raises(InferenceError, match="This is not a schema") as refused:
        schema_of(kind)
    assert why in refused.value.why


class NoFields(BaseModel):
    """A class that has none."""


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (BaseModel, "BaseModel"),
        (list[BaseModel], "BaseModel"),
        (dict[str, list[BaseModel]], "BaseModel"),
        (NoFields, "NoFields"),
        (make_dataclass("Nothing", []), "Nothing"),
        (TypedDict("Record", {}), "Record"),
        (NoFields.model_json_schema(), "NoFields"),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, "The object"),
        (NoFields | None, "NoFields"),
        (dict[str, list[NoFields | None]], "NoFields"),
        (NoFields | BaseModel, "NoFields"),
        ({"anyOf": [{"$ref": "#/definitions/N"}, {"type": "null"}], "definitions": {"N": {"properties": {}}}},
         "The object"),
    ],
)  # fmt: skip
def test_a_schema_of_objects_without_fields_is_refused(kind: Any, title: str) -> None:
    with pytest.raises(InferenceError, match="This is not a schema") as refused:
        schema_of(kind)
    assert refused.value.why == f"{title} has no fields: it does not say what an answer must look like."


@pytest.mark.parametrize(
    "kind",
    [Movie | NoFields, NoFields | int, with_x(NoFields), {"type": "object"}, dict[str, Any], list[dict[str, int]]],
)
def test_an_object_that_may_have_fields_is_a_schema(kind: Any) -> None:
    assert schema_of(kind).json_schema


@pytest.mark.parametrize(
    ("kind", "answer", "problem"),
    [
        (Movie, '{"title": "A", "year": 1, "year": 2}', "year: it is given twice, as 1 and 2"),
        (Movie, '```json\n{"title": "A", "year": 1, "title": "B"}\n```', "title: it is given twice, as 'A' and 'B'"),
        (list[Movie], '[{"title": "A", "year": null, "year": 1}]', "0.year: it is given twice, as None and 1"),
        (Movie, '{"title": "\\alpha", "year": 1, "year": 2}', "year: it is given twice, as 1 and 2"),
        # In other forms of JSON, and beside other values.
        (Movie, "{'title': 'A', 'year': 1, 'year': 2}", "year: it is given twice, as 1 and 2"),
        (Movie, '{"title": "A", "year": 1, "year": 2} [1]', "year: it is given twice, as 1 and 2"),
        (Movie, json.dumps('{"title": "A", "year": 1, "year": 2}'), "year: it is given twice, as 1 and 2"),
        (list[Movie], '{"title": "A", "year": 1, "year": 2}\n{"title": "B", "year": 1}',
         "0.year: it is given twice, as 1 and 2"),
        (TypedDict("Visit", {"caf\u00e9": int}), '{"caf\u00e9": 1, "cafe\u0301": 2}',
         "caf\u00e9: it is given twice, as 1 and 2"),
        (with_x(Annotated[Any, BeforeValidator(str)]), '{"x": {"a": 1, "a": [2]}}',
         "x.a: it is given twice, as 1 and [2]"),
        # In the object that holds a list or one value.
        (list[int], '{"items": [1], "items": [2, 3]}', "items: it is given twice, as [1] and [2, 3]"),
        (Literal["a", "b"], '{"value": "a", "value": "b"}', "value: it is given twice, as 'a' and 'b'"),
        (int, "{'value': 1, 'value': 2}", "value: it is given twice, as 1 and 2"),
        (float, '{"value": 1, "value": 2} {"value": 3, "value": 4}', "value: it is given twice, as 3 and 4"),
        # In alternatives.
        (with_x(Movie | None), '{"x": {"title": "A", "year": 1, "year": 2}}',
         "x.year: it is given twice, as 1 and 2"),
        (with_x(dict[str, int] | None), '{"x": {"a": 1, "a": 2}}', "x.a: it is given twice, as 1 and 2"),
        (with_x(list[Movie] | int), '{"x": [{"title": "A", "year": 1, "year": 2}]}',
         "x.0.year: it is given twice, as 1 and 2"),
    ],
)  # fmt: skip
def test_two_values_under_one_key_are_a_mismatch(kind: Any, answer: str, problem: str) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(kind).read(answer)
    assert found.value.problems == (problem,)


@pytest.mark.parametrize(
    "answer",
    [
        '{"title": "A", "year": 1, "year": 1}',
        '{"title": "B", "year": 1, "year": 2}\nNo: {"title": "A", "year": 1}',
        '{"title": "A", "year": 2}\n{"title": "A", "year": 1}',
        '{"title": "A", "year": 1, "note": "a", "note": "b"}',
        '{"title": "A", "year": 1}\nNot {"title": "A", "title": "B", "year": 1}',
    ],
)
def test_the_same_value_twice_under_one_key_is_that_value(answer: str) -> None:
    assert schema_of(Movie).read(answer) == {"title": "A", "year": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '{"answer": {"title": "A", "year": 1}, "answer": {"title": "B", "year": 1}}',
        '{"name": "f", "arguments": {"title": "A", "year": 1}, "arguments": {"title": "A", "year": 2}}',
        '[{"result": {"title": "A", "year": 1}, "result": {"title": "A", "year": 2}}]',
    ],
)
def test_nothing_is_taken_out_of_a_key_that_has_two_values(answer: str) -> None:
    with pytest.raises(Mismatch):
        schema_of(Movie).read(answer)


def test_a_value_that_is_corrected_after_two_under_one_key_is_read() -> None:
    assert schema_of(int).read('{"value": 1, "value": 2}\nNo: {"value": 2}') == 2
    answer = '{"name": "f", "name": "g", "arguments": {"title": "A", "year": 1}}'
    assert schema_of(Movie).read(answer) == {"title": "A", "year": 1}


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (with_x(Movie | None), '{"title": "A", "year": 1, "note": "a", "note": "b"}'),
        (with_x(Movie | int | None), '{"title": "A", "year": 1, "note": {"p": 1, "p": 2}}'),
        (with_x(list[Movie | None]), '[{"title": "A", "year": 1, "note": "a", "note": "b"}]'),
        (with_x(list[Movie] | None), '[{"title": "A", "year": 1, "note": "a", "note": "b"}]'),
    ],
)
def test_two_values_under_a_key_that_no_alternative_reads_fit(kind: Any, held: str) -> None:
    read = schema_of(kind).read(f'{{"x": {held}}}')
    assert "note" not in repr(read)
    assert "A" in repr(read)


def test_brackets_that_begin_no_value_take_no_long_time() -> None:
    with pytest.raises(Mismatch):
        schema_of(Movie).read("[" * 200_000 + "{" * 200_000)
