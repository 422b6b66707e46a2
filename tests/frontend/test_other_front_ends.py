"""Colab, VS Code and consoles: requests as they send them, and answers that they can show.

Colab names a cell in `metadata.colab.cell_id`, ignores `set_next_input`, and has widgets only if the user has
turned them on. VS Code names a cell by an address, and redraws by display id. Consoles (`jupyter console`, qtconsole,
Spyder's) name no cell, and show only the plain text of new outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from kernels import PATIENCE, Kernel, Run
from service import Service, Streamed
from versions import NO_HISTORY

from wandb_inference_magic.frontend import ExecutionInfo

COLAB = {"colab": {"cell_id": "{id}"}}
VSCODE = {"cellId": "vscode-notebook-cell:/home/ada/talk.ipynb#{id}"}
FRONT_ENDS = {"colab": COLAB, "vscode": VSCODE}
CONSOLE = {"console": {}}


def fill_in_id(metadata: Any, id: str) -> Any:
    if isinstance(metadata, dict):
        return {name: fill_in_id(value, id) for name, value in metadata.items()}
    return metadata.replace("{id}", id)


def run(kernel: Kernel, front_end: str, id: str, code: str) -> Run:
    """Run a cell with the request of a front end, including its metadata."""
    return kernel.finish(start(kernel, front_end, id, code))


def start(kernel: Kernel, front_end: str, id: str, code: str) -> str:
    """Send that request, and return its id."""
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": True,
        "stop_on_error": True,
    }
    message = kernel.client.session.msg(
        "execute_request", content, metadata=fill_in_id((FRONT_ENDS | CONSOLE)[front_end], id)
    )
    kernel.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_cell_run_again_replaces_its_turn(kernel: Kernel, service: Service, front_end: str) -> None:
    service.then(Streamed(["A"]), Streamed(["B"]), Streamed(["A2"]))
    run(kernel, front_end, "one", "%%wbchat\nfirst")
    run(kernel, front_end, "two", "%%wbchat\nsecond")
    run(kernel, front_end, "one", "%%wbchat\nfirst, edited")
    assert [one["content"] for one in service.last.body["messages"]] == ["first, edited"]
    run(kernel, front_end, "two", "%%wbchat\nsecond")
    assert [one["content"] for one in service.last.body["messages"]] == ["first, edited", "A2", "second"]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_updates_refer_to_shown_outputs_and_one_output_remains(
    kernel: Kernel, service: Service, front_end: str
) -> None:
    service.then(Streamed(["# One\n\n", "Two ", "words.\n\n", "- three\n", "- four\n\n", "End."], per_second=15))
    result = run(kernel, front_end, "one", "%%wbchat\nhi")
    shown: set[str] = set()
    for message in result.of("display_data", "update_display_data"):
        id = message.content["transient"]["display_id"]
        assert message.type == "display_data" or id in shown, "an update of an output that was not shown"
        shown.add(id)
        assert "text/markdown" in message.content["data"]
    clears = result.of("clear_output")
    assert all(message.content["wait"] for message in clears), "an output cleared at once flickers in VS Code"
    assert len(clears) <= 1
    assert set(result.output["data"]) == {"text/markdown", "text/plain"}


def test_the_picker_has_a_table_for_front_ends_without_widgets(kernel: Kernel) -> None:
    """Colab shows the richest form that it supports: the output has a table beside the widget."""
    data = run(kernel, "colab", "one", "%wbmodels").outputs[0]["data"]
    assert data["text/markdown"].startswith("| model |")
    assert "test/model-b" in data["text/plain"]


def test_colab_shows_a_note_that_it_inserts_no_cells(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    package = tmp_path / "google" / "colab"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    kernel = start_kernel(**service.environment)
    kernel.run("import google.colab\n%load_ext wandb_inference_magic")
    service.then(Streamed(["```python\nx = 1\n```"]))
    result = run(kernel, "colab", "one", "%%wbchat --code\nhi")
    assert "copy it from the reply" in result.text
    assert "x = 1" in result.text


def test_vscode_gets_a_cell_for_each_block(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["```python\nx = 1\n```\n\n```python\ny = 2\n```"]))
    result = run(kernel, "vscode", "one", "%%wbchat --code all\nhi")
    assert [one["text"] for one in result.reply["payload"]] == ["x = 1", "y = 2"]
    assert "new cell" not in result.text


def console_text(result: Run) -> str:
    """Return what a console shows: the plain text of new outputs."""
    return "".join(
        str(one.content.get("text", one.content.get("data", {}).get("text/plain", "")))
        for one in result.of("display_data", "execute_result", "stream")
    )


@pytest.mark.parametrize(
    ("code", "times"),
    [
        ("%wbchat hi", 1),
        ("for q in 'ab':\n    %wbchat {{ q }}", 2),
        ("x = 1\n%wbchat -m test/model-a -m test/model-b hi", 2),
    ],
)
def test_a_console_shows_a_reply_once_that_was_waited_for(
    kernel: Kernel, service: Service, code: str, times: int
) -> None:
    gate = Event()
    service.always = Streamed(["One two."], gate=gate, hold_after=0)
    request, result = start(kernel, "console", "", code), Run()
    for message in kernel.messages(request):
        result.messages.append(message)
        if "waiting" in str(message.content):
            gate.set()
    assert gate.is_set(), "no status was shown"
    assert console_text(result).count("One two.") == times
    # A notebook that sends no ids either shows it once as well.
    assert result.text.count("One two.") == times
    assert "waiting" not in str(result.outputs)


def test_a_console_shows_the_end_of_a_job(kernel: Kernel, service: Service) -> None:
    gate = Event()
    service.always = Streamed(["One ", "two."], gate=gate)
    assert "running" in console_text(run(kernel, "console", "", "%wbchat --bg -o job hi"))
    gate.set()
    while "One two." not in str(message := kernel.client.get_iopub_msg(timeout=PATIENCE)):
        pass
    assert message["msg_type"] == "display_data"


def test_a_console_takes_one_block_of_code(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["```python\nx = 1\n```\n\n```python\ny = 2\n```"]))
    result = run(kernel, "console", "", "%%wbchat --code all\nhi")
    assert [one["text"] for one in result.reply["payload"]] == ["x = 1"]
    assert "copy it" not in result.text


class Xeus:
    """The kernel of xeus-python, as far as it says what runs."""

    def get_parent(self) -> dict[str, Any]:
        return {"header": {"msg_id": "1", "msg_type": "execute_request"}}


def test_a_cell_of_xeus_python_is_no_callback() -> None:
    shell: Any = InteractiveShell(config=NO_HISTORY)
    shell.kernel, shell.user_ns["_ih"] = Xeus(), ["", "%wbchat hi"]
    cell = ExecutionInfo.running(shell)
    assert not cell.is_callback
    assert cell.is_only("wbchat")
