"""The budget: what a call can cost is held before it is sent, whatever makes it, and given back when it has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest
from conftest import KNOWN_MODELS
from service import Answer, Wandb, completion, listing, usage

# The model costs 1 USD a million tokens in, half of that out.
BEGIN = """
import sys
from wandb_inference_magic import InferenceError, chat, map_prompts, models
from wandb_inference_magic.python_api import current_session
session = current_session()
session.settings.set(budget=float(sys.argv[1]))
models()
"""


@contextmanager
def started(environment: dict[str, str], budget: float, code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", BEGIN + code, str(budget)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        yield running


@pytest.fixture
def run(wandb: Wandb, environment: dict[str, str]) -> Callable[..., list[str]]:
    """Run a script with a budget at W&B's endpoint, and return the lines it prints."""
    told = at_wandb(wandb, environment)

    def script(budget: float, code: str) -> list[str]:
        with started(told, budget, code) as running:
            return running.communicate(timeout=120)[0].splitlines()

    return script


def at_wandb(wandb: Wandb, environment: dict[str, str]) -> dict[str, str]:
    models = {str(one["id"]): one for one in KNOWN_MODELS}
    wandb.api.listing = listing(*models)
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}
    return environment | wandb.environment | {"WANDB_API_KEY": "a-key", "WANDB_INFERENCE_MODEL": "test/thinker"}


def test_chats_of_several_threads_are_held_against_it_together(wandb: Wandb, environment: dict[str, str]) -> None:
    arrived, lock, go_on = [0], Lock(), Event()

    def answer(one: Answer) -> None:
        with lock:
            arrived[0] += 1
            if arrived[0] > 1:
                go_on.set()
        assert go_on.wait(60)
        completion("Yes.", counted=usage(0, 8000))(one)

    wandb.api.always = answer
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def ask(number):\n"
        "    try:\n"
        "        print(chat('hi', max_tokens=8000, stream=False).text, flush=True)\n"
        "    except InferenceError as error:\n"
        "        print(error.cause, flush=True)\n"
        "list(ThreadPoolExecutor(4).map(ask, range(4)))\n"
    )
    # Each can cost 0.004 USD, and does.
    with started(at_wandb(wandb, environment), 0.005, code) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline().strip() for _ in range(3)]
        go_on.set()
        lines.append(running.communicate(timeout=60)[0].strip())
    assert lines == ["budget", "budget", "budget", "Yes."]
    assert arrived == [1]


REPAIRED = (
    "try:\n"
    "    print(map_prompts(['a'], '{{ text }}', schema='label good|bad', max_tokens=8000).label.tolist())\n"
    "except InferenceError as error:\n"
    "    print(error.cause)\n"
    "print(session.ledger.held)\n"
)


def test_asking_a_row_once_more_is_held_against_it(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion('{"label": "so so"}', counted=usage(0, 8000))
    assert run(0.006, REPAIRED) == ["budget", "0.0"]
    assert len(wandb.api.chats) == 1


def test_a_row_asked_once_more_holds_one_call_at_a_time(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.then(completion('{"label": "so so"}', counted=usage(0, 8000)))
    wandb.api.always = completion('{"label": "good"}', counted=usage(0, 8000))
    assert run(0.0085, REPAIRED) == ["['good']", "0.0"]
    assert len(wandb.api.chats) == 2


@pytest.mark.parametrize(
    "how",
    [
        "max_completion_tokens=30_000",
        "max_tokens=10, max_completion_tokens=30_000",
        "max_tokens=10, schema={'type': 'object', 'properties': {'a': {'type': 'string', 'description': long}}}",
        "max_tokens=10, tools=[described(number) for number in range(50)]",
    ],
)
def test_all_that_a_call_can_cost_counts(run: Callable[..., list[str]], wandb: Wandb, how: str) -> None:
    code = (
        "long = 'long ' * 20_000\n"
        "def described(number):\n"
        "    def tool(a: int): return a\n"
        "    tool.__name__, tool.__doc__ = f'tool_{number}', long\n"
        "    return tool\n"
        f"try:\n    chat('hi', {how})\nexcept InferenceError as error:\n    print(error.cause, error.what)\n"
    )
    (line,) = run(0.01, code)
    assert line.startswith("budget This could cost $0.0")
    assert wandb.api.chats == []


def test_an_interrupt_before_all_models_are_ready_gives_back_what_was_held(
    run: Callable[..., list[str]], wandb: Wandb
) -> None:
    code = (
        "from dataclasses import replace\n"
        "from wandb_inference_magic.comparing import compare\n"
        "from wandb_inference_magic.display import Silence\n"
        "from wandb_inference_magic.request import Ask\n"
        "from wandb_inference_magic.schema import Schema, schema_of\n"
        "class Interrupting(Schema):\n"
        "    @property\n"
        "    def response_format(self):\n"
        "        print(session.ledger.held > 0)\n"
        "        raise KeyboardInterrupt\n"
        "schema = Interrupting(**vars(schema_of('a')))\n"
        "asks = [Ask('hi', model='test/eyes'), Ask('hi', model='test/thinker', schema=schema)]\n"
        "try:\n"
        "    compare(session, asks, canvas=Silence())\n"
        "except KeyboardInterrupt:\n"
        "    print(session.ledger.held)\n"
    )
    assert run(1, code) == ["True", "0.0"]
    assert wandb.api.chats == []
