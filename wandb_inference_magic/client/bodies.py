"""Response bodies that are read as they pass, and the one that limits its size.

Bodies are decompressed in pieces, so that a small response cannot fill the memory. The HTTP library would decompress
any encodings that a response names, and each network chunk in one step. Here one layer of gzip or deflate is
decompressed, and the bytes are counted.
"""

from __future__ import annotations

import sys
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
_PACKED: Final = ("gzip", "x-gzip", "deflate")
_OTHER_PACKED: Final = frozenset("br zstd compress x-compress bzip2 lzma xz lz4 snappy dcb dcz exi".split())  # noqa: SIM905
# zlib finds out by itself whether a body has the header of gzip or of deflate.
ANY_HEADER: Final = 32 + zlib.MAX_WBITS


def http_library() -> Any:
    """Return the HTTP library that the SDK is built on. It differs between versions of the SDK."""
    import openai

    return sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]


class PassedBody:
    """A response body that is read as it passes, for both kinds of client.

    `body_class` makes it a body of the HTTP library.
    """

    # Whether the rest is not read.
    is_full = False

    def __init__(self, body: Any) -> None:
        self._body = body

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Read bytes of the body, and yield those that are passed on."""
        yield data

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Return a context manager for the reading. It is left when the body has ended, or could not be read."""
        yield

    def closed(self) -> None:
        """Note that the body is closed, at its end or before."""

    def __iter__(self) -> Iterator[bytes]:
        with self.reading():
            for data in self._body:
                yield from self.feed(data)
                if self.is_full:
                    return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self.reading():
            async for data in self._body:
                for piece in self.feed(data):
                    yield piece
                if self.is_full:
                    return

    def close(self) -> None:
        self._body.close()
        self.closed()

    async def aclose(self) -> None:
        await self._body.aclose()
        self.closed()


@cache
def body_class(kind: type) -> Any:
    """Return a subclass of `kind` that is a response body of the HTTP library."""
    library = http_library()
    return type(kind.__name__, (kind, library.SyncByteStream, library.AsyncByteStream), {})


class BoundedBody(PassedBody):
    """Decompresses a body and counts its bytes.

    Parameters
    ----------
    body : iterable of bytes
    encoding : str
        `gzip`, `x-gzip` or `deflate`, or empty for a body that is not compressed. Others cannot be read.
    most : float
        The maximum number of bytes to return, after decompression. A body with a limit that begins as gzip does is
        decompressed without an encoding too.
    is_strict : bool
        Whether a body that is larger, damaged or cut is an error. If not, the rest is dropped.
    is_stream : bool
        Whether the content itself shows whether it is complete.
    """

    def __init__(self, body: Any, encoding: str, most: float, *, is_strict: bool, is_stream: bool = False) -> None:
        super().__init__(body)
        self._encoding = encoding
        self._unpacker: Any = zlib.decompressobj(ANY_HEADER) if encoding in _PACKED else None
        self._left = most
        self._most = most
        self._is_strict = is_strict
        self._is_stream = is_stream
        self._is_empty = True

    @contextmanager
    def reading(self) -> Iterator[None]:
        if self._encoding and self._unpacker is None:
            # Of an error, nothing is read then.
            self._left = 0
            self._stop(
                "The response uses a compression that was not requested; it was not read.",
                f"Its content-encoding is {quoted(self._encoding)}.",
                "Check the endpoint, and any proxy in front of it: %wbconfig shows the address.",
            )
        try:
            yield
        except Exception as failure:
            # The status of an error says what it means, however much of its body came. A connection that breaks after
            # the end of a compressed body has lost nothing.
            has_ended = getattr(self._unpacker, "eof", False) and not isinstance(failure, InferenceError)
            if self._is_strict and not has_ended:
                raise
        is_cut = self._unpacker is not None and not self._unpacker.eof and not self._is_empty
        if is_cut and self._is_strict and not self._is_stream:
            raise InferenceError(
                "The answer stopped before its end.",
                why="It is compressed, and a part of it is missing.",
                remedy="Run the cell again.",
                cause="reply",
                retryable=True,
            )

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes from the network and yield their content, in pieces of bounded size."""
        if self._is_empty and not self._encoding and self._most < float("inf") and _begins_gzip(data):
            self._unpacker = zlib.decompressobj(ANY_HEADER)
        self._is_empty = self._is_empty and not data
        for piece in (data,) if self._unpacker is None else self._unpacked(data):
            self._left -= len(piece)
            if self._left >= 0:
                yield piece
                continue
            self.is_full = True
            if self._is_strict:
                raise too_large(self._most)
            yield piece[: int(self._left)]
            return

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        while data and not self.is_full:
            if self._unpacker.eof:
                # It may have another member. Anything else that follows the end does not count.
                self.is_full = not _begins_gzip(data)
                self._unpacker = self._unpacker if self.is_full else zlib.decompressobj(ANY_HEADER)
                continue
            try:
                piece = self._unpacker.decompress(data, PIECE)
            except zlib.error:
                self._stop(
                    "The answer could not be decompressed.",
                    "It is declared as compressed, but it is not, or it is damaged.",
                    "Run the cell again; if it happens again, check the endpoint and any proxy in front of it.",
                )
                return
            data = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            if piece:
                yield piece

    def _stop(self, what: str, why: str, remedy: str) -> None:
        """Raise an error if the body is read strictly, else drop what follows."""
        self.is_full = True
        if self._is_strict:
            raise InferenceError(what, why=why, remedy=remedy, cause="reply")


def _begins_gzip(data: bytes) -> bool:
    """Return whether bytes may begin gzip. No text begins so."""
    return bool(data) and b"\x1f\x8b".startswith(data[:2])


def bound(request: Any, response: Any) -> Any:
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
    response.stream = body_class(BoundedBody)(
        response.stream, encoding, most, is_strict=not is_error, is_stream=is_stream(response)
    )
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
