"""Responses of any size and compression: memory stays bounded, errors are reported. Over real sockets, in processes."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from environments import clean_environment
from kernels import Kernel, failing
from service import Answer, Script, Service, Streamed, chunk, completion

from wandb_inference_magic.cassettes import transport as cassette_transport
from wandb_inference_magic.client.bodies import BoundedBody
from wandb_inference_magic.client.chunks import ChunkReader
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session
from wandb_inference_magic.text.json_text import read_json_text

GZIP = 16 + zlib.MAX_WBITS
BLOCK = 16_000_000
BLOCKS = 200  # 3.2 GB in all
# The memory of a Python process with this package, plus twice the largest response that is read.
MAX_MEMORY = 450_000_000


def bomb(head: bytes, filling: bytes, blocks: int = BLOCKS) -> Iterator[bytes]:
    """Yield gigabytes as gzip: the same compressed block repeated, each block complete in itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    yield packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(blocks):
        yield packed_block(filling)


@cache
def packed_block(filling: bytes) -> bytes:
    raw = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return raw.compress((filling * (BLOCK // len(filling) + 1))[:BLOCK]) + raw.flush(zlib.Z_FULL_FLUSH)


def serve_bomb(head: bytes, filling: bytes, content_type: str = "application/json", status: int = 200) -> Script:
    def answer(one: Answer) -> None:
        one.start(status, content_type, Content_Encoding="gzip")
        try:
            for piece in bomb(head, filling):
                one.raw(piece)
            one.end()
        except ConnectionError:
            # The client has read enough and closed the connection.
            one.cut()

    return answer


def serve_endlessly(head: bytes, filling: bytes, content_type: str = "text/event-stream") -> Script:
    def answer(one: Answer) -> None:
        one.start(200, content_type)
        try:
            one.raw(head)
            for _ in range(BLOCKS):
                one.raw(filling)
            one.end()
        except ConnectionError:
            one.cut()

    return answer


def serve_packed(data: bytes, encoding: str, *layers: int) -> Script:
    for layer in layers:
        packer = zlib.compressobj(9, zlib.DEFLATED, layer)
        data = packer.compress(data) + packer.flush()

    def answer(one: Answer) -> None:
        one.start(200, "application/json", Content_Encoding=encoding)
        one.raw(data)
        one.end()

    return answer


WHOLE = b'{"choices": [{"index": 0, "message": {"content": "'
EVENT = b"data: " + json.dumps(chunk({"content": "Half"})).encode() + b"\n\n"
COMMENT, PART = b": " + b"a" * 997 + b"\n", b"data: " + b"a" * 993 + b"\n"
# Evaluates calls, one a line. Prints what each returns, and the peak of the memory during it.
MEASURED = """
import contextlib, json, sys
from pathlib import Path
from wandb_inference_magic import InferenceError, chat, client, map_prompts, models
for call in sys.stdin:
    # The kernel counts the peak from here on. Where it does not, the peak is that of all calls so far.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    try:
        said = str(eval(call))
    except InferenceError as error:
        said = f"{error.cause} | {error}"
    # Not getrusage: its peak counts from before this program, from the process that the tests run in.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps([said, int(peak.split()[1]) * 1024]), flush=True)
"""
CHAT, WHOLE_CHAT = "chat('hi').text", "chat('hi', stream=False).text"
ROWS = "map_prompts(['a'], '{{ text }}', cache=False).reply_error[0]"
OWN_CALL = "client().chat.completions.create(model='m', messages=[])"
BOMBS: dict[str, tuple[str, Script, str]] = {
    "one text": (WHOLE_CHAT, serve_bomb(WHOLE, b"a"), "reply | The answer is larger than 64 MB"),
    "many values": (WHOLE_CHAT, serve_bomb(b'{"choices": [', b"[],"), "reply | The answer is larger than 64 MB"),
    "one event": (
        CHAT,
        serve_bomb(EVENT + b"data: ", b"a", "text/event-stream"),
        "reply | The answer is larger than 32",
    ),
    "no line": (CHAT, serve_bomb(EVENT, b"a", "text/event-stream"), "reply | The answer is larger than 32 MB"),
    "one event in lines": (CHAT, serve_bomb(EVENT, PART, "text/event-stream"), "reply | The answer is larger"),
    "comments": (
        CHAT,
        serve_bomb(EVENT, COMMENT, "text/event-stream"),
        "reply | The answer is larger than 256 MB",
    ),
    "rows": (ROWS, serve_bomb(WHOLE, b"a"), "The answer is larger than 64 MB"),
    "the user's own call": (OWN_CALL, serve_bomb(WHOLE, b"a"), "reply | The answer is larger than 64 MB"),
    "an error": (CHAT, serve_bomb(b'{"error": "', b"a", status=400), "request | "),
    "not packed": (
        WHOLE_CHAT,
        serve_endlessly(WHOLE, b"a" * 1_000_000, "application/json"),
        "reply | The answer is larger",
    ),
    "not packed, one event": (
        CHAT,
        serve_endlessly(EVENT + b"data: ", b"a" * 1_000_000),
        "reply | The answer is larger than",
    ),
}


@dataclass(frozen=True)
class MeasuredProcess:
    """A process that makes calls, and the service that is its endpoint. Each response is for one call only."""

    process: subprocess.Popen[str]
    service: Service

    def run(self, call: str) -> tuple[str, int]:
        """Return what a call returns, and the peak of the process's memory during it, in bytes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(call, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the process has ended with {self.process.wait()}"
        said, memory = json.loads(line)
        return said, memory


@pytest.fixture(scope="module")
def measured_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredProcess]:
    """The process behind `measured`. Tests request `measured` instead."""
    folder = tmp_path_factory.mktemp("measured")
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Service().running() as service:
        environment = clean_environment(folder) | service.environment
        command = [sys.executable, "-c", MEASURED]
        with subprocess.Popen(command, env=environment, cwd=folder, **pipes) as process:
            try:
                yield MeasuredProcess(process, service)
            finally:
                process.kill()


@pytest.fixture
def measured(measured_process: MeasuredProcess) -> Iterator[MeasuredProcess]:
    measured_process.service.reset()
    yield measured_process
    measured_process.service.assert_no_failures()


# One process makes all these calls.
bombs = pytest.mark.xdist_group("bombs")


@bombs
@pytest.mark.parametrize("name", BOMBS)
def test_a_response_that_unpacks_to_gigabytes_takes_bounded_memory(measured: MeasuredProcess, name: str) -> None:
    call, script, expected = BOMBS[name]
    measured.service.then(script)
    said, memory = measured.run(call)
    assert said.startswith(expected)
    assert memory < MAX_MEMORY


@bombs
def test_a_list_of_models_that_unpacks_to_gigabytes_takes_bounded_memory(measured: MeasuredProcess) -> None:
    measured.service.listing_script = serve_bomb(b'{"data": [{"id": "', b"a")
    _, memory = measured.run("models()")
    assert memory < MAX_MEMORY


def test_a_response_with_an_unexpected_compression_is_refused(api: ModuleType, service: Service) -> None:
    for encoding in ("gzip, gzip", "gzip, identity, deflate", "br", "zstd", "gzip,gzip,gzip", "compress"):
        service.then(serve_packed(b"{}", encoding, GZIP, GZIP))
        error = failing(lambda: api.chat("hi", stream=False))
        assert "compression that was not requested" in error
        assert encoding.split(",")[0] in error
        assert service.last.headers["accept-encoding"] == "identity"
        assert api.chat("hi").text == "Hello there."


def whole_body(text: str) -> bytes:
    body: list[Any] = []
    completion(text)(type("Answer", (), {"json": lambda _, chunk, **__: body.append(chunk)})())  # type: ignore[arg-type]
    return json.dumps(body[0]).encode()


LAYERS = [("gzip", GZIP), ("x-gzip", GZIP), ("deflate", zlib.MAX_WBITS)]


def test_one_compression_layer_is_unpacked_even_if_not_requested(api: ModuleType, service: Service) -> None:
    for encoding, layer in LAYERS:
        service.then(serve_packed(whole_body("Grüße"), encoding, layer))
        assert api.chat("hi", stream=False).text == "Grüße"
        service.then(serve_packed(whole_body("Grüße"), encoding, layer))
        completed = api.client().chat.completions.create(model="m", messages=[])
        assert completed.choices[0].message.content == "Grüße"


def test_a_response_that_falsely_claims_compression_is_reported(api: ModuleType, service: Service) -> None:
    service.then(serve_packed(b"Hi", "gzip"))
    assert "The answer could not be decompressed." in failing(lambda: api.chat("hi", stream=False))
    service.then(lambda one: one.json({"error": "no"}, 400, Content_Encoding="gzip"))
    assert "did not accept the request" in failing(lambda: api.chat("hi", stream=False))
    service.then(lambda one: one.json({"error": "no"}, 503, Content_Encoding="br"))
    current_session().settings.set(max_retries=0)
    assert "is overloaded or failing" in failing(lambda: api.chat("hi", stream=False))


def test_the_text_before_an_event_that_is_too_large_is_kept(kernel: Kernel, service: Service) -> None:
    service.then(serve_endlessly(EVENT + b"data: ", b"a" * 1_000_000))
    run = kernel.run("%wbchat Now")
    assert "The answer is larger than 32 MB; the rest was not read." in run.error
    assert kernel.value("_wbreply.text") == "Half"
    service.then(Streamed(["Fine."]))
    assert kernel.run("%wbchat Again").ok


def test_json_is_read_to_a_maximum_depth(api: ModuleType, service: Service) -> None:
    for deep in ("[" * 100_000 + "]" * 100_000, "[" * 101 + "]" * 101, '{"a":' * 500 + "1" + "}" * 500):
        with pytest.raises(ValueError, match="nested too deeply"):
            read_json_text(deep)

        def answer(one: Answer, deep: str = deep) -> None:
            one.start()
            one.event(f'{{"choices": {deep}}}')
            one.end()

        service.then(answer)
        assert "not with a reply of a model" in failing(lambda: api.chat("hi"))


def test_json_is_read_to_a_maximum_size() -> None:
    assert len(read_json_text(json.dumps([{"a": [1]}] * 10_000))) == 10_000
    with pytest.raises(ValueError, match="too many values"):
        read_json_text("[" + "[]," * 2_000_001 + "1]")
    with pytest.raises(InferenceError, match="larger than 32 MB"):
        list(ChunkReader().feed(b"data: " + b"a" * 32_000_001))


def test_a_stream_is_unpacked_incrementally() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    body = BoundedBody([], "gzip", 10**6, is_strict=True)
    first = packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)
    assert b"".join(piece for byte in first for piece in body.feed(bytes([byte]))) == b"one"
    assert b"".join(body.feed(packer.compress(b"two") + packer.flush())) == b"two"
    assert list(body.feed(b"what follows the end")) == []


def read_packed(data: bytes, encoding: str, size: int, **options: Any) -> bytes:
    """Return the contents of a compressed body that arrives in chunks of a given size."""
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(BoundedBody(chunks, encoding, **{"most": 10**9, "is_strict": True, **options}))


def pack(data: bytes, layer: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, layer)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("size", [1, 3, 65_536])
@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_gzip_of_several_members_is_read_with_and_without_its_name(encoding: str, size: int) -> None:
    members = b"".join(pack(one, GZIP) for one in (b"one, ", b"", b"two"))
    for after in (b"", b"\0\0", b"what follows the end"):
        assert read_packed(members + after, encoding, size) == b"one, two"
    with pytest.raises(InferenceError, match="stopped before its end"):
        read_packed(members[:-12], encoding, size)
    with pytest.raises(InferenceError, match="is larger than"):
        list(BoundedBody([members], encoding, 7, is_strict=True))


def test_gzip_without_its_name_is_read_where_only_text_can_be(api: ModuleType, service: Service) -> None:
    service.then(serve_packed(whole_body("Grüße"), "", GZIP))
    assert api.chat("hi", stream=False).text == "Grüße"
    # A file that the user's code loads stays as it is.
    assert read_packed(pack(b"a", GZIP), "", 9, most=float("inf")) == pack(b"a", GZIP)


@pytest.mark.parametrize("size", [1, 2, 3, 65_536])
@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize(("encoding", "layer"), LAYERS)
def test_a_compressed_body_is_read_however_it_is_split(size: int, length: int, encoding: str, layer: int) -> None:
    data = (b"abc" * length)[:length]
    assert read_packed(pack(data, layer) + b"what follows the end", encoding, size) == data


def test_a_truncated_compressed_body_is_reported(api: ModuleType, service: Service) -> None:
    current_session().settings.set(max_retries=0)
    for encoding, layer in LAYERS:
        for missing in (1, 4, 30):
            if layer != GZIP and missing < 30:
                continue
            data = pack(whole_body("Hi"), layer)[:-missing]

            def answer(one: Answer, encoding: str = encoding, data: bytes = data) -> None:
                one.start(200, "application/json", Content_Encoding=encoding)
                one.raw(data)
                one.end()

            service.then(answer)
            error = failing(lambda: api.chat("hi", stream=False))
            assert "The answer stopped before its end.\nIt is compressed, and a part of it is missing." in error
    # A stream has its own end marker.
    assert read_packed(pack(b"data: [DONE]\n\n", GZIP)[:-8], "gzip", 5, is_stream=True) == b"data: [DONE]\n\n"


def test_a_byte_order_mark_is_ignored(api: ModuleType, service: Service) -> None:
    def whole(one: Answer) -> None:
        one.start(200, "application/json")
        one.raw(b"\xef\xbb\xbf" + whole_body("Hi"))
        one.end()

    def streamed(one: Answer) -> None:
        one.start()
        one.raw(b"\xef\xbb")
        one.raw(b"\xbf" + EVENT)
        one.event("[DONE]")
        one.end()

    service.then(whole, streamed)
    assert api.chat("hi", stream=False).text == "Hi"
    assert api.chat("hi").text == "Half"


def test_a_cassette_limits_the_number_of_events_that_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of many small events would need ten times its bytes, and the file could not be read again."""
    monkeypatch.setattr(cassette_transport, "MAX_EVENTS", 3)
    added: list[Any] = []
    cassette: Any = SimpleNamespace(place_of=lambda *_: 0, add=added.append, release=lambda *_: None)
    for pieces, kept in ((3, 1), (4, 1), (5, 1)):
        recording = cassette_transport._Recording(("e", "/chat/completions", {}), cassette)
        body = [b'data: {"choices": [{"finish_reason": "stop"}]}\n\n'] * pieces + [b"data: [DONE]\n\n"]
        response = SimpleNamespace(status_code=200, headers={}, extensions={}, stream=body, charset_encoding=None)
        assert list(recording.of(response).stream) == body
        assert len(added) == kept
        assert len(recording._events) == (3 if pieces == 3 else 0)
