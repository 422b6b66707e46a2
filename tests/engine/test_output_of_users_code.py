"""What tools, templates, validators, scorers and threads print meanwhile stays in the cell."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest
from kernels import Kernel, SharedKernel
from service import Answer, Service, Streamed, calling, completion, pieces, refused


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


SHOWING = """
import logging
import warnings
logging.basicConfig(level=logging.INFO)
from IPython.display import HTML, display
def plot():
    "Plot it."
    print("printed")
    display(HTML("<b>plotted</b>"))
    warnings.warn("careful")
    return "drawn"
def value():
    print("computing")
    return "a value"
def logging_plot():
    "Plot it."
    logging.info("looked up")
    return "drawn"
"""


def plots(one: Answer) -> None:
    """Ask for the tool in several blocks, and answer in several blocks."""
    if one.received.body["messages"][-1]["role"] == "tool":
        Streamed(["# Drawn\n\n", "It goes up.\n\n", "And down."])(one)
    else:
        calling(("plot", "{}"))(one)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_tool_prints_and_displays_stays_in_the_cell(kernel: Kernel, service: Service, fails: bool) -> None:
    kernel.run(SHOWING)
    service.always = plots
    if fails:
        service.then(calling(("plot", "{}")), refused(400, "no more"))
    run = kernel.run("%%wbchat --once --tools plot\nPlot it.")
    assert run.ok is not fails
    shown = [output["data"] for output in run.outputs]
    assert any("printed" in data.get("text/plain", "") for data in shown)
    assert any("careful" in data.get("text/plain", "") for data in shown)
    assert any("plotted" in data.get("text/html", "") for data in shown)
    if not fails:
        # The reply is once in the cell, below what the tool has shown.
        replies = [number for number, data in enumerate(shown) if "And down." in data.get("text/plain", "")]
        assert replies == [len(shown) - 1]
        assert sum("plot()" in data.get("text/markdown", "") for data in shown) == 1


def test_what_a_tool_logs_stays_in_the_cell(kernel: Kernel, service: Service) -> None:
    kernel.run(SHOWING)
    service.then(calling(("logging_plot", "{}")), Streamed(pieces("Up.\n\nAnd down.")))
    run = kernel.run("%%wbchat --once --tools logging_plot\nPlot it.")
    assert run.ok, run.error
    assert "INFO:root:looked up" in run.text
    assert run.text.count("And down.") == 1


@pytest.mark.parametrize("above", ["", "print('above')\n"])
@pytest.mark.parametrize("clears", [False, True])
def test_the_reply_is_below_what_a_tool_shows_in_two_rounds(
    kernel: Kernel, service: Service, clears: bool, above: str
) -> None:
    kernel.run(
        "from IPython.display import clear_output\n"
        f"def report():\n    print('shown')\n    {clears} and clear_output()\n    print('kept')\n    return 1"
    )

    def answer(one: Answer) -> None:
        rounds = sum(message["role"] == "tool" for message in one.received.body["messages"])
        (Streamed(["One.\n\n", "Two.\n\n", "End."]) if rounds == 2 else calling(("report", "{}")))(one)

    service.always = answer
    *before, reply = kernel.run(f"{above}%wbchat --once --tools report Go").outputs
    assert reply["data"]["text/plain"].startswith("- `report()` → `1`\n- `report()` → `1`\n\nOne.\n\nTwo.\n\nEnd.")
    shown = "".join(one["data"]["text/plain"] for one in before)
    assert shown.count("kept") == (1 if clears else 2)
    assert "report()" not in shown


@pytest.mark.parametrize(
    "cell", ["%%wbchat --once\nIs it {{ value() }}?", "%%wbchat --once -s '{{ value() }}'\nIs it?"]
)
def test_what_a_template_prints_stays_in_the_cell(kernel: Kernel, service: Service, cell: str) -> None:
    kernel.run(SHOWING)
    service.always = Streamed(["# Yes\n\n", "It is.\n\n", "Really."])
    # On a busy machine there is a status, which leaves an empty output.
    printed, reply = [text for one in kernel.run(cell).outputs if (text := one["data"]["text/plain"].strip())]
    assert printed == "computing"
    assert reply.startswith("# Yes\n\nIt is.\n\nReally.")


PRINTING = """
import sys
from pydantic import BaseModel, field_validator
class Answer(BaseModel):
    answer: str
    @field_validator("answer")
    def check(cls, value):
        print("checking")
        return value
def note(row):
    print("rendering")
    return "a note"
def score(answer, truth):
    print("scoring", file=sys.stderr)
    return answer == truth
frame = [{"text": "a", "label": "Yes."}, {"text": "b", "label": "Yes."}]
"""


@pytest.mark.parametrize(
    ("cell", "printed"),
    [
        ("%%wbchat --once --schema Answer\nGo", ["checking"]),
        ("%%wbmap frame\n{{ note(text) }} {{ text }}", ["rendering"]),
        ("%%wbmap frame --schema Answer\n{{ note(text) }} {{ text }}", ["rendering", "checking"]),
        ("%%wbeval frame --truth label --scorer score\n{{ text }}", ["scoring"]),
    ],
)
def test_what_a_template_a_validator_and_a_scorer_print_stays_in_the_cell(
    kernel: Kernel, service: Service, cell: str, printed: list[str]
) -> None:
    kernel.run(PRINTING)
    service.always = completion('{"answer": "Yes."}' if "Answer" in cell else "Yes.")
    # With a user present, there is a progress bar too.
    run = kernel.run(cell, allow_stdin=True)
    assert run.ok, run.error
    assert not any("application/vnd.jupyter.widget-view+json" in one["data"] for one in run.outputs)
    # A status, a preview and a bar leave an empty output.
    *before, final = [text for one in run.outputs if (text := one["data"].get("text/plain", "").strip())]
    for words in printed:
        assert any(words in one for one in before), words
    # No part of the result is in the cell twice.
    assert all(any(words in one for words in printed) for one in before)
    assert not any(words in final for words in printed)


THREAD = """
from pathlib import Path
from threading import Thread
def train(go, done):
    go.read_text()
    print("epoch 1")
    done.write_text("")
Thread(target=train, args=(Path({go!r}), Path({done!r}))).start()
"""


def test_what_a_thread_prints_while_a_reply_streams_stays_in_the_cell(
    kernel: Kernel, service: Service, tmp_path: Path
) -> None:
    """The kernel sends it to the cell that runs."""
    go, done, gate = tmp_path / "go", tmp_path / "done", Event()
    # To open one waits for the other side.
    for pipe in (go, done):
        os.mkfifo(pipe)
    kernel.run(THREAD.format(go=str(go), done=str(done)))
    service.then(Streamed(["One.\n\nTwo.\n\n", "Three."], gate=gate, hold_after=1))

    def act() -> None:
        go.write_text("")
        done.read_text()
        gate.set()

    run = kernel.run_and_do("%wbchat --once hi", act, "Two.")
    assert run.ok, run.error
    assert "epoch 1" in run.text
    assert [run.text.count(word) for word in ("One.", "Two.", "Three.")] == [1, 1, 1]
