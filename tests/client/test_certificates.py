"""Certificates and encrypted connections."""

from __future__ import annotations

import gc
import os
import select
import socket
import struct
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType

import pytest
import trustme
from clocks import FastClock
from connection_servers import KEY, WAYS, end, errors, listening, tls_server
from python_processes import run_python
from service import MODEL, Answer, Service, Streamed, Wandb, chunk, tls_context

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

pytestmark = pytest.mark.sdk


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


WITHOUT_OPENSSL = """\
import os, sys
# Where it is installed, the SDK imports it, and it cannot be imported then.
sys.modules["aiohttp"] = None
from wandb_inference_magic import chat
cassette = {"WANDB_INFERENCE_CASSETTE": "c.jsonl"}
os.environ |= {**cassette, "WANDB_INFERENCE_CASSETTE_MODE": "record"}
print(chat("hi", model="test/m").text)
os.environ |= {"WANDB_INFERENCE_CASSETTE_MODE": "replay", "SSL_CERT_FILE": "/nowhere/ca.pem"}
print(chat("hi", model="test/m").text)
os.environ["WANDB_INFERENCE_CASSETTE_MODE"] = "off"
os.environ["WANDB_INFERENCE_BASE_URL"] = "https://127.0.0.1:9/v1"
try:
    chat("hi", model="test/m")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_only_an_encrypted_connection_needs_an_openssl_that_works(
    environment: dict[str, str], service: Service, tmp_path: Path
) -> None:
    """Its configuration can name a module that is not there, on machines with FIPS and in environments of conda."""
    file = tmp_path / "openssl.cnf"
    file.write_text("openssl_conf = a\n[a]\nproviders = b\n[b]\nnone = c\n[c]\nactivate = 1\n")
    variables = environment | service.environment | {"OPENSSL_CONF": str(file)}
    done = run_python("-c", WITHOUT_OPENSSL, environment=variables, folder=tmp_path)
    assert done.stdout.startswith("Hello there.\nHello there.\nInferenceError The OpenSSL of this Python"), done
    assert "LIBRARY_HAS_NO_CIPHERS" in done.stdout
    assert f"Correct what OPENSSL_CONF={file} names, or unset it. " in " ".join(done.stdout.split())
    assert "SSL_CERT_FILE" not in done.stdout
    assert len(service.received) == 1


CERTIFICATE_FAULTS = {
    "expired": ({"not_after": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "127.0.0.1", "Its certificate has expired"),
    "another host": ({}, "other.example", "Its certificate is not for this IP address"),
    "unknown authority": ({}, "127.0.0.1", "the server uses a self-signed certificate"),
}


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


# What a server sends before it closes the connection: nothing, or an alert of TLS, `internal error` or `close notify`.
CUT_HANDSHAKES = {
    "cut": b"",
    "internal error": b"\x15\x03\x03\x00\x02\x02\x50",
    "close notify": b"\x15\x03\x03\x00\x02\x01\x00",
}
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
    # Otherwise it is asked again, and costs none.
    current_session().settings.max_retries = 0
    wandb.api.then(Streamed(), broken)
    frame = api.map_prompts([str(n) for n in range(4)], "{{ text }}", model=MODEL, cache=False, concurrency=1)
    assert frame["reply"].notna().sum() == 3
    (error,) = frame["reply_error"].dropna()
    assert "The encrypted connection failed" in error
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
