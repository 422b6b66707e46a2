"""The list of jobs of a session: their numbers, and which have ended and were not announced yet.

It also has the commands in the foreground that no interrupt reaches, while they run.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from threading import Event, Lock
from time import monotonic
from typing import Final

from ..concurrency import notify_after_fork
from ..errors import InferenceError

# How long the end of the kernel waits for jobs to end.
SECONDS_TO_END: Final = 2.0


class JobEntry:
    """What the list of jobs has: a job, or a command in the foreground, in a thread that no interrupt reaches.

    Parameters
    ----------
    what : str
        What it does.
    cancelled : Event
        Ends it, as an interrupt does.
    """

    def __init__(self, what: str, cancelled: Event) -> None:
        self.id = 0
        self.what = what
        self.is_paused = False
        self.cancelled = cancelled
        self._over = Event()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def cancel(self) -> None:
        """End it, as an interrupt does."""
        self.cancelled.set()

    # The end of the kernel ends it in the same way.
    abandon = cancel

    def join(self, seconds: float) -> None:
        """Wait until it has ended, for a limited time."""
        self._over.wait(seconds)

    def end(self) -> None:
        """Note that it has ended."""
        self._over.set()


class Jobs:
    """The jobs by their numbers, which count from 1 and are never used again."""

    def __init__(self) -> None:
        self._last = 0
        self.after_fork_in_child()
        notify_after_fork(self)

    def after_fork_in_child(self) -> None:
        # In a child process, they run in its parent.
        self._jobs: dict[int, JobEntry] = {}
        self._to_announce: dict[int, Callable[[], str]] = {}
        self._lock = Lock()

    def __iter__(self) -> Iterator[JobEntry]:
        return iter(list(self._jobs.values()))

    @property
    def running(self) -> int:
        """How many have not ended."""
        return sum(not one.is_over for one in self)

    @property
    def has_paused(self) -> bool:
        """Whether one is paused: what it has reserved is not given back by itself."""
        return any(one.is_paused and not one.is_over for one in self)

    def add(self, job: JobEntry) -> None:
        """Give a job its number."""
        with self._lock:
            self._last += 1
            job.id = self._last
            self._jobs[job.id] = job
            # Registered once.
            atexit.unregister(self.close)
            atexit.register(self.close)

    def remove(self, job: JobEntry) -> None:
        """Take a job off the list."""
        self._jobs.pop(job.id, None)

    def get(self, number: int) -> JobEntry:
        """Return a job.

        Raises
        ------
        InferenceError
            If there is none of that number.
        """
        if (found := self._jobs.get(number)) is None:
            shown = ", ".join(map(str, self._jobs)) or "there are none"
            raise InferenceError(f"There is no job {number}.", why=f"Jobs: {shown}.", remedy="%wbjobs shows them.")
        return found

    def announce_end(self, job: JobEntry, notice: Callable[[], str]) -> None:
        """Announce the end of a job with the next reply or map, by the sentence that `notice` returns."""
        with self._lock:
            self._to_announce[job.id] = notice

    def stop_announcing(self, job: JobEntry) -> None:
        """Announce a job no more: its result was looked at."""
        with self._lock:
            self._to_announce.pop(job.id, None)

    def take_notices(self) -> tuple[str, ...]:
        """Return what is to be announced, once."""
        with self._lock:
            ended, self._to_announce = self._to_announce, {}
        return tuple(notice() for notice in ended.values())

    def close(self) -> None:
        """End all jobs, because the session ends."""
        atexit.unregister(self.close)
        running, until = [one for one in self._jobs.values() if not one.is_over], monotonic() + SECONDS_TO_END
        for one in running:
            one.abandon()
        for one in running:
            one.join(max(until - monotonic(), 0.0))
