"""A cassette in use: finds the recorded exchange for a request, and records new exchanges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ..config import absolute
from ..errors import InferenceError, did_you_mean
from ..messages import ADDED_JSON_MODE, CURRENT_CALL, Origin, without_json_mode
from ..text import counted, redacted_value
from .exchanges import Exchanges
from .file import Recorded, line_of, read_cassette, unusable, without_secrets
from .matching import key_of, model_of
from .misses import Misses
from .places import CellRuns, EqualRows, cell_in_file
from .writer import CassetteWriter

if TYPE_CHECKING:
    from ..config import Mode, Pace
    from .file import Exchange

CHAT_PATH: Final = "/chat/completions"
# At most this many of the lines that cannot be read are listed.
MAX_DAMAGED: Final = 10


class Cassette:
    """A file of recorded exchanges, and how it is used. Several threads may use it at the same time.

    Parameters
    ----------
    path : Path
        The file. To record, it is created if it does not exist. Its folder is not created.
    mode : {"record", "replay", "auto"}
        `record` starts the file afresh with the first exchange. `replay` answers only from the file. `auto` answers
        from the file if it holds the request, and records the rest.
    pace : {"recorded", "at-once"}
        Whether a reply is replayed at the recorded speed or immediately.
    secrets : callable, optional
        Returns the keys that must not be written or shown, whole or in part.

    Raises
    ------
    InferenceError
        If the file is not a cassette or cannot be used, or, in mode `replay`, does not exist or is empty.
    """

    def __init__(self, path: Path, mode: Mode, pace: Pace, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self.path = absolute(path)
        self.mode = mode
        self.pace = pace
        self._lock = Lock()
        self._secrets = secrets
        found = read_cassette(self.path)
        self._check_place(found)
        self._damaged = found.damaged
        self._exchanges = Exchanges(found.exchanges if mode != "record" else (), asks_refused=mode == "auto")
        self._misses = Misses()
        for number, exchange in enumerate(self._exchanges):
            self._misses.add(number, exchange, is_outdated=self._exchanges.is_outdated(number))
        # The numbers of the exchanges that each command has made or got, and its equal rows, by their key.
        self._used: WeakKeyDictionary[object, set[int]] = WeakKeyDictionary()
        self._equal_rows: WeakKeyDictionary[object, dict[str, EqualRows]] = WeakKeyDictionary()
        self._cell_runs = CellRuns()
        self._writer = CassetteWriter(self.path, starts_over=mode == "record")
        self._failure: InferenceError | None = None

    def _check_place(self, found: Recorded) -> None:
        if self.mode == "replay" and not found.whole:
            others = [one.name for one in self.path.parent.glob("*.jsonl") if one != self.path and one.is_file()]
            near = did_you_mean(self.path.name, others)
            raise InferenceError(
                f"{self.path} is empty: nothing has been recorded in it."
                if self.path.exists()
                else f"There is no cassette {self.path}.",
                remedy=near or "Name an existing file, or record it first: %wbconfig --cassette FILE --mode record.",
            )
        if not self.path.parent.is_dir():
            raise unusable(self.path, FileNotFoundError(2, f"There is no folder {self.path.parent}"))

    @property
    def replays(self) -> bool:
        """Whether requests are answered from the file."""
        return self.mode != "record"

    @property
    def records(self) -> bool:
        """Whether replies from the endpoint are added to the file."""
        return self.mode != "replay"

    def __str__(self) -> str:
        count = len(self._exchanges)
        text = f"{self.path.name}, {counted(count, 'exchange')}"
        if self._failure is not None:
            return f"{text}; it is not recorded any more: {(self._failure.why or self._failure.what).rstrip('.')}"
        return f"{text}; {self._damage()}" if self._damaged and self.replays else text

    def _damage(self) -> str:
        shown = [str(number) for number in self._damaged[:MAX_DAMAGED]]
        more = ["…"] if len(self._damaged) > MAX_DAMAGED else []
        return f"line{'s' * (len(self._damaged) > 1)} {', '.join(shown + more)} cannot be read"

    @property
    def endpoint(self) -> str | None:
        """The endpoint of the first recorded chat, or None if there is none."""
        return self._first_chat.endpoint if self._first_chat else None

    @property
    def model(self) -> str | None:
        """The model of the first recorded chat, or None if there is none."""
        return model_of(self._first_chat.request) if self._first_chat else None

    @property
    def _first_chat(self) -> Exchange | None:
        chats = (one for one in self._exchanges if one.path == CHAT_PATH and isinstance(one.request, dict))
        return next(chats, None)

    def find(
        self, endpoint: str, path: str, request: Any, *, sent: Any = None, can_ask: bool = True
    ) -> Exchange | None:
        """Return the exchange recorded for a request, or None if there is none.

        Exchanges of a request that was recorded several times are replayed in the order in which it was asked, then
        again from the first; in mode `auto`, one command gets none twice, nor one that it has made, and a refusal is
        asked again if the endpoint can be reached (`can_ask`) and the file written to. Equal rows of a map get theirs
        by the order of the rows, in whichever order they ask. The pictures in `request` must already be digests. A
        request to which `--format json` has added JSON mode is also found without it, as version 0.1.0 recorded it.
        What was only refused is also found in the form `sent`, in which the request was recorded before cassettes had
        it as it was asked.

        Raises
        ------
        InferenceError
            In mode `replay`, if the request was not recorded. The message names the first difference from the next
            recorded request. Also if an earlier exchange could not be recorded.
        """
        if not self.replays:
            self._check_failure()
            return None
        request = redacted_value(request, self._secrets())
        requested = (endpoint, path, request)
        keys = [key_of(*requested)]
        if ADDED_JSON_MODE.get():
            keys.append(key_of(endpoint, path, without_json_mode(request)))
        if sent is not None:
            keys.append(key_of(endpoint, path, redacted_value(sent, self._secrets())))
        with self._lock:
            known = [key for key in keys if key in self._exchanges]
            key = next(filter(self._exchanges.is_answered, known), known[0] if known else None)
            can_write = self._writer.can_write
            can_ask = can_ask and can_write and self._failure is None
            if key is not None and (number := self._next_of(key, can_ask=can_ask)) is not None:
                self._used_by_asking().add(number)
                self._misses.last_replayed = number
                return self._exchanges[number]
            if self.mode == "replay":
                remedy = (
                    "Restore the cell and the settings (%wbconfig shows them) as they were recorded, restart the "
                    "kernel and run all cells. Or record what is missing: %wbconfig --mode auto."
                )
                if self._exchanges.endpoints and endpoint not in self._exchanges.endpoints:
                    remedy = (
                        "Use the endpoint of the recording: %wbconfig --endpoint auto. If WANDB_INFERENCE_BASE_URL is "
                        "set, remove it and restart the kernel. Or record this endpoint: %wbconfig --mode auto."
                    )
                raise self._not_recorded("does not hold this request. Nothing was sent.", requested, remedy)
            self._check_failure()
            if not can_write:
                remedy = "Make the file writable, name another one, or switch it off: %wbconfig --mode off."
                what = "cannot be written to, and it does not hold this request. Nothing was sent."
                raise self._not_recorded(what, requested, remedy)
        return None

    def _check_failure(self) -> None:
        if self._failure is not None:
            # A copy: a run that ends early adds to its error.
            raise copy(self._failure)

    @property
    def _asking_cell(self) -> Origin:
        command, _ = CURRENT_CALL.get()
        return getattr(command, "origin", Origin())

    def _used_by_asking(self) -> set[int]:
        command, _ = CURRENT_CALL.get()
        return set() if command is None else self._used.setdefault(command, set())

    def _next_of(self, key: str, *, can_ask: bool) -> int | None:
        """Return the number of the exchange with this key that is replayed next, or None if a request is sent."""
        _, row = CURRENT_CALL.get()
        if row is None:
            following = self._exchanges.next_of(key)
            is_used = self.mode == "auto" and following in self._used_by_asking()
            if following is None or is_used or (can_ask and not self._exchanges.is_replayed(following)):
                return None
            self._exchanges.latest[key] = following
            return following
        rows = self._rows_of_asking(key)
        number = rows.number(row, goes_round=self.mode == "replay")
        if number is None or (can_ask and not self._exchanges.is_replayed(number)):
            return None
        if row > rows.latest:
            rows.latest, self._exchanges.latest[key] = row, number
        return number

    def _rows_of_asking(self, key: str) -> EqualRows:
        command, _ = CURRENT_CALL.get()
        of_command = self._equal_rows.setdefault(command, {})
        if key not in of_command:
            of_command[key] = self._exchanges.rows(key, starts_over=self.mode == "record")
        return of_command[key]

    def place_of(self, endpoint: str, path: str, request: Any) -> int:
        """Count a request that is about to be sent. Return how many equal ones were asked before.

        For a row of a map these are the rows above it. A row that is tried again has the same place again. So has a
        request that was refused, if its command tries it again in another form, or in mode `auto`, and in mode
        `record` one of a cell that is run again.
        """
        key = key_of(endpoint, path, redacted_value(request, self._secrets()))
        _, row = CURRENT_CALL.get()
        with self._lock:
            self._cell_runs.run(self._asking_cell)
            made = self._exchanges.made(key)
            if row is not None:
                place = self._rows_of_asking(key).first + row
            elif (refused := self._asked_again(key)) is not None:
                place = self._exchanges[refused].place
            elif self.mode == "record":
                place = self._cell_runs.place(key, self._asking_cell, made)
            else:
                place = made
            self._exchanges.count(key, place, is_row=row is not None)
            return place

    def _asked_again(self, key: str) -> int | None:
        """Return the number of the refusal whose request is asked again, or None."""
        latest = self._exchanges.latest.get(key)
        if latest is not None and self._exchanges[latest].is_refusal and latest in self._used_by_asking():
            return latest
        following = self._exchanges.next_of(key)
        return None if following is None or self._exchanges.is_replayed(following) else following

    def add(self, exchange: Exchange) -> str:
        """Record an exchange without secrets. Return why it could not be recorded; then no more requests are sent."""
        exchange = without_secrets(exchange, self._secrets())
        key = key_of(exchange.endpoint, exchange.path, exchange.request)
        with self._lock:
            origin, (_, row) = self._asking_cell, CURRENT_CALL.get()
            # The runs of maps are not compared: the rows of a later one do not replace those of an earlier one.
            run = self._cell_runs.run(origin) if self.mode == "record" and row is None else 0
            replaces = self._cell_runs.replaces(key, exchange.place)
            exchange = replace(exchange, replaces=replaces, cell=cell_in_file(origin.cell), run=run)
            line = line_of(exchange)
            known = self._exchanges.refusal(key, exchange.place)
            if known is not None and self._exchanges[known].document == exchange.document:
                # Each run of a notebook would add it.
                self._follow(key, known)
                return ""
            try:
                self._writer.write(line)
                number = self._exchanges.add(key, exchange)
                self._misses.add(number, exchange)
                self._follow(key, number)
            except OSError as error:
                self._failure = unusable(self.path, error)
            except InferenceError as error:
                self._failure = error
            return "" if self._failure is None else str(self._failure)

    def is_any_below(self, cell: str | None, cells: Sequence[str]) -> bool:
        """Return whether a recording has requests of cells below a cell, which were asked after it.

        Parameters
        ----------
        cell : str or None
        cells : sequence of str
            The cells of its conversation, in order.
        """
        with self._lock:
            return self.mode == "record" and self._cell_runs.is_any_below(cell, cells)

    def release(self, endpoint: str, path: str, request: Any, place: int) -> None:
        """Note that a request that was counted has no reply that can be recorded."""
        key = key_of(endpoint, path, redacted_value(request, self._secrets()))
        with self._lock:
            self._cell_runs.release(key, place)

    def _follow(self, key: str, number: int) -> None:
        """Note that the asking command has made an exchange."""
        self._used_by_asking().add(number)
        self._exchanges.follow(key, number)

    def _not_recorded(self, what: str, requested: tuple[str, str, Any], remedy: str) -> InferenceError:
        what = f"The cassette {self.path.name} {what}"
        damage = f" {self._damage().capitalize()}." if self._damaged else ""
        cell = cell_in_file(self._asking_cell.cell)
        why = self._misses.why(self._exchanges, *requested, cell=cell, damage=damage)
        return InferenceError(what, why=why, remedy=remedy, cause="missing", affects_all=False)
