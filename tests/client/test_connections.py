"""The way to the endpoint: addresses, and answers that break off or are not HTTP. Each failure is one error."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import certifi
import openai
import pytest
from clocks import FastClock
from connection_servers import DEAD, KEY, WAYS, Shown, check, errors, listening, tls_server
from kernels import failing
from service import MODEL, Service, Wandb, refused
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


@pytest.mark.parametrize(
    "endpoint", [f"http://{DEAD}/v1", "http://localhost:9/v1", "http://[::1]:9/v1", "http://0.0.0.0:9/v1"]
)
def test_an_endpoint_that_does_not_run_is_reported_at_once(start_api: Callable[..., ModuleType], endpoint: str) -> None:
    for error in errors(start_api(WANDB_INFERENCE_BASE_URL=endpoint)):
        assert f"The endpoint {endpoint} could not be reached" in error
        assert "Nothing answers at that address." in error
        assert "WANDB_INFERENCE_BASE_URL" in error


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_list_the_models_is_checked_by_a_chat(
    api: ModuleType, service: Service, status: int
) -> None:
    said = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
    service.listing_script = refused(status, said)
    shown = Shown()
    check(shown)
    assert "✗ models" in shown.text
    assert said in shown.text
    assert f"✓ reply     {MODEL} answered" in shown.text
    with pytest.raises(InferenceError, match="whether this key may list its models"):
        api.models(refresh=True)


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


def test_https_at_a_port_for_plain_http_is_told_the_address(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(WANDB_INFERENCE_BASE_URL=service.url.replace("http:", "https:"))
    for error in errors(api):
        assert "The server does not speak TLS at this port." in error
        assert f"Its address is probably {service.url}" in error
        assert "WANDB_INFERENCE_BASE_URL" in error


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


def test_a_connection_that_is_closed_without_a_word_is_said_to_be_closed() -> None:
    library = http_library()
    failure = openai.APIConnectionError(request=library.Request("POST", "https://service.example/v1"))
    failure.__cause__ = library.ReadError("")
    context = FailureContext(Endpoint("custom", "https://service.example/v1"), "m", Catalog((), live=False))
    assert to_inference_error(failure, context).why == "The other side closed the connection."


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


@pytest.mark.parametrize("status", [401, 500])
def test_a_check_fails_where_the_list_of_models_cannot_be_had(
    start_api: Callable[..., ModuleType], service: Service, status: int
) -> None:
    service.listing_script = refused(status, "the reason")
    start_api(**service.environment)
    current_session().clock = FastClock()
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


def test_a_bad_setting_of_the_configuration_is_one_error() -> None:
    config = Config({"WandbInference": {"endpoint": "http://h.example/v1/chat/completions"}})
    with pytest.raises(InferenceError) as caught:
        WandbInference(config=config)
    assert "IPython's configuration" in caught.value.what
    assert "Did you mean http://h.example/v1?" in caught.value.what
    assert "ipython_config.py" in caught.value.remedy


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


# For failures that show before anything is sent.
ALL_WAYS = {**WAYS, "client": lambda api: api.client()}

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
    with pytest.raises(InferenceError, match=r"SSLKEYLOGFILE=/nowhere/keys: No such file.* can be written"):
        start_api(WANDB_API_KEY=KEY, **variables).client()
