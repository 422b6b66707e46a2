"""Answers with other names in place of the fields: they are read as the defaults only if nothing is lost."""

from __future__ import annotations

import json
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    RootModel,
    create_model,
    model_validator,
)
from tool_calls import step
from typing_extensions import NotRequired, TypedDict

from wandb_inference_magic.schemas.schema import Mismatch, schema_of

pytestmark = pytest.mark.short


class Person(BaseModel):
    name: str = ""
    age: int | None = None


@dataclass
class Order:
    item: str = ""
    count: int = 1
    number: int = field(default=7, init=False)
    scale: InitVar[int] = 1


class Partial(TypedDict, total=False):
    name: str
    age: int


class Titled(TypedDict):
    title: str
    year: NotRequired[int]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str = ""
    tags: tuple[str, ...] = ()


class Team(BaseModel):
    lead: Person = Person()
    members: list[Person] = []
    by_name: dict[str, Person] = {}
    pair: tuple[Person, int] | None = None


class Tree(BaseModel):
    label: str = ""
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = ""


class Aliased(BaseModel):
    full: str = Field("", alias="fullName")
    age: int = Field(0, validation_alias=AliasChoices("age", "years", AliasPath("ages", 0)))


class ByName(Aliased):
    model_config = ConfigDict(populate_by_name=True)


class Empty(BaseModel):
    """It says that there is nothing."""


class Open(Person):
    model_config = ConfigDict(extra="allow")


class Renaming(Person):
    @model_validator(mode="before")
    @classmethod
    def _in_lower_case(cls, value: Any) -> Any:
        return {name.lower(): one for name, one in value.items()} if isinstance(value, dict) else value


class Cleaned(BaseModel):
    name: Annotated[str, BeforeValidator(str.strip)] = ""
    inner: Annotated[Person, BeforeValidator(lambda value: {"name": value.get("Name", "")})] = Person()
    age: int = 0


def with_x(kind: Any) -> Any:
    return TypedDict("WithX", {"x": kind})


Pets = RootModel[list[Annotated[Cat | Dog, Field(discriminator="kind")]]]
FREE: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
IN_LIST = {"type": "object", "properties": {"rows": {"type": "array", "items": {"$ref": "#/definitions/p"}}},
           "definitions": {"p": FREE}}  # fmt: skip
JOINED: dict[str, Any] = {"allOf": [FREE, {"properties": {"city": {"type": "string"}}}]}


@pytest.mark.parametrize(
    ("kind", "answer", "problem"),
    [
        (Person, {"Name": "Ada", "Age": 36}, "the answer: it has 'Name', 'Age' in place of 'name', 'age'"),
        (Person, {"name": "Ada", "Age": 36}, "the answer: it has 'Age' in place of 'age'"),
        (Person, {"error": "I cannot."}, "the answer: it has 'error' in place of 'name', 'age'"),
        # A field that is not asked for is not missing.
        (Order, {"product": "pump", "scale": 2}, "the answer: it has 'product' in place of 'item', 'count'"),
        (Partial, {"Name": "Ada"}, "the answer: it has 'Name' in place of 'name', 'age'"),
        (Titled, {"title": "A", "Year": 2}, "the answer: it has 'Year' in place of 'year'"),
        (Strict, {"Name": "Ada"}, "the answer: it has 'Name' in place of 'name', 'tags'"),
        (create_model("Made", a=(int, 1), b=(int, 2)), {"A": 3}, "the answer: it has 'A' in place of 'a', 'b'"),
        (list[Person], [{"name": "Bo"}, {"Name": "Ada"}], "1: it has 'Name' in place of 'name', 'age'"),
        (Team, {"lead": {"Name": "Ada"}}, "lead: it has 'Name' in place of 'name', 'age'"),
        (Team, {"members": [{"Name": "Ada"}]}, "members.0: it has 'Name' in place of 'name', 'age'"),
        (Team, {"by_name": {"Ada": {"years": 3}}}, "by_name.Ada: it has 'years' in place of 'name', 'age'"),
        (Team, {"pair": [{"years": 3}, 1]}, "pair.0: it has 'years' in place of 'name', 'age'"),
        (Tree, {"children": [{"children": [{"name": "x"}]}]},
         "children.0.children.0: it has 'name' in place of 'label', 'children'"),
        (str | Person, {"Name": "Ada", "x": 1}, "the answer: it has 'Name', 'x' in place of 'name', 'age'"),
        (Pets, [{"kind": "cat"}, {"kind": "dog", "Name": "Rex"}], "1: it has 'Name' in place of 'name'"),
        # Pydantic does not read the name of an attribute that has an alias.
        (Aliased, {"full": "Ada", "age": 3}, "the answer: it has 'full' in place of 'fullName'"),
        (Cleaned, {"name": " Ada ", "inner": {}, "Age": 3}, "the answer: it has 'Age' in place of 'age'"),
        # What has an object as a text.
        (Team, {"lead": '{"Name": "Ada"}'}, "lead: it has 'Name' in place of 'name', 'age'"),
        (Team, {"members": '[{"name": "Bo"}, {"Name": "Ada"}]'}, "members.1: it has 'Name' in place of 'name', 'age'"),
        (with_x(int | Person | None), {"x": '{"Name": "Ada"}'}, "x: it has 'Name' in place of 'name', 'age'"),
        (with_x(Json[Person]), {"x": '{"Name": "Ada"}'}, "x: it has 'Name' in place of 'name', 'age'"),
        (Person | Empty, {"Name": "Ada"}, "the answer: it has 'Name' in place of 'name', 'age'"),
        (with_x(Empty), {"x": {"a": 1}}, "x: it has 'a', but no fields"),
        (FREE, {"Name": "Ada"}, "the answer: it has 'Name' in place of 'name', 'age'"),
        (IN_LIST, {"rows": [{"Name": "Ada"}]}, "rows.0: it has 'Name' in place of 'name', 'age'"),
    ],
)  # fmt: skip
def test_an_object_that_has_other_names_in_place_of_fields_does_not_fit(kind: Any, answer: Any, problem: str) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(kind).read(json.dumps(answer))
    assert found.value.problems == (problem,)


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (Person, {"person": {"name": "Ada", "age": 36}}, Person(name="Ada", age=36)),
        (Person, {"name": "p", "arguments": {"name": "Ada", "age": 36}}, Person(name="Ada", age=36)),
        (Order, [{"item": "pump", "count": 2}], Order("pump", 2)),
        (Partial, {"answer": {"name": "Ada"}}, {"name": "Ada"}),
        (list[Person], {"people": [{"name": "Ada"}]}, [Person(name="Ada")]),
        (FREE, {"person": {"name": "Ada"}}, {"name": "Ada"}),
    ],
)
def test_fields_with_defaults_are_read_in_a_wrapping(kind: Any, answer: Any, read: Any) -> None:
    assert schema_of(kind).read(json.dumps(answer)) == read


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        # Only lacking, or only more.
        (Person, {"name": "Ada"}, Person(name="Ada")),
        (Person, {}, Person()),
        (Person, {"name": "Ada", "age": 36, "note": "x"}, Person(name="Ada", age=36)),
        (Order, {"item": "pump", "count": 2, "scale": 1, "number": 3}, Order("pump", 2)),
        (Titled, {"title": "A"}, {"title": "A"}),
        (Strict, {"tags": ["a"]}, Strict(tags=("a",))),
        (Team, {"lead": {"name": "A", "age": 1, "x": 2}, "members": [{}]},
         Team(lead=Person(name="A", age=1), members=[Person()])),
        # Other names under which a field is read.
        (Aliased, {"fullName": "Ada", "years": 3, "note": "x"}, Aliased(fullName="Ada", age=3)),
        (Aliased, {"fullName": "Ada", "ages": [3]}, Aliased(fullName="Ada", age=3)),
        (ByName, {"full": "Ada", "age": 3, "note": ""}, ByName(full="Ada", age=3)),
        (with_x(str | Person), {"x": '{"Name": "Ada"}'}, {"x": '{"Name": "Ada"}'}),
        # Names that the type allows, or that its validator reads.
        (Open, {"name": "Ada", "Age": 36}, Open(name="Ada", Age=36)),
        (Renaming, {"Name": "Ada", "Age": 36}, Renaming(name="Ada", age=36)),
        (list[Renaming], [{"Name": "Ada"}], [Renaming(name="Ada")]),
        (Cleaned, {"inner": {"Name": "Ada"}}, Cleaned(inner={"Name": "Ada"})),
        # The object of another alternative.
        (dict[str, str] | Person, {"Name": "Ada"}, {"Name": "Ada"}),
        (Cat | Dog, {"kind": "dog", "name": "Rex"}, Dog(name="Rex")),
        (Titled | Partial, {"name": "Ada"}, {"name": "Ada"}),
        # What a JSON schema says itself.
        (FREE | {"required": ["name"]}, {"name": "Ada", "note": 1}, {"name": "Ada", "note": 1}),
        (FREE | {"additionalProperties": True}, {"Name": "Ada"}, {"Name": "Ada"}),
        (FREE | {"patternProperties": {"^N": {}}}, {"Name": "Ada"}, {"Name": "Ada"}),
        (FREE | {"anyOf": [{"required": ["age"]}, {"properties": {"city": {}}}]}, {"city": "B"}, {"city": "B"}),
        (JOINED, {"city": "Bonn"}, {"city": "Bonn"}),
    ],
)  # fmt: skip
def test_what_loses_nothing_is_read(kind: Any, answer: Any, read: Any) -> None:
    assert schema_of(kind).read(json.dumps(answer)) == read


def test_a_validator_that_fails_on_a_default_hides_no_wrapping() -> None:
    class Named(BaseModel):
        name: str = ""

        @model_validator(mode="after")
        def _has_words(self) -> Named:
            assert self.name.split()[0]
            return self

    assert schema_of(Named).read('{"person": {"name": "Ada"}}') == Named(name="Ada")


def test_a_truth_may_have_other_names() -> None:
    """It is the user's own, and is not asked for again."""
    assert schema_of(Person).check({"name": "Ada", "row": 3}) == Person(name="Ada")


def test_names_in_another_form_of_unicode_are_not_other_names() -> None:
    fields: dict[str, Any] = {"caf\u00e9": NotRequired[str], "n": int}
    kind: Any = TypedDict("Visit", fields)  # type: ignore[misc]
    assert schema_of(kind).read('{"cafe\u0301": "A", "x": 1, "n": 2}') == {"caf\u00e9": "A", "n": 2}


def test_the_marks_of_a_schema_are_not_sent() -> None:
    assert "x-" not in json.dumps([schema_of(kind).response_format for kind in (ByName, Renaming, Cleaned)])


def test_a_tool_is_not_called_with_defaults_in_place_of_other_names() -> None:
    called: list[Any] = []

    def weather(city: str, day: Person = Person(), more: ByName | None = None) -> None:  # noqa: B008
        called.append((city, day, more))

    refused = step(weather, '{"city": "Bonn", "day": {"Name": "x"}}')
    assert not refused.ok
    assert "day: it has 'Name' in place of 'name', 'age'" in refused.result
    assert not called
    assert step(weather, '{"city": "Bonn", "day": {"name": "x"}, "more": {"full": "A", "years": 2, "x": 1}}').ok
    assert called == [("Bonn", Person(name="x"), ByName(full="A", age=2))]
