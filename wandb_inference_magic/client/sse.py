"""Server-sent events: split the bytes of a stream into its events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from ..errors import MB, too_large

# The maximum size of one event in bytes, so that a line without an end does not fill the memory.
MAX_EVENT_BYTES: Final = 32 * MB
DONE: Final = "[DONE]"
# The name of an event made of a line that is no field.
STRAY: Final = "stray"
# Names of events that report an error.
ERROR_EVENTS: Final = ("error", "exception", "failure", "fatal")
_FIELD: Final = re.compile(rb":|[A-Za-z][\w-]*:|[A-Za-z][\w-]*$")
_NAMED: Final = (b":", b"data:", b"event:", b"error:", b"id:", b"retry:")
_JSON: Final = re.compile(rb"\{|\[\s*(\{|$)")
# Blanks, and byte order marks.
BEFORE_FIELD: Final = b" \t\x00\xef\xbb\xbf"
# The extension of a response in which a cassette passes its clock.
EXTENSION: Final = "wandb_inference_cassette"
# Whether a budget added `max_tokens` to the request of this context. A cassette does not count it as part of the
# request.
ADDED_LIMIT: Final[ContextVar[bool]] = ContextVar("wandb_inference_added_limit", default=False)
# The body of the request of this context before a budget or an earlier refusal changed it. A cassette has the request
# in this form: which one is refused first depends on the order of the cells and rows.
ASKED: Final[ContextVar[dict[str, Any] | None]] = ContextVar("wandb_inference_asked", default=None)


def is_stream(response: Any) -> bool:
    """Return whether a response says that it is a stream. Some services say so of no stream, or not of one."""
    return "event-stream" in response.headers.get("content-type", "event-stream")


class Event(NamedTuple):
    """An event: its name, which is usually empty, and its data."""

    name: str
    data: str


class EventReader:
    """Takes the bytes of a stream, split anywhere, and yields each event once it is complete.

    Only CR, LF and CRLF end a line. `str.splitlines` would also split at U+2028, which JSON may contain unescaped.

    Parameters
    ----------
    charset : str, optional
        What the response says of its text; for bytes that are not UTF-8.

    Raises
    ------
    InferenceError
        For an event that is too large.

    Notes
    -----
    The format is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
    Unlike there, an event at the end of the stream counts even without a blank line after it, because servers
    omit that line. A line `error: ...` is an event named so (llama.cpp), JSON over several lines is one without a
    name, and any other line that is no field is one named STRAY. Blank characters before a field are ignored.
    """

    def __init__(self, charset: str | None = None) -> None:
        self._charset = charset
        self._rest = bytearray()
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        # Some services write what is wrong into a comment.
        self._comment = b""
        self._held = 0
        # Whether the lines that follow belong to JSON that has begun, and whether it has begun without `data:`.
        self._in_json = self._is_bare = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take more bytes and yield the events that they complete."""
        for line in self._lines(chunk):
            yield from self._line(line)

    def close(self) -> Iterator[Event]:
        """Yield an event that is left at the end of the stream."""
        if self._rest:
            yield from self._line(bytes(self._rest))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[Event]:
        line = line.lstrip(BEFORE_FIELD)
        if self._in_json and line and not line.startswith(_NAMED):
            self._hold(line)
        elif line.startswith(b"data:"):
            if self._is_bare:
                yield from self._end()
            self._hold(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            self._name = decoded(line[6:], self._charset).strip()
        elif line.startswith(b":") and self._name in ERROR_EVENTS:
            self._comment = self._comment or line[1:].strip()
        elif line.startswith(b"error:"):
            yield Event("error", decoded(line[6:], self._charset).strip())
        elif _begins_json(line):
            yield from self._end()
            self._is_bare = True
            self._hold(line)
        elif line and not _FIELD.match(line):
            yield Event(STRAY, decoded(line, self._charset))
        elif not line:
            yield from self._end()

    def _hold(self, line: bytes) -> None:
        """Take a line of the data of an event."""
        self._held += len(line)
        if self._held > MAX_EVENT_BYTES:
            raise too_large(MAX_EVENT_BYTES)
        self._in_json = self._in_json or (not self._data and _begins_json(line))
        self._data.append(line)

    def _end(self) -> Iterator[Event]:
        """Yield the event that is held, if there is one."""
        if self._data or self._name in ERROR_EVENTS:
            yield Event(self._name, decoded(b"\n".join(self._data) or self._comment, self._charset))
        self._name, self._comment, self._held, self._in_json, self._is_bare = "", b"", 0, False, False
        self._data.clear()

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._rest += chunk
        if len(self._rest) > MAX_EVENT_BYTES:
            raise too_large(MAX_EVENT_BYTES)
        if b"\n" not in chunk and b"\r" not in chunk:
            return
        self._after_cr = self._rest.endswith(b"\r")
        lines = self._rest.splitlines(keepends=True)
        self._rest = bytearray() if lines[-1][-1:] in b"\r\n" else lines.pop()
        for line in lines:
            yield bytes(line).rstrip(b"\r\n")


def _begins_json(line: bytes) -> bool:
    """Return whether a line is the first one of JSON that is written over several lines."""
    return not line.rstrip().endswith((b"}", b"]")) and _JSON.match(line) is not None


def decoded(data: bytes, charset: str | None) -> str:
    """Return the text of bytes: in UTF-8, else in the charset that a response names. Some name one and send UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    with suppress(LookupError, UnicodeError):
        # Others are named by mistake: the marks of a stream are ASCII.
        if charset and "{".encode(charset) == b"{":
            return data.decode(charset, "replace")
    return data.decode(errors="replace")
