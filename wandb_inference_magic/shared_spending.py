"""What several kernels of one machine have spent together, in a file: for a class that shares a budget."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from .errors import InferenceError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS: Final = 30.0
_TABLE: Final = "create table if not exists spent (kernel text primary key, usd real not null) without rowid"
_ADD: Final = "insert into spent values (?, ?) on conflict (kernel) do update set usd = usd + excluded.usd"


class SharedSpending:
    """The sum of what every kernel that uses the file has spent.

    Each kernel adds to a row of its own, in a transaction of its own: what was added outlives a kernel that is
    killed, and a kernel that ends leaves its share behind. Delete the file to begin anew.

    Parameters
    ----------
    path : Path
        Made where it is not there; its folder is not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kernel = uuid4().hex

    def add(self, usd: float) -> None:
        """Add what a call has cost.

        Raises
        ------
        InferenceError
            When the file cannot be used, here and in `total`.
        """
        with self._opened() as file:
            file.execute(_ADD, (self._kernel, usd))

    def total(self) -> float:
        """Return the USD that all kernels have spent."""
        with self._opened() as file:
            return float(file.execute("select coalesce(sum(usd), 0.0) from spent").fetchone()[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # Not kept open: kernels come and go, threads differ, and the file may be on its way to be deleted.
        try:
            with closing(sqlite3.connect(self._path, timeout=PATIENCE_SECONDS, isolation_level=None)) as file:
                file.execute(_TABLE)
                yield file
        except sqlite3.Error as error:
            raise InferenceError(
                f"The budget file {self._path} cannot be used. Nothing was sent.",
                why=quoted(str(error)),
                remedy="Name a file in a folder that is there and may be written: %wbconfig --budget-file FILE.",
                cause="budget",
            ) from None
