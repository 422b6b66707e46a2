"""JSON values within a text."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from wandb_inference_magic.messages.extract import json_in
from wandb_inference_magic.text import (
    DoubledKeys,
    json_as_read,
    json_values,
    read_json_text,
    read_loose_json,
    with_texts,
)

ROW = '{"a": 1}'


@pytest.mark.short
@pytest.mark.parametrize(
    ("text", "values"),
    [
        (ROW, [{"a": 1}]),
        (f"{ROW}{ROW}", [{"a": 1}] * 2),
        (f"See [1]: {ROW}. Or [2, 3]?", [[1], {"a": 1}, [2, 3]]),
        (f"Not {{this}}, not [that], but {ROW}!", [{"a": 1}]),
        (f"[Note: {ROW}]", [{"a": 1}]),
        (f'{{"a": }} Sorry:\n{ROW}', [{"a": 1}]),
        (f'{{"a": "b\n{ROW}', [{"a": 1}]),
        (f'{{"a": "b{ROW}', [{"a": 1}]),
        ('{"a": "b{\\"a\\": 1} [2]"}', [{"a": 'b{"a": 1} [2]'}]),
        # What is inside a value that breaks off is a part of an answer.
        (f'[{ROW}, {ROW}, {{"a', []),
        (f'{{"rows": [{ROW}], }}', []),
        (f"{ROW}\n[{ROW}, ", [{"a": 1}]),
        # Comments and trailing commas are not JSON.
        ('{"a": 1, // one\n}', []),
        (f"{'[' * 200}{']' * 200} {ROW}", [{"a": 1}]),
        ("1 true null", []),
    ],
)
def test_complete_values_are_found_in_order(text: str, values: list[Any]) -> None:
    assert list(json_values(text)) == values


@pytest.mark.short
@pytest.mark.parametrize(
    ("text", "earlier"),
    [
        ('{"a": 1, "a": [2]}', [("a", 1)]),
        ('{"a": 1, "b": 2, "a": 3, "a": null, "b": 2}', [("a", 1), ("a", 3)]),
        ('{"a": NaN, "a": NaN, "b": [NaN], "b": [NaN]}', None),
        ('{"a": 1, "a": 1.0}', None),
    ],
)
def test_an_object_knows_the_earlier_values_under_its_keys(text: str, earlier: list[tuple[str, Any]] | None) -> None:
    found = [read_json_text(text), *json_values(text), read_json_text(json_as_read(read_json_text(f"[{text}]")))[0]]
    found += [with_texts(found[0], str.upper)]
    for one in found:
        assert isinstance(one, DoubledKeys) == (earlier is not None)
        assert [(name.lower(), value) for name, value in getattr(one, "earlier", ())] == (earlier or [])
    assert json.dumps(found[0]) == json.dumps(dict(found[0]))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
INNER = st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=5)
PROSE = st.text(st.characters(exclude_characters="[]{}"))


@pytest.mark.short
@given(st.lists(st.tuples(PROSE, st.lists(INNER) | st.dictionaries(st.text(), INNER))), PROSE)
def test_every_value_between_other_texts_is_found(parts: list[tuple[str, Any]], end: str) -> None:
    text = "".join(f"{prose}{json.dumps(value)}" for prose, value in parts) + end
    assert list(json_values(text)) == [value for _, value in parts]


@pytest.mark.short
def test_an_earlier_value_that_is_nested_too_deeply_is_not_read() -> None:
    text = f'{{"a": {"[" * 200}{"]" * 200}, "a": 1}}'
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json_text(text)
    assert list(json_values(f"{text} {ROW}")) == [{"a": 1}]


@pytest.mark.short
@given(st.text('[]{}",:1 \\\na', max_size=60))
def test_any_text_is_searched(text: str) -> None:
    for value in json_values(text):
        assert isinstance(value, dict | list)


@pytest.mark.parametrize(
    "piece", ["[", "[0,", '{"a":', '["', '["\n', "{1", '["a" ', '["[" x', '["\\"[', '",[0,"', "{}", "[ ", "`[`"]
)
def test_the_search_takes_linear_time(piece: str) -> None:
    """With quadratic time this test would take minutes."""
    for begin in ("", '["'):
        assert sum(1 for _ in json_values(begin + piece * (300_000 // len(piece)))) >= 0


@pytest.mark.parametrize("piece", ["/*", "'", '"', "\\", "\\x0", "-", "1", "a:", "//", "[", "{1:", "'a',", "/**/"])
def test_what_is_nearly_json_is_read_in_linear_time(piece: str) -> None:
    with suppress(ValueError):
        read_loose_json("[" + piece * (199_000 // len(piece)))


# What models write in place of JSON, and what it means; None where it could mean several things.
LOOSE = [
    ("{'a': 1, 'b': [True, None, false,],}", {"a": 1, "b": [True, None, False]}),
    ('Sure:\n```json\n{\n  "a": 1, // one\n  "u": "https://x/y",\n}\n```', {"a": 1, "u": "https://x/y"}),
    ("{\"a\": /* one */ 1, b: 'c'}", {"a": 1, "b": "c"}),
    (r"{'a': 'don\'t', 'b': 'c\/d', 'e': '$\frac{1}{2}$\xa0'}", {"a": "don't", "b": "c/d", "e": "$\\frac{1}{2}$\xa0"}),
    (r'{"a": "b\\/c",}', {"a": r"b\/c"}),
    ("{'a': \"it's\", 'b': 'the \"c\"'}", {"a": "it's", "b": 'the "c"'}),
    ("{'a': '\\ud83d\\ude00'}", {"a": "\U0001f600"}),
    ("{'a': true, 'b': 1e2, 'c': -2.5}", {"a": True, "b": 100.0, "c": -2.5}),
    ('{"a": .5, "b": +5, "c": -.5e1, "d": 2.}', {"a": 0.5, "b": 5, "c": -5.0, "d": 2.0}),
    ('{"a": 1 +2}', None),
    ('{"a": 1..5}', None),
    ('{"a": .}', None),
    ('{名前: "a", नाम: 1}', {"名前": "a", "नाम": 1}),
    ('{"姓名"："a"，"b"：　４２，}', {"姓名": "a", "b": 42}),
    ('{“姓名”：“say "hi"，\\n”，‘b’: “c：d\\\\”}', {"姓名": 'say "hi"，\n', "b": "c：d\\"}),
    ("{user-mood: 1}", None),
    ("{“a”: “b “c” d”}", None),
    ("{‘a’: ‘don’t’}", None),
    ("{“a”“b”}", None),
    ('["a" "b"]', None),
    ('["a" // one\n "b"]', None),
    ("{'a', 'b'}", None),
    ("[{1}]", None),
    ("{'a': 2j}", None),
    ('{"a": 1 + 2}', None),
    ('{"a": 2020-01-02,}', None),
    ('{"a": 007}', None),
    ('{"a": b}', None),
    ("[1,, 2]", None),
    ("{'a': b'c'}", None),
    ("{'a': 1} or {'b': 2}", None),
    ("{'a': " + "-" * 50_000 + "1}", None),
    ("[" * 500, None),
]


@pytest.mark.short
@pytest.mark.parametrize(("text", "value"), LOOSE, ids=range(len(LOOSE)))
def test_what_is_nearly_json_is_read_if_it_has_one_meaning(text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(ValueError, match="line 1 column"):
            json_in(text)
    else:
        assert json_in(text) == value


@pytest.mark.short
@given(st.lists(INNER, min_size=1) | st.dictionaries(st.text(), INNER, min_size=1))
def test_a_value_in_pythons_form_is_read(value: Any) -> None:
    if "inf" not in repr(value):
        assert read_loose_json(repr(value)) == value
