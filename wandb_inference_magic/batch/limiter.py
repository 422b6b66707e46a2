"""An adaptive limit on requests in flight: halved when a service reports too many, then raised slowly."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter


class Limiter:
    """An adaptive number of slots. An instance belongs to one event loop.

    The service limits requests in flight per project, user and model, and publishes no figure (service.md).

    Parameters
    ----------
    most : int
        The number of slots at the start, which is also the maximum.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self._allowed = float(most)
        self._cut_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """The number of requests that may be in flight now."""
        return int(self._allowed)

    async def acquire(self) -> None:
        """Take a slot, after waiting until one is free."""
        while self.in_flight >= self.allowed:
            free = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            try:
                await free
            finally:
                if free in self._waiting:
                    self._waiting.remove(free)
        self.in_flight += 1

    def release(self) -> None:
        """Release a slot."""
        self.in_flight -= 1
        self._wake()

    def refused(self, started: float) -> None:
        """Halve the limit, because the service refused a request as one too many.

        `started` is when the request was sent (`perf_counter`). Refusals of requests sent before the last cut are
        ignored: they say nothing new.
        """
        if started > self._cut_at:
            self._cut_at = perf_counter()
            self._allowed = max(1.0, self._allowed / 2)

    def served(self) -> None:
        """Raise the limit slowly, because a request was served. As many served requests as slots add one slot."""
        if self._allowed < self.most:
            self._allowed = min(self._allowed + 1 / self._allowed, float(self.most))
            self._wake()

    def _wake(self) -> None:
        for _ in range(self.allowed - self.in_flight):
            if not self._waiting:
                return
            free = self._waiting.popleft()
            if not free.done():
                free.set_result(None)
