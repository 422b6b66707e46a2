"""Interrupting a reply with a real signal to a real kernel."""

from __future__ import annotations

import random
from threading import Event, Timer

import pytest
from kernels import Kernel
from service import Answer, Endless, Service, Streamed, refused


@pytest.mark.short
def test_a_partial_reply_is_kept_and_marked(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat Before")
    endless = Endless("Half an answer")
    service.then(endless)
    run = kernel.interrupt_at("%wbchat hi", "Half an answer")
    assert not run.ok
    assert "Interrupted." in run.error
    assert "Half an answer" in run.outputs[0]["data"]["text/markdown"]
    assert "incomplete: interrupted" in run.outputs[0]["data"]["text/plain"]
    assert endless.gone.wait(30), "the server never saw the connection close"
    assert kernel.value("(_wbreply.text, _wbreply.incomplete)") == ("Half an answer", "interrupted")
    assert kernel.run("%wbchat And now").ok
    assert [message["content"] for message in service.last.body["messages"]] == ["Before", "Hello there.", "And now"]


def test_waiting_for_the_first_token_can_be_interrupted(kernel: Kernel, service: Service) -> None:
    gate = Event()
    service.then(Streamed(gate=gate, hold_after=0))
    try:
        run = kernel.interrupt_at("%%wbchat\nhi", "waiting for test/model-a")
    finally:
        gate.set()
    assert "Interrupted. Nothing has arrived yet" in run.error
    # The status line is removed.
    assert [output["type"] for output in run.outputs] == ["error"]
    assert kernel.run("%wbchat hi").ok


@pytest.mark.parametrize(
    "code",
    ["%wbchat hi", "%wbchat --format json hi", "print('above')\nr = %wbchat hi"],
    ids=["owned", "as json", "shared"],
)
def test_a_stream_that_ends_early_is_marked_as_incomplete(kernel: Kernel, service: Service, code: str) -> None:
    def cut(answer: Answer) -> None:
        answer.start()
        answer.event({"choices": [{"index": 0, "delta": {"content": "Half an answer"}}]})
        answer.end()

    service.then(cut)
    run = kernel.run(code)
    assert "stopped before its end" in run.error
    assert "incomplete: the reply broke off" in run.text
    assert kernel.value("_wbreply.text") == "Half an answer"
    kernel.run("%wbchat again")
    assert len(service.last.body["messages"]) == 1


def prompts_sent(service: Service) -> list[str]:
    """Return the prompts of the conversation in the last request."""
    return [message["content"] for message in service.last.body["messages"] if message["role"] == "user"]


def test_the_kernel_survives_interrupts_at_random_moments(kernel: Kernel, service: Service) -> None:
    """Connecting, waiting, streaming, drawing, retrying: at whatever moment the signal comes, the next cell works."""
    moments = random.Random(7)
    kernel.run("%wbchat Before")
    threads = kernel.threads()
    pieces = [f"word{number} " + ("\n\n" if number % 7 == 0 else "") for number in range(400)]
    interrupted = 0
    for number in range(30):
        service.then(refused(503, "busy", Retry_After="1") if number % 5 == 0 else Streamed(pieces, per_second=600))
        request = kernel.start("%%wbchat\nGo on")
        timer = Timer(moments.uniform(0.0, 0.7), kernel.interrupt)
        timer.start()
        run = kernel.finish(request)
        timer.join()
        if not run.ok:
            interrupted += 1
            assert "Interrupted" in run.error or "KeyboardInterrupt" in run.error
            # An interrupted answer is not part of the conversation.
            kernel.run("%wbchat --quiet And now")
            assert prompts_sent(service) == ["Before", "And now"]
        kernel.run("%wbchat --quiet --new Before")
    assert interrupted > 15
    assert kernel.value("1 + 1") == 2
    kernel.join_threads_since(threads)


@pytest.mark.parametrize("line", ["%wbmodels", "%wbconfig --check"])
def test_waiting_for_the_models_shows_progress_and_can_be_interrupted(
    kernel: Kernel, service: Service, line: str
) -> None:
    gate = Event()

    def slow(answer: Answer) -> None:
        gate.wait(60)

    service.listing_script = slow
    status = "asking the endpoint" if line == "%wbmodels" else "checking"
    try:
        run = kernel.interrupt_at(line, status)
    finally:
        gate.set()
    assert "Interrupted." in run.error
    assert len(run.error.splitlines()) == 1
    assert [output["type"] for output in run.outputs] == ["error"]
    service.listing_script = None
    assert kernel.run(line).ok
