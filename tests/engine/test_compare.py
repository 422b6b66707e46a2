"""Several models at once, side by side: in a real kernel, over a real socket."""

from __future__ import annotations

import json
import re
from threading import Barrier, Event
from typing import Any

import pytest
from kernels import Kernel, Run, SharedKernel
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from service import Answer, Endless, Service, Streamed, chunk, refused, usage


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


COMPARE = "%%wbchat -m test/a -m test/b\nWho are you?"


def by_model(service: Service, **scripts: Any) -> None:
    """Answer each model with its own script, keyed by the part of the model's id after the slash."""

    def answer(one: Answer) -> None:
        scripts[one.received.body["model"].partition("/")[2]](one)

    service.always = answer


def columns(run: Run) -> dict[str, Any]:
    """Return the output with the replies. Fail if there is more below it than their chart."""
    first, *charts = run.outputs
    assert all(set(one["data"]) == {"text/plain", "text/html"} for one in charts)
    assert len(charts) <= 1
    return first


def markdown(run: Run) -> str:
    return str(columns(run)["data"]["text/markdown"])


def test_replies_are_shown_side_by_side_in_the_given_order(kernel: Kernel, service: Service) -> None:
    by_model(service, a=Streamed(["I am **A**."], per_second=5), b=Streamed(["I am B.\n\n```python\nx = 1\n```"]))
    run = kernel.run(COMPARE)
    text = markdown(run)
    assert text.index("**test/a**") < text.index("**test/b**") < text.index("I am **A**.") < text.index("I am B.")
    assert "\n\n```python\nx = 1\n```\n\n" in text
    assert text.count("12 + 3 tokens") == 2
    assert columns(run)["data"]["text/plain"].startswith("=== test/a ===\n\nI am **A**.")
    assert [one["model"] for one in columns(run)["metadata"]["wandb_inference"]["compared"]] == ["test/a", "test/b"]
    assert kernel.value("[(type(one).__name__, one.asked_model) for one in _wbreply]") == [
        ("Reply", "test/a"),
        ("Reply", "test/b"),
    ]


def test_a_comparison_is_a_table_in_nbconvert(kernel: Kernel, service: Service) -> None:
    by_model(service, a=Streamed(["- one\n- two"]), b=Streamed(["# B\n\n| x | y |\n|---|---|\n| 1 | 2 |"]))
    html = markdown2html_mistune(markdown(kernel.run(COMPARE)))
    assert html.count("<td ") >= 2
    for part in ("<li>one</li>", "<h1", "<strong>test/b</strong>", "12 + 3 tokens"):
        assert part in html, part


def test_models_are_called_at_the_same_time(kernel: Kernel, service: Service) -> None:
    # Neither model answers before both requests have arrived.
    both = Barrier(2)

    def answer(one: Answer) -> None:
        both.wait(60)
        Streamed()(one)

    by_model(service, a=answer, b=answer)
    assert kernel.run(COMPARE).ok


def test_the_reply_of_one_model_is_shown_while_the_other_is_silent(kernel: Kernel, service: Service) -> None:
    gate = Event()
    by_model(service, a=Streamed(["early"]), b=Streamed(["late"], gate=gate, hold_after=0))
    request = kernel.start(COMPARE)
    run = Run()
    for message in kernel.messages(request):
        run.messages.append(message)
        if "early" in json.dumps(message.content) and not gate.is_set():
            assert "waiting" in json.dumps(message.content)
            gate.set()
    assert gate.is_set()
    assert "late" in markdown(run)


def test_a_chart_is_shown_below_after_all_have_answered(kernel: Kernel, service: Service) -> None:
    by_model(service, a=Streamed(["A."], counted=usage(10, 40)), b=Streamed(["B."], counted=usage(10, 20)))
    run = kernel.run(COMPARE)
    _, chart = run.outputs
    text = chart["data"]["text/plain"]
    for title in ("seconds to the first piece", "tokens a second", "tokens written"):
        assert title in text
    assert "cost" not in text, "no price is known"
    assert re.search(r"test/a +█{24} 40\n +test/b +█{12} 20", text)
    assert kernel.value("'matplotlib' in __import__('sys').modules") is False


def test_a_model_that_fails_does_not_affect_the_others(kernel: Kernel, service: Service) -> None:
    by_model(service, a=refused(404, "The requested resource was not found"), b=Streamed(["I am <b>B</b>."]))
    run = kernel.run(COMPARE)
    assert run.ok
    assert "does not know the model 'test/a'" in run.text
    assert "I am &lt;b>B&lt;/b>." in markdown(run)
    assert kernel.value("[(one.text, bool(one.incomplete)) for one in _wbreply]") == [
        ("", True),
        ("I am <b>B</b>.", False),
    ]


def test_the_cell_fails_if_all_models_fail(kernel: Kernel, service: Service) -> None:
    service.always = refused(404, "The requested resource was not found")
    run = kernel.run(COMPARE)
    assert "None of the models answered." in run.error
    assert "test/a" in run.error


def breaking_off(one: Answer) -> None:
    one.start()
    one.event(chunk({"content": "Half an answer"}))
    one.event({"object": "error", "message": "CUDA out of memory on node 7", "code": 500})
    one.end()


def test_the_words_of_the_service_are_with_a_reply_that_broke_off(kernel: Kernel, service: Service) -> None:
    by_model(service, a=breaking_off, b=Streamed(["B."]))
    run = kernel.run(COMPARE)
    assert run.ok
    assert "Half an answer" in markdown(run)
    assert "CUDA out of memory on node 7" in markdown(run)
    assert kernel.value("[one.incomplete for one in _wbreply]") == [
        'The service stopped the reply with an error. It said: "CUDA out of memory on node 7".',
        "",
    ]
    assert kernel.value("[len(one.notices) for one in _wbreply]") == [1, 0]
    by_model(service, a=breaking_off, b=refused(400, "Unknown name 'seed'"))
    error = kernel.run(COMPARE).error
    assert "None of the models answered." in error
    assert "test/a: The service stopped the reply with an error." in error
    assert "CUDA out of memory on node 7" in error
    assert "test/b: The endpoint" in error
    assert "Unknown name 'seed'" in error


def test_validators_run_in_the_thread_of_the_cell_and_an_answer_is_repaired(kernel: Kernel, service: Service) -> None:
    kernel.run(
        "import threading\nthreads = set()\n"
        "from pydantic import BaseModel, field_validator\n"
        "class Small(BaseModel):\n"
        "    x: int\n"
        "    @field_validator('x')\n"
        "    def small(cls, x):\n"
        "        threads.add(threading.current_thread().name)\n"
        "        assert x < 10, 'too large'\n"
        "        return x"
    )
    answers = {"test/a": ['{"x": 5}'], "test/b": ['{"x": 50}', '{"x": 6}'], "test/c": ['{"x": 51}', '{"x": 52}']}

    def answer(one: Answer) -> None:
        Streamed([answers[one.received.body["model"]].pop(0)])(one)

    service.always = answer
    run = kernel.run("%%wbchat -m test/a -m test/b -m test/c --schema Small\nHow many?")
    assert run.ok
    assert kernel.value("threads") == {"MainThread"}
    assert kernel.value("[one.parsed and one.parsed.x for one in _wbreply]") == [5, 6, None]
    assert kernel.value("_wbreply[2].incomplete") == "not what was asked for"
    assert len(service.chats) == 5


def test_a_busy_model_is_called_again(kernel: Kernel, service: Service) -> None:
    calls: list[str] = []

    def busy_first(one: Answer) -> None:
        calls.append("b")
        script = refused(503, "overloaded", Retry_After="0") if len(calls) == 1 else Streamed(["B at last."])
        script(one)

    by_model(service, a=Streamed(["A."]), b=busy_first)
    run = kernel.run(COMPARE)
    assert "B at last." in run.text
    assert calls == ["b", "b"]


def test_a_comparison_continues_the_thread_without_a_turn_of_its_own(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat one")
    kernel.run("%%wbchat -m test/a -m test/b -o both\ntwo")
    for chat in service.chats[-2:]:
        assert [message["content"] for message in chat.body["messages"]] == ["one", "Hello there.", "two"]
    assert kernel.value("[(one.text, one.earlier_messages) for one in both]") == [("Hello there.", 2)] * 2
    kernel.run("%wbchat three")
    assert [message["content"] for message in service.last.body["messages"]] == ["one", "Hello there.", "three"]


def test_an_interrupt_keeps_the_partial_replies_and_closes_all_connections(kernel: Kernel, service: Service) -> None:
    a, b = Endless("kept of A"), Endless("kept of B")
    by_model(service, a=a, b=b)
    run = kernel.interrupt_at(COMPARE, "kept of A", "kept of B")
    assert "Interrupted." in run.error
    assert a.gone.wait(30)
    assert b.gone.wait(30)
    shown, _ = run.outputs
    assert "kept of A" in shown["data"]["text/markdown"]
    assert "kept of B" in shown["data"]["text/markdown"]
    assert kernel.value("[one.incomplete for one in _wbreply]") == ["interrupted"] * 2


def test_a_dry_run_searches_the_models_that_are_known(kernel: Kernel, service: Service) -> None:
    like = "%%wbchat --dry-run --models-like"
    error = kernel.run(f"{like} model-\nHi").error
    assert "No model matches 'model-'.\nWhat to do: %wbmodels asks the endpoint for its models" in error
    assert service.received == []
    kernel.run("%wbmodels")
    assert kernel.run(f"{like} model-\nHi").ok


def test_a_parameter_is_given_once(kernel: Kernel, service: Service) -> None:
    error = kernel.run("%wbchat --param top_k=1 --param top_k=2 hi").error
    assert "--param top_k is given twice. Nothing was sent." in error
    assert service.chats == []


def test_models_like_calls_all_models_that_match(kernel: Kernel, service: Service) -> None:
    kernel.run("%%wbchat --models-like model-\nHi")
    assert sorted(chat.body["model"] for chat in service.chats) == ["test/model-a", "test/model-b"]
    kernel.run("%%wbchat --models-like model-b\nHi")
    assert service.last.body["model"] == "test/model-b"
    assert kernel.value("type(_wbreply).__name__") == "Reply"
    assert "No model matches 'xyz'" in kernel.run("%%wbchat --models-like xyz\nHi").error


@pytest.mark.parametrize("option", ["--tools print", "--code"])
def test_an_option_for_one_model_only_is_refused(kernel: Kernel, service: Service, option: str) -> None:
    kernel.run("def f(a: int):\n    'Double it.'\n    return 2 * a")
    run = kernel.run(f"%%wbchat {option.replace('print', 'f')} -m test/a -m test/b\nHi")
    assert "one model at a time" in run.error
    assert service.chats == []


def test_the_bytes_of_a_comparison_grow_linearly(kernel: Kernel, service: Service) -> None:
    def received(tokens: int) -> int:
        pieces = [f"word{number % 90 + 10} " for number in range(tokens)]
        by_model(service, a=Streamed(pieces, per_second=2000), b=Streamed(pieces, per_second=2000))
        return kernel.run("%%wbchat --once -m test/a -m test/b\nHi").bytes

    received(100)
    # A busy machine draws less often: one that is busy during the shorter reply only makes that one too small.
    longer, shorter = received(8000), received(4000)
    for _ in range(3):
        if longer > 2.4 * shorter:
            longer, shorter = min(longer, received(8000)), max(shorter, received(4000))
    assert longer <= 2.4 * shorter
