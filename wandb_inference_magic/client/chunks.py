"""Read and check the chunks of a reply: whether it is a reply, can be parsed, and is complete.

The SDK's own loop accepts a truncated stream as complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InferenceError, quoted
from ..text import read_json_text
from .sse import DONE, EventReader

Chunk = Mapping[str, Any]


class ChunkReader:
    """Turns the bytes of a stream into chunks.

    Call `feed` with the received bytes until `is_done`, then `close`.

    Raises
    ------
    InferenceError
        When the response is not a reply, or only a part of one.
    """

    def __init__(self) -> None:
        self._events = EventReader()
        self._has_payload = False
        self._has_ended = False
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[Chunk]:
        """Yield the chunks that these bytes complete."""
        for data in self._events.feed(chunk):
            yield from self._read(data)

    def close(self) -> Iterator[Chunk]:
        """Yield the chunks that are left at the end of the stream. Raise if the reply is not complete."""
        for data in self._events.close():
            yield from self._read(data)
        if not self._has_ended:
            raise _cut_off()

    def _read(self, data: str) -> Iterator[Chunk]:
        if self.is_done:
            return
        if data == DONE:
            self.is_done = self._has_ended = True
            return
        chunk = _parsed(data)
        if chunk is None:
            raise _not_readable() if self._has_payload else _not_a_reply(data)
        yield self._check(chunk)

    def _check(self, chunk: Chunk) -> Chunk:
        """Return a chunk. Raise for one that reports an error."""
        if error := chunk.get("error"):
            raise error_of_service(error)
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            self._has_ended = self._has_ended or choices[0].get("finish_reason") is not None
        self._has_payload = True
        return chunk


def whole_completion(text: str) -> Chunk:
    """Read the response of an endpoint that does not stream.

    Raises
    ------
    InferenceError
        When it is not a completion.
    """
    chunk = _parsed(text)
    if chunk is None or not isinstance(chunk.get("choices"), list):
        raise _not_a_reply(text)
    return chunk


def _parsed(data: str) -> Chunk | None:
    try:
        chunk = read_json_text(data)
    except ValueError:
        return None
    return chunk if isinstance(chunk, Mapping) else None


def _cut_off() -> InferenceError:
    return InferenceError(
        "The reply stopped before its end.",
        why="The service closed the connection in the middle.",
        remedy="Run the cell again.",
        cause="reply",
        retryable=True,
    )


def error_of_service(error: object) -> InferenceError:
    """Return the error for one that the service sent in the middle of a reply."""
    message = error.get("message") if isinstance(error, Mapping) else error
    return InferenceError(
        "The service stopped the reply with an error.",
        why=f'It said: "{quoted(str(message))}"',
        remedy="Run the cell again; if it happens again, choose another model with %wbmodels.",
        cause="busy",
        retryable=True,
    )


def _not_readable() -> InferenceError:
    return InferenceError(
        "A part of the reply could not be read.",
        why="The service sent a line that is not of the form it should be.",
        remedy="Run the cell again.",
        cause="reply",
        retryable=True,
    )


def _not_a_reply(text: str) -> InferenceError:
    is_page = text.lstrip()[:1] == "<"
    return InferenceError(
        "The endpoint answered, but not with a reply of a model.",
        why="It sent a web page: the address is probably not that of an API." if is_page else "",
        remedy="Check the endpoint with %wbconfig; its address usually ends in /v1.",
        cause="reply",
    )
