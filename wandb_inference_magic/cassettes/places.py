"""The places of equal requests: which of them a row of a map, or a cell that is run again, asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..messages import Origin


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


@dataclass(slots=True)
class _Run:
    """The places of the equal requests of a run of a cell, and of those of its run before."""

    execution: str | None
    earlier: list[int]
    places: list[int] = field(default_factory=list)


class CellRuns:
    """The requests that cells have made during a recording. Those of a cell that is run again replace its earlier ones.

    A cell that is run again shows only its last reply, so a replay must give that one.
    """

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}
        self._replaced: set[tuple[str, int]] = set()

    def place(self, key: str, origin: Origin, new: int) -> int:
        """Return the place of a request: that of an equal one of the cell's earlier run, or else `new`."""
        if origin.cell is None:
            return new
        run = self._runs.get((key, origin.cell))
        if run is None or run.execution != origin.execution:
            run = self._runs[key, origin.cell] = _Run(origin.execution, [] if run is None else run.places)
        number = len(run.places)
        place = run.earlier[number] if number < len(run.earlier) else new
        if place != new:
            self._replaced.add((key, place))
        run.places.append(place)
        return place

    def replaces(self, key: str, place: int) -> bool:
        """Return whether the exchange of a request replaces an earlier one with its place."""
        return (key, place) in self._replaced
