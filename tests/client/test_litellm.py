"""LiteLLM's proxy in front of llama.cpp's server: a gateway that rewrites replies and errors on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from environments import clean_environment
from kernels import Kernel, failing, quick_kernel
from litellm_proxy import MASTER_KEY, running_litellm
from llama_server import ENDLESS, KEY, MODEL, TOOL, TOOLS_TEMPLATE, LlamaServer, running_llama

# All tests share one proxy and one kernel. Installing the proxy for the first time takes most of the time.
pytestmark = [pytest.mark.practice, pytest.mark.xdist_group("litellm"), pytest.mark.timeout(600)]

WAYS = pytest.mark.parametrize("way", ["", "--no-stream"], ids=["streamed", "whole"])
CHAT = "%wbchat --once --temperature 0"


@dataclass(frozen=True)
class Gateway:
    """The running proxy. Its model `doomed` has an upstream of its own, which a test may kill."""

    url: str
    doomed: LlamaServer

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WANDB_INFERENCE_BASE_URL": self.url,
            "WANDB_INFERENCE_MODEL": "practice",
            "WANDB_INFERENCE_API_KEY": MASTER_KEY,
        }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def upstream(server: LlamaServer, key: str = KEY) -> dict[str, str]:
        return {"model": f"openai/{MODEL}", "api_base": server.url, "api_key": key}

    with running_llama(TOOLS_TEMPLATE) as llama, running_llama() as doomed:
        models = {"practice": upstream(llama), "doomed": upstream(doomed), "locked": upstream(llama, "another-key")}
        with running_litellm(models, tmp_path_factory.mktemp("litellm")) as url:
            yield Gateway(url, doomed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def kernel(gateway: Gateway, folder: Path) -> Iterator[Kernel]:
    with quick_kernel(clean_environment(folder) | gateway.environment, folder) as kernel:
        # With one retry, an error that is retried although it cannot pass costs two seconds.
        assert kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.max_retries = 1").ok
        yield kernel


@WAYS
def test_a_reply_is_read_with_its_tokens_and_its_end(kernel: Kernel, way: str) -> None:
    run = kernel.run(f"{CHAT} {way} --max-tokens 12 Say hello.")
    assert run.ok, run.text
    assert "+ 12 tokens" in run.text
    assert "cut at the token limit" in run.text
    text, end, model = kernel.value("(_wbreply.text, _wbreply.finish_reason, _wbreply.model)")
    assert text
    assert (end, model) == ("length", "practice")


@WAYS
def test_a_tool_is_called_and_its_result_sent(kernel: Kernel, way: str) -> None:
    kernel.run(TOOL)
    run = kernel.run(f"{CHAT} {way} --max-tokens 60 --tools temperature How warm is Paris?")
    assert run.ok, run.text
    assert kernel.value("[(one.result, one.ok) for one in _wbreply.steps]") == [("21.5", True)]
    assert "21.5" in kernel.value("_wbreply.text")


def test_an_answer_fits_the_schema(kernel: Kernel) -> None:
    run = kernel.run(f"{CHAT} --max-tokens 200 --schema 'city, population int' Tell me about Paris.")
    assert run.ok, run.text
    parsed = kernel.value("_wbreply.parsed")
    assert {name: type(value) for name, value in parsed.items()} == {"city": str, "population": int}


def test_ten_rows_are_answered(kernel: Kernel) -> None:
    kernel.run("rows = [f'number {one}' for one in range(10)]")
    run = kernel.run("%%wbmap rows -o out --max-tokens 4\nSay {{ text }}.")
    assert "10 of 10 rows answered" in run.text
    assert kernel.value("all(out['reply'])")


@WAYS
@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("-m no-such-model hi", "Invalid model name passed in model=no-such-model"),
        ("-m locked hi", "Invalid API Key"),
        ("word " * 9000, "exceeds the available context size"),
    ],
    ids=["unknown model", "the upstream's key", "too long a prompt"],
)
def test_an_error_that_cannot_pass_is_reported_at_once_with_its_words(
    kernel: Kernel, way: str, prompt: str, words: str
) -> None:
    run = kernel.run(f"get_ipython().run_line_magic('wbchat', '--once {way} {prompt}')")
    assert words in run.error
    assert "tried" not in run.error


@WAYS
def test_an_image_for_a_model_that_reads_none_is_refused_at_once(kernel: Kernel, way: str) -> None:
    kernel.run("from PIL import Image\npicture = Image.new('RGB', (8, 8))")
    run = kernel.run(f"%wbchat --once {way} --image picture What is it?")
    assert "image input is not supported" in run.error
    assert "tried" not in run.error


def test_a_wrong_key_is_reported_with_the_proxys_words(start_api: Callable[..., ModuleType], gateway: Gateway) -> None:
    """Without a database the proxy answers 400 to any key but its master key."""
    api = start_api(**gateway.environment | {"WANDB_INFERENCE_API_KEY": "sk-another-key"})
    said = failing(lambda: api.chat("hi"))
    assert "No connected db." in said
    assert "tried" not in said
    assert "sk-another-key" not in said


def test_recorded_replies_are_replayed_without_the_proxy(kernel: Kernel, folder: Path) -> None:
    cells = {
        f"{CHAT} --max-tokens 8 Say A.": "_wbreply.text",
        f"{CHAT} --no-stream --max-tokens 8 Say B.": "_wbreply.text",
        f"{CHAT} --max-tokens 60 --tools temperature How warm is Oslo?": "_wbreply.text",
        "%%wbmap rows -o out --max-tokens 4\nSay {{ text }}!": "list(out['reply'])",
    }

    def answers() -> list[Any]:
        found = []
        for cell, answer in cells.items():
            run = kernel.run(cell)
            assert run.ok, run.text
            found.append(("replayed" in run.text, kernel.value(answer)))
        return found

    kernel.run(TOOL + "rows = ['x', 'y', 'z']\n%wbconfig --cassette proxy.jsonl --mode record")
    recorded = answers()
    kernel.run("%wbconfig --cassette proxy.jsonl --mode replay")
    replayed = answers()
    kernel.run("%wbconfig --cassette proxy.jsonl --mode off")
    assert [is_replayed for is_replayed, _ in recorded + replayed] == [False] * 4 + [True] * 4
    assert [answer for _, answer in recorded] == [answer for _, answer in replayed]
    assert MASTER_KEY not in (folder / "proxy.jsonl").read_text(encoding="utf-8")


def test_half_a_reply_is_kept_and_marked_when_the_upstream_dies(kernel: Kernel, gateway: Gateway) -> None:
    run = kernel.run_and_do(f"%wbchat -m doomed {ENDLESS}", gateway.doomed.kill, "half half")
    assert "Connection error" in run.error, "the proxy's last event is an error"
    assert "incomplete: the reply broke off" in run.text
    assert kernel.value("_wbreply.text").startswith("half half")
    assert "Count." not in kernel.run("%wbthread").text
    assert "Connection error" in kernel.run("%wbchat --once -m doomed hi").error
