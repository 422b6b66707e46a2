"""Jobs that are interrupted or cancelled, and the end of the session."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event

import pytest
from held_jobs import MAP, ROWS, Held, run
from kernels import PATIENCE, Kernel
from service import Answer, Service, chunk, completion


def test_interrupting_ends_the_following_and_no_job(mapping: Kernel, held: Held) -> None:
    followed = mapping.interrupt_at("%wbjobs 1", "job 1")
    assert "Job 1 goes on. To end it: %wbjobs 1 --cancel" in followed.error
    # A signal that comes just before a sleep is seen after it: each sleep is short.
    waiting = "import time; print('now', flush=True)\nfor _ in range(600): time.sleep(0.1)"
    assert mapping.interrupt_at(waiting, "now").reply["ename"] == "KeyboardInterrupt"
    held.may.set()
    assert mapping.value("len(labelled.wait(60))") == 40


@pytest.mark.parametrize("cell", [MAP, "%%wbchat --bg -o labelled\nWhat?"])
def test_an_interrupt_while_a_job_begins_leaves_a_job_that_ends(kernel: Kernel, held: Held, cell: str) -> None:
    assert kernel.run(ROWS).ok
    request = kernel.start(cell, cell_id="the-cell", allow_stdin=True)
    for message in kernel.messages(request):
        if "job 1 · running" in json.dumps(message.content, ensure_ascii=False):
            kernel.interrupt()
            break
    # The interrupt may reach the kernel's own code after the cell: then it sends neither a reply nor its state. After a
    # failed cell it refuses others for a moment.
    kernel.client.kernel_info(reply=True, timeout=PATIENCE)
    assert held.asked.wait(60)
    assert kernel.run("labelled.cancel(); labelled.join(60)").ok
    assert kernel.value("(labelled.state, labelled.is_over)") == ("cancelled", True)


def test_an_interrupt_of_a_job_that_runs_in_the_foreground_ends_the_cell(kernel: Kernel, held: Held) -> None:
    assert kernel.run(ROWS).ok
    request = kernel.start(f"{MAP}")
    assert held.asked.wait(60)
    kernel.interrupt()
    interrupted = kernel.finish(request)
    assert "Interrupted." in interrupted.error
    assert kernel.value("labelled.state") == "cancelled"


def test_a_job_that_is_cancelled_keeps_what_was_answered(kernel: Kernel, service: Service) -> None:
    asked, may = Event(), Event()

    def answer(one: Answer) -> None:
        if one.received.body["messages"][-1]["content"] == "What of 30?":
            asked.set()
            may.wait(60)
            return
        completion("good")(one)

    service.always = answer
    kernel.run(ROWS)
    assert run(kernel, f"{MAP.replace('--bg', '--bg --concurrency 1')}").ok
    assert asked.wait(60)
    assert kernel.run("%wbjobs 1 --cancel").text == "Job 1 is being cancelled. What was answered is kept."
    failed = kernel.run("labelled.wait(60)")
    assert "Job 1 was cancelled." in failed.error
    assert "labelled.frame()" in failed.error
    may.set()
    assert kernel.value("labelled.frame().reply.notna().sum().item()") == 30
    # Run again, the rows that were answered are not asked again.
    asked.clear()
    service.always = completion("good")
    before = len(service.chats)
    assert run(kernel, MAP).ok
    assert kernel.value("len(labelled.wait(60))") == 40
    assert len(service.chats) - before <= 10


def test_a_job_that_is_being_cancelled_does_not_go_on(mapping: Kernel, held: Held) -> None:
    cancelled = mapping.run("%wbjobs 1 --pause\n%wbjobs 1 --cancel\n%wbjobs 1 --resume")
    # It may have ended before the last line.
    assert "goes on" not in cancelled.text
    assert "Job 1 is being cancelled" in cancelled.text
    held.may.set()


def test_a_chat_that_is_cancelled_keeps_its_partial_reply(kernel: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        one.start()
        one.event(chunk({"content": "Half of "}))
        may.wait(60)

    may = Event()
    service.always = answer
    assert "running" in run(kernel, "%%wbchat --bg -o later\nHello").text
    assert "0 of 1 reply · 8 characters, " in kernel.updated("characters")
    listed = kernel.run("%wbjobs").text
    assert "0 of 1" in listed
    assert "free" not in listed
    kernel.run("later.cancel()")
    kernel.run("try: later.wait(60)\nexcept Exception as error: caught = error")
    may.set()
    assert kernel.value("(caught.what, caught.partial.text)") == ("Job 1 was cancelled.", "Half of ")
    assert kernel.value("(later.done, later.errors, later.cost)") == (0, 0, None)
    assert kernel.run("%wbjobs").text.split()[-1] == "unknown"


def test_the_result_of_a_cancelled_evaluation_is_where_it_says(kernel: Kernel, service: Service) -> None:
    asked, may = Event(), Event()

    def answer(one: Answer) -> None:
        if one.received.body["messages"][-1]["content"] == "30":
            asked.set()
            may.wait(60)
            return
        completion("yes")(one)

    service.always = answer
    kernel.run(f"{ROWS}\ndf['label'] = 'yes'")
    assert run(kernel, "%%wbeval df --bg --truth label --concurrency 1 -o found\n{{ n }}").ok
    assert asked.wait(60)
    assert kernel.run("found.cancel()").ok
    failed = kernel.run("found.wait(60)").error
    may.set()
    assert "The result so far is in %wbjobs 1 --result NAME." in failed
    assert "%wbjobs 1 --result NAME." in kernel.run("found").text
    assert kernel.run("%wbjobs 1 --result so_far").ok
    assert kernel.value("so_far.summary.right.tolist()") == [30]


def test_a_job_goes_on_when_the_extension_is_reloaded_and_ends_when_it_is_unloaded(mapping: Kernel, held: Held) -> None:
    assert mapping.run("%reload_ext wandb_inference_magic").messages == []
    assert mapping.value("labelled.state") == "running"
    assert "running" in run(mapping, "%wbjobs").text
    held.may.set()
    assert len(mapping.value("labelled.wait(60).reply.tolist()")) == 40
    held.may.clear()
    assert run(mapping, "%%wbmap df --bg --no-cache -o again\nAnd {{ n }}?").ok
    assert mapping.run("%unload_ext wandb_inference_magic").ok
    mapping.run("again.join(60)")
    assert mapping.value("again.state") != "running"
    held.may.set()


@pytest.mark.parametrize("end", ["%unload_ext wandb_inference_magic", "get_ipython().kernel.do_shutdown(True)"])
def test_the_end_of_the_session_cancels_jobs(mapping: Kernel, end: str) -> None:
    (record,) = Path(mapping.value("__import__('os').environ['HOME']")).rglob("jobs/*.json")
    mapping.start(end)
    until = time.monotonic() + 60
    while json.loads(record.read_text())["state"] != "cancelled":
        assert time.monotonic() < until
        time.sleep(0.05)
