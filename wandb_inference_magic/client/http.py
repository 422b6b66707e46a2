"""The HTTP client. It is built only here, with a check of every request."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ..config import proxy_fault
from ..errors import InferenceError, quoted
from ..text import addresses
from .bodies import NOT_PACKED, bounded, bounded_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import AsyncOpenAI, OpenAI

    from ..config import Endpoint

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

CONNECT_SECONDS: Final = 20.0
DISTRIBUTION: Final = "wandb-inference-magic"


class Recorder(Protocol):
    """Records and replays exchanges: a cassette. It is implemented in a layer above this one."""

    @property
    def records(self) -> bool:
        """Whether requests may be sent over the network."""

    def http_client(self, library: Any, endpoint: Endpoint | None, options: dict[str, Any], *, at_once: bool) -> Any:
        """Return an HTTP client that uses the cassette."""


class Client:
    """The client: its connections (`http`), and the SDK's client over them (`sdk`), for the user and for tracers."""

    def __init__(
        self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Recorder | None = None
    ) -> None:
        self.url = endpoint.url
        self._endpoint, self._timeout, self._max_retries, self._cassette = endpoint, timeout, max_retries, cassette
        self.http = self._http(http_library())

    def _http(self, library: Any) -> Any:
        options = {"event_hooks": {"request": [_guard(self._endpoint)]}, **_options(self._endpoint, self._timeout)}
        return http_client(library, options, self._cassette, self._endpoint)

    @cached_property
    def sdk(self) -> OpenAI:
        """The SDK's client. It is created on first access, because importing the SDK takes longer than a chat."""
        import openai

        library = _library_of(openai.DefaultHttpxClient)
        http = self.http if isinstance(self.http, library.Client) else self._http(library)
        made = openai.OpenAI(
            http_client=http, max_retries=self._max_retries, **_sdk_options(self._endpoint, self._timeout)
        )
        return _without_openai_identity(made, self._endpoint)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        if "sdk" in self.__dict__:
            self.sdk.close()


class SharedClient:
    """Holds the client, and rebuilds it only when something it depends on has changed."""

    def __init__(self) -> None:
        self._built_for: tuple[object, ...] | None = None
        self._client: Client | None = None
        self._lock = Lock()

    def get(self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Recorder | None = None) -> Client:
        """Return the client for `endpoint`. `timeout` is in seconds, `max_retries` is per request."""
        wanted = (replace(endpoint, model=""), timeout, max_retries, cassette)
        with self._lock:
            if self._client is None or wanted != self._built_for:
                self._drop()
                self._client = Client(endpoint, timeout=timeout, max_retries=max_retries, cassette=cassette)
                self._built_for = wanted
            return self._client

    def close(self) -> None:
        """Close the client and its connections. The next `get` builds a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        client, self._client, self._built_for = self._client, None, None
        if client is not None:
            client.close()


def http_library() -> Any:
    """Return the HTTP library that the SDK is built on. It differs between versions of the SDK."""
    if "openai" in sys.modules and hasattr(sys.modules["openai"], "DefaultHttpxClient"):
        return _library_of(sys.modules["openai"].DefaultHttpxClient)
    return import_module("httpx2" if find_spec("httpx2") is not None else "httpx")


def _library_of(client_class: Any) -> Any:
    return sys.modules[client_class.__mro__[1].__module__.partition(".")[0]]


def http_client(
    library: Any,
    options: dict[str, Any],
    cassette: Recorder | None = None,
    endpoint: Endpoint | None = None,
    *,
    at_once: bool = False,
) -> Any:
    """Return an HTTP client, using the cassette if there is one. With `at_once`, return an asynchronous client."""
    options = {"verify": _verify(endpoint), "trust_env": True, **options}
    hook = bounded_async(library) if at_once else bounded(library)
    options["event_hooks"] = {**options.get("event_hooks", {}), "response": [hook]}
    if cassette is not None and not cassette.records:
        # Nothing is sent over the network, so no proxy is used, whatever the environment names.
        options["trust_env"] = False
    if options["trust_env"] and (fault := proxy_fault(os.environ)) is not None:
        raise _proxy_error(*fault)
    try:
        return _made(library, options, cassette, endpoint, at_once=at_once)
    except InferenceError:
        raise
    except ImportError:
        socks = [name for name, address in addresses(os.environ) if address.strip().lower().startswith("socks")]
        if not options["trust_env"] or not socks:
            raise
        raise InferenceError(
            f"The proxy in {' or '.join(dict.fromkeys(socks))} cannot be used; nothing was sent.",
            why="It is a SOCKS proxy, and the package for those, socksio, is not installed.",
            remedy="Run: pip install socksio. Then restart the kernel.",
            cause="missing",
        ) from None
    except Exception:
        if not options["trust_env"]:
            raise
    # Raise outside the `except` block: the library's error quotes parts of the proxy's password, and no reference
    # to it must be kept.
    names = dict.fromkeys(name for name, _ in addresses(os.environ) if name.lower().endswith("_proxy"))
    raise _proxy_error(" or ".join(names) or "the system's settings", "The HTTP library does not take it")


def _made(
    library: Any, options: dict[str, Any], cassette: Recorder | None, endpoint: Endpoint | None, *, at_once: bool
) -> Any:
    if cassette is None:
        return (library.AsyncClient if at_once else library.Client)(**options)
    return cassette.http_client(library, endpoint, options, at_once=at_once)


def _proxy_error(names: str, why: str) -> InferenceError:
    return InferenceError(
        f"The proxy in {names} cannot be used; nothing was sent.",
        why=f"{why}.",
        remedy="Percent-encode special characters of its user name and password: # as %23, / as %2F, ? as %3F, "
        "@ as %40, % as %25. Then restart the kernel.",
        cause="option",
    )


class AsyncClient:
    """A client for many concurrent requests, built like the shared one. It belongs to one event loop.

    Use it as an asynchronous context manager, which closes its connections on exit.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, cassette: Recorder | None = None) -> None:
        self.url = endpoint.url
        self._endpoint, self._timeout, self._cassette = endpoint, timeout, cassette
        self.http = self._http(http_library())

    def _http(self, library: Any) -> Any:
        guard = _guard(self._endpoint)

        async def check(request: Any) -> None:
            guard(request)

        options = {"event_hooks": {"request": [check]}, **_options(self._endpoint, self._timeout)}
        return http_client(library, options, self._cassette, self._endpoint, at_once=True)

    @cached_property
    def sdk(self) -> AsyncOpenAI:
        """The SDK's client, created on first access."""
        import openai

        library = _library_of(openai.DefaultAsyncHttpxClient)
        http = self.http if isinstance(self.http, library.AsyncClient) else self._http(library)
        made = openai.AsyncOpenAI(http_client=http, max_retries=0, **_sdk_options(self._endpoint, self._timeout))
        return _without_openai_identity(made, self._endpoint)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        if "sdk" in self.__dict__:
            await self.sdk.close()


def _verify(endpoint: Endpoint | None) -> Any:
    if endpoint is not None and endpoint.is_local:
        # It is on this machine and not encrypted: no certificate needs to be trusted.
        return SSLContext(PROTOCOL_TLS_CLIENT)
    return certificates()


def certificates() -> Any:
    """Return the SSL context of the HTTP library, which checks the certificate of a server.

    Reading the certificates takes longer than the rest of building a client. They are read once, and again if
    the environment names others.
    """
    return _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _certificates(*_named: str | None) -> Any:
    return http_library().create_ssl_context()


def _options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    library = http_library()
    # Imported when a client is built: the import would slow down `%load_ext`.
    from importlib.metadata import version

    return {
        "timeout": library.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        # The SDK's limits.
        "limits": library.Limits(max_connections=1000, max_keepalive_connections=100),
        # A redirect could send the prompt, and on the same host the key, to an address that the user did not choose.
        "follow_redirects": False,
        # The practice model is on this machine. A proxy for the internet cannot reach it.
        "trust_env": not endpoint.is_local,
        "headers": {"user-agent": f"wandb-inference-magic/{version('wandb-inference-magic')}", **NOT_PACKED},
    }


def _sdk_options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    import openai

    return {
        "base_url": endpoint.url,
        # The SDK never holds the key, so that its logs, reprs and tracebacks cannot show it.
        "api_key": "put-in-at-the-last-moment",
        "timeout": openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
    }


def _without_openai_identity(sdk: Sdk, endpoint: Endpoint) -> Sdk:
    """Remove what the SDK reads from OPENAI_ORG_ID and OPENAI_PROJECT_ID, even if None is passed."""
    sdk.organization = None
    sdk.project = endpoint.project or None
    return sdk


def _guard(endpoint: Endpoint) -> Callable[[Any], None]:
    """Return the last check of every request: it sets this endpoint's key and project, and removes OpenAI's headers.

    The SDK sets headers from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, again for each copy of
    a client (`with_options`). Copies share this hook.
    """
    own: dict[str, str | None] = dict.fromkeys(_headers_meant_for_openai())
    own |= {name: "application/json" for name in ("content-type", "accept") if name in own}
    own |= {"openai-organization": None, "openai-project": endpoint.project or None}
    place = _place_of(endpoint)

    def check(request: Any) -> None:
        # The user's code may send to any address. The key goes only to the endpoint's scheme, host and port.
        belongs = _place(request.url) == place
        key = f"Bearer {endpoint.key.reveal()}" if endpoint.key and belongs else None
        for name, value in {**own, "authorization": key}.items():
            request.headers.pop(name, None)
            if value is not None:
                request.headers[name] = value

    return check


def _place_of(endpoint: Endpoint) -> tuple[str, bytes, int | None]:
    library = http_library()
    try:
        return _place(library.URL(endpoint.url))
    except (library.InvalidURL, ValueError) as error:
        raise InferenceError(
            "The endpoint is not an address that can be called; nothing was sent.",
            why=quoted(str(error)),
            remedy="Set another: %wbconfig --endpoint URL.",
            cause="option",
        ) from None


def _place(url: Any) -> tuple[str, bytes, int | None]:
    """Return the scheme, host and port of a URL of the HTTP library. The host is encoded as it is sent."""
    return url.scheme, url.raw_host, url.port


def _headers_meant_for_openai() -> list[str]:
    """Return the names of headers that the SDK adds from OPENAI_CUSTOM_HEADERS, a variable set for OpenAI."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip().lower() for line in lines if ":" in line]
