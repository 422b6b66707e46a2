"""The schemas of tools in the form that all services take: what Gemini, Nova and llama.cpp refuse is not in them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, Field

from wandb_inference_magic.schemas import plain_schema
from wandb_inference_magic.schemas.tool_schema import describe

pytestmark = pytest.mark.short


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Unit(Enum):
    NONE = ""
    CELSIUS = "C"


class Odd(Enum):
    WORD = "a"
    NUMBER = 1.5
    PAIR = (1, 2)


class Point(NamedTuple):
    x: float
    label: str = ""


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    size: Size


class Node(BaseModel):
    """A tree."""

    value: float | None
    children: list[Node] = []
    parent: Node | None = None


@dataclass
class Trip:
    pet: Annotated[Cat | Dog, Field(discriminator="kind", description="Who travels.")]
    start: Node = field(default_factory=lambda: Node(value=1))


def refusals(schema: Any, at: str = "parameters") -> Iterator[str]:
    """Yield what services would refuse, in the words of Gemini's."""
    if not isinstance(schema, dict):
        yield f"{at}: Unrecognized schema: {schema}"
        return
    for name in schema.keys() - {"type", "description", "required", "enum", "properties", "items", "anyOf"}:
        yield f'Unknown name "{name}" at {at}'
    if "anyOf" in schema:
        if len(schema) > 1:
            yield f"{at}: When using any_of, it must be the only field set."
        for number, one in enumerate(schema["anyOf"]):
            yield from refusals(one, f"{at}.any_of[{number}]")
        return
    kind = schema.get("type")
    if kind not in ("string", "number", "integer", "boolean", "array", "object"):
        yield f"{at}: schema didn't specify the schema type field, but {kind!r}"
    if "enum" in schema and (kind != "string" or not all(isinstance(one, str) and one for one in schema["enum"])):
        yield f"{at}.enum: only allowed for STRING type"
    if ("items" in schema) != (kind == "array"):
        yield f"{at}.items: missing field"
    if "items" in schema:
        yield from refusals(schema["items"], f"{at}.items")
    fields = schema.get("properties", {})
    if (fields or "required" in schema) and kind != "object":
        yield f"{at}.properties: only allowed for OBJECT type"
    if at != "parameters" and "properties" in schema and not fields:
        yield f"{at}.properties: should be non-empty for OBJECT type"
    for name in set(schema.get("required", ())) - set(fields):
        yield f"{at}.required: property is not defined: {name}"
    for name, one in fields.items():
        yield from refusals(one, f"{at}.properties[{name}]")


def schema_of(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """Return the schema of a tool with one argument of a type."""

    def tool(value: Any = default) -> str:
        """Use a value."""
        return str(value)

    tool.__annotations__ = {"value": annotation}
    if default is ...:
        tool.__defaults__ = None
    function: Callable[..., Any] = tool
    return describe(function, "tool").definition["function"]["parameters"]


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, float, str, bool, Any, list, dict, tuple, datetime.date, datetime.timedelta, bytes),
        *(list[int], set[int], dict[str, float], dict[str, list[Any]], list[dict[str, Any]], tuple[()]),
        *(tuple[float, float], tuple[str, int, bool], tuple[int, ...], list[tuple[str, int | None]], Point),
        *(Literal["a", "b"], Literal[1, 2], Literal["a", 1], Literal["a", None], Literal[True], Literal["", "a"]),
        *(Size, Unit, Odd, list[Size], Size | None, dict[str, Size]),
        *(int | None, int | str, int | str | None, list[int] | None, Cat | Dog),
        *(Cat, Dog, Node, Trip, Trip | None, list[Trip]),
        Annotated[int, Field(ge=1, le=7, description="How many.")],
        Annotated[str, Field(pattern=r"\S", max_length=10_000, examples=["a"])],
        Annotated[int | str | None, Field(description="Which one.")],
    ],
    ids=str,
)
def test_no_service_refuses_what_pydantic_makes_of_a_type(annotation: Any) -> None:
    schema = schema_of(annotation)
    plain = plain_schema(schema)
    assert [*refusals(plain)] == []
    assert plain.keys() <= {"type", "properties", "required"}
    assert plain["required"] == ["value"]
    # What is plain stays as it is.
    assert plain_schema(plain) == plain


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (tuple[float, float], {"type": "array", "items": {"type": "number"}, "description": "2 items."}),
        (
            tuple[str, int],
            {
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "description": "2 items, in this order: string, integer.",
            },
        ),
        (Literal[1, 2], {"type": "integer", "description": "One of: 1, 2."}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (
            Literal["a", 1],
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "description": "One of: 1."}]},
        ),
        (Unit, {"type": "string", "description": 'One of: "", "C".'}),
        (int | None, {"type": "integer", "description": "It may be null."}),
        (
            Annotated[int | str, Field(description="A number or a name.")],
            {
                "anyOf": [
                    {"type": "integer", "description": "A number or a name."},
                    {"type": "string", "description": "A number or a name."},
                ]
            },
        ),
        (dict[str, float], {"type": "object"}),
        (
            Annotated[Size, Field(description="How big.")],
            {"type": "integer", "description": "How big. One of: 1, 2."},
        ),
    ],
    ids=str,
)
def test_what_the_model_must_know_stays_in_the_schema(annotation: Any, expected: dict[str, Any]) -> None:
    assert plain_schema(schema_of(annotation))["properties"]["value"] == expected


def test_a_default_says_that_an_argument_can_be_left_out() -> None:
    plain = plain_schema(schema_of(int | None, None))
    assert plain == {"type": "object", "properties": {"value": {"type": "integer"}}}


def test_a_schema_within_itself_has_its_type() -> None:
    plain = plain_schema(schema_of(Node))["properties"]["value"]
    assert plain["properties"]["children"] == {"type": "array", "items": {"type": "object"}}
    # A list of lists of ... is no object.
    nested = {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "integer"}]}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/L"}}, "$defs": {"L": nested}}
    plain = plain_schema(schema)
    assert [*refusals(plain)] == []
    assert plain["properties"]["a"]["items"]["anyOf"][0]["type"] == "array"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # As older versions of pydantic write a reference with a default, and users their own schemas.
        ({"allOf": [{"$ref": "#/$defs/S"}], "default": "a"}, {"type": "string", "enum": ["a", "b"]}),
        (
            {"$ref": "#/$defs/S", "description": "Which."},
            {"type": "string", "enum": ["a", "b"], "description": "Which."},
        ),
        ({"$ref": "#/$defs/unknown"}, {"type": "object"}),
        ({"type": ["string", "null"], "default": None}, {"type": "string"}),
        ({"type": ["integer", "string"]}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ({"items": {"type": "string"}}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": "array", "items": [{"type": "string"}, {"type": "string"}]},
            {"type": "array", "items": {"type": "string"}, "description": "2 items."},
        ),
        (
            {"properties": {"a": {"type": "string"}}, "required": ["a", "b"], "anyOf": [{"required": ["a"]}]},
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ),
    ],
    ids=str,
)
def test_other_forms_of_schemas_are_plain_too(given: dict[str, Any], expected: dict[str, Any]) -> None:
    named = {"S": {"type": "string", "enum": ["a", "b"], "title": "S"}}
    plain = plain_schema({"type": "object", "properties": {"v": given}, "$defs": named})
    assert plain["properties"]["v"] == expected
    assert [*refusals(plain)] == []
