"""llama.cpp's own server as an endpoint, with a real small model: what it sends is read, and its errors are shown."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from environments import clean_environment
from kernels import Kernel, failing, quick_kernel
from llama_server import ENDLESS, KEY, MODEL, TOOL, TOOLS_TEMPLATE, LlamaServer, running_llama

# All tests share one server and one kernel.
pytestmark = [pytest.mark.practice, pytest.mark.xdist_group("llama.cpp")]

WAYS = pytest.mark.parametrize("way", ["", "--no-stream"], ids=["streamed", "whole"])
CHAT = "%wbchat --once --temperature 0"


@pytest.fixture(scope="module")
def llama() -> Iterator[LlamaServer]:
    with running_llama(TOOLS_TEMPLATE) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(llama: LlamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("llama")
    with quick_kernel(clean_environment(folder) | llama.environment, folder) as kernel:
        # With one retry, an error that is retried although it cannot pass costs two seconds.
        assert kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.max_retries = 1").ok
        yield kernel


def is_generating(llama: LlamaServer) -> bool:
    """Return whether the server still writes a reply."""
    connection = http.client.HTTPConnection(llama.host, timeout=20)
    connection.request("GET", "/slots", headers={"Authorization": f"Bearer {KEY}"})
    slots = json.loads(connection.getresponse().read())
    connection.close()
    return any(slot["is_processing"] for slot in slots)


def test_the_server_lists_its_model(kernel: Kernel) -> None:
    run = kernel.run("%wbmodels --table")
    assert run.ok
    assert f"{MODEL} ← chosen" in run.text


@WAYS
def test_a_reply_is_read_with_its_tokens_and_its_end(kernel: Kernel, way: str) -> None:
    run = kernel.run(f"{CHAT} {way} --max-tokens 12 Say hello.")
    assert run.ok, run.text
    assert "12 tokens" in run.text
    assert "cut at the token limit" in run.text
    text, end, incomplete = kernel.value("(_wbreply.text, _wbreply.finish_reason, _wbreply.incomplete)")
    assert text
    assert (end, incomplete) == ("length", "")


@WAYS
def test_an_answer_fits_the_schema(kernel: Kernel, way: str) -> None:
    run = kernel.run(f"{CHAT} {way} --max-tokens 200 --schema 'city, population int' Tell me about Paris.")
    assert run.ok, run.text
    parsed, calls, end = kernel.value("(_wbreply.parsed, _wbreply.calls, _wbreply.finish_reason)")
    assert {name: type(value) for name, value in parsed.items()} == {"city": str, "population": int}
    assert (calls, end) == (1, "stop")


@WAYS
def test_json_mode_gives_json_whatever_the_prompt_says(kernel: Kernel, way: str) -> None:
    run = kernel.run(f'{CHAT} {way} --max-tokens 60 --format json Repeat: {{{{ dict(city="Paris") }}}}')
    assert run.ok, run.text
    assert isinstance(kernel.value("_wbreply.parsed"), dict)


@WAYS
def test_a_tool_is_called_and_its_result_sent(kernel: Kernel, way: str) -> None:
    kernel.run(TOOL)
    run = kernel.run(f"{CHAT} {way} --max-tokens 60 --tools temperature How warm is Paris?")
    assert run.ok, run.text
    ((name, arguments, *result),) = kernel.value(
        "[(one.call.name, one.call.arguments, one.result, one.ok) for one in _wbreply.steps]"
    )
    assert (name, json.loads(arguments), result) == ("temperature", {"city": "Paris"}, ["21.5", True])
    assert "21.5" in kernel.value("_wbreply.text")
    assert kernel.value("_wbreply.calls") == 2


@WAYS
def test_a_prompt_longer_than_the_context_is_refused_at_once_with_the_servers_words(kernel: Kernel, way: str) -> None:
    run = kernel.run(f"get_ipython().run_line_magic('wbchat', '--once {way} ' + 'word ' * 9000)")
    assert "exceeds the available context size" in run.error
    assert "tried" not in run.error


@WAYS
def test_an_image_for_a_model_that_reads_none_is_refused_at_once(kernel: Kernel, way: str) -> None:
    kernel.run("from PIL import Image\npicture = Image.new('RGB', (8, 8))")
    run = kernel.run(f"%wbchat --once {way} --image picture What is it?")
    assert "image input is not supported" in run.error
    assert "tried" not in run.error


def test_a_grammar_that_the_server_cannot_read_is_refused_with_its_words(kernel: Kernel) -> None:
    run = kernel.run("%wbchat --once --param grammar=broken hi")
    assert "failed to parse grammar" in run.error
    assert "tried" not in run.error


@WAYS
def test_a_think_block_is_the_reasoning(kernel: Kernel, way: str) -> None:
    """The grammar makes the model write the block, which the server streams in pieces."""
    grammar = r'root ::= "<think>\nTwo and two.\n</think>\n\nFour."'
    run = kernel.run(f"{CHAT} {way} --param grammar='{grammar}' hi")
    assert run.ok, run.text
    text, reasoning = kernel.value("(_wbreply.text, _wbreply.reasoning)")
    assert (text.strip(), reasoning.strip()) == ("Four.", "Two and two.")


@WAYS
def test_log_probabilities_are_readable(kernel: Kernel, way: str) -> None:
    run = kernel.run(f"{CHAT} {way} --max-tokens 3 --param logprobs=true --param top_logprobs=2 Say hello.")
    assert run.ok, run.text
    assert kernel.value("bool(getattr(_wbreply, 'logprobs', None))")


def test_rows_are_answered_two_at_a_time(kernel: Kernel) -> None:
    kernel.run("rows = [f'number {one}' for one in range(10)]")
    run = kernel.run("%%wbmap rows -o out --concurrency 2 --max-tokens 4\nSay {{ text }}.")
    assert "10 of 10 rows answered" in run.text
    assert kernel.value("all(out['reply'])")


def test_an_interrupt_ends_the_generation_on_the_server(kernel: Kernel, llama: LlamaServer) -> None:
    run = kernel.interrupt_at(f"%wbchat --once {ENDLESS}", "half half")
    assert "The partial reply is in _wbreply" in run.error
    assert kernel.value("_wbreply.incomplete") == "interrupted"
    assert kernel.value("_wbreply.text").startswith("half half")
    deadline = time.monotonic() + 20
    while is_generating(llama):
        assert time.monotonic() < deadline, "the server goes on"
        time.sleep(0.05)


def test_a_wrong_key_is_reported_with_the_servers_words(
    start_api: Callable[..., ModuleType], llama: LlamaServer
) -> None:
    api = start_api(**llama.environment | {"WANDB_INFERENCE_API_KEY": "wrong"})
    said = failing(lambda: api.chat("hi"))
    assert "did not accept the key" in said
    assert "Invalid API Key" in said


def test_half_a_reply_is_kept_and_marked_when_the_server_dies(kernel: Kernel, llama: LlamaServer) -> None:
    with running_llama() as other:
        assert kernel.run(f"%wbconfig --endpoint {other.url}").ok
        run = kernel.run_and_do(f"%wbchat {ENDLESS}", other.kill, "half half")
    assert kernel.run(f"%wbconfig --endpoint {llama.url}").ok
    assert "the connection broke" in run.error
    assert "incomplete: the reply broke off" in run.text
    assert kernel.value("_wbreply.text").startswith("half half")
    assert "Count." not in kernel.run("%wbthread").text
