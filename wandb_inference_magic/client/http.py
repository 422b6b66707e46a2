"""The SDK's clients. They are built only here, over HTTP clients that check every request before it is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError, create_default_context
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ..concurrency import ForkAware, without_forks
from ..config import CERTIFICATES, named_certificates, names_proxies
from ..errors import InferenceError, quoted
from ..imports import installed_version
from ..libraries import unusable_openssl
from ..text import addresses, redacted, secret_in, with_texts
from .bodies import NOT_PACKED, http_library
from .transport import transport, transport_class

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from ..concurrency import EventLoop
    from ..config import Endpoint
    from .metering import Meter
    from .transport import Sending

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

CONNECT_SECONDS: Final = 20.0
# The key that the SDK is given in place of the real one.
NO_KEY: Final = "put-in-at-the-last-moment"


class Recorder(Protocol):
    """Records and replays exchanges: a cassette. It is implemented in a layer above this one."""

    @property
    def records(self) -> bool:
        """Whether requests may be sent over the network."""

    def transport(self, below: Any, endpoint: Endpoint) -> Any:
        """Return a transport that uses the cassette, above one that sends requests."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What a client is built for.

    `timeout` is in seconds. `max_retries` is the number of tries that the user's client makes after the first; our own
    calls are retried by the engine.
    """

    endpoint: Endpoint
    timeout: float
    max_retries: int = 0
    recorder: Recorder | None = None


class Clients(ForkAware):
    """The clients of one session: `own` for our calls, on the session's event loop, and `users` for the user's code.

    Each is built on first use, and again after something it depends on has changed.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        super().__init__()

    def after_fork_in_child(self) -> None:
        """Start without clients: those that there are belong to the parent of this process."""
        self._lock = Lock()
        # Each with what it was built for.
        self._clients: dict[str, tuple[object, Any]] = {}
        # Replaced clients. Another thread, or the user's code, may still use them.
        self._replaced: list[AsyncOpenAI | OpenAI] = []

    def own(self, options: ClientOptions) -> AsyncOpenAI:
        """Return the asynchronous client.

        Raises
        ------
        InferenceError
            When the environment names a proxy that cannot be used, or the endpoint is not an address.
        """
        # Our calls are tried again by the engine.
        options = replace(options, max_retries=0)
        return self._current("own", options, lambda: build_own_client(options))

    def users(self, options: ClientOptions, meter: Meter, recorder: Callable[[], Recorder | None]) -> OpenAI:
        """Return the synchronous client, whose calls `meter` counts. Raises the same errors as `own`.

        Each of its calls uses the cassette that `recorder` returns then: the user may keep the client. Where the
        options have a cassette that is only replayed, `recorder` raises an error when a call would be sent.
        """
        return self._current("users", options, lambda: build_users_client(options, meter, recorder))

    def _current(self, kind: str, options: ClientOptions, build: Callable[[], Sdk]) -> Sdk:
        built_for = (options, options.endpoint.out_of_reach is None, _environment())
        with self._lock:
            before, client = self._clients.get(kind, (None, None))
            if client is None or before != built_for or client.is_closed():
                # A child process that is forked meanwhile would wait for ever for the import of the SDK to end.
                with without_forks():
                    built = build()
                if client is not None:
                    self._replaced.append(client)
                self._clients[kind] = built_for, built
                return built
            return client  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the clients and their connections."""
        with self._lock:
            clients = [*self._replaced, *(client for _, client in self._clients.values())]
            self._clients, self._replaced = {}, []
        for client in clients:
            if (closing := getattr(client, "close_connections", client.close)()) is not None:
                self._loop.run(closing)


def _environment() -> tuple[object, ...]:
    """Return what a client takes from the environment: the proxies, the certificates, the SDK's extra headers."""
    named = (*CERTIFICATES, "NO_PROXY", "no_proxy", "OPENAI_CUSTOM_HEADERS")
    return (*addresses(os.environ), *(os.environ.get(name) for name in named))


def build_own_client(options: ClientOptions) -> AsyncOpenAI:
    """Return an asynchronous client. It belongs to one event loop."""
    import openai

    # First: it imports the SDK again, and so reports that its import has failed in another thread meanwhile.
    own = _transport(options, is_async=True)
    return _built(openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient, own, options)


def build_users_client(
    options: ClientOptions, meter: Meter, recorder: Callable[[], Recorder | None] | None = None
) -> OpenAI:
    """Return a synchronous client, whose calls `meter` counts.

    `recorder` returns the cassette of a call at its moment. Without it, that of the options is used.
    """
    import openai

    from .metering import metered_client, metered_transport

    # Outermost, because calls that a cassette answers are counted too.
    own = metered_transport(_transport_of_moment(options, recorder or (lambda: options.recorder)))
    return _built(metered_client(meter), openai.DefaultHttpxClient, own, options)


def _built(sdk_class: type[Sdk], http_class: type, own: Any, options: ClientOptions) -> Sdk:
    import openai

    endpoint = options.endpoint
    own_key, own_origin = endpoint.key.reveal() if endpoint.key else None, _origin_of(endpoint)

    class GuardedSecrets(sdk_class):  # type: ignore[valid-type,misc]
        def _build_request(self, options: Any, **how: Any) -> Any:
            request = super()._build_request(options, **how)
            _refuse_secrets(request, own_key if _origin(request.url) == own_origin else None)
            return request

        # A service may quote a secret, and a traceback shows the error, also as the reason of an error of ours.
        def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> Any:
            return super()._make_status_error(redacted(err_msg), body=with_texts(body, redacted), response=response)

    made = GuardedSecrets(
        http_client=http_class(
            transport=own,
            trust_env=False,
            # A redirect could send the prompt, and on the same host the key, to an address that the user did not set.
            follow_redirects=False,
            headers=NOT_PACKED,
            # None is kept: one with a character outside ASCII would end each further request, and many would fill them.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        ),
        base_url=endpoint.url,
        # The SDK never holds the key, so that its logs, reprs and tracebacks cannot show it.
        api_key=NO_KEY,
        timeout=openai.Timeout(options.timeout, connect=min(options.timeout, CONNECT_SECONDS)),
        max_retries=options.max_retries,
        # Empty, because the values that the SDK takes from the environment may be ones that cannot be sent.
        default_headers={**dict.fromkeys(_headers_meant_for_openai(), ""), "User-Agent": _user_agent()},
    )
    # The SDK reads OPENAI_ORG_ID and OPENAI_PROJECT_ID, even if None is passed.
    made.organization, made.project = None, endpoint.project or None
    return made


def _user_agent() -> str:
    name = "wandb-inference-magic"
    # There is none where only the package's folder was copied, for example to a worker of Spark or into a repository.
    return "/".join(filter(None, (name, installed_version(name))))


def _transport(options: ClientOptions, *, is_async: bool) -> Any:
    """Return the transport of a client: one that sends requests or, above it, the one of the cassette in use."""
    network = _network(options, is_async=is_async)
    return network if options.recorder is None else options.recorder.transport(network, options.endpoint)


def _network(options: ClientOptions, *, is_async: bool) -> Any:
    """Return the transport that sends requests."""
    endpoint, recorder = options.endpoint, options.recorder
    # Where nothing is sent over the network, no certificate or proxy is used, whatever the environment names.
    is_sent = recorder is None or recorder.records
    checked = transport(
        # Without encryption no certificate needs to be trusted. Reading them takes 40 ms.
        certificates() if is_sent and not endpoint.url.startswith("http:") else _without_certificates(),
        is_async=is_async,
        # The practice model is on this machine, where a proxy for the internet cannot reach it.
        is_proxied=not endpoint.is_local and is_sent and names_proxies(),
        sending=_guard(endpoint),
    )
    # A proxy that cannot be used is reported now.
    try:
        checked.route(endpoint.url)
    except SSLError as error:
        # Older versions of the HTTP library do not do without a context.
        raise unusable_openssl(error) from None
    return checked


def _transport_of_moment(options: ClientOptions, recorder: Callable[[], Recorder | None]) -> Any:
    """Return a transport for the user's client, which uses the cassette of the moment of each request."""
    endpoint = options.endpoint

    class TransportOfMoment(transport_class()):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            now = recorder()
            above = self.below if now is None else now.transport(self.below, endpoint)
            return above.handle_request(request)

    return TransportOfMoment(_network(options, is_async=False))


def certificates() -> Any:
    """Return the SSL context that checks the certificate of a server.

    Reading the certificates takes longer than the rest of building a client. They are read once, and again if
    the environment names others.

    Raises
    ------
    InferenceError
        When SSL_CERT_FILE names no certificates, SSLKEYLOGFILE no file that can be written, or OpenSSL does not work.
    """
    try:
        return _certificates(*map(os.environ.get, CERTIFICATES))
    except OSError as error:
        if isinstance(error, SSLError) and _without_certificates() is None:
            raise unusable_openssl(error) from None
        what, named = "The certificates for checking servers cannot be read", named_certificates()
        file = "a file of certificates in PEM form"
        # Python names only the file to which it writes the secrets of encrypted connections.
        if error.filename:
            what, named = "The secrets of encrypted connections cannot be written", f"SSLKEYLOGFILE={error.filename}"
            file = "a file that can be written"
        raise InferenceError(
            f"{what}; nothing was sent.",
            why=f"{quoted(f'{named}: {error.strerror or error}' if named else str(error))}.",
            remedy=f"Name {file}, or unset the variable. Then restart the kernel." if named else "",
        ) from None


def _without_certificates() -> SSLContext | None:
    """Return an SSL context that trusts no server; None where OpenSSL cannot make any.

    With None, the HTTP library makes one for an encrypted connection only.
    """
    try:
        return SSLContext(PROTOCOL_TLS_CLIENT)
    except SSLError:
        return None


@cache
def _certificates(file: str | None, folders: str | None) -> Any:
    if file:
        return create_default_context(cafile=file)
    # OpenSSL looks into a folder only for the certificate of a server. Its error names the variable.
    return create_default_context(capath=folders) if folders else http_library().create_ssl_context(trust_env=False)


def _guard(endpoint: Endpoint) -> Sending:
    """Return the last check of every request: it sets this endpoint's key and project, and removes OpenAI's headers.

    The SDK sets headers from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, again for each copy of
    a client (`with_options`). Copies share this check.
    """
    from_environment = [name.lower() for name in _headers_meant_for_openai()]
    own: dict[str, str | None] = dict.fromkeys(from_environment)
    own |= {name: "application/json" for name in ("content-type", "accept") if name in own}
    own |= {"openai-organization": None, "openai-project": endpoint.project or None}
    own_origin = _origin_of(endpoint)

    @contextmanager
    def sending(request: Any) -> Iterator[None]:
        # The user's code may send to any address. The key goes only to the endpoint's scheme, host and port.
        belongs = _origin(request.url) == own_origin
        own_key = f"Bearer {endpoint.key.reveal()}" if endpoint.key else None
        key = own_key if belongs else None
        given = request.headers.get("authorization")
        if given not in (None, f"Bearer {NO_KEY}") and "authorization" not in from_environment:
            # The user's code has set it: `with_options(api_key=...)`.
            key = given
        for name, value in {**own, "authorization": key}.items():
            if value is None:
                request.headers.pop(name, None)
            else:
                request.headers[name] = value
        try:
            yield
        finally:
            # The SDK hands the request to the user, with each response and each error.
            if own_key and request.headers.get("authorization") == own_key:
                request.headers["authorization"] = f"Bearer {NO_KEY}"

    return sending


def _refuse_secrets(request: Any, own_key: str | None) -> None:
    # A file that is sent is not read for this.
    with suppress(http_library().RequestNotRead):
        if (error := secret_refusal(request.content, own_key)) is not None:
            raise error


def secret_refusal(body: bytes, own_key: str | None) -> InferenceError | None:
    """Return the error for a request whose body holds a secret of another service, or None if it holds none.

    A prompt or a tool's result may have one. `own_key` is the key of the endpoint that the request is sent to.
    """
    if not (found := secret_in(body, own_key)):
        return None
    error = InferenceError(
        "The request has a secret of another service in it. Nothing was sent.",
        why=f"The prompt, an earlier turn or the result of a tool holds {found}.",
        remedy="Leave it out: a key goes only to its own service. %wbthread --undo takes back an earlier turn.",
        cause="key",
        affects_all=False,
    )
    error.is_unsent = True
    return error


def _origin_of(endpoint: Endpoint) -> tuple[str, bytes, int | None]:
    library = http_library()
    try:
        return _origin(library.URL(endpoint.url))
    except (library.InvalidURL, ValueError) as error:
        raise InferenceError(
            "The endpoint's address cannot be used; nothing was sent.",
            why=quoted(str(error)),
            remedy=f"Set another: %wbconfig --endpoint URL. {endpoint.described_origin}",
        ) from None


def _origin(url: Any) -> tuple[str, bytes, int | None]:
    """Return the scheme, host and port of a URL of the HTTP library. The host is encoded as it is sent."""
    return url.scheme, url.raw_host, url.port


def _headers_meant_for_openai() -> list[str]:
    """Return the names of headers that the SDK adds from OPENAI_CUSTOM_HEADERS, a variable set for OpenAI."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]
