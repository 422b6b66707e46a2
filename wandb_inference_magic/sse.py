"""Server-sent events: the bytes of a streamed reply, cut into the JSON texts they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DONE = "[DONE]"


def data_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the `data` of each event in a stream of bytes, however the bytes are cut.

    Only CR, LF and CRLF end a line: `str.splitlines` would also cut at U+2028, which JSON may hold raw.

    Parameters
    ----------
    chunks : iterable of bytes
        The body as it arrives.

    Yields
    ------
    str
        One event's data, `[DONE]` included. Bytes that are not UTF-8 become U+FFFD.

    Notes
    -----
    The format is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream;
    unlike there, an event at the very end of the stream counts even without its blank line, since
    servers leave it out.
    """
    data: list[bytes] = []
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data).decode("utf-8", "replace")
            data.clear()
    if data:
        yield b"\n".join(data).decode("utf-8", "replace")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    after_cr = False
    for chunk in chunks:
        if not chunk:
            continue
        if after_cr:
            chunk = chunk.removeprefix(b"\n")
            after_cr = False
        rest += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            continue
        after_cr = rest.endswith(b"\r")
        lines = rest.splitlines(keepends=True)
        rest = bytearray() if lines[-1][-1:] in b"\r\n" else lines.pop()
        for line in lines:
            yield bytes(line).rstrip(b"\r\n")
    if rest:
        yield bytes(rest)
