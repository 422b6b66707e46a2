"""A request that is one of several at once, of a row or of a compared model, is handled like that of a single chat."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel
from printing import printed_by
from service import MODEL, Answer, Service, Streamed, completion, refused

from wandb_inference_magic import InferenceWarning

BOTH = "%%wbchat --once -m test/a -m test/b"
NO_SCHEMA = refused(400, "response_format json_schema is not supported")
NO_FORMAT = refused(400, "response_format is not supported")


def format_of(one: Answer) -> str | None:
    """Return the response format that a request asks for."""
    response_format = one.received.body.get("response_format")
    return response_format and str(response_format["type"])


def run(code: str) -> str:
    """Run code with the session of this process, and return what it prints."""
    return "\n".join(printed_by(f"from wandb_inference_magic import InferenceError, map_prompts\n{code}")).strip()


# Models compared -----------------------------------------------------------------------------------------


def test_a_compared_model_without_schema_support_is_asked_for_json(kernel: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        refuses_schema = one.received.body["model"] == "test/a" and format_of(one) == "json_schema"
        (NO_SCHEMA if refuses_schema else Streamed(['{"label": "good"}']))(one)

    service.always = answer
    shown = kernel.run(f"{BOTH} --schema 'label good|bad'\nHow is it?")
    assert kernel.value("[(one.asked_model, one.parsed) for one in _wbreply]") == [
        ("test/a", {"label": "good"}),
        ("test/b", {"label": "good"}),
    ]
    assert shown.text.count("does not support schemas: it was asked for JSON instead.") == 1
    assert sum(format_of(Answer(None, one)) == "json_object" for one in service.chats) == 1  # type: ignore[arg-type]


def test_a_compared_answer_that_does_not_fit_is_repaired_once(kernel: Kernel, service: Service) -> None:
    calls: Counter[str] = Counter()
    lock = Lock()

    def answer(one: Answer) -> None:
        model = one.received.body["model"]
        with lock:
            calls[model] += 1
            is_good = model == "test/a" and calls[model] == 2
        Streamed(['{"label": "good"}' if is_good else '{"label": "so so"}'])(one)

    service.always = answer
    shown = kernel.run(f"{BOTH} --schema 'label good|bad'\nHow is it?")
    assert calls == {"test/a": 2, "test/b": 2}
    assert kernel.value("[(one.parsed, one.calls, one.usage.total_tokens) for one in _wbreply]") == [
        ({"label": "good"}, 2, 30),
        (None, 2, 30),
    ]
    assert kernel.value("[bool(one.incomplete) for one in _wbreply]") == [False, True]
    assert "it was asked for again." in shown.text
    assert shown.text.count("The answer does not fit the schema. label: ") == 1
    calls.clear()
    kernel.run(f"{BOTH} --no-repair --schema 'label good|bad'\nHow is it?")
    assert calls == {"test/a": 1, "test/b": 1}


def test_json_of_compared_models_is_parsed(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(['Sure:\n```json\n{"a": [1]}\n```'])
    kernel.run(f"{BOTH} --format json\nSay it.")
    assert [one.body["response_format"] for one in service.chats] == [{"type": "json_object"}] * 2
    assert kernel.value("[one.parsed for one in _wbreply]") == [{"a": [1]}] * 2


@pytest.mark.parametrize("dry", ["", " --dry-run"])
@pytest.mark.parametrize("option", ["--format html", "--new", "--fork other"])
def test_an_option_for_one_model_only_is_refused(kernel: Kernel, service: Service, option: str, dry: str) -> None:
    kernel.run("%wbchat --thread other hi")
    both = BOTH.replace(" --once", "")
    refused = kernel.run(f"{both}{dry} {option}\nhi").error
    assert f"{option.removesuffix(' other')} works with one model at a time." in refused
    assert len(service.chats) == 1


def test_a_dry_run_shows_the_request_for_each_model(start_kernel: Any, no_network: dict[str, str]) -> None:
    """No key is requested, and nothing is fetched or started."""
    kernel = start_kernel(WANDB_INFERENCE_MODEL="openai/gpt-oss-20b", **no_network)
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.endpoint = 'wandb'")
    run = kernel.run("%wbchat --dry-run --models-like gpt-oss --max-tokens 5 hi")
    assert run.ok, run.error
    for model in ("openai/gpt-oss-20b", "openai/gpt-oss-120b"):
        assert f"Nothing was sent. To {model} at https://api.inference.wandb.ai/v1: about 5 tokens" in run.text
    run = kernel.run("%wbchat --dry-run -m test/a -m test/b hi")
    assert run.text.count("Nothing was sent. To test/") == 2


# Rows ------------------------------------------------------------------------------------------------------


def test_an_easier_response_format_does_not_use_up_a_retry(api: ModuleType, service: Service) -> None:
    service.then(NO_SCHEMA, NO_FORMAT, refused(503, "overloaded", Retry_After="0"))
    service.always = completion('{"label": "good"}')
    with pytest.warns(InferenceWarning, match=r"does not support (schemas|response formats)"):
        out = run(
            "from wandb_inference_magic.session import current_session\n"
            "current_session().settings.set(max_retries=1)\n"
            "print(map_prompts(['a'], '{{ text }}', schema='label good|bad').label.tolist())",
        )
    assert out == "['good']"
    assert [format_of(Answer(None, one)) for one in service.chats] == [  # type: ignore[arg-type]
        "json_schema",
        "json_object",
        None,
        None,
    ]


def test_a_refusal_of_one_row_leaves_the_schema_of_the_others(api: ModuleType, service: Service) -> None:
    good = completion('{"label": "good"}')
    service.then(good, refused(400, "structured output failed"))
    service.always = good
    out = api.map_prompts(list("abcd"), "{{ text }}", schema="label good|bad", concurrency=1)
    assert [format_of(Answer(None, one)) for one in service.chats] == ["json_schema"] * 4  # type: ignore[arg-type]
    assert out.label.notna().tolist() == [True, False, True, True]
    assert "structured output failed" in out.reply_error[1]


def test_a_late_refusal_does_not_restore_a_refused_format(api: ModuleType, service: Service) -> None:
    a_without_format, b_with_format = Event(), Event()
    forms: list[tuple[str, str | None]] = []

    def answer(one: Answer) -> None:
        row, form = one.received.body["messages"][-1]["content"], format_of(one)
        forms.append((row, form))
        if row == "a" and form is None:
            a_without_format.set()
        elif row == "a":
            assert b_with_format.wait(60)
        elif row == "b" and form == "json_schema":
            b_with_format.set()
            assert a_without_format.wait(60)
        (completion('{"label": "good"}') if form is None else NO_FORMAT)(one)

    service.always = answer
    code = "print(len(map_prompts(list('abcde'), '{{ text }}', schema='label good|bad', concurrency=2)))"
    with pytest.warns(InferenceWarning, match=r"does not support (schemas|response formats)"):
        assert run(code) == "5"
    assert [form for row, form in forms if row == "b"] == ["json_schema", None]
    assert [form for row, form in forms if row in "de"] == [None, None]


def test_all_notices_of_a_run_are_shown_together(kernel: Kernel, service: Service, environment: dict[str, str]) -> None:
    """The answer cache becomes unwritable. Then the model refuses the schema."""

    def break_cache(one: Answer) -> None:
        (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("drop table answers")
        completion('{"label": "good"}')(one)

    service.then(NO_SCHEMA, break_cache)
    service.always = completion('{"label": "good"}')
    kernel.run("rows = ['a', 'b']")
    shown = kernel.run("%%wbmap rows --concurrency 1 --schema 'label good|bad'\n{{ text }}")
    assert "Answers are no longer kept on disk" in shown.text
    assert "does not support schemas" in shown.text


def test_a_row_without_text_has_the_reason(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": "", "reasoning": "Let me think"}
        one.json({"model": MODEL, "choices": [{"index": 0, "finish_reason": "length", "message": message}]})

    service.always = cut
    out = run("print(map_prompts(['a'], '{{ text }}').reply_error[0])")
    assert out == "No answer: the token limit was used up by the reasoning before it. Raise --max-tokens."


def test_a_row_cut_at_the_token_limit_is_not_repaired(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": json.dumps({"label": "good"})[:-3]}
        one.json({"model": MODEL, "choices": [{"index": 0, "finish_reason": "length", "message": message}]})

    service.always = cut
    out = run("print(map_prompts(['a'], '{{ text }}', schema='label good|bad').reply_error[0])")
    assert "The answer does not fit the schema." in out
    assert "raise --max-tokens" in out
    assert len(service.chats) == 1
