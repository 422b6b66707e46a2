"""The one configured client: built here alone, and the one place where requests go out and replies come in."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from .errors import InferenceError
from .payloads import PayloadReader, completion_of, whole_completion
from .settings import WANDB_URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping

    from openai import AsyncOpenAI, OpenAI

    from .cassette import Cassette
    from .credentials import Key
    from .payloads import Payload
    from .reply import Arrival

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

CONNECT_SECONDS: Final = 20.0
LISTING_SECONDS: Final = 30.0
FEED_SECONDS: Final = 5.0
# Where a response that goes by way of a cassette carries its clock.
EXTENSION: Final = "wandb_inference_cassette"
STREAMED: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The service spoken to, with all that identifies the caller to it.

    `kind` tells W&B's own service (`wandb`) and the practice model on this machine (`local`) from any
    other URL (`custom`). `model` is the id of the practice model. `out_of_reach` is why nothing can be sent to it:
    only a cassette can answer for it.
    """

    kind: Literal["wandb", "local", "custom"]
    url: str
    key: Key | None = None
    project: str = ""
    model: str = ""
    out_of_reach: InferenceError | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.url if self.kind == "custom" else self.kind


def is_wandb(url: str) -> bool:
    """Whether a URL is W&B's own endpoint, the only one a W&B key may be sent to."""
    given, own = urlsplit(url), urlsplit(WANDB_URL)
    return given.scheme == own.scheme and given.netloc.lower() in (own.netloc, f"{own.netloc}:443")


class SharedClient:
    """Holds the client, and builds it anew only when something it depends on has changed."""

    def __init__(self) -> None:
        self._built_for: tuple[object, ...] | None = None
        self._sdk: OpenAI | None = None
        self._lock = Lock()

    def get(self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Cassette | None = None) -> OpenAI:
        """Return the client for `endpoint`; `timeout` in seconds, `max_retries` per request."""
        wanted = (replace(endpoint, model=""), timeout, max_retries, cassette)
        with self._lock:
            if self._sdk is None or wanted != self._built_for:
                self._drop()
                self._sdk = _build(endpoint, timeout=timeout, max_retries=max_retries, cassette=cassette)
                self._built_for = wanted
            return self._sdk

    def close(self) -> None:
        """Close the client and its connections; the next `get` builds a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        sdk, self._sdk, self._built_for = self._sdk, None, None
        if sdk is not None:
            sdk.close()


def _build(endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Cassette | None) -> OpenAI:
    import openai

    http = _http(cassette, endpoint, {"event_hooks": {"request": [_guard(endpoint)]}, **_http_options(endpoint)})
    return _without_openai_identity(
        openai.OpenAI(http_client=http, max_retries=max_retries, **_sdk_options(endpoint, timeout)), endpoint
    )


def _http(cassette: Cassette | None, endpoint: Endpoint | None, options: dict[str, Any]) -> Any:
    if cassette is not None:
        from .cassette_client import cassette_client

        return cassette_client(cassette, endpoint, options)
    import openai

    return openai.DefaultHttpxClient(**options)


def _async_http(cassette: Cassette | None, endpoint: Endpoint, options: dict[str, Any]) -> Any:
    if cassette is not None:
        from .cassette_client import cassette_async_client

        return cassette_async_client(cassette, endpoint, options)
    import openai

    return openai.DefaultAsyncHttpxClient(**options)


class AsyncClient:
    """A client for many requests at once, made as the shared one is; it belongs to one event loop.

    Use it as an asynchronous context manager: leaving closes its connections.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, cassette: Cassette | None = None) -> None:
        import openai

        guard = _guard(endpoint)

        async def check(request: Any) -> None:
            guard(request)

        options = _sdk_options(endpoint, timeout)
        how = {"event_hooks": {"request": [check]}, "timeout": options["timeout"], **_http_options(endpoint)}
        self.http = _async_http(cassette, endpoint, how)
        self.sdk = _without_openai_identity(
            openai.AsyncOpenAI(http_client=self.http, max_retries=0, **options), endpoint
        )
        self.chat_url = f"{endpoint.url}/chat/completions"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sdk.close()


def _sdk_options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    import openai

    return {
        "base_url": endpoint.url,
        # The SDK never holds the key, so that none of its logs, reprs and tracebacks can show it.
        "api_key": "put-in-at-the-last-moment",
        "timeout": openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
    }


def _http_options(endpoint: Endpoint) -> dict[str, Any]:
    return {
        # A redirect could carry the prompt, and on the same host the key, to where nobody meant it to go.
        "follow_redirects": False,
        # The practice model is on this machine: a proxy meant for the internet cannot reach it.
        "trust_env": endpoint.kind != "local",
    }


def _without_openai_identity(sdk: Sdk, endpoint: Endpoint) -> Sdk:
    """Take away what the SDK holds of OPENAI_ORG_ID and OPENAI_PROJECT_ID, even when told None."""
    sdk.organization = None
    sdk.project = endpoint.project or None
    return sdk


def _guard(endpoint: Endpoint) -> Callable[[Any], None]:
    """Return the last check of every request: it carries this endpoint's key and project, and nothing of OpenAI's.

    The SDK puts what it finds in OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS into headers, anew
    for each copy of a client (`with_options`). Copies share this hook.
    """
    own: dict[str, str | None] = dict.fromkeys(_headers_meant_for_openai())
    own |= {name: "application/json" for name in ("content-type", "accept") if name in own}
    own |= {"openai-organization": None, "openai-project": endpoint.project or None}
    host = urlsplit(endpoint.url).hostname

    def check(request: Any) -> None:
        belongs = endpoint.key is not None and request.url.host == host
        key = f"Bearer {endpoint.key.reveal()}" if endpoint.key and belongs else None
        for name, value in {**own, "authorization": key}.items():
            request.headers.pop(name, None)
            if value is not None:
                request.headers[name] = value

    return check


def _headers_meant_for_openai() -> list[str]:
    """Name the headers that the SDK adds from OPENAI_CUSTOM_HEADERS, a variable set for OpenAI."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip().lower() for line in lines if ":" in line]


def fetch_listing(sdk: OpenAI) -> object:
    """Fetch the endpoint's list of models (`GET /models`) as the JSON document it is."""
    import openai

    quick = sdk.with_options(max_retries=0, timeout=openai.Timeout(LISTING_SECONDS, connect=10.0))
    response = quick.models.with_raw_response.list()
    return json.loads(response.http_response.content)


def fetch_feed(url: str, cassette: Cassette | None = None) -> object:
    """Fetch a public feed, without any key, as the JSON document it is."""
    with _http(cassette, None, {"timeout": FEED_SECONDS, "follow_redirects": True}) as http:
        response = http.get(url)
        response.raise_for_status()
        return json.loads(response.content)


def receive(sdk: OpenAI, body: Mapping[str, Any], *, stream: bool, arrival: Arrival) -> Generator[Payload, None, None]:
    """Send one chat request and yield what comes back, piece by piece.

    Parameters
    ----------
    sdk : openai.OpenAI
        The shared client.
    body : mapping
        `model`, `messages` and the parameters; names the SDK does not know stand in `extra_body`.
    stream : bool
        Whether to ask for the reply as it is made.
    arrival : Arrival
        Is told what the response itself says: the request id, and a cassette's clock.

    Yields
    ------
    mapping
        Chunks of a stream, or the one completion. Closing the generator closes the connection.

    Raises
    ------
    InferenceError
        When what comes back is no reply or only a part of one (cause `reply`).
    openai.OpenAIError
        For any failure of the service or the wire.
    """
    # The SDK would try again unseen; who receives decides about that, and says so.
    completions = cast("Any", sdk.with_options(max_retries=0).chat.completions)
    create = completions.create
    if not stream:
        if _is_watched():
            yield _unpacked(create(**body), arrival)
            return
        http = completions.with_raw_response.create(**body).http_response
        _note(http, arrival)
        yield whole_completion(http.text)
        return
    response = create(**body, **STREAMED)
    try:
        yield from _payloads(response, arrival)
    finally:
        response.close()
        # Weave's wrapper ends its own trace alone.
        response.response.close()


async def receive_async(
    client: AsyncClient, body: Mapping[str, Any], *, stream: bool, arrival: Arrival
) -> AsyncGenerator[Payload, None]:
    """Do what `receive` does, for many requests at once."""
    create = cast("Any", client.sdk.chat.completions.create)
    if not stream:
        if _is_watched():
            yield _unpacked(await create(**body), arrival)
            return
        yield await _post(client, body, arrival)
        return
    response = await create(**body, **STREAMED)
    try:
        async for payload in _payloads_async(response, arrival):
            yield payload
    finally:
        if (closing := response.close()) is not None:
            await closing
        await response.response.aclose()


def _is_watched() -> bool:
    """Whether Weave is at work: it wraps the SDK's method, and must see the call and what it returns."""
    get_client = getattr(sys.modules.get("weave"), "get_client", None)
    return get_client is not None and get_client() is not None


def _unpacked(completion: Any, arrival: Arrival) -> Payload:
    arrival.request_id = getattr(completion, "_request_id", None)
    return completion_of(completion)


def _note(response: Any, arrival: Arrival) -> None:
    arrival.request_id = response.headers.get("x-request-id")
    arrival.timing = response.extensions.get(EXTENSION)


async def _post(client: AsyncClient, body: Mapping[str, Any], arrival: Arrival) -> Payload:
    """Make one call past the SDK's method, which takes as long over a request and its reply as the wire itself."""
    import openai

    sent = {name: value for name, value in body.items() if name != "extra_body"} | body.get("extra_body", {})
    request = client.http.build_request(
        "POST", client.chat_url, content=json.dumps(sent), headers={"content-type": "application/json"}
    )
    with _wire_errors(request):
        response = await client.http.send(request)
    _note(response, arrival)
    if response.status_code < 300:
        return whole_completion(response.text)
    try:
        said = json.loads(response.content)
    except ValueError:
        said = response.text
    error = said.get("error", said) if isinstance(said, dict) else said
    raise openai.APIStatusError(f"Error code: {response.status_code}", response=response, body=error)


def _payloads(response: Any, arrival: Arrival) -> Iterator[Payload]:
    import openai

    reader = PayloadReader()
    if type(response) is not openai.Stream:
        # Somebody (Weave) has wrapped the stream and must see every chunk pass.
        _note(response.response, arrival)
        for chunk in response:
            yield reader.check(chunk.model_dump())
        reader.check_end()
        return
    # The SDK's own loop takes a cut stream for a whole one and spends ten times as long on each chunk:
    # the bytes are read from its response instead.
    http = response.response
    _note(http, arrival)
    with _wire_errors(http.request):
        if not _is_stream(http):
            yield whole_completion(b"".join(http.iter_bytes()).decode("utf-8", "replace"))
            return
        for chunk in http.iter_bytes():
            yield from reader.feed(chunk)
            if reader.is_done:
                return
    yield from reader.close()


async def _payloads_async(response: Any, arrival: Arrival) -> AsyncIterator[Payload]:
    import openai

    reader = PayloadReader()
    if type(response) is not openai.AsyncStream:
        _note(response.response, arrival)
        async for chunk in response:
            yield reader.check(chunk.model_dump())
        reader.check_end()
        return
    http = response.response
    _note(http, arrival)
    with _wire_errors(http.request):
        if not _is_stream(http):
            yield whole_completion(b"".join([part async for part in http.aiter_bytes()]).decode("utf-8", "replace"))
            return
        async for chunk in http.aiter_bytes():
            for payload in reader.feed(chunk):
                yield payload
            if reader.is_done:
                return
    for payload in reader.close():
        yield payload


def _is_stream(http: Any) -> bool:
    """Whether an endpoint streams; one that does not answers with the whole completion."""
    return "event-stream" in http.headers.get("content-type", "event-stream")


@contextmanager
def _wire_errors(request: Any) -> Iterator[None]:
    """Turn a connection that breaks into the SDK's own error, whatever library is beneath."""
    import openai

    try:
        yield
    except (InferenceError, GeneratorExit):
        raise
    except Exception as error:
        if type(error).__name__.endswith("Timeout"):
            raise openai.APITimeoutError(request=request) from error
        raise openai.APIConnectionError(request=request) from error
