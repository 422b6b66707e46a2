"""Maps and jobs side by side, in one session: questions that several ask, and a budget that they share."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Lock
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from known_models import known_model_environment
from service import Answer, Received, Service, Wandb, completion, refused

from wandb_inference_magic.batch.cache import cache_file
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

THINKER = "test/thinker"
SECONDS = 60


def asked(one: Answer) -> str:
    return asked_in(one.received)


def asked_in(received: Received) -> str:
    return str(received.body["messages"][-1]["content"])


def rows(number: int) -> list[dict[str, int]]:
    return [{"n": one} for one in range(number)]


class Held:
    """Answers that wait until they may come. `arrived` is set once so many requests have."""

    def __init__(self, wanted: int = 1) -> None:
        self.may, self.arrived = Event(), Event()
        self._wanted, self._count, self._lock = wanted, 0, Lock()

    def __call__(self, one: Answer) -> None:
        with self._lock:
            self._count += 1
            if self._count >= self._wanted:
                self.arrived.set()
        if self.may.wait(SECONDS):
            completion(f"of {asked(one)}")(one)


@pytest.fixture
def beside(api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package in a session that runs jobs beside the tests' thread."""
    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)
    return api


@pytest.fixture
def priced(
    start_api: Callable[..., ModuleType], wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], ModuleType]:
    """Sets a budget, and returns the package in a session that knows prices and runs jobs."""
    api = start_api(**known_model_environment(wandb))
    api.models()
    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)

    def with_budget(usd: float, **settings: Any) -> ModuleType:
        current_session().settings.set(budget=usd, **settings)
        return api

    return with_budget


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def reserved_usd() -> float:
    return float(current_session().usage.reserved())


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + SECONDS
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def claims() -> int:
    return sum(len(one.claims) for one in current_session().limiters._limiters.values())


def test_two_runs_over_the_same_rows_share_the_work(beside: ModuleType, service: Service) -> None:
    # All of a model's requests share one limit.
    held = Held(4)
    service.always = held
    jobs = [beside.map_prompts(rows(40), "{{ n }}", background=True, concurrency=4) for _ in range(2)]
    assert held.arrived.wait(SECONDS)
    held.may.set()
    for job in jobs:
        assert job.wait(SECONDS).reply.tolist() == [f"of {one}" for one in range(40)]
    assert len(service.chats) == 40
    assert claims() == 0


def test_a_row_that_another_run_asks_does_not_hold_up_the_others(beside: ModuleType, service: Service) -> None:
    held = Held()
    service.always = lambda one: held(one) if asked(one) == "0" else completion("at once")(one)
    slow = beside.map_prompts(rows(1), "{{ n }}", background=True)
    assert held.arrived.wait(SECONDS)
    job = beside.map_prompts(rows(200), "{{ n }}", background=True, concurrency=8)
    until(lambda: job.done == 199 and job.state == "waiting")
    assert "another map or job is asking the same question" in job.describe()
    held.may.set()
    assert job.wait(SECONDS).reply.tolist() == ["of 0", *["at once"] * 199]
    assert slow.wait(SECONDS).reply.tolist() == ["of 0"]
    assert len(service.chats) == 200


def test_a_row_is_done_only_when_its_answer_is_on_disk(beside: ModuleType, service: Service) -> None:
    """The kernel may be killed as soon as a job says that a row is done."""
    held = Held()
    service.always = held
    job = beside.map_prompts(rows(1), "{{ n }}", background=True)
    assert held.arrived.wait(SECONDS)
    with closing(sqlite3.connect(cache_file(), isolation_level=None)) as another_kernel:
        another_kernel.execute("begin immediate")
        held.may.set()
        until(lambda: job.frame().reply.tolist() == ["of 0"])
        assert job.done == 0
    assert job.wait(SECONDS).reply.tolist() == ["of 0"]
    assert job.done == 1


def test_a_map_waits_for_a_question_of_a_paused_job(
    beside: ModuleType, service: Service, thread: ThreadPoolExecutor
) -> None:
    held = Held(4)
    service.always = held
    job = beside.map_prompts(rows(12), "{{ n }}", background=True, concurrency=4)
    assert held.arrived.wait(SECONDS)
    job.pause()
    held.may.set()
    beside_it = thread.submit(beside.map_prompts, rows(40), "{{ n }}", concurrency=4)
    # The job has claimed three rows besides those in flight.
    until(lambda: len(service.chats) == 37)
    assert job.state == "paused" and not beside_it.done()
    job.resume()
    assert len(beside_it.result(SECONDS).reply.dropna()) == 40
    assert len(job.wait(SECONDS).reply.dropna()) == 12
    assert len(service.chats) == 40
    assert claims() == 0


def test_a_map_in_the_rows_of_a_map_may_ask_the_same(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")

    def made() -> Iterator[dict[str, Any]]:
        for number in range(4):
            before = api.map_prompts([{"n": max(number - 1, 0)}], "{{ n }}").reply.tolist()
            yield {"n": number, "before": before}

    assert api.map_prompts(made(), "{{ n }}").reply.tolist() == ["yes"] * 4


def test_two_candidates_that_are_the_same_are_asked_each(beside: ModuleType, service: Service) -> None:
    service.always = completion("good")
    frame = pd.DataFrame({"n": range(10), "label": "good"})
    found = beside.evaluate(frame, "{{ n }}", prompts={"again": "{{ n }}"}, truth="label", models="test/x")
    assert len(service.chats) == 20
    assert found.summary.answered.tolist() == [10, 10]
    beside.evaluate(frame, "{{ n }}", prompts={"again": "{{ n }}"}, truth="label", models="test/x")
    assert len(service.chats) == 20, "answers are kept for each"


def test_a_row_that_the_whole_budget_cannot_pay_is_refused_at_once(
    priced: Callable[..., ModuleType], wandb: Wandb
) -> None:
    held = Held(2)
    wandb.api.always = held
    api = priced(0.01)
    job = api.map_prompts(rows(2), "{{ n }}", background=True, max_tokens=1000, model=THINKER)
    assert held.arrived.wait(SECONDS)
    with pytest.raises(InferenceError, match=r"This could cost \$0\.0.* is left of the budget"):
        api.map_prompts(rows(1), "other {{ n }}", max_tokens=90_000, model=THINKER)
    held.may.set()
    job.wait(SECONDS)


def test_a_budget_file_that_fails_in_a_run_loses_no_answer_and_blocks_no_other_run(
    priced: Callable[..., ModuleType], wandb: Wandb, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    api = priced(1.0, budget_file=str(folder / "budget.sqlite"))

    def answer(one: Answer) -> None:
        if asked(one) == "4":
            shutil.rmtree(folder)
        completion("Yes.")(one)

    wandb.api.always = answer
    with pytest.raises(InferenceError, match="budget") as caught:
        api.map_prompts(rows(12), "{{ n }}", concurrency=1)
    assert len(caught.value.partial.reply.dropna()) == 5
    assert claims() == 0
    folder.mkdir()
    assert api.map_prompts(rows(12), "{{ n }}", concurrency=1).reply.tolist() == ["Yes."] * 12


def test_a_map_in_the_rows_of_a_map_is_refused_what_that_one_has_reserved(
    priced: Callable[..., ModuleType], wandb: Wandb
) -> None:
    wandb.api.always = lambda one: refused(400, "no")(one) if asked(one) == "out 0" else completion("yes")(one)
    api = priced(0.01)
    refusals: list[str] = []

    def made() -> Iterator[dict[str, Any]]:
        for number in range(3):
            try:
                api.map_prompts([{"n": number}], "in {{ n }}", max_tokens=18_500, model=THINKER)
            except InferenceError as error:
                refusals.append(str(error))
            yield {"n": number}

    assert len(api.map_prompts(made(), "out {{ n }}", max_tokens=2000, model=THINKER)) == 3
    assert all("budget" in one for one in refusals)


def test_a_cancelled_job_does_not_go_on_scoring(beside: ModuleType, service: Service) -> None:
    service.always = completion("good")
    scored, may = [], Event()

    def scorer(answer: str, truth: str) -> float:
        scored.append(answer)
        if len(scored) == 4:
            may.wait(SECONDS)
        return 1.0

    frame = pd.DataFrame({"n": range(30), "label": "good"})
    job = beside.evaluate(frame, "{{ n }}", truth="label", models="test/x", scorer=scorer, background=True)
    until(lambda: len(scored) == 4)
    job.cancel()
    may.set()
    job.join(SECONDS)
    assert (job.state, len(scored)) == ("cancelled", 4)
    with pytest.raises(InferenceError) as caught:
        job.wait(SECONDS)
    assert caught.value.partial.summary.rows.tolist() == [4]
