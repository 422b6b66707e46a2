"""How answers are checked, and how their mismatches are reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import core_schema
from schema_types import FORMS, NAMES, Good, Movie, Owner
from typing_extensions import TypedDict

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.schemas.misread import lost_fields, misfits, misread_values
from wandb_inference_magic.schemas.schema import Mismatch, schema_of

pytestmark = pytest.mark.short

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
    ({"type": "array", "minItems": 2}, [1, 2], True),
    ({"type": "array", "minItems": 2}, [1], False),
    ({"type": "array", "maxItems": 1}, [1, 2], False),
    ({"type": "array", "uniqueItems": True}, [1, 1], False),
    ({"type": "array", "contains": {"const": 1}}, [2], False),
    ({"type": "string", "minLength": 2}, "a", False),
    ({"type": "string", "maxLength": 2}, "abc", False),
    ({"type": "string", "pattern": "^[a-z]+$"}, "abc", True),
    ({"type": "string", "pattern": "^[a-z]+$"}, "ABC", False),
    ({"type": "string", "pattern": "^[a-z]+$"}, "abc\n", False),
    ({"type": "string", "pattern": "^(?=a)[a-z]+$"}, "abc\n", False),
    # A dollar in a class or after a backslash is no end.
    ({"type": "string", "pattern": "^(?=.*[A-Z])(?=.*[$@!]).{4,}$"}, "abc", False),
    ({"type": "string", "pattern": "^(?=.*[A-Z])(?=.*[$@!]).{4,}$"}, "Abc$", True),
    ({"type": "string", "pattern": r"^(?!0)[^\]$]\$$"}, "1$", True),
    ({"type": "string", "pattern": r"^(?!0)[^\]$]\$$"}, "$$", False),
    ({"type": "string", "pattern": r"^(?!0)[]$]$"}, "]", True),
    ({"type": "string", "pattern": r"^(?!0)a\\$"}, "a\\\n", False),
    ({"type": "string", "pattern": "^2024", "format": "date"}, "2023-01-02", False),
    # As ECMA 262 writes patterns, which Python cannot read.
    ({"type": "string", "pattern": "^\\p{L}+$"}, "\u00c9t\u00e9", True),
    ({"type": "string", "pattern": "^\\p{L}+$"}, "a1", False),
    ({"type": "string", "pattern": "^(?<year>\\d{4})$"}, "2024", True),
    ({"type": "string", "pattern": "^(?<year>\\d{4})$"}, "24", False),
    # Pydantic's engine would find the beginning of a word.
    ({"type": "string", "pattern": "^\\<b\\>$"}, "<b>", True),
    ({"type": "string", "pattern": r"^[\w-\.]+@x$"}, "a-b.c@x", True),
    ({"type": "string", "pattern": r"^[\w-\.]+@x$"}, "a b@x", False),
    # Only services read these.
    ({"type": "string", "pattern": "^(?=.*\\p{Lu}).{8,}$"}, "a", True),
    ({"type": "string", "pattern": "(?<=a+)b"}, "c", True),
    # Python's search would take minutes.
    ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "b", False),
    ({"type": "number", "minimum": 0}, 0, True),
    ({"type": "number", "minimum": 0}, -0.5, False),
    ({"type": "number", "exclusiveMaximum": 1}, 1, False),
    ({"type": "number", "multipleOf": 0.1}, 0.3, True),
    ({"type": "number", "multipleOf": 0.1}, 10**400, False),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "minimum": 1, "exclusiveMinimum": True},
     1, False),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "number", "minimum": 1}, 0, False),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
     {"x1": 1}, True),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
     {"x1": "one"}, False),
    ({"type": "object", "patternProperties": {"^[$x]$": {"type": "integer"}}, "additionalProperties": False},
     {"$": 1, "x": 1}, True),
    ({"type": "object", "patternProperties": {"^[$x]$": {"type": "integer"}}, "additionalProperties": False},
     {"x\n": 1}, False),
    ({"type": "object", "not": {"required": ["a"]}}, {"a": 1}, False),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1, True),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 3, False),
    ({"$id": "https://example.org/n", "type": "object", "properties": {"a": {"$ref": "#/$defs/b"}},
      "$defs": {"b": {"type": "integer"}}}, {"a": "one"}, False),
    ({"type": "object", "properties": {"x": {"$ref": "#n"}}, "$defs": {"A": {"$anchor": "n", "type": "integer"}}},
     {"x": "one"}, False),
    ({"$anchor": "r", "type": "array", "items": {"anyOf": [{"type": "string"}, {"$ref": "#r"}]}}, [["a"], [[]]], True),
    # The values of these are values.
    ({"type": "object", "example": {"type": "cat"}, "default": {"enum": []}}, {}, True),
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


class Checked(BaseModel):
    a: int
    b: Annotated[int, BeforeValidator(int)] = 0
    d: date | None = Field(None, validation_alias=AliasChoices("d", "years"))


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
    # In a text, beside a validator, in alternatives, and under another name.
    ("a list of int", '{"a": "[1, true]"}', ["a.1: Input should be a number, not true"]),
    (Checked, '{"a": true, "b": 1, "d": "x"}', ["a: Input should be a number, not true"]),
    (Checked, '{"a": 1, "b": 1, "years": 2024}', ["years: Input should be a date in ISO form, not 2024"]),
    (dict[str, date | list[int]], '{"a": [false]}', ["a.0: Input should be a number, not false"]),
    (NAMES["shape"], '{"n": "x"}', ["n: integer is expected, not 'x'"]),
    (NAMES["shape"], "[1]", ["the answer: object is expected, not [1]"]),
]


@pytest.mark.parametrize(("kind", "answer", "expected"), PROBLEMS)
def test_each_mismatch_is_reported_on_a_line(kind: Any, answer: str, expected: list[str]) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(kind).read(answer)
    assert all(line in str(found.value) for line in expected)


class OfYear:
    """Its JSON schema is its own, and a function reads it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        made = core_schema.no_info_plain_validator_function(lambda value: date(int(value), 1, 1))
        return core_schema.chain_schema([made, core_schema.date_schema()])

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        return {"type": "string", "format": "date"}


DATE = WithJsonSchema({"type": "string", "format": "date"})


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (Annotated[int, BeforeValidator(int)], "true", 1),
        (Annotated[date, BeforeValidator(lambda year: f"{year}-01-01")], "2024", date(2024, 1, 1)),
        (Annotated[date, BeforeValidator(lambda year: f"{year}-01-01"), DATE], "2024", date(2024, 1, 1)),
        (list[Annotated[Any, PlainValidator(str), DATE] | None], "[2024]", ["2024"]),
        (OfYear, "2024", date(2024, 1, 1)),
    ],
)
def test_what_a_validator_reads_first_is_its_own(kind: Any, answer: str, read: Any) -> None:
    assert schema_of(TypedDict("WithX", {"x": kind})).read(f'{{"x": {answer}}}') == {"x": read}


DAY: dict[str, Any] = {"type": "object", "properties": {"at": {"type": "string", "format": "date"}}}


@pytest.mark.parametrize(
    ("part", "more"),
    [
        # As pydantic 2.7 writes the reference of a field with a description.
        ({"allOf": [{"$ref": "#/$defs/Day"}], "description": "x"}, {"$defs": {"Day": DAY}}),
        ({"$ref": "#/$defs/Day", "description": "x"}, {"$defs": {"Day": {"allOf": [{"$ref": "#/$defs/D"}]}, "D": DAY}}),
        ({"$ref": "#/definitions/a~1b%20c"}, {"definitions": {"a/b c": DAY}}),
        ({"anyOf": [{"$ref": "#/properties/other"}, {"type": "null"}]}, {}),
    ],
)
def test_a_value_is_checked_by_what_a_reference_leads_to(part: Any, more: Any) -> None:
    schema = {"properties": {"d": part, "other": DAY}, **more}
    found = misfits(schema, {"d": {"at": 2024, "x": 1}}, misread_values)
    assert found == ["d.at: Input should be a date in ISO form, not 2024"]
    assert misfits(schema, {"d": {"At": ""}}, lost_fields) == ["d: it has 'At' in place of 'at'"]


def test_alternatives_within_alternatives_are_walked_through_once() -> None:
    """As the operands of a formula are: three kinds of object, each with one of them in it."""
    kinds = ("sum", "product", "number")
    child = {"anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}
    defs = {kind: {"type": "object", "properties": {kind: DAY, "child": child}} for kind in kinds}
    value: Any = {"number": {"at": 2024}}
    for depth in range(30):
        value = {kinds[depth % 3]: {"at": "2024-01-02"}, "child": value}
    visits = []

    def visit(_: Any, __: Any, where: str, ___: Any) -> Iterator[str]:
        visits.append(where)
        return iter(())

    assert misfits(child | {"$defs": defs}, value, visit) == []
    assert len(visits) < 30 * 30


ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "lines": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/line"}},
        "pay": {"anyOf": [{"$ref": "#/$defs/card"}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"]},
        "any": {"anyOf": [{"type": "array", "items": {"$ref": "#/properties/same"}}]},
        "same": {"$ref": "#/properties/kind"},
        "code": {"anyOf": [{"type": "string", "pattern": '^[A-Z]"$'}, {"type": "null"}]},
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
        ({"name": "A", "lines": [{"n": 1}] * 2, "code": "A"}, ["code: must match pattern ^[A-Z]\"$, not 'A'"]),
        ({"name": "A", "lines": [{"n": 1}] * 2, "kind": "c"}, ["kind: one of ['a', 'b'] is expected, not 'c'"]),
    ],
)
def test_every_mismatch_is_reported_with_its_path(answer: Any, problems: list[str]) -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(ORDER).read(json.dumps(answer))
    assert sorted(found.value.problems) == sorted(problems)


def test_only_the_first_of_many_mismatches_are_listed() -> None:
    with pytest.raises(Mismatch) as found:
        schema_of(list[int]).read(json.dumps(["x"] * 30))
    assert len(found.value.problems) == 11
    assert found.value.problems[-1] == "and 20 more"


def test_an_answer_that_is_nested_too_deeply_is_a_mismatch() -> None:
    deep = {"type": "array", "items": {"$ref": "#"}}
    for kind in (list[Any], deep):
        for answer in ("[" * 3000, "[" * 900 + "]" * 900, "[" * 30_000 + "]" * 30_000):
            try:
                schema_of(kind).read(answer)
            except Mismatch as mismatch:
                assert mismatch.problems


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "word"}, "type: one of ['array', 'boolean',"),
        ({"type": []}, "type: must contain at least 1 items, not []"),
        ({"type": ["string", "text"]}, "type.1: one of ['array', 'boolean',"),
        ({"type": "object", "properties": 3}, "This dict is not a JSON schema: properties: object is expected, not 3."),
        ({"type": "object", "properties": {"x": 5}}, "properties.x: object or boolean is expected, not 5."),
        ({"type": "object", "properties": {"x": {"enum": []}}}, "properties.x.enum: must contain at least 1 items"),
        ({"type": "array", "items": [{"multipleOf": 0}]}, "items.0.multipleOf: must be bigger than 0, not 0."),
        ({"anyOf": []}, "anyOf: must contain at least 1 items, not []"),
        ({"type": "integer", "exclusiveMinimum": True}, "exclusiveMinimum: number is expected, not True."),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "exclusiveMinimum": 5},
         "exclusiveMinimum: boolean is expected, not 5."),
        ({"type": "string", "pattern": 5}, "pattern: string is expected, not 5."),
        ({"type": "string", "pattern": "("}, "the pattern ( is not a regular expression: "),
        ({"type": "string", "pattern": "(?=a)[$@"}, "is not a regular expression: unterminated character set"),
        ({"type": "object", "patternProperties": {"\\p{L}": {}}}, "Python cannot read a pattern in patternProperties"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "a $ref in it leads back to itself."),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}},
         "a $ref in it leads back to itself."),
        ({"type": "array", "items": {"$ref": "#none"}}, "a $ref in it leads to nothing: none."),
        ({"type": "number", "minimum": float("nan")}, "This dict is not a JSON schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "a $ref in it leads to nothing"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "which is not fetched"),
        ({"type": "array", "items": {"$ref": "file:///etc/hostname"}}, "which is not fetched"),
        ({"type": "array", "items": {"$ref": "other.json#/a"}}, "which is not fetched"),
        ({"$id": "ftp://example.org/a/b", "type": "array", "items": {"$ref": "c"}}, "which is not fetched"),
    ],
)  # fmt: skip
def test_an_invalid_json_schema_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(InferenceError) as refused:
        schema_of(schema)
    assert refused.value.cause == "option"
    assert why in refused.value.why


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_a_value_that_has_no_text_is_named_by_its_type() -> None:
    kind = Annotated[int, BeforeValidator(lambda value: value if value else Unreadable())]
    with pytest.raises(Mismatch) as refused:
        schema_of(TypedDict("WithX", {"x": kind})).read('{"x": 0}')
    assert refused.value.problems[0].endswith(", not a value of type Unreadable")
