"""Every fault of the service and the connection: the message, the state of the kernel, and the state of the thread.

FAULTS.md beside this file has a table of all of them. `WRITE_FAULTS=1 pytest tests/failures/test_faults.py` writes it.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from environments import clean_environment
from kernels import Kernel, quick_kernel
from service import MODEL, Answer, Script, Service, Streamed, Wandb, chunk, completion, page, refused

# All tests share one kernel.
pytestmark = pytest.mark.xdist_group("faults")

TABLE = Path(__file__).parent / "FAULTS.md"
WRITE = bool(os.environ.get("WRITE_FAULTS"))
tests_finished = Event()


def half(answer: Answer) -> None:
    """Start a stream with the first half of a reply."""
    answer.start()
    answer.event(chunk({"role": "assistant", "content": ""}))
    answer.event(chunk({"content": "Half an answer"}))


def then_end(answer: Answer) -> None:
    half(answer)
    answer.end()


def then_cut(answer: Answer) -> None:
    half(answer)
    answer.cut()


def then_reset(answer: Answer) -> None:
    half(answer)
    # With a linger time of zero, closing the socket sends a reset.
    connection = answer.connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.cut()


def then_malformed(answer: Answer) -> None:
    half(answer)
    answer.event('{"choices": [')
    answer.end()


def then_error(answer: Answer) -> None:
    half(answer)
    answer.event({"error": {"message": "The engine died \x1b[31mhere", "code": 500}})
    answer.end()


def then_stall(answer: Answer) -> None:
    half(answer)
    tests_finished.wait(60)


def silent(answer: Answer) -> None:
    tests_finished.wait(60)


def closed_at_once(answer: Answer) -> None:
    answer.cut()


def ends_with_error(answer: Answer) -> None:
    half(answer)
    broken = chunk({"content": ""}, "error")
    broken["choices"][0]["error"] = {"code": 502, "message": "Provider disconnected"}
    answer.event(broken)
    answer.event("[DONE]")
    answer.end()


def then_object(answer: Answer) -> None:
    half(answer)
    answer.event({"object": "error", "message": "out of memory", "code": 500})
    answer.event("[DONE]")
    answer.end()


def then_error_event(answer: Answer) -> None:
    half(answer)
    answer.raw(b"event: error\ndata: worker died\n\n")
    answer.end()


def then_finish(reason: str) -> Script:
    def answer_with(answer: Answer) -> None:
        half(answer)
        answer.event(chunk({}, reason))
        answer.end()

    return answer_with


def first_error(answer: Answer) -> None:
    answer.start()
    message = "the request exceeds the available context size"
    answer.event({"error": {"code": 400, "type": "exceed_context_size_error", "message": message}})
    answer.end()


def text(body: str, content_type: str = "application/json", status: int = 200) -> Script:
    def answer_with(answer: Answer) -> None:
        answer.start(status, content_type)
        answer.raw(body.encode())
        answer.end()

    return answer_with


def then_endless(answer: Answer) -> None:
    half(answer)
    answer.raw(b"data: ")
    for _ in range(100):
        answer.raw(b"a" * 1_000_000)


def packed_twice(answer: Answer) -> None:
    answer.start(200, "application/json", Content_Encoding="gzip, gzip")
    answer.end()


def detail(answer: Answer) -> None:
    answer.json({"detail": [{"loc": ["body", "top_k"], "msg": "not a number"}]}, 422)


@dataclass(frozen=True)
class Fault:
    """A fault: how the service responds, what the user reads, and how much of the reply is kept."""

    name: str
    script: Script
    expected: tuple[str, ...]
    options: str = ""
    kept: str = ""
    # A thread that is too long is sent once more, without the turn before this one.
    times: int = 1


PART = "Half an answer"
FAULTS = [
    Fault("400, a parameter", refused(400, "temperature must be at most 1"), ("did not accept the request", "temperature must be")),
    Fault("400, prompt too long", refused(400, "maximum context length is 8192 tokens"), ("maximum context length", "Shorten the prompt"), times=2),
    Fault("401, no key", refused(401, "Invalid Authentication"), ("asks for a key", "No key was sent", "Invalid Auth")),
    Fault("402, credit used up", refused(402, "You exceeded your current quota"), ("credit or spending limit", "exceeded your current")),
    Fault("402, fewer tokens", refused(402, "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 12000."), ("longest reply", "Lower --max-tokens", "afford 12000")),
    Fault("403, country", refused(403, "Country, region, or territory not supported"), ("refused the request", "a region it serves")),
    Fault("403, organization", refused(403, "The inference gateway is not enabled for your organization"), ("refused", "administrator", "gateway")),
    Fault("404, unknown model", refused(404, "The requested resource was not found"), ("does not know the model", "%wbmodels")),
    Fault("413, body too large", refused(413, "Request too large"), ("did not accept the request", "too large"), times=2),
    Fault("422, a parameter", refused(422, "reasoning_effort is not supported"), ("did not accept the request", "reasoning_effort")),
    Fault("422, with detail", detail, ("did not accept the request", "top_k")),
    Fault("418, unheard of", refused(418, "I'm a teapot"), ("status 418", "teapot")),
    Fault("429, concurrency", refused(429, "Concurrency limit reached for requests"), ("too many requests at once", "Concurrency limit")),
    Fault("429, quota (old form)", refused(429, "You exceeded your current quota, please check your plan"), ("credit or spending limit",)),
    Fault("500", refused(500, "The server had an error while processing your request"), ("overloaded or failing", "The server had an error")),
    Fault("503", refused(503, "The engine is currently overloaded"), ("overloaded or failing", "another model")),
    Fault("502, a page", page("<html>Bad gateway</html>", 502), ("overloaded or failing",)),
    Fault("error words with escapes", refused(400, "\x1b[31mred\x1b[0m \x1b]0;t\x07 <img src=x>"), ("red <img src=x>",)),
    Fault("error words of 10 kB", refused(400, "long " * 2000), ("long long", "…")),
    Fault("403, one prompt", refused(403, "Input was flagged by moderation"), ("refused this prompt", "flagged by moderation")),
    Fault("404, the address", text('{"detail": "Not Found"}', status=404), ("does not know this address", "Not Found", "/v1")),
    Fault("404, no such route", refused(404, "No endpoints found that support tool use"), ("No endpoints found that support",)),
    Fault("408", refused(408, "Request timed out"), ("did not answer in time", "Request timed out")),
    Fault("400, a list", text('[{"error": {"message": "Unknown name"}}]', status=400), ("did not accept", "Unknown name")),
    Fault("429, personal account", refused(429, "This isn't available for personal accounts"), ("personal account", "--project")),
    Fault("429, a long wait", refused(429, "slow down", Retry_After="600"), ("too many requests", "asks to wait 10 min", "Run it again in 10 min")),
    Fault("500, not supported", refused(500, "image input is not supported"), ("did not accept", "image input is not supported")),
    Fault("500, a parameter", refused(500, "Unexpected reasoning effort high. Supported types are medium and low"), ("did not accept", "reasoning effort high")),
    Fault("500, a template", refused(500, "Value is not callable: null at row 49, column 79: {%- set x = y() %}"), ("did not accept", "not callable")),
    Fault("400, an image", refused(400, "Timeout while downloading https://example.org/a.jpg."), ("could not fetch a file", "Check the address")),
    Fault("error first, status 200", first_error, ("did not accept", "exceeds the available context size", "Shorten"), times=2),
    Fault("no choices at all", text('{"choices": []}'), ("answered without a reply",)),
    Fault("redirect", lambda answer: answer.json({}, 308, Location="http://127.0.0.1:9/v1"), ("redirected", "--endpoint URL")),
    Fault("web page, status 200", page(), ("answered with a web page", "sign-in page")),
    Fault("web page, not streamed", page(), ("answered with a web page", "sign-in page"), "--no-stream"),
    Fault("JSON that is no completion", text('{"hello": 1}'), ("not with a reply of a model",)),
    Fault("the same, not streamed", text('{"hello": 1}'), ("not with a reply of a model",), "--no-stream"),
    Fault("JSON that is no object", text("[1]"), ("not with a reply of a model",)),
    Fault("an empty answer", text("", "text/event-stream"), ("answered without a reply", "It sent nothing")),
    Fault("malformed line in a stream", then_malformed, ("A part of the reply could not be read",), kept=PART),
    Fault("error object in a stream", then_error, ("stopped the reply with an error", "The engine died here"), kept=PART),
    Fault("error in the choice", ends_with_error, ("stopped the reply with an error", "Provider disconnected"), kept=PART),
    Fault("error as a plain object", then_object, ("stopped the reply with an error", "out of memory"), kept=PART),
    Fault("error as an event", then_error_event, ("stopped the reply with an error", "worker died"), kept=PART),
    Fault("finish_reason error", then_finish("error"), ("stopped the reply with an error", "'error'"), kept=PART),
    Fault("finish_reason is empty", then_finish(""), ("stopped before its end",), kept=PART),
    Fault("stream ends early, silently", then_end, ("stopped before its end", "Run the cell again"), kept=PART),
    Fault("connection cut in a stream", then_cut, ("connection broke",), kept=PART),
    Fault("connection reset in a stream", then_reset, ("connection broke",), kept=PART),
    Fault("an event without an end", then_endless, ("The answer is larger than 32 MB",), kept=PART),
    Fault("packed twice", packed_twice, ("compression that was not requested",), "--no-stream"),
    Fault("stream stalls", then_stall, ("sent nothing in time", "--timeout"), kept=PART),
    Fault("no answer", silent, ("sent nothing in time",)),
    Fault("connection closed at once", closed_at_once, ("could not be reached or the connection broke",)),
]  # fmt: skip

NO_FAULTS = [
    Fault("choices: [] only, then [DONE]", Streamed([], finish=None), ("The reply has no text",)),
    Fault("white space only", completion(" \n "), ("The reply has no text",), "--no-stream"),
    Fault("null content", completion(None), ("The reply has no text",), "--no-stream"),
    Fault(
        "empty, reasoning used it up",
        Streamed([], reasoning=["thinking"], finish="length"),
        ("token limit was used up by the reasoning", "--max-tokens"),
    ),
    Fault("content filter", Streamed(["So "], finish="content_filter"), ("cut by the service's content filter",)),
    Fault("[DONE] without finish_reason", Streamed(["Whole."], finish=None), ("Whole.",)),
    Fault("finish_reason without [DONE]", Streamed(["Whole."], done=False), ("Whole.",)),
    Fault("JSON though a stream was asked for", completion("Whole."), ("Whole.",)),
    Fault("invalid UTF-8", lambda answer: bad_utf8(answer), ("caf\ufffd",)),
    Fault("a line separator in the text", Streamed(["a\u2028b\x85c"]), ("12 + 3 tokens",)),
]


def bad_utf8(answer: Answer) -> None:
    answer.start()
    answer.raw(b'data: {"choices": [{"delta": {"content": "caf\xe9"}, "finish_reason": "stop"}]}\n\n')
    answer.end()


# One server and one kernel for all faults: each takes only a moment.


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    with Service().running() as running:
        yield running


@pytest.fixture
def service(shared_service: Service) -> Iterator[Service]:
    """The shared service, reset before each test."""
    shared_service.reset()
    yield shared_service
    shared_service.assert_no_failures()


@pytest.fixture(scope="module")
def kernel(shared_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("faults")
    environment = clean_environment(folder) | {
        "WANDB_INFERENCE_BASE_URL": shared_service.url,
        "WANDB_INFERENCE_MODEL": MODEL,
    }
    with quick_kernel(environment, folder) as kernel:
        kernel.run("%load_ext wandb_inference_magic")
        kernel.run("%config WandbInference.max_retries = 0\n%wbconfig --timeout 1.5")
        yield kernel
        tests_finished.set()


@pytest.fixture(scope="module")
def rows() -> Iterator[list[str]]:
    """Collect the rows of the table during the tests, and write them on request."""
    gathered: list[str] = []
    yield gathered
    if WRITE:
        head = "| fault | what the user reads | what of the reply is kept | kernel | thread |\n|---|---|---|---|---|\n"
        title = f"# Every message\n\n{len(gathered)} faults and the message for each.\nWritten by `WRITE_FAULTS=1 pytest tests/failures/test_faults.py`.\n\n"
        TABLE.write_text(title + head + "\n".join(gathered) + "\n", encoding="utf-8")


@pytest.fixture
def compare_with_table(rows: list[str]) -> Callable[..., None]:
    """Compare the result with the fault's row in the table, unless the table is to be written."""

    def compare(name: str, error: str, kept: str, *, healthy: bool, intact: bool) -> None:
        rows.append(row(name, error, kept, healthy=healthy, intact=intact))
        if not WRITE:
            (recorded,) = (
                line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |")
            )
            assert in_any_version(rows[-1]) == in_any_version(recorded)

    return compare


def row(name: str, error: str, kept: str, *, healthy: bool, intact: bool) -> str:
    read = error.replace("\n", "<br>").replace("|", "\\|").replace("<img", "&lt;img")
    read = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", read)
    after = f"{'healthy' if healthy else 'broken'} | {'intact' if intact else 'changed'}"
    return f"| {name} | {read} | {kept or 'nothing was received'} | {after} |"


def in_any_version(row: str) -> str:
    """Remove the messages of Python and httpx, which differ between their versions."""
    return re.sub(r"Server disconnected[^<]*|\[Errno \d+\][^<]*|\(_ssl\.c:\d+\)", "…", row)


def chat_after_fault(kernel: Kernel, service: Service) -> tuple[bool, bool]:
    """Chat once more after "Before" and a fault. Return whether the kernel works, and whether the thread is unchanged."""
    healthy = kernel.run("%wbchat After").ok
    sent = [message["content"] for message in service.last.body["messages"]]
    return healthy, sent == ["Before", "Hello there.", "After"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_reported_and_leaves_kernel_and_thread_intact(
    kernel: Kernel, service: Service, compare_with_table: Callable[..., None], fault: Fault
) -> None:
    kernel.run("%wbchat --new Before")
    kernel.run("_wbreply = None")
    service.then(*[fault.script] * fault.times)
    run = kernel.run(f"%wbchat {fault.options} Now")
    assert not run.ok
    error = run.error
    for expected in fault.expected:
        assert expected in error
    assert "Traceback" not in error
    assert "What to do:" in error
    assert len(error) < 900
    assert len(error.splitlines()) <= 4
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", error)
    kept = kernel.value("_wbreply.text if _wbreply else ''")
    assert kept == fault.kept
    if kept:
        assert "incomplete: the reply broke off" in run.text
    healthy, intact = chat_after_fault(kernel, service)
    compare_with_table(fault.name, error, kept, healthy=healthy, intact=intact)
    assert healthy
    assert intact


@pytest.mark.parametrize("case", NO_FAULTS, ids=lambda fault: fault.name)
def test_an_unusual_response_is_accepted(kernel: Kernel, service: Service, case: Fault) -> None:
    service.then(case.script)
    run = kernel.run(f"%wbchat --once {case.options} Now")
    assert run.ok, run.text
    for expected in case.expected:
        assert expected in run.text


def test_the_table_lists_exactly_these_faults() -> None:
    _, *rows = (line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| "))
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == [*(one.name for one in FAULTS), *WIRE_FAULTS]


def test_a_reply_of_10_mb_is_received(kernel: Kernel, service: Service) -> None:
    piece = "word " * 200 + "\n\n"
    service.then(Streamed([piece] * 10_000))
    run = kernel.run("%wbchat --quiet --once Go on")
    assert run.ok
    assert kernel.value("len(_wbreply.text)") == len(piece) * 10_000


# The message for each fault, and the endpoint that causes it.
WIRE_FAULTS = {
    "connection refused": ("Nothing answers at that address", "http://127.0.0.1:9/v1"),
    "unknown host": ("could not be looked up", "http://no-such-host.invalid/v1"),
    "proxy refuses": ("could not be reached", "https://nowhere.example/v1"),
    "TLS, unknown authority": ("encrypted connection failed", "wandb"),
    "connection not taken in time": ("could not be reached in time", "http://127.0.0.1:{full}/v1"),
}
# No resolver is asked for this unknown name.
NO_SUCH_HOST = """
import socket, sys
def look_up(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] in ("no-such-host.invalid", b"no-such-host.invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
sys.addaudithook(look_up)
"""


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_a_connection_fault_is_reported_and_leaves_kernel_and_thread_intact(
    service: Service,
    wandb: Wandb,
    start_kernel: Callable[..., Kernel],
    compare_with_table: Callable[..., None],
    name: str,
) -> None:
    expected, endpoint = WIRE_FAULTS[name]
    variables = dict(wandb.environment)
    if name == "TLS, unknown authority":
        # The certificate of the proxy is signed by an authority unknown to this kernel.
        del variables["SSL_CERT_FILE"]
    kernel = start_kernel(**variables, WANDB_API_KEY="k", **service.environment)
    assert kernel.run(NO_SUCH_HOST).ok
    kernel.run("%load_ext wandb_inference_magic")
    kernel.run("%config WandbInference.max_retries = 0\n%wbconfig --timeout 3")
    assert kernel.run("%wbchat Before").ok
    with socket.socket() as full:
        assert kernel.run(f"%wbconfig --endpoint {endpoint.format(full=_full_port(full))}").ok
        error = kernel.run("%wbchat Now").error
    assert expected in error
    assert "What to do:" in error
    assert len(error.splitlines()) <= 4
    assert kernel.run(f"%wbconfig --endpoint {service.url}").ok
    healthy, intact = chat_after_fault(kernel, service)
    compare_with_table(name, error, "", healthy=healthy, intact=intact)
    assert healthy
    assert intact


def _full_port(listening: socket.socket) -> int:
    """Listen with a full queue, so that no further connection is accepted."""
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    port = int(listening.getsockname()[1])
    for _ in range(3):
        waiting = socket.socket()
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", port))
        _kept_open.append(waiting)
    return port


_kept_open: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    yield
    while _kept_open:
        _kept_open.pop().close()
