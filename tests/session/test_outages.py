"""Rows that a service always fails on, and a service that fails for a time: simulated, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field, replace
from random import Random, seed as seed_waits
from typing import Any

import pytest
from clocks import TimedClock

from wandb_inference_magic.concurrency import coroutines
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures import Tries
from wandb_inference_magic.session.limiter import Limiter, Share

RETRIES = 3


def failure(status: int | None = 502, **said: object) -> InferenceError:
    error = InferenceError("It fails.", cause="busy", status=status, retryable=True)
    for name, value in said.items():
        setattr(error, name, value)
    return error


def cut() -> InferenceError:
    return InferenceError("The connection broke.", cause="network", retryable=True)


def page() -> InferenceError:
    """Return the error for a page of a firewall: no other try is of use if it is for one prompt."""
    return InferenceError("It answered with a web page.", cause="network", status=406, affects_all=True)


def gone() -> InferenceError:
    return InferenceError("It could not be reached.", cause="network", affects_all=True)


# What the service does with a row at a time: how long it takes, and how it fails.
Service = Callable[[int, float], tuple[float, InferenceError | None]]


@dataclass
class Simulated:
    """Runs over rows, as a map sends them: rows that rest leave their places to others."""

    service: Service
    clock: TimedClock = field(default_factory=TimedClock)
    # When each row was sent, when it was answered, and which were given up.
    sent: dict[int, list[float]] = field(default_factory=dict)
    answered: dict[int, float] = field(default_factory=dict)
    given_up: dict[int, InferenceError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.clock)

    @property
    def now(self) -> float:
        return self.clock.time - 100.0

    async def rows(self, numbers: range, at_once: int = 16, after: float = 0.0) -> None:
        await self.clock.sleep(after)
        share = Share(self.limiter, at_once)
        self.limiter.alarm.renew()
        unread, in_flight = list(numbers), set[Tries]()
        while unread or in_flight:
            free = 2 * share.allowed - 1 + share.away - len(in_flight)
            for number in unread[: max(free, 0)]:
                unread.remove(number)
                tries = Tries()
                in_flight.add(tries)

                def is_alone() -> bool:
                    return not unread and sum(not one.is_settled for one in in_flight) <= 1

                task = asyncio.ensure_future(self._row(number, share, tries, is_alone))
                task.add_done_callback(lambda _, tries=tries: in_flight.discard(tries))
            await self.clock.sleep(0.2)

    async def _row(self, number: int, share: Share, tries: Tries, is_alone: Callable[[], bool]) -> None:
        while True:
            async with share.slot(tries):
                tries.sent_at = self.clock.now()
                self.sent.setdefault(number, []).append(self.now)
                seconds, error = self.service(number, self.now)
                await self.clock.sleep(seconds)
                if error is None:
                    share.served(tries)
                    self.answered[number] = self.now
                    break
            tries.count += 1
            wait = await share.delay_after(error, tries, RETRIES, is_alone=is_alone())
            if wait is None:
                self.given_up[number] = error
                break
            with share.resting(tries):
                await self.clock.sleep(wait)
        share.forget(tries)

    async def chats(self, every: float) -> None:
        """Chats of the user, which are all answered."""
        share = Share(self.limiter, None, waits_for_service=False)
        while True:
            await self.clock.sleep(every)
            tries = Tries()
            async with share.slot(tries):
                tries.sent_at = self.clock.now()
                await self.clock.sleep(0.5)
                share.served(tries)

    def run(self, *runs: Coroutine[Any, Any, None], chats: float = 0.0) -> None:
        """Wait for runs, with a chat of the user's every so many seconds."""

        async def all_of_them() -> None:
            talking = asyncio.ensure_future(self.chats(chats)) if chats else None
            await asyncio.gather(*runs)
            if talking is not None:
                talking.cancel()

        coroutines.run(self.clock.run(all_of_them()))

    @property
    def last_answer(self) -> float:
        return max(self.answered.values(), default=0.0)

    @property
    def tries(self) -> dict[int, int]:
        """How often the rows were tried that were given up."""
        return {number: len(self.sent[number]) for number in sorted(self.given_up)}


def failing_on(
    rows: Collection[int], error: Callable[[], InferenceError], *, seconds: float = 3.0, failing: float = 0.01
) -> Service:
    """Return a service that fails on some rows, and answers the others."""
    return lambda number, _: (failing, error()) if number in rows else (seconds, None)


def down(since: float, until: float, error: Callable[[], InferenceError], *, seconds: float = 3.0) -> Service:
    """Return a service that fails for a time. Requests in flight are lost when that begins."""

    def answer(_: int, now: float) -> tuple[float, InferenceError | None]:
        if since <= now < until:
            return 0.05, error()
        return (since - now, error()) if now < since < now + seconds else (seconds, None)

    return answer


ERRORS = {
    "500": lambda: failure(500),
    "502": failure,
    "503": lambda: failure(503),
    "cut": cut,
    "in a second": lambda: failure(retry_after=1.0),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("rows", [{5}, {95}, {3, 40, 95}, {0, 1, 2, 3, 4}], ids=str)
def test_rows_that_always_fail_do_not_hold_up_the_others(error: Callable[[], InferenceError], rows: set[int]) -> None:
    """96 rows of 3 s, 16 at once, take 18 s."""
    run = Simulated(failing_on(rows, error))
    run.run(run.rows(range(96)))
    assert set(run.given_up) == rows
    assert run.last_answer < 30
    # Those in an alarm of another row do not count.
    assert all(RETRIES + 1 <= tries <= RETRIES + 8 for tries in run.tries.values())
    assert run.now < 100


@pytest.mark.parametrize("bad", [0, 7, 39])
def test_one_row_at_a_time_goes_on_while_another_one_rests(bad: int) -> None:
    run = Simulated(failing_on({bad}, failure, seconds=1.0))
    run.run(run.rows(range(40), at_once=1))
    assert run.tries == {bad: RETRIES + 1}
    assert run.last_answer < 55


def test_many_rows_that_always_fail_do_not_hold_up_the_others() -> None:
    run = Simulated(failing_on(range(0, 400, 20), failure))
    run.run(run.rows(range(400)))
    assert set(run.given_up) == set(range(0, 400, 20))
    assert run.last_answer < 85


@pytest.mark.parametrize(
    ("many", "rows", "seconds", "last", "total"),
    [
        (1, 200, 60.0, 20, 330),
        (5, 200, 60.0, 20, 330),
        (23, 200, 60.0, 180, 800),
        (5, 20, 60.0, 5, 330),
        (5, 200, 15.0, 20, 150),
    ],
)
@pytest.mark.parametrize("error", [lambda: failure(504), cut], ids=["504", "cut"])
def test_rows_that_always_fail_slowly_do_not_hold_up_the_others(
    error: Callable[[], InferenceError], many: int, rows: int, seconds: float, last: float, total: float
) -> None:
    """A gateway gives long prompts up after a minute, while it answers the others. Each is tried four times."""
    bad = Random(3).sample(range(rows), many)
    run = Simulated(failing_on(bad, error, seconds=1.0, failing=seconds))
    run.run(run.rows(range(rows)))
    assert set(run.given_up) == set(bad)
    assert run.last_answer < last
    assert run.now < total


@pytest.mark.parametrize(("many", "seconds", "last"), [(60, 0.05, 150), (40, 60.0, 500), (60, 60.0, 900)])
@pytest.mark.parametrize("seed", range(3))
def test_many_rows_that_always_fail_do_not_take_the_turns_of_others(
    many: int, seconds: float, last: float, seed: int
) -> None:
    """In an alarm, a row is tried whose failure would say something. The others waited for hours once."""
    seed_waits(seed)
    bad = Random(seed).sample(range(200), many)
    run = Simulated(failing_on(bad, lambda: failure(504), seconds=1.0, failing=seconds))
    run.run(run.rows(range(200)))
    assert set(run.given_up) == set(bad)
    assert run.last_answer < last


@pytest.mark.parametrize("lost_after", [0.05, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_outage_costs_no_row_that_takes_longer_than_others(seed: int, lost_after: float) -> None:
    random = Random(seed)
    lengths = [random.choice([1.0, 1.0, 2.0, 3.0, 8.0, 20.0]) for _ in range(300)]

    def answer(row: int, now: float) -> tuple[float, InferenceError | None]:
        if now < 20 < now + lengths[row]:
            return max(20 - now, lost_after), cut()
        return (lost_after, failure(504)) if 20 <= now < 320 else (lengths[row], None)

    run = Simulated(answer)
    run.run(run.rows(range(300)))
    assert not run.given_up
    assert sum(map(len, run.sent.values())) < 300 + 16 + 30


def test_an_outage_while_only_long_rows_are_left_costs_none() -> None:
    def answer(row: int, now: float) -> tuple[float, InferenceError | None]:
        takes = 30.0 if row < 5 else 1.0
        if now < 20 < now + takes:
            return 20 - now, cut()
        return (0.05, failure()) if 20 <= now < 140 else (takes, None)

    run = Simulated(answer)
    run.run(run.rows(range(60)))
    assert not run.given_up


@pytest.mark.parametrize("chats", [0.0, 4.0])
def test_a_row_that_always_fails_ends_also_while_the_user_chats(chats: float) -> None:
    run = Simulated(failing_on({7}, failure, seconds=0.02))
    run.run(run.rows(range(40)), chats=chats)
    assert run.tries == {7: RETRIES + 1}
    assert run.now < 60


def test_rows_without_any_others_end_as_soon_as_chats_are_answered() -> None:
    run = Simulated(failing_on({0, 1}, failure))
    run.run(run.rows(range(2)), chats=4.0)
    assert set(run.given_up) == {0, 1}
    assert run.now < 200


def test_a_job_beside_one_whose_only_row_always_fails_is_as_fast_as_alone() -> None:
    run = Simulated(failing_on({1000}, failure, seconds=2.0))
    run.run(run.rows(range(1000, 1001)), run.rows(range(64), after=0.1))
    assert run.last_answer < 13
    assert run.tries == {1000: RETRIES + 1}


def test_two_runs_with_the_same_bad_row_end() -> None:
    run = Simulated(lambda number, _: (0.01, failure()) if number % 1000 == 5 else (3.0, None))
    run.run(run.rows(range(96)), run.rows(range(1000, 1096)))
    assert set(run.given_up) == {5, 1005}
    assert run.now < 80


def test_a_page_in_place_of_one_answer_is_that_rows_and_not_of_all() -> None:
    run = Simulated(failing_on({50}, page, seconds=1.0))
    run.run(run.rows(range(96)))
    assert run.tries == {50: 2}
    assert not run.given_up[50].affects_all
    assert run.last_answer < 12


def test_a_row_that_gets_a_rate_limit_for_ever_is_given_up_also_while_the_user_chats() -> None:
    run = Simulated(failing_on({5}, lambda: failure(429, is_too_many=True)))
    run.run(run.rows(range(96)), chats=4.0)
    assert set(run.given_up) == {5}
    assert 900 < run.now < 1200


OUTAGES = ERRORS | {
    "page": page,
    "gone": gone,
    "429": lambda: failure(429, is_too_many=True),
}


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize(("at_once", "rows"), [(16, 96), (3, 30), (2, 20), (1, 20)])
def test_five_minutes_of_an_outage_cost_no_row_and_few_requests(
    error: Callable[[], InferenceError], at_once: int, rows: int
) -> None:
    run = Simulated(down(7.0, 307.0, error))
    run.run(run.rows(range(rows), at_once=at_once))
    assert not run.given_up
    failed = sum(map(len, run.sent.values())) - rows
    # One at a time, every minute in the end, unless the service names a shorter time.
    assert failed <= at_once + (300 if error is OUTAGES["in a second"] else 22)
    # Used at once: the longest wait between two tries is a minute. Then by few requests at first.
    first = min(at for one in run.sent.values() for at in one if at > 307)
    assert first < 377
    assert sum(first <= at < first + 4 for one in run.sent.values() for at in one) <= 4


@pytest.mark.parametrize("left", [2, 5, 16])
def test_an_outage_of_the_last_rows_costs_none(left: int) -> None:
    run = Simulated(down(19.0, 319.0, failure))
    run.run(run.rows(range(96 + left)))
    assert len(run.answered) == 96 + left


def test_a_server_that_restarts_costs_not_the_last_row() -> None:
    run = Simulated(down(19.0, 79.0, gone))
    run.run(run.rows(range(97)))
    assert len(run.answered) == 97


def test_an_outage_costs_only_the_row_that_always_fails() -> None:
    bad = failing_on({5, 50}, failure)
    run = Simulated(lambda number, now: (0.05, failure()) if 10 <= now < 310 else bad(number, now))
    run.run(run.rows(range(96)))
    assert set(run.given_up) == {5, 50}


@dataclass
class Full:
    """A service that refuses at once what is more than so many requests at the same time."""

    most: int
    error: Callable[[], InferenceError]
    ends: list[float] = field(default_factory=list)

    def __call__(self, _: int, now: float) -> tuple[float, InferenceError | None]:
        self.ends = [end for end in self.ends if end > now]
        if len(self.ends) >= self.most:
            return 0.05, self.error()
        self.ends.append(now + 3.0)
        return 3.0, None


@pytest.mark.parametrize("error", ["500", "503", "in a second"])
@pytest.mark.parametrize("most", [2, 4, 12])
def test_a_service_that_answers_fewer_at_once_costs_no_row(most: int, error: str) -> None:
    run = Simulated(Full(most, ERRORS[error]))
    run.run(run.rows(range(200)))
    assert not run.given_up
    assert run.now < 200 * 3 / most + 100
    assert sum(map(len, run.sent.values())) < 3.5 * 200


@pytest.mark.parametrize("is_too_many", [False, True])
def test_a_full_service_that_asks_for_minutes_costs_no_row(is_too_many: bool) -> None:
    """A chat would not wait so long."""
    error = failure(429 if is_too_many else 503, retry_after=150.0, is_too_many=is_too_many)
    run = Simulated(Full(4, lambda: error))
    run.run(run.rows(range(100)))
    assert not run.given_up


def test_rows_that_always_fail_end_also_where_the_service_is_full() -> None:
    full = Full(4, ERRORS["500"])
    run = Simulated(lambda number, now: (0.01, failure(500)) if number in (5, 70) else full(number, now))
    run.run(run.rows(range(100)))
    assert set(run.given_up) == {5, 70}
    assert run.now < 500


def test_two_runs_wait_for_one_outage_together() -> None:
    run = Simulated(down(10.0, 310.0, failure))
    run.run(run.rows(range(96)), run.rows(range(1000, 1096), after=5.0))
    assert not run.given_up
    assert sum(map(len, run.sent.values())) < 192 + 16 + 22


def test_a_service_that_fails_for_every_fifth_request_costs_no_row() -> None:
    """Each row may be tried four times, so it fails three times at most."""
    random = Random(1)

    def answer(row: int, _: float) -> tuple[float, InferenceError | None]:
        fails = random.random() < 0.2 and len(run.sent[row]) <= RETRIES
        return (0.05, failure(503)) if fails else (3.0, None)

    run = Simulated(answer)
    run.run(run.rows(range(400)))
    assert not run.given_up
    assert run.last_answer < 150


def test_a_service_that_does_not_return_is_given_up_after_a_quarter_of_an_hour() -> None:
    run = Simulated(down(10.0, 10_000.0, failure))
    run.run(run.rows(range(96)))
    assert len(run.given_up) == 96 - len(run.answered)
    assert 850 < run.now < 1200


@pytest.mark.parametrize(("error", "first"), [(failure(), 0.0), (failure(retry_after=100.0), 90.0)])
def test_a_new_run_has_one_try_at_once_unless_the_service_has_said_when(error: InferenceError, first: float) -> None:
    run = Simulated(lambda *_: (3.0, None))
    tries = Tries()
    for _ in range(4):
        tries.sent_at = run.clock.time
        run.limiter.failed(error, tries)
        run.clock.time = max(run.clock.time, run.limiter.alarm.opens_at + 1)
    tries.sent_at = run.clock.time
    run.limiter.failed(error, tries)
    began = run.now
    run.run(run.rows(range(8)))
    sent = sorted(at - began for one in run.sent.values() for at in one)
    assert first <= sent[0] <= first * 1.5 + 0.1
    assert sent[1] >= sent[0] + 3.0
    assert len(run.answered) == 8


@dataclass
class SlowFull(Full):
    """A full service whose answers take different times."""

    seconds: tuple[float, float] = (30.0, 90.0)
    random: Random = field(default_factory=lambda: Random(1))

    def __call__(self, _: int, now: float) -> tuple[float, InferenceError | None]:
        self.ends = [end for end in self.ends if end > now]
        if len(self.ends) >= self.most:
            return 0.05, self.error()
        seconds = self.random.uniform(*self.seconds)
        self.ends.append(now + seconds)
        return seconds, None


SLOW = {
    "reasoning": SlowFull(2, ERRORS["500"]),
    "one-at-once": SlowFull(1, ERRORS["503"]),
    "very-slow": SlowFull(4, ERRORS["503"], seconds=(60.0, 120.0)),
    "cuts": SlowFull(4, ERRORS["cut"], seconds=(1.0, 6.0)),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_full_service_costs_no_row_however_slow_its_answers_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb_inference_magic.failures.retries.uniform", Random(1).uniform)
    run = Simulated(replace(SLOW[name], ends=[], random=Random(1)))
    run.run(run.rows(range(50)))
    assert not run.given_up


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_many_rows_that_always_fail_do_not_keep_each_other_going(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb_inference_magic.failures.retries.uniform", Random(seed).uniform)
    rows = set(Random(seed).sample(range(100), 20))
    run = Simulated(failing_on(rows, lambda: failure(503, retry_after=1.0), failing=8.0))
    run.run(run.rows(range(100)))
    assert set(run.given_up) == rows
    assert sum(run.tries.values()) < 300
    assert max(run.tries.values()) <= 20
    assert run.now < 400
