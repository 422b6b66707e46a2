"""Send requests and receive replies. Only this module does so.

A chat does not use the SDK's own method, which transforms every message of the thread and builds an object for every
token. If a tracer such as Weave has wrapped that method, the call uses it, so that the tracer sees the whole call.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from ..concurrency import import_quietly
from ..errors import InferenceError, quoted
from ..text import json_bytes, read_json_text
from .bodies import NOT_PACKED
from .chunks import ChunkReader, completion_of, error_of_service, whole_completion
from .failures import Refused, Silent, Unreachable
from .http import http_client, http_library
from .sse import EXTENSION, LAST, LIMITED, is_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping

    from ..messages import Arrival
    from .chunks import Chunk
    from .http import AsyncClient, Client, Recorder

LISTING_SECONDS: Final = 30.0
FEED_SECONDS: Final = 5.0
COMPLETIONS: Final = "openai.resources.chat.completions"
# Packages that wrap the SDK only when it is imported.
TRACERS: Final = ("weave", "ddtrace")
STREAMED: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}


def fetch_model_list(client: Client) -> object:
    """Return the endpoint's list of models (`GET /models`) as the parsed JSON document."""
    timeout = http_library().Timeout(LISTING_SECONDS, connect=10.0)
    request = client.http.build_request("GET", f"{client.url}/models", timeout=timeout)
    with _wire_errors():
        response = client.http.send(request)
    if response.status_code >= 300:
        raise _refusal(response)
    return read_json_text(response.content)


def fetch_feed(url: str, cassette: Recorder | None = None) -> object:
    """Return a public feed as the parsed JSON document. No key is sent."""
    options = {"timeout": FEED_SECONDS, "follow_redirects": True, "headers": NOT_PACKED}
    with http_client(http_library(), options, cassette) as http:
        response = http.get(url)
        response.raise_for_status()
        return read_json_text(response.content)


def stream_chat(
    client: Client, body: Mapping[str, Any], *, stream: bool, arrival: Arrival, limit: int | None = None
) -> Generator[Chunk, None, None]:
    """Send one chat request and yield the chunks of the reply.

    Parameters
    ----------
    client : Client
        The shared client.
    body : mapping
        `model`, `messages` and the parameters. Those that the SDK does not know are in `extra_body`.
    stream : bool
        Whether to request a stream.
    arrival : Arrival
        Receives the request id of the response, and a cassette's clock.
    limit : int, optional
        The limit on the reply that a budget adds, in tokens. It is not part of the request in a cassette.

    Yields
    ------
    mapping
        The chunks of a stream, or the one completion. Closing the generator closes the connection.

    Raises
    ------
    InferenceError
        When the response is not a reply, or only a part of one (cause `reply`).
    Refused, Silent, Unreachable
        For any failure of the service or the network.
    """
    if _is_watched("Completions"):
        # The SDK would retry without a report. The caller decides about retries and reports them.
        create = cast("Any", client.sdk.with_options(max_retries=0).chat.completions.create)
        yield from _watched(create, _limited(body, limit), stream, arrival, limit)
        return
    request = _chat_request(client, _limited(body, limit), stream)
    with _wire_errors(), _marked(limit):
        http = client.http.send(request, stream=True)
    try:
        _note(http, arrival)
        with _wire_errors():
            if http.status_code >= 300:
                http.read()
                raise _refusal(http)
            if not stream or not is_stream(http):
                http.read()
                yield _whole(http)
                return
            reader = ChunkReader()
            for data in http.iter_bytes():
                yield from reader.feed(data)
                if reader.is_done:
                    return
        yield from reader.close()
    finally:
        http.close()


async def stream_chat_async(
    client: AsyncClient, body: Mapping[str, Any], *, stream: bool, arrival: Arrival, limit: int | None = None
) -> AsyncGenerator[Chunk, None]:
    """Send one chat request and yield the chunks, as `stream_chat` does, for many concurrent requests."""
    if _is_watched("AsyncCompletions"):
        create = cast("Any", client.sdk.chat.completions.create)
        async for chunk in _watched_async(create, _limited(body, limit), stream, arrival, limit):
            yield chunk
        return
    request = _chat_request(client, _limited(body, limit), stream)
    with _wire_errors(), _marked(limit):
        http = await client.http.send(request, stream=True)
    try:
        _note(http, arrival)
        with _wire_errors():
            if http.status_code >= 300:
                await http.aread()
                raise _refusal(http)
            if not stream or not is_stream(http):
                await http.aread()
                yield _whole(http)
                return
            reader = ChunkReader()
            async for data in http.aiter_bytes():
                for chunk in reader.feed(data):
                    yield chunk
                if reader.is_done:
                    return
        for chunk in reader.close():
            yield chunk
    finally:
        await http.aclose()


def _limited(body: Mapping[str, Any], limit: int | None) -> Mapping[str, Any]:
    return body if limit is None else {**body, "max_tokens": limit}


@contextmanager
def _marked(limit: int | None) -> Iterator[None]:
    """Tell the cassette whether a limit was added to the request that is sent in this context."""
    before = LIMITED.set(limit is not None)
    try:
        yield
    finally:
        LIMITED.reset(before)


def _chat_request(client: Client | AsyncClient, body: Mapping[str, Any], stream: bool) -> Any:
    sent = {name: value for name, value in body.items() if name != "extra_body"} | body.get("extra_body", {})
    if stream:
        sent |= STREAMED
    return client.http.build_request(
        "POST",
        f"{client.url}/chat/completions",
        content=json_bytes(sent, compact=True),
        headers={"content-type": "application/json"},
    )


def _note(http: Any, arrival: Arrival) -> None:
    arrival.request_id = _request_id(http.headers.get("x-request-id"))
    arrival.timing = http.extensions.get(EXTENSION)


def _request_id(given: object) -> str | None:
    """Return a request's id, made safe: it is saved with the notebook, and a service may send any text as the id."""
    return quoted(given) if isinstance(given, str) and given else None


def _whole(http: Any) -> Chunk:
    return whole_completion(http.content.decode("utf-8", "replace"))


def _refusal(http: Any) -> Refused:
    """Return the error for a response with an error status."""
    try:
        said = read_json_text(http.content)
    except ValueError:
        said = http.text
    error = said.get("error", said) if isinstance(said, dict) else said
    return Refused(http.status_code, http.headers, error)


@contextmanager
def _wire_errors() -> Iterator[None]:
    """Convert network errors to `Silent` or `Unreachable`, whatever the library beneath."""
    handled = sys.exc_info()[1]
    try:
        yield
    except (InferenceError, Refused, Silent, Unreachable):
        raise
    except Exception as error:
        _part(error, handled)
        raise (Silent if type(error).__name__.endswith("Timeout") else Unreachable) from error


def _part(failure: BaseException, handled: BaseException | None) -> None:
    """Detach the exception that the user's code was handling, so that it is not reported as a network error."""
    error: BaseException | None = failure if handled is not None else None
    while error is not None:
        if error.__context__ is handled:
            error.__context__ = None
        error = error.__cause__ or error.__context__


# Through the SDK's own method -------------------------------------------------------------------------------------


def _is_watched(name: str) -> bool:
    """Return whether a tracer wrapped the SDK's method in class `name` and must see the call.

    `name` is `Completions` or `AsyncCompletions`.
    """
    if any(tracer in sys.modules for tracer in TRACERS):
        # They may have an import hook for this module, which imports more of their own modules.
        import_quietly(COMPLETIONS)
    owner = getattr(sys.modules.get(COMPLETIONS), name, None)
    if owner is None:
        return False
    create = owner.create
    # A wrapper may imitate what it wraps in everything but its type, or be a plain function of another package.
    if type(create) is FunctionType and _is_in(create, "openai"):
        return False
    return not _is_idle_weave(create)


def _is_in(function: Any, package: str) -> bool:
    code = getattr(function, "__code__", None)
    folder = Path(sys.modules[package].__file__ or "").parent
    return code is not None and Path(code.co_filename).is_relative_to(folder)


def _is_idle_weave(create: Any) -> bool:
    """Return whether this is Weave's wrapper and Weave traces nothing. The wrapper would only report that."""
    weave = sys.modules.get("weave")
    return weave is not None and _is_in(create, "weave") and weave.get_client() is None


def _watched(
    create: Any, body: Mapping[str, Any], stream: bool, arrival: Arrival, limit: int | None
) -> Iterator[Chunk]:
    LAST.set(None)
    with _sdk_errors(), _marked(limit):
        response = create(**body, **(STREAMED if stream else {}))
    if not stream:
        yield _unpacked(response, arrival)
        return
    http = response.response
    try:
        _note(http, arrival)
        with _wire_errors(), _sdk_errors():
            if not is_stream(http):
                http.read()
                yield _whole(http)
                return
            reader = ChunkReader()
            http.iter_bytes = _observed(http.iter_bytes, reader)
            for chunk in response:
                yield reader.check(chunk.model_dump())
        reader.check_end()
    finally:
        response.close()
        # Weave's wrapper ends only its own trace.
        http.close()


async def _watched_async(
    create: Any, body: Mapping[str, Any], stream: bool, arrival: Arrival, limit: int | None
) -> AsyncIterator[Chunk]:
    LAST.set(None)
    with _sdk_errors(), _marked(limit):
        response = await create(**body, **(STREAMED if stream else {}))
    if not stream:
        yield _unpacked(response, arrival)
        return
    http = response.response
    try:
        _note(http, arrival)
        with _wire_errors(), _sdk_errors():
            if not is_stream(http):
                await http.aread()
                yield _whole(http)
                return
            reader = ChunkReader()
            http.aiter_bytes = _observed_async(http.aiter_bytes, reader)
            async for chunk in response:
                yield reader.check(chunk.model_dump())
        reader.check_end()
    finally:
        if (closing := response.close()) is not None:
            await closing
        await http.aclose()


def _observed(read: Callable[..., Iterator[bytes]], reader: ChunkReader) -> Callable[..., Iterator[bytes]]:
    """Pass the bytes of a stream to the reader too, because the SDK does not report the end of the stream."""

    def observed(*how: Any) -> Iterator[bytes]:
        for chunk in read(*how):
            reader.observe(chunk)
            yield chunk
        reader.observe_end()

    return observed


def _observed_async(
    read: Callable[..., AsyncIterator[bytes]], reader: ChunkReader
) -> Callable[..., AsyncIterator[bytes]]:
    async def observed(*how: Any) -> AsyncIterator[bytes]:
        async for chunk in read(*how):
            reader.observe(chunk)
            yield chunk
        reader.observe_end()

    return observed


@contextmanager
def _sdk_errors() -> Iterator[None]:
    """Convert the SDK's errors to those that direct calls raise."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise Refused(error.status_code, error.response.headers, error.body) from error
    except openai.APITimeoutError as error:
        raise Silent from error
    except openai.APIConnectionError as error:
        raise Unreachable from error
    except openai.APIError as error:
        # An error in the middle of a stream.
        raise error_of_service(error.body or error.message) from error


def _unpacked(completion: Any, arrival: Arrival) -> Chunk:
    arrival.request_id = _request_id(getattr(completion, "_request_id", None))
    arrival.timing = LAST.get()
    return completion_of(completion)
