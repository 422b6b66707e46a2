"""The one configured client: built here alone, with what guards every request."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from .settings import WANDB_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import AsyncOpenAI, OpenAI

    from .cassette import Cassette
    from .credentials import Key
    from .errors import InferenceError

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

CONNECT_SECONDS: Final = 20.0


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


class Client:
    """The client: its connections (`http`), and the SDK's object over them, for the user and for who watches it."""

    def __init__(
        self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Cassette | None = None
    ) -> None:
        import openai

        options = _sdk_options(endpoint, timeout)
        how = {"event_hooks": {"request": [_guard(endpoint)]}, **_http_options(endpoint, options["timeout"])}
        self.url = endpoint.url
        self.http = http_client(cassette, endpoint, how)
        self.sdk = _without_openai_identity(
            openai.OpenAI(http_client=self.http, max_retries=max_retries, **options), endpoint
        )

    def close(self) -> None:
        """Close its connections."""
        self.sdk.close()


class SharedClient:
    """Holds the client, and builds it anew only when something it depends on has changed."""

    def __init__(self) -> None:
        self._built_for: tuple[object, ...] | None = None
        self._client: Client | None = None
        self._lock = Lock()

    def get(self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Cassette | None = None) -> Client:
        """Return the client for `endpoint`; `timeout` in seconds, `max_retries` per request."""
        wanted = (replace(endpoint, model=""), timeout, max_retries, cassette)
        with self._lock:
            if self._client is None or wanted != self._built_for:
                self._drop()
                self._client = Client(endpoint, timeout=timeout, max_retries=max_retries, cassette=cassette)
                self._built_for = wanted
            return self._client

    def close(self) -> None:
        """Close the client and its connections; the next `get` builds a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        client, self._client, self._built_for = self._client, None, None
        if client is not None:
            client.close()


def http_client(cassette: Cassette | None, endpoint: Endpoint | None, options: dict[str, Any]) -> Any:
    """Return an HTTP client as the SDK makes it, by way of a cassette where there is one."""
    options["verify"] = _verify(endpoint)
    if cassette is not None:
        from .cassette_client import cassette_client

        return cassette_client(cassette, endpoint, options)
    import openai

    return openai.DefaultHttpxClient(**options)


def _async_http_client(cassette: Cassette | None, endpoint: Endpoint, options: dict[str, Any]) -> Any:
    options["verify"] = _verify(endpoint)
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
        how = {"event_hooks": {"request": [check]}, **_http_options(endpoint, options["timeout"])}
        self.url = endpoint.url
        self.http = _async_http_client(cassette, endpoint, how)
        self.sdk = _without_openai_identity(
            openai.AsyncOpenAI(http_client=self.http, max_retries=0, **options), endpoint
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sdk.close()


def _verify(endpoint: Endpoint | None) -> Any:
    if endpoint is not None and endpoint.kind == "local":
        # On this machine, without encryption: nobody is to be trusted.
        return SSLContext(PROTOCOL_TLS_CLIENT)
    return certificates()


def certificates() -> Any:
    """Return what checks a server's certificate, as the HTTP library makes it.

    Reading all certificates takes longer than all else of a client: it is done once, and again where the environment
    names others.
    """
    return _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _certificates(*_named: str | None) -> Any:
    import openai

    library = sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]
    return library.create_ssl_context()


def _sdk_options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    import openai

    return {
        "base_url": endpoint.url,
        # The SDK never holds the key, so that none of its logs, reprs and tracebacks can show it.
        "api_key": "put-in-at-the-last-moment",
        "timeout": openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
    }


def _http_options(endpoint: Endpoint, timeout: Any) -> dict[str, Any]:
    return {
        "timeout": timeout,
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
