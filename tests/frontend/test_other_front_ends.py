"""Colab and VS Code, which cannot run here: requests as they send them, and answers that they can show.

Colab names a cell in `metadata.colab.cell_id`, ignores `set_next_input`, and has widgets only if the user has
turned them on. VS Code names a cell by an address, and redraws by display id.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, Run
from service import Service, Streamed

COLAB = {"colab": {"cell_id": "{id}"}}
VSCODE = {"cellId": "vscode-notebook-cell:/home/ada/talk.ipynb#{id}"}
FRONT_ENDS = {"colab": COLAB, "vscode": VSCODE}


def fill_in_id(metadata: Any, id: str) -> Any:
    if isinstance(metadata, dict):
        return {name: fill_in_id(value, id) for name, value in metadata.items()}
    return metadata.replace("{id}", id)


def run(kernel: Kernel, front_end: str, id: str, code: str) -> Run:
    """Run a cell with the request of a front end, including its metadata."""
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": True,
        "stop_on_error": True,
    }
    message = kernel.client.session.msg("execute_request", content, metadata=fill_in_id(FRONT_ENDS[front_end], id))
    kernel.client.shell_channel.send(message)
    return kernel.finish(str(message["header"]["msg_id"]))


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
