"""Server-sent events: what a response is, and the bytes of a streamed one, cut into the JSON texts they carry."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ..errors import MB, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..messages import Timing

# One event, in bytes: a line that never ends is not kept.
MOST_EVENT: Final = 32 * MB
DONE: Final = "[DONE]"
# Where a response that goes by way of a cassette carries its clock.
EXTENSION: Final = "wandb_inference_cassette"
# The clock of the response that this context has received last: the SDK hands out some without their extensions.
LAST: Final[ContextVar[Timing | None]] = ContextVar("wandb_inference_last_response", default=None)
# Whether a budget has added `max_tokens` to the request that this context sends: to a cassette it is no part of it.
LIMITED: Final[ContextVar[bool]] = ContextVar("wandb_inference_limited", default=False)


def is_stream(response: Any) -> bool:
    """Whether an endpoint streams; one that does not answers with the whole completion."""
    return "event-stream" in response.headers.get("content-type", "event-stream")


class EventReader:
    """Takes a stream's bytes, however they are cut, and gives the `data` of each event as soon as it is whole.

    Only CR, LF and CRLF end a line: `str.splitlines` would also cut at U+2028, which JSON may hold raw. Bytes
    that are not UTF-8 become U+FFFD.

    Raises
    ------
    InferenceError
        For an event that is too large.

    Notes
    -----
    The format is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream;
    unlike there, an event at the very end of the stream counts even without its blank line, since
    servers leave it out.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._after_cr = False
        self._is_first = True
        self._data: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take more bytes and yield the data of the events that they complete."""
        for line in self._lines(chunk):
            yield from self._line(line)

    def close(self) -> Iterator[str]:
        """Yield the data of an event that the stream's end left open."""
        if self._rest:
            yield from self._line(bytes(self._rest))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[str]:
        if self._is_first:
            # The mark that a file begins with is no part of its first line.
            line, self._is_first = line.removeprefix(b"\xef\xbb\xbf"), False
        if line.startswith(b"data:"):
            self._held += len(line)
            if self._held > MOST_EVENT:
                raise too_large(MOST_EVENT)
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            yield b"\n".join(self._data).decode("utf-8", "replace")
            self._data.clear()
            self._held = 0

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._rest += chunk
        if len(self._rest) > MOST_EVENT:
            raise too_large(MOST_EVENT)
        if b"\n" not in chunk and b"\r" not in chunk:
            return
        self._after_cr = self._rest.endswith(b"\r")
        lines = self._rest.splitlines(keepends=True)
        self._rest = bytearray() if lines[-1][-1:] in b"\r\n" else lines.pop()
        for line in lines:
            yield bytes(line).rstrip(b"\r\n")
