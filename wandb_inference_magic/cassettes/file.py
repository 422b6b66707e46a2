"""The form of a cassette's file: one recorded exchange a line, written so that it reads and diffs well.

The first line is a header, `{"cassette": 1}`, with the version of the form. Every other line is a JSON object with
these members; a reader passes over members, and lines, that it does not know, so that only a change which it must not
pass over raises the version:

`endpoint`
    Whom the request went to: `wandb`, `local` (the practice model), or an address.
`path`
    The request's path at that endpoint, such as `/chat/completions`.
`request`
    Its JSON body, or null. No header of it is kept; a picture in it (a `data:` address) is kept as its digest.
`reply`
    `seconds` until it had come whole; `request_id` and `status` where there is one, and where it is not 200; and either
    `json`, the document that came, or `events`, the pieces of a stream.

Each event is a list: the seconds after which it came, and what differs from the event before. That is a text where only
the words differ, else an object with the members that have changed, and where members are gone, a list of their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

from ..config import check_file
from ..errors import InferenceError, quoted
from ..text import hidden, json_bytes, read_json_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

VERSION: Final = 1
# In bytes.
MOST_FILE: Final = 2_000_000_000
MOST_LINE: Final = 64_000_000
PIECE: Final = 1_000_000
# What a line that is too large is read as: it cannot be read.
TOO_LARGE: Final = b"!"
# No reply takes longer than a day.
LONGEST_SECONDS: Final = 86_400
LONGEST_ADDRESS: Final = 2000
# So many members its events may have for each byte of a line; and besides.
MEMBERS_A_BYTE: Final = 3
MEMBERS_SPARE: Final = 20_000
HEADER: Final = f'{{"cassette": {VERSION}}}\n'.encode()
# Where a piece of a stream holds its words.
TEXTS: Final = ("content", "reasoning", "reasoning_content")

Value = TypeVar("Value")
Event = tuple[float, dict[str, Any]]
# Where in a JSON value something stands: names of members, and numbers in lists.
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and what came back for it.

    Attributes
    ----------
    endpoint, path : str
        Whom it went to, and the path there.
    request : object
        Its JSON body, pictures as digests; None where it has none.
    seconds : float
        Until the reply had come whole.
    document : object
        The reply, where it came in one piece.
    events : tuple of (seconds, object)
        The reply's pieces, where it was streamed.
    status : int
        The HTTP status.
    request_id : str or None
        The endpoint's id of the request.
    """

    endpoint: str
    path: str
    request: Any
    seconds: float
    document: Any = None
    events: tuple[Event, ...] = ()
    status: int = 200
    request_id: str | None = None

    @property
    def key(self) -> str:
        """A digest of all that is asked: the same for two requests that are alike."""
        return key_of(self.endpoint, self.path, self.request)


def key_of(endpoint: str, path: str, request: Any) -> str:
    """Return the digest that tells requests apart."""
    asked = json.dumps([endpoint, path, request], sort_keys=True)
    return sha256(asked.encode()).hexdigest()


def without_pictures(request: Any) -> Any:
    """Return a request with each picture replaced by its digest: lines stay short, and hold no picture."""
    if isinstance(request, dict):
        return {name: without_pictures(value) for name, value in request.items()}
    if isinstance(request, list):
        return [without_pictures(value) for value in request]
    if isinstance(request, str) and request.startswith("data:") and ";base64," in request:
        kind = request[5:].partition(";")[0]
        return f"data:{kind};sha256,{sha256(request.encode()).hexdigest()}"
    return request


def without_secrets(exchange: Exchange, secrets: Collection[str]) -> Exchange:
    """Return an exchange with each secret blotted out, also one that comes in several pieces."""
    events = _hidden_across([event for _, event in exchange.events], secrets)
    return replace(
        exchange,
        request=hidden(exchange.request, secrets),
        document=hidden(exchange.document, secrets),
        request_id=hidden(exchange.request_id, secrets),
        events=tuple((at, hidden(event, secrets)) for (at, _), event in zip(exchange.events, events, strict=True)),
    )


def _hidden_across(events: Sequence[Any], secrets: Collection[str]) -> list[Any]:
    """Blot out what only the pieces of a stream together spell."""
    events = list(events)
    texts: dict[Any, list[tuple[int, Place, str]]] = {}
    for number, event in enumerate(events):
        for text, place, words in _pieces(event):
            texts.setdefault(text, []).append((number, place, words))
    for pieces in texts.values():
        told = hidden("".join(words for *_, words in pieces), secrets)
        if told == "".join(hidden(words, secrets) for *_, words in pieces):
            continue
        for number, place, _ in pieces:
            events[number] = _put(events[number], place, told)
            # All of it stands in the first piece: how it was cut would tell where the secret was.
            told = ""
    return events


def _pieces(event: Mapping[str, Any]) -> Iterator[tuple[Any, Place, str]]:
    """Yield the pieces in an event: which of the stream's texts each goes on with, where it stands, and its words."""
    for number, choice in _numbered(event.get("choices")):
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            continue
        of_choice, place = _index(choice, number), ("choices", number, "delta")
        for name in TEXTS:
            if isinstance(words := delta.get(name), str):
                yield (of_choice, name), (*place, name), words
        for spot, call in _numbered(delta.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, Mapping) and isinstance(words := function.get("arguments"), str):
                inner = ("tool_calls", spot, "function", "arguments")
                yield (of_choice, _index(call, spot)), (*place, *inner), words


def _numbered(value: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the objects in a list, with their places in it."""
    for place, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, Mapping):
            yield place, one


def _index(one: Mapping[str, Any], place: int) -> int:
    """Return what tells which of several choices or calls it is that a stream goes on with."""
    index = one.get("index")
    return index if isinstance(index, int) else place


def _put(value: Any, place: Place, text: str) -> Any:
    """Return a JSON value with another text at a place in it."""
    if not place:
        return text
    changed = copy(value)
    changed[place[0]] = _put(value[place[0]], place[1:], text)
    return changed


# Writing ---------------------------------------------------------------------------------------------------------


def line_of(exchange: Exchange) -> bytes:
    """Return an exchange as a line of the file."""
    reply: dict[str, Any] = {"seconds": exchange.seconds}
    if exchange.status != 200:
        reply["status"] = exchange.status
    if exchange.request_id:
        reply["request_id"] = exchange.request_id
    if exchange.events:
        reply["events"] = _short(exchange.events)
    else:
        reply["json"] = exchange.document
    members = {"endpoint": exchange.endpoint, "path": exchange.path, "request": exchange.request, "reply": reply}
    return json_bytes(members) + b"\n"


def _short(events: Sequence[Event]) -> list[list[Any]]:
    """Write each event as what differs from the one before."""
    short: list[list[Any]] = []
    before: dict[str, Any] = {}
    for at, event in events:
        text = _text_of(event)
        if text is not None and _with_text(before, text) == event:
            short.append([at, text])
        else:
            gone = [name for name in before if name not in event]
            changed = {name: value for name, value in event.items() if name not in before or before[name] != value}
            short.append([at, changed, gone] if gone else [at, changed])
        before = event
    return short


def _delta(event: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, Mapping) else None
    return delta if isinstance(delta, Mapping) else {}


def _slot(event: Mapping[str, Any]) -> str | None:
    """Return the one member of an event's delta that holds words; None where there are several or none."""
    slots = [name for name in TEXTS if isinstance(_delta(event).get(name), str)]
    return slots[0] if len(slots) == 1 else None


def _text_of(event: Mapping[str, Any]) -> str | None:
    slot = _slot(event)
    return None if slot is None else str(_delta(event)[slot])


def _with_text(event: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """Return an event with other words; None where it has no place for them."""
    slot = _slot(event)
    if slot is None:
        return None
    changed: dict[str, Any] = _put(event, ("choices", 0, "delta", slot), text)
    return changed


# Reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a file holds: its exchanges in order, the numbers of the lines that cannot be read, and its whole part.

    A last line that a crash has left unfinished is not counted among the damaged; `whole` is the size in bytes of
    what comes before it, `size` that of all.
    """

    exchanges: tuple[Exchange, ...] = ()
    damaged: tuple[int, ...] = ()
    whole: int = 0
    size: int = 0


def read_cassette(path: Path) -> Recorded:
    """Read a file; one that is not there, or is empty, holds nothing.

    A line that is no exchange, or is larger than `MOST_LINE`, is passed over: its number is in `damaged`.

    Raises
    ------
    InferenceError
        When it cannot be read, is no cassette, is too large, or was written by a newer version in a form of its own.
    """
    try:
        check_file(path, MOST_FILE)
        with path.open("rb") as file:
            return _recorded(path, file)
    except FileNotFoundError:
        return Recorded()
    except OSError as error:
        raise unusable(path, error) from None


def _recorded(path: Path, file: BinaryIO) -> Recorded:
    exchanges: list[Exchange] = []
    damaged: list[int] = []
    whole = size = 0
    for number, (line, length) in enumerate(_lines(file), start=1):
        size += length
        if number == 1:
            _check_header(path, line)
            whole = size
            continue
        try:
            exchanges.extend(_read_line(line))
        except ValueError:
            if not line.endswith(b"\n"):
                # What a crash left.
                break
            damaged.append(number)
        whole = size
    return Recorded(tuple(exchanges), tuple(damaged), whole, size)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each line, and how long it is; of one that is too large only its end."""
    while line := file.readline(MOST_LINE + 1):
        length = len(line)
        if length <= MOST_LINE:
            yield line, length
            continue
        while not line.endswith(b"\n") and (line := file.readline(PIECE)):
            length += len(line)
        yield TOO_LARGE + line[-1:], length


def _check_header(path: Path, line: bytes) -> None:
    try:
        header = read_json_text(line)
    except ValueError:
        header = None
    version = header.get("cassette") if isinstance(header, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InferenceError(
            f"{path} is not a cassette: its first line does not say so.",
            remedy="Name another file; a new one is made where there is none.",
            cause="option",
        )
    if version > VERSION:
        raise InferenceError(
            f"The cassette {path} was written by a newer version of this package.",
            why=f"Its form is {version}, and {VERSION} is the newest known here.",
            remedy="Run: pip install --upgrade wandb-inference-magic",
            cause="option",
        )


def _read_line(line: bytes) -> list[Exchange]:
    """Return the exchange on a line, or none where it holds something else; ValueError where it cannot be read."""
    if not line.strip():
        return []
    members = read_json_text(line)
    if not isinstance(members, dict):
        raise ValueError("not an object")
    if "request" not in members or "reply" not in members:
        return []
    reply = members["reply"]
    try:
        return [
            Exchange(
                endpoint=_endpoint(members["endpoint"]),
                path=_of_type(str, members["path"]),
                request=members["request"],
                seconds=_number(reply["seconds"], 0, LONGEST_SECONDS),
                document=reply.get("json"),
                events=tuple(_long(reply.get("events", []), MEMBERS_SPARE + MEMBERS_A_BYTE * len(line))),
                status=int(_number(_of_type(int, reply.get("status", 200)), 200, 599)),
                request_id=_request_id(reply.get("request_id")),
            )
        ]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not an exchange: {error}") from None


def _of_type(kind: type[Value], value: object) -> Value:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"not {kind.__name__}")
    return value


def _number(value: object, low: float, high: float) -> float:
    """Return a number in a range: not one that JSON alone can hold, such as Infinity or one of 400 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError("not a number of that range")
    return float(value)


def _endpoint(value: object) -> str:
    endpoint = _of_type(str, value)
    if endpoint in ("wandb", "local"):
        return endpoint
    parts = urlsplit(endpoint)
    # Reading the port raises for one that cannot be.
    is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    if (
        not is_address
        or "@" in endpoint
        or len(endpoint) > LONGEST_ADDRESS
        or not re.fullmatch(r"[^\s\x00-\x20]+", endpoint)
    ):
        raise ValueError("not an endpoint")
    return endpoint


def _request_id(value: object) -> str | None:
    """Return a request's id, which becomes a header again."""
    if value is None:
        return None
    if not (known := header_text(_of_type(str, value))):
        raise ValueError("not a request id")
    return known


def header_text(value: str | None) -> str | None:
    """Return a text that can be a header's value; None for another."""
    return value if value and re.fullmatch(r"[\x20-\x7e]{1,500}", value) else None


def _long(short: object, most_members: int) -> Iterable[Event]:
    """Write out events that are written as what differs; together they have at most so many members."""
    before: dict[str, Any] = {}
    members = 0
    for at, differs, *gone in _of_type(list, short):
        if isinstance(differs, str):
            event = _with_text(before, differs)
            if event is None:
                raise ValueError("words without a place")
        else:
            left_out = frozenset(_of_type(list, gone[0])) if gone else frozenset()
            kept = {name: value for name, value in before.items() if name not in left_out}
            event = kept | _of_type(dict, differs)
        # Each is a copy of the one before: a few bytes could stand for any number of them.
        members += len(event) + len(_delta(event))
        if members > most_members:
            raise ValueError("too many members")
        yield _number(at, 0, LONGEST_SECONDS), event
        before = event


def unusable(path: Path, error: OSError) -> InferenceError:
    """Return the error for a file that the system does not let be used."""
    return InferenceError(
        f"The cassette {path} cannot be used.",
        why=quoted(error.strerror or str(error)),
        remedy="Name a file in a folder that is there and may be written: %wbconfig --cassette FILE.",
        cause="option",
    )
