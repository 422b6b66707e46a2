"""Each row of a run has an answer of its own, and nothing paid for is lost: from Python, over a real socket."""

from __future__ import annotations

import copyreg
import itertools
import json
import os
import pickle
import signal
import sqlite3
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import openai
import pandas as pd
import pytest
from clocks import FastClock
from pydantic import BaseModel, Field, field_validator
from service import Answer, Service, completion, refused, usage
from tblib.pickling_support import pickle_exception, pickle_traceback

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.batch.cache import AnswerCache
from wandb_inference_magic.session import current_session


class Numbered:
    """A script: each answer is another number. The requests with the numbers in `refused` are refused."""

    def __init__(self, *refused_numbers: int) -> None:
        self._numbers = itertools.count()
        self._refused = refused_numbers
        self._lock = threading.Lock()

    def __call__(self, one: Answer) -> None:
        with self._lock:
            number = next(self._numbers)
        (refused(400, "not this one") if number in self._refused else completion(f"answer {number}"))(one)


def answers(frame: Any) -> list[Any]:
    return [None if one is None or one != one else one for one in frame["reply"].tolist()]


@pytest.mark.parametrize(
    ("message", "finish_reason", "reported"),
    [
        ({"content": "Four."}, "weird", "ended the reply with 'weird'"),
        ({"content": [{"type": "text", "text": "Four."}, {"type": "chart"}]}, "stop", "unknown form"),
    ],
    ids=["end", "part"],
)
def test_what_may_be_missing_of_an_answer_is_reported_when_it_comes_from_disk(
    api: ModuleType, service: Service, message: dict[str, Any], finish_reason: str, reported: str
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    service.always = lambda answer: answer.json({"object": "chat.completion", "choices": [choice]})
    for _ in range(2):
        with pytest.warns(InferenceWarning, match=reported):
            assert answers(api.map_prompts(["2 + 2?"], "{{ text }}")) == ["Four."]
    assert len(service.chats) == 1


# Equal rows ----------------------------------------------------------------------------------------------------


def test_equal_rows_are_asked_one_by_one_and_a_new_run_gives_each_its_own_answer(
    api: ModuleType, service: Service
) -> None:
    service.always = Numbered(17)
    rows = ["Throw a die."] * 60
    first = api.map_prompts(rows, "{{ text }}", temperature=1)
    assert len(service.chats) == 60
    assert len({one for one in answers(first) if one}) == 59
    assert first["reply_error"].notna().sum() == 1
    with pytest.warns(InferenceWarning, match="1 row was not asked again"):
        again = api.map_prompts(rows, "{{ text }}", temperature=1)
    assert len(service.chats) == 60
    assert answers(again) == answers(first)
    assert again["reply_error"].tolist() == first["reply_error"].tolist()


def test_more_equal_rows_than_before_keep_the_answers_there_are(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    first = api.map_prompts(["a", "b", "a"], "{{ text }}")
    again = api.map_prompts(["a", "b", "a", "a"], "{{ text }}")
    assert answers(again)[:3] == answers(first)
    assert len(service.chats) == 4


def test_a_failure_of_an_earlier_run_is_said_to_be_one(api: ModuleType, service: Service) -> None:
    """Nothing was sent for the row, and the service may work by now."""
    service.then(completion("Yes."), refused(400, "bad row"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.map_prompts(["a", "b"], "{{ text }}", concurrency=1)
    service.always = completion("Yes.")
    with pytest.warns(InferenceWarning, match=r"1 row was not asked again.*retry_failed=True"):
        again = api.map_prompts(["a", "b"], "{{ text }}", concurrency=1)
    assert list(again.reply.isna()) == [False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.map_prompts(["a", "b"], "{{ text }}", concurrency=1, retry_failed=True)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_answer_of_blanks_is_none(api: ModuleType, service: Service, blank: str) -> None:
    service.then(completion(blank))
    found = api.map_prompts(["a"], "{{ text }}")
    assert list(found.reply.isna()) == [True]
    assert found.reply_error[0].startswith("The reply has no text")


def test_retrying_failed_equal_rows_asks_for_those_alone(api: ModuleType, service: Service) -> None:
    service.always = Numbered(1, 3)
    first = api.map_prompts(["a"] * 5, "{{ text }}", concurrency=1)
    again = api.map_prompts(["a"] * 5, "{{ text }}", concurrency=1, retry_failed=True)
    assert len(service.chats) == 7
    assert [new for old, new in zip(answers(first), answers(again), strict=True) if old] == [
        one for one in answers(first) if one
    ]
    assert None not in answers(again)


def test_distinct_asks_each_different_prompt_once(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    found = answers(api.map_prompts(["a", "b", "a", "b", "a"], "{{ text }}", distinct=True, cache=False))
    assert len(service.chats) == 2
    assert found == [found[0], found[1]] * 2 + [found[0]]
    assert found[0] != found[1]


def test_distinct_rows_share_failures_and_answers_on_disk_too(api: ModuleType, service: Service) -> None:
    service.always = Numbered(0)
    for again in (nullcontext(), pytest.warns(InferenceWarning, match="2 rows were not asked again")):
        with again:
            frame = api.map_prompts(["a", "a", "b", "b"], "{{ text }}", distinct=True, concurrency=1)
        assert answers(frame) == [None, None, "answer 1", "answer 1"]
        assert "not this one" in frame["reply_error"][0]
        assert frame["reply_error"][0] == frame["reply_error"][1]
    assert len(service.chats) == 2


def test_a_row_that_failed_with_two_models_is_one_row(api: ModuleType, service: Service) -> None:
    by_prompt = {"a": completion("fine"), "b": refused(400, "not this one")}
    service.always = lambda one: by_prompt[one.received.body["messages"][-1]["content"]](one)
    for again in (nullcontext(), pytest.warns(InferenceWarning, match="1 row was not asked again")):
        with again:
            api.map_prompts(["a", "b"], "{{ text }}", model=["test/a", "test/b"], concurrency=1)


@dataclass
class Account:
    name: str
    password: str = field(repr=False)


class Member(BaseModel):
    name: str
    password: str = Field(repr=False)


@pytest.mark.parametrize("kind", [Account, Member])
def test_a_field_that_a_class_hides_is_sent_only_if_the_prompt_names_it(
    api: ModuleType, service: Service, kind: Any
) -> None:
    rows = [kind(name="Ann", password="s3cret")]
    service.always = completion("yes")
    frame = api.map_prompts(rows, "{{ row }} {{ name }}")
    assert frame["password"].tolist() == ["s3cret"]
    assert service.last.body["messages"][-1]["content"] == '{"name": "Ann"} Ann'
    api.map_prompts(rows, "{{ password }}")
    assert service.last.body["messages"][-1]["content"] == "s3cret"


def test_what_has_rows_elsewhere_says_where(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")
    with pytest.warns(InferenceWarning, match="the job ran in the foreground"):
        job = api.map_prompts(["a"], "{{ text }}", background=True)
    with pytest.raises(InferenceError, match=r"A value of type Job has no rows\..* \.wait\(\) when it has ended"):
        api.map_prompts(job, "{{ text }}")
    found = api.evaluate([{"text": "a", "right": "yes"}], "{{ text }}", truth="right")
    with pytest.raises(InferenceError, match=r"A value of type Evaluation has no rows\..* \.rows"):
        api.map_prompts(found, "{{ text }}")


def test_distinct_uses_the_answers_of_runs_without_it(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    first = answers(api.map_prompts(["a"], "{{ text }}"))
    assert answers(api.map_prompts(["a", "a"], "{{ text }}", distinct=True)) == first * 2
    assert len(service.chats) == 1


def test_the_summary_counts_shared_answers_apart(api: ModuleType, service: Service) -> None:
    from wandb_inference_magic.batch import PreparedMap
    from wandb_inference_magic.batch.spec import BatchSpec
    from wandb_inference_magic.commands.map import summary_bundle
    from wandb_inference_magic.engine import ChatSpec
    from wandb_inference_magic.frames import read_rows
    from wandb_inference_magic.session import Command, current_session

    service.always = Numbered()
    spec = BatchSpec("{{ text }}", ChatSpec("", stream=False, thread=None), {}, 4000, distinct=True)
    mapped = PreparedMap(Command(current_session()), read_rows(["a", "a", "a", "b"]), spec).run()
    text = summary_bundle(mapped.outcome, "out")["text/plain"]
    assert "4 of 4 rows answered" in text
    assert "2 shared with equal rows" in text


# What ends early -----------------------------------------------------------------------------------------------


def test_a_run_that_stops_early_raises_with_the_frame_so_far(api: ModuleType, service: Service) -> None:
    service.then(completion("one"), completion("two"))
    service.always = refused(401, "bad key")
    with pytest.raises(InferenceError) as raised:
        api.map_prompts(list("abcd"), "{{ text }}", concurrency=1)
    assert answers(raised.value.partial) == ["one", "two", None, None]
    said = str(raised.value)
    assert "The run stopped: every other row would fail as well" in said
    assert "`partial`" in said
    assert "only missing and cut answers are asked for" in said
    again = pickle.loads(pickle.dumps(raised.value))
    assert answers(again.partial) == answers(raised.value.partial)
    service.always = completion("rest")
    asked = len(service.chats)
    assert answers(api.map_prompts(list("abcd"), "{{ text }}", concurrency=1)) == ["one", "two", "rest", "rest"]
    assert len(service.chats) == asked + 2


def test_an_error_is_pickled_where_dask_pickles_the_causes_of_all_errors(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.always = refused(401, "bad key")
    with pytest.raises(InferenceError) as raised:
        api.chat("hi")
    assert isinstance(raised.value.__cause__, openai.APIStatusError)
    # Importing Dask does so.
    monkeypatch.setitem(copyreg.dispatch_table, InferenceError, pickle_exception)
    monkeypatch.setitem(copyreg.dispatch_table, TracebackType, pickle_traceback)
    monkeypatch.delitem(copyreg.dispatch_table, openai.AuthenticationError, raising=False)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_wait_that_is_too_long_ends_the_run(api: ModuleType, service: Service) -> None:
    service.always = refused(429, "slow down", Retry_After="7200")
    with pytest.raises(InferenceError, match=r"asks to wait 2 h .*Run it again in 2 h, or choose another model"):
        api.map_prompts(list("abcdef"), "{{ text }}", concurrency=1)
    assert len(service.chats) == 1


def test_rows_that_fail_one_after_the_other_end_the_run_which_says_so(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "no")
    with pytest.raises(InferenceError, match=r"The run stopped: 10 consecutive rows failed\.") as raised:
        api.map_prompts(list("abcdefghijklmnop"), "{{ text }}", concurrency=1)
    assert (raised.value.partial["reply_error"] == "Not answered yet.").tolist() == [False] * 10 + [True] * 6
    assert len(service.chats) == 10


def test_rows_that_fail_one_after_the_other_name_their_model(api: ModuleType, service: Service) -> None:
    service.always = lambda one: (refused(400, "no") if one.received.body["model"] == "test/b" else completion("x"))(
        one
    )
    with pytest.raises(InferenceError, match=r"The run stopped: 10 consecutive rows of test/b failed\."):
        api.map_prompts(list("abcdefghijklmnop"), "{{ text }}", model=["test/a", "test/b"], concurrency=1)


@pytest.mark.parametrize("rows", [3, 30])
@pytest.mark.parametrize(
    "failure", [refused(503, "overloaded"), refused(429, "too many", Retry_After="60"), Answer.cut]
)
def test_a_run_waits_five_minutes_for_a_service_that_fails(
    api: ModuleType, service: Service, failure: Callable[[Answer], None], rows: int
) -> None:
    """The clock goes ahead by each wait. No row is given up, and afterwards few requests are in flight at first."""
    current_session().clock = clock = FastClock()
    current_session().settings.set(max_retries=1)
    in_flight, most_afterwards, lock = [0], [0, 0, 0], threading.Lock()

    def answer(one: Answer) -> None:
        if clock.time < 400:
            failure(one)
            return
        with lock:
            in_flight[0] += 1
            most_afterwards.append(in_flight[0])
        completion("good")(one)
        with lock:
            in_flight[0] -= 1

    service.always = answer
    frame = api.map_prompts([f"row {number}" for number in range(rows)], "{{ text }}", concurrency=8, cache=False)
    assert answers(frame) == ["good"] * rows
    assert most_afterwards[3] == 1
    assert len(service.chats) < rows + 40


def test_a_service_that_does_not_return_is_given_up_in_the_end(api: ModuleType, service: Service) -> None:
    current_session().clock = clock = FastClock()
    service.always = refused(503, "overloaded")
    with pytest.raises(InferenceError, match="overloaded"):
        api.map_prompts(list("abcdefghijklmno"), "{{ text }}", concurrency=2, cache=False)
    assert 900 < sum(clock.slept) < 1300


def test_without_a_cache_a_run_that_stops_does_not_promise_to_continue(api: ModuleType, service: Service) -> None:
    service.always = refused(401, "bad key")
    with pytest.raises(InferenceError) as raised:
        api.map_prompts(list("abcd"), "{{ text }}", concurrency=1, cache=False)
    assert "only missing and cut" not in str(raised.value)
    assert "No answers were kept on disk" in str(raised.value)


def test_a_run_that_stops_after_the_disk_was_full_says_what_is_asked_again(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, puts = AnswerCache.put, itertools.count()

    def full(cache: AnswerCache, answers: Any) -> None:
        if next(puts):
            raise OSError(ENOSPC, "No space left on device")
        put(cache, answers)

    monkeypatch.setattr(AnswerCache, "put", full)
    service.then(completion("One."), completion("Two."), refused(401, "bad key"))
    with (
        pytest.warns(InferenceWarning, match="no longer kept on disk") as said,
        pytest.raises(InferenceError) as raised,
    ):
        api.map_prompts(list("abcd"), "{{ text }}", concurrency=1)
    assert len(said) == 1
    assert "Not all answers were kept on disk: if you run it again, it asks for the rows of the others" in str(
        raised.value
    )
    assert raised.value.partial.reply.tolist()[:2] == ["One.", "Two."]


@pytest.mark.parametrize(
    ("message", "finish", "why"),
    [
        ({"content": None, "refusal": "I can't help with that."}, "stop", "The model refused to answer."),
        ({"content": ""}, "content_filter", "the service's content filter withheld it"),
        ({"content": "I "}, "content_filter", "cut by the service's content filter"),
    ],
)
def test_rows_that_the_model_refuses_do_not_end_a_run_with_a_schema(
    api: ModuleType, service: Service, message: dict[str, Any], finish: str, why: str
) -> None:
    """As many in a row as end a run for other reasons: a frame may be sorted by its topics."""

    def answer(one: Answer) -> None:
        is_refused = "bad" in one.received.body["messages"][-1]["content"]
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        one.json({"choices": [choice], "model": "m", "usage": usage(3, 2)}) if is_refused else completion('{"n": 1}')(
            one
        )

    service.always = answer
    rows = [*["bad"] * 12, "good"]
    out = api.map_prompts(rows, "{{ text }}", schema="n int", repair=False, concurrency=1, cache=False)
    assert out.n.tolist()[-1] == 1
    assert out.n.isna().sum() == 12
    assert why in out.reply_error[0]


def test_an_interrupted_map_has_the_frame_so_far(api: ModuleType, service: Service) -> None:
    service.always = Numbered()

    def rows() -> Any:
        yield from ("a", "b")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(rows(), "{{ text }}", concurrency=1, cache=False)
    assert len(raised.value.partial) == 2  # type: ignore[attr-defined]
    assert "No answers were kept on disk" in str(raised.value)


# Arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1001, 2.5, "4", True, float("nan")])
def test_a_concurrency_that_is_no_whole_number_above_zero_is_refused(
    api: ModuleType, service: Service, value: object
) -> None:
    for call in (api.map_prompts, api.evaluate):
        more = {"truth": "text", "models": ["test/model-a"]} if call is api.evaluate else {}
        with pytest.raises(InferenceError, match="concurrency is"):
            call(["a"], "{{ text }}", concurrency=value, **more)
    assert service.chats == []


@pytest.mark.parametrize("value", [-1, 2.5, "4", True])
def test_a_limit_that_is_no_number_of_rows_is_refused(api: ModuleType, service: Service, value: object) -> None:
    for call in (api.map_prompts, api.evaluate):
        more = {"truth": "text", "models": ["test/model-a"]} if call is api.evaluate else {}
        with pytest.raises(InferenceError, match="limit is"):
            call(["a"], "{{ text }}", limit=value, **more)
    assert service.chats == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"prompt": None}, "prompt"),
        ({"model": 5}, "model"),
        ({"model": ["a", None]}, "model"),
        ({"into": ""}, "into"),
        ({"into": 3}, "into"),
        ({"names": ["x"]}, "names"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused(
    api: ModuleType, service: Service, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InferenceError, match=f"{expected} is"):
        api.map_prompts(["a"], **({"prompt": "{{ text }}"} | arguments))
    assert service.chats == []


def test_numpy_numbers_are_whole_numbers_too(api: ModuleType, service: Service) -> None:
    import numpy as np

    service.always = Numbered()
    assert len(api.map_prompts(list("abc"), "{{ text }}", concurrency=np.int64(2), limit=np.int32(2))) == 2


# Where rows are read -------------------------------------------------------------------------------------------


def test_rows_of_a_database_cursor_are_read_in_the_thread_that_made_it(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    database = sqlite3.connect(":memory:")
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


def test_an_answer_whose_writing_is_interrupted_is_not_lost(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.always = Numbered()
    rows = [{"n": number} for number in range(8)]
    put, tries = AnswerCache.put, itertools.count()

    def interrupted_once(cache: AnswerCache, answers: Any) -> None:
        if next(tries) == 0:
            raise KeyboardInterrupt
        put(cache, answers)

    monkeypatch.setattr(AnswerCache, "put", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        api.map_prompts(rows, "{{ n }}", concurrency=1)
    api.map_prompts(rows, "{{ n }}", concurrency=1)
    assert len(service.chats) == 8


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


# The cache from Python -----------------------------------------------------------------------------------------


def test_a_damaged_cache_is_a_warning_and_is_begun_anew(
    api: ModuleType, service: Service, environment: dict[str, str]
) -> None:
    service.always = Numbered()
    api.map_prompts(["a"], "{{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    file.write_bytes(b"This is no database, and long enough to be seen as none." * 100)
    with pytest.warns(InferenceWarning, match="was damaged") as warned:
        api.map_prompts(["a"], "{{ text }}")
    assert warned[0].filename == __file__
    api.map_prompts(["a"], "{{ text }}")
    assert len(service.chats) == 2


def test_an_answer_that_was_cut_is_marked_and_asked_for_again(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": "half an"}
        one.json({"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    service.always = cut
    for times in (1, 2):
        frame = api.map_prompts(["a"], "{{ text }}")
        assert answers(frame) == ["half an"]
        assert "cut" in frame["reply_error"][0]
        assert len(service.chats) == times


def test_a_schema_with_equal_rows_gives_each_row_its_own_values(api: ModuleType, service: Service) -> None:
    numbers = itertools.count()
    service.always = lambda one: completion(json.dumps({"n": f"{next(numbers)}"}))(one)
    first = api.map_prompts(["a"] * 6, "{{ text }}", schema="n", concurrency=1)
    assert sorted(first["n"]) == list("012345")
    assert api.map_prompts(["a"] * 6, "{{ text }}", schema="n")["n"].tolist() == first["n"].tolist()
    assert len(service.chats) == 6


def test_columns_that_are_called_like_a_function_of_python_are_columns(api: ModuleType, service: Service) -> None:
    rows = [{"id": 7, "input": "hello", "type": "cat", "max": 3, "range": "far"}]
    api.map_prompts(rows, "{{ id }} {{ input }} {{ type }} {{ max }} {{ range }}")
    assert service.last.body["messages"][-1]["content"] == "7 hello cat 3 far"


def test_an_interrupt_while_a_repair_waits_is_no_failure_for_good(api: ModuleType, service: Service) -> None:
    others, end = threading.Semaphore(0), threading.Event()

    def answer(one: Answer) -> None:
        if "row 0" in str(one.received.body["messages"][0]["content"]):
            completion('{"label": 7}')(one)
            return
        others.release()
        end.wait(60)
        completion('{"label": "good"}')(one)

    def interrupt() -> None:
        # Two others have the slots by now, so that the repair of the first row waits.
        for _ in range(2):
            others.acquire(timeout=60)
        os.kill(os.getpid(), signal.SIGINT)

    service.always = answer
    rows = [f"row {number}" for number in range(6)]
    stopping = threading.Thread(target=interrupt)
    stopping.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            api.map_prompts(rows, "{{ text }}", schema="label good|bad", concurrency=2)
    finally:
        end.set()
        stopping.join()
    service.always = completion('{"label": "bad"}')
    assert api.map_prompts(rows, "{{ text }}", schema="label good|bad")["label"].tolist()[0] == "bad"


def test_an_address_that_was_not_found_is_asked_again(api: ModuleType, service: Service) -> None:
    service.then(*[completion("yes")] * 4)
    service.always = refused(404, "gone for a while")
    texts = list("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(InferenceError):
        api.map_prompts(texts, "{{ text }}", concurrency=1)
    service.always = completion("yes")
    assert answers(api.map_prompts(texts, "{{ text }}")) == ["yes"] * 26


def test_a_validator_that_leaves_ends_one_row(api: ModuleType, service: Service) -> None:

    class Label(BaseModel):
        label: str

        @field_validator("label")
        @classmethod
        def check(cls, value: str) -> str:
            if value == "b":
                raise SystemExit(2)
            return value

    def echo(one: Answer) -> None:
        completion(json.dumps({"label": one.received.body["messages"][-1]["content"][0]}))(one)

    service.always = echo
    out = api.map_prompts(list("abc"), "{{ text }}", schema=Label)
    assert out["label"].tolist()[0] == "a"
    assert out["label"].tolist()[2] == "c"
    assert "A validator of the schema failed. It raised SystemExit: 2." in out["reply_error"].tolist()[1]


def numbers(check: Callable[[int], int]) -> type[BaseModel]:
    """Return a model whose field `n` is checked by a function."""

    class Number(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def checked(cls, value: int) -> int:
            return check(value)

    return Number


@pytest.mark.parametrize("error", [KeyError, ZeroDivisionError, SystemExit])
def test_a_validator_that_fails_on_one_answer_loses_none(
    api: ModuleType, service: Service, error: type[BaseException]
) -> None:
    service.always = lambda one: completion(json.dumps({"n": int(one.received.body["messages"][-1]["content"])}))(one)

    def fails(value: int) -> int:
        if value == 2:
            raise error
        return value

    for _ in range(2):
        out = api.map_prompts([1, 2, 3], "{{ text }}", schema=numbers(fails))
        assert out["n"].fillna(0).tolist() == [1, 0, 3]
        assert f"It raised {error.__name__}" in out["reply_error"].tolist()[1]
    # What was answered is kept: with the validator corrected, nothing is asked again.
    assert api.map_prompts([1, 2, 3], "{{ text }}", schema=numbers(lambda value: value))["n"].tolist() == [1, 2, 3]
    assert len(service.chats) == 3


def test_a_cut_answer_on_which_a_validator_fails_is_not_kept(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": '{"n": 5}'}
        one.json({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    service.always = cut

    def fails(value: int) -> int:
        raise KeyError(value)

    api.map_prompts(["a"], "{{ text }}", schema=numbers(fails))
    service.always = completion('{"n": 50}')
    assert api.map_prompts(["a"], "{{ text }}", schema=numbers(lambda value: value))["n"].tolist() == [50]
    assert len(service.chats) == 2


def test_answers_that_a_stricter_validator_refuses_are_asked_for_once(api: ModuleType, service: Service) -> None:
    service.always = completion('{"n": 5}')

    def small(value: int) -> int:
        if value > 1:
            raise ValueError("too big")
        return value

    asked = []
    for number, check in enumerate((lambda value: value, small, small, lambda value: value, small)):
        has_failed_before = check is small and number > 1
        with pytest.warns(InferenceWarning, match="not asked again") if has_failed_before else nullcontext():
            out = api.map_prompts(["a", "b"], "{{ text }}", schema=numbers(check), repair=False)
        assert ("reply_error" in out) == (check is small)
        asked.append(len(service.chats))
    assert asked == [2, 4, 4, 4, 4]


def test_an_answer_that_did_not_fit_is_kept_and_read_by_the_corrected_schema(api: ModuleType, service: Service) -> None:
    service.always = completion('{"n": 5}')

    def large(value: int) -> int:
        if value < 1000:
            raise ValueError("too small")
        return value

    def odd(value: int) -> int:
        raise ValueError("of another kind")

    for check, error in ((large, "too small"), (odd, "of another kind"), (lambda value: value, "")):
        with pytest.warns(InferenceWarning, match="not asked again") if check is odd else nullcontext():
            out = api.map_prompts(["a"], "{{ text }}", schema=numbers(check), repair=False)
        assert error in out.get("reply_error", [""])[0]
        assert ("reply_text" in out) == bool(error)
        assert out.get("reply_text", ['{"n": 5}'])[0] == '{"n": 5}'
    assert out["n"].tolist() == [5]
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    ("options", "last"),
    [
        # The answer on disk is repaired: it is not asked for a second time.
        ({}, "This does not fit"),
        ({"retry_failed": True}, "a"),
    ],
)
def test_a_repair_that_was_off_is_made_of_the_answer_on_disk(
    api: ModuleType, service: Service, options: dict[str, bool], last: str
) -> None:
    service.then(completion("five"), completion('{"n": 5}'))
    out = api.map_prompts(["a"], "{{ text }}", schema="n int", repair=False)
    assert (out["n"].isna()[0], out["reply_text"][0]) == (True, "five")
    out = api.map_prompts(["a"], "{{ text }}", schema="n int", **options)
    assert out.columns.tolist() == ["text", "n"]
    assert out["n"].tolist() == [5]
    assert last in service.chats[1].body["messages"][-1]["content"]
    assert len(service.chats) == 2


def test_the_text_of_a_cut_answer_is_in_the_frame_and_is_not_read_again(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": '{"n": 5} is the answer. It'}
        one.json({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    def large(value: int) -> int:
        if value < 1000:
            raise ValueError("too small")
        return value

    service.always = cut
    for check in (large, lambda value: value):
        with pytest.warns(InferenceWarning, match="not asked again") if service.chats else nullcontext():
            out = api.map_prompts(["a", "a"], "{{ text }}", schema=numbers(check), distinct=True)
        assert out["reply_text"].tolist() == ['{"n": 5} is the answer. It'] * 2
        assert "too small, not 5" in out["reply_error"][0]
    assert len(service.chats) == 1
    found = api.evaluate([{"q": "b", "n": 7}], "{{ q }}", truth="n", schema="n 7|8")
    assert (found.rows["answer"].isna()[0], found.rows["text"][0]) == (True, '{"n": 5} is the answer. It')


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


def test_dicts_without_a_name_that_others_have_lack_its_value(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(one.received.body["messages"][-1]["content"])(one)
    frame = api.map_prompts([{"a": 1}, {"a": 2, "b": 5}, {"a": 3}], "{{ a }} {{ b or 'none' }} {{ row }}")
    assert frame["reply"].tolist() == ['1 none {"a": 1}', '2 5 {"a": 2, "b": 5}', '3 none {"a": 3}']
    found = api.evaluate([{"q": "a"}, {"q": "b", "t": "b"}], "{{ q }}", truth="t")
    assert (found.summary["right"].tolist(), found.rows["q"].tolist()) == ([1], ["b"])


def test_a_failure_of_every_row_is_not_kept(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "This service has no such option")
    rows = ["a", "b"]
    assert answers(api.map_prompts(rows, "{{ text }}")) == [None, None]
    service.always = completion("yes")
    assert answers(api.map_prompts(rows, "{{ text }}")) == ["yes", "yes"]
    service.then(refused(400, "This row has no answer"))
    api.map_prompts(["c", "d"], "{{ text }}", concurrency=1)
    sent = len(service.chats)
    with pytest.warns(InferenceWarning, match="1 row was not asked again"):
        api.map_prompts(["c", "d"], "{{ text }}")
    assert len(service.chats) == sent


@pytest.mark.parametrize(
    "change",
    [
        lambda df: df.drop(index=[0, 1], inplace=True),
        lambda df: df.sort_values("t", ascending=False, inplace=True),
        lambda df: df.loc.__setitem__(len(df), "new"),
    ],
    ids=["drop", "sort", "add"],
)
def test_a_frame_may_be_changed_while_its_rows_are_answered(
    api: ModuleType, service: Service, change: Callable[[pd.DataFrame], None]
) -> None:
    """A map may run in a thread, and the next cell works on the frame."""
    df = pd.DataFrame({"t": [f"row {number}" for number in range(6)]})

    def answer(one: Answer) -> None:
        if len(service.chats) == 1:
            # Newer versions of pandas advise against `inplace`.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change(df)
        completion(one.received.body["messages"][-1]["content"])(one)

    service.always = answer
    out = api.map_prompts(df, "{{ t }}", cache=False, concurrency=1)
    assert out.t.tolist() == answers(out) == [f"row {number}" for number in range(6)]


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


@pytest.mark.parametrize("failure", [OSError("the disk is gone"), KeyboardInterrupt()], ids=["failure", "interrupt"])
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


def test_an_interrupt_while_the_result_is_made_loses_nothing(api: ModuleType, service: Service) -> None:
    class Late(dict[str, Any]):
        """A row that is read when it is asked, and again when the frame is made."""

        def items(self) -> Any:
            if len(service.chats) >= 3:
                signal.raise_signal(signal.SIGINT)
            return super().items()

    service.always = completion("yes")
    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts([Late(t=f"row {number}") for number in range(3)], "{{ t }}", cache=False)
    assert answers(raised.value.partial) == ["yes"] * 3  # type: ignore[attr-defined]
