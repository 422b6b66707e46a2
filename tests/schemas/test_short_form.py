"""Schemas in their short form, and other texts that name a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from schema_types import NAMES, Person, Point

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.schemas.schema import Schema, read_schema, schema_of

pytestmark = pytest.mark.short

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
    # Names and separators of other scripts, and separators that an allowed value contains.
    ("मूड अच्छा|बुरा, อารมณ์ดี บวก|ลบ, cafe\u0301 int", {
        "मूड": {"type": "string", "enum": ["अच्छा", "बुरा"]},
        "อารมณ์ดี": {"type": "string", "enum": ["บวก", "ลบ"]},
        "cafe\u0301": {"type": "integer"},
    }),
    ("می\u200cخواهم بله|نه، n int", {
        "می\u200cخواهم": {"type": "string", "enum": ["بله", "نه"]}, "n": {"type": "integer"},
    }),
    ("名前、年齢：int？，気分 良い｜悪い", {
        "名前": {"type": "string"},
        "年齢": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "気分": {"type": "string", "enum": ["良い", "悪い"]},
    }),
    ("اسم؟، عمر int؟", {
        "اسم": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "عمر": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }),
    ("x “so, so”|‘int’|「b｜c」|«d»|'tis, 気分：“好，坏”｜差, tags list｜null", {
        "x": {"type": "string", "enum": ["so, so", "int", "b｜c", "d", "'tis"]},
        "気分": {"type": "string", "enum": ["好，坏", "差"]},
        "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    }),
    ("a 'so, so'|\"b|c\"|是？|don't, n int", {
        "a": {"type": "string", "enum": ["so, so", "b|c", "是？", "don't"]}, "n": {"type": "integer"},
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
        ("list of 'very good' | bad", {"type": "string", "enum": ["very good", "bad"]}, '["bad"]', ["bad"]),
        ("list of 'a | b'|\"c, d\"", {"type": "string", "enum": ["a | b", "c, d"]}, '["a | b"]', ["a | b"]),
        (
            "list of “very good”｜‘so, so’？",
            {
                "anyOf": [
                    {"type": "string", "enum": ["very good", "so, so"]},
                    {"type": "null"},
                ]
            },
            "[null]",
            [None],
        ),
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
        ("list of mood 'very good'|bad", ["mood"]),
        ("list of 評価\u3000良い｜悪い", ["評価"]),
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


def test_a_type_of_the_notebook_is_found_as_python_finds_it() -> None:
    schema = read_schema("at 型１", {"型1": Point})
    assert schema.read('{"at": {"x": 1, "y": 2}}') == {"at": Point(1, 2)}


def test_a_short_form_in_python_knows_no_types_of_the_program() -> None:
    with pytest.raises(InferenceError, match="no type 'Movie' here") as refused:
        schema_of("list of Movie")
    assert "Give the type itself: schema=list[Movie]." in refused.value.remedy


@pytest.mark.parametrize("text", ["int", "list[str]", "int | None", "Literal['a', 'b']", "label good|bad", "list"])
def test_a_text_in_python_means_what_it_means_in_a_magic(text: str) -> None:
    assert schema_of(text).json_schema == read_schema(text, {}).json_schema


def test_a_text_in_python_names_no_type_of_the_program() -> None:
    with pytest.raises(InferenceError, match=r"The choices yes\|no need the name of a field before them: label"):
        read_schema("yes|no", None)
    with pytest.raises(InferenceError, match="give the type itself, schema=Person"):
        schema_of("list[Person]")


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
        ("user-mood good|bad", "'user-mood' is not a name. Nothing was sent. Use user_mood."),
        ("e-mail home|work", "Use e_mail."),
        ("mood/tone good|bad", "Use mood_tone."),
        ("price($): float", "Use price."),
        ("मूड-स्तर अच्छा|बुरा", "Use मूड_स्तर."),
        ("n int, good｜bad", "The choices good｜bad need the name of a field before them."),
        ("caf\u00e9, cafe\u0301", "given twice"),
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


def test_calls_in_the_text_of_a_schema_are_not_run() -> None:
    called: list[int] = []
    names = {"f": lambda: called.append(1) or Person, "Person": Person}
    for text in ("f()", "list[f()]", "(f())", "[f() for _ in 'x']", "f().x", "list['f()']", "'f()'", "list['Person']"):
        with pytest.raises(InferenceError):
            read_schema(text, names)
    assert called == []


@given(st.text())
def test_any_text_is_read_as_a_schema_or_refused(text: str) -> None:
    try:
        found = read_schema(text, NAMES)
    except InferenceError:
        return
    assert isinstance(found, Schema)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("label good|badZ", "label good|bad"),
        ("ZlabelZ ZgoodZ | Zbad, Zn:Z ZintZ?Z", "label good|bad, n int?"),
        ("x 'Zso, soZ'|Z“Zb|cZ”Z", "x 'so, so'|“b|c”"),
        ("list of Zcity, tags list[Zint]Z", "list of city, tags list[int]"),
        ("level 1Z|2|Z3", "level 1|2|3"),
        ("list of ZPointZ", "list of Point"),
        ("Zname、Z年齢：Zint？", "name、年齢：int？"),
    ],
)
@pytest.mark.parametrize("one", ["\u200b", "\ufeff", "\u00ad", "\u200e", "\u200c", "\u2060"])
def test_what_is_not_seen_at_the_edges_of_words_does_not_count(one: str, text: str, same_as: str) -> None:
    written, plain = (read_schema(form, NAMES).json_schema for form in (text.replace("Z", one), same_as))
    assert written == plain


def test_what_is_not_seen_within_words_counts() -> None:
    schema = read_schema("نام\u200cها می\u200cخواهم|so\u00adso", NAMES).json_schema
    assert schema["properties"] == {"نام\u200cها": {"type": "string", "enum": ["می\u200cخواهم", "so\u00adso"]}}
    with pytest.raises(InferenceError, match=r"'la\\xadbel' is not a name. Nothing was sent. Use label\."):
        read_schema("la\u00adbel a|b", NAMES)
