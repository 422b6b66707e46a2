"""The file format of a cassette: one recorded exchange per line, easy to read and to diff.

The first line is a header, `{"cassette": 2}`, with the version of the format. Every other line is a JSON object with
the members below. A reader ignores members and lines that it does not know, so only a change that a reader must not
ignore raises the version.

`endpoint`
    Where the request was sent: `wandb`, `local` (the practice model), or a URL.
`path`
    The path of the request at that endpoint, such as `/chat/completions`.
`request`
    The JSON body of the request, or null. Its headers are not stored. A picture in it (a `data:` URL) is stored as its
    digest.
`place`
    How many equal requests were asked before. Not stored if there was none.
`cell`, `run`
    The id of the notebook cell that asked, if it is known, and in a recording the number of that cell's run, counted
    from 1. A request of an earlier run that the last run did not ask is outdated: equal ones of other cells come first.
`replaces`
    True if the cell was run again: the exchange takes the place of an earlier one with an equal request and this
    `place`. Otherwise not stored.
`reply`
    `seconds` until the reply was complete; `request_id`, if there is one; `status`, if it is not 200; and either
    `json`, the document received, or `events`, the chunks of a stream.

Each event is a list of two items: the seconds after which a chunk was received, and the chunk, the JSON object as
received.

In version 1 an event holds what differs from the previous event. If only the text differs, this is the new text.
Otherwise it is an object with the changed members and, if members were removed, a list of their names. Such a file can
be replayed. It is converted to version 2 before an exchange is added to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

from ..config import check_file, how_to_write
from ..errors import InferenceError, quoted
from ..failures import read_error
from ..text import json_bytes, read_json_text, redacted_value

VERSION: Final = 2
# In bytes.
MAX_FILE_BYTES: Final = 2_000_000_000
MAX_LINE_BYTES: Final = 64_000_000
PIECE: Final = 1_000_000
# Replaces a line that is too large. It cannot be parsed.
TOO_LARGE: Final = b"!"
# No reply takes longer than a day.
MAX_SECONDS: Final = 86_400
MAX_ADDRESS_CHARS: Final = 2000
# The members that the events of version 1 may have: so many per byte of a line, plus a fixed number.
MEMBERS_PER_BYTE: Final = 3
MEMBERS_SPARE: Final = 20_000
HEADER: Final = f'{{"cassette": {VERSION}}}\n'.encode()
# The members of a chunk's delta that hold text.
TEXTS: Final = ("content", "reasoning", "reasoning_content")

Value = TypeVar("Value")
Event = tuple[float, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply.

    Attributes
    ----------
    endpoint, path : str
        Where the request was sent, and the path there.
    request : object
        The JSON body of the request, with pictures as digests. None if there is no body.
    seconds : float
        Seconds until the reply was complete.
    document : object
        The reply, if it was not streamed.
    events : tuple of (seconds, object)
        The chunks of the reply, if it was streamed.
    status : int
        The HTTP status.
    request_id : str or None
        The endpoint's id for the request.
    place : int
        How many equal requests were asked before it: their replies may have come later.
    replaces : bool
        Whether it takes the place of an earlier one with an equal request and this place.
    cell : str or None
        The notebook cell that asked, if it is known.
    run : int
        The number of that cell's run, counted from 1; 0 if it is not known.
    """

    endpoint: str
    path: str
    request: Any
    seconds: float
    document: Any = None
    events: tuple[Event, ...] = ()
    status: int = 200
    request_id: str | None = None
    place: int = 0
    replaces: bool = False
    cell: str | None = None
    run: int = 0

    @property
    def is_refusal(self) -> bool:
        """Whether the service refused the request. Not where it refused the model's answer as JSON: that is a reply."""
        if self.status < 300:
            return False
        # With tools it may be a call, which is not read.
        asks_for_json = isinstance(self.request, dict) and "response_format" in self.request
        has_answer = asks_for_json and "tools" not in self.request and read_error(self.document).generated
        return not has_answer


def without_picture(text: str) -> str:
    """Return a text of a request, or the digest of a picture: so lines are short and contain no picture."""
    if not text.startswith("data:") or ";base64," not in text:
        return text
    return f"data:{text[5:].partition(';')[0]};sha256,{sha256(text.encode()).hexdigest()}"


def without_secrets(exchange: Exchange, secrets: Collection[str]) -> Exchange:
    """Return an exchange with each secret hidden, including one that is split across several chunks."""
    # A copy, which is changed below.
    chunks = [redacted_value(chunk, ()) for _, chunk in exchange.events]
    _hide_across(chunks, secrets)
    return replace(
        exchange,
        request=redacted_value(exchange.request, secrets),
        document=redacted_value(exchange.document, secrets),
        request_id=redacted_value(exchange.request_id, secrets),
        events=tuple(
            (at, redacted_value(chunk, secrets)) for (at, _), chunk in zip(exchange.events, chunks, strict=True)
        ),
    )


def _hide_across(chunks: Sequence[Any], secrets: Collection[str]) -> None:
    """Hide secrets that are split across several chunks."""
    texts: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    for chunk in chunks:
        for text, holder, name in _texts(chunk):
            texts.setdefault(text, []).append((holder, name))
    for parts in texts.values():
        text = redacted_value("".join(holder[name] for holder, name in parts), secrets)
        if text == "".join(redacted_value(holder[name], secrets) for holder, name in parts):
            continue
        for holder, name in parts:
            # The first chunk gets the whole text: how the text was split would show where the secret was.
            holder[name], text = text, ""


def _texts(chunk: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any], str]]:
    """Yield the texts in a chunk: the text of the stream that each continues, the object it is in, its name there."""
    for choice, number in _numbered(chunk.get("choices")):
        delta = choice.get("delta")
        if isinstance(delta, dict):
            yield from (((number, name), delta, name) for name in TEXTS if isinstance(delta.get(name), str))
            for call, place in _numbered(delta.get("tool_calls")):
                function = call.get("function")
                if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                    yield (number, "tool", place), function, "arguments"


def _numbered(value: object) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects in a list, each with its `index`, or with its position if it has none."""
    for place, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, dict):
            index = one.get("index")
            yield one, index if isinstance(index, int) else place


# Writing ---------------------------------------------------------------------------------------------------------


def line_of(exchange: Exchange) -> bytes:
    """Return an exchange as a line of the file."""
    received = {"events": exchange.events} if exchange.events else {"json": exchange.document}
    reply = {"seconds": exchange.seconds, **_stored(exchange, "status", "request_id"), **received}
    members = {"endpoint": exchange.endpoint, "path": exchange.path, "request": exchange.request}
    return json_bytes({**members, **_stored(exchange, "place", "cell", "run", "replaces"), "reply": reply}) + b"\n"


def _stored(exchange: Exchange, *names: str) -> dict[str, Any]:
    """Return those members of an exchange that are not the usual ones: a line has no others."""
    usual = {one.name: one.default for one in fields(exchange)}
    return {name: value for name in names if (value := getattr(exchange, name)) != usual[name]}


# Reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """The contents of a file: exchanges in order, the numbers of the lines that cannot be read, the version and sizes.

    A last line that was left unfinished by a crash is not counted as damaged. `whole` is the size in bytes of
    everything before it, and `size` is the total size in bytes.
    """

    exchanges: tuple[Exchange, ...] = ()
    damaged: tuple[int, ...] = ()
    whole: int = 0
    size: int = 0
    version: int = VERSION


def read_cassette(path: Path) -> Recorded:
    """Read a file. A file that does not exist or is empty has no contents.

    A line that cannot be read as an exchange, or is larger than `MAX_LINE_BYTES`, is skipped, and its number is in
    `damaged`.

    Raises
    ------
    InferenceError
        If the file cannot be read, is not a cassette, is too large, or was written by a newer version in a newer
        format.
    """
    try:
        check_file(path, MAX_FILE_BYTES)
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
    version = VERSION
    for number, (line, length) in enumerate(lines_of(file), start=1):
        size += length
        if number == 1:
            version = version_of(path, line)
            whole = size
            continue
        try:
            exchange = read_line(line, version)
        except ValueError:
            if not line.endswith(b"\n"):
                # An unfinished line, left by a crash.
                break
            damaged.append(number)
        else:
            exchanges += [exchange] if exchange else []
        whole = size
    return Recorded(tuple(exchanges), tuple(damaged), whole, size, version)


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each line and its length in bytes. A line that is too large is yielded as `TOO_LARGE` and its last byte."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        length = len(line)
        if length <= MAX_LINE_BYTES:
            yield line, length
            continue
        while not line.endswith(b"\n") and (line := file.readline(PIECE)):
            length += len(line)
        yield TOO_LARGE + line[-1:], length


def version_of(path: Path, line: bytes) -> int:
    """Return the version of a file, given its first line."""
    try:
        version = _of_type(int, read_json_text(line)["cassette"])
    except (ValueError, TypeError, KeyError):
        version = 0
    if version < 1:
        raise InferenceError(
            f"{path} is not a cassette: its first line does not say so.",
            remedy="Name a cassette, or a new file to record in.",
        )
    if version > VERSION:
        raise InferenceError(
            f"The cassette {path} was written by a newer version of this package.",
            why=f"Its format is version {version}; this package reads up to version {VERSION}.",
            remedy="Run: pip install --upgrade wandb-inference-magic",
        )
    return version


def read_line(line: bytes, version: int) -> Exchange | None:
    """Return the exchange on a line, or None if it holds something else. Raise ValueError if it cannot be read."""
    if not line.strip():
        return None
    members = read_json_text(line)
    if not isinstance(members, dict):
        raise ValueError("not an object")
    if "request" not in members or "reply" not in members:
        return None
    reply = members["reply"]
    try:
        events = _of_type(list, reply.get("events", []))
        # A kernel with an older version of this package may have added a line in its own format.
        is_old = version == 1 or any(isinstance(event[1], str) or event[2:] for event in events)
        most_members = MEMBERS_SPARE + MEMBERS_PER_BYTE * len(line)
        return Exchange(
            endpoint=_endpoint(members["endpoint"]),
            path=_of_type(str, members["path"]),
            request=members["request"],
            seconds=_number(reply["seconds"], 0, MAX_SECONDS),
            document=reply.get("json"),
            events=tuple(
                (_number(at, 0, MAX_SECONDS), _of_type(dict, chunk))
                for at, chunk in (_plain_events(events, most_members) if is_old else events)
            ),
            status=int(_number(_of_type(int, reply.get("status", 200)), 200, 599)),
            request_id=_request_id(reply.get("request_id")),
            place=int(_number(_of_type(int, members.get("place", 0)), 0, MAX_FILE_BYTES)),
            replaces=members.get("replaces") is True,
            cell=_of_type(str, cell) if (cell := members.get("cell")) is not None else None,
            run=int(_number(_of_type(int, members.get("run", 0)), 0, MAX_FILE_BYTES)),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not an exchange: {error}") from None


def _of_type(kind: type[Value], value: object) -> Value:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"not {kind.__name__}")
    return value


def _number(value: object, low: float, high: float) -> float:
    """Return a number in a range. Raise ValueError for others that JSON can hold, such as Infinity or 400 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError("not a number of that range")
    return float(value)


def _endpoint(value: object) -> str:
    endpoint = _of_type(str, value)
    if endpoint not in ("wandb", "local"):
        parts = urlsplit(endpoint)
        is_address = re.fullmatch(r"(?i:https?)://[^\s\x00-\x20@]+", endpoint) and len(endpoint) <= MAX_ADDRESS_CHARS
        # Reading the port raises ValueError if it is not valid.
        if not is_address or not parts.hostname or parts.port == 0:
            raise ValueError("not an endpoint")
    return endpoint


def _request_id(value: Any) -> str | None:
    """Return the id of a request. It must be valid as a header, because it is replayed as one."""
    known = header_text(value)
    if known != value:
        raise ValueError("not a request id")
    return known


def header_text(value: str | None) -> str | None:
    """Return a text if it can be the value of a header, else None."""
    return value if value and re.fullmatch(r"[\x20-\x7e]{1,500}", value) else None


def _plain_events(events: Iterable[Any], most_members: int) -> Iterator[tuple[Any, Any]]:
    """Yield events of version 1 as events of version 2. Raise ValueError above `most_members` members in total."""
    before: dict[str, Any] = {}
    members = 0
    for at, differs, *gone in events:
        if isinstance(differs, str):
            choices = before["choices"]
            delta = choices[0]["delta"]
            (name,) = (name for name in TEXTS if isinstance(delta.get(name), str))
            members += len(choices) + len(choices[0]) + len(delta)
            choice = {**choices[0], "delta": {**delta, name: differs}}
            before = {**before, "choices": [choice, *choices[1:]]}
        else:
            left_out = frozenset(_of_type(list, gone[0])) if gone else frozenset()
            before = {name: value for name, value in before.items() if name not in left_out} | _of_type(dict, differs)
        # Each event is a copy of the previous one, so a few bytes could create any number of members.
        members += len(before)
        if members > most_members:
            raise ValueError("too many members")
        yield at, before


def unusable(path: Path, error: OSError) -> InferenceError:
    """Return the error for a file that the operating system does not allow to be used."""
    return InferenceError(
        f"The cassette {path} cannot be used.",
        why=quoted(error.strerror or str(error)),
        remedy=how_to_write(error, "%wbconfig --cassette FILE"),
        affects_all=True,
    )
