"""The places of equal requests: which of them a row of a map, or a cell that is run again, asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..messages import Origin
    from .file import Exchange


class EqualRows:
    """The rows of one command whose requests are equal: which exchange each gets, and the place of a new one.

    Parameters
    ----------
    held : dict
        The numbers of the exchanges that were there when the command asked first, by their places, in order.
    first : int
        The place of the first row.
    """

    def __init__(self, held: dict[int, int], first: int) -> None:
        self._held, self.first = held, first
        self._count = max(held, default=-1) + 1
        # The last row that has got one.
        self.latest = -1

    def number(self, row: int, *, goes_round: bool) -> int | None:
        """Return the number of the exchange for a row, or None if there is none.

        Parameters
        ----------
        row : int
            How many of the rows are above it.
        goes_round : bool
            Whether it then gets that of another one.
        """
        place = self.first + row
        # After the last one come those before the first row, and once more if it goes round.
        if place >= self._count and (goes_round or place - self._count < self.first):
            place %= self._count
        if place not in self._held and goes_round:
            place = next((at for at in self._held if at > place), min(self._held))
        return self._held.get(place)


class CellRuns:
    """The requests that cells have made during a recording. Those of a cell that is run again replace its earlier ones.

    A cell that is run again shows only its last reply, so a replay must give that one.
    """

    def __init__(self) -> None:
        # By the cells, in the order in which they were run first: the run at present, and its number.
        self._runs: dict[str, tuple[str | None, int]] = {}
        # By key and cell: the places of its requests in all its runs. By key and place: the run that has it now.
        self._places: dict[tuple[str, str], list[int]] = {}
        self._taken: dict[tuple[str, int], Origin] = {}
        self._recorded: set[tuple[str, int]] = set()

    def run(self, origin: Origin) -> int:
        """Note a run of a cell, and return its number, counted from 1. It is 0 if the cell is not known."""
        if origin.cell is None:
            return 0
        execution, number = self._runs.get(origin.cell, (None, 0))
        if not number or execution != origin.execution:
            number += 1
            self._runs[origin.cell] = origin.execution, number
        return number

    def place(self, key: str, origin: Origin, new: int) -> int:
        """Return the place of a request: one of an equal request of its earlier runs, or `new`, which follows them."""
        if origin.cell is None:
            return new
        places = self._places.setdefault((key, origin.cell), [])
        place = next((one for one in places if self._taken.get((key, one)) != origin), new)
        if place == new:
            places.append(new)
        self._taken[key, place] = origin
        return place

    def release(self, key: str, place: int) -> None:
        """Note that a request has no reply that can be recorded: the next equal one of the run has its place."""
        self._taken.pop((key, place), None)

    def replaces(self, key: str, place: int) -> bool:
        """Note that the exchange of a request is recorded, and return whether it replaces one with its place."""
        replaces = (key, place) in self._recorded
        if (key, place) in self._taken:
            self._recorded.add((key, place))
        return replaces

    def is_any_below(self, cell: str | None, cells: Sequence[str]) -> bool:
        """Return whether a cell is followed, among `cells`, by one that was run first after it."""
        if cell not in self._runs or cell not in cells:
            return False
        order = list(self._runs)
        return not set(order[order.index(cell) :]).isdisjoint(cells[cells.index(cell) + 1 :])


class ReadCells:
    """The cells of the exchanges that were read from a file.

    Parameters
    ----------
    exchanges : iterable of (str, Exchange)
        The exchanges, each with the key of its request.
    """

    def __init__(self, exchanges: Iterable[tuple[str, Exchange]]) -> None:
        self._latest: dict[str, int] = {}
        # By key and cell: the first of its places.
        self._first: dict[tuple[str, str], int] = {}
        for key, one in exchanges:
            # The rows of maps have no run: their places say in which order they are.
            if one.cell is not None and one.run:
                self._latest[one.cell] = max(one.run, self._latest.get(one.cell, 0))
                self._first[key, one.cell] = min(one.place, self._first.get((key, one.cell), one.place))

    def is_outdated(self, exchange: Exchange) -> bool:
        """Return whether its cell was run again. If its request was asked again too, another one replaces it."""
        return exchange.cell is not None and 0 < exchange.run < self._latest[exchange.cell]

    def order(self, key: str, exchange: Exchange) -> tuple[bool, int, int]:
        """Return by what equal ones are ordered: the requests of a cell follow each other, outdated ones are last."""
        first = self._first[key, exchange.cell] if exchange.cell is not None and exchange.run else exchange.place
        return self.is_outdated(exchange), first, exchange.place


def cell_in_file(cell: str | None) -> str | None:
    """Return the id of a cell as a file has it. VS Code's ids contain a path of this machine: those are a digest."""
    if cell is None or re.fullmatch(r"[\w-]{1,64}", cell, re.ASCII):
        return cell
    return sha256(cell.encode(errors="replace")).hexdigest()[:16]
