"""Servers that fail in ways of connections, and the errors that all commands make of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
from service import tls_context

from wandb_inference_magic.arguments import ConfigOptions
from wandb_inference_magic.commands.config import configure
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frontend.canvas import Canvas
from wandb_inference_magic.rendering import Column
from wandb_inference_magic.session import current_session

KEY = "wandb_v1_0123456789abcdefghij"
DEAD = "127.0.0.1:9"


class Shown(Canvas):
    """A canvas that keeps what it shows."""

    def __init__(self) -> None:
        self.text = ""

    def show(self, data: dict[str, Any], columns: Sequence[Column] = (), facts: dict[str, Any] | None = None) -> None:
        self.text += data["text/plain"]


def check(canvas: Shown | None = None) -> None:
    """Run `%wbconfig --check`."""
    configure(current_session(), ConfigOptions(check=True), canvas or Shown())  # type: ignore[arg-type]


WAYS: dict[str, Callable[[ModuleType], object]] = {
    "chat": lambda api: api.chat("hi", model="test/m"),
    "map": lambda api: api.map_prompts([str(n) for n in range(20)], "{{ text }}", model="test/m", cache=False),
    "models": lambda api: api.models(refresh=True),
    "check": lambda _: check(),
}


def errors(api: ModuleType, ways: dict[str, Callable[[ModuleType], object]] = WAYS) -> Iterator[str]:
    """Yield the error of each way to use the endpoint. None of them is tried again, or shows a password."""
    current_session().settings.set(model="test/m", timeout=5)
    for way in ways.values():
        with pytest.raises(InferenceError) as caught:
            way(api)
        text = str(caught.value)
        assert "pa55" not in text
        assert "It was tried" not in text
        yield text


def end(connection: socket.socket) -> None:
    """End a connection once the client has closed it: with a part of a request unread, closing would send a reset."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):
        pass


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve each connection to an address of this machine, and close it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    serve(connection)
                    end(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_server(folder: Path, name: str, **validity: Any) -> Iterator[tuple[str, str]]:
    """Serve TLS with a certificate for a name. Yields the server's place and the file of its authority."""
    authority, context = trustme.CA(), tls_context()
    authority.issue_cert(name, **validity).configure_cert(context)
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))

    def serve(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).recv(1)

    with listening(serve) as place:
        yield place, str(file)
