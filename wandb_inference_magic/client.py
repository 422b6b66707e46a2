"""The one configured client: built here alone, and the one place where requests go out and replies come in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

from .errors import InferenceError, quoted
from .settings import WANDB_URL
from .sse import DONE, data_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from openai import OpenAI

    from .credentials import Key

CONNECT_SECONDS: Final = 20.0
LISTING_SECONDS: Final = 30.0
FEED_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The service spoken to, with all that identifies the caller to it.

    `kind` tells W&B's own service (`wandb`) and the practice model on this machine (`local`) from any
    other URL (`custom`). `model` is the id of the practice model.
    """

    kind: Literal["wandb", "local", "custom"]
    url: str
    key: Key | None = None
    project: str = ""
    model: str = ""

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

    def get(self, endpoint: Endpoint, *, timeout: float, max_retries: int) -> OpenAI:
        """Return the client for `endpoint`; `timeout` in seconds, `max_retries` per request."""
        wanted = (replace(endpoint, model=""), timeout, max_retries)
        with self._lock:
            if self._sdk is None or wanted != self._built_for:
                self._drop()
                self._sdk = _build(endpoint, timeout=timeout, max_retries=max_retries)
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


def _build(endpoint: Endpoint, *, timeout: float, max_retries: int) -> OpenAI:
    import openai

    sdk = openai.OpenAI(
        base_url=endpoint.url,
        # The SDK never holds the key, so that none of its logs, reprs and tracebacks can show it.
        api_key="put-in-at-the-last-moment",
        timeout=openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        max_retries=max_retries,
        http_client=openai.DefaultHttpxClient(
            # A redirect could carry the prompt, and on the same host the key, to where nobody meant it to go.
            follow_redirects=False,
            # The practice model is on this machine: a proxy meant for the internet cannot reach it.
            trust_env=endpoint.kind != "local",
            event_hooks={"request": [_guard(endpoint)]},
        ),
    )
    # Without this the SDK holds what OPENAI_ORG_ID and OPENAI_PROJECT_ID say, even when told None.
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


def fetch_feed(url: str) -> object:
    """Fetch a public feed, without any key, as the JSON document it is."""
    import openai

    with openai.DefaultHttpxClient(timeout=FEED_SECONDS, follow_redirects=True) as http:
        response = http.get(url)
        response.raise_for_status()
        return json.loads(response.content)


class Arrival:
    """What is known of a request besides its payloads: the endpoint's id of it."""

    request_id: str | None = None


def receive(
    sdk: OpenAI, body: Mapping[str, Any], *, stream: bool, arrival: Arrival
) -> Generator[Mapping[str, Any], None, None]:
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
        Is told the request id.

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
    create = cast("Any", sdk.with_options(max_retries=0).chat.completions.create)
    if not stream:
        completion = create(**body)
        arrival.request_id = getattr(completion, "_request_id", None)
        yield _completion(completion)
        return
    response = create(**body, stream=True, stream_options={"include_usage": True})
    try:
        yield from _whole(_payloads(response, arrival))
    finally:
        response.close()


def _completion(completion: object) -> Mapping[str, Any]:
    """Turn what the SDK returned into a payload; for a page that is not JSON it returns plain text."""
    dump = getattr(completion, "model_dump", None)
    payload = dump() if dump else None
    if not isinstance(payload, Mapping) or not isinstance(payload.get("choices"), list):
        raise _not_a_reply(completion if isinstance(completion, str) else "")
    return payload


def _payloads(response: Any, arrival: Arrival) -> Iterator[Mapping[str, Any] | str]:
    import openai

    if type(response) is not openai.Stream:
        # Somebody (Weave) has wrapped the stream and must see every chunk pass.
        for chunk in response:
            yield chunk.model_dump()
        return
    # The SDK's own loop takes a cut stream for a whole one and spends ten times as long on each chunk:
    # the bytes are read from its response instead.
    http = response.response
    arrival.request_id = http.headers.get("x-request-id")
    if "event-stream" in http.headers.get("content-type", "event-stream"):
        yield from _events(data_of(_bytes_of(http)))
        return
    # An endpoint that does not stream answers with the whole completion.
    text = b"".join(_bytes_of(http)).decode("utf-8", "replace")
    payload = _parsed(text)
    if payload is None or not isinstance(payload.get("choices"), list):
        raise _not_a_reply(text)
    yield payload
    yield DONE


def _events(events: Iterable[str]) -> Iterator[Mapping[str, Any] | str]:
    for number, data in enumerate(events):
        payload = data if data == DONE else _parsed(data)
        if payload is None:
            raise _not_readable() if number else _not_a_reply(data)
        yield payload


def _bytes_of(http: Any) -> Iterator[bytes]:
    """Read a response's body; a connection that breaks is the SDK's error, whatever library is beneath."""
    import openai

    try:
        yield from http.iter_bytes()
    except Exception as error:
        if type(error).__name__.endswith("Timeout"):
            raise openai.APITimeoutError(request=http.request) from error
        raise openai.APIConnectionError(request=http.request) from error


def _parsed(data: str) -> Mapping[str, Any] | None:
    try:
        payload = json.loads(data)
    except ValueError:
        return None
    return payload if isinstance(payload, Mapping) else None


def _whole(payloads: Iterable[Mapping[str, Any] | str]) -> Iterator[Mapping[str, Any]]:
    """Pass the payloads on, and raise when the stream stops before the reply is whole."""
    ended = False
    for payload in payloads:
        if isinstance(payload, str):
            ended = True
            break
        if error := payload.get("error"):
            raise _told_by_service(error)
        choices = payload.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            ended = ended or choices[0].get("finish_reason") is not None
        yield payload
    if not ended:
        raise InferenceError(
            "The reply stopped before its end.",
            why="The service closed the connection in the middle.",
            remedy="Run the cell again.",
            cause="reply",
            retryable=True,
        )


def _told_by_service(error: object) -> InferenceError:
    message = error.get("message") if isinstance(error, Mapping) else error
    return InferenceError(
        "The service stopped the reply with an error.",
        why=f'It said: "{quoted(str(message))}"',
        remedy="Run the cell again; if it happens again, choose another model with %wbmodels.",
        cause="busy",
        retryable=True,
    )


def _not_readable() -> InferenceError:
    return InferenceError(
        "A part of the reply could not be read.",
        why="The service sent a line that is not of the form it should be.",
        remedy="Run the cell again.",
        cause="reply",
        retryable=True,
    )


def _not_a_reply(text: str) -> InferenceError:
    is_page = text.lstrip()[:1] == "<"
    return InferenceError(
        "The endpoint answered, but not with a reply of a model.",
        why="It sent a web page: the address is probably not that of an API." if is_page else "",
        remedy="Check the endpoint with %wbconfig; its address usually ends in /v1.",
        cause="reply",
    )
