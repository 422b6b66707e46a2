"""Between the client and the wire: requests answered from a cassette, and replies written to it as they pass.

It is the HTTP client that the SDK and this package share, so that whoever uses the SDK, Weave and the user's own code
included, meets an ordinary response. The key is put in further down: no request seen here holds it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from ..client import DONE, EXTENSION, LAST, LIMITED, EventReader, is_stream, wait
from ..messages import Timing
from ..text import read_json_text, without_query_secrets
from .file import Exchange, header_text, without_pictures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ..config import Endpoint
    from .cassette import Cassette
    from .file import Event

# What an endpoint says of the request itself, and would say again. Other failures pass, or are the account's.
REFUSALS: Final = (400, 404, 413, 422)
# So many pieces of a stream are kept: each takes far more memory than it has bytes. More than any reply has.
MOST_EVENTS: Final = 250_000


@dataclass(frozen=True, slots=True)
class CassetteRecorder:
    """A cassette as the client's builder takes it."""

    cassette: Cassette

    @property
    def records(self) -> bool:
        """Whether requests may go over the wire."""
        return self.cassette.records

    def http_client(self, library: Any, endpoint: Endpoint | None, options: dict[str, Any], *, at_once: bool) -> Any:
        """Return an HTTP client that goes by way of the cassette, an asynchronous one to send many `at_once`."""
        make = cassette_async_client if at_once else cassette_client
        return make(library, self.cassette, endpoint, options)


def cassette_client(library: Any, cassette: Cassette, endpoint: Endpoint | None, options: dict[str, Any]) -> Any:
    """Return an HTTP client that goes by way of a cassette.

    Parameters
    ----------
    library : module
        The HTTP library.
    cassette : Cassette
    endpoint : Endpoint or None
        Whose client it is; None where requests go to an address of their own.
    options : dict
        What the client is made with.
    """
    exchanges = _Exchanges(cassette, endpoint)
    body = _bodies(library).Body

    class CassetteClient(library.Client):  # type: ignore[misc]
        def send(self, request: Any, *, stream: bool = False, **how: Any) -> Any:
            request.read()
            asked = exchanges.asked(request)
            found = exchanges.find(asked)
            if found is not None:
                replay = exchanges.replay(found)
                response = _response(library, request, replay, body(replay.play()))
            else:
                # What is recorded is what can be read.
                request.headers["accept-encoding"] = "identity"
                recording = exchanges.recording(asked)
                response = super().send(request, stream=True, **how)
                recording.begin(response)
                response.stream = body(recording.listen(response.stream), partial(recording.close, response.stream))
            if not stream:
                # Closes it too, whatever happens.
                response.read()
            return response

    return CassetteClient(**options)


def cassette_async_client(library: Any, cassette: Cassette, endpoint: Endpoint | None, options: dict[str, Any]) -> Any:
    """Do what `cassette_client` does, for many requests at once."""
    exchanges = _Exchanges(cassette, endpoint)
    body = _bodies(library).AsyncBody

    class AsyncCassetteClient(library.AsyncClient):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **how: Any) -> Any:
            await request.aread()
            asked = exchanges.asked(request)
            found = exchanges.find(asked)
            if found is not None:
                replay = exchanges.replay(found)
                response = _response(library, request, replay, body(replay.play_async()))
            else:
                # What is recorded is what can be read.
                request.headers["accept-encoding"] = "identity"
                recording = exchanges.recording(asked)
                response = await super().send(request, stream=True, **how)
                recording.begin(response)
                response.stream = body(
                    recording.listen_async(response.stream), partial(recording.close_async, response.stream)
                )
            if not stream:
                await response.aread()
            return response

    return AsyncCassetteClient(**options)


class _Asked(NamedTuple):
    """A request as a cassette sees it; its body without pictures."""

    endpoint: str
    path: str
    request: Any


class _Exchanges:
    """The cassette as one client sees it: from requests to what was recorded for them, and the other way."""

    def __init__(self, cassette: Cassette, endpoint: Endpoint | None) -> None:
        self._cassette = cassette
        self._endpoint = endpoint

    def asked(self, request: Any) -> _Asked:
        """Return what a request asks, and of whom."""
        return _Asked(*self._place(request), _document(request))

    def find(self, asked: _Asked) -> Exchange | None:
        """Return what answers a request; None where it is to be sent.

        Raises
        ------
        InferenceError
            When it cannot be sent either.
        """
        found = self._cassette.find(*asked)
        if found is None and self._endpoint is not None and self._endpoint.out_of_reach is not None:
            raise self._endpoint.out_of_reach
        return found

    def replay(self, found: Exchange) -> _Replay:
        """Return what plays a recorded reply."""
        return _Replay(found, waits=self._cassette.pace == "recorded")

    def recording(self, asked: _Asked) -> _Recording:
        """Return what listens to the response to a request that is sent now."""
        return _Recording(asked, self._cassette.add)

    def _place(self, request: Any) -> tuple[str, str]:
        """Return whom a request goes to, and the path there."""
        url = str(request.url)
        if self._endpoint is not None:
            own, asked = _address(self._endpoint.url), _address(url)
            if asked[:3] == own[:3] and asked[3].startswith(f"{own[3]}/"):
                return self._endpoint.name, without_query_secrets(asked[3].removeprefix(own[3]))
        parts = urlsplit(url)
        # Without a user's name and password, which an address may have before its host.
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path


def _address(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    query = f"?{parts.query}" if parts.query else ""
    return parts.scheme, parts.hostname or "", port, f"{parts.path}{query}"


def _document(request: Any) -> Any:
    """Return the JSON body of a request; of another kind, such as a file that is sent, its digest."""
    if not request.content:
        return None
    document = _parsed(request.content)
    if LIMITED.get() and isinstance(document, dict):
        document.pop("max_tokens", None)
    return {"sha256": sha256(request.content).hexdigest()} if document is None else without_pictures(document)


@cache
def _bodies(library: Any) -> Any:
    """Return the classes of response bodies, as an HTTP library wants them: for both kinds of client."""

    class Body(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, pieces: Iterator[bytes], close: Callable[[], None] = lambda: None) -> None:
            self._pieces = pieces
            self.close = close

        def __iter__(self) -> Iterator[bytes]:
            return self._pieces

    class AsyncBody(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(
            self, pieces: AsyncIterator[bytes], close: Callable[[], Awaitable[None]] = _nothing_to_close
        ) -> None:
            self._pieces = pieces
            self.aclose = close

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._pieces

    return SimpleNamespace(Body=Body, AsyncBody=AsyncBody)


async def _nothing_to_close() -> None:
    return


# Replaying -------------------------------------------------------------------------------------------------------


def _response(library: Any, request: Any, replay: _Replay, body: Any) -> Any:
    """Return a recorded reply as a response of the HTTP library."""
    found = replay.exchange
    headers = {"content-type": "text/event-stream" if found.events else "application/json"}
    if found.request_id:
        headers["x-request-id"] = found.request_id
    LAST.set(replay.timing)
    return library.Response(
        found.status, headers=headers, stream=body, request=request, extensions={EXTENSION: replay.timing}
    )


class _Replay:
    """Plays a recorded reply, as fast as it once came, or at once."""

    def __init__(self, exchange: Exchange, *, waits: bool) -> None:
        self.exchange = exchange
        self.timing = Timing(replayed=True)
        self._waits = waits
        self._started = perf_counter()

    def play(self) -> Iterator[bytes]:
        for at, piece in self._pieces():
            wait(self._left(at))
            self.timing.seconds = at
            yield piece

    async def play_async(self) -> AsyncIterator[bytes]:
        for at, piece in self._pieces():
            await asyncio.sleep(self._left(at))
            self.timing.seconds = at
            yield piece

    def _pieces(self) -> Iterator[tuple[float, bytes]]:
        found = self.exchange
        if not found.events:
            yield found.seconds, json.dumps(found.document).encode()
            return
        for at, event in found.events:
            yield at, f"data: {json.dumps(event)}\n\n".encode()
        yield found.seconds, f"data: {DONE}\n\n".encode()

    def _left(self, at: float) -> float:
        return max(0.0, self._started + at - perf_counter()) if self._waits else 0.0


# Recording -------------------------------------------------------------------------------------------------------


class _Recording:
    """Listens to a response while it passes, and adds it to the cassette if it comes to its end."""

    def __init__(self, asked: _Asked, add: Callable[[Exchange], None]) -> None:
        self._asked = asked
        self._add = add
        self._timing = Timing(replayed=False)
        self._started = perf_counter()
        self._response: Any = None
        self._is_stream = False
        self._is_good = False
        self._has_ended = False
        self._reader = EventReader()
        self._events: list[Event] = []
        self._has_finished = False
        self._is_done = False
        self._chunks: list[bytes] = []

    def begin(self, response: Any) -> None:
        """Take in what a response says before its body."""
        response.extensions[EXTENSION] = self._timing
        LAST.set(self._timing)
        self._response = response
        self._is_stream = is_stream(response)
        self._is_good = response.status_code < 300 or response.status_code in REFUSALS

    def listen(self, body: Any) -> Iterator[bytes]:
        for chunk in body:
            self._feed(chunk)
            yield chunk
        self._end(all_came=True)

    async def listen_async(self, body: Any) -> AsyncIterator[bytes]:
        async for chunk in body:
            self._feed(chunk)
            yield chunk
        self._end(all_came=True)

    def close(self, body: Any) -> None:
        body.close()
        self._end(all_came=False)

    async def close_async(self, body: Any) -> None:
        await body.aclose()
        self._end(all_came=False)

    def _feed(self, chunk: bytes) -> None:
        self._timing.seconds = round(perf_counter() - self._started, 3)
        if not self._is_stream:
            self._chunks.append(chunk)
            return
        for data in self._reader.feed(chunk):
            self._hear(data)

    def _hear(self, data: str) -> None:
        self._is_done = self._is_done or data == DONE
        if self._is_done:
            return
        event = _parsed(data) if self._is_good else None
        if not isinstance(event, dict) or "error" in event or len(self._events) == MOST_EVENTS:
            self._is_good = False
            self._events.clear()
            return
        self._events.append((self._timing.seconds, event))
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._has_finished = self._has_finished or choices[0].get("finish_reason") is not None

    def _end(self, *, all_came: bool) -> None:
        """Add what has passed, where it is whole; `all_came` tells whether it was the endpoint that ended it."""
        if self._has_ended:
            return
        self._has_ended = True
        reply = self._streamed(all_came) if self._is_stream else self._document(all_came)
        if reply and self._is_good:
            self._add(
                Exchange(
                    *self._asked,
                    seconds=self._timing.seconds,
                    status=self._response.status_code,
                    request_id=header_text(self._response.headers.get("x-request-id")),
                    **reply,
                )
            )

    def _streamed(self, all_came: bool) -> dict[str, Any]:
        if all_came:
            for data in self._reader.close():
                self._hear(data)
        is_whole = self._is_done or (all_came and self._has_finished)
        return {"events": tuple(self._events)} if is_whole and self._events else {}

    def _document(self, all_came: bool) -> dict[str, Any]:
        document = _parsed(b"".join(self._chunks)) if all_came else None
        return {} if document is None else {"document": document}


def _parsed(data: str | bytes) -> Any:
    """Return a JSON document; None for what is none."""
    try:
        return read_json_text(data)
    except ValueError:
        return None
