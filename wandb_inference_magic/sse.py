"""Server-sent events: the bytes of a streamed reply, cut into the JSON texts they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = "[DONE]"


class EventReader:
    """Takes a stream's bytes, however they are cut, and gives the `data` of each event as soon as it is whole.

    Only CR, LF and CRLF end a line: `str.splitlines` would also cut at U+2028, which JSON may hold raw. Bytes
    that are not UTF-8 become U+FFFD.

    Notes
    -----
    The format is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream;
    unlike there, an event at the very end of the stream counts even without its blank line, since
    servers leave it out.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._after_cr = False
        self._data: list[bytes] = []

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
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            yield b"\n".join(self._data).decode("utf-8", "replace")
            self._data.clear()

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._rest += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            return
        self._after_cr = self._rest.endswith(b"\r")
        lines = self._rest.splitlines(keepends=True)
        self._rest = bytearray() if lines[-1][-1:] in b"\r\n" else lines.pop()
        for line in lines:
            yield bytes(line).rstrip(b"\r\n")
