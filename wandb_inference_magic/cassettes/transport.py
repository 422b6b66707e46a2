"""A transport that answers requests from a cassette, and records the replies that pass through it.

The SDK and this package share it, so that all code that uses the SDK, including Weave and the user's own code,
receives an ordinary response. The key is added at a lower layer: no request seen here contains it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..client import (
    ADDED_LIMIT,
    ASKED,
    DONE,
    EXTENSION,
    ChunkReader,
    PassedBody,
    body_class,
    http_library,
    transport_class,
)
from ..concurrency import wait
from ..config import origin_of
from ..errors import InferenceError
from ..failures import ServiceError, would_refuse_again
from ..messages import chosen_names
from ..replies import ReplyBuilder, Timing, without_reasoning
from ..text import json_bytes, json_or_none, with_texts, without_query_secrets, without_surrogates
from .cassette import CHAT_PATH
from .file import Event, Exchange, header_text, without_picture

if TYPE_CHECKING:
    from ..config import Endpoint
    from .cassette import Cassette

# Statuses that may concern the request itself: the words tell. Other failures are temporary, or concern the account.
REFUSALS: Final = (400, 404, 413, 415, 422, 424, 429, 500, 501)
# At most this many chunks of a stream are kept, because each takes far more memory than it has bytes. No reply has so
# many.
MAX_EVENTS: Final = 250_000
# What a request is looked for by: its endpoint, the path there and the body.
Requested = tuple[str, str, Any]


@dataclass(frozen=True, slots=True)
class CassetteRecorder:
    """A cassette in the form that the builder of the client takes."""

    cassette: Cassette

    @property
    def records(self) -> bool:
        """Whether requests may be sent over the network."""
        return self.cassette.records

    def transport(self, below: Any, endpoint: Endpoint) -> Any:
        """Return a transport that uses the cassette, above one that sends requests."""
        answer, sending = partial(self._answer, endpoint), self._sending

        class CassetteTransport(transport_class()):  # type: ignore[misc]
            def handle_request(self, request: Any) -> Any:
                request.read()
                found = answer(request)
                if not isinstance(found, _Recording):
                    return found
                with sending(request, found) as responses:
                    responses.append(found.of(below.handle_request(request)))
                return responses[0]

            async def handle_async_request(self, request: Any) -> Any:
                await request.aread()
                found = answer(request)
                if not isinstance(found, _Recording):
                    return found
                with sending(request, found) as responses:
                    responses.append(found.of(await below.handle_async_request(request)))
                return responses[0]

        return CassetteTransport(below)

    def _answer(self, endpoint: Endpoint, request: Any) -> Any:
        """Return the recorded response to a request or, if the request must be sent, a recording for its response.

        Raises
        ------
        InferenceError
            If the request was not recorded and cannot be sent either.
        """
        requested = (*_origin_and_path(endpoint, str(request.url)), _document(request, ASKED.get()))
        try:
            found = self.cassette.find(*requested, sent=_document(request, None), can_ask=endpoint.out_of_reach is None)
            if found is None and endpoint.out_of_reach is not None:
                # A copy: a run that ends early adds to its error.
                raise copy(endpoint.out_of_reach)
        except InferenceError as error:
            error.is_unsent = True
            raise
        if found is not None:
            return self._recorded(request, found)
        # Ask for an uncompressed body, because a recording must be readable.
        request.headers["accept-encoding"] = "identity"
        return body_class(_Recording)(requested, self.cassette)

    @contextmanager
    def _sending(self, request: Any, recording: _Recording) -> Iterator[list[Any]]:
        """Send a request inside the `with` block, which adds its response to the list.

        If the endpoint cannot be reached, and the request was refused in the recording, that is the response.
        """
        responses: list[Any] = []
        try:
            yield responses
        except BaseException as failure:
            recording.release()
            is_unreached = isinstance(failure, (http_library().ConnectError, http_library().ConnectTimeout))
            refusal = self.cassette.find(*recording.requested, can_ask=False) if is_unreached else None
            if refusal is None:
                raise
            responses.append(self._recorded(request, refusal))

    def _recorded(self, request: Any, found: Exchange) -> Any:
        """Return a recorded reply as a response of the HTTP library."""
        asked = json_or_none(request.content)
        # Our own calls read both forms, and a stream has its times.
        if ASKED.get() is None and found.path == CHAT_PATH and found.status < 300 and isinstance(asked, dict):
            found = _streamed(found) if asked.get("stream") else _whole(found)
        headers = {"content-type": "text/event-stream" if found.events else "application/json"}
        if found.request_id:
            headers["x-request-id"] = found.request_id
        replay = body_class(_Replay)(found, waits=self.cassette.pace == "recorded")
        return http_library().Response(
            found.status, headers=headers, stream=replay, request=request, extensions={EXTENSION: replay.timing}
        )


def _origin_and_path(endpoint: Endpoint, url: str) -> tuple[str, str]:
    """Return the endpoint of a request, and the path there."""
    own, parts = urlsplit(endpoint.url), urlsplit(url)
    if origin_of(url) == origin_of(endpoint.url) and parts.path.startswith(f"{own.path}/"):
        query = f"?{parts.query}" if parts.query else ""
        return endpoint.name, without_query_secrets(f"{parts.path.removeprefix(own.path)}{query}")
    # Leave out the user name and password that a URL may have before its host.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path


def _document(request: Any, asked: dict[str, Any] | None) -> Any:
    """Return the JSON body of a request, or the digest of another kind of body, such as an uploaded file.

    `asked` takes its place, if it is not None.
    """
    if not request.content:
        return None
    content = request.content if asked is None else json_bytes(with_texts(asked, without_surrogates))
    document = json_or_none(content)
    if isinstance(document, dict):
        if ADDED_LIMIT.get():
            document.pop("max_tokens", None)
        if isinstance(messages := document.get("messages"), list):
            document["messages"] = [_without_reasoning(one) for one in messages]
    if document is None:
        return {"sha256": sha256(request.content).hexdigest()}
    return with_texts(document, without_picture)


def _without_reasoning(message: Any) -> Any:
    """Return a message of a request without reasoning: recordings of earlier versions do not send it with results."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    kept = without_reasoning(message)
    if kept.get("tool_calls") and isinstance(kept.get("content"), str):
        builder = ReplyBuilder()
        builder.add({"choices": [{"delta": {"content": kept["content"]}, "finish_reason": "tool_calls"}]})
        kept["content"] = builder.text
    return kept


def _streamed(found: Exchange) -> Exchange:
    """Return a chat with its reply as a stream, of one chunk if it was not streamed."""
    if found.events or not isinstance(found.document, dict) or not isinstance(found.document.get("choices"), list):
        return found
    choices = [_as_delta(one) if isinstance(one, dict) else one for one in found.document["choices"]]
    chunk = {**found.document, "object": "chat.completion.chunk", "choices": choices}
    return replace(found, document=None, events=((found.seconds, chunk),))


def _as_delta(choice: dict[str, Any]) -> dict[str, Any]:
    delta = dict(choice.get("message") or {})
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return {**{name: value for name, value in choice.items() if name != "message"}, "delta": delta}


def _whole(found: Exchange) -> Exchange:
    """Return a chat with its reply in one piece, as the chunks of a stream add up to it."""
    if not found.events:
        return found
    builder, chunks = ReplyBuilder(), [chunk for _, chunk in found.events]
    for chunk in chunks:
        builder.add(chunk)
    reply = builder.build(asked_model="", endpoint="", price=None, messages=())
    calls = [
        {**one.extra, "id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
        for one in reply.tool_calls
    ]
    message = {
        "role": "assistant",
        "content": reply.text or None,
        **({"reasoning": reply.reasoning} if reply.reasoning else {}),
        **({"tool_calls": calls} if calls else {}),
    }
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    if reply.logprobs:
        choice["logprobs"] = {"content": list(reply.logprobs)}
    usage = next((one["usage"] for one in reversed(chunks) if one.get("usage")), None)
    document = {**chunks[0], "object": "chat.completion", "choices": [choice], "usage": usage}
    return replace(found, document=document, events=())


class _Replay:
    """The body of a recorded reply, delivered at the recorded speed or immediately."""

    def __init__(self, exchange: Exchange, *, waits: bool) -> None:
        self.timing = Timing(replayed=True)
        self._exchange = exchange
        self._waits = waits
        self._started = perf_counter()

    def __iter__(self) -> Iterator[bytes]:
        for at, piece in self._pieces():
            wait(self._left(at))
            self.timing.seconds = at
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at, piece in self._pieces():
            await asyncio.sleep(self._left(at))
            self.timing.seconds = at
            yield piece

    def _pieces(self) -> Iterator[tuple[float, bytes]]:
        found = self._exchange
        if not found.events:
            yield found.seconds, json.dumps(found.document).encode()
            return
        for at, chunk in found.events:
            yield at, f"data: {json.dumps(chunk)}\n\n".encode()
        yield found.seconds, f"data: {DONE}\n\n".encode()

    def _left(self, at: float) -> float:
        return max(0.0, self._started + at - perf_counter()) if self._waits else 0.0


class _Recording(PassedBody):
    """The body of a response that is passed on. It is added to the cassette if it is complete."""

    def __init__(self, requested: Requested, cassette: Cassette) -> None:
        # The body of the response is not known yet.
        super().__init__(None)
        self.requested = requested
        self._cassette = cassette
        self._place = cassette.place_of(*requested)
        self._timing = Timing(replayed=False)
        self._started = perf_counter()
        self._response: Any = None
        self._is_good = False
        self._has_ended = False
        # Reads a reply of a model; any other response is kept as it is.
        self._reader: ChunkReader | None = None
        self._events: list[Event] = []
        self._pieces: list[bytes] = []

    def release(self) -> None:
        """Note that there is no response that can be recorded."""
        self._cassette.release(*self.requested, self._place)

    def of(self, response: Any) -> Any:
        """Return the response with this object as its body."""
        response.extensions[EXTENSION] = self._timing
        self._response, self._body = response, response.stream
        if response.status_code < 300 and self.requested[1].endswith("/completions"):
            self._reader = ChunkReader(response.charset_encoding)
        self._is_good = response.status_code < 300 or response.status_code in REFUSALS
        response.stream = self
        return response

    @contextmanager
    def reading(self) -> Iterator[None]:
        yield
        self._end(all_came=True)

    def closed(self) -> None:
        self._end(all_came=False)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._timing.seconds = round(perf_counter() - self._started, 3)
        if self._reader is None:
            self._pieces.append(piece)
        else:
            self._take(self._reader.feed(piece))
        yield piece

    def _take(self, chunks: Iterator[Any]) -> None:
        """Keep the chunks of a reply. If it cannot be recorded, discard them to free the memory."""
        try:
            for chunk in chunks:
                self._events.append((self._timing.seconds, chunk))
        except (InferenceError, ServiceError):
            self._is_good = False
        if not self._is_good or len(self._events) > MAX_EVENTS:
            self._is_good = False
            self._events.clear()

    def _end(self, *, all_came: bool) -> None:
        """Record the exchange if it is complete. `all_came` says whether the endpoint ended the body."""
        if self._has_ended:
            return
        self._has_ended = True
        document, events = None, tuple[Event, ...]()
        if self._reader is None:
            document = json_or_none(b"".join(self._pieces)) if all_came else None
        elif all_came or self._reader.completeness.is_complete_if_cut:
            self._take(self._reader.close())
            if self._reader.is_document and len(self._events) == 1:
                document = self._events[0][1]
            else:
                events = tuple(self._events)
        status = self._response.status_code
        body = self.requested[2]
        names = chosen_names(body) if isinstance(body, dict) else ()
        if status >= 300 and not would_refuse_again(status, b"".join(self._pieces), names):
            self._is_good = False
        if self._is_good and (events or document is not None):
            self._timing.failure = self._cassette.add(
                Exchange(
                    *self.requested,
                    seconds=self._timing.seconds,
                    document=document,
                    events=events,
                    status=status,
                    request_id=header_text(self._response.headers.get("x-request-id")),
                    place=self._place,
                )
            )
        else:
            self.release()
