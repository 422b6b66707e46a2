"""Proxies on the way to the endpoint."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from types import ModuleType

import openai
import pytest
from connection_servers import DEAD, KEY, WAYS, check, errors, listening
from kernels import failing
from service import Service, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

pytestmark = pytest.mark.sdk

CUSTOM = "http://service.example/v1"


@pytest.mark.parametrize("excluded", ["127.0.0.1", "localhost", "127.0.0.0/8", "b.example, 127.0.0.1", "*"])
@pytest.mark.parametrize("proxy", ["socks5://h:1080", "ftp://h:1", f"http://{DEAD}"])
def test_a_host_that_no_proxy_excludes_needs_no_proxy(
    start_api: Callable[..., ModuleType], service: Service, proxy: str, excluded: str
) -> None:
    api = start_api(**service.environment, ALL_PROXY=proxy, NO_PROXY=excluded)
    assert api.chat("hi").text == "Hello there."
    check()
    assert len(api.client().models.list().data) == 2


def test_the_users_client_reports_the_proxy_of_another_host_as_the_sdk_does(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(**service.environment, ALL_PROXY="socks5://h:1080", NO_PROXY="127.0.0.1")
    with pytest.raises(openai.APIConnectionError) as caught:
        api.client().with_options(base_url="https://b.example/v1", max_retries=0).models.list()
    assert "pip install socksio" in str(caught.value.__cause__)


@pytest.mark.parametrize("endpoint", [CUSTOM, "https://service.example/v1"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_a_dead_proxy_is_named_and_the_endpoint_is_not(
    start_api: Callable[..., ModuleType], endpoint: str, name: str
) -> None:
    name = name if endpoint == CUSTOM or name == "all_proxy" else "HTTPS_PROXY"
    api = start_api(WANDB_INFERENCE_BASE_URL=endpoint, **{name: f"http://user:pa55word@{DEAD}"})
    for error in errors(api):
        assert error.startswith(f"The proxy {DEAD} in {name} could not be reached; nothing was sent.")
        assert "service.example" not in error


def test_a_proxy_whose_name_is_unknown_is_named(start_api: Callable[..., ModuleType]) -> None:
    api = start_api(WANDB_API_KEY=KEY, HTTPS_PROXY="http://no-such-host.invalid:3128")
    for error in errors(api, {"chat": WAYS["chat"]}):
        assert "The proxy no-such-host.invalid:3128 in HTTPS_PROXY could not be reached" in error
        assert "Its name could not be looked up." in error


def answering(status: str) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    return serve


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        (CUSTOM, "407 Proxy Authentication Required"),
        ("https://service.example/v1", "407 Proxy Authentication Required"),
        # A proxy passes plain HTTP on: there, this status may be the endpoint's own.
        ("https://service.example/v1", "403 Forbidden"),
    ],
)
def test_a_proxy_that_refuses_is_named(start_api: Callable[..., ModuleType], endpoint: str, status: str) -> None:
    with listening(answering(status)) as place:
        proxy = f"http://user:pa55word@{place}"
        for error in errors(start_api(WANDB_INFERENCE_BASE_URL=endpoint, HTTP_PROXY=proxy, HTTPS_PROXY=proxy)):
            assert f"could not be reached through the proxy {place} in HTTP" in error
            assert f'answered "{status}"' in error
            assert ("Write its user name and password into HTTP" in error) == status.startswith("407")


def test_a_proxy_that_speaks_no_tls_is_named(start_api: Callable[..., ModuleType]) -> None:
    with listening(answering("400 Bad Request")) as place:
        api = start_api(WANDB_API_KEY=KEY, HTTPS_PROXY=f"https://{place}")
        for error in errors(api, {"chat": WAYS["chat"]}):
            assert f"The proxy {place} in HTTPS_PROXY could not be reached" in error
            assert "its address probably begins with http://" in error


def test_a_proxy_that_accepts_and_never_answers_is_named(
    start_api: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(lambda connection: select.select([], [], [], 30)) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL=CUSTOM, HTTP_PROXY=f"http://{place}", http_proxy=f"http://{place}")
        current_session().settings.set(model="test/m", timeout=1, max_retries=0)
        with pytest.raises(InferenceError) as caught:
            api.chat("hi")
    assert "sent nothing in time" in str(caught.value)
    assert f"The connection goes through the proxy {place} in http_proxy." in str(caught.value)


@pytest.mark.parametrize("status", [403, 404, 502, 503, 504])
def test_a_proxy_that_answers_in_place_of_an_unencrypted_endpoint_is_named(
    start_api: Callable[..., ModuleType], service: Service, status: int
) -> None:
    place = service.url.removesuffix("/v1").removeprefix("http://")
    api = start_api(
        WANDB_INFERENCE_BASE_URL="http://myserver.corp:8000/v1", HTTP_PROXY=f"http://{place}", WANDB_INFERENCE_MODEL="m"
    )
    current_session().settings.set(max_retries=0)
    service.always = refused(status, "The requested URL could not be retrieved")
    error = failing(lambda: api.chat("hi"))
    assert f"The connection goes through the proxy {place} in HTTP_PROXY." in error
    assert "NO_PROXY" in error


def test_a_proxy_that_has_connected_to_the_endpoint_is_not_said_to_be_out_of_reach(
    start_api: Callable[..., ModuleType],
) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv(1)
        # With a linger time of zero, closing the socket sends a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with listening(serve) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL="https://service.example/v1", HTTPS_PROXY=f"http://{place}")
        current_session().settings.set(max_retries=0)
        for error in errors(api, {"chat": WAYS["chat"]}):
            assert error.startswith("The endpoint https://service.example/v1 could not be reached")
            assert f"The connection goes through the proxy {place} in HTTPS_PROXY." in error
