"""Limit the size of response bodies: decompress them in pieces, so that a small response cannot fill the memory.

The HTTP library would decompress any encodings that a response names, and each network chunk in one step. Here
one layer of gzip or deflate is decompressed, and the bytes are counted.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from ..errors import MB, InferenceError, quoted, too_large
from .sse import is_stream

# Limits in bytes after decompression: a whole completion, a stream, a list of models, the body of an error.
MAX_BODY_BYTES: Final = 64 * MB
MAX_STREAM_BYTES: Final = 256 * MB
MAX_LIST_BYTES: Final = 16 * MB
MAX_ERROR_BYTES: Final = 1 * MB
# Any other compressed body: calls of other paths that the user's code makes.
MAX_UNPACKED_BYTES: Final = 256 * MB
PIECE: Final = 65_536
FIRST_ERROR: Final = 300

# Request no compression: the size of a body is then known, and a cassette records it unchanged.
NOT_PACKED: Final = {"accept-encoding": "identity"}
_PACKED: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_OTHER_PACKED: Final = frozenset("br zstd compress x-compress bzip2 lzma xz lz4 snappy dcb dcz exi".split())  # noqa: SIM905
GZIP_MARK: Final = b"\x1f\x8b"
# Those of JSON, of an event and of a comment in a stream.
_BEGINNINGS: Final = (b"{", b"[", b"d", b":", b"e", b"i")
# So many bytes tell whether a `deflate` body has a header.
HEAD: Final = 2


def bound(library: Any, request: Any, response: Any) -> Any:
    """Return a response of the HTTP library with a bounded body in place of its own.

    A body that cannot be read raises an InferenceError when it is read.
    """
    named = [one.strip().lower() for one in response.headers.get("content-encoding", "").split(",")]
    # Servers that are written by hand name other things: `none`, `utf-8`, `chunked`.
    encoding = ", ".join(one for one in named if one in _PACKED or one in _OTHER_PACKED)
    # Decompressed here, so the library must not do it again.
    for name in ("content-encoding", "content-length") if encoding else ():
        response.headers.pop(name, None)
    most = _most(request.url.path, response, encoding)
    is_error = response.status_code >= FIRST_ERROR
    reader = BodyReader(encoding, most, is_strict=not is_error, is_stream=is_stream(response))
    response.stream = _body_class(library)(response.stream, reader)
    return response


def _most(path: str, response: Any, encoding: str) -> float:
    """Return the maximum number of bytes to read from a body."""
    if response.status_code >= FIRST_ERROR:
        return MAX_ERROR_BYTES
    if path.endswith("/chat/completions"):
        return MAX_STREAM_BYTES if is_stream(response) else MAX_BODY_BYTES
    if path.endswith("/models"):
        return MAX_LIST_BYTES
    return MAX_UNPACKED_BYTES if encoding else float("inf")


class BodyReader:
    """Decompresses a body and counts its bytes.

    Parameters
    ----------
    encoding : str
        `gzip`, `x-gzip` or `deflate`, or empty for a body that is not compressed. Others cannot be read.
    most : float
        The maximum number of bytes to return, after decompression.
    is_strict : bool
        Whether a body that is larger, damaged or cut is an error. If not, the rest is dropped.
    is_stream : bool
        Whether the content itself shows whether it is complete.
    """

    def __init__(self, encoding: str, most: float, *, is_strict: bool, is_stream: bool = False) -> None:
        self._encoding = encoding
        # The first bytes of a compressed body, and what is made once there are enough of them.
        self._head = b""
        self._unpacker: Any = None
        self._left = most
        self._most = most
        self.is_strict = is_strict
        self._is_stream = is_stream
        # Whether what follows is dropped.
        self.is_full = False

    def begin(self) -> None:
        """Raise if the body cannot be read. Of an error, nothing is read then."""
        if self._encoding and self._encoding not in _PACKED:
            self._left = 0
            self._stop(
                "The response uses a compression that was not requested; it was not read.",
                f"Its content-encoding is {quoted(self._encoding)}.",
                "Check the endpoint, and any proxy in front of it: %wbconfig shows the address.",
            )

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes from the network and yield their content, in pieces of bounded size."""
        for piece in self._unpacked(chunk) if self._encoding in _PACKED else (chunk,):
            self._left -= len(piece)
            if self._left >= 0:
                yield piece
                continue
            self.is_full = True
            if self.is_strict:
                raise too_large(self._most)
            yield piece[: int(self._left)]
            return

    def _unpacked(self, chunk: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < HEAD:
                return
            if "gzip" in self._encoding and chunk.lstrip()[:1] in _BEGINNINGS:
                # A proxy has decompressed it, and has passed the header on.
                self._encoding, self._head = "", b""
                yield chunk
                return
            self._unpacker = self._new_unpacker()
        while chunk and not self.is_full:
            if self._unpacker.eof:
                # A gzip body may have several parts. What follows and is not gzip does not count.
                if "gzip" not in self._encoding or not chunk.startswith(GZIP_MARK[: len(chunk)]):
                    self.is_full = True
                    return
                self._unpacker = self._new_unpacker()
            try:
                piece = self._unpacker.decompress(chunk, PIECE)
            except zlib.error:
                self._stop(
                    "The answer could not be decompressed.",
                    "It is declared as compressed, but it is not, or it is damaged.",
                    "Run the cell again; if it happens again, check the endpoint and any proxy in front of it.",
                )
                return
            chunk = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if piece:
                yield piece

    def _new_unpacker(self) -> Any:
        bits = _PACKED[self._encoding]
        # Some servers omit the header of `deflate` (RFC 1950).
        has_header = self._head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(self._head[:HEAD], "big") % 31 == 0
        return zlib.decompressobj(bits if has_header or "gzip" in self._encoding else -bits)

    def _stop(self, what: str, why: str, remedy: str) -> None:
        """Raise an error if the body is read strictly, else drop what follows."""
        self.is_full = True
        if self.is_strict:
            raise InferenceError(what, why=why, remedy=remedy, cause="reply")

    def end(self) -> None:
        """Raise if a compressed body ended too early."""
        is_cut = bool(self._head) and not (self._unpacker and self._unpacker.eof)
        if is_cut and self.is_strict and not self._is_stream:
            raise InferenceError(
                "The answer stopped before its end.",
                why="It is compressed, and a part of it is missing.",
                remedy="Run the cell again.",
                cause="reply",
                retryable=True,
            )


@cache
def _body_class(library: Any) -> Any:
    """Return the class of a bounded body for an HTTP library, for both kinds of client."""

    class BoundedBody(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, reader: BodyReader) -> None:
            self._stream = stream
            self._reader = reader

        def __iter__(self) -> Iterator[bytes]:
            with self._reading():
                for chunk in self._stream:
                    yield from self._reader.feed(chunk)
                    if self._reader.is_full:
                        return

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with self._reading():
                async for chunk in self._stream:
                    for piece in self._reader.feed(chunk):
                        yield piece
                    if self._reader.is_full:
                        return

        @contextmanager
        def _reading(self) -> Iterator[None]:
            self._reader.begin()
            try:
                yield
            except (library.TransportError, OSError):
                # The status of an error says what it means, however much of its body came.
                if self._reader.is_strict:
                    raise
            self._reader.end()

        def close(self) -> None:
            self._stream.close()

        async def aclose(self) -> None:
            await self._stream.aclose()

    return BoundedBody
