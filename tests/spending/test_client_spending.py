"""`client()`: each call of the user's own client is counted, and checked against the budget before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from openai import APIConnectionError
from service import Service, Streamed, Wandb, completion, refused, usage

from wandb_inference_magic.errors import InferenceError, is_unsent
from wandb_inference_magic.session import current_session

pytestmark = pytest.mark.sdk

# The model costs 1 USD per million input tokens and half of that per million output tokens.
SCRIPT_START = """
from wandb_inference_magic import InferenceError, client, models
from wandb_inference_magic.session import current_session
session = current_session()
session.settings.set(budget=budget or None)
models()
def ask(**how):
    how = {"model": "test/thinker", "messages": [{"role": "user", "content": "hi"}], **how}
    return client().chat.completions.create(**how)
def said(**how):
    try:
        return ask(**how).choices[0].message.content
    except Exception as error:
        return f"{type(error).__name__}: {error}"
def total():
    one = session.usage.total()
    print(one.calls, one.failed, one.interrupted, one.usage.prompt_tokens, one.usage.completion_tokens,
          one.estimates, f"{one.cost:.6f}", session.usage.reserved())
"""


def test_a_call_is_counted_with_its_cost(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(1000, 500))
    assert run(0, "print(said())\ntotal()") == ["Yes.", "1 0 0 1000 500 0 0.001250 0.0"]


def test_a_streamed_call_is_counted(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = Streamed(["Hel", "lo."], counted=usage(1000, 500))
    code = "print(''.join(one.choices[0].delta.content or '' for one in ask(stream=True) if one.choices))\ntotal()\n"
    assert run(0, code) == ["Hello.", "1 0 0 1000 500 0 0.001250 0.0"]


def test_a_stream_that_is_closed_early_is_counted_as_an_estimate(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = Streamed([f"word{number} " for number in range(200)], counted=usage(1000, 500))
    code = "with ask(stream=True) as stream:\n    next(iter(stream))\ntotal()\n"
    (line,) = run(0, code)
    calls, failed, interrupted, prompt, _written, estimates, *_ = line.split()
    assert (calls, failed, interrupted, estimates) == ("1", "0", "1", "1")
    assert int(prompt) < 100


def test_a_stream_that_is_dropped_unread_is_counted_and_gives_its_reservation_back(
    run: Callable[..., list[str]], wandb: Wandb
) -> None:
    """The cell has failed before it read the reply, for example."""
    wandb.api.always = Streamed([f"word{number} " for number in range(200)], counted=usage(1000, 500))
    code = "for _ in range(3):\n    stream = ask(stream=True, max_tokens=100)\n    del stream\n"
    code += "import gc\ngc.collect()\ntotal()\n"
    (line,) = run(0.001, code)
    calls, failed, interrupted, prompt, *_, estimates, _cost, reserved = line.split()
    assert (calls, failed, interrupted, estimates, reserved) == ("3", "0", "3", "3", "0.0")
    assert int(prompt) > 0


@pytest.mark.parametrize("status", [0, 504, 400])
def test_a_call_that_may_have_run_is_counted_as_an_estimate(
    run: Callable[..., list[str]], wandb: Wandb, status: int
) -> None:
    """After a time-out the service goes on, and bills. What it has refused costs nothing."""
    gate = Event()
    wandb.api.always = refused(status, "no") if status else lambda _: gate.wait(60)
    own = "from wandb_inference_magic import chat\nsession.settings.set(timeout=0.5, max_retries=0)\n"
    own += "try:\n    chat('hi ' * 1000, model='test/thinker')\nexcept InferenceError:\n    pass\ntotal()\n"
    users = "session.settings.set(timeout=0.5, max_retries=0)\n"
    users += "said(messages=[{'role': 'user', 'content': 'hi ' * 1000}])\ntotal()\n"
    for code in (own, users):
        (line,) = run(0, code)
        calls, failed, _, prompt, _, estimates, *_ = line.split()
        assert (calls, failed) == ("1", "1")
        assert (int(prompt) > 500, estimates) == ((False, "0") if status == 400 else (True, "1"))
    gate.set()


def test_a_call_that_could_cost_too_much_is_not_sent(run: Callable[..., list[str]], wandb: Wandb) -> None:
    """The error is an InferenceError with every version of the SDK, not a network error."""
    (line, counted) = run(0.001, "print(said(max_tokens=10_000))\ntotal()")
    assert line.startswith("InferenceError: This could cost $0.0051")
    assert "Nothing was sent." in line
    assert counted.startswith("0 0 0")
    assert wandb.api.chats == []


def test_a_call_without_a_limit_gets_the_affordable_limit(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(10, 20))
    run(0.001, "said()\nsaid(max_tokens=7)\nsaid(max_completion_tokens=8)")
    limits = [one.body.get("max_tokens") for one in wandb.api.chats]
    assert 1000 < limits[0] < 2000
    assert limits[1:] == [7, None]


def test_a_body_that_the_user_has_written_is_counted_and_checked(run: Callable[..., list[str]], wandb: Wandb) -> None:
    """The SDK sends bytes as they are, in its newer versions."""
    wandb.api.always = completion("Yes.", counted=usage(10, 20))
    code = """
import inspect, json
from openai._models import FinalRequestOptions
def post(content):
    try:
        return client().post("/chat/completions", content=content, cast_to=object)["choices"][0]["message"]["content"]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
if "content" not in FinalRequestOptions.__annotations__:
    print("older")
else:
    body = {"model": "test/thinker", "messages": [{"role": "user", "content": "hi"}]}
    print(post(json.dumps(body).encode()))
    total()
    print(post(json.dumps({**body, "max_tokens": 10_000}).encode()))
    print(post(b"no JSON"))
"""
    lines = run(0.001, code)
    if lines == ["older"]:
        return
    said, counted, refused_cost, unreadable = lines
    assert said == "Yes."
    assert counted.startswith("1 0 0 10 20")
    assert 1000 < wandb.api.last.body["max_tokens"] < 2000
    assert refused_cost.startswith("InferenceError: This could cost")
    assert unreadable.startswith("InferenceError: A budget is set, but the request names no model")
    assert len(wandb.api.chats) == 1


def test_calls_are_checked_until_the_budget_is_used_up(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(1, 998))
    lines = run(0.00125, "for _ in range(4):\n    print(said(max_tokens=1000).partition(':')[0])\ntotal()")
    assert lines[:4] == ["Yes.", "Yes.", "InferenceError", "InferenceError"]
    assert len(wandb.api.chats) == 2
    assert lines[4].endswith("0.001000 0.0")


def test_each_attempt_reserves_its_cost_and_a_failed_one_releases_it(
    run: Callable[..., list[str]], wandb: Wandb
) -> None:
    wandb.api.then(refused(503, "busy", retry_after="0"))
    wandb.api.always = completion("Yes.", counted=usage(1, 998))
    lines = run(0.0007, "print(said(max_tokens=1000))\ntotal()")
    assert lines == ["Yes.", "2 1 0 1 998 0 0.000500 0.0"]


def test_failed_calls_raise_the_errors_of_the_sdk(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = refused(404, "no such model")
    (line, counted) = run(1.0, "print(said())\ntotal()")
    assert line.startswith("NotFoundError:")
    assert counted == "1 1 0 0 0 0 0.000000 0.0"


def test_a_budget_that_is_set_later_applies(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(1, 998))
    code = "kept = client()\nsession.settings.set(budget=0.000001)\nprint(said(max_tokens=10))"
    (line,) = run(0, code)
    assert line.startswith("InferenceError: This could cost")


def test_options_of_the_client_keep_the_check(run: Callable[..., list[str]], wandb: Wandb) -> None:
    code = (
        "try:\n"
        "    client().with_options(max_retries=0, timeout=5).chat.completions.create(\n"
        "        model='test/thinker', messages=[{'role': 'user', 'content': 'hi'}], max_tokens=10_000)\n"
        "except InferenceError as error:\n"
        "    print(error.cause)\n"
    )
    assert run(0.001, code) == ["budget"]


def test_a_replayed_call_costs_nothing(run: Callable[..., list[str]], wandb: Wandb, tmp_path: Any) -> None:
    wandb.api.always = completion("Yes.", counted=usage(1000, 500))
    cassette = str(tmp_path / "tape.jsonl")
    code = (
        f"session.settings.set(cassette={cassette!r}, cassette_mode='auto')\n"
        "print(said())\nprint(said())\ntotal()\n"
        "session.settings.set(cassette_mode='replay', budget=0.0000001)\nprint(said())\ntotal()\n"
    )
    lines = run(1.0, code)
    assert lines[:2] == ["Yes.", "Yes."]
    assert lines[2].startswith("2 0 0")
    assert "0.001250" in lines[2]
    assert lines[3] == "Yes."
    assert "0.001250" in lines[4]
    assert len(wandb.api.chats) == 1
    assert "max_tokens" not in (tmp_path / "tape.jsonl").read_text()


def test_a_request_that_no_cassette_holds_is_no_call(
    start_api: Callable[..., ModuleType], service: Service, tmp_path: Path
) -> None:
    api = start_api(**service.environment, WANDB_INFERENCE_CASSETTE=str(tmp_path / "tape.jsonl"))
    settings = current_session().settings
    api.chat("hi")
    settings.cassette_mode = "replay"
    current_session().usage.reset()
    with pytest.raises(InferenceError, match="does not hold"):
        api.chat("another", model="not/recorded")
    # The SDK of openai 1 wraps the error.
    with pytest.raises((InferenceError, APIConnectionError)) as raised:
        api.client().with_options(max_retries=0).chat.completions.create(
            model="not/recorded", messages=[{"role": "user", "content": "x"}]
        )
    assert is_unsent(raised.value)
    assert current_session().usage.by_model() == []
    api.chat("hi")
    assert current_session().usage.total().calls == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("chat.completions.with_raw_response.create(max_tokens=9000, **M)", "This could cost"),
        ("chat.completions.create(extra_body={'max_tokens': 9000}, **M)", "This could cost"),
        ("chat.completions.create(n=500, max_tokens=100, **M)", "This could cost"),
        ("completions.create(model='test/thinker', prompt='x', max_tokens=9000)", "This could cost"),
        ("completions.create(model='test/thinker', prompt=['x'] * 10, max_tokens=900)", "This could cost"),
        ("chat.completions.create(extra_body={'n': '50'}, max_tokens=100, **M)", "This could cost"),
        ("embeddings.create(model='test/thinker', input='x' * 40_000)", "This could cost"),
        (
            "post('/responses', body={'model': 'test/thinker', 'max_output_tokens': 9}, cast_to=object)",
            "/responses can cost",
        ),
    ],
)
def test_every_form_of_a_call_is_checked(run: Callable[..., list[str]], wandb: Wandb, call: str, says: str) -> None:
    code = (
        "M = dict(model='test/thinker', messages=[{'role': 'user', 'content': 'hi'}])\n"
        f"try:\n    client().{call}\nexcept InferenceError as error:\n    print(error.cause, error.what)\n"
    )
    (line,) = run(0.0005, code)
    assert line.startswith("budget")
    assert says in line
    assert [one.path for one in wandb.api.received if one.method == "POST"] == []


@pytest.mark.parametrize(
    "call",
    [
        "ask(model=None)",
        "client().post('/chat/completions', body={'messages': [{'role': 'user', 'content': 'hi'}]}, cast_to=object)",
    ],
)
def test_a_call_that_names_no_model_is_counted_and_checked(
    run: Callable[..., list[str]], wandb: Wandb, call: str
) -> None:
    wandb.api.always = completion("Yes.", counted=usage(10, 20))
    code = f"try:\n    {call}\nexcept InferenceError as error:\n    print(error)\n"
    assert run(0, f"{code}one = session.usage.total()\nprint(one.calls, one.unpriced)") == ["1 1"]
    sent = len(wandb.api.received)
    (refused_with,) = run(1, code)
    assert "A budget is set, but" in refused_with and "Nothing was sent." in refused_with
    assert [one.path for one in wandb.api.received[sent:] if one.method == "POST"] == []


def test_a_call_without_a_reply_gets_no_limit(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.documents["/v1/embeddings"] = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
        "model": "m",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    code = "client().embeddings.create(model='test/thinker', input='x')\ntotal()"
    assert run(0.001, code) == ["1 0 0 5 0 0 0.000005 0.0"]
    (sent,) = [one.body for one in wandb.api.received if one.path.endswith("/embeddings")]
    assert "max_tokens" not in sent


def test_a_request_that_cannot_be_built_gives_its_reservation_back(run: Callable[..., list[str]], wandb: Wandb) -> None:
    (line, counted) = run(1.0, "print(said(seed=object()).partition(':')[0])\ntotal()")
    assert line == "TypeError"
    assert counted == "0 0 0 0 0 0 0.000000 0.0"


def test_a_client_stays_usable_and_checked_after_settings_change(
    run: Callable[..., list[str]], wandb: Wandb, tmp_path: Any
) -> None:
    wandb.api.always = completion("Yes.", counted=usage(10, 20))
    tape = str(tmp_path / "tape.jsonl")
    code = (
        "kept = client()\n"
        "session.settings.set(timeout=77)\n"
        "client()\n"
        "how = dict(model='test/thinker', messages=[{'role': 'user', 'content': 'hi'}])\n"
        "print(kept.chat.completions.create(**how).choices[0].message.content)\n"
        f"session.settings.set(cassette={tape!r}, cassette_mode='auto')\n"
        "said()\n"
        # It replays now, and the kept client does so too.
        "session.settings.set(cassette_mode='replay', budget=0.0000001)\n"
        "print(said())\n"
        "print(kept.chat.completions.create(**how).choices[0].message.content)\n"
        "session.settings.set(cassette_mode='off')\n"
        "try:\n    kept.chat.completions.create(**how)\nexcept InferenceError as error:\n    print(error.cause)\n"
    )
    assert run(1.0, code) == ["Yes.", "Yes.", "Yes.", "budget"]
    assert len(wandb.api.chats) == 2
