"""The service of the tests: an OpenAI-compatible HTTP server over a real socket, controlled by each test."""

from __future__ import annotations

import json
import re
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "test/model-a"
# Raised by a write to a client that has gone, the last two with TLS.
GONE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class _ServerSocket(ssl.SSLSocket):
    def __del__(self) -> None:
        # Up to Python 3.12, `wrap_socket` leaves it open where the client has reset the connection.
        self.close()


def tls_context() -> ssl.SSLContext:
    """Return the context of a TLS server, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _ServerSocket
    return context


@dataclass
class Received:
    """A request as received."""

    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: Any = None


class Answer:
    """Answers one request for a script, byte by byte if needed."""

    def __init__(self, handler: _Handler, received: Received) -> None:
        self.received = received
        self._handler = handler

    @property
    def connection(self) -> Any:
        return self._handler.connection

    def start(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", content_type)
        self._handler.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()

    def raw(self, data: bytes) -> None:
        if data:
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self._handler.wfile.flush()

    def event(self, chunk: Any) -> None:
        text = chunk if isinstance(chunk, str) else json.dumps(chunk)
        self.raw(f"data: {text}\n\n".encode())

    def end(self) -> None:
        self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.wfile.flush()

    def cut(self) -> None:
        """Close the connection without ending the body."""
        self._handler.close_connection = True
        self._handler.connection.close()

    def json(self, chunk: Any, status: int = 200, **headers: str) -> None:
        self.start(status, "application/json", **headers)
        self.raw(json.dumps(chunk).encode())
        self.end()


Script = Callable[[Answer], None]

# Longer than two expectations of the browser tests take at most, so that they fail and not the gate.
GATE_SECONDS = 150


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": choices,
        **more,
    }


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if cached is not None:
        counted["prompt_tokens_details"] = {"cached_tokens": cached}
    return counted


@dataclass
class Streamed:
    """A script: a streamed reply.

    `gate` holds the stream after `hold_after` pieces until the test sets it. `per_second` is the pace.
    `reasoning_gate` holds it after the reasoning. `sent_last` is set after the last piece was sent.
    """

    pieces: Iterable[str] = ("Hello", " there", ".")
    reasoning: Iterable[str] = ()
    reasoning_name: str = "reasoning"
    reasoning_gate: threading.Event | None = None
    finish: str | None = "stop"
    counted: dict[str, Any] | None = field(default_factory=lambda: usage(12, 3))
    model: str | None = None
    done: bool = True
    gate: threading.Event | None = None
    hold_after: int = 1
    per_second: float | None = None
    sent_last: threading.Event = field(default_factory=threading.Event)
    at_piece: Callable[[int], None] | None = None

    def __call__(self, answer: Answer) -> None:
        more = {"model": self.model or answer.received.body["model"]}
        answer.start(x_request_id="req-test-1")
        answer.event(chunk({"role": "assistant", "content": ""}, **more))
        for piece in self.reasoning:
            answer.event(chunk({self.reasoning_name: piece}, **more))
        if self.reasoning_gate is not None:
            assert self.reasoning_gate.wait(GATE_SECONDS), "the test never opened the gate"
        start = time.perf_counter()
        for number, piece in enumerate(self.pieces):
            if self.gate is not None and number == self.hold_after:
                assert self.gate.wait(GATE_SECONDS), "the test never opened the gate"
            if self.per_second:
                time.sleep(max(0.0, start + number / self.per_second - time.perf_counter()))
            if self.at_piece:
                self.at_piece(number)
            answer.event(chunk({"content": piece}, **more))
        self.sent_last.set()
        if self.finish:
            answer.event(chunk({}, self.finish, **more))
        if self.counted:
            answer.event(chunk(None, usage=self.counted, **more))
        if self.done:
            answer.event("[DONE]")
        answer.end()


class Endless:
    """A script: a streamed reply that sends one text and no more, until the client goes away. Then it sets `gone`."""

    def __init__(self, words: str = "Half an answer") -> None:
        self.words = words
        self.gone = threading.Event()

    def __call__(self, answer: Answer) -> None:
        answer.start()
        answer.event(chunk({"content": self.words}))
        try:
            # Only a write shows that the client has gone. Nothing sets the event in this loop: the wait is a pause.
            while not self.gone.wait(0.05):
                answer.raw(b": still here\n\n")
        except GONE:
            self.gone.set()
            raise


def completion(text: str | None = "Hello there.", *, counted: dict[str, Any] | None = None, **message: Any) -> Script:
    """A script: a reply in one piece."""

    def answer_with(answer: Answer) -> None:
        answer.json(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": MODEL,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": text, **message},
                    }
                ],
                "usage": counted or usage(12, 3),
            },
            x_request_id="req-test-1",
        )

    return answer_with


def calling(*calls: tuple[str, str], said: str = "", pieces: int = 1, counted: dict[str, Any] | None = None) -> Script:
    """A script: a streamed reply that calls tools. The arguments arrive in this number of pieces."""

    def answer(one: Answer) -> None:
        one.start()
        if said:
            one.event(chunk({"role": "assistant", "content": said}))
        for index, (name, arguments) in enumerate(calls):
            head = {
                "index": index,
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            one.event(chunk({"tool_calls": [head]}))
            step = max(1, len(arguments) // pieces)
            for start in range(0, len(arguments), step):
                part = {"index": index, "function": {"arguments": arguments[start : start + step]}}
                one.event(chunk({"tool_calls": [part]}))
        one.event(chunk({}, "tool_calls"))
        one.event(chunk(None, usage=counted or usage(12, 3)))
        one.event("[DONE]")
        one.end()

    return answer


def refused(status: int, message: str, **headers: str) -> Script:
    """A script: an error with a message of the service."""

    def answer_with(answer: Answer) -> None:
        chunk = {"error": {"code": status, "message": message, "type": "invalid_request_error"}}
        answer.json(chunk, status, x_request_id="req-test-1", **headers)

    return answer_with


def page(html: str = "<html><body>Welcome</body></html>", status: int = 200) -> Script:
    """A script: a web page in place of an API."""

    def answer_with(answer: Answer) -> None:
        answer.start(status, "text/html")
        answer.raw(html.encode())
        answer.end()

    return answer_with


class Service:
    """A running server. Scripts queued with `then` answer chats in order. After them `always` answers.

    `documents` has what other paths answer: JSON, or a script.

    `failures` has the exceptions of scripts, which would otherwise be lost in their threads.
    """

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Return to the initial state, at the same address."""
        self.received: list[Received] = []
        self.always: Script = Streamed()
        self.listing: Any = listing(MODEL, "test/model-b")
        self.listing_script: Script | None = None
        self.documents: dict[str, Any] = {}
        self._scripts: deque[Script] = deque()
        self.failures.clear()

    def then(self, *scripts: Script) -> None:
        self._scripts.extend(scripts)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make this server the endpoint, and MODEL its model."""
        return {"WANDB_INFERENCE_BASE_URL": self.url, "WANDB_INFERENCE_MODEL": MODEL}

    @property
    def chats(self) -> list[Received]:
        return [one for one in self.received if one.path.endswith("/chat/completions")]

    @property
    def last(self) -> Received:
        return self.chats[-1]

    def answer(self, answer: Answer) -> None:
        received = answer.received
        self.received.append(received)
        if (document := self.documents.get(received.path)) is not None:
            document(answer) if callable(document) else answer.json(document)
        elif received.path.endswith("/chat/completions"):
            (self._scripts.popleft() if self._scripts else self.always)(answer)
        elif received.path.partition("?")[0].endswith("/models"):
            (self.listing_script or (lambda answer: answer.json(self.listing)))(answer)
        else:
            refused(404, "The requested resource was not found")(answer)

    @contextmanager
    def running(self) -> Iterator[Service]:
        with _serving(_Server(lambda host: self, self.failures)) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/v1"
            yield self

    def assert_no_failures(self) -> None:
        """Fail if a script failed, with its traceback."""
        _assert_none(self.failures)


def listing(*ids: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": one, "object": "model", "owned_by": "test"} for one in ids]}


class Wandb:
    """W&B's own hosts, as a client behind this proxy sees them.

    The variable `HTTPS_PROXY` directs a client to this server. Its CONNECT to `api.inference.wandb.ai` or
    `trace.wandb.ai` ends in a TLS server with a certificate of the tests' own authority, so the real host
    names, keys and headers are sent over a real, encrypted socket.
    """

    API, FEED = "api.inference.wandb.ai", "trace.wandb.ai"

    def __init__(self, folder: Any) -> None:
        import trustme

        authority = trustme.CA()
        self.certificate = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.certificate))
        self.api, self.feed = Service(), Service()
        self.tls = tls_context()
        authority.issue_cert(self.API, self.FEED).configure_cert(self.tls)
        self.environment: dict[str, str] = {}
        self.connected_to: list[str] = []
        self.failures: list[BaseException] = []

    def reset(self) -> None:
        """Return to the initial state, at the same address."""
        for service in (self.api, self.feed):
            service.reset()
        self.connected_to.clear()
        self.failures.clear()

    def assert_no_failures(self) -> None:
        """Fail if a script failed, with its traceback."""
        _assert_none(self.failures)

    @contextmanager
    def running(self) -> Iterator[Wandb]:
        services = {self.API: self.api, self.FEED: self.feed}
        with _serving(_Server(services.get, self.failures, self.tls, self.connected_to)) as server:
            self.environment = {
                "HTTPS_PROXY": f"http://127.0.0.1:{server.server_port}",
                "SSL_CERT_FILE": str(self.certificate),
            }
            yield self


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Of Python's default of 5, connections that are opened at the same moment are refused now and then.
    request_queue_size = 128

    def __init__(
        self,
        service_for: Callable[[str], Service | None],
        failures: list[BaseException],
        tls: ssl.SSLContext | None = None,
        connected_to: list[str] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service_for = service_for
        self.failures = failures
        self.tls = tls
        self.connected_to = [] if connected_to is None else connected_to

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the exception, unless a client has gone: some tests are about that."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, GONE):
            self.failures.append(error)


def _assert_none(failures: list[BaseException]) -> None:
    if failures:
        raise AssertionError(f"{len(failures)} failed in the tests' server; the first:") from failures[0]


@contextmanager
def _serving(server: _Server) -> Iterator[_Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _document(body: bytes) -> Any:
    """Return a JSON body, None if there is none, or the bytes of another kind of body."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # As in servers that stream: otherwise a small piece waits until the one before it is acknowledged.
    disable_nagle_algorithm = True
    host = ""
    server: _Server

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        self.server.connected_to.append(host)
        if self.server.service_for(host) is None:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        assert self.server.tls is not None
        self.close_connection = True
        try:
            secured = self.server.tls.wrap_socket(self.connection, server_side=True)
        except OSError:
            # The client does not know the authority, as in one test, or has gone.
            return
        with secured:
            type("_BehindProxy", (_Handler,), {"host": host})(secured, self.client_address, self.server)

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # The client has gone, for example killed: an incomplete request counts as not received.
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.host, self.path, headers, _document(body))
        service = self.server.service_for(self.host)
        # An exception in it ends the connection, and is passed to the server's `handle_error`.
        service.answer(Answer(self, received))

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        """Log nothing: the tests read what was received."""


def pieces(text: str) -> list[str]:
    """Cut a text into the pieces that a model would stream."""
    return re.findall(r"\S*\s*", text)
