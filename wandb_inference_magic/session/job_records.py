"""What is known about jobs on disk, so that those of a killed kernel are listed. No prompts, no answers, no keys."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import time
from typing import Any, Final
from uuid import uuid4

from ..concurrency import notify_after_fork
from ..config import cache_folder, read_file, replace_file
from ..text import read_json_text

FOLDER: Final = "jobs"
# Where files cannot be locked, a record that was not written for so long is taken for that of a killed kernel.
LEASE_SECONDS: Final = 90.0
KEPT_SECONDS: Final = 30 * 86_400.0
MAX_RECORD_BYTES: Final = 10_000
MAX_TEXT_CHARS: Final = 200


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
    state: str = "running"

    def is_same_cell(self, other: JobRecord) -> bool:
        """Return whether another job is of the same cell of the same notebook."""
        return bool(self.cell) and (self.notebook, self.cell) == (other.notebook, other.cell)


class RecordFile:
    """The file of one job.

    A file that cannot be written is not reported: the job runs as well without it, and is only not listed after a
    restart.
    """

    def __init__(self) -> None:
        self._name = f"{uuid4().hex}.json"
        self._descriptor: int | None = None
        # A child process would hold the lock after this one has ended.
        notify_after_fork(self)

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
    """Remove the records of earlier runs of the same cell, because it is run again, or was run to its end."""
    for path, one in _records() if record.cell else ():
        if one.is_same_cell(record) and _is_left(path, one):
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
