"""One of several requests at once, a row's or a model's in a comparison, is asked as a chat alone is."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from kernels import Kernel
from service import MODEL, Answer, Service, Streamed, completion, refused

BOTH = "%%wbchat --once -m test/a -m test/b"
NO_SCHEMA = refused(400, "response_format json_schema is not supported")
NO_FORMAT = refused(400, "response_format is not supported")


def form_of(one: Answer) -> str | None:
    """Return the form that a request asks for."""
    form = one.received.body.get("response_format")
    return form and str(form["type"])


def run(service: Service, environment: dict[str, str], code: str) -> str:
    told = environment | {
        "WANDB_INFERENCE_BASE_URL": service.url,
        "WANDB_INFERENCE_API_KEY": "a-key",
        "WANDB_INFERENCE_MODEL": MODEL,
    }
    command = [sys.executable, "-c", f"from wandb_inference_magic import InferenceError, map_prompts\n{code}"]
    ran = subprocess.run(command, env=told, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# Models compared -----------------------------------------------------------------------------------------


def test_a_compared_model_that_takes_no_schema_is_asked_for_json(kernel: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        takes_none = one.received.body["model"] == "test/a" and form_of(one) == "json_schema"
        (NO_SCHEMA if takes_none else Streamed(['{"label": "good"}']))(one)

    service.always = answer
    shown = kernel.run(f"{BOTH} --schema 'label good|bad'\nHow is it?")
    assert kernel.value("[(one.asked_model, one.parsed) for one in _wbreply]") == [
        ("test/a", {"label": "good"}),
        ("test/b", {"label": "good"}),
    ]
    assert shown.text.count("takes no schema: it was asked for JSON instead.") == 1
    assert sum(form_of(Answer(None, one)) == "json_object" for one in service.chats) == 1  # type: ignore[arg-type]


def test_a_compared_answer_that_does_not_fit_is_asked_for_once_more(kernel: Kernel, service: Service) -> None:
    asked: Counter[str] = Counter()
    lock = Lock()

    def answer(one: Answer) -> None:
        model = one.received.body["model"]
        with lock:
            asked[model] += 1
            is_good = model == "test/a" and asked[model] == 2
        Streamed(['{"label": "good"}' if is_good else '{"label": "so so"}'])(one)

    service.always = answer
    shown = kernel.run(f"{BOTH} --schema 'label good|bad'\nHow is it?")
    assert asked == {"test/a": 2, "test/b": 2}
    assert kernel.value("[(one.parsed, one.calls, one.usage.total_tokens) for one in _wbreply]") == [
        ({"label": "good"}, 2, 30),
        (None, 2, 30),
    ]
    assert kernel.value("[bool(one.incomplete) for one in _wbreply]") == [False, True]
    assert "it was asked for again." in shown.text
    assert shown.text.count("The answer does not fit the schema. label: ") == 1
    asked.clear()
    kernel.run(f"{BOTH} --no-repair --schema 'label good|bad'\nHow is it?")
    assert asked == {"test/a": 1, "test/b": 1}


def test_json_of_compared_models_is_parsed(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(['Sure:\n```json\n{"a": [1]}\n```'])
    kernel.run(f"{BOTH} --format json\nSay it.")
    assert kernel.value("[one.parsed for one in _wbreply]") == [{"a": [1]}] * 2


@pytest.mark.parametrize("dry", ["", " --dry-run"])
def test_a_format_that_goes_with_one_model_only_is_refused(kernel: Kernel, service: Service, dry: str) -> None:
    assert "--format html goes with one model at a time." in kernel.run(f"{BOTH}{dry} --format html\nhi").error
    assert service.chats == []


def test_a_dry_run_shows_what_each_model_would_be_sent(start_kernel: Any, no_network: dict[str, str]) -> None:
    """Nobody is asked for a key, and nothing is fetched or started."""
    kernel = start_kernel(WANDB_INFERENCE_MODEL="openai/gpt-oss-20b", **no_network)
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.endpoint = 'wandb'")
    run = kernel.run("%wbchat --dry-run --models-like gpt-oss --max-tokens 5 hi")
    assert run.ok, run.error
    for model in ("openai/gpt-oss-20b", "openai/gpt-oss-120b"):
        assert f"Nothing was sent. To {model} at https://api.inference.wandb.ai/v1: about 5 tokens" in run.text
    run = kernel.run("%wbchat --dry-run -m test/a -m test/b hi")
    assert run.text.count("Nothing was sent. To test/") == 2


# Rows ------------------------------------------------------------------------------------------------------


def test_an_easier_form_uses_up_no_retry(service: Service, environment: dict[str, str]) -> None:
    service.then(NO_SCHEMA, NO_FORMAT, refused(503, "overloaded", Retry_After="0"))
    service.always = completion('{"label": "good"}')
    out = run(
        service,
        environment,
        "from wandb_inference_magic.session import current_session\n"
        "current_session().settings.set(max_retries=1)\n"
        "print(map_prompts(['a'], '{{ text }}', schema='label good|bad').label.tolist())",
    )
    assert out == "['good']"
    assert [form_of(Answer(None, one)) for one in service.chats] == [  # type: ignore[arg-type]
        "json_schema",
        "json_object",
        None,
        None,
    ]


def test_a_row_that_tells_late_does_not_bring_a_refused_form_back(
    service: Service, environment: dict[str, str]
) -> None:
    in_words, b_is_told, d_has_come = Event(), Event(), Event()
    forms: list[tuple[str, str | None]] = []

    def answer(one: Answer) -> None:
        row, form = one.received.body["messages"][-1]["content"], form_of(one)
        forms.append((row, form))
        if row == "a" and form is None:
            in_words.set()
            assert b_is_told.wait(60)
        elif row == "b" and form == "json_schema":
            assert in_words.wait(60)
        elif row == "b" and form == "json_object":
            b_is_told.set()
            assert d_has_come.wait(60)
        elif row == "d":
            d_has_come.set()
        (completion('{"label": "good"}') if form is None else NO_FORMAT)(one)

    service.always = answer
    code = "print(len(map_prompts(list('abcde'), '{{ text }}', schema='label good|bad', concurrency=2)))"
    assert run(service, environment, code) == "5"
    assert [form for row, form in forms if row in "de"] == [None, None]


def test_what_is_said_of_a_run_is_said_together(kernel: Kernel, service: Service, environment: dict[str, str]) -> None:
    """The answers' file can no longer be written; then the model refuses the schema."""

    def spoil(one: Answer) -> None:
        (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
        with sqlite3.connect(file) as kept:
            kept.execute("drop table answers")
        completion('{"label": "good"}')(one)

    service.then(spoil, NO_SCHEMA)
    service.always = completion('{"label": "good"}')
    kernel.run("rows = ['a', 'b']")
    shown = kernel.run("%%wbmap rows --concurrency 1 --schema 'label good|bad'\n{{ text }}")
    assert "Answers are no longer kept on disk" in shown.text
    assert "takes no schema" in shown.text


def test_a_row_without_text_says_why(service: Service, environment: dict[str, str]) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": "", "reasoning": "Let me think"}
        one.json({"model": MODEL, "choices": [{"index": 0, "finish_reason": "length", "message": message}]})

    service.always = cut
    out = run(service, environment, "print(map_prompts(['a'], '{{ text }}').reply_error[0])")
    assert out == "No answer: the token limit was used up by the reasoning before it. Raise --max-tokens."


def test_a_row_cut_at_the_limit_is_not_asked_once_more(service: Service, environment: dict[str, str]) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": json.dumps({"label": "good"})[:-3]}
        one.json({"model": MODEL, "choices": [{"index": 0, "finish_reason": "length", "message": message}]})

    service.always = cut
    out = run(service, environment, "print(map_prompts(['a'], '{{ text }}', schema='label good|bad').reply_error[0])")
    assert "The answer does not fit the schema." in out
    assert "raise --max-tokens" in out
    assert len(service.chats) == 1
