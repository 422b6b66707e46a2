"""Limit the size of response bodies: decompress them in pieces, so that a small response cannot fill the memory.

The HTTP library would decompress any encodings that a response names, and each network chunk in one step. Here
one layer of gzip or deflate is decompressed, and the bytes are counted.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ..errors import MB, InferenceError, quoted, too_large
from .sse import is_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# Limits in bytes after decompression: a whole completion, a stream, a list of models, the body of an error.
MAX_WHOLE: Final = 64 * MB
MAX_STREAMED: Final = 256 * MB
MAX_LISTED: Final = 16 * MB
MAX_REFUSED: Final = 1 * MB
# Any other compressed body: calls of other paths that the user's code makes.
MAX_UNPACKED: Final = 256 * MB
PIECE: Final = 65_536

# Request no compression: the size of a body is then known, and a cassette records it unchanged.
NOT_PACKED: Final = {"accept-encoding": "identity"}
_PACKED: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_OTHER_PACKED: Final = frozenset("br zstd compress x-compress bzip2 lzma xz lz4 snappy dcb dcz exi".split())  # noqa: SIM905
GZIP_MARK: Final = b"\x1f\x8b"
DEFLATE_HEAD: Final = 2


def bound(library: Any, request: Any, response: Any) -> None:
    """Replace the body of a response of the HTTP library with a bounded one.

    Raises
    ------
    InferenceError
        When the body cannot be read.
    """
    response.stream = _body_class(library)(response.stream, _reader(request, response))


def _reader(request: Any, response: Any) -> BodyReader:
    named = [one.strip().lower() for one in response.headers.get("content-encoding", "").split(",")]
    # Servers that are written by hand name other things: `none`, `utf-8`, `chunked`.
    encodings = [one for one in named if one in _PACKED or one in _OTHER_PACKED]
    is_error = response.status_code >= 300
    is_known = not encodings or (len(encodings) == 1 and encodings[0] in _PACKED)
    if not is_known and not is_error:
        raise InferenceError(
            "The response uses a compression that was not requested; it was not read.",
            why=f"Its content-encoding is {quoted(', '.join(encodings))}.",
            remedy="Check the endpoint, and any proxy in front of it: %wbconfig shows the address.",
            cause="reply",
        )
    # Decompressed here, so the library must not do it again.
    for name in ("content-encoding", "content-length") if encodings else ():
        response.headers.pop(name, None)
    encoding = encodings[0] if encodings and is_known else ""
    most = _most(request.url.path, response, encoding) if is_known else 0
    return BodyReader(encoding, most, is_strict=not is_error, is_stream=is_stream(response))


def _most(path: str, response: Any, encoding: str) -> float:
    """Return the maximum number of bytes to read from a body."""
    if response.status_code >= 300:
        return MAX_REFUSED
    if path.endswith("/chat/completions"):
        return MAX_STREAMED if is_stream(response) else MAX_WHOLE
    if path.endswith("/models"):
        return MAX_LISTED
    return MAX_UNPACKED if encoding else float("inf")


class BodyReader:
    """Decompresses a body and counts its bytes.

    Parameters
    ----------
    encoding : str
        `gzip`, `deflate`, or empty for a body that is not compressed.
    most : float
        The maximum number of bytes to return, after decompression.
    is_strict : bool
        Whether a body that is larger, damaged or cut is an error. If not, the rest is dropped.
    is_stream : bool
        Whether the content itself shows whether it is complete.
    """

    def __init__(self, encoding: str, most: float, *, is_strict: bool, is_stream: bool = False) -> None:
        self._encoding = encoding
        self._unpacker = zlib.decompressobj(_PACKED[encoding]) if encoding else None
        # The first bytes of a `deflate` body, until it is known whether it has a header.
        self._head: bytes | None = b"" if encoding == "deflate" else None
        self._has_begun = self._has_ended = False
        self._left = most
        self._most = most
        self.is_strict = is_strict
        self._is_stream = is_stream
        self.is_full = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes from the network and yield their content, in pieces of bounded size."""
        for piece in self._unpacked(chunk):
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
            yield chunk
            return
        if self._head is not None:
            chunk = self._head = self._head + chunk
            if len(chunk) < DEFLATE_HEAD:
                return
            if not _has_deflate_header(chunk):
                # Some servers omit the header.
                self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            self._head = None
        while chunk and not self._has_ended and not self.is_full:
            if self._unpacker.eof and not self._begin_next(chunk):
                return
            self._has_begun = True
            piece = self._unpack(chunk)
            chunk = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if piece:
                yield piece

    def _begin_next(self, chunk: bytes) -> bool:
        """Begin the next part, since a gzip body may have several. Ignore trailing data that is not gzip."""
        self._has_ended = "gzip" not in self._encoding or not chunk.startswith(GZIP_MARK[: len(chunk)])
        if not self._has_ended:
            self._unpacker = zlib.decompressobj(_PACKED[self._encoding])
        return not self._has_ended

    def end(self) -> None:
        """Raise if a compressed body ended too early."""
        is_cut = self._unpacker is not None and self._has_begun and not self._unpacker.eof
        if is_cut and self.is_strict and not self._is_stream:
            raise InferenceError(
                "The answer stopped before its end.",
                why="It is compressed, and a part of it is missing.",
                remedy="Run the cell again.",
                cause="reply",
                retryable=True,
            )

    def _unpack(self, chunk: bytes) -> bytes:
        assert self._unpacker is not None
        with suppress(zlib.error):
            return self._unpacker.decompress(chunk, PIECE)
        if not self.is_strict:
            self.is_full = True
            return b""
        raise InferenceError(
            "The answer could not be decompressed.",
            why="It is declared as compressed, but it is not, or it is damaged.",
            remedy="Run the cell again; if it happens again, check the endpoint and any proxy in front of it.",
            cause="reply",
        )


def _has_deflate_header(data: bytes) -> bool:
    """Return whether compressed data begins with the header of RFC 1950."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:DEFLATE_HEAD], "big") % 31 == 0


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
