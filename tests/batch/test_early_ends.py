"""Runs that end early: a service that fails, an interrupt, a full disk. Nothing paid for is lost."""

from __future__ import annotations

import copyreg
import itertools
import os
import pickle
import signal
import threading
from collections.abc import Callable
from errno import ENOSPC
from types import ModuleType, TracebackType
from typing import Any

import openai
import pytest
from answered_rows import Numbered, answers
from clocks import FastClock
from pydantic import BaseModel, field_validator
from service import Answer, Script, Service, completion, refused, usage
from tblib.pickling_support import pickle_exception, pickle_traceback

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.batch.cache import AnswerCache
from wandb_inference_magic.session import current_session


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


def replied(message: dict[str, Any], finish: str) -> Script:
    """A script: a message that ends in a certain way."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return lambda one: one.json({"choices": [choice], "model": "m", "usage": usage(3, 2)})


def answer_from(service: Service, first: int, bad: Script) -> None:
    """Answer rows whose number is lower than the first one with a label that fits, and the others badly."""
    fits = completion('{"label": "good"}')
    service.always = lambda one: (bad if int(one.received.body["messages"][0]["content"]) >= first else fits)(one)


def asked_rows(service: Service, after: int = 0) -> list[str]:
    """Return the rows whose question was sent, after so many requests, without repairs."""
    return [one.body["messages"][0]["content"] for one in service.chats[after:] if len(one.body["messages"]) == 1]


class Picky(BaseModel):
    label: str

    @field_validator("label")
    @classmethod
    def checked(cls, value: str) -> str:
        return {"good": "fine"}[value]


OTHER = completion('{"label": "other"}')
WITH_LABEL: dict[str, Any] = {"prompt": "{{ text }}", "schema": "label good|bad"}


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize(
    ("bad", "schema", "requests"),
    [
        (OTHER, "label good|bad", 2),
        (completion("It is good."), "label good|bad", 2),
        (replied({"content": '{"label": "go'}, "length"), "label good|bad", 1),
        (completion('{"label": "odd"}'), Picky, 1),
        (replied({"content": ""}, "content_filter"), None, 1),
    ],
    ids=["another label", "prose", "cut", "the validator fails", "withheld"],
)
def test_answers_that_fail_after_good_ones_are_results_of_their_rows(
    api: ModuleType, service: Service, bad: Script, schema: Any, requests: int
) -> None:
    """A frame may be sorted by its topics."""
    answer_from(service, 20, bad)
    for _ in range(2):
        out = api.map_prompts(range(60), "{{ text }}", schema=schema)
        assert out.iloc[:, 1].notna().tolist() == [True] * 20 + [False] * 40
        assert len(service.chats) == 20 + 40 * requests


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
def test_answers_of_which_none_fits_end_the_run_and_are_not_paid_for_again(api: ModuleType, service: Service) -> None:
    service.always = OTHER
    with pytest.raises(InferenceError, match="16 consecutive rows failed"):
        api.map_prompts(range(200), **WITH_LABEL)
    first = asked_rows(service)
    assert 16 <= len(first) < 60
    service.always = completion('{"label": "good"}')
    out = api.map_prompts(range(200), **WITH_LABEL)
    assert sorted(asked_rows(service), key=int) == [str(number) for number in range(200)]
    assert 0 < out.label.isna().sum() <= len(first)


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize(("bad", "good"), [(OTHER, 0), (completion(""), 1)], ids=["unfit", "empty"])
def test_rows_that_fail_as_in_an_earlier_run_do_not_end_a_run(
    api: ModuleType, service: Service, bad: Script, good: int
) -> None:
    answer_from(service, good, bad)
    # In parts that are too small to end a run. An empty reply is kept as a failure the second time.
    for part in (range(1, 11), range(11, 21)) * 2:
        api.map_prompts([*range(good), *part], **WITH_LABEL)
    before = len(service.chats)
    out = api.map_prompts(range(21), **WITH_LABEL, retry_failed=True)
    assert out.label.isna().all() if not good else out.label.notna().tolist() == [True] + [False] * 20
    assert {int(row) for row in asked_rows(service, before)} == {*range(good, 21)}


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("repaired", [1, 8, 16])
def test_an_answer_whose_repair_is_not_sent_any_more_is_not_paid_for_again(
    api: ModuleType, service: Service, repaired: int
) -> None:
    """The key is revoked while rows have an answer that does not fit, and wait for their repair."""
    lock, repairs = threading.Lock(), itertools.count(1)

    def answer(one: Answer) -> None:
        if len(one.received.body["messages"]) == 1:
            OTHER(one)
            return
        with lock:
            is_last = next(repairs) > repaired
        (refused(401, "gone") if is_last else OTHER)(one)

    service.always = answer
    with pytest.raises(InferenceError, match="The run stopped"):
        api.map_prompts(range(100), **WITH_LABEL)
    service.always = completion('{"label": "good"}')
    api.map_prompts(range(100), **WITH_LABEL)
    asked = asked_rows(service)
    assert len(asked) == len({*asked}) == 100


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
def test_answers_on_disk_show_that_an_answer_can_fit(api: ModuleType, service: Service) -> None:
    answer_from(service, 5, OTHER)
    api.map_prompts(range(5), **WITH_LABEL)
    assert api.map_prompts(range(60), **WITH_LABEL).label.notna().sum() == 5
    assert len(service.chats) == 5 + 2 * 55


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
def test_a_service_that_refuses_after_answers_that_do_not_fit_ends_a_run(api: ModuleType, service: Service) -> None:
    answer_from(service, 5, OTHER)
    api.map_prompts(range(20), **WITH_LABEL)
    service.always = refused(400, "no")
    with pytest.raises(InferenceError, match="16 consecutive rows failed"):
        api.map_prompts(range(60), **WITH_LABEL)


def test_an_interrupted_map_has_the_frame_so_far(api: ModuleType, service: Service) -> None:
    service.always = Numbered()

    def rows() -> Any:
        yield from ("a", "b")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(rows(), "{{ text }}", concurrency=1, cache=False)
    assert len(raised.value.partial) == 2  # type: ignore[attr-defined]
    assert "No answers were kept on disk" in str(raised.value)


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
