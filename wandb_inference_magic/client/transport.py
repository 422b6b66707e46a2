"""The transports below the HTTP clients: they choose the proxy and the connection of each request, and check it.

Those of cassettes and of the meter are above them, one above the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from ..config import find_proxy
from ..errors import InferenceError
from .bodies import bound, http_library

if TYPE_CHECKING:
    from ..config import Proxy

    # Takes a request, and returns a context manager in which it is sent.
    Sending = Callable[[Any], AbstractContextManager[None]]

# Many servers close a connection after 5 s without a request. A request that is sent at that moment is lost.
IDLE_SECONDS: Final = 4.0


@cache
def transport_class() -> Any:
    """Return the base class of a transport above another one, for both kinds of client."""
    library: Any = http_library()

    class TransportAbove(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, below: Any) -> None:
            self.below = below

        def close(self) -> None:
            self.below.close()

        async def aclose(self) -> None:
            await self.below.aclose()

    return TransportAbove


def transport(verify: Any, *, is_async: bool, is_proxied: bool, sending: Sending = nullcontext) -> Any:
    """Return the transport of an HTTP client.

    Parameters
    ----------
    verify : SSLContext
    is_async : bool
        The kind of the client.
    is_proxied : bool
        Whether the proxies of the environment are used.
    sending : Sending
        Prepares a request for being sent.
    """
    return _checked()(partial(_connect, verify, is_async=is_async), sending, is_proxied=is_proxied)


def _connect(verify: Any, proxy: Proxy | None, *, is_async: bool) -> Any:
    """Return a transport that sends everything through a proxy, or directly.

    Raises
    ------
    InferenceError
        When the proxy cannot be used.
    """
    library = http_library()
    limits = library.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=IDLE_SECONDS)
    how = {"verify": verify, "trust_env": False, "limits": limits}
    if proxy is not None:
        how["proxy"] = _library_proxy(proxy)
    make = partial(library.AsyncHTTPTransport if is_async else library.HTTPTransport, **how)
    try:
        return _PooledTransport(make) if is_async else make()
    except ImportError:
        if proxy is None:
            raise
        raise InferenceError(
            f"The proxy in {proxy.variable} cannot be used; nothing was sent.",
            why="It is a SOCKS proxy, and the package for those, socksio, is not installed.",
            remedy="Run: pip install socksio. Then restart the kernel. Or name the hosts that need no proxy in "
            "NO_PROXY.",
            cause="missing",
        ) from None


def _library_proxy(proxy: Proxy) -> Any:
    library = http_library()
    if proxy.fault:
        raise _proxy_error(proxy, proxy.fault)
    scheme, _, rest = proxy.address.partition("://")
    user_part, at, host = rest.rpartition("@")
    user, _, password = user_part.partition(":")
    # The library gets the password apart from the address, of which it quotes parts in its errors.
    auth = (unquote(user), unquote(password)) if at else None
    try:
        # It treats socks5h as socks5; older versions do not know the name.
        return library.Proxy(f"{scheme.lower().removesuffix('h')}://{host}", auth=auth)
    except (library.InvalidURL, ValueError):
        raise _proxy_error(proxy, "The HTTP library does not accept it") from None


def _proxy_error(proxy: Proxy, why: str) -> InferenceError:
    is_socks = proxy.address.lower().startswith("socks")
    return InferenceError(
        f"The proxy in {proxy.variable} cannot be used; nothing was sent.",
        why=f"{why}.",
        remedy=f"Write it as {'socks5' if is_socks else 'http'}://host:port, with `user:password@` before the host if "
        "it needs them. Percent-encode special characters in them: # as %23, / as %2F, ? as %3F, @ as %40, % as %25. "
        f"{'Run: pip install socksio. ' if is_socks else ''}Then restart the kernel.",
    )


@cache
def _checked() -> Any:
    """Return the class of the transport above the connections, for both kinds of client."""
    library: Any = http_library()

    class CheckedTransport(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[misc]
        """Sends each request through the proxy of its address, or directly if it has none, and bounds the responses.

        The HTTP library's own way knows fewer forms of NO_PROXY, and needs every proxy of the environment to be usable.
        """

        def __init__(self, connect: Callable[[Proxy | None], Any], sending: Sending, *, is_proxied: bool) -> None:
            self._connect = connect
            self._sending = sending
            self._is_proxied = is_proxied
            self._made: dict[Proxy | None, Any] = {}

        def route(self, url: str) -> Any:
            proxy = find_proxy(url) if self._is_proxied else None
            return self._made.get(proxy) or self._made.setdefault(proxy, self._connect(proxy))

        def _of(self, request: Any) -> Any:
            try:
                return self.route(str(request.url))
            except InferenceError as error:
                # So that it stays an error of the SDK in the user's code.
                raise library.ConnectError(str(error), request=request) from error

        def handle_request(self, request: Any) -> Any:
            with self._sending(request):
                response = self._of(request).handle_request(request)
            return bound(request, response)

        async def handle_async_request(self, request: Any) -> Any:
            with self._sending(request):
                response = await self._of(request).handle_async_request(request)
            return bound(request, response)

        def close(self) -> None:
            for made in self._made.values():
                made.close()

        async def aclose(self) -> None:
            for made in self._made.values():
                await made.aclose()

    return CheckedTransport


class _PooledTransport:
    """Gives each request in flight a pool of its own, and keeps the pools for the next requests to the same server.

    The library's pool looks at all its connections twice for each request: with 32 in flight that is a quarter of
    the time of a request. A pool of two connections that is cancelled while it closes them forgets the second one.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        # The pools without a request, with since when and for which server; the one used last is the last.
        self._idle: list[tuple[float, object, Any]] = [(monotonic(), None, make())]
        self._is_closed = False

    async def handle_async_request(self, request: Any) -> Any:
        await self._close_old()
        server, pool = self._take(request)
        connections: list[Any] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith("connect_tcp.complete"):
                connections.append(info["return_value"])
            elif event.startswith("http"):
                # It is connected. All further steps of a request would be reported as well, which takes time.
                request.extensions.pop("trace", None)

        request.extensions["trace"] = trace
        try:
            response = await pool.handle_async_request(request)
        except BaseException:
            # The library forgets a connection that is cancelled in its TLS handshake, or that a SOCKS proxy refuses.
            for connection in connections:
                await _close(connection)
            await self._release(server, pool)
            raise
        response.stream = _PooledBody(response.stream, partial(self._release, server, pool))
        return response

    def _take(self, request: Any) -> tuple[object, Any]:
        """Return the server of a request, and a pool for it. One that has not been used yet serves any server."""
        server = request.url.scheme, request.url.netloc
        for place in reversed(range(len(self._idle))):
            if self._idle[place][1] in (server, None):
                return server, self._idle.pop(place)[2]
        return server, self._make()

    async def _release(self, server: object, pool: Any) -> None:
        if self._is_closed:
            await _close(pool)
        else:
            self._idle.append((monotonic(), server, pool))

    async def _close_old(self) -> None:
        """Close the pools whose connections have been idle for too long, as a pool does with its own."""
        oldest = monotonic() - IDLE_SECONDS
        while self._idle and self._idle[0][0] < oldest:
            await _close(self._idle.pop(0)[2])

    async def aclose(self) -> None:
        # The others are closed when their requests end: a pool forgets a connection that is being opened.
        pools, self._idle, self._is_closed = self._idle, [], True
        for *_, pool in pools:
            await _close(pool)


async def _close(closable: Any) -> None:
    # An error leaves the others to be closed, and has nothing to do with the request that is to be sent.
    with suppress(Exception):
        await closable.aclose()


class _PooledBody:
    """A body whose end makes its pool free."""

    def __init__(self, stream: Any, release: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._release: Callable[[], Awaitable[None]] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except BaseException:
            # Older versions of the library do not close a response whose body cannot be read.
            await self.aclose()
            raise

    async def aclose(self) -> None:
        release, self._release = self._release, None
        try:
            await self._stream.aclose()
        finally:
            if release is not None:
                await release()
