"""What several kernels of one machine have spent together, in a file: for a class that shares a budget."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from threading import Event, Lock, Thread
from time import time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from ..errors import InferenceError, quoted
from .usage import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS: Final = 30.0
# A kernel that is killed holds its reservations for so long.
LEASE_SECONDS: Final = 90.0
RENEWAL_SECONDS: Final = 20.0

# `estimate_usd` is the cost of the prompt: what counts as spent for a call whose kernel was killed (`until` is over).
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
_RELEASE: Final = "delete from reserved where call = ?"


class SharedSpending:
    """The sum of what every kernel that uses the file has spent, and what their calls under way may still cost.

    Each kernel adds to a row of its own: what was added outlives a kernel that is killed, and a kernel that ends
    leaves its share behind. A call under way has a row with the most that it can cost, and until when the row holds;
    a thread renews it while the call goes on. Delete the file to begin anew.

    Parameters
    ----------
    path : Path
        Made where it is not there; its folder is not.
    now : callable, optional
        The clock of the leases, the same for all kernels.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time) -> None:
        self._path = path
        self._now = now
        self._kernel = uuid4().hex
        self._lock = Lock()
        self._calls: set[str] = set()
        self._ended: Event | None = None
        # Costs that the file did not take: added with the next change.
        self._owed = 0.0

    def add(self, usd: float) -> None:
        """Add what a call has cost that had no reservation.

        Raises
        ------
        InferenceError
            When the file cannot be used, here and in every method but `settle`.
        """
        with self._changing() as file:
            file.execute(_ADD, (self._kernel, usd))

    def total(self) -> float:
        """Return the USD that all kernels have spent, the estimates for calls of killed kernels included."""
        with self._changing() as file:
            return self._sum(file, _SPENT) + self._sum(file, _ESTIMATED, self._now(), "")

    def estimated(self) -> float:
        """Return the USD in `total` that are estimates, for calls whose kernel was killed."""
        with self._changing() as file:
            return self._sum(file, _ESTIMATED, self._now(), "")

    def left(self, budget: float) -> float:
        """Return the USD that are left of a budget, without those reserved for calls under way."""
        with self._changing() as file:
            return self._left(file, budget, "")

    def reserve(
        self, call: str, cost: Callable[[float], float], estimate: Callable[[], float], budget: float
    ) -> tuple[float, float]:
        """Reserve what a call can cost, in the place of what was reserved for it before, if so much is left.

        Checked and reserved in one transaction, so that kernels never pass the budget together.

        Parameters
        ----------
        call : str
            Tells the reservation from others.
        cost : callable
            Returns the USD to reserve, given those that are left.
        estimate : callable
            Returns the USD that count as spent if this kernel is killed; called after `cost`.
        budget : float

        Returns
        -------
        tuple of float
            The USD that were left, and those wanted: nothing is reserved anew where these are more.
        """
        with self._changing() as file:
            left = self._left(file, budget, call)
            usd = cost(left)
            if usd <= left + ROUNDING:
                file.execute(_RESERVE, (call, self._kernel, usd, estimate(), self._now() + LEASE_SECONDS))
        if usd <= left + ROUNDING:
            self._keep(call)
        return left, usd

    def settle(self, call: str, usd: float) -> None:
        """Put what a call has cost in the place of its reservation, in one transaction.

        A file that cannot be used takes the cost with the next change; the reservation lapses.
        """
        taken = Event()
        try:
            self._drop(call)
            with self._changing(taken.set) as file:
                file.execute(_RELEASE, (call,))
                if usd:
                    file.execute(_ADD, (self._kernel, usd))
        except (InferenceError, KeyboardInterrupt) as failure:
            if not taken.is_set():
                with self._lock:
                    self._owed += usd
            if isinstance(failure, KeyboardInterrupt):
                raise

    def renew(self) -> None:
        """Let the reservations of this kernel hold for another while."""
        with self._lock:
            calls = list(self._calls)
        with self._changing() as file:
            file.executemany(_RENEW, [(self._now() + LEASE_SECONDS, call) for call in calls])

    def _keep(self, call: str) -> None:
        """Renew a reservation from now on; the thread that does so is there only while there is one."""
        with self._lock:
            self._calls.add(call)
            if self._ended is not None:
                return
            ended = Event()
            # Where no thread can be started, the reservation holds for its first while.
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
            # A file that is busy or gone may be there the next time; calls to come are refused for it.
            with suppress(InferenceError):
                self.renew()

    def _left(self, file: sqlite3.Connection, budget: float, call: str) -> float:
        now = self._now()
        reserved = self._sum(file, _RESERVED, now, call) + self._sum(file, _ESTIMATED, now, call)
        return max(budget - self._sum(file, _SPENT) - reserved, 0.0)

    @staticmethod
    def _sum(file: sqlite3.Connection, query: str, *values: object) -> float:
        return float(file.execute(query, values).fetchone()[0])

    def _opened(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self._path, timeout=PATIENCE_SECONDS, isolation_level=None)
        except ValueError as error:
            # A name with a null character in it.
            raise sqlite3.OperationalError(str(error)) from None

    @contextmanager
    def _changing(self, taken: Callable[[], object] = bool) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction that no other kernel comes between; it holds where nothing is raised.

        `taken` is called as soon as the file has it: an interrupt may come between that and the end.
        """
        # Not kept open: kernels come and go, threads differ, and the file may be on its way to be deleted.
        try:
            with closing(self._opened()) as file:
                file.execute("begin immediate")
                for table in _TABLES:
                    file.execute(table)
                owed, is_ending = 0.0, False
                try:
                    with self._lock:
                        owed, self._owed = self._owed, 0.0
                    if owed:
                        file.execute(_ADD, (self._kernel, owed))
                    yield file
                    is_ending = True
                    file.execute("commit")
                    taken()
                except BaseException as failure:
                    # An interrupt that comes while the file is written is raised when it has been.
                    if is_ending and not isinstance(failure, sqlite3.Error) and not file.in_transaction:
                        taken()
                    else:
                        with self._lock:
                            self._owed += owed
                    raise
        except sqlite3.Error as error:
            raise InferenceError(
                f"The budget file {self._path} cannot be used. Nothing was sent.",
                why=quoted(str(error)),
                remedy="Name a file in a folder that is there and may be written: %wbconfig --budget-file FILE.",
                cause="budget",
            ) from None
