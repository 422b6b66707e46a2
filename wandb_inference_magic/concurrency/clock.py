"""The clock by which requests wait, and a wait in a thread."""

from __future__ import annotations

from threading import Event
from time import monotonic, perf_counter
from typing import Final

MAX_SLICE_SECONDS: Final = 0.2


class Clock:
    """The time in seconds, and sleep on the event loop. A test gives the session one that runs ahead."""

    def now(self) -> float:
        """Return the time (`perf_counter`)."""
        return perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Wait, on the event loop."""
        import asyncio

        await asyncio.sleep(seconds)


def wait(seconds: float) -> None:
    """Wait. Kernel > Interrupt and Ctrl-C end the wait immediately."""
    until = monotonic() + seconds
    # In slices, because on Windows an interrupt is handled only between two waits.
    while (left := until - monotonic()) > 0:
        Event().wait(min(left, MAX_SLICE_SECONDS))
