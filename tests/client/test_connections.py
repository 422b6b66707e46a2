"""The way to the endpoint: proxies, certificates, addresses. Each failure is one error, from every command alike."""

from __future__ import annotations

import gc
import os
import select
import socket
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import certifi
import openai
import pytest
import trustme
from clocks import FastClock
from kernels import failing
from service import MODEL, Answer, Service, Streamed, Wandb, chunk, refused, tls_context
from traitlets.config import Config

from wandb_inference_magic.arguments import ConfigOptions
from wandb_inference_magic.catalog import Catalog
from wandb_inference_magic.client import http_library
from wandb_inference_magic.client.http import _certificates
from wandb_inference_magic.commands.config import configure
from wandb_inference_magic.config import Endpoint, WandbInference
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures import FailureContext, to_inference_error
from wandb_inference_magic.session import current_session

pytestmark = pytest.mark.sdk

KEY = "wandb_v1_0123456789abcdefghij"
DEAD = "127.0.0.1:9"
CUSTOM = "http://service.example/v1"


class Shown:
    """A canvas that keeps what it shows."""

    def __init__(self) -> None:
        self.text = ""

    def status(self, words: str) -> None:
        """Show nothing while something is waited for."""

    def discard(self) -> None:
        """Keep what was shown."""

    def show(self, bundle: dict[str, Any]) -> None:
        self.text += bundle["text/plain"]


def check(canvas: Shown | None = None) -> None:
    """Run `%wbconfig --check`."""
    configure(current_session(), ConfigOptions(check=True), canvas or Shown())  # type: ignore[arg-type]


WAYS: dict[str, Callable[[ModuleType], object]] = {
    "chat": lambda api: api.chat("hi", model="test/m"),
    "map": lambda api: api.map_prompts([str(n) for n in range(20)], "{{ text }}", model="test/m", cache=False),
    "models": lambda api: api.models(refresh=True),
    "check": lambda _: check(),
}
# For failures that show before anything is sent.
ALL_WAYS = {**WAYS, "client": lambda api: api.client()}


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


def answering(status: str) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    return serve


UNUSABLE = {
    "SOCKS": ({"ALL_PROXY": "socks5://user:pa55word@h:1080"}, ("ALL_PROXY", "pip install socksio", "NO_PROXY")),
    "SOCKS, lower case": ({"https_proxy": "socks5h://h:1080"}, ("https_proxy", "pip install socksio")),
    "a scheme of no proxy": ({"HTTPS_PROXY": "ftp://user:pa55word@h:1"}, ("HTTPS_PROXY", "http, https, socks5")),
    "an unknown scheme": ({"all_proxy": "socks://h:1080"}, ("all_proxy", "http, https, socks5")),
    "no port": ({"HTTPS_PROXY": "h:port"}, ("HTTPS_PROXY", "a host and a port")),
    "no certificate file": ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, ("SSL_CERT_FILE=/nowhere/ca.pem: No such file",)),
    "a whole address": (
        {"WANDB_INFERENCE_BASE_URL": "https://h.example/v1/chat/completions"},
        ("WANDB_INFERENCE_BASE_URL", "Did you mean https://h.example/v1?"),
    ),
    "a query": ({"WANDB_INFERENCE_BASE_URL": "https://h.example/v1?a=b"}, ("WANDB_INFERENCE_BASE_URL", "https://h.example/v1?")),
    "no scheme": ({"WANDB_INFERENCE_BASE_URL": "localhost:8000"}, ("WANDB_INFERENCE_BASE_URL", "http://localhost:8000?")),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_environment_that_cannot_be_used_is_one_error_from_every_command(
    start_api: Callable[..., ModuleType], name: str
) -> None:
    variables, expected = UNUSABLE[name]
    for error in errors(start_api(WANDB_API_KEY=KEY, **variables), ALL_WAYS):
        assert all(one in error for one in expected), error


def test_a_file_for_secrets_that_cannot_be_written_is_named(start_api: Callable[..., ModuleType]) -> None:
    _certificates.cache_clear()
    variables = {"SSL_CERT_FILE": certifi.where(), "SSLKEYLOGFILE": "/nowhere/keys"}
    with pytest.raises(InferenceError, match="SSLKEYLOGFILE=/nowhere/keys: No such file"):
        start_api(WANDB_API_KEY=KEY, **variables).client()


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_named(
    start_api: Callable[..., ModuleType], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(InferenceError) as caught:
        start_api(WANDB_API_KEY=KEY, SSL_CERT_FILE=str(file)).client()
    assert f"SSL_CERT_FILE={file}: " in str(caught.value)


def test_a_folder_is_no_file_of_certificates(start_api: Callable[..., ModuleType], tmp_path: Path) -> None:
    with pytest.raises(InferenceError) as caught:
        start_api(WANDB_API_KEY=KEY, SSL_CERT_FILE=str(tmp_path)).client()
    assert f"SSL_CERT_FILE={tmp_path}: " in str(caught.value)


def test_certificates_in_a_folder_are_used(start_api: Callable[..., ModuleType], wandb: Wandb, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_bytes(wandb.certificate.read_bytes())
    variables = {"HTTPS_PROXY": wandb.environment["HTTPS_PROXY"], "SSL_CERT_DIR": f"/nowhere:{folder}"}
    # Its name is not its hash, so OpenSSL does not find it: the folder is accepted, and named.
    for error in errors(start_api(WANDB_API_KEY=KEY, **variables), {"chat": WAYS["chat"]}):
        assert "The encrypted connection failed" in error
        assert f"SSL_CERT_DIR=/nowhere:{folder}" in error


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


def test_a_large_request_that_is_cut_off_is_said_to_be_too_large_and_is_not_sent_again(
    start_api: Callable[..., ModuleType],
) -> None:
    """A server may refuse it (413) before it has read all of it."""
    tries: list[int] = []

    def serve(connection: socket.socket) -> None:
        tries.append(len(connection.recv(1000)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with listening(serve) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL=f"http://{place}/v1", WANDB_INFERENCE_MODEL="m")
        error = failing(lambda: api.chat("x" * 9_000_000))
    assert "closed the connection while the request of 9 MB was being sent" in error
    assert "Shorten the prompt" in error
    assert len(tries) == 1


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


@pytest.mark.parametrize(
    "endpoint", [f"http://{DEAD}/v1", "http://localhost:9/v1", "http://[::1]:9/v1", "http://0.0.0.0:9/v1"]
)
def test_an_endpoint_that_does_not_run_is_reported_at_once(start_api: Callable[..., ModuleType], endpoint: str) -> None:
    for error in errors(start_api(WANDB_INFERENCE_BASE_URL=endpoint)):
        assert f"The endpoint {endpoint} could not be reached" in error
        assert "Nothing answers at that address." in error
        assert "WANDB_INFERENCE_BASE_URL" in error


def test_https_at_a_port_for_plain_http_is_told_the_address(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(WANDB_INFERENCE_BASE_URL=service.url.replace("http:", "https:"))
    for error in errors(api):
        assert "The server does not speak TLS at this port." in error
        assert f"Its address is probably {service.url}" in error
        assert "WANDB_INFERENCE_BASE_URL" in error


CERTIFICATE_FAULTS = {
    "expired": ({"not_after": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "127.0.0.1", "Its certificate has expired"),
    "another host": ({}, "other.example", "Its certificate is not for this IP address"),
    "unknown authority": ({}, "127.0.0.1", "the server uses a self-signed certificate"),
}


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


def test_a_client_that_resets_its_connection_leaves_no_socket_of_the_test_server_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    select.select([connection], [], [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(OSError, match="reset"):
            tls_context().wrap_socket(connection, server_side=True)
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


@pytest.mark.parametrize("fault", CERTIFICATE_FAULTS)
def test_a_certificate_is_refused_with_its_reason(
    start_api: Callable[..., ModuleType], tmp_path: Path, fault: str
) -> None:
    validity, name, expected = CERTIFICATE_FAULTS[fault]
    with tls_server(tmp_path, name, **validity) as (place, file):
        named = {} if fault == "unknown authority" else {"SSL_CERT_FILE": file}
        for error in errors(start_api(WANDB_INFERENCE_BASE_URL=f"https://{place}/v1", **named)):
            assert "The encrypted connection failed" in error
            assert expected in error


def test_http_at_a_port_for_tls_is_told_the_address(start_api: Callable[..., ModuleType], tmp_path: Path) -> None:
    with tls_server(tmp_path, "127.0.0.1") as (place, _):
        api = start_api(WANDB_INFERENCE_BASE_URL=f"http://{place}/v1")
        current_session().settings.set(max_retries=0)
        for error in errors(api):
            assert f"If the server expects TLS, its address is https://{place}/v1." in error


def test_a_server_that_says_it_wants_tls_is_told_the_address(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    service.always = service.listing_script = refused(400, "Client sent an HTTP request to an HTTPS server.")
    for error in errors(start_api(**service.environment)):
        assert f"Its address is probably {service.url.replace('http:', 'https:')}" in error
        assert "WANDB_INFERENCE_BASE_URL" in error


@pytest.mark.parametrize("status", [401, 500])
def test_a_check_fails_where_the_list_of_models_cannot_be_had(
    start_api: Callable[..., ModuleType], service: Service, status: int
) -> None:
    service.listing_script = refused(status, "the reason")
    start_api(**service.environment)
    canvas = Shown()
    with pytest.raises(InferenceError, match="the reason") as caught:
        check(canvas)
    assert caught.value.status == status
    assert "✗" in canvas.text
    assert "✓ models" not in canvas.text
    assert service.chats == []


@pytest.mark.parametrize("status", [404, 405, 200])
def test_a_check_of_an_endpoint_without_a_list_goes_on_to_the_chat(
    start_api: Callable[..., ModuleType], service: Service, status: int
) -> None:
    service.listing_script = lambda answer: answer.json({"hello": 1}, status)
    start_api(**service.environment)
    canvas = Shown()
    check(canvas)
    assert "✗ models" in canvas.text
    assert "✓ reply" in canvas.text


def test_an_ignored_key_is_named_where_another_one_is_used(
    start_api: Callable[..., ModuleType], wandb: Wandb, environment: dict[str, str]
) -> None:
    netrc = Path(environment["HOME"]) / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    start_api(WANDB_API_KEY="\u201cpa55word\u201d", WANDB_INFERENCE_MODEL=MODEL, **wandb.environment)
    canvas = Shown()
    check(canvas)
    configure(current_session(), ConfigOptions(), canvas)  # type: ignore[arg-type]
    assert canvas.text.count("~/.netrc (api.wandb.ai); WANDB_API_KEY is ignored: it has typographic quotes in it") == 2
    assert "pa55word" not in canvas.text


def test_a_bad_setting_of_the_configuration_is_one_error() -> None:
    config = Config({"WandbInference": {"endpoint": "http://h.example/v1/chat/completions"}})
    with pytest.raises(InferenceError) as caught:
        WandbInference(config=config)
    assert "IPython's configuration" in caught.value.what
    assert "Did you mean http://h.example/v1?" in caught.value.what
    assert "ipython_config.py" in caught.value.remedy


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


def test_a_connection_that_is_never_made_does_not_advise_to_wait_longer(
    start_api: Callable[..., ModuleType],
) -> None:
    # A server whose queue is full does not answer those who connect.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.socket() as first,
        socket.socket() as second,
    ):
        place = server.getsockname()
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(place)
        api = start_api(WANDB_INFERENCE_BASE_URL=f"http://127.0.0.1:{place[1]}/v1")
        current_session().settings.set(model="test/m", timeout=1, max_retries=0)
        with pytest.raises(InferenceError) as caught:
            api.chat("hi")
    assert "could not be reached in time. No connection could be made." in str(caught.value)
    assert "--timeout" not in str(caught.value)


def test_a_server_that_ends_the_handshake_is_not_a_matter_of_certificates(
    start_api: Callable[..., ModuleType],
) -> None:
    # It closes the connection after the first bytes of the client.
    with listening(lambda connection: connection.recv(65_536)) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL=f"https://{place}/v1")
        current_session().settings.set(max_retries=0)
        for error in errors(api, {"chat": WAYS["chat"]}):
            assert "The encrypted connection failed" in error
            assert "or the server ended it" in error
            assert "SSL_CERT_FILE" not in error


@pytest.mark.parametrize("path", ["", "/v2"])
def test_another_address_of_wandbs_host_is_told_the_right_one(
    start_api: Callable[..., ModuleType], wandb: Wandb, path: str
) -> None:
    wandb.api.always = wandb.api.listing_script = refused(404, "Not Found")
    api = start_api(WANDB_API_KEY=KEY, WANDB_INFERENCE_BASE_URL=f"https://{wandb.API}{path}", **wandb.environment)
    for error in errors(api, {name: WAYS[name] for name in ("chat", "map", "check")}):
        assert "W&B Inference does not know this address. Its address is https://api.inference.wandb.ai/v1." in error
        assert "The address in use comes from WANDB_INFERENCE_BASE_URL." in error
        assert "test/m" not in error


HEAD = b"HTTP/1.1 200 OK\r\n"
NOT_HTTP = {
    "another version": b"HTTP/2 200 OK\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "a length that is no number": HEAD + b"Content-Length: x\r\n\r\n",
    "a broken chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_an_answer_that_is_not_http_is_said_to_be_none(start_api: Callable[..., ModuleType], name: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(NOT_HTTP[name])

    with listening(serve) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL=f"http://{place}/v1")
        current_session().settings.set(max_retries=0)
        for error in errors(api, {"chat": WAYS["chat"], "models": WAYS["models"]}):
            assert "Its answer is not valid HTTP" in error
            assert "Check the network" not in error


def test_a_connection_that_is_closed_without_a_word_is_said_to_be_closed() -> None:
    library = http_library()
    failure = openai.APIConnectionError(request=library.Request("POST", "https://service.example/v1"))
    failure.__cause__ = library.ReadError("")
    context = FailureContext(Endpoint("custom", "https://service.example/v1"), "m", Catalog((), live=False))
    assert to_inference_error(failure, context).why == "The other side closed the connection."


# What a server sends before it closes the connection: nothing, or TLS's alert `internal error`.
CUT_HANDSHAKES = {"cut": b"", "internal error": b"\x15\x03\x03\x00\x02\x02\x50"}
BODY = b'{"choices": [{"message": {"content": "Four."}, "finish_reason": "stop"}]}'
ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + BODY


@pytest.mark.parametrize("name", CUT_HANDSHAKES)
def test_a_handshake_that_is_cut_is_tried_again(
    start_api: Callable[..., ModuleType], tmp_path: Path, name: str
) -> None:
    authority, context = trustme.CA(), tls_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        connections.append(connection)
        if len(connections) == 1:
            connection.recv(65_536)
            connection.sendall(CUT_HANDSHAKES[name])
            return
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(65_536)
            encrypted.sendall(ANSWERED)
            end(encrypted)

    with listening(serve) as place:
        api = start_api(WANDB_INFERENCE_BASE_URL=f"https://{place}/v1", SSL_CERT_FILE=str(tmp_path / "authority.pem"))
        current_session().clock = FastClock()
        assert api.chat("hi", model="test/m").text == "Four."


@pytest.mark.parametrize("sent", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"\x17\x03\x03\x00\x20" + b"a" * 32])
def test_an_encrypted_connection_that_breaks_in_a_reply_costs_one_row(
    start_api: Callable[..., ModuleType], wandb: Wandb, sent: bytes
) -> None:
    def broken(answer: Answer) -> None:
        answer.start()
        answer.event(chunk({"content": "Half"}))
        os.write(answer.connection.fileno(), sent)
        answer.cut()

    api = start_api(WANDB_API_KEY=KEY, **wandb.environment)
    wandb.api.then(Streamed(), broken)
    frame = api.map_prompts([str(n) for n in range(4)], "{{ text }}", model=MODEL, cache=False, concurrency=1)
    assert frame["reply"].notna().sum() == 3
    (error,) = frame["reply_error"].dropna()
    assert "The encrypted connection failed" in error
    assert "http://" not in error


def test_wandb_is_never_said_to_be_at_an_address_without_encryption(start_api: Callable[..., ModuleType]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n")

    with listening(serve) as place:
        api = start_api(WANDB_API_KEY=KEY, HTTPS_PROXY=f"http://{place}")
        for error in errors(api, {"chat": WAYS["chat"]}):
            assert "Something else answered in its place, without TLS." in error
            assert f"The proxy {place} in HTTPS_PROXY" in error
            assert "http://" not in error


def test_an_encrypted_error_that_breaks_in_its_words_is_known_by_its_status(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    def broken(answer: Answer) -> None:
        answer.start(401, "application/json")
        answer.raw(b'{"detail": "No such key"')
        os.write(answer.connection.fileno(), b"\x17\x03\x03\x00\x20" + b"a" * 32)
        answer.cut()

    wandb.api.always = broken
    for error in errors(start_api(WANDB_API_KEY=KEY, **wandb.environment), {"chat": WAYS["chat"]}):
        assert "did not accept the key" in error
        assert "No such key" in error
