"""How many requests may be in flight at once: halved when a service says it is too many, and creeping back."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter


class Limiter:
    """A number of slots that adapts; it belongs to one event loop.

    The service limits requests in flight per project, user and model, and publishes no figure (service.md).

    Parameters
    ----------
    most : int
        With so many slots it begins; there are never more.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self._allowed = float(most)
        self._cut_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return int(self._allowed)

    async def acquire(self) -> None:
        """Take a slot, once there is one."""
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
        """Give a slot back."""
        self.in_flight -= 1
        self._wake()

    def refused(self, started: float) -> None:
        """Halve: the service refused a request, sent at `started` (`perf_counter`), for there being too many.

        Those that were in flight together with one refused before say nothing new.
        """
        if started > self._cut_at:
            self._cut_at = perf_counter()
            self._allowed = max(1.0, self._allowed / 2)

    def served(self) -> None:
        """Creep back: a request was served. As many as are allowed at once add one more."""
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
