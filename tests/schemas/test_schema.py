"""Schemas: what is sent to the model, and how its answer is read."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydantic import (
    AfterValidator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    TypeAdapter,
    model_validator,
)
from pydantic_core import core_schema
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames.columns import plain
from wandb_inference_magic.schemas.schema import Mismatch, Schema, read_schema, schema_of
from wandb_inference_magic.schemas.tools import toolbox_of

pytestmark = pytest.mark.short


class Address(BaseModel):
    street: str
    number: int = 1


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="The full name", title="Name")
    age: int | None = None
    home: Address
    title: str = "Dr"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Movie(TypedDict):
    title: str
    year: int


class Actor(TypedDict):
    name: str
    films: list[Movie]


class Pair(NamedTuple):
    a: int
    b: str


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


Choice = TypeAliasType("Choice", Literal["yes", "no"])
Id = typing.NewType("Id", int)


class Node(BaseModel):
    value: int
    children: list[Node] = []


NAMES: dict[str, Any] = {
    "Person": Person,
    "Point": Point,
    "Movie": Movie,
    "Id": Id,
    "fields": "name, age int",
    "shape": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "number": 3,
    "stars": np.int64(3),
}


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


class Good(BaseModel):
    mood: Literal[Mood.GOOD]
    why: str


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


@pytest.mark.parametrize(
    "answer",
    [
        '[{"name": "Ada", "age": 36}]',
        '{"answer": {"name": "Ada", "age": 36}}',
        '{"name": "person", "arguments": {"name": "Ada", "age": 36}}',
        '{"name": "person", "arguments": "{\\"name\\": \\"Ada\\", \\"age\\": 36}"}',
    ],
)
def test_one_object_in_a_wrapping_is_the_answer(answer: str) -> None:
    assert schema_of("name, age int").read(answer) == {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    "answer",
    [
        '{"cities": [1, 2]}',
        '{"answer": "[1, 2]"}',
        '{"output": {"answer": [1, 2]}}',
        '{"name": "list", "arguments": {"items": [1, 2]}}',
        "[[1, 2]]",
    ],
)
def test_one_list_in_a_wrapping_is_the_answer(answer: str) -> None:
    assert schema_of("list[int]").read(answer) == [1, 2]


def test_two_lists_side_by_side_are_not_chosen_from() -> None:
    with pytest.raises(Mismatch):
        schema_of("list[int]").read('{"a": [1], "b": [2]}')


def test_two_objects_in_wrappings_are_not_chosen_from() -> None:
    with pytest.raises(Mismatch):
        schema_of("name, age int").read('[{"name": "A", "age": 1}] or [{"name": "B", "age": 2}]')


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


ADA, OLD, BAD = '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 30}', '{"name": "Ada", "age": "old"}'


@pytest.mark.parametrize(
    "answer",
    [
        ADA + ADA,
        f"{OLD}\n\n{ADA}",
        f"First {OLD}, no:\n```json\n{ADA}\n```\nDone.",
        f"```json\n{OLD}\n```\n```json\n{ADA}\n```",
        f"{ADA}\nIt fits the schema {{name, age}} (see [1]).",
        f"{ADA}\n{BAD}",
        f'{ADA}\n{{"type": "object"}}',
        f'{ADA}\n{{"name": "Ada", "a',
        f'{{"name": "A{ADA}',
        f'{{"name": "Ada", "age": }}\nSorry: {ADA}',
        f"<tool_call>{ADA}</tool_call>",
        f'<think>\nI need {{"name": ...}}.\n</think>\n\n{ADA}',
        f"\ufeff{ADA}\x00",
        json.dumps(ADA),
    ],
)
def test_the_last_complete_value_that_fits_is_read(answer: str) -> None:
    assert schema_of("name, age int").read(answer) == {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (list[int], "[1] no, [1, 2]. See {1}.", [1, 2]),
        (list[int], '{"items": [1]}{"items": [1, 2]}', [1, 2]),
        (int, '{"value": 1} {"value": 2}', 2),
        (int, "```\n3\n```", 3),
        (Node, '{"value": 1, "children": [{"value": 2}]} and [3]', Node(value=1, children=[Node(value=2)])),
    ],
)
def test_the_last_complete_value_of_another_kind_is_read(kind: Any, answer: str, value: Any) -> None:
    assert schema_of(kind).read(answer) == value


def test_a_part_of_a_value_that_breaks_off_is_not_an_answer() -> None:
    with pytest.raises(Mismatch, match="the answer is not JSON"):
        schema_of(Node).read('{"value": 1, "children": [{"value": 2, "children": []}, {"val')


@pytest.mark.parametrize("answer", [f'{{"name": 1}}\n{BAD}', f"{BAD} (see [1])", f"{BAD}\n[1"])
def test_a_mismatch_is_about_the_last_value_of_the_right_kind(answer: str) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of("name, age int").read(answer)
    assert len(found.value.problems) == 1
    assert found.value.problems[0].startswith("age: ")


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


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class One(BaseModel):
    n: Literal[1]


class Two(BaseModel):
    n: Literal[2]


def kind_of(pet: Any) -> str:
    return str(pet["kind"])


Numbered = Annotated[One | Two, Field(discriminator="n")]
Picked = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(kind_of)]


def test_a_strict_schema_has_a_discriminated_union_as_any_of() -> None:
    schema = schema_of(Owner)
    sent = schema.json_schema["properties"]["pet"]
    assert sent == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert schema.read('{"pet": {"kind": "dog"}}') == Owner(pet=Dog(kind="dog"))


class Plain:
    name: str


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Plain, "A type in it does not say what an answer must look like. Make it a dataclass or a pydantic model."),
        (list[Plain], "A type in it does not say what an answer must look like. Make it a dataclass or a pydantic"),
        ({"name": str}, "This dict is not a JSON schema: its values are types."),
    ],
)
def test_what_is_no_schema_is_explained(value: Any, why: str) -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(value)
    assert why in refused.value.why


def test_a_schema_with_arbitrary_keys_is_not_strict() -> None:
    assert schema_of(dict[str, int]).is_strict is False
    assert schema_of({"type": "object"}).is_strict is False


FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("city", {"city": {"type": "string"}}),
    ("name, age int", {"name": {"type": "string"}, "age": {"type": "integer"}}),
    ("name: text, ok: bool", {"name": {"type": "string"}, "ok": {"type": "boolean"}}),
    ("tags list", {"tags": {"type": "array", "items": {"type": "string"}}}),
    ("n list[int], m list of float", {
        "n": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "array", "items": {"type": "number"}},
    }),
    ("mood good|bad|so so", {"mood": {"type": "string", "enum": ["good", "bad", "so so"]}}),
    ("age int?, note?", {
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }),
    ("day date", {"day": {"type": "string", "format": "date"}}),
    ("naïve int,", {"naïve": {"type": "integer"}}),
    ("x int|null, y float|None, z none | date", {
        "x": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "y": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "z": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    }),
    ("x int|str, y list[int]|null, z list[list[int|str]]?", {
        "x": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "y": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        "z": {"anyOf": [
            {"type": "array", "items": {
                "type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            }},
            {"type": "null"},
        ]},
    }),
    ("n list of int|null", {"n": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}),
    ("score 1|2|3, half -0.5|1, rank 1|2|null", {
        "score": {"type": "integer", "enum": [1, 2, 3]},
        "half": {"enum": [-0.5, 1]},
        "rank": {"anyOf": [{"type": "integer", "enum": [1, 2]}, {"type": "null"}]},
    }),
    ("python 3.9|3.10, share 1.0|2.5", {
        "python": {"type": "string", "enum": ["3.9", "3.10"]},
        "share": {"type": "number", "enum": [1.0, 2.5]},
    }),
    ("ok true|false, sure True|False|None", {
        "ok": {"type": "boolean"}, "sure": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    }),
    ("mood good|bad|1, kind date|place, zip 01|02, answer true|false|unknown, n 1|true", {
        "mood": {"type": "string", "enum": ["good", "bad", "1"]},
        "kind": {"type": "string", "enum": ["date", "place"]},
        "zip": {"type": "string", "enum": ["01", "02"]},
        "answer": {"type": "string", "enum": ["true", "false", "unknown"]},
        "n": {"type": "string", "enum": ["1", "true"]},
    }),
    ("pain none|mild, fear good|bad|null, digit '1'|'2', word 'int'|'str'", {
        "pain": {"type": "string", "enum": ["none", "mild"]},
        "fear": {"anyOf": [{"type": "string", "enum": ["good", "bad"]}, {"type": "null"}]},
        "digit": {"type": "string", "enum": ["1", "2"]},
        "word": {"type": "string", "enum": ["int", "str"]},
    }),
]  # fmt: skip


@pytest.mark.parametrize(("text", "properties"), FIELDS)
def test_the_short_form_is_read(text: str, properties: dict[str, Any]) -> None:
    assert read_schema(text, NAMES).json_schema["properties"] == properties


@pytest.mark.parametrize(
    ("text", "items", "answer", "value"),
    [
        ("list of str", {"type": "string"}, '["a"]', ["a"]),
        ("List of int", {"type": "integer"}, "[1]", [1]),
        ("list of int|str", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, '[1, "a"]', [1, "a"]),
        ("list of float | null", {"anyOf": [{"type": "number"}, {"type": "null"}]}, "[1.5, null]", [1.5, None]),
        ("list of int?", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "[null]", [None]),
        ("list of good|bad", {"type": "string", "enum": ["good", "bad"]}, '["bad"]', ["bad"]),
        ("list of list of int", {"type": "array", "items": {"type": "integer"}}, "[[1]]", [[1]]),
        ("list of list[int | str]", {"type": "array"}, '[["a"]]', [["a"]]),
        ("list of Movie", {"$ref": "#/$defs/Movie"}, '[{"title": "A", "year": 1}]', [{"title": "A", "year": 1}]),
        ("list of Point|null", {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}, "[null]", [None]),
    ],
)
def test_a_list_of_a_type_has_no_fields(text: str, items: dict[str, Any], answer: str, value: Any) -> None:
    schema = read_schema(text, NAMES)
    sent = schema.json_schema["properties"]["items"]["items"]
    assert {name: sent[name] for name in items} == items
    assert schema.read(answer) == value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("list of name", ["name"]),
        ("list of mood good|bad", ["mood"]),
        ("list of tags list of int", ["tags"]),
        ("list of date, text", ["date", "text"]),
        ("list of 城市", ["城市"]),
        ("list of Name text", ["Name"]),
    ],
)
def test_a_list_of_fields_has_records(text: str, names: list[str]) -> None:
    items = read_schema(text, NAMES).json_schema["properties"]["items"]["items"]
    reference = items.get("$ref", "")
    definitions = read_schema(text, NAMES).json_schema.get("$defs", {})
    assert list(definitions.get(reference.rpartition("/")[2], items)["properties"]) == names


def test_a_field_can_have_a_type_of_the_notebook() -> None:
    schema = read_schema("at Point, movies list[Movie], where Point|text, by Id?", NAMES)
    answer = '{"at": {"x": 1, "y": 2}, "movies": [{"title": "A", "year": 1}], "where": "there", "by": 7}'
    assert schema.read(answer) == {
        "at": Point(1, 2), "movies": [{"title": "A", "year": 1}], "where": "there", "by": 7,
    }  # fmt: skip


def test_a_short_form_in_python_knows_no_types_of_the_program() -> None:
    with pytest.raises(InferenceError, match="no type 'Movie' here") as refused:
        schema_of("list of Movie")
    assert "Give the type itself: schema=list[Movie]." in refused.value.remedy


def test_a_validator_that_reads_values_itself_sees_them_first() -> None:
    class Stars(BaseModel):
        stars: Annotated[int, BeforeValidator(lambda value: 5 if value is True else value)]

    assert schema_of(Stars).read('{"stars": true}').stars == 5


@pytest.mark.filterwarnings("ignore:Default value .* is not JSON serializable")
def test_an_async_function_in_a_default_value_is_no_validator() -> None:
    async def look_up() -> None: ...

    class Kept(BaseModel):
        found: Any = {"function": look_up}
        x: int = 1

    assert schema_of(Kept).read('{"x": 2}').x == 2


@pytest.mark.parametrize("text", ["int", "list[str]", "int | None", "Literal['a', 'b']", "label good|bad", "list"])
def test_a_text_in_python_means_what_it_means_in_a_magic(text: str) -> None:
    assert schema_of(text).json_schema == read_schema(text, {}).json_schema


def test_a_text_in_python_names_no_type_of_the_program() -> None:
    with pytest.raises(InferenceError, match=r"The choices yes\|no need the name of a field before them: label"):
        read_schema("yes|no", None)
    with pytest.raises(InferenceError, match="give the type itself, schema=Person"):
        schema_of("list[Person]")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Person", "Person"),
        ("list[Person]", "list"),
        ("Person | None", "answer"),
        ("fields", "answer"),
        ("shape", "answer"),
    ],
)
def test_a_schema_can_be_a_name_of_the_notebook(text: str, name: str) -> None:
    assert read_schema(text, NAMES).name == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Persn", "Did you mean Person?"),
        ("list[Persn]", "Did you mean Person?"),
        ("number", "A value of type int does not say"),
        ("age itn", "Did you mean int"),
        ("at Piont", "Did you mean Point"),
        ("list of Persn", "Did you mean Person?"),
        ("list of ISBN", "write list of ISBN text"),
        ("x null|none", "allows null only"),
        ("x int||str", "is not a type"),
        ("a, a", "given twice"),
        (" , ", "no fields"),
        ("3x int", "does not begin with a name"),
        ("{type:object,properties:{a:{type:integer}}}", "Put a JSON schema in single quotes"),
        ("__import__('os').system('false')", "is not a"),
        ("print(1)", "is not a"),
        ("Person.Nope", "AttributeError: Nope"),
        ("number[3]", "not subscriptable"),
        ("list[Person.x]", "AttributeError"),
        ("number | Person", "TypeError"),
        ("Literal[Person]", "Unable to serialize"),
        ("Literal[stars]", "Unable to serialize unknown type: <class 'numpy.int64'>"),
    ],
)
def test_text_that_is_not_a_schema_is_refused(text: str, expected: str) -> None:
    with pytest.raises(InferenceError) as refused:
        read_schema(text, NAMES)
    assert refused.value.cause == "option"
    assert expected in str(refused.value)


class Scored(TypedDict, total=False):
    score: Annotated[int, Field(ge=5)]
    actors: Annotated[list[Actor], Field(max_length=1)]


def test_a_typed_dict_keeps_its_constraints() -> None:
    schema = schema_of(Scored)
    assert schema.read('{"score": 5, "actors": [{"name": "A", "films": []}]}')["score"] == 5
    with pytest.raises(Mismatch, match="greater than or equal to 5"):
        schema.read('{"score": 4, "actors": []}')


def test_a_typed_dict_of_typing_is_a_schema_or_refused_with_the_reason() -> None:
    class Old(typing.TypedDict):
        name: str

    try:
        schema = schema_of(list[Old])
    except InferenceError as refused:
        assert sys.version_info < (3, 12)
        assert "use `typing_extensions.TypedDict`" in refused.why
    else:
        assert schema.read('[{"name": "a"}]') == [{"name": "a"}]


@dataclass
class Sum:
    a: int
    twice: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.twice = 2 * self.a


def test_a_field_that_a_dataclass_sets_itself_is_not_asked_for() -> None:
    schema = schema_of(list[Sum])
    assert schema.json_schema["$defs"]["Sum"]["required"] == ["a"]
    assert list(schema.json_schema["$defs"]["Sum"]["properties"]) == ["a"]
    # It is a field of the answer all the same.
    assert list(schema_of(Sum).fields) == ["a", "twice"]
    assert schema_of(Sum).read('{"a": 2}').twice == 4


def test_calls_in_the_text_of_a_schema_are_not_run() -> None:
    called: list[int] = []
    names = {"f": lambda: called.append(1) or Person, "Person": Person}
    for text in ("f()", "list[f()]", "(f())", "[f() for _ in 'x']", "f().x", "list['f()']", "'f()'", "list['Person']"):
        with pytest.raises(InferenceError):
            read_schema(text, names)
    assert called == []


class Line(BaseModel):
    n: int


class Lines(BaseModel):
    lines: list[Line]
    first: Line


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        ("a good|bad", '{"a": "Good."}', {"a": "good"}),
        ("a good|bad", '{"a": " **BAD** "}', {"a": "bad"}),
        (Literal["don't", "do"], '{"value": "\u201cDon\u2019t\u201d"}', "don't"),
        ("a list of good|Bad", '{"a": ["bad", "good"]}', {"a": ["Bad", "good"]}),
        ("a 1|2|3", '{"a": "3"}', {"a": 3}),
        ("a int", '{"a": "2,100,000"}', {"a": 2_100_000}),
        ("a int, b 18-24|25-34", '{"a": "1\u202f234", "b": "18\u201324"}', {"a": 1234, "b": "18-24"}),
        ("a list of float", '{"a": ["1,234.50", "\u22125", 1]}', {"a": [1234.5, -5.0, 1.0]}),
        (Decimal, '{"value": "1,000.10"}', Decimal("1000.10")),
        ("a", '{"a": 4}', {"a": "4"}),
        ("a text?, b list", '{"a": true, "b": [1, 2.5]}', {"a": "true", "b": ["1", "2.5"]}),
        ("a '1'|'2'", '{"a": 1}', {"a": "1"}),
        ("a 1|2|3", '{"a": "**2**."}', {"a": 2}),
        ("a int, b float", '{"a": "**5**", "b": "\u201c1.5.\u201d"}', {"a": 5, "b": 1.5}),
        ("a bool, b bool", '{"a": "Yes.", "b": "`no`"}', {"a": True, "b": False}),
        ("a date", '{"a": " 2024\u201101\u201102."}', {"a": date(2024, 1, 2)}),
        ("a datetime", '{"a": "`2024-01-02T10:00:00`"}', {"a": datetime(2024, 1, 2, 10)}),
        ("a list[int]", json.dumps({"a": '["1", "2."]'}), {"a": [1, 2]}),
        (Lines, json.dumps({"lines": '[{"n": 1}]', "first": '{"n": "2"}'}), Lines(lines=[Line(n=1)], first=Line(n=2))),
        # JSON in a text is an object where one was asked for, and a text where a text was.
        ("a int", json.dumps('{"a": 1}'), {"a": 1}),
        (str, json.dumps("[1, 2]"), "[1, 2]"),
        # Choices that other things hold: the tag of a union, true and false, none at all.
        (Owner, '{"pet": {"kind": "Dog."}}', Owner(pet=Dog(kind="dog"))),
        (list[Numbered], '[{"n": "2"}, {"n": 1}]', [Two(n=2), One(n=1)]),
        (dict[str, Picked], '{"a": {"kind": "CAT"}}', {"a": Cat(kind="cat")}),
        ("a yes|no, b y|n|unsure", '{"a": true, "b": false}', {"a": "yes", "b": "n"}),
        (Literal[True, False], "yes", True),
        ("a good|bad|null, b none|mild|null", '{"a": "null", "b": "None."}', {"a": None, "b": "none"}),
        (Literal[1, 2] | None, '{"value": "N/A"}', None),
        (list[Mood | None], '["", "Good"]', [None, Mood.GOOD]),
        (Literal["auto", 1, None], '{"value": "None"}', None),
    ],
)
def test_an_allowed_value_in_another_form_is_that_value(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


FORMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "m": {"enum": ["good", "bad"]},
        "x": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "b": {"type": ["boolean", "null"]},
        "t": {"type": "array", "items": {"type": "string"}},
        "d": {"type": "string", "format": "date"},
        "e": {"enum": ["good", None]},
        "y": {"type": "string", "enum": ["yes", "no"]},
        "o": {"enum": [True, False]},
        "u": {"oneOf": [{"$ref": "#/$defs/A"}, {"properties": {"t": {"const": "b"}}, "required": ["t"]}]},
    },
    "required": ["n"],
    "$defs": {"A": {"properties": {"t": {"const": "a"}, "x": {"type": "integer"}}, "required": ["t", "x"]}},
}


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"n": "3", "m": "Good."}, {"n": 3, "m": "good"}),
        ({"n": "2,100", "x": "**1.5**", "b": "Yes."}, {"n": 2100, "x": 1.5, "b": True}),
        ({"n": 1, "t": '["a", 2]', "d": "2024-01\u201102."}, {"n": 1, "t": ["a", "2"], "d": "2024-01-02"}),
        ({"n": 1, "x": "N/A", "b": "null"}, {"n": 1, "x": None, "b": None}),
        ({"n": 1, "e": "null", "y": True, "o": "Yes"}, {"n": 1, "e": None, "y": "yes", "o": True}),
        ({"n": 1, "u": {"t": "A", "x": "5"}}, {"n": 1, "u": {"t": "a", "x": 5}}),
        # A field that is not required is sent as required, so that null says that it is left out.
        ({"n": 1, "d": "N/A", "y": "null"}, {"n": 1}),
        ({"n": 1, "m": None, "d": None, "x": None}, {"n": 1, "x": None}),
    ],
)
def test_a_json_schema_reads_other_forms_too(answer: dict[str, Any], read: dict[str, Any]) -> None:
    assert schema_of(FORMS).read(json.dumps(answer)) == read


@pytest.mark.parametrize("answer", [{"n": None}, {"n": "true"}, {"n": 1, "m": "fine"}, {"n": 1, "b": "maybe"}])
def test_a_json_schema_refuses_what_means_something_else(answer: dict[str, Any]) -> None:
    with pytest.raises(Mismatch, match=r"is expected|must"):
        schema_of(FORMS).read(json.dumps(answer))


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (Literal["good", "bad"], "**Good**.", "good"),
        (Mood, "bad\n", Mood.BAD),
        (int, "1,000", 1000),
        (bool, "Yes.", True),
        (date, "2024-01-02", date(2024, 1, 2)),
        ({"enum": ["good", "bad"]}, "Good.", "good"),
        (str, "It is late.", "It is late."),
    ],
)
def test_one_value_may_be_answered_without_json(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


@pytest.mark.parametrize(("kind", "answer"), [(int, "ten"), (date, "2024"), (str, '{"value": "It is l'), (str, " ")])
def test_what_is_not_json_and_not_the_value_is_a_mismatch(kind: Any, answer: str) -> None:
    with pytest.raises(Mismatch):
        schema_of(kind).read(answer)


def test_alternatives_that_change_the_same_part_come_to_an_end() -> None:
    class One(BaseModel):
        m: Literal[1]
        z: int

    class Text(BaseModel):
        model_config = ConfigDict(extra="forbid")
        m: str

    with pytest.raises(Mismatch):
        schema_of(TypeAdapter(One | Text)).read('{"m": "1", "z": "q"}')


@pytest.mark.parametrize("answer", ['{"a": "it"}', '{"a": "goo"}', '{"a": ""}'])
def test_a_text_that_could_be_several_allowed_values_or_none_is_a_mismatch(answer: str) -> None:
    with pytest.raises(Mismatch):
        schema_of("a IT|It|good").read(answer)


class Listing(BaseModel):
    names: Iterable[str]
    inner: Iterable[Listing] | None = None


@dataclass
class Numbers:
    numbers: Iterable[int] = ()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Listing, '{"names": ["a"], "inner": [{"names": ["b"], "inner": null}]}',
         '{"names": ["a"], "inner": [{"names": [{}]}]}'),
        (Numbers, '{"numbers": [1, 2]}', '{"numbers": [1, "x"]}'),
        (list[Numbers], '[{"numbers": [1, 2]}]', '[{"numbers": [1, "x"]}]'),
        (Iterable[int], '[1, 2]', '[1, "x"]'),
    ],
)  # fmt: skip
def test_an_iterable_is_checked_and_is_a_list(kind: Any, good: str, bad: str) -> None:
    read = schema_of(kind).read(good)
    assert plain(read) == plain(read) == json.loads(good)
    assert pickle.loads(pickle.dumps(read)) == read
    with pytest.raises(Mismatch):
        schema_of(kind).read(bad)


@dataclass
class Review:
    title: str
    note: str | None
    inner: Movie | None


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        ("name, note text?", '{"name": "Ann"}', {"name": "Ann", "note": None}),
        ("list of name, note text?", '[{"name": "Ann"}, {"name": "Bo", "note": "x"}]',
         [{"name": "Ann", "note": None}, {"name": "Bo", "note": "x"}]),
        (Review, '{"title": "A"}', Review("A", None, None)),
        (Review, '{"title": "A", "inner": {"title": "B", "year": "1,999"}}',
         Review("A", None, Movie(title="B", year=1999))),
        # The object is inside: it is not one that lacks all fields.
        ("name?, note?", '{"person": {"name": "Ann"}}', {"name": "Ann", "note": None}),
        ("n int?, d date?, b bool?, c 1|2?", '{"n": "null", "d": "", "b": "None", "c": 1}',
         {"n": None, "d": None, "b": None, "c": 1}),
        ("t text?", '{"t": "null"}', {"t": "null"}),
    ],
)  # fmt: skip
def test_a_field_that_allows_null_and_is_left_out_is_null(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


class Spare(TypedDict, total=False):
    tags: list[str]


class Defaults(BaseModel):
    n: int
    mood: Mood = Mood.GOOD
    tags: list[str] = []
    point: Point = Field(default_factory=lambda: Point(0.0))
    spare: Spare = {}


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"tags": None, "mood": None}, Defaults(n=1)),
        ({"point": {"x": 2, "y": None}, "spare": {"tags": None}}, Defaults(n=1, point=Point(2.0), spare={})),
    ],
)
def test_null_for_a_field_with_a_default_counts_as_left_out(answer: dict[str, Any], read: Defaults) -> None:
    assert schema_of(Defaults).read(json.dumps({"n": 1, **answer})) == read


def test_null_that_a_validator_refuses_is_not_left_out() -> None:
    class Checked(BaseModel):
        m: Annotated[int | None, AfterValidator(lambda value: Mood(value))] = 5

    with pytest.raises(Mismatch, match="m: Value error, None is not a valid Mood"):
        schema_of(Checked).read('{"m": null}')


@pytest.mark.parametrize(
    ("kind", "answer", "problems"),
    [
        ("name?, n int", '{"name": "x", "n": null}', ("n: Input should be a valid integer, not None",)),
        ("name, note text?", '{"note": "x"}', ("name: Field required",)),
        ("name, note text?", '{"nam": "Ann"}', ("name: Field required", "note: Field required")),
        ("name?, note?", "{}", ("name: Field required", "note: Field required")),
        ("name, age int?", '{"name": "Ann", "Age": 5}', ("age: Field required",)),
        ("name?, note?", '{"persons": 2}', ("name: Field required", "note: Field required")),
        # What can be read in another form is no problem.
        (
            "e good|bad, n int?",
            '{"e": "GOOD", "n": "**LOW**"}',
            ("n: Input should be a valid integer, unable to parse string as an integer, not '**LOW**'",),
        ),
        (FORMS, '{"n": "1,000", "m": "good.", "d": "soon", "b": "Yes."}', ("d: date is expected, not 'soon'",)),
        (
            FORMS,
            '{"n": null, "m": "fine"}',
            ("n: integer is expected, not None", "m: one of ['good', 'bad'] is expected, not 'fine'"),
        ),
    ],
)
def test_what_else_is_missing_is_a_mismatch(kind: Any, answer: str, problems: tuple[str, ...]) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(kind).read(answer)
    assert found.value.problems == problems


PROBLEMS: list[tuple[Any, str, list[str]]] = [
    (Movie, '{"title": "A", "year": "ten"}', ["year: Input should be a valid integer", "not 'ten'"]),
    (Movie, '{"title": "A", "year": "1,5"}', ["year: Input should be a valid integer", "not '1,5'"]),
    (Movie, '{"title": "A", "year": "1,234.5"}', ["year: Input should be a valid integer"]),
    (Movie, '{"title": "A", "year": "2.000"}', ["year: Input should be a number without a full stop for thousands"]),
    ("n list[int]?", '{"n": ["**-12.000**"]}', ["n.0: Input should be a number without a full stop for thousands"]),
    (FORMS, '{"n": "2.000"}', ["n: integer is expected, not '2.000'"]),
    (Movie, '{"title": "A"}', ["year: Field required"]),
    (list[Movie], '[{"title": [1], "year": 1}]', ["0.title: Input should be a valid string, not [1]"]),
    (Literal[1, 2], '{"value": "true"}', ["Input should be 1 or 2, not 'true'"]),
    ("a '1'|'2'|'3'", '{"a": true}', ["a: Input should be '1', '2' or '3', not True"]),
    (Owner, '{"pet": {"kind": "bird"}}', ["pet: Input tag 'bird' found using 'kind' does not match"]),
    (Good, '{"mood": "bad", "why": "x"}', ["mood: Input should be \"good\", not 'bad'"]),
    (Literal[1, 2] | date, '{"value": "7"}', ["Input should be 1 or 2, not '7'"]),
    ("n int, d date", '{"n": "5,00", "d": "May 5, 2024"}', ["not '5,00'", "not 'May 5, 2024'"]),
    (Movie, "no json", ["the answer is not JSON"]),
    (Movie, '{"title" "a"}', ["the answer is not JSON: Expecting ':' delimiter: line 1 column 10 (char 9)"]),
    ("a int", '{"a": true}', ["a: Input should be a number, not true"]),
    ("a 1|2|3", '{"a": true}', ["a: Input should be a number, not true"]),
    ("a list of float", '{"a": [1, false]}', ["a.1: Input should be a number, not false"]),
    (NAMES["shape"], '{"n": "x"}', ["n: integer is expected, not 'x'"]),
    (NAMES["shape"], "[1]", ["the answer: object is expected, not [1]"]),
]


@pytest.mark.parametrize(("kind", "answer", "expected"), PROBLEMS)
def test_each_mismatch_is_reported_on_a_line(kind: Any, answer: str, expected: list[str]) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(kind).read(answer)
    assert all(line in str(found.value) for line in expected)


def test_an_answer_that_is_nested_too_deeply_is_a_mismatch() -> None:
    deep = {"type": "array", "items": {"$ref": "#"}}
    for kind in (list[Any], deep):
        for answer in ("[" * 3000, "[" * 900 + "]" * 900, "[" * 30_000 + "]" * 30_000):
            try:
                schema_of(kind).read(answer)
            except Mismatch as mismatch:
                assert mismatch.problems


def test_only_the_first_of_many_mismatches_are_listed() -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(list[int]).read(json.dumps(["x"] * 30))
    assert len(found.value.problems) == 11
    assert found.value.problems[-1] == "and 20 more"


WITH_B: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
CHECKS: list[tuple[dict[str, Any], Any, bool]] = [
    ({"type": "integer"}, 3.0, True),
    ({"type": "integer"}, 3.5, False),
    ({"type": "integer"}, True, False),
    ({"type": "integer"}, 10**400, True),
    ({"type": ["string", "null"]}, None, True),
    ({"enum": [1, "a"]}, "a", True),
    ({"enum": [1, "a"]}, "b", False),
    ({"type": "object", "required": ["a"]}, {}, False),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}, {"b": 1}, False),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, {"b": 1}, True),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 1, True),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, [], False),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}, [[], [[]]], True),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}, [[], [1]], False),
    ({"anyOf": []}, 1, False),
    ({"type": "array", "minItems": 2}, [1, 2], True),
    ({"type": "array", "minItems": 2}, [1], False),
    ({"type": "array", "maxItems": 1}, [1, 2], False),
    ({"type": "array", "uniqueItems": True}, [1, 1], False),
    ({"type": "array", "contains": {"const": 1}}, [2], False),
    ({"type": "string", "minLength": 2}, "a", False),
    ({"type": "string", "maxLength": 2}, "abc", False),
    ({"type": "string", "pattern": "^[a-z]+$"}, "abc", True),
    ({"type": "string", "pattern": "^[a-z]+$"}, "ABC", False),
    ({"type": "number", "minimum": 0}, 0, True),
    ({"type": "number", "minimum": 0}, -0.5, False),
    ({"type": "number", "exclusiveMaximum": 1}, 1, False),
    ({"type": "number", "multipleOf": 0.1}, 0.3, True),
    ({"type": "number", "multipleOf": 0.1}, 10**400, False),
    ({"type": "integer", "multipleOf": 0}, 1, False),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "minimum": 1, "exclusiveMinimum": True},
     1, False),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "number", "minimum": 1}, 0, False),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
     {"x1": 1}, True),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
     {"x1": "one"}, False),
    ({"type": "object", "not": {"required": ["a"]}}, {"a": 1}, False),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1, True),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 3, False),
    ({"$id": "https://example.org/n", "type": "object", "properties": {"a": {"$ref": "#/$defs/b"}},
      "$defs": {"b": {"type": "integer"}}}, {"a": "one"}, False),
    # These definitions differ only in case and in punctuation.
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/N"}, "b": {"$ref": "#/$defs/n"}},
      "$defs": {"N": {"type": "string"}, "n": {"type": "integer"}}}, {"a": "x", "b": 1}, True),
    ({"type": "object", "properties": {"a.b": {"type": "integer"}, '{"}': {"type": "integer"}, "$ref": {}}},
     {"a.b": 1, '{"}': "one"}, False),
    # Keywords of later drafts, which fastjsonschema does not know.
    ({**WITH_B, "dependentRequired": {"a": ["b"]}}, {"a": 1}, False),
    ({**WITH_B, "dependentRequired": {"a": ["b"]}}, {"b": 1}, True),
    ({**WITH_B, "dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}, False),
    ({**WITH_B, "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {"required": ["c"]}}},
     {"a": 1, "b": 1}, False),
    ({**WITH_B, "unevaluatedProperties": False}, {"b": 1, "c": 1}, False),
    ({**WITH_B, "unevaluatedProperties": False}, {"b": 1}, True),
    ({"type": "array", "contains": {"const": 1}, "minContains": 0}, [2], True),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, [1, "a"], True),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, ["a"], False),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [1, 2], False),
    ({**WITH_B, "properties": {"a": {"$ref": "#/$defs/n", "minimum": 5}}, "$defs": {"n": {"type": "integer"}}},
     {"a": 1}, False),
    ({**WITH_B, "properties": {"a": {"$ref": "#/$defs/n", "minimum": 5}}, "$defs": {"n": {"type": "integer"}},
      "$schema": "http://json-schema.org/draft-07/schema#"}, {"a": 1}, True),
    ({"$ref": "#/$defs/n", "required": ["b"], "$defs": {"n": WITH_B}}, {"a": 1}, False),
    ({"allOf": [WITH_B, {"required": ["b"]}]}, {"a": 1}, False),
    ({"allOf": [WITH_B, {"required": ["b"]}]}, {"b": 1}, True),
    ({"type": "object", "properties": {"prefixItems": {"type": "integer"}}}, {"prefixItems": "one"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "fits"), CHECKS)
def test_json_schemas_are_checked(schema: dict[str, Any], value: Any, fits: bool) -> None:
    read = schema_of(schema)
    if fits:
        assert read.read(json.dumps(value)) == value
        return
    with pytest.raises(Mismatch):
        read.read(json.dumps(value))


FORMATS: list[tuple[str, str, str]] = [
    ("date", "2024-02-29", "2023-02-29"),
    ("time", "10:20:30Z", "25:00:00Z"),
    ("date-time", "2026-10-07T12:00:00Z", "2026-10-07"),
    ("duration", "P1DT2H", "1 day"),
    ("email", "ada@example.org", "ada"),
    ("hostname", "example.org", "-example"),
    ("ipv4", "127.0.0.1", "127.0.0.256"),
    ("ipv6", "::1", "1"),
    ("uri", "https://example.org/a", "example"),
    ("uri-reference", "/a#b", "a\\b"),
    ("uri-template", "/a/{b}", "/a/{b"),
    ("uuid", "12345678-1234-1234-1234-123456789abc", "1234"),
    ("json-pointer", "/a/0", "a"),
    ("regex", "a+", "("),
]


@pytest.mark.parametrize(("name", "good", "bad"), FORMATS, ids=[one[0] for one in FORMATS])
def test_known_formats_are_checked(name: str, good: str, bad: str) -> None:
    schema = schema_of({"type": "string", "format": name})
    assert schema.read(json.dumps(good)) == good
    with pytest.raises(Mismatch, match=f"{name}|regex"):
        schema.read(json.dumps(bad))


def test_unknown_formats_and_keywords_are_ignored() -> None:
    for more in ({"format": "postcode"}, {"x-unit": "km"}, {"unevaluatedItems": False}):
        assert schema_of({"type": ["string", "array"], **more}).read('["a"]') == ["a"]
        assert schema_of({"type": ["string", "array"], **more}).read('"a"') == "a"


ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "lines": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/line"}},
        "pay": {"anyOf": [{"$ref": "#/$defs/card"}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"]},
        "any": {"anyOf": [{"type": "array", "items": {"$ref": "#/properties/same"}}]},
        "same": {"$ref": "#/properties/kind"},
    },
    "required": ["name", "lines"],
    "additionalProperties": False,
    "$defs": {
        "line": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]},
        "card": {"type": "object", "properties": {"at": {"$ref": "#/$defs/line"}}, "required": ["at"]},
    },
}


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        ({"lines": [{"n": 1}]}, ["name: it is missing", "lines: must contain at least 2 items, not [{'n': 1}]"]),
        (
            {"name": "a", "lines": [{"n": 0}, {}], "more": 1, "other": 2},
            [
                "name: must match pattern ^[A-Z], not 'a'",
                "lines.0.n: must be bigger than or equal to 1, not 0",
                "lines.1.n: it is missing",
                "more: nothing is allowed here",
                "other: nothing is allowed here",
            ],
        ),
        ({"name": "A", "lines": [{"n": 1}] * 2, "pay": {"at": {"n": "x"}}}, ["pay.at.n: integer is expected, not 'x'"]),
        ({"name": "A", "lines": [{"n": 1}] * 2, "any": [1]}, ["any: must fit anyOf, not [1]"]),
        ({"name": "A", "lines": [{"n": 1}] * 2, "kind": "c"}, ["kind: one of ['a', 'b'] is expected, not 'c'"]),
    ],
)
def test_every_mismatch_is_reported_with_its_path(answer: Any, problems: list[str]) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(ORDER).read(json.dumps(answer))
    assert sorted(found.value.problems) == sorted(problems)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "word"}, "Unknown type"),
        ({"type": "object", "properties": 3}, "This dict is not a JSON schema"),
        ({"type": "string", "pattern": "("}, "This dict is not a JSON schema"),
        ({"type": "number", "minimum": float("nan")}, "This dict is not a JSON schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "Unresolvable ref"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "which is not fetched"),
        ({"type": "array", "items": {"$ref": "file:///etc/hostname"}}, "which is not fetched"),
        ({"type": "array", "items": {"$ref": "other.json#/a"}}, "which is not fetched"),
        ({"$id": "ftp://example.org/a/b", "type": "array", "items": {"$ref": "c"}}, "which is not fetched"),
    ],
)
def test_an_invalid_json_schema_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(schema)
    assert refused.value.cause == "option"
    assert why in refused.value.why


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


@given(st.text())
def test_any_text_is_read_as_a_schema_or_refused(text: str) -> None:
    try:
        found = read_schema(text, NAMES)
    except InferenceError:
        return
    assert isinstance(found, Schema)


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_answer_is_read_or_reported_as_a_mismatch(answer: str) -> None:
    for kind in (Person, list[Point], "name, age int", NAMES["shape"]):
        try:
            schema_of(kind).read(answer)
        except Mismatch as mismatch:
            assert mismatch.problems


def test_the_module_imports_neither_pydantic_nor_fastjsonschema() -> None:
    code = (
        "import sys, wandb_inference_magic.schemas.schema, wandb_inference_magic.schemas.validation\n"
        "print({'pydantic', 'fastjsonschema'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_json_schema_can_be_written_as_text() -> None:
    text = '{"type": "object", "properties": {"age": {"type": "integer"}}}'
    for schema in (schema_of(text), read_schema(text, {}), read_schema("js", {"js": text})):
        assert schema.read('{"age": 3}') == {"age": 3}


class Book(BaseModel):
    published: datetime
    due: date | None = None
    opens: list[time] = []
    note: str | datetime = ""
    editions: dict[str, date] = {}
    shown: tuple[date, int] | None = None


@pytest.mark.parametrize(
    "answer",
    [
        {"published": "1999"},
        {"published": 2024},
        {"published": "20240101"},
        {"published": "1.5e9"},
        {"published": "2024-01-05T10:00", "due": 0},
        {"published": "2024-01-05T10:00", "due": "20217600"},
        {"published": "2024-01-05T10:00", "opens": ["09:30", 930]},
        {"published": "2024-01-05T10:00", "editions": {"first": "1999"}},
        {"published": "2024-01-05T10:00", "shown": [1999, 1]},
    ],
)
def test_a_number_is_no_date(answer: dict[str, Any]) -> None:
    """Pydantic reads it as seconds since 1970."""
    filled = {"due": None, "opens": [], "note": "", **answer}
    with pytest.raises(Mismatch, match="in ISO form, not"):
        schema_of(Book).read(json.dumps(filled))


def test_dates_in_iso_form_and_numbers_as_texts_are_read() -> None:
    answer = {"published": "2024-01-05 10:00", "due": "2024-01-05", "opens": ["09:30"], "note": "2024"}
    assert schema_of(Book).read(json.dumps(answer)).note == "2024"
    assert schema_of(date).read('{"value": "2024-01-05"}') == date(2024, 1, 5)


class Comment(BaseModel):
    text: str
    replies: list[Comment] = []


@pytest.mark.parametrize(
    "schema",
    [
        Comment,
        {
            "$ref": "#/$defs/C",
            "$defs": {
                "C": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string"},
                        "replies": {"type": "array", "items": {"$ref": "#/$defs/C"}},
                    },
                }
            },
        },
    ],
)
def test_a_recursive_type_has_fields(schema: Any) -> None:
    found = schema_of(schema)
    assert (list(found.fields), found.wrapped) == (["text", "replies"], "")
    answer = {"text": "a", "replies": [{"text": "b", "replies": []}]}
    assert found.read(json.dumps(answer)) == (Comment(**answer) if schema is Comment else answer)


class OfPath(BaseModel):
    city: str = Field(validation_alias=AliasPath("address", "city"))


def test_an_alias_that_is_a_path_is_refused_unless_the_name_is_read_too() -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(OfPath)
    assert (
        refused.value.why == "The alias address.city is a path, not a name: describe the objects on the path as types."
    )

    class Named(OfPath):
        model_config = ConfigDict(populate_by_name=True)

    assert schema_of(Named).read('{"city": "Oslo"}').city == "Oslo"


async def later(value: int) -> int:
    return value


class Later(BaseModel):
    number: int

    @model_validator(mode="after")
    async def later(self) -> Later:
        return self


@pytest.mark.parametrize(
    "kind", [Annotated[int, AfterValidator(later)], Annotated[int, PlainValidator(partial(later))], Later, list[Later]]
)
def test_an_async_validator_is_refused(kind: Any) -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(list[kind])
    assert refused.value.why == "The validator later is async, and never awaited: write it with def, without async."

    def tool(value: int) -> None: ...

    tool.__annotations__["value"] = kind
    with pytest.raises(InferenceError, match="The validator later is async"):
        toolbox_of([tool])


def test_a_class_without_annotations_is_refused_by_its_name() -> None:
    class Plain:
        pass

    with pytest.raises(InferenceError, match="not a schema") as refused:
        schema_of(Plain)
    assert "type type" not in str(refused.value)
