"""How many requests to a model are in flight, whose turn it is, and how long a failing service is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
from clocks import FastClock

from wandb_inference_magic.concurrency import coroutines
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures import Tries, Verdict
from wandb_inference_magic.session.limiter import Limiter, Limiters, Share


class Slots:
    """Holders of slots. Each holds its slot until it is released."""

    def __init__(self, most: int | None, limiter: Limiter | None = None) -> None:
        # A chat in a cell does not wait for a failing service.
        self.share = Share(limiter or Limiter(), most, waits_for_service=most is not None)
        self.held: list[int] = []
        self.released: dict[int, asyncio.Event] = {}

    async def hold(self, number: int) -> None:
        self.released[number] = asyncio.Event()
        async with self.share.slot(Tries()):
            self.held.append(number)
            try:
                await self.released[number].wait()
            finally:
                self.held.remove(number)

    def start(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.hold(number)) for number in numbers]

    async def release(self, *numbers: int) -> None:
        for number in numbers:
            self.released[number].set()
        await settled()

    async def release_all(self, *tasks: asyncio.Task[None]) -> None:
        for event in self.released.values():
            event.set()
        await asyncio.gather(*tasks)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on an event loop of its own. In this thread the browser's may be running."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        coroutines.run(test(**arguments))

    return run


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def failure(status: int | None = 503, *, cause: Any = "busy", after: float | None = None) -> InferenceError:
    return InferenceError("It is overloaded.", cause=cause, status=status, retryable=True, retry_after=after)


def sent(at: float) -> Tries:
    """Return the first try of a request."""
    return Tries(sent_at=at)


def too_many(status: int = 429, *, after: float | None = None) -> InferenceError:
    error = failure(status, after=after)
    error.is_too_many = True
    return error


@in_loop
async def test_as_many_hold_a_slot_as_are_allowed_in_their_order() -> None:
    slots = Slots(2)
    tasks = slots.start(0, 1, 2, 3)
    await settled()
    assert slots.held == [0, 1]
    await slots.release(1)
    assert slots.held == [0, 2]
    await slots.release_all(*tasks)


@in_loop
async def test_two_shares_of_a_model_have_one_limit_and_equal_parts() -> None:
    """A job that has all slots gives half of them to a map that comes later, as they become free."""
    limiter = Limiter()
    job, later = Slots(4, limiter), Slots(4, limiter)
    tasks = job.start(*range(12))
    await settled()
    assert job.held == [0, 1, 2, 3]
    tasks += later.start(*range(12))
    await settled()
    assert later.held == []
    await job.release(0, 1, 2)
    assert (len(job.held), len(later.held)) == (2, 2)
    await later.release(*later.held)
    assert (len(job.held), len(later.held)) == (2, 2)
    await asyncio.gather(job.release_all(), later.release_all(), *tasks)


@in_loop
async def test_a_chat_has_the_next_free_slot() -> None:
    limiter = Limiter()
    job, chat = Slots(2, limiter), Slots(None, limiter)
    tasks = [*job.start(0, 1, 2, 3), *chat.start(0)]
    await settled()
    assert (job.held, chat.held) == ([0, 1], [])
    await job.release(0)
    assert (job.held, chat.held) == ([1], [0])
    await chat.release(0)
    assert job.held == [1, 2]
    await job.release_all(*tasks)


@in_loop
async def test_chats_alone_are_not_limited() -> None:
    limiter = Limiter()
    chats = [Slots(None, limiter) for _ in range(30)]
    tasks = [task for chat in chats for task in chat.start(0)]
    await settled()
    assert all(chat.held == [0] for chat in chats)
    await asyncio.gather(*(chat.release_all() for chat in chats), *tasks)


@in_loop
async def test_a_share_that_is_paused_gets_no_slots() -> None:
    slots = Slots(1)
    tasks = slots.start(0, 1)
    await settled()
    slots.share.pause()
    await slots.release(0)
    assert slots.held == []
    await slots.share.resume()
    await settled()
    assert slots.held == [1]
    await slots.release_all(*tasks)


@in_loop
async def test_a_lower_limit_applies_to_those_that_wait() -> None:
    slots = Slots(4, Limiter(FastClock()))
    tasks = slots.start(*range(6))
    await settled()
    assert slots.share.limiter.failed(too_many(), sent(101.0)) is Verdict.SERVICE
    await slots.release(0, 1)
    assert slots.held == [2, 3]
    await slots.release(2)
    assert slots.held == [3, 4]
    await slots.release_all(*tasks)


@in_loop
async def test_one_that_is_cancelled_leaves_its_place_and_its_slot() -> None:
    slots = Slots(1)
    tasks = slots.start(0, 1, 2, 3)
    await settled()
    tasks[1].cancel()
    await settled()
    tasks[0].cancel()
    await settled()
    assert slots.held == [2]
    await slots.release(2)
    await slots.release(3)
    assert [task.cancelled() for task in tasks] == [True, True, False, False]


@pytest.mark.parametrize("at", range(8))
@in_loop
async def test_one_that_is_cancelled_in_its_turn_passes_the_turn_on(at: int) -> None:
    """At whatever step of the loop: before its turn, in it, or with its slot."""
    slots = Slots(1)
    tasks = slots.start(0, 1, 2)
    await settled()
    slots.released[0].set()
    for step in range(20):
        await asyncio.sleep(0)
        if step == at:
            tasks[1].cancel()
    await settled()
    assert slots.held == [2]
    await slots.release(2)


@pytest.mark.parametrize(
    ("most", "served", "allowed"), [(8, 0, 4), (8, 3, 4), (8, 5, 5), (8, 40, 8), (1, 0, 1), (1, 4, 1)]
)
@in_loop
async def test_the_limit_is_raised_again_slowly(most: int, served: int, allowed: int) -> None:
    slots = Slots(most, Limiter(FastClock()))
    tasks = slots.start(0)
    await settled()
    slots.share.limiter.failed(too_many(), sent(101.0))
    for _ in range(served):
        slots.share.limiter.served(sent(102.0))
    assert slots.share.allowed == allowed
    await slots.release_all(*tasks)


async def _outage(clock: FastClock, seconds: float, *, rows: int, most: int) -> tuple[int, int, list[int]]:
    """Send rows to a service that fails for a time. Return how many were answered, given up, and the tries."""
    share = Share(Limiter(clock), most)
    until, in_flight, sends, given_up = clock.now() + seconds, [0], [], [0]

    async def row() -> None:
        tries = Tries()
        while True:
            async with share.slot(tries):
                tries.sent_at = clock.now()
                in_flight[0] += 1
                sends.append(in_flight[0])
                await asyncio.sleep(0)
                in_flight[0] -= 1
                if tries.sent_at >= until:
                    share.served(tries)
                    return
            tries.count += 1
            if await share.delay_after(failure(), tries, 1, is_alone=False) is None:
                given_up[0] += 1
                share.forget(tries)
                return

    await asyncio.gather(*(row() for _ in range(rows)))
    return rows - given_up[0], given_up[0], sends


@in_loop
async def test_five_minutes_of_failures_are_waited_through_by_one_try_at_a_time() -> None:
    clock = FastClock()
    answered, given_up, tries = await _outage(clock, 300.0, rows=40, most=16)
    assert (answered, given_up) == (40, 0)
    # All that were in flight, then one at a time; afterwards more and more.
    failed = len(tries) - 40
    assert failed < 16 + 20
    assert set(tries[16:failed]) == {1}
    assert tries[failed : failed + 3] == [1, 1, 2]


@in_loop
async def test_a_service_that_does_not_return_is_given_up() -> None:
    clock = FastClock()
    answered, given_up, _ = await _outage(clock, 100_000.0, rows=40, most=16)
    assert (answered, given_up) == (0, 40)
    assert 900 <= sum(clock.slept) + 100 < 1200


@in_loop
async def test_requests_that_fail_at_the_same_moment_are_all_sent_again() -> None:
    """Nothing else waits for a slot then, and nothing else could wake them."""
    answered, given_up, _ = await _outage(FastClock(), 60.0, rows=3, most=16)
    assert (answered, given_up) == (3, 0)


@in_loop
async def test_a_run_that_follows_a_cancelled_one_waits_for_the_same_moment() -> None:
    limiter = Limiter(FastClock())
    first = Slots(2, limiter)
    tasks = first.start(0)
    await settled()
    limiter.failed(failure(after=100.0), sent(100.5))
    tasks[0].cancel()
    await settled()
    second = Slots(2, limiter)
    tasks = second.start(0)
    await settled()
    assert second.held == [0]
    assert limiter.clock.now() > 200
    await second.release_all(*tasks)


def test_a_new_run_has_patience_again() -> None:
    limiters = Limiters(FastClock())

    async def exhausted() -> None:
        share = limiters.share("http://here", "a", 4)
        clock = share.limiter.clock
        while share.limiter.failed(failure(), sent(clock.now())) is not Verdict.GIVEN_UP:
            await clock.sleep(200.0)
        again = limiters.share("http://here", "a", 4)
        assert again.limiter is share.limiter
        assert again.limiter.failed(failure(), sent(clock.now() + 1)) is Verdict.SERVICE

    coroutines.run(exhausted())


@in_loop
async def test_a_refused_connection_while_others_are_answered_is_waited_for() -> None:
    """A server that restarts answers what it has, and takes no more."""
    limiter = Limiter(FastClock())
    gone = InferenceError("It could not be reached.", cause="network", affects_all=True)
    async with Share(limiter, 4).slot(Tries()):
        limiter.served(sent(98.0))
        assert limiter.failed(gone, sent(99.0)) is Verdict.SERVICE


@in_loop
async def test_after_a_cut_chats_alone_are_not_limited() -> None:
    limiter = Limiter(FastClock())
    tasks = Slots(4, limiter).start(0)
    await settled()
    limiter.failed(too_many(), sent(101.0))
    tasks[0].cancel()
    await settled()
    chats = [Slots(None, limiter) for _ in range(5)]
    tasks = [task for chat in chats for task in chat.start(0)]
    await settled()
    assert all(chat.held == [0] for chat in chats)
    await asyncio.gather(*(chat.release_all() for chat in chats), *tasks)


@in_loop
async def test_a_machine_that_sleeps_gives_nothing_up() -> None:
    clock = FastClock()
    limiter = Limiter(clock)
    async with Share(limiter, 4).slot(Tries()):
        tries = sent(clock.now())
        clock.time += 8 * 3600
        assert limiter.failed(failure(None, cause="network"), tries) is Verdict.SERVICE


@in_loop
async def test_a_minute_that_the_service_asks_for_is_waited_once() -> None:
    clock = FastClock()
    slots = Slots(4, Limiter(clock))
    tasks = slots.start(*range(5))
    await settled()
    for _ in range(4):
        assert slots.share.limiter.failed(too_many(after=60.0), sent(100.5)) is not Verdict.OWN
    # An answer to a request from before the refusal says nothing about now.
    slots.share.limiter.served(sent(99.0))
    assert slots.share.limiter.alarm.is_waiting
    await slots.release(0, 1, 2, 3)
    assert len(clock.slept) == 1
    assert 60 <= clock.slept[0] <= 75
    assert slots.held == [4]
    await slots.release_all(*tasks)


@in_loop
async def test_a_chat_does_not_wait_for_a_failing_service_and_its_answer_lets_rows_follow() -> None:
    limiter = Limiter()
    rows, chat = Slots(4, limiter), Slots(None, limiter)
    tasks = rows.start(0)
    await settled()
    limiter.failed(failure(after=100.0), sent(limiter.clock.now()))
    tasks += [*rows.start(1), *chat.start(0)]
    await rows.release(0)
    assert (rows.held, chat.held) == ([], [0])
    await chat.release(0)
    limiter.served(sent(limiter.clock.now()))
    await settled()
    assert rows.held == [1]
    await rows.release_all(*tasks)


@in_loop
async def test_nothing_is_left_on_the_loop() -> None:
    slots = Slots(1)
    tasks = slots.start(0)
    await settled()
    slots.share.limiter.failed(failure(after=100.0), sent(slots.share.limiter.clock.now()))
    tasks[0].cancel()
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("error", "is_alone", "expected"),
    [
        (failure(500), False, Verdict.SERVICE),
        (failure(500), True, Verdict.OWN),
        (failure(503), True, Verdict.SERVICE),
        # A rate limit, whatever its status.
        (too_many(400), True, Verdict.SERVICE),
        # An image that could not be fetched in time.
        (InferenceError("No.", cause="busy", retryable=True, affects_all=False), False, Verdict.OWN),
        (failure(None, cause="network"), True, Verdict.SERVICE),
        (InferenceError("No.", cause="request", status=400), False, Verdict.OWN),
    ],
)
@in_loop
async def test_a_failure_may_be_the_rows_own(error: InferenceError, is_alone: bool, expected: Verdict) -> None:
    limiter = Limiter(FastClock())
    async with Share(limiter, 4).slot(Tries()):
        assert limiter.failed(error, sent(limiter.clock.now()), is_alone=is_alone) is expected


@pytest.mark.parametrize(
    ("has_worked", "is_alone", "expected"),
    [(False, False, Verdict.OWN), (True, False, Verdict.SERVICE), (True, True, Verdict.OWN)],
)
@in_loop
async def test_an_endpoint_that_worked_before_is_waited_for(
    has_worked: bool, is_alone: bool, expected: Verdict
) -> None:
    """A server that restarts refuses connections, which at first means that the address is wrong."""
    clock = FastClock()
    limiter = Limiter(clock)
    gone = InferenceError("It could not be reached.", cause="network", affects_all=True)
    async with Share(limiter, 4).slot(Tries()):
        if has_worked:
            limiter.served(sent(clock.now()))
            clock.time += 1
        assert limiter.failed(gone, sent(clock.now()), is_alone=is_alone) is expected


@pytest.mark.parametrize("at", range(-1, 8))
@in_loop
async def test_one_that_is_cancelled_between_two_tries_lets_the_next_one_try(at: int) -> None:
    """At whatever step of the loop: while it is set aside, when it may try, or with its slot."""
    limiter = Limiter()
    share, held, released = Share(limiter, 2), list[int](), asyncio.Event()

    async def row(number: int) -> None:
        tries = sent(limiter.clock.now())
        try:
            await share.delay_after(failure(after=100.0), tries, 3, is_alone=False)
            async with share.slot(tries):
                held.append(number)
                await released.wait()
        finally:
            share.forget(tries)

    tasks = [asyncio.create_task(row(number)) for number in range(2)]
    await settled()
    assert share.away == 2
    if at < 0:
        tasks[0].cancel()
        await settled()
    limiter.alarm.opens_at = 0.0
    limiter.wake()
    for step in range(10):
        if step == at:
            tasks[0].cancel()
        await asyncio.sleep(0)
    await settled()
    assert held[-1] == 1
    assert share.away == 0
    released.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_one_that_has_not_failed_is_tried_first() -> None:
    clock = FastClock()
    slots = Slots(4, Limiter(clock))
    wait = slots.share.delay_after(failure(after=100.0), sent(clock.now()), 3, is_alone=False)
    failed = asyncio.create_task(wait)
    tasks = slots.start(0, 1)
    await settled()
    assert (slots.held, failed.done()) == ([0], False)
    await slots.release(0)
    assert (slots.held, failed.done()) == ([1], False)
    await slots.release(1)
    assert failed.done()
    await slots.release_all(*tasks)
