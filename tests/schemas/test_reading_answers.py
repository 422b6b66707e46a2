"""How an answer is read: the value in it, and the other forms that models give it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
)
from schema_types import FORMS, NAMES, Cat, Dog, Mood, Movie, Node, Owner, Person, Point
from typing_extensions import TypedDict

from wandb_inference_magic.frames.columns import plain
from wandb_inference_magic.schemas.schema import Mismatch, schema_of

pytestmark = pytest.mark.short

ADA, OLD, BAD = '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 30}', '{"name": "Ada", "age": "old"}'


def _with_x(kind: Any) -> Any:
    return TypedDict("WithX", {"x": kind})


def _with_text(**rules: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": {"type": "string", **rules}}}


def _at_most_six_words(text: str) -> str:
    if text.count(" ") > 5:
        raise ValueError("it has more than six words")
    return text


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


@pytest.mark.parametrize(
    "answer",
    [
        '[{"name": "Ada", "age": 36}]',
        '{"answer": {"name": "Ada", "age": 36}}',
        '{"name": "person", "arguments": {"name": "Ada", "age": 36}}',
        '{"name": "person", "arguments": "{\\"name\\": \\"Ada\\", \\"age\\": 36}"}',
        # Llama's form of a call, and the service's.
        '{"type": "function", "name": "person", "parameters": {"name": "Ada", "age": 36}}',
        '{"type": "function", "function": {"name": "p", "arguments": "{\\"name\\": \\"Ada\\", \\"age\\": 36}"}}',
        # The schema, with the values in their places.
        '{"title": "person", "type": "object", "properties": {"name": "Ada", "age": 36}}',
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


class Left(BaseModel):
    left: int


class Right(BaseModel):
    right: int = Field(alias="rightSide")

    model_config = ConfigDict(populate_by_name=True)


OBJECTS = [{"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Left | Right, '{"result": {"left": 2}}', Left(left=2)),
        (Left | None, '{"name": "Left", "arguments": {"left": 2}}', Left(left=2)),
        (Right, '{"result": {"right": 3}}', Right(right=3)),
        ({"anyOf": OBJECTS}, '{"result": {"b": 2}}', {"b": 2}),
        (dict[str, int], '{"result": {}}', {}),
        (dict[str, int], "[{}]", {}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"result": {}}', {}),
    ],
)
def test_one_object_of_several_kinds_or_of_any_fields_is_read_in_a_wrapping(kind: Any, answer: str, value: Any) -> None:
    assert schema_of(kind).read(answer) == value


def test_two_objects_in_wrappings_are_not_chosen_from() -> None:
    with pytest.raises(Mismatch):
        schema_of("name, age int").read('[{"name": "A", "age": 1}] or [{"name": "B", "age": 2}]')


def test_the_schema_itself_is_no_answer() -> None:
    schema = schema_of(make_dataclass("Pair", [("first", dict), ("second", dict)]))
    with pytest.raises(Mismatch):
        schema.read(json.dumps(schema.json_schema))


@pytest.mark.parametrize("answer", ['{"a": 1}\n{"a": 2}', 'Here:\n```json\n{"a": 1}\n{"a": 2}\n```\nThat is all.'])
def test_objects_on_a_line_each_are_a_list(answer: str) -> None:
    """So answer small models. `to_frame()` reads it so too."""
    assert schema_of("list of a int").read(answer) == [{"a": 1}, {"a": 2}]
    with pytest.raises(Mismatch):
        schema_of("list of a int").read(answer.replace("1", '"many"'))


@pytest.mark.parametrize(
    "answer",
    [
        'Such as\n```\n{"a": 7}\n{"a": 8}\n```\nSo:\n```json\n[{"a": 1}]\n```',
        '```json\n{"items": [{"a": 1}]}\n{"items": [{"a": 1}]}\n```',
    ],
)
def test_a_list_comes_before_objects_on_lines(answer: str) -> None:
    assert schema_of("list of a int").read(answer) == [{"a": 1}]


def test_two_lists_side_by_side_are_not_chosen_from() -> None:
    with pytest.raises(Mismatch):
        schema_of("list[int]").read('{"a": [1], "b": [2]}')


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (Literal["good", "bad"], "**Good**.", "good"),
        (Mood, "bad\n", Mood.BAD),
        (int, "1,000", 1000),
        (int, "\uff14\uff12", 42),
        (bool, "Yes.", True),
        (date, "2024-01-02", date(2024, 1, 2)),
        ({"enum": ["good", "bad"]}, "Good.", "good"),
        (str, "It is late.", "It is late."),
        # The value of the only field.
        ("label good|bad", "**Good**.", {"label": "good"}),
        ("label good|bad?", '"bad"', {"label": "bad"}),
        ("label good|bad", '```json\n"good"\n```', {"label": "good"}),
        ("n int", "1,000", {"n": 1000}),
        ("name", '"Ada"', {"name": "Ada"}),
        ("tags list", '["a", "b"]', {"tags": ["a", "b"]}),
        (Right, "3", Right(right=3)),
        ({"type": "object", "properties": {"x": {"enum": ["a", "b"]}}}, "B", {"x": "b"}),
        (_with_x(Literal["a", "b"] | None), "a", {"x": "a"}),
        (_with_x(date), "2024-01-02", {"x": date(2024, 1, 2)}),
        (_with_x(Annotated[str, Field(pattern="^[A-Z]{3}$")]), "EUR", {"x": "EUR"}),
        (_with_text(format="email"), "ada@example.org", {"x": "ada@example.org"}),
        (_with_text(format="uri"), "https://example.org", {"x": "https://example.org"}),
    ],
)
def test_one_value_may_be_answered_without_json(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (int, "ten"),
        (date, "2024"),
        (str, '{"value": "It is l'),
        (str, " "),
        ("label good|bad", "not good"),
        ("label good|bad, n int?", "good"),
        # Words about the value, and the number of a source.
        ("name", "The name is Ada."),
        ("name", "Ada"),
        (_with_x(Annotated[str, Field(max_length=40)]), "Sorry, I cannot help with that."),
        (_with_x(Annotated[str, Field(max_length=5)]), "Sorry"),
        (_with_x(Annotated[str, Field(pattern="^[A-Z].{1,40}$")]), "I cannot help with that."),
        (_with_x(Annotated[str, AfterValidator(_at_most_six_words)]), "I cannot help with that."),
        (_with_text(maxLength=40), "Sorry, I cannot help with that."),
        ("tags list[int]", "See [1]."),
    ],
)
def test_what_is_not_json_and_not_the_value_is_a_mismatch(kind: Any, answer: str) -> None:
    with pytest.raises(Mismatch):
        schema_of(kind).read(answer)


class One(BaseModel):
    n: Literal[1]


class Two(BaseModel):
    n: Literal[2]


def kind_of(pet: Any) -> str:
    return str(pet["kind"])


Numbered = Annotated[One | Two, Field(discriminator="n")]
Picked = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(kind_of)]


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
        # Digits and labels of other scripts, and names with their accents apart.
        ("a int, b int", '{"a": "\uff11\uff12\uff13", "b": "\u0661\u0662\u0663"}', {"a": 123, "b": 123}),
        ("a float, b float", '{"a": "\u06f1\u06f2\u06f3\u066b\u06f5", "b": "1.234,5"}', {"a": 123.5, "b": 1234.5}),
        ("a date", '{"a": "\uff12\uff10\uff12\uff14-\uff10\uff11-\uff10\uff12"}', {"a": date(2024, 1, 2)}),
        ("a 1|2", '{"a": "\uff12"}', {"a": 2}),
        ("a POZ\u0130T\u0130F|\u2764\ufe0f", '{"a": "Pozitif"}', {"a": "POZ\u0130T\u0130F"}),
        ("a x\u00b2|x2|\u2764\ufe0f", '{"a": "\u200fX2."}', {"a": "x2"}),
        ("caf\u00e9 list of int", '{"cafe\u0301": [1]}', {"caf\u00e9": [1]}),
        ("list of cafe\u0301 int, n int", '[{"n": 1, "caf\u00e9": 2}]', [{"cafe\u0301": 2, "n": 1}]),
    ],
)
def test_an_allowed_value_in_another_form_is_that_value(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


@pytest.mark.parametrize("answer", ['{"a": "it"}', '{"a": "goo"}', '{"a": ""}'])
def test_a_text_that_could_be_several_allowed_values_or_none_is_a_mismatch(answer: str) -> None:
    with pytest.raises(Mismatch):
        schema_of("a IT|It|good").read(answer)


def test_alternatives_that_change_the_same_part_come_to_an_end() -> None:
    class One(BaseModel):
        m: Literal[1]
        z: int

    class Text(BaseModel):
        model_config = ConfigDict(extra="forbid")
        m: str

    with pytest.raises(Mismatch):
        schema_of(TypeAdapter(One | Text)).read('{"m": "1", "z": "q"}')


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
        (
            {"n": "\u0661\u0662", "x": "1.234,5", "d": "\uff12\uff10\uff12\uff14-\uff10\uff11-\uff10\uff12"},
            {"n": 12, "x": 1234.5, "d": "2024-01-02"},
        ),
    ],
)
def test_a_json_schema_reads_other_forms_too(answer: dict[str, Any], read: dict[str, Any]) -> None:
    assert schema_of(FORMS).read(json.dumps(answer)) == read


@pytest.mark.parametrize("answer", [{"n": None}, {"n": "true"}, {"n": 1, "m": "fine"}, {"n": 1, "b": "maybe"}])
def test_a_json_schema_refuses_what_means_something_else(answer: dict[str, Any]) -> None:
    with pytest.raises(Mismatch, match=r"is expected|must"):
        schema_of(FORMS).read(json.dumps(answer))


class Book(BaseModel):
    published: datetime
    due: date | None = None
    opens: list[time] = []
    note: str | datetime = ""
    editions: dict[str, date] = {}
    shown: tuple[date, int] | None = None


def test_dates_in_iso_form_and_numbers_as_texts_are_read() -> None:
    answer = {"published": "2024-01-05 10:00", "due": "2024-01-05", "opens": ["09:30"], "note": "2024"}
    assert schema_of(Book).read(json.dumps(answer)).note == "2024"
    assert schema_of(date).read('{"value": "2024-01-05"}') == date(2024, 1, 5)


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


_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_AT_NAMES = {"type": "object", "patternProperties": {"^x": {"type": "number"}}}


class _Scored(BaseModel):
    name: str
    total: float = 0.0
    scores: dict[str, float]
    inner: list[_Scored] = []


class _OfAnyNames(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    a: int = 1


@pytest.mark.parametrize("written", ["null", "NaN", '"N/A"'])
@pytest.mark.parametrize(
    ("kind", "answer", "where"),
    [
        (dict[str, float], '{"a": 1, "b": %s}', "b"),
        (dict[str, dict[str, int]], '{"a": {"b": %s}}', "a.b"),
        (dict[str, Literal["yes", "no"]], '{"a": %s}', "a"),
        (_with_x(Mapping[str, float] | None), '{"x": {"b": %s}}', "x.b"),
        # The entry has the name of a field that may be left out.
        (_Scored, '{"name": "a", "scores": {"total": %s}}', "scores.total"),
        (_Scored, '{"name": "a", "scores": {}, "inner": [{"name": "b", "scores": {"a": %s}}]}', "inner.0.scores.a"),
        (_OfAnyNames, '{"b": %s}', "b"),
        (_NUMBERS, '{"a": 1, "b": %s}', "b"),
        (_NUMBERS | {"properties": {"a": {"type": "number"}}}, '{"a": 1, "b": %s}', "b"),
        (_AT_NAMES, '{"x1": %s}', "x1"),
        ({"type": "object", "unevaluatedProperties": {"type": "number"}}, '{"x1": %s}', "x1"),
        ({"type": "array", "prefixItems": [_NUMBERS], "items": _AT_NAMES}, '[{"x": %s}, {"x": 1}]', "0.x"),
        ({"type": "array", "prefixItems": [_NUMBERS], "items": _AT_NAMES}, '[{"x": 1}, {"x": %s}]', "1.x"),
        (_with_text() | {"properties": {"x": {"anyOf": [_NUMBERS, {"type": "null"}]}}}, '{"x": {"a": %s}}', "x.a"),
        (_with_text() | {"properties": {"x": {"$ref": "#/$defs/n"}}, "$defs": {"n": _NUMBERS}}, '{"x": {"a": %s}}',
         "x.a"),
    ],
)  # fmt: skip
def test_an_entry_of_an_object_of_any_names_is_not_left_out(kind: Any, answer: str, where: str, written: str) -> None:
    schema = schema_of(kind)
    with pytest.raises(Mismatch) as refused:
        schema.read(answer % written)
    assert refused.value.problems[0].startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (_Scored, '{"name": "a", "total": null, "scores": {"total": 1}}', _Scored(name="a", scores={"total": 1})),
        (_Scored, '{"name": "a", "scores": {}, "inner": null}', _Scored(name="a", scores={})),
        (_OfAnyNames, '{"a": NaN, "b": 2}', _OfAnyNames(b=2.0)),
        (_NUMBERS | {"properties": {"a": {"type": "number"}}}, '{"a": null, "b": 2}', {"b": 2}),
        ({"type": "object", "allOf": [{"properties": {"a": {"type": "number"}}}, _NUMBERS]}, '{"a": null}', {}),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": _NUMBERS}}, '{"a": null}', {}),
    ],
)
def test_a_property_beside_others_counts_as_left_out(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(kind).read(answer) == read


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


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_answer_is_read_or_reported_as_a_mismatch(answer: str) -> None:
    for kind in (Person, list[Point], "name, age int", NAMES["shape"]):
        try:
            schema_of(kind).read(answer)
        except Mismatch as mismatch:
            assert mismatch.problems


def test_a_field_that_is_named_like_a_wrapping_is_a_field() -> None:
    class Run(BaseModel):
        title: str = "t"
        year: int = 0
        parameters: dict[str, float] = {}

    with pytest.raises(Mismatch, match="year"):
        schema_of(Run).read('{"title": "x", "year": "unknown", "parameters": {"lr": 0.1}}')


def test_a_brace_in_the_text_hides_no_list() -> None:
    assert schema_of(list[str]).read("For {name}, the tags are ['a', 'b']") == ["a", "b"]


def _number(**rules: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": {"type": "number", **rules}}, "required": ["x"]}


_SHARED_NUMBER = {"$defs": {"n": {"type": "number"}}, **_number()}
_SHARED_NUMBER["properties"] = {"x": {"$ref": "#/$defs/n"}}


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"inf"', '"1e999"'])
@pytest.mark.parametrize(
    "kind",
    [
        "x float",
        "x int",
        _with_x(Annotated[float, Field(ge=20, le=100)]),
        _with_x(int | float),
        _number(),
        _number(minimum=20, maximum=100),
        _number(type=["integer", "boolean"]),
        _number(type=None, anyOf=[{"type": "number"}, {"type": "array"}]) | {"title": "choice"},
        _SHARED_NUMBER,
    ],
)
def test_a_number_must_be_finite(kind: Any, written: str) -> None:
    if isinstance(kind, dict):
        kind = {**kind, "properties": {"x": {k: v for k, v in kind["properties"]["x"].items() if v is not None}}}
    with pytest.raises(Mismatch) as refused:
        schema_of(kind).read(f'{{"x": {written}}}')
    assert refused.value.problems[0].startswith("x")


@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        (list[float], "[1, %s]"),
        (dict[str, list[float]], '{"a": [%s]}'),
        (dict[str, tuple[str, float]], '{"a": ["b", %s]}'),
        ({"type": "array", "items": {"type": "number"}}, "[1, %s]"),
        ({"type": "object", "additionalProperties": {"items": {"type": "integer"}}}, '{"a": [%s]}'),
    ],
)
def test_a_number_within_another_value_must_be_finite(kind: Any, inner: str) -> None:
    for written in ("NaN", "-Infinity", "1e999"):
        with pytest.raises(Mismatch, match=r"finite number|is expected, not -?(nan|inf)"):
            schema_of(kind).read(inner % written)


@pytest.mark.parametrize("written", ["NaN", '"NaN"', '"nan"'])
@pytest.mark.parametrize(
    "kind",
    [
        "x float|null",
        _with_x(int | None),
        _with_x(Decimal | None),
        _with_x(date | None),
        _with_x(Literal["a", "b"] | None),
        _with_x(Annotated[float, Field(ge=0)] | None),
        _number(type=["number", "null"], minimum=0),
        _number() | {"properties": {"x": {"anyOf": [{"type": "null"}, {"type": "number"}]}}},
        _number() | {"properties": {"x": {"enum": [1, None]}}},
    ],
)
def test_nan_is_null_where_null_is_allowed(kind: Any, written: str) -> None:
    read = schema_of(kind).read(f'{{"x": {written}}}')
    assert (read if isinstance(read, dict) else plain(read)) == {"x": None}


def test_nan_is_null_and_infinity_stays_where_a_json_schema_does_not_name_the_type() -> None:
    schema = schema_of({"type": "object", "properties": {"x": {}, "y": {"minimum": 1}}})
    read = schema.read('{"x": [NaN, {"a": Infinity}], "y": NaN}')
    assert read == {"x": [None, {"a": float("inf")}], "y": None}


def test_nan_counts_as_left_out_where_there_is_a_default() -> None:
    @dataclass
    class Rated:
        score: float = 0.5
        stars: int = 3

    assert schema_of(Rated).read('{"score": NaN, "stars": NaN}') == Rated()


class _Endless(BaseModel):
    model_config = ConfigDict(allow_inf_nan=True)

    x: float


@pytest.mark.parametrize(
    "kind",
    [
        make_dataclass("Bound", [("x", float, float("inf"))]),
        make_dataclass("MaybeBound", [("x", float | None, float("-inf"))]),
        _with_x(Annotated[float, Field(allow_inf_nan=True)]),
        _Endless,
        TypeAdapter(dict[str, float], config=ConfigDict(allow_inf_nan=True)),
    ],
)
def test_infinity_is_read_where_the_type_or_its_default_allows_it(kind: Any) -> None:
    assert plain(schema_of(kind).read('{"x": Infinity}')) == {"x": float("inf")}


def test_the_configuration_of_an_adapter_counts() -> None:
    schema = schema_of(TypeAdapter(list[float], config=ConfigDict(strict=True)))
    assert schema.read("[2]") == [2.0]
    with pytest.raises(Mismatch, match="valid number"):
        schema.read('["2"]')
