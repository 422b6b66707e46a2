"""An adaptive limit on requests in flight: halved when a service reports too many, then raised slowly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cached_property
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Condition
    from collections.abc import AsyncIterator


class Limiter:
    """An adaptive number of slots. Several threads may use it.

    The service limits requests in flight per project, user and model, and publishes no figure (service.md).

    Parameters
    ----------
    most : int
        The number of slots at the start, which is also the maximum.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._allowed = float(most)
        self._cut_at = 0.0
        self._lock = Lock()
        # Used on the event loop only.
        self._taken = 0

    @property
    def allowed(self) -> int:
        """The number of requests that may be in flight now."""
        return int(self._allowed)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it inside the `async with` block. Runs on the event loop."""
        async with self._change:
            try:
                await self._change.wait_for(lambda: self._taken < self.allowed)
            except BaseException:
                # One that is cancelled in its turn passes the turn on.
                self._wake()
                raise
            self._taken += 1
        try:
            yield
        finally:
            async with self._change:
                self._taken -= 1
                self._wake()

    def _wake(self) -> None:
        self._change.notify(max(self.allowed - self._taken, 0))

    @cached_property
    def _change(self) -> Condition:
        from asyncio import Condition

        return Condition()

    def refused(self, started: float) -> None:
        """Halve the limit, because the service refused a request as one too many.

        `started` is when the request was sent (`perf_counter`). Refusals of requests sent before the last cut are
        ignored: they say nothing new.
        """
        with self._lock:
            if started > self._cut_at:
                self._cut_at = perf_counter()
                self._allowed = max(1.0, self._allowed / 2)

    def served(self) -> None:
        """Raise the limit slowly, because a request was served. As many served requests as slots add one slot."""
        with self._lock:
            self._allowed = min(self._allowed + 1 / self._allowed, float(self.most))
