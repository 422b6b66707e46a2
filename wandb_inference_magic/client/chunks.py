"""Read the body of a response: a stream of chunks or a whole completion, and whether it is complete.

The SDK's own loop accepts a truncated stream as complete. What a chunk can contain is in `replies/forms.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import InferenceError, quoted
from ..failures import ServiceError, read_error
from ..replies import (
    Completeness,
    adds,
    error_in,
    finish_in,
    first_choice,
    is_keep_alive,
    is_known_object,
    plain_text,
    with_first_choice,
)
from ..text import json_or_none, read_json_text
from .sse import BEFORE_FIELD, DONE, ERROR_EVENTS, STRAY, Event, EventReader, decoded

Chunk = Mapping[str, Any]

MAX_DONE_CHARS: Final = 10
OTHER_ENDS: Final = ("DONE", "[END]", "[EOS]")
# The names of events that end a stream.
END_EVENTS: Final = ("done", "end", "complete", "completed")
# The names of events that only inform, and the fields of data that does more.
INFORMING: Final = ("info", "log", "notice", "progress", "status", "warning")
_SAYING_MORE: Final = frozenset(("choices", "error", "errors"))
MAX_STATUS_CHARS: Final = 30
OBJECT_OF_CHUNK: Final = "chat.completion.chunk"
# The fields in which gateways wrap a reply.
ENVELOPES: Final = ("data", "result", "response")
CHECK_ADDRESS: Final = "Check the endpoint with %wbconfig; its address usually ends in /v1."
_ERROR_TEXT: Final = re.compile(r"error|exception|fail|denied|abort|memory", re.IGNORECASE)
# Bytes that are enough to tell a stream from a document.
FIRST_BYTES: Final = 8
_EVENTS: Final = re.compile(rb":|(data|event|id|retry|error)[ \t]*:")
_BEGUN_OBJECT: Final = re.compile(r'(\[\s*)?\{\s*("|$)')
# Between the objects of one line.
_BETWEEN: Final = re.compile(r"\s*(data:)?\s*")
_BLANK: Final = BEFORE_FIELD + b"\r\n"


class ChunkReader:
    """Turns the bytes of a response into chunks. The first bytes tell whether it is a stream or one document.

    Call `feed` with the received bytes until `is_done`, then `close`.

    Parameters
    ----------
    charset : str, optional
        As `EventReader` takes it.

    Raises
    ------
    InferenceError
        When the response is not a reply, or only a part of one.
    ServiceError
        When it reports an error.
    """

    def __init__(self, charset: str | None = None) -> None:
        self._charset = charset
        self._has_ended = False
        self.completeness = Completeness()
        self._events: EventReader | None = None
        # Whether the response is one document, not a stream.
        self.is_document = False
        # The bytes of a document, and the first bytes until they tell what the response is.
        self._held = bytearray()
        self._has_begun = False
        self._stray = ""
        # The first object of a form that is not known. If no choice comes, it is of another API.
        self._foreign: Chunk | None = None
        # The index of the choice that is the reply.
        self._choice: Any = None

    @property
    def is_done(self) -> bool:
        """Whether the end of the stream has been received."""
        return self.completeness.is_done

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Yield the chunks that these bytes complete."""
        if self._events is None:
            self._held += data
            if not self.is_document:
                self._held = self._held.lstrip(_BLANK)
                self._events = self._stream_reader()
            if self._events is None:
                return
            data = bytes(self._held)
        for event in self._events.feed(data):
            yield from self._read(event)

    def close(self) -> Iterator[Chunk]:
        """Yield the chunks that are left at the end of the response. Raise if the reply is not complete."""
        self._has_ended = True
        if self._events is None:
            yield from self._read_document(bytes(self._held))
        else:
            for event in self._events.close():
                yield from self._read(event)
        if not self.completeness.has_choice and self._foreign is not None:
            raise _not_a_reply(json.dumps(self._foreign, ensure_ascii=False))
        if self._stray and not self.completeness.has_finished:
            raise ServiceError({"message": self._stray}, has_begun=self._has_begun)
        if not self.completeness.is_complete:
            raise _cut_off()
        if not self.completeness.has_choice:
            remedy = "Run the cell again; if it happens again, choose another model with %wbmodels."
            raise _unusable("The service answered without a reply.", "Its answer has no choices.", remedy)

    def _stream_reader(self) -> EventReader | None:
        """Return a reader if the bytes so far begin a stream. Note if they begin a document."""
        if _EVENTS.match(self._held):
            return EventReader(self._charset)
        self.is_document = self._held.startswith((b"{", b"[", b"<")) or len(self._held) >= FIRST_BYTES
        return None

    def _read(self, event: Event) -> Iterator[Chunk]:
        data, name = event.data.strip(), event.name
        if self.is_done or (not data and name not in ERROR_EVENTS):
            return
        if len(data) <= MAX_DONE_CHARS and data.strip('"').upper() in (DONE, *OTHER_ENDS):
            self.completeness.is_done = True
            return
        found = json_or_none(data)
        # Set before the last chunk is read, which may stop the reading.
        if name in END_EVENTS or _is_end(found):
            self.completeness.is_done = True
        if name in ERROR_EVENTS or name.endswith(("Exception", "_error", ".error", ".failed")):
            error = {"type": name, "message": found or data} if data else {}
            raise ServiceError(error, has_begun=self._has_begun)
        yield from self._read_data(data, found, name)

    def _read_data(self, data: str, found: Any, name: str) -> Iterator[Chunk]:
        """Read the data of an event that is neither an end nor an error. `found` is the JSON value in it."""
        if name in INFORMING and not (isinstance(found, dict) and found.keys() & _SAYING_MORE):
            yield {"line": data}
        elif objects := _objects(found) or _documents(data):
            for one in objects:
                yield self._check(one)
        elif found is None and "\n" in data:
            # Events that are separated by one line end only.
            for line in data.split("\n"):
                yield from self._read(Event("", line))
        elif data.startswith("data:"):
            yield from self._read(Event("", data.removeprefix("data:")))
        elif found is None or isinstance(found, str):
            yield from self._read_text(found or data, is_data=name != STRAY)
        elif not is_keep_alive(data):
            yield {"line": data}

    def _read_text(self, text: str, *, is_data: bool) -> Iterator[Chunk]:
        """Take data that is no chunk. It is an error, unless the reply goes on or is finished after it."""
        if is_keep_alive(text):
            return
        if not self.completeness.has_finished:
            if self._has_ended and _BEGUN_OBJECT.match(text):
                raise _cut_off()
            if is_data and text[:1] in ("{", "[", "<"):
                if not self._has_begun and OBJECT_OF_CHUNK not in text:
                    raise _not_a_reply(text)
                why = f'It sent a line in an unexpected form: "{quoted(text)}"'
                raise _unusable("A part of the reply could not be read.", why, retryable=True)
            if is_data and _ERROR_TEXT.search(text):
                raise ServiceError({"message": text}, has_begun=self._has_begun)
            self._stray = self._stray or text
        # A word or two before a reply, such as `queued`, are a status.
        if self._has_begun or not is_data or len(text) > MAX_STATUS_CHARS:
            yield {"line": text}

    def _read_document(self, data: bytes) -> Iterator[Chunk]:
        text = decoded(data, self._charset).strip().removeprefix("\ufeff")
        if not text:
            raise _unusable("The service answered without a reply.", describe_sent(text), retryable=True)
        if not (chunks := _objects(json_or_none(text))):
            yield from self._read_lines(text)
            return
        for chunk in chunks:
            checked = self._check(chunk)
            if not isinstance(chunk.get("choices"), list | Mapping) and not is_known_object(chunk):
                raise _not_a_reply(text)
            yield checked
        # A single chunk of a stream is not a whole answer.
        choices = [first_choice(chunk) for chunk in chunks]
        self.completeness.is_done = all("delta" not in choice for choice in choices if choice is not None)

    def _read_lines(self, text: str) -> Iterator[Chunk]:
        """Read a document whose every line is a chunk."""
        if _BEGUN_OBJECT.match(text) and text[-1] != "}":
            raise _cut_off()
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) == 1 or not isinstance(json_or_none(lines[0]), Mapping):
            raise _not_a_reply(text)
        for line in lines:
            yield from self._read(Event("", line))

    def _check(self, chunk: Chunk) -> Chunk:
        """Return a chunk. Raise for one that reports an error."""
        if self._choice == 0 and plain_text(chunk) is not None:
            self.completeness.take(None, adds=True)
            self._stray, self._has_begun = "", True
            return chunk
        chunk, self._choice = with_first_choice(chunk, self._choice)
        if (error := error_in(chunk)) is not None:
            raise ServiceError(error, has_begun=self._has_begun)
        if (choice := first_choice(chunk)) is not None:
            self.completeness.take(finish_in(choice), adds=adds(choice))
            self._stray = "" if adds(choice) else self._stray
        elif self._foreign is None and not is_known_object(chunk):
            self._foreign = chunk
        self._has_begun = True
        return chunk


def _is_end(found: Any) -> bool:
    """Return whether an object without a reply says that the stream has ended."""
    return isinstance(found, dict) and found.get("done") is True and not {"choices", "error"} & set(found)


def _objects(found: Any) -> list[Chunk]:
    """Return a JSON value that is an object, or a list of objects, as a list; empty for any other value."""
    if isinstance(found, dict):
        return [_unwrapped(found)]
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return list(map(_unwrapped, found))
    return []


def _unwrapped(found: Mapping[str, Any]) -> Chunk:
    """Return an object, or the reply in it with the fields beside: `{"success": true, "data": {"choices": []}}`."""
    if "choices" in found:
        return found
    wrapping = (name for name in ENVELOPES if isinstance(inner := found.get(name), dict) and "choices" in inner)
    if (name := next(wrapping, None)) is None:
        return found
    return {**{key: value for key, value in found.items() if key != name}, **found[name]}


def _documents(data: str) -> list[Chunk]:
    """Return the chunks of one line that holds several, with `data:` or nothing between them; empty for other data."""
    # By their places: a copy of the rest for each of them would take quadratic time.
    decoder, start = json.JSONDecoder(strict=False), 0
    found: list[Chunk] = []
    while start < len(data):
        try:
            _, end = decoder.raw_decode(data, start)
            # It limits the depth and the number of values.
            one = read_json_text(data[start:end])
        except (ValueError, RecursionError):
            return []
        if not isinstance(one, dict):
            return []
        found.append(one)
        between = _BETWEEN.match(data, end)
        start = between.end() if between else end
    return found if len(found) > 1 else []


def _unusable(what: str, why: str, remedy: str = "Run the cell again.", *, retryable: bool = False) -> InferenceError:
    return InferenceError(what, why=why, remedy=remedy, cause="reply", retryable=retryable)


def _cut_off() -> InferenceError:
    why = "The service closed the connection in the middle."
    return _unusable("The reply stopped before its end.", why, retryable=True)


def _not_a_reply(text: str) -> InferenceError | ServiceError:
    if read_error(text).is_page:
        # A network's sign-in page has any status.
        return ServiceError(text, has_begun=False)
    what = "The endpoint answered, but not with a reply of a model."
    return _unusable(what, describe_sent(text), CHECK_ADDRESS)


def describe_sent(text: str) -> str:
    """Return a sentence about what an endpoint sent in place of what was requested."""
    if not text.strip():
        return "It sent nothing."
    if text.lstrip()[:1] == "<":
        return "It sent a web page: a network's sign-in page or a proxy answered, or the address is not that of an API."
    return f'It sent: "{quoted(text)}"'
