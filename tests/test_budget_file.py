"""A budget that several kernels share: in a file, over real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from conftest import KNOWN_MODELS
from kernels import Kernel
from service import Wandb, completion, listing, usage

from wandb_inference_magic.shared_spending import SharedSpending

ASK = """
import sys
from wandb_inference_magic import InferenceError, chat, models
from wandb_inference_magic.python_api import current_session
current_session().settings.set(budget=0.02, budget_file=sys.argv[1])
models()
try:
    while True:
        chat("hi", stream=False, max_tokens=10)
except InferenceError as error:
    print(error.cause)
"""


def test_kernels_together_overspend_by_no_more_than_what_is_in_flight(
    wandb: Wandb, environment: dict[str, str], tmp_path: Path
) -> None:
    models = {str(one["id"]): one for one in KNOWN_MODELS}
    wandb.api.listing = listing(*models)
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}
    lock, answered = threading.Lock(), [0]

    def answer(one: object) -> None:
        with lock:
            answered[0] += 1
        # Each costs 0.001 USD, more than anybody could know before.
        completion("Yes.", counted=usage(1000, 0))(one)  # type: ignore[arg-type]

    wandb.api.always = answer
    told = environment | wandb.environment | {"WANDB_API_KEY": "a-key", "WANDB_INFERENCE_MODEL": "test/small"}
    command = [sys.executable, "-c", ASK, str(tmp_path / "class.sqlite")]
    kernels = [subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [one.communicate(timeout=120)[0].strip() for one in kernels] == ["budget"] * 8
    assert 20 <= answered[0] <= 28
    assert abs(SharedSpending(tmp_path / "class.sqlite").total() - answered[0] * 0.001) < 1e-9


def test_what_others_have_spent_counts(informed_kernel: Kernel, wandb: Wandb, tmp_path: Path) -> None:
    kernel, file = informed_kernel, tmp_path / "class.sqlite"
    kernel.run(f"%wbconfig --budget 0.01 --budget-file {file}")
    wandb.api.always = completion("Yes.", counted=usage(1000, 0))
    assert kernel.run("%wbchat --no-stream --max-tokens 10 hi").ok
    assert SharedSpending(file).total() == 0.001
    SharedSpending(file).add(0.5)
    before = len(wandb.api.chats)
    assert "nothing is left of the budget" in kernel.run("%wbchat --max-tokens 10 hi").error
    assert len(wandb.api.chats) == before


def test_a_file_that_cannot_be_used_is_said_before_anything_is_sent(
    informed_kernel: Kernel, wandb: Wandb, tmp_path: Path
) -> None:
    kernel, before = informed_kernel, len(wandb.api.chats)
    kernel.run(f"%wbconfig --budget 1 --budget-file {tmp_path}/no-such-folder/class.sqlite")
    run = kernel.run("%wbchat --max-tokens 10 hi")
    assert "cannot be used. Nothing was sent." in run.error
    assert len(wandb.api.chats) == before
