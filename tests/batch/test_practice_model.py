"""Maps, evaluations and jobs that the practice model answers say so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from kernels import Kernel

from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of
from wandb_inference_magic.client.practice_server import PACKAGED_MODEL

NAME = f"practice model {PACKAGED_MODEL} on this machine"
NO_KEY = "No key was found: the practice model on this machine answers. Do not trust its answers."
ROWS = "rows = [{'a': 'Good film', 'l': 'good'}, {'a': 'Bad film', 'l': 'bad'}]"
MAP = "%%wbmap rows --max-tokens 4 --no-cache\n{{ a }}"
EVALUATION = "%%wbeval rows --truth l --max-tokens 4 --no-cache\n{{ a }}"


@pytest.mark.practice
def test_what_the_practice_model_answers_says_so(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel()
    assert kernel.run(f"%load_ext wandb_inference_magic\n{ROWS}").ok
    for cell in (MAP, EVALUATION):
        run = kernel.run(cell)
        assert run.ok, run.error
        assert NAME in run.text
        assert NO_KEY in run.text
    job = kernel.run(MAP.replace("rows", "rows --bg -o job"), allow_stdin=True)
    assert "job 1 · running · practice model" in job.text
    assert NO_KEY in kernel.value("(job.wait(), job.notices)[1]")
    assert re.search(r"done · practice model · 2 of 2", kernel.value("repr(job)"))
    assert kernel.run("import warnings\nfrom wandb_inference_magic import evaluate, map_prompts").ok
    for call in ("map_prompts(rows, '{{ a }}', max_tokens=4)", "evaluate(rows, '{{ a }}', truth='l', max_tokens=4)"):
        assert kernel.run(f"with warnings.catch_warnings(record=True) as said:\n    {call}").ok
        assert NO_KEY in kernel.value("[str(one.message) for one in said]")
    # Whoever has chosen it knows.
    kernel.run("%wbconfig --endpoint local")
    for cell in (MAP, EVALUATION):
        text = kernel.run(cell).text
        assert NAME in text
        assert "No key was found" not in text


SLOW_START = """
import time
from wandb_inference_magic.client import practice_server
start = practice_server.start
practice_server.start = lambda weights: (time.sleep(1.5), start(weights))[1]
"""


@pytest.mark.practice
def test_a_map_that_waits_for_the_practice_model_leaves_one_output(start_kernel: Callable[..., Kernel]) -> None:
    """It starts when the first prompt is rendered. What is drawn meanwhile is not what a template has shown."""
    kernel = start_kernel()
    assert kernel.run(f"%load_ext wandb_inference_magic\n{ROWS}{SLOW_START}").ok
    run = kernel.run(MAP)
    assert any("starting the practice model" in str(shown) for shown in run.screens())
    assert NAME in run.output["data"]["text/plain"]


def test_a_replay_of_what_the_practice_model_answered_says_so(
    start_api: Callable[..., ModuleType], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    body = {"model": "small", "messages": [{"role": "user", "content": "Is it so?"}]}
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}
    path.write_bytes(HEADER + line_of(Exchange("local", "/chat/completions", body, 0.1, reply)))
    api = start_api(WANDB_INFERENCE_CASSETTE=str(path), WANDB_INFERENCE_CASSETTE_MODE="replay")
    # No warning: the recording says what it holds.
    found = api.evaluate([{"l": "Yes."}], "Is it so?", truth="l")
    shown = found.bundle()["text/plain"]
    assert shown.startswith("practice model small on this machine is right on 1 of 1 row")
    assert list(found.summary["model"]) == ["small"]
