"""Clocks on which only sleep takes time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

from wandb_inference_magic.concurrency import Clock

T = TypeVar("T")


class FastClock(Clock):
    """A clock that goes ahead when something sleeps. `slept` holds for how many seconds each time."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.time += seconds


class TimedClock(Clock):
    """A clock that goes ahead to the next end of a sleep when nothing else is left to do: many sleep at once."""

    def __init__(self) -> None:
        self.time = 100.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = count()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        heappush(self._sleeping, (self.time + max(seconds, 0.0), next(self._count), turn))
        await turn

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if not task.done() and self._sleeping:
                self.time, _, turn = heappop(self._sleeping)
                if not turn.done():
                    turn.set_result(None)
        return await task
