"""The spending of several kernels on one machine, kept in a file, for a class that shares a budget."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePath
from shlex import quote
from threading import Event, Lock, Thread
from time import time
from typing import Final
from urllib.parse import quote_from_bytes
from uuid import uuid4

from ..concurrency import ForkAware, without_forks
from ..config import LOCK_SECONDS, how_to_write, wait_for_lock
from ..errors import InferenceError, quoted
from .usage import ROUNDING

# The reservations of a killed kernel are valid for this long.
LEASE_SECONDS: Final = 90.0
RENEWAL_SECONDS: Final = 20.0

# `estimate_usd` is the cost of the prompt. It counts as spent if the call's kernel was killed (`until` has passed).
_TABLES: Final = (
    "create table if not exists spent (kernel text primary key, usd real not null) without rowid",
    "create table if not exists reserved (call text primary key, kernel text not null, usd real not null, "
    "estimate_usd real not null, until real not null) without rowid",
)
_ADD: Final = "insert into spent values (?, ?) on conflict (kernel) do update set usd = usd + excluded.usd"
_SPENT: Final = "select coalesce(sum(max(usd, 0.0)), 0.0) from spent"
_RESERVED: Final = "select coalesce(sum(max(usd, 0.0)), 0.0) from reserved where until >= ? and call != ?"
_ESTIMATED: Final = "select coalesce(sum(max(estimate_usd, 0.0)), 0.0) from reserved where until < ? and call != ?"
_RESERVE: Final = "insert or replace into reserved values (?, ?, ?, ?, ?)"
_RENEW: Final = "update reserved set until = ? where call = ?"
# Of a kernel whose clock was ahead.
_CLAMP: Final = "update reserved set until = :longest where until > :longest"
_RELEASE: Final = "delete from reserved where call = ?"


class SharedSpending(ForkAware):
    """The spending of all kernels that use the file, and what their running calls may still cost.

    Each kernel adds to its own row. The row stays in the file when the kernel ends or is killed. A running call has a
    row with its worst-case cost and the time until which the row is valid; a thread renews it while the call runs.
    Delete the file to start again from zero.

    All methods except `settle` raise InferenceError when the file cannot be used.

    Parameters
    ----------
    path : Path
        The file. It is created if it does not exist; its folder is not. All who may write into the folder may write it.
    now : callable, optional
        The clock of the leases, the same for all kernels.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time) -> None:
        self._path = path
        self._now = now
        self._kernel = uuid4().hex
        super().__init__()

    def after_fork_in_child(self) -> None:
        # In a child process, the parent renews the reservations of its calls, and adds what it owes.
        self._lock = Lock()
        self._calls: set[str] = set()
        self._ended: Event | None = None
        # Calls that have ended, with their costs, which are not in the file yet. The next change writes them.
        self._owed: list[tuple[str, float]] = []

    def check(self) -> None:
        """Raise InferenceError if the file cannot be written, which is seen only by writing."""
        with self._changing() as file:
            file.execute(_RESERVE, (self._kernel, self._kernel, 0.0, 0.0, 0.0))
            file.execute(_RELEASE, (self._kernel,))

    def spent(self) -> float:
        """Return the USD that all kernels have spent, including the estimates for calls of killed kernels."""
        with self._changing() as file:
            return self._sum(file, _SPENT) + self._sum(file, _ESTIMATED, self._now(), "")

    def estimated(self) -> float:
        """Return the part of `spent`, in USD, that is estimated: the calls whose kernel was killed."""
        with self._changing() as file:
            return self._sum(file, _ESTIMATED, self._now(), "")

    def left(self, limit: float) -> float:
        """Return the USD left of `limit`, less those reserved for running calls."""
        with self._changing() as file:
            return self._left(file, limit, "")

    def reserved(self) -> float:
        """Return the USD reserved for running calls, also those of other kernels."""
        with self._changing() as file:
            return self._sum(file, _RESERVED, self._now(), "")

    def reserve(self, call: str, cost: Callable[[float], float], estimate: float, limit: float) -> float:
        """Reserve the worst-case cost of a call, if that much is left. It replaces the call's earlier reservation.

        The check and the reservation are one transaction, so that the kernels together never exceed the budget.

        Parameters
        ----------
        call : str
            Identifies the reservation.
        cost : callable
            Takes the USD that are left, and returns the USD to reserve, or infinity to reserve nothing.
        estimate : float
            The USD that count as spent if this kernel is killed.
        limit : float

        Returns
        -------
        float
            The USD that were left. If they are less than `cost` returns, the reservation is unchanged.
        """
        with self._changing() as file:
            left = self._left(file, limit, call)
            usd = cost(left)
            if is_enough := usd <= left + ROUNDING:
                file.execute(_RESERVE, (call, self._kernel, usd, estimate, self._now() + LEASE_SECONDS))
        if is_enough:
            self._keep(call)
        return left

    def settle(self, call: str, usd: float) -> None:
        """Replace a call's reservation with its real cost, in one transaction.

        If the file cannot be used at once, the next change does so.
        """
        with self._lock:
            self._owed.append((call, usd))
        self._drop(call)
        with suppress(InferenceError), self._changing(is_patient=False):
            pass

    def renew(self) -> None:
        """Extend the reservations of this kernel by `LEASE_SECONDS` from now."""
        with self._lock:
            calls = list(self._calls)
        with self._changing() as file:
            file.executemany(_RENEW, [(self._now() + LEASE_SECONDS, call) for call in calls])

    def _keep(self, call: str) -> None:
        """Renew a reservation from now on. The renewing thread runs only while there are reservations."""
        with self._lock:
            self._calls.add(call)
            if self._ended is not None:
                return
            ended = Event()
            # If no thread can be started, the reservation is valid for its first `LEASE_SECONDS` only.
            with suppress(RuntimeError):
                Thread(target=self._renew_until, args=(ended,), name="wb-budget", daemon=True).start()
                self._ended = ended

    def _drop(self, call: str) -> None:
        with self._lock:
            self._calls.discard(call)
            if not self._calls and self._ended is not None:
                self._ended.set()
                self._ended = None

    def _renew_until(self, ended: Event) -> None:
        while not ended.wait(RENEWAL_SECONDS):
            # A busy or missing file may be usable the next time. Until then, new calls are refused.
            with suppress(InferenceError):
                self.renew()

    def _left(self, file: sqlite3.Connection, limit: float, call: str) -> float:
        now = self._now()
        reserved = self._sum(file, _RESERVED, now, call) + self._sum(file, _ESTIMATED, now, call)
        return max(limit - self._sum(file, _SPENT) - reserved, 0.0)

    @staticmethod
    def _sum(file: sqlite3.Connection, query: str, *values: object) -> float:
        return float(file.execute(query, values).fetchone()[0])

    @contextmanager
    def _changing(self, *, is_patient: bool = True) -> Iterator[sqlite3.Connection]:
        """Open the file for one exclusive transaction, and write what is owed. It is committed if nothing is raised.

        `is_patient`: wait longer than a moment for other kernels, until an interrupt.
        """
        # Not kept open: kernels start and end, threads differ, and the file may be about to be deleted. A child process
        # that is forked meanwhile would take the file for locked, for ever.
        # SQLite resolves links, and writes its journal beside the file itself.
        path = Path(os.path.realpath(self._path))
        if os.name == "posix" and not _exists(path):
            _create(path)
        # In a folder with the sticky bit, Linux may refuse to open another user's file in a mode that could create it.
        address = f"{_address(path)}?mode={'rw' if _exists(path) else 'rwc'}"
        try:
            with (
                without_forks(),
                closing(sqlite3.connect(address, timeout=LOCK_SECONDS, isolation_level=None, uri=True)) as file,
            ):
                begin = partial(file.execute, "begin immediate")
                # A call that ends is settled whole, whatever interrupts it.
                wait_for_lock(self._path, begin) if is_patient else begin()
                for table in _TABLES:
                    file.execute(table)
                file.execute(_CLAMP, {"longest": self._now() + LEASE_SECONDS})
                owed: list[tuple[str, float]] = []
                is_ending = False
                try:
                    with self._lock:
                        owed, self._owed = self._owed, []
                    file.executemany(_RELEASE, [(call,) for call, _ in owed])
                    if usd := sum(cost for _, cost in owed):
                        file.execute(_ADD, (self._kernel, usd))
                    yield file
                    is_ending = True
                    file.execute("commit")
                except BaseException as failure:
                    # An interrupt during the commit is raised after the file has been written.
                    if not is_ending or isinstance(failure, sqlite3.Error) or file.in_transaction:
                        with self._lock:
                            self._owed = owed + self._owed
                    raise
        except sqlite3.Error as error:
            raise InferenceError(
                f"The budget file {self._path} cannot be used. Nothing was sent.",
                why=quoted(str(error)),
                remedy=_remedy(path, error),
                cause="budget",
            ) from None


def _address(path: PurePath) -> str:
    """Return the URI of a file for SQLite, which refuses the host of a path on a network drive."""
    return f"file:///{quote_from_bytes(os.fsencode(path.as_posix().removeprefix('/')), safe='/:')}"


def _exists(path: Path) -> bool:
    # `Path.exists` raises for a folder that may not be searched.
    return os.access(path, os.F_OK)


def _create(path: Path) -> None:
    """Create a file that all who may write into its folder may write: SQLite would make one for its user only.

    If that fails, SQLite tries and says why.
    """
    beside = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.new")
    with suppress(OSError, NotImplementedError):
        # Others who may write into the folder may put a link in place of the file: its rights are set through the
        # descriptor, never by name.
        file = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o664)
        try:
            folder = path.parent.stat()
            with suppress(OSError):
                os.fchown(file, -1, folder.st_gid)
            made = os.fstat(file)
            others, group = bool(folder.st_mode & stat.S_IWOTH), bool(folder.st_mode & stat.S_IWGRP)
            if made.st_gid != folder.st_gid:
                # Its own group is one of the folder's others, unless an access list of the folder holds for the file.
                group = others or (group and bool(made.st_mode & stat.S_IWGRP))
            os.fchmod(file, (made.st_mode & 0o644) | 0o060 * group | 0o006 * others)
            # Never in place of a file, and with its permissions from the start.
            os.link(beside, path, follow_symlinks=False)
        finally:
            os.close(file)
            beside.unlink()


def _remedy(path: Path, error: sqlite3.Error) -> str:
    """Return what to do about a file that SQLite cannot use. Why it cannot write is not in its message."""
    command = "%wbconfig --budget-file FILE"
    if "database is locked" in str(error):
        return "Another program is using it. Run the cell again when that has ended."
    if kind := _other_kind(path, error):
        return f"It is {kind}. Name another file: {command}."
    closed = [
        f"{name} must be writable for you: its owner, {_owner(one)}, must run: chmod {mode} {quote(str(one))}"
        for name, one, mode in (("The file", path, "a+rw"), ("Its folder", path.parent, "a+rwxt"))
        if os.name == "posix" and _exists(one) and not os.access(one, os.W_OK)
    ]
    # On a disk that is read-only, no permission helps.
    if closed and not os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        return f"{'. '.join(closed)}."
    return how_to_write(error, command)


def _other_kind(path: Path, error: sqlite3.Error) -> str:
    """Return what the path is if it is not a budget file, or an empty string."""
    if not _exists(path):
        return ""
    if not path.is_file():
        return "a folder" if path.is_dir() else "not a regular file"
    # SQLite does not understand what the file contains.
    if not isinstance(error, sqlite3.OperationalError):
        return "not a budget file, or it is damaged"
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return ""
    try:
        with path.open("rb") as file:
            return "" if b" spent (kernel " in file.read(4096) else "not a budget file"
    except OSError:
        return "a file that you cannot read"


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"
