"""Classes and annotations as schemas: dataclasses, typed dicts, recursive types, validators."""

from __future__ import annotations

import json
import sys
import typing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from schema_types import Actor
from typing_extensions import TypedDict

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import ToolCall
from wandb_inference_magic.schemas.schema import Mismatch, schema_of
from wandb_inference_magic.schemas.tools import toolbox_of

pytestmark = pytest.mark.short


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


@pytest.mark.parametrize("kind", ["dataclass", "typed dict", "list", "inside another"])
def test_types_of_a_function_are_found_by_schemas_and_tools(kind: str) -> None:
    """A test or the handler of a request defines them, with annotations that are texts."""
    base: Any = TypedDict if kind == "typed dict" else object

    class Inner(base):
        x: int

    class Middle(base):
        inner: list[Inner]

    class Outer(base):
        i: Inner
        middle: Middle

    if kind != "typed dict":
        Inner, Middle, Outer = map(dataclass, (Inner, Middle, Outer))  # type: ignore[misc,assignment]
    answer: dict[str, Any] = {"i": {"x": 1}, "middle": {"inner": [{"x": 2}]}}

    def read() -> Any:
        return schema_of(list[Outer] if kind == "list" else Outer)

    found = read() if kind != "inside another" else (lambda: read())()
    value = found.read(json.dumps([answer] if kind == "list" else answer))
    if kind == "list":
        (value,) = value
    assert (value if kind == "typed dict" else asdict(value)) == answer

    def tool(outer: Outer, inners: list[Inner]) -> str:
        return f"{outer} {inners}"

    box = toolbox_of([tool])
    done = box.run(ToolCall("c", "tool", json.dumps({"outer": answer, "inners": [{"x": 3}]})))
    assert done.ok, done.result
    assert "3" in done.result


@dataclass
class Played:
    actor: Actor


def test_a_type_of_the_calling_function_replaces_none_of_the_module() -> None:
    Actor = str  # noqa: F841
    assert schema_of(Played).read('{"actor": {"name": "A", "films": []}}').actor == {"name": "A", "films": []}


def out_of_reach() -> type:
    @dataclass
    class Inner:
        x: int

    @dataclass
    class Outer:
        i: Inner

    return Outer


def test_a_type_that_is_out_of_reach_is_named() -> None:
    outer = out_of_reach()
    with pytest.raises(InferenceError) as refused:
        schema_of(outer)
    where = "Define it at the top level of the notebook or module, before what uses it."
    assert refused.value.why == f"The type Inner in it is not defined. {where}"

    def tool(value: int) -> None: ...

    tool.__annotations__["value"] = outer
    with pytest.raises(InferenceError, match="the type Inner in it is not defined"):
        toolbox_of([tool])
