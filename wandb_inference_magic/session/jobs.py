"""The jobs of a session: their numbers, which have ended and were not announced yet, and records of them on disk.

The list also has the commands in the foreground that no interrupt reaches, while they run. The records are there so
that the jobs of a killed kernel are listed. They have no prompts, no answers and no keys.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Event, Lock
from time import monotonic, time
from typing import Any, Final
from uuid import uuid4

from ..concurrency import ForkAware
from ..config import cache_folder, read_file, replace_file
from ..errors import InferenceError
from ..text import read_json_text

# How long the end of the kernel waits for jobs to end.
SECONDS_TO_END: Final = 2.0
# How long a cell that is run again waits for its job to end.
SECONDS_TO_END_EARLIER: Final = 5.0
FOLDER: Final = "jobs"
# Where files cannot be locked, a record that was not written for so long is taken for that of a killed kernel.
LEASE_SECONDS: Final = 90.0
KEPT_SECONDS: Final = 30 * 86_400.0
MAX_RECORD_BYTES: Final = 10_000
MAX_TEXT_CHARS: Final = 200


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
        # Of a job.
        self.record = JobRecord()
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


class Jobs(ForkAware):
    """The jobs by their numbers, which count from 1 and are never used again."""

    def __init__(self) -> None:
        self._last = 0
        super().__init__()

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

    def end_earlier(self, record: JobRecord) -> None:
        """End the jobs that earlier executions of the same cell have started. One execution may start several."""
        for one in self:
            if not one.is_over and one.record.is_same_cell(record) and one.record.execution != record.execution:
                one.cancel()
                one.join(SECONDS_TO_END_EARLIER)

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


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job that has not ended.

    Attributes
    ----------
    what : str
        The magic and the name of the frame.
    variable : str
        The variable of the Job.
    notebook, cell, execution : str
        Where it was started, as far as it is known: the notebook's file, the cell's id and its number.
    started, written : float
        Seconds since 1970.
    done, total : int
        The total is 0 if it is not known.
    unit : str
        What is counted.
    keeps_answers : bool
        Whether its answers are on disk.
    asks : str
        A digest of what it asks.
    state : str
    """

    what: str = ""
    variable: str = ""
    notebook: str = ""
    cell: str = ""
    execution: str = ""
    started: float = 0.0
    written: float = 0.0
    done: int = 0
    total: int = 0
    unit: str = "rows"
    keeps_answers: bool = True
    asks: str = ""
    state: str = "running"

    def is_same_cell(self, other: JobRecord) -> bool:
        """Return whether another job is of the same cell of the same notebook."""
        return bool(self.cell) and (self.notebook, self.cell) == (other.notebook, other.cell)

    def is_same(self, other: JobRecord) -> bool:
        """Return whether another job is the same: of the same cell or, if cells have no ids, of the same questions."""
        if self.cell or other.cell:
            return self.is_same_cell(other)
        return bool(self.asks) and self.asks == other.asks


class RecordFile(ForkAware):
    """The file of one job.

    A file that cannot be written is not reported: the job runs as well without it, and is only not listed after a
    restart.
    """

    def __init__(self) -> None:
        self._name = f"{uuid4().hex}.json"
        self._descriptor: int | None = None
        # A child process would hold the lock after this one has ended.
        super().__init__()

    def write(self, record: JobRecord) -> None:
        """Write the record in place of the one before."""
        with suppress(OSError):
            path = folder() / self._name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._descriptor is None:
                self._descriptor = _lock(_lock_of(path))
            replace_file(path, json.dumps(asdict(record)).encode())

    def remove(self) -> None:
        """Remove the record, because the job has ended."""
        self.release()
        with suppress(OSError):
            _remove(folder() / self._name)

    def release(self) -> None:
        """Leave the record to be found: the job has ended unfinished."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None

    # In a child process, the lock is left to the parent.
    after_fork_in_child = release


def folder() -> Path:
    """Return the folder of the records, in the user's cache folder."""
    return cache_folder() / FOLDER


def unfinished() -> list[JobRecord]:
    """Return the jobs whose kernels have ended before them, the oldest first. Old records are removed."""
    found = []
    for path, record in _records():
        if time() - record.written > KEPT_SECONDS:
            _remove(path)
        elif _is_left(path, record):
            found.append(record)
    return sorted(found, key=lambda one: one.started)


def delete_same(record: JobRecord) -> None:
    """Remove the records of earlier runs of the same job, because it is run again, or was run to its end."""
    for path, one in _records():
        if one.is_same(record) and _is_left(path, one):
            _remove(path)


def _is_left(path: Path, record: JobRecord) -> bool:
    """Return whether the job's kernel has ended, and the job with it."""
    if record.state == "cancelled":
        return True
    try:
        descriptor = _lock(_lock_of(path))
    except BlockingIOError:
        return False
    except OSError:
        descriptor = None
    if descriptor is None:
        return time() - record.written > LEASE_SECONDS
    os.close(descriptor)
    return True


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        _lock_of(path).unlink(missing_ok=True)


def _records() -> list[tuple[Path, JobRecord]]:
    found = []
    with suppress(OSError):
        for path in folder().glob("*.json"):
            with suppress(OSError, ValueError, TypeError):
                found.append((path, _read(read_json_text(read_file(path, MAX_RECORD_BYTES).decode()))))
    return found


def _read(kept: Any) -> JobRecord:
    """Return a record. Raise TypeError if another program wrote it."""
    known = {one.name: type(one.default) for one in fields(JobRecord)}
    if isinstance(kept, dict):
        # Earlier versions did not write it.
        kept.setdefault("asks", "")
    if not isinstance(kept, dict) or any(not isinstance(kept.get(name), kind) for name, kind in known.items()):
        raise TypeError("not a record")
    if not (0 <= kept["started"] <= time() + 86_400 and kept["done"] >= 0 and kept["total"] >= 0):
        raise ValueError("not a record of now")
    return JobRecord(
        **{name: kept[name][:MAX_TEXT_CHARS] if kind is str else kept[name] for name, kind in known.items()}
    )


def _lock(path: Path) -> int | None:
    """Return a descriptor that locks a file as long as this process lives; None where files cannot be locked.

    Raises
    ------
    BlockingIOError
        If a process has locked it.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:
        # On Windows, and in Pyodide, where the module is empty.
        return None
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except OSError as failure:
        os.close(descriptor)
        if isinstance(failure, BlockingIOError):
            raise
        # Some network folders.
        return None
    return descriptor
