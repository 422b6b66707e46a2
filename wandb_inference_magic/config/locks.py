"""Wait for other programs that have locked a file of SQLite."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from ..concurrency import check_interrupts, wait

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# How long SQLite itself waits for a lock, which no interrupt ends, and how long `wait_for_lock` waits in all.
LOCK_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 15.0
LOCK_PAUSE_SECONDS: Final = 0.02


def wait_for_lock(path: Path, work: Callable[[], T]) -> T:
    """Do `work` with the file of SQLite at `path`, again while other programs have locked it. Return its result.

    An interrupt ends the wait, unlike one that SQLite waits itself: open the file with `timeout=LOCK_SECONDS`.

    Raises
    ------
    sqlite3.Error
        What `work` raises. Also at once when the file system has no locks, which SQLite takes for a lock of another
        program or for a broken disk.
    """
    import sqlite3

    until = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            is_locked = "database is locked" in str(error)
            if not is_locked and "disk I/O error" not in str(error):
                raise
            if why := _why_no_locks(path.parent):
                raise sqlite3.OperationalError(f"{path}: its file system has no locks ({why})") from None
            if not is_locked or monotonic() > until:
                raise
        check_interrupts()
        # Some locks SQLite does not wait for.
        wait(LOCK_PAUSE_SECONDS)


def _why_no_locks(folder: Path) -> str:
    """Return why files in a folder cannot be locked, as on NFS without its lock service; empty if they can be."""
    if os.name != "posix":
        return ""
    from fcntl import LOCK_EX, LOCK_NB, lockf
    from tempfile import TemporaryFile

    # Another file: to close the one that is in use would end the locks that this process has on it. No other program
    # can have locked it, so any failure is one of the file system.
    with suppress(OSError), TemporaryFile(dir=folder) as file:
        try:
            lockf(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            return error.strerror or str(error)
    return ""
