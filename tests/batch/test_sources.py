"""Where rows are read: cursors, generators, and sources that hold fewer rows than they say."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest
from answered_rows import Numbered, answers
from service import Answer, Service, completion, refused

from wandb_inference_magic import InferenceError


def test_rows_of_a_database_cursor_are_read_in_the_thread_that_made_it(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        database.execute("create table reviews (text)")
        database.executemany("insert into reviews values (?)", [(str(number),) for number in range(50)])
        cursor = (dict(row) for row in database.execute("select text from reviews"))
        assert None not in answers(api.map_prompts(cursor, "{{ text }}", concurrency=8))
        plain = database.execute("select text from reviews limit 20")
        plain.row_factory = None
        assert len(api.map_prompts(plain, "{{ text }}", concurrency=8)) == 20
        assert len(service.chats) == 50 + 20 - 20


def test_rows_of_a_generator_are_read_in_the_calling_thread(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    threads: set[int] = set()

    def rows() -> Any:
        for number in range(40):
            threads.add(threading.get_ident())
            yield {"n": number}

    api.map_prompts(rows(), "{{ n }}", concurrency=8)
    assert threads == {threading.get_ident()}


def test_a_row_of_a_generator_is_sent_before_the_next_one_is_read(api: ModuleType, service: Service) -> None:
    """The next row may take long to come, for example from a queue."""
    arrived = threading.Semaphore(0)

    def answer(given: Answer) -> None:
        arrived.release()
        completion("Yes.")(given)

    service.always = answer

    def rows() -> Any:
        for number in range(5):
            yield {"n": number}
            assert arrived.acquire(timeout=20)

    assert api.map_prompts(rows(), "{{ n }}", concurrency=8, cache=False)["reply"].tolist() == ["Yes."] * 5


class Dataset:
    """Rows that are read one by one, such as those of a file, with a length that may be wrong."""

    def __init__(self, ends: Callable[[], None]) -> None:
        self._ends = ends

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Any:
        yield from ({"t": f"row {number}"} for number in range(6))
        self._ends()


def test_a_source_may_hold_fewer_rows_than_it_says(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")
    assert answers(api.map_prompts(Dataset(lambda: None), "{{ t }}", cache=False)) == ["yes"] * 6


@pytest.mark.parametrize(
    "failure",
    [OSError("the disk is gone"), KeyboardInterrupt(), BaseException("a panic in Rust")],
    ids=["failure", "interrupt", "panic"],
)
def test_what_was_paid_for_is_in_the_error_if_a_row_cannot_be_read(
    api: ModuleType, service: Service, failure: BaseException
) -> None:
    def ends() -> None:
        raise failure

    service.always = completion("yes")
    with pytest.raises((InferenceError, KeyboardInterrupt)) as raised:
        api.map_prompts(Dataset(ends), "{{ t }}", cache=False, concurrency=1)
    partial = getattr(raised.value, "partial", None)
    assert partial is not None
    assert answers(partial)[:5] == ["yes"] * 5
    assert 6 <= len(partial) <= 7


class Unread(Mapping[str, Any]):
    """A row whose value is read when it is used, from a file that is gone."""

    def __iter__(self) -> Any:
        return iter("t")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, name: str) -> Any:
        raise OSError("the file is gone")


@pytest.mark.parametrize("prompt", ["{{ t }}", "{{ row.t }}", "{{ row }}"])
def test_a_row_whose_values_cannot_be_read_ends_the_run_with_what_was_paid_for(
    api: ModuleType, service: Service, prompt: str
) -> None:
    service.always = completion("yes")
    with pytest.raises(InferenceError, match=r"Row 3 cannot be read: .* raised OSError: the file is gone") as raised:
        api.map_prompts([{"t": 1}, {"t": 2}, Unread(), {"t": 4}], prompt, cache=False, concurrency=1)
    assert raised.value.partial["t"].tolist() == [1, 2]
    assert answers(raised.value.partial) == ["yes"] * 2


def test_a_refused_run_says_that_the_first_row_of_an_iterator_is_gone(api: ModuleType, service: Service) -> None:
    texts = iter(["one", "two"])
    with pytest.raises(InferenceError, match="The first row was taken from the iterator: make a new one"):
        api.map_prompts(texts, "{{ txt }}")
    for again in (["one"], range(3)):
        with pytest.raises(InferenceError) as raised:
            api.map_prompts(again, "{{ txt }}")
        assert "iterator" not in str(raised.value)
    assert service.chats == []


def test_a_run_over_an_iterator_that_ends_early_says_that_it_must_be_made_anew(
    api: ModuleType, service: Service
) -> None:
    service.then(completion("good"))
    service.always = refused(401, "no")
    with pytest.raises(InferenceError) as raised:
        api.map_prompts(iter("abcd"), "{{ text }}", concurrency=1)
    assert "An iterator gives its rows only once: make a new one first." in str(raised.value)
    assert answers(raised.value.partial)[0] == "good"
