"""JSON values within a text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from wandb_inference_magic.text import json_values

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


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
INNER = st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=5)
PROSE = st.text(st.characters(exclude_characters="[]{}"))


@pytest.mark.short
@given(st.lists(st.tuples(PROSE, st.lists(INNER) | st.dictionaries(st.text(), INNER))), PROSE)
def test_every_value_between_other_texts_is_found(parts: list[tuple[str, Any]], end: str) -> None:
    text = "".join(f"{prose}{json.dumps(value)}" for prose, value in parts) + end
    assert list(json_values(text)) == [value for _, value in parts]


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
