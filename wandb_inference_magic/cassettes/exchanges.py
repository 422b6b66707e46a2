"""The exchanges of a cassette in memory: equal requests in the order in which they are replayed."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from .matching import key_in_any_form, key_of, may_follow
from .places import EqualRows, ReadCells

if TYPE_CHECKING:
    from .file import Exchange


class Exchanges:
    """Exchanges by their numbers, which are counted from 0, and by the keys of their requests.

    Parameters
    ----------
    exchanges : sequence of Exchange
        Those that were read from a file.
    asks_refused : bool
        Whether a request that was only refused is asked again: what was refused may be accepted by now, because the
        model is there, or the server runs with another option.

    Attributes
    ----------
    endpoints : set of str
    latest : dict
        By key: the number of the exchange that was replayed or recorded last.
    """

    def __init__(self, exchanges: Sequence[Exchange], *, asks_refused: bool) -> None:
        self.endpoints: set[str] = set()
        self.latest: dict[str, int] = {}
        self._asks_refused = asks_refused
        self._all: list[Exchange] = []
        # By the number of an exchange: by what equal ones are ordered, with its number.
        self._order: list[tuple[bool, int, int, int]] = []
        # The numbers of the exchanges with each key, in that order.
        self._by_key: dict[str, list[int]] = {}
        # So that none is searched for: the refusals by key and place.
        self._refusals: dict[tuple[str, int], int] = {}
        # The exchanges of which one may follow another that was refused, each by its key.
        self._by_any_form: dict[str, dict[str, int]] = {}
        # How many requests were made with each key, and one more than the last place of those that have an exchange, or
        # that are no rows: their cells may ask them again.
        self._requests: dict[str, int] = {}
        self._held: dict[str, int] = {}
        keys = [key_of(one.endpoint, one.path, one.request) for one in exchanges]
        cells = ReadCells(zip(keys, exchanges, strict=True))
        for key, one in zip(keys, exchanges, strict=True):
            self.add(key, one, cells.order(key, one))

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Exchange:
        return self._all[number]

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._all)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def add(self, key: str, exchange: Exchange, order: tuple[bool, int, int] | None = None) -> int:
        """Add an exchange, in this order among those with equal requests or by its place. Return its number."""
        number = len(self._all)
        self._all.append(exchange)
        self._order.append((*(order or (False, exchange.place, exchange.place)), number))
        self.endpoints.add(exchange.endpoint)
        for places in (self._requests, self._held):
            places[key] = max(places.get(key, 0), exchange.place + 1)
        if self._asks_refused:
            others = self._by_any_form.setdefault(key_in_any_form(exchange), {})
            if key not in others or not exchange.is_refusal:
                others[key] = number
        equal = self._by_key.setdefault(key, [])
        if exchange.replaces:
            equal[:] = [one for one in equal if self._all[one].place != exchange.place]
        # Another one comes in the place of a refusal.
        if (refused := self._refusals.pop((key, exchange.place), None)) is not None:
            equal[:] = [one for one in equal if one != refused]
            if self.latest.get(key) == refused:
                self.latest[key] = number
        if exchange.is_refusal:
            self._refusals[key, exchange.place] = number
        insort(equal, number, key=self._order.__getitem__)
        return number

    def is_outdated(self, number: int) -> bool:
        """Return whether the cell of an exchange that was read no longer asks its request."""
        return self._order[number][0]

    def refusal(self, key: str, place: int) -> int | None:
        """Return the number of the refusal with this key and place, or None."""
        return self._refusals.get((key, place))

    def is_answered(self, key: str) -> bool:
        """Return whether any request with this key was not refused."""
        return not all(self._all[number].is_refusal for number in self._by_key[key])

    def is_replayed(self, number: int) -> bool:
        """Return whether an exchange answers its request: a refusal that is asked again only if its call went on."""
        refused = self._all[number]
        if not self._asks_refused or not refused.is_refusal:
            return True
        others = self._by_any_form.get(key_in_any_form(refused), {}).values()
        return any(may_follow(self._all[one].request, refused) and self.is_replayed(one) for one in others)

    def next_of(self, key: str) -> int | None:
        """Return the number of the exchange with this key that follows the latest one; None if there is none."""
        equal = self._by_key.get(key)
        return equal[self._start(key)] if equal else None

    def _start(self, key: str) -> int:
        """Return which of the exchanges with this key follows the latest one."""
        equal = self._by_key.get(key, [])
        if key not in self.latest:
            return 0
        return bisect(equal, self._order[self.latest[key]], key=self._order.__getitem__) % len(equal)

    def follow(self, key: str, number: int) -> None:
        """Note that an exchange was made. The next request with this key gets what follows it.

        An exchange that is earlier than the latest one changes nothing for the next request.
        """
        if self._all[number].place >= self._all[self.latest.get(key, number)].place:
            self.latest[key] = number

    def made(self, key: str) -> int:
        """Return how many requests were made with this key."""
        return self._requests.get(key, 0)

    def count(self, key: str, place: int, *, is_row: bool) -> None:
        """Count a request that is about to be sent. `is_row` says whether it is that of a row of a map."""
        self._requests[key] = max(self.made(key), place + 1)
        if not is_row:
            self._held[key] = max(self._held.get(key, 0), place + 1)

    def rows(self, key: str, *, starts_over: bool) -> EqualRows:
        """Return the places of the rows of a command whose requests have this key.

        `starts_over` says whether they come after all exchanges that there are: those of a new recording.
        """
        by_key = self._by_key.get(key, [])
        equal = sorted(by_key, key=lambda number: (self._all[number].place, number))
        places = [self._all[number].place for number in equal]
        if len(set(places)) < len(places):
            # Older versions stored no places, and two jobs may have recorded at the same time.
            places = list(range(len(equal)))
        held = dict(zip(places, equal, strict=True))
        if starts_over:
            first = self._held.get(key, 0)
        elif start := self._start(key):
            first = places[equal.index(by_key[start])]
        else:
            # A place without an exchange is that of a row that failed. That of an edited cell is no row's.
            first = next(at for at in count() if at not in held or not self.is_outdated(held[at]))
        return EqualRows(held, first)
