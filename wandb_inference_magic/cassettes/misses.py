"""Why a request is not in a cassette: the recorded request that it is compared with, and in what they differ."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..errors import shortened
from ..messages import ADDED_JSON_MODE, without_json_mode
from .matching import MAX_SHOWN, comparable, differences, key_of, model_of

if TYPE_CHECKING:
    from .exchanges import Exchanges
    from .file import Exchange


class Misses:
    """The numbers of exchanges by what was asked, so that a request that is missed is compared with one of them.

    Attributes
    ----------
    last_replayed : int
        The number of the exchange that was replayed last.
    """

    def __init__(self) -> None:
        self.last_replayed = -1
        self._by_path: dict[str, list[int]] = {}
        # By path, cell and model, also without the model.
        self._by_cell: dict[tuple[str, str | None, str | None], list[int]] = {}
        # By all but the last message. How many exchanges are in it: it is made at the first miss.
        self._by_context: dict[str, list[int]] = {}
        self._has_context_of = 0

    def add(self, number: int, exchange: Exchange, *, is_outdated: bool = False) -> None:
        """Add an exchange. `is_outdated` says whether its cell no longer asks its request."""
        self._by_path.setdefault(exchange.path, []).append(number)
        for model in {model_of(exchange.request), None} if exchange.cell is not None and not is_outdated else ():
            self._by_cell.setdefault((exchange.path, exchange.cell, model), []).append(number)

    def why(
        self, exchanges: Exchanges, endpoint: str, path: str, request: Any, *, cell: str | None, damage: str
    ) -> str:
        """Return a message that names the first field in which a missing request differs from a recorded one.

        That is one that its cell has asked, of the same model if there is one. For a cell that is not known it is one
        that differs only in the last message, or else the one after the last that was replayed, or the last one. No
        further ones are looked at: if the prompt of a map has changed, all its rows are missing.

        Parameters
        ----------
        exchanges : Exchanges
        endpoint, path, request
            What is missing.
        cell : str or None
            The cell that asks, as it is in the file.
        damage : str
            What of the file cannot be read.
        """
        if not (of_kind := self._by_path.get(path)):
            return f"It holds no request of this kind ({path}).{damage}"
        which, number = self._compared(exchanges, endpoint, path, request, cell) or self._next(of_kind)
        one = exchanges[number]
        if ADDED_JSON_MODE.get() and isinstance(one.request, dict) and "response_format" not in one.request:
            request = without_json_mode(request)
        found = chain(
            differences(one.endpoint, endpoint, "endpoint"),
            differences(comparable(one.request), comparable(request)),
        )
        difference = next(found, None)
        if difference is None:
            return f"It has been asked more often than it was recorded.{damage}"
        field, recorded, requested = difference
        where = shortened(field, MAX_SHOWN) or "its body"
        if ";sha256," in recorded and ";sha256," in requested:
            of_picture = "Its picture is another one: drawn from other data, or by another version of the library."
            return f"{which} differs in {where}. {of_picture}{damage}"
        return f"{which} differs in {where}. Recorded: {recorded}. Asked: {requested}.{damage}"

    def _compared(
        self, exchanges: Exchanges, endpoint: str, path: str, request: Any, cell: str | None
    ) -> tuple[str, int] | None:
        """Return what a request is compared with, wherever in the file that is, and its number."""
        if own := self._by_cell.get((path, cell, model_of(request))) or self._by_cell.get((path, cell, None)):
            return "The recorded request of this cell", self._in_turn(own)
        for number in range(self._has_context_of, len(exchanges)):
            one = exchanges[number]
            if (key := _key_of_context(one.endpoint, one.path, one.request)) is not None:
                self._by_context.setdefault(key, []).append(number)
        self._has_context_of = len(exchanges)
        like = self._by_context.get(_key_of_context(endpoint, path, request) or "")
        return ("A recorded request with equal settings and earlier messages", self._in_turn(like)) if like else None

    def _in_turn(self, some: Sequence[int]) -> int:
        """Return which of some exchanges follows the last that was replayed. If that is none of them: the first."""
        following = bisect(some, self.last_replayed)
        is_in_turn = following and some[following - 1] == self.last_replayed
        return some[min(following, len(some) - 1) if is_in_turn else 0]

    def _next(self, of_kind: Sequence[int]) -> tuple[str, int]:
        following = bisect(of_kind, self.last_replayed)
        which = "The next recorded request" if following < len(of_kind) else "The last recorded request"
        return which, of_kind[min(following, len(of_kind) - 1)]


def _key_of_context(endpoint: str, path: str, request: Any) -> str | None:
    """Return a digest of a request without its last message, or None if it has no messages."""
    if not isinstance(request, dict) or not isinstance(messages := request.get("messages"), list):
        return None
    return key_of(endpoint, path, request | {"messages": messages[:-1]})
