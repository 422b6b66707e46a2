"""How many requests are in flight at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from wandb_inference_magic.batch.limiter import Limiter
from wandb_inference_magic.concurrency import run_once


class Slots:
    """Holders of slots. Each holds its slot until it is released."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.held: list[int] = []
        self.released: dict[int, asyncio.Event] = {}

    async def hold(self, number: int) -> None:
        self.released[number] = asyncio.Event()
        async with self._limiter.slot():
            self.held.append(number)
            try:
                await self.released[number].wait()
            finally:
                self.held.remove(number)

    async def release(self, number: int) -> None:
        self.released[number].set()
        await settled()


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on an event loop of its own. In this thread the browser's may be running."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        run_once(test(**arguments))

    return run


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@in_loop
async def test_as_many_hold_a_slot_as_are_allowed_in_their_order() -> None:
    slots = Slots(Limiter(2))
    tasks = [asyncio.create_task(slots.hold(number)) for number in range(4)]
    await settled()
    assert slots.held == [0, 1]
    await slots.release(1)
    assert slots.held == [0, 2]
    for number in (0, 2, 3):
        await slots.release(number)
    await asyncio.gather(*tasks)


@in_loop
async def test_a_lower_limit_applies_to_those_that_wait() -> None:
    limiter = Limiter(4)
    slots = Slots(limiter)
    tasks = [asyncio.create_task(slots.hold(number)) for number in range(6)]
    await settled()
    limiter.refused(started=float("inf"))
    await slots.release(0)
    await slots.release(1)
    assert slots.held == [2, 3]
    await slots.release(2)
    assert slots.held == [3, 4]
    for number in (3, 4, 5):
        await slots.release(number)
    await asyncio.gather(*tasks)


@in_loop
async def test_one_that_is_cancelled_leaves_its_place_and_its_slot() -> None:
    slots = Slots(Limiter(1))
    tasks = [asyncio.create_task(slots.hold(number)) for number in range(4)]
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
    slots = Slots(Limiter(1))
    tasks = [asyncio.create_task(slots.hold(number)) for number in range(3)]
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
def test_the_limit_is_raised_again_slowly(most: int, served: int, allowed: int) -> None:
    limiter = Limiter(most)
    limiter.refused(started=float("inf"))
    for _ in range(served):
        limiter.served()
    assert limiter.allowed == allowed
