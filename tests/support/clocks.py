"""A clock on which only sleep takes time."""

from __future__ import annotations

import asyncio

from wandb_inference_magic.concurrency import Clock


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
