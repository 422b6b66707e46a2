"""The connections of our asynchronous client: one for each request in flight, used again, and closed when idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import pytest

from wandb_inference_magic.client import http_library, transport as module

pytestmark = pytest.mark.sdk

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class CountingServer:
    """Answers each request when `gate` is open, and counts connections."""

    def __init__(self) -> None:
        self.opened = self.closed = self.waiting = 0
        self.gate = asyncio.Event()
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await self.change(waiting=1)
                await self.gate.wait()
                await self.change(waiting=-1)
                writer.write(ANSWER)
        writer.close()
        await self.change(closed=1)

    async def change(self, waiting: int = 0, closed: int = 0) -> None:
        async with self.changed:
            self.waiting += waiting
            self.closed += closed
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), 20)


@asynccontextmanager
async def client_and_server() -> AsyncIterator[tuple[Any, CountingServer]]:
    server = CountingServer()
    library = http_library()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    own = module.transport(SSLContext(PROTOCOL_TLS_CLIENT), is_async=True, is_proxied=False)
    async with library.AsyncClient(transport=own, trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
        yield client, server
    await server.until(lambda: server.closed == server.opened)
    listening.close()
    await listening.wait_closed()


def run_apart(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a thread: where a browser is open, Playwright's event loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


def test_requests_in_flight_have_a_connection_each_and_later_ones_use_them_again() -> None:
    async def run() -> None:
        async with client_and_server() as (client, server):
            requests = [asyncio.ensure_future(client.get("/")) for _ in range(5)]
            await server.until(lambda: server.waiting == 5)
            assert server.opened == 5
            server.gate.set()
            assert [answer.text for answer in await asyncio.gather(*requests)] == ["ok"] * 5
            for _ in range(3):
                await client.get("/")
            await asyncio.gather(*(client.get("/") for _ in range(5)))
            assert server.opened == 5
            assert server.closed == 0

    run_apart(run())


def test_connections_that_were_idle_for_long_are_closed_with_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with client_and_server() as (client, server):
            server.gate.set()
            await asyncio.gather(*(client.get("/") for _ in range(5)))
            opened = server.opened
            now = module.monotonic() + module.IDLE_SECONDS + 1
            monkeypatch.setattr(module, "monotonic", lambda: now)
            await client.get("/")
            await server.until(lambda: server.closed == opened)
            assert server.opened == opened + 1

    run_apart(run())


def test_a_request_that_is_cancelled_closes_its_connection_and_no_other() -> None:
    async def run() -> None:
        async with client_and_server() as (client, server):
            requests = [asyncio.ensure_future(client.get("/")) for _ in range(3)]
            await server.until(lambda: server.waiting == 3)
            requests[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await requests[0]
            server.gate.set()
            assert [answer.text for answer in await asyncio.gather(*requests[1:])] == ["ok"] * 2
            await server.until(lambda: server.closed == 1)
            await asyncio.gather(client.get("/"), client.get("/"))
            assert server.opened == 3

    run_apart(run())


def test_a_client_that_is_closed_while_a_connection_is_opened_leaves_no_connection_open() -> None:
    async def run() -> None:
        connected, closed = asyncio.Event(), asyncio.Event()
        # It waits until the server has seen the end of each connection.
        async with client_and_server() as (client, server):
            server.gate.set()
            loop = asyncio.get_running_loop()
            connect = loop.create_connection

            async def connect_and_wait(*how: Any, **options: Any) -> Any:
                made = await connect(*how, **options)
                connected.set()
                await closed.wait()
                return made

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(loop, "create_connection", connect_and_wait)
                request = asyncio.ensure_future(client.get("/"))
                await asyncio.wait_for(connected.wait(), 20)
                await client.aclose()
                closed.set()
                assert (await request).text == "ok"

    run_apart(run())


def test_a_request_that_is_cancelled_in_the_tls_handshake_leaves_no_connection_open() -> None:
    async def run() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            begun.set()
            while await reader.read(65_536):
                pass
            writer.close()
            ended.set()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        library = http_library()
        own = module.transport(SSLContext(PROTOCOL_TLS_CLIENT), is_async=True, is_proxied=False)
        async with library.AsyncClient(transport=own, trust_env=False) as client:
            request = asyncio.ensure_future(client.get(f"https://127.0.0.1:{port}/"))
            await asyncio.wait_for(begun.wait(), 20)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            await asyncio.wait_for(ended.wait(), 20)
        listening.close()
        await listening.wait_closed()

    run_apart(run())


def test_a_request_that_is_cancelled_while_a_closed_client_ends_it_leaves_no_connection_open() -> None:
    async def run(steps: int) -> None:
        async with client_and_server() as (client, server):
            server.gate.set()
            await client.get("/")
            server.gate.clear()
            other = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            port = other.sockets[0].getsockname()[1]
            request = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/"))
            await server.until(lambda: server.waiting == 1)
            await client.aclose()
            server.gate.set()
            for _ in range(steps):
                await asyncio.sleep(0)
            request.cancel()
            with suppress(asyncio.CancelledError):
                await request
            other.close()
            await server.until(lambda: server.closed == 2)

    for steps in range(20):
        run_apart(run(steps))
