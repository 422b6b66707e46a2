"""A cassette in use: which recorded exchange answers a request, and what is recorded besides."""

from __future__ import annotations

from contextlib import suppress
from os import SEEK_END
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, did_you_mean, shortened
from ..text import hidden
from .differences import differences, nearest
from .file import HEADER, Recorded, key_of, line_of, read_cassette, unusable, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from ..config import Mode, Pace
    from .file import Exchange

CHAT_PATH: Final = "/chat/completions"
# So many differences from the nearest request are named.
MOST_DIFFERENCES: Final = 3
# So many lines that cannot be read are named.
MOST_DAMAGED: Final = 10


class Cassette:
    """A file of recorded exchanges, and what it is used for. Several threads may use it at once.

    Parameters
    ----------
    path : Path
        The file. To record, it is made where it is not there; its folder is not.
    mode : {"record", "replay", "auto"}
        Record begins the file anew with the first exchange; replay answers from the file alone; auto answers from
        the file what it holds, and records the rest.
    pace : {"recorded", "at-once"}
        Whether a reply is replayed as fast as it once came, or at once.
    secrets : callable, optional
        Returns the keys that nothing of is to be written or shown.

    Raises
    ------
    InferenceError
        When the file is no cassette, cannot be used, or to replay, is not there.
    """

    def __init__(self, path: Path, mode: Mode, pace: Pace, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self.path = path.absolute()
        self.mode = mode
        self.pace = pace
        self._lock = Lock()
        self._secrets = secrets
        found = read_cassette(self.path)
        self._check_place(found)
        self._damaged = found.damaged
        self._exchanges: list[Exchange] = []
        self._by_key: dict[str, list[Exchange]] = {}
        self._heard: dict[str, int] = {}
        self._is_prepared = False
        self._whole, self._size = found.whole, found.size
        self._failure: InferenceError | None = None
        if mode != "record":
            for exchange in found.exchanges:
                self._take(exchange)

    def _check_place(self, found: Recorded) -> None:
        if self.mode == "replay" and not found.whole:
            is_there = self.path.exists()
            others = [one.name for one in self.path.parent.glob("*.jsonl") if one != self.path]
            near = did_you_mean(self.path.name, others)
            raise InferenceError(
                f"{self.path} is empty: nothing has been recorded in it."
                if is_there
                else f"There is no cassette {self.path}.",
                remedy=near or "Name one that is there, or record it first: %wbconfig --cassette FILE --mode record.",
                cause="option",
            )
        if not self.path.parent.is_dir():
            raise unusable(self.path, FileNotFoundError(2, f"There is no folder {self.path.parent}"))

    @property
    def replays(self) -> bool:
        """Whether requests are answered from it."""
        return self.mode != "record"

    @property
    def records(self) -> bool:
        """Whether what comes from the endpoint is added to it."""
        return self.mode != "replay"

    def __str__(self) -> str:
        count = len(self._exchanges)
        words = f"{self.path.name}, {count:,} exchange{'s' * (count != 1)}"
        return f"{words}; {self._damage()}" if self._damaged and self.replays else words

    def _damage(self) -> str:
        shown = [str(number) for number in self._damaged[:MOST_DAMAGED]]
        more = ["…"] if len(self._damaged) > MOST_DAMAGED else []
        return f"line{'s' * (len(self._damaged) > 1)} {', '.join(shown + more)} cannot be read"

    @property
    def endpoint(self) -> str | None:
        """The endpoint that the first recorded chat went to; None where there is none."""
        return self._first_chat.endpoint if self._first_chat else None

    @property
    def model(self) -> str | None:
        """The model that the first recorded chat asked; None where there is none."""
        model = self._first_chat.request.get("model") if self._first_chat else None
        return model if isinstance(model, str) and model else None

    @property
    def _first_chat(self) -> Exchange | None:
        chats = (one for one in self._exchanges if one.path == CHAT_PATH and isinstance(one.request, dict))
        return next(chats, None)

    def find(self, endpoint: str, path: str, request: Any) -> Exchange | None:
        """Return what was recorded for a request; for one that was recorded several times, in that order, and again.

        Its pictures are digests already.

        Raises
        ------
        InferenceError
            In mode `replay`, when it was not recorded: says which request is nearest, and what differs.
        """
        if self._failure is not None:
            raise self._failure
        if not self.replays:
            return None
        request = hidden(request, self._secrets())
        key = key_of(endpoint, path, request)
        with self._lock:
            found = self._by_key.get(key)
            if found is not None:
                heard = self._heard.get(key, 0)
                self._heard[key] = heard + 1
                return found[heard % len(found)]
        if self.mode == "replay":
            raise self._not_recorded(endpoint, path, request)
        return None

    def add(self, exchange: Exchange) -> None:
        """Record an exchange, without secrets. A file that fails is told about at the next request."""
        exchange = without_secrets(exchange, self._secrets())
        line = line_of(exchange)
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self._failure = unusable(self.path, error)
                return
            self._take(exchange)

    def _write(self, line: bytes) -> None:
        """Append a line, in one piece: another kernel may be adding to the file."""
        if not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        with self.path.open("ab", buffering=0) as file:
            file.write(line)

    def _prepare(self) -> None:
        """Cut off what a crash left of a last line, or to record anew, all of it; begin a file with its header."""
        self.path.touch()
        with self.path.open("r+b") as file:
            size = file.seek(0, SEEK_END)
            keep = self._kept(size)
            if keep < size:
                file.truncate(keep)
            file.seek(max(0, keep - 1))
            if not keep:
                file.write(HEADER)
            elif file.read(1) != b"\n":
                file.write(b"\n")

    def _kept(self, size: int) -> int:
        """Return how much is kept of a file that has this size when something is added first."""
        if self.mode == "record":
            return 0
        # Where it has another size than when it was read, another kernel has added to it: it may have been empty then.
        return self._whole if size == self._size else size

    def _take(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        self._by_key.setdefault(exchange.key, []).append(exchange)

    def _not_recorded(self, endpoint: str, path: str, request: Any) -> InferenceError:
        return InferenceError(
            f"The cassette {self.path.name} does not hold this request. Nothing was sent.",
            why=self._why(endpoint, path, request),
            remedy="Make the cell as it was when it was recorded, and run the notebook from its first cell; or let "
            "what is missing be recorded: %wbconfig --mode auto.",
            cause="missing",
        )

    def _why(self, endpoint: str, path: str, request: Any) -> str:
        damage = f" {self._damage().capitalize()}." if self._damaged else ""
        of_kind = [one for one in self._exchanges if one.path == path]
        asked = _told(endpoint, request)
        place = nearest(asked, [_told(one.endpoint, one.request) for one in of_kind])
        if place is None:
            return f"It holds no request of this kind ({path}).{damage}"
        closest = of_kind[place]
        found = differences(_told(closest.endpoint, closest.request), asked)
        more = [f"{len(found) - MOST_DIFFERENCES} more differ"] if len(found) > MOST_DIFFERENCES else []
        words = "; ".join((*found[:MOST_DIFFERENCES], *more))
        return f"The nearest it holds{_prompt_words(closest)} differs: {words}.{damage}"


def _told(endpoint: str, request: Any) -> dict[str, Any]:
    return {"endpoint": endpoint} | (request if isinstance(request, dict) else {})


def _prompt_words(exchange: Exchange) -> str:
    """Return how a recorded prompt begins."""
    content: Any = ""
    with suppress(KeyError, IndexError, TypeError):
        content = exchange.request["messages"][-1]["content"]
    return f" ({shortened(content)!r})" if isinstance(content, str) and content else ""
