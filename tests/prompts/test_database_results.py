"""Rows of databases and results of queries in prompts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from prompt_values import text_of

from wandb_inference_magic.prompts.values import json_of

pytestmark = pytest.mark.short


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("'Bo' AS name, 3 AS pay", '{"name": "Bo", "pay": 3}'),
        ("'pay' AS name, 'name' AS pay", '{"name": "pay", "pay": "name"}'),
        # By its name, SQLite would find the first one.
        ("1 AS id, 2 AS ID", '{"id": 1, "ID": 2}'),
        ("1 AS id, 2 AS id, 3 AS id", '{"id": 1, "id_2": 2, "id_3": 3}'),
    ],
)
def test_a_row_of_a_database_is_written_with_its_columns(columns: str, text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        row = database.execute(f"SELECT {columns}").fetchone()
    assert text_of(row) == text
    assert text_of([row]) == f"[{text}]"


class ResultSet:
    """A result of SQL as jupysql has it. Its text has the first row only."""

    def __init__(self, keys: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self._keys, self._rows = keys, rows

    @property
    def keys(self) -> Sequence[str]:
        return self._keys

    def __iter__(self) -> Iterator[Sequence[object]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        return f"{self._keys}\n{self._rows[:1]}"

    _repr_html_ = __str__


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ResultSet(["a", "b"], [(1, 2), (3, None)]), '[{"a": 1, "b": 2}, {"a": 3, "b": null}]'),
        ([ResultSet(["a"], [(1,), (2,)])], '[[{"a": 1}, {"a": 2}]]'),
        (ResultSet(["a", "a"], [(1, 2), (3, 4)]), '[["a", "a"], [1, 2], [3, 4]]'),
        (ResultSet(["a"], []), "[]"),
        (ResultSet(["a", "b"], "xyz"), '["x", "y", "z"]'),
    ],
)
def test_all_rows_of_a_result_of_sql_are_sent(result: object, text: str) -> None:
    assert text_of(result) == json_of(result) == text


def test_rows_of_a_result_of_sql_that_are_left_out_are_counted() -> None:
    assert text_of(ResultSet(["a"], [(1,)] * 3000)).endswith('"[... 2,000 more left out ...]"\n]')
