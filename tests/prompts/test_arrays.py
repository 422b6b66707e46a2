"""Arrays in prompts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from prompt_values import text_and_peak_of, text_of
from service import Service, completion

pytestmark = pytest.mark.short

ARRAYS: list[tuple[Any, list[str]]] = [
    (np.arange(6).reshape(2, 3), ["array of shape (2, 3), int64; min 0, mean 2.5, max 5", "[[0 1 2]\n [3 4 5]]"]),
    (np.array([1.0, np.nan, np.inf]), ["min 1, mean 1, max 1; 2 not finite or masked"]),
    (np.array([np.nan]), ["no number in it"]),
    (np.zeros((0, 3)), ["shape (0, 3)"]),
    (np.array(["a", "b"]), ["shape (2,)", "['a' 'b']"]),
    (np.array([[1, None]], dtype=object), ["object", "[[1 None]]"]),
    (np.array([(1, "x")], dtype=[("n", int), ("s", "U1")]), ["shape (1,)", "[(1, 'x')]"]),
    (np.ma.masked_array([1, 2], mask=[True, False]), ["min 2", "1 not finite or masked"]),
    (np.ma.array(np.array(["2024-01-01", "NaT"], "M8[ns]"), mask=[0, 1]), ["['2024-01-01T00:00:00.000000000' --]"]),
    (np.array([True, False]), ["bool", "mean 0.5"]),
    (np.array(5), ["5"]),
    (np.zeros((1000, 1000)), ["shape (1000, 1000)", "..."]),
    (np.array([1 + 2j]), ["complex128"]),
    (np.ones((2,) * 16), ["shape (2, 2,", "min 1"]),
]


@pytest.mark.parametrize(("array", "expected"), ARRAYS)
def test_an_array_shows_shape_type_and_range(array: Any, expected: list[str]) -> None:
    text = text_of(array)
    assert all(fragment in text for fragment in expected), text
    assert len(text) < 1500


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_array() -> None:
    assert text_of(np.asmatrix([[1, 2]])) == text_of(np.array([[1, 2]]))


def test_long_texts_in_an_array_are_bounded() -> None:
    assert len(text_of(np.array(["x" * 100_000]))) < 6000


def test_the_users_print_options_of_numpy_are_not_used() -> None:
    array = np.array([1 / 3, 0.0001, np.nan])
    text = text_of(array)
    with np.printoptions(precision=2, suppress=True, threshold=2, sign="+", nanstr="-", floatmode="fixed"):
        assert text_of(array) == text
    assert "0.0001" in text


def test_a_huge_array_is_not_copied() -> None:
    array = np.zeros(6_000_000)
    text, peak = text_and_peak_of(array)
    assert text.startswith("array of shape (6000000,), float64\n[0. 0. 0. ... 0. 0. 0.]")
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"x": np.array([1, 2])}, '{"x": [1, 2]}'),
        (np.unique([1, 1, 2], return_counts=True), "[[1, 2], [2, 1]]"),
        ([np.float32([0.1, np.nan])], "[[0.1, null]]"),
        ([np.ma.masked_array([1, 2], mask=[True, False])], "[[null, 2]]"),
    ],
)
def test_an_array_of_one_dimension_within_a_container_is_a_list(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_a_long_array_within_a_container_is_cut_and_marked() -> None:
    text = text_of([np.arange(5000)])
    assert "999,\n" in text
    assert "4,000 more" in text


def test_a_row_of_an_array_is_a_list(api: ModuleType, service: Service) -> None:
    service.always = completion("ok")
    api.map_prompts(np.arange(900).reshape(1, 900), "{{ text | tojson }} {{ row[1] }} {{ row }}")
    sent = service.last.body["messages"][-1]["content"]
    assert sent.startswith("[0, 1, 2, ")
    assert '899] 1 {\n  "text": [\n    0,' in sent
    assert "array of shape" not in sent
    out = api.map_prompts([np.array([1.0, 2.0])], "{{ text }}")
    assert type(out.text[0]) is np.ndarray
    assert out.text[0].mean() == 1.5
