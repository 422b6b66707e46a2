"""The one configured client: built here alone, with what guards every request."""

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
    """What records exchanges and replays them: a cassette. It belongs to a layer above this one."""

    @property
    def records(self) -> bool:
        """Whether requests may go over the wire."""

    def http_client(self, library: Any, endpoint: Endpoint | None, options: dict[str, Any], *, at_once: bool) -> Any:
        """Return an HTTP client that goes by way of it."""


class Client:
    """The client: its connections (`http`), and the SDK's object over them, for the user and for who watches it."""

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
        """The SDK's object. Made when it is asked for: importing the SDK takes longer than a chat."""
        import openai

        library = _library_of(openai.DefaultHttpxClient)
        http = self.http if isinstance(self.http, library.Client) else self._http(library)
        made = openai.OpenAI(
            http_client=http, max_retries=self._max_retries, **_sdk_options(self._endpoint, self._timeout)
        )
        return _without_openai_identity(made, self._endpoint)

    def close(self) -> None:
        """Close its connections."""
        self.http.close()
        if "sdk" in self.__dict__:
            self.sdk.close()


class SharedClient:
    """Holds the client, and builds it anew only when something it depends on has changed."""

    def __init__(self) -> None:
        self._built_for: tuple[object, ...] | None = None
        self._client: Client | None = None
        self._lock = Lock()

    def get(self, endpoint: Endpoint, *, timeout: float, max_retries: int, cassette: Recorder | None = None) -> Client:
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


def http_library() -> Any:
    """Return the HTTP library that the SDK is built on: which one it is differs between its versions."""
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
    """Return an HTTP client, by way of a cassette where there is one; an asynchronous one to send many `at_once`."""
    options = {"verify": _verify(endpoint), "trust_env": True, **options}
    hook = bounded_async(library) if at_once else bounded(library)
    options["event_hooks"] = {**options.get("event_hooks", {}), "response": [hook]}
    if cassette is not None and not cassette.records:
        # Nothing goes over the wire: no proxy is asked, whatever the environment names.
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
    # Raised here, where nothing is being handled: the library's error quotes pieces of the proxy's password, and
    # nothing is to hold on to it.
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
    """A client for many requests at once, made as the shared one is; it belongs to one event loop.

    Use it as an asynchronous context manager: leaving closes its connections.
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
        """The SDK's object, made when it is asked for."""
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
    return http_library().create_ssl_context()


def _options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    library = http_library()
    # Imported when a client is built: it takes longer than much of `%load_ext`.
    from importlib.metadata import version

    return {
        "timeout": library.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        # As the SDK has them.
        "limits": library.Limits(max_connections=1000, max_keepalive_connections=100),
        # A redirect could carry the prompt, and on the same host the key, to where nobody meant it to go.
        "follow_redirects": False,
        # The practice model is on this machine: a proxy meant for the internet cannot reach it.
        "trust_env": endpoint.kind != "local",
        "headers": {"user-agent": f"wandb-inference-magic/{version('wandb-inference-magic')}", **NOT_PACKED},
    }


def _sdk_options(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    import openai

    return {
        "base_url": endpoint.url,
        # The SDK never holds the key, so that none of its logs, reprs and tracebacks can show it.
        "api_key": "put-in-at-the-last-moment",
        "timeout": openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
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
    place = _place_of(endpoint)

    def check(request: Any) -> None:
        # The user's own code may send anywhere: through another address, or without encryption, nothing of it goes.
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
    """Return whom a URL of the HTTP library leads to; its host as the wire has it, whichever way it is written."""
    return url.scheme, url.raw_host, url.port


def _headers_meant_for_openai() -> list[str]:
    """Name the headers that the SDK adds from OPENAI_CUSTOM_HEADERS, a variable set for OpenAI."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip().lower() for line in lines if ":" in line]
