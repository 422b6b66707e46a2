"""Headless runs of notebooks: `jupyter execute`, `jupyter nbconvert --execute` and papermill, as processes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_forks import with_forked_kernels
from service import Answer, Service, Streamed, Wandb, listing, refused

LOAD = "%load_ext wandb_inference_magic"
EVIL = (
    "**Hi** there.\n\n<script>alert(1)</script> <img src=x onerror=alert(1)>\n\n[go](javascript:alert(1))\n\nThe end."
)
CELLS = (LOAD, "%%wbchat\nWho are you?", "%wbmodels", "%%wbchat -m test/a -m test/b\nWho is it?", "print('last')")
BOUND = 150

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def jupyter(environment: dict[str, str], service: Service, tmp_path: Path) -> Run:
    """Run a Jupyter module with the test's service, in the test's folder, without standard input."""
    service.listing = listing("test/model-a", "test/a", "test/b")

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment | service.environment | with_forked_kernels() | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )

    return run


def write(path: Path, *cells: str, tags: dict[int, str] | None = None) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, tag in (tags or {}).items():
        notebook.cells[number].metadata["tags"] = [tag]
    nbformat.write(notebook, path)
    return path


def cells_of(path: Path) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def reply_with_hostile_text(service: Service) -> None:
    def answer(one: Answer) -> None:
        model = one.received.body["model"]
        Streamed([*EVIL.splitlines(keepends=True), f" {model}"], reasoning=["Let me ", "think."])(one)

    service.always = answer


WAYS = {
    "execute": ("jupyter", "execute", "n.ipynb", "--output=out"),
    "nbconvert": ("jupyter", "nbconvert", "--execute", "--to", "notebook", "n.ipynb", "--output=out"),
    "papermill": ("papermill", "n.ipynb", "out.ipynb"),
}


@pytest.mark.parametrize("way", [pytest.param("execute", marks=pytest.mark.short), "nbconvert", "papermill"])
def test_a_headless_run_saves_complete_outputs(jupyter: Run, service: Service, tmp_path: Path, way: str) -> None:
    reply_with_hostile_text(service)
    write(tmp_path / "n.ipynb", *CELLS)
    process = jupyter(*WAYS[way])
    assert process.returncode == 0, process.stderr
    load, chat, models, compared, last = cells_of(tmp_path / "out.ipynb")
    assert load.outputs == []
    assert last.outputs[0].text == "last\n"
    for cell in (chat, models, compared):
        output, *chart = cell.outputs
        assert output.output_type == "display_data"
        assert set(output.data) == {"text/markdown", "text/plain"}
        assert [set(one.data) for one in chart] == [{"text/html", "text/plain"}] * (cell is compared)
    data = chat.outputs[0].data
    assert data["text/markdown"].startswith(
        "<details><summary>Thought · about 4 tokens</summary>\n\n"
        "<blockquote>\n\nLet me think.\n\n</blockquote>\n\n</details>\n\n**Hi**"
    )
    assert "The end. test/model-a" in data["text/markdown"]
    assert re.search(r"<small>test/model-a · 12 \+ 3 tokens · .* s · .*turn 1</small>$", data["text/markdown"])
    assert data["text/plain"].startswith("**Hi** there.")
    assert re.search(r"\[test/model-a · 12 \+ 3 tokens · .*turn 1\]$", data["text/plain"])
    facts = chat.outputs[0].metadata["wandb_inference"]
    assert (facts["model"], facts["completion_tokens"]) == ("test/model-a", 3)
    assert "test/model-a ← chosen" in models.outputs[0].data["text/plain"]
    plain = compared.outputs[0].data["text/plain"]
    assert plain.index("=== test/a ===") < plain.index("The end. test/a") < plain.index("=== test/b ===")


class Page(HTMLParser):
    """The outputs of an exported page: their tags with attributes, and the visible text, folded or not."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._depth = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "div" and (self._depth or "jp-OutputArea-output" in (found.get("class") or "")):
            self._depth += 1
        if self._depth:
            self.tags.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._depth:
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.text += data

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)


def test_the_exported_page_is_complete_and_inert(jupyter: Run, service: Service, tmp_path: Path) -> None:
    reply_with_hostile_text(service)
    write(tmp_path / "n.ipynb", *CELLS)
    process = jupyter("jupyter", "nbconvert", "--execute", "--to", "html", "n.ipynb", "--output=out")
    assert process.returncode == 0, process.stderr
    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    # Reasoning: of one reply, and of two replies side by side. None of it is unfolded.
    assert [found for tag, found in page.tags if tag == "details"] == [{}] * 3
    assert page.count("summary") == 3
    # The models, the comparison with a heading and a column for each model, and its chart.
    assert page.count("table") == 3
    assert [tag for tag, found in page.tags if found.get("width") == "50%"] == ["th", "th", "td", "td"]
    for expected in ("context", "test/model-a ← chosen", "The end. test/a", "The end. test/b", "turn 1", "last"):
        assert expected in page.text, expected
    assert page.text.count("12 + 3 tokens") == 3
    assert page.text.count("<script>alert(1)</script>") == 3
    assert page.count("script") == 0
    assert page.count("img") == 0
    for tag, found in page.tags:
        assert not [name for name in found if name.startswith("on")], (tag, found)
        assert "javascript:" not in (found.get("href") or ""), (tag, found)


def test_the_exported_markdown_is_complete_and_inert(jupyter: Run, service: Service, tmp_path: Path) -> None:
    reply_with_hostile_text(service)
    write(tmp_path / "n.ipynb", *CELLS)
    process = jupyter("jupyter", "nbconvert", "--execute", "--to", "markdown", "n.ipynb", "--output=out")
    assert process.returncode == 0, process.stderr
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert text.count("tokens</summary>\n\n<blockquote>\n\nLet me think.\n\n</blockquote>\n\n</details>") == 3
    assert "| test/model-a ← chosen | unknown |" in text
    assert text.index("**test/a**") < text.index("**test/b**") < text.index("The end. test/a")
    assert text.count("12 + 3 tokens") == 3
    assert "<img" not in text
    assert ">seconds to the first piece</th>" in text
    for raw in ("<script", "](javascript:"):
        assert raw not in text


def test_papermill_parameters_are_used_in_the_template_and_the_options(
    jupyter: Run, service: Service, tmp_path: Path
) -> None:
    write(
        tmp_path / "n.ipynb",
        "city, model, warmth = 'Rome', 'test/a', 0",
        LOAD,
        "%%wbchat -m {{ model }} -t {{ warmth }}\nWhat of {{ city }} and {city}?",
        tags={0: "parameters"},
    )
    parameters = ("-p", "city", "Paris {{ model }}", "-p", "model", "test/b", "-p", "warmth", "0.5")
    process = jupyter("papermill", "n.ipynb", "out.ipynb", *parameters)
    assert process.returncode == 0, process.stderr
    (chat,) = service.chats
    assert chat.body["model"] == "test/b"
    assert chat.body["temperature"] == 0.5
    assert chat.body["messages"] == [{"role": "user", "content": "What of Paris {{ model }} and {city}?"}]
    (output,) = cells_of(tmp_path / "out.ipynb")[-1].outputs
    assert output.metadata["wandb_inference"]["model"] == "test/b"


FAILING = ("execute", "nbconvert", "papermill")


@pytest.mark.parametrize("way", FAILING)
def test_a_failing_chat_fails_the_run(jupyter: Run, service: Service, tmp_path: Path, way: str) -> None:
    service.then(refused(401, "Invalid Authentication"))
    write(tmp_path / "n.ipynb", LOAD, "%%wbchat\nHi", "%%wbchat\nNever asked")
    process = jupyter(*WAYS[way])
    assert process.returncode != 0
    printed = without_colours(process.stdout + process.stderr)
    assert "asks for a key" in printed
    assert "What to do:" in printed
    assert "exchange.py" not in printed
    assert len(service.chats) == 1
    if way == "papermill":
        _, failed, skipped = cells_of(tmp_path / "out.ipynb")[-3:]
        (output,) = failed.outputs
        assert output.output_type == "error"
        assert "What to do:" in without_colours("\n".join(output.traceback))
        assert skipped.execution_count is None


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_failing_chat_shows_the_short_message_if_errors_are_allowed(
    jupyter: Run, service: Service, tmp_path: Path
) -> None:
    service.then(refused(401, "Invalid Authentication"))
    write(tmp_path / "n.ipynb", LOAD, "%%wbchat\nHi", "%%wbchat\nAsked")
    process = jupyter(
        "jupyter", "nbconvert", "--execute", "--allow-errors", "--to", "markdown", "n.ipynb", "--output=out"
    )
    assert process.returncode == 0, process.stderr
    text = without_colours((tmp_path / "out.md").read_text(encoding="utf-8"))
    assert "What to do:" in text
    assert "Traceback" not in text
    assert "Hello there." in text


@pytest.mark.parametrize("way", ["execute", "papermill"])
@pytest.mark.parametrize(
    "command_that_asks",
    ["%config WandbInference.endpoint = 'wandb'\nget_ipython().run_line_magic('wbchat', 'Hi')", "%wbconfig --key"],
    ids=["chat", "key"],
)
def test_a_headless_run_does_not_wait_for_a_key(
    jupyter: Run, service: Service, wandb: Wandb, tmp_path: Path, way: str, command_that_asks: str
) -> None:
    write(tmp_path / "n.ipynb", LOAD, command_that_asks, "%%wbchat\nNever asked")
    # Within BOUND seconds. Otherwise `jupyter` raises.
    process = jupyter(*WAYS[way], **wandb.environment)
    assert process.returncode != 0
    printed = without_colours(process.stdout + process.stderr)
    assert "What to do:" in printed
    assert "WANDB_API_KEY" in printed
    assert "Key for" not in printed
    assert service.received == wandb.connected_to == []


def test_a_kernel_without_input_asks_for_no_key(jupyter: Run, wandb: Wandb, tmp_path: Path) -> None:
    write(
        tmp_path / "n.ipynb", LOAD, "%config WandbInference.endpoint = 'wandb'", "%wbchat Hi", "%wbmodels", "print(1)"
    )
    command = ("jupyter", "nbconvert", "--execute", "--allow-errors", "--to", "notebook", "n.ipynb", "--output=out")
    process = jupyter(*command, **wandb.environment)
    assert process.returncode == 0, process.stderr
    _, _, chat, models, last = cells_of(tmp_path / "out.ipynb")
    for cell in (chat, models):
        (output,) = cell.outputs
        assert "What to do:" in without_colours("\n".join(output.traceback))
    assert last.outputs[0].text == "1\n"
    assert wandb.connected_to == []


def test_running_an_executed_notebook_again_gives_the_same_thread(
    jupyter: Run, service: Service, tmp_path: Path
) -> None:
    write(
        tmp_path / "n.ipynb",
        LOAD,
        "%%wbchat\none",
        "%%wbchat\ntwo",
        "%%wbchat --once\naside",
        "%%wbchat\nthree",
        "%wbthread --show",
    )
    conversations = []
    for _ in range(2):
        service.received.clear()
        process = jupyter("jupyter", "execute", "--inplace", "n.ipynb")
        assert process.returncode == 0, process.stderr
        conversations.append([[message["content"] for message in chat.body["messages"]] for chat in service.chats])
    assert conversations[0] == conversations[1]
    assert conversations[1][-1] == ["one", "Hello there.", "two", "Hello there.", "three"]
    *_, three, shown = cells_of(tmp_path / "n.ipynb")
    assert len(three.outputs) == 1
    assert "turn 3" in three.outputs[0].data["text/plain"]
    text = shown.outputs[0].data["text/plain"]
    assert text.index("one") < text.index("two") < text.index("three")
