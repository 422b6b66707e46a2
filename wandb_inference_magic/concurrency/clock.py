"""The clock by which requests wait."""

from __future__ import annotations

from time import perf_counter


class Clock:
    """The time in seconds, and sleep on the event loop. A test gives the session one that runs ahead."""

    def now(self) -> float:
        """Return the time (`perf_counter`)."""
        return perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Wait, on the event loop."""
        import asyncio

        await asyncio.sleep(seconds)
