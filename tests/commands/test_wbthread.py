"""Threads in a real kernel: cells run again, forks, `%wbthread`, the model's context; all as it goes over the wire."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from kernels import Kept, Kernel
from service import Service, Streamed, Wandb

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.thread import Thread
from wandb_inference_magic.rendering.thread_file import export, import_


def sent(service: Service) -> list[Any]:
    return [message["content"] for message in service.last.body["messages"]]


def answering(service: Service, *texts: str) -> None:
    service.then(*(Streamed([text]) for text in texts))


def test_run_all_edit_and_restart_give_the_written_order(kernel: Kernel, service: Service) -> None:
    cells = {"c1": "one", "c2": "two", "c3": "three"}
    for _ in range(2):
        answering(service, "A", "B", "C")
        for cell_id, words in cells.items():
            kernel.run(f"%%wbchat\n{words}", cell_id=cell_id)
        assert sent(service) == ["one", "A", "two", "B", "three"]
    answering(service, "B2", "C2")
    assert "turn 2 · 2 earlier messages" in kernel.run("%%wbchat\ntwo, edited", cell_id="c2").text
    assert sent(service) == ["one", "A", "two, edited"]
    kernel.run("%%wbchat\nthree", cell_id="c3")
    assert sent(service) == ["one", "A", "two, edited", "B2", "three"]
    # A cell that was inserted between goes to the end: the kernel is not told where it stands.
    kernel.run("%%wbchat\nfour", cell_id="c4")
    assert sent(service) == ["one", "A", "two, edited", "B2", "three", "C2", "four"]


def test_a_restart_begins_anew(kernel: Kernel, service: Service) -> None:
    kernel.run("%%wbchat\none", cell_id="c1")
    kernel.run("%unload_ext wandb_inference_magic\n%load_ext wandb_inference_magic")
    kernel.run("%%wbchat\none", cell_id="c1")
    assert sent(service) == ["one"]


@pytest.mark.short
def test_ipythons_own_cell_id_counts_where_the_front_end_sends_none(kernel: Kernel, service: Service) -> None:
    shell = "get_ipython()"
    # A shell that runs cells itself, as some kernels do: IPython is told the id, no request names one.
    run = f"{shell}.run_cell('%%wbchat\\n{{}}', cell_id='{{}}', store_history=True)"
    kernel.run(run.format("one", "x1"))
    kernel.run(run.format("two", "x2"))
    assert sent(service) == ["one", "Hello there.", "two"]
    kernel.run(run.format("one again", "x1"))
    assert sent(service) == ["one again"]


def test_a_first_cell_may_clear_and_show_the_current_thread(kernel: Kernel, service: Service) -> None:
    for option, told in {"--show": "no turns yet", "--clear": "is empty now", "--delete": "is deleted"}.items():
        assert told in kernel.run(f"%wbthread {option}").text
    assert "no turn to take back" in kernel.run("%wbthread --undo").error
    assert "There is no thread 'main'" not in kernel.run("%wbthread other\n%wbthread --clear").text
    kernel.run("%wbchat one")
    assert sent(service) == ["one"]
    assert "There is no thread 'mine'" in kernel.run("%wbthread mine --clear").error


def test_a_fork_starts_from_a_copy(kernel: Kernel, service: Service) -> None:
    answering(service, "A", "B")
    kernel.run("%wbchat one")
    assert "turn 2 of other · 2 earlier messages" in kernel.run("%wbchat --thread other --fork main two").text
    assert sent(service) == ["one", "A", "two"]
    kernel.run("%wbchat three")
    assert sent(service) == ["one", "A", "three"]
    kernel.run("%wbchat --thread other four")
    assert sent(service) == ["one", "A", "two", "B", "four"]
    error = kernel.run("%wbchat --thread z --fork othr five").error
    assert "There is no thread 'othr'" in error
    assert "Did you mean other?" in error
    assert "does not go with" in kernel.run("%wbchat --once --fork main six").error


def test_the_system_prompt_stays_with_its_thread(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat -s 'Speak like a pirate.' one")
    kernel.run("%wbchat two")
    assert sent(service)[0] == "Speak like a pirate."
    kernel.run("%wbchat --thread other three")
    assert sent(service) == ["three"]
    kernel.run("%wbchat -s 'Be brief.' four")
    assert sent(service) == ["Be brief.", "one", "Hello there.", "two", "Hello there.", "four"]


def test_wbthread_lists_and_switches(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat one")
    assert "current thread" not in kernel.run("%wbthread").text
    assert "next chats continue the thread side (0 turns)" in kernel.run("%wbthread side").text
    kernel.run("%wbchat two")
    assert sent(service) == ["two"]
    table = kernel.run("%wbthread").text
    assert "side ← current  1" in table
    assert table.splitlines()[2].split()[:2] == ["main", "1"]
    kernel.run("%wbthread main")
    kernel.run("%wbchat three")
    assert sent(service) == ["one", "Hello there.", "three"]


def test_wbthread_shows_a_conversation_rendered_and_inert(kernel: Kernel, service: Service) -> None:
    answering(service, "**bold** <img src=x>")
    kernel.run("%wbchat a *plain* <b>prompt</b>")
    data = kernel.run("%wbthread --show").output["data"]
    assert "**bold** &lt;img src=x>" in data["text/markdown"]
    assert "> a \\*plain\\* &lt;b>prompt&lt;/b>" in data["text/markdown"]
    assert data["text/plain"] == "[turn 1] a *plain* <b>prompt</b>\n\n**bold** <img src=x>"


def test_undo_clear_and_delete(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat one")
    kernel.run("%wbchat two")
    assert "Undone: 'two'. main has 1 turn." in kernel.run("%wbthread --undo").text
    kernel.run("%wbchat three")
    assert sent(service) == ["one", "Hello there.", "three"]
    kernel.run("%wbthread --clear")
    kernel.run("%wbchat four")
    assert sent(service) == ["four"]
    kernel.run("%wbthread side")
    kernel.run("%wbchat five")
    assert "The next chats continue main" in kernel.run("%wbthread --delete").text
    assert "There is no thread 'side'" in kernel.run("%wbthread side --show").error
    assert "one thing at a time" in kernel.run("%wbthread --undo --clear").error


def test_export_and_import(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    answering(service, "A $x$ **b**", "B")
    kernel.run("%wbchat -s 'Be brief.' one")
    kernel.run("%wbchat two")
    assert "2 turns" in kernel.run(f"%wbthread --export {tmp_path}/talk.json").text
    messages = json.loads((tmp_path / "talk.json").read_text())
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "A $x$ **b**"),
        ("user", "two"),
        ("assistant", "B"),
    ]
    kernel.run(f"%wbthread again --import {tmp_path}/talk.json")
    kernel.run("%wbchat --thread again three")
    assert sent(service) == ["Be brief.", "one", "A $x$ **b**", "two", "B", "three"]
    assert "has turns already" in kernel.run(f"%wbthread again --import {tmp_path}/talk.json").error
    kernel.run(f"%wbthread --export {tmp_path}/talk.md")
    text = (tmp_path / "talk.md").read_text()
    assert "## Turn 1\n\n> System: Be brief.\n\n**Prompt**\n\none\n\n**Reply**\n\nA $x$ **b**\n\n## Turn 2" in text
    kernel.run(f"%wbthread --export {tmp_path}/talk.html")
    page = (tmp_path / "talk.html").read_text()
    assert '<div class="system">Be brief.</div>' in page
    assert "<strong>b</strong>" in page
    unknown = kernel.run(f"%wbthread --export {tmp_path}/talk.docx").error
    assert "talk.docx has the ending .docx: it does not say in which form to export." in unknown
    assert ".json for OpenAI messages" in unknown
    nowhere = kernel.run(f"%wbthread --export {tmp_path}/no-such-folder/talk.md").error
    assert "talk.md could not be written." in nowhere
    assert "Check the name and its folder." in nowhere


def test_a_file_that_is_no_conversation_is_told_in_a_sentence(kept: Kept, tmp_path: Path) -> None:
    said = {
        "deep.json": b"[" * 100_000 + b"]" * 100_000,
        "digits.json": b'[{"role": "user", "content": ' + b"1" * 5000 + b"}]",
        "binary.json": b"\xff\xfe\x00\x01" * 1000,
        "object.json": b'{"messages": {"role": "user"}}',
        "odd.json": b'[{"role": ["user"]}]',
        "parts.json": b'[{"role": "user", "content": [5]}]',
        "empty.json": b"",
    }
    for name, data in said.items():
        (tmp_path / name).write_bytes(data)
        error = kept.kernel.run(f"%wbthread other --import {tmp_path}/{name}").error
        assert f"{name} holds no conversation." in error
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**10)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("huge.json", "folder.json", "pipe.json"):
        assert f"{name} could not be read." in kept.kernel.run(f"%wbthread other --import {tmp_path}/{name}").error


def test_a_long_thread_is_trimmed_and_the_cell_says_so(informed_kernel: Kernel, wandb: Wandb) -> None:
    wandb.api.always = Streamed(["x" * 200])
    for number in range(3):
        run = informed_kernel.run(f"%wbchat turn {number} {'y' * 200}")
    assert [one[:6] for one in sent(wandb.api)] == ["turn 1", "xxxxxx", "turn 2"]
    notice = "The thread nears the model's context of 300 tokens: its oldest turn was not sent."
    assert notice in run.text
    assert "turn 3 · 2 earlier messages" in run.text
    assert informed_kernel.value("_wbreply.notices") == (notice,)


def test_a_prompt_that_does_not_fit_alone_is_refused_before_it_is_sent(informed_kernel: Kernel, wandb: Wandb) -> None:
    run = informed_kernel.run(f"%wbchat {'y' * 2000}")
    assert "about 504 tokens" in run.error
    assert "has room for 300" in run.error
    assert wandb.api.chats == []


def test_reasoning_is_never_sent_back(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["42"], reasoning=["Let me think."]))
    kernel.run("%wbchat one")
    kernel.run("%wbchat two")
    assert "think" not in json.dumps(service.last.body)


@pytest.mark.parametrize("part", [{"type": "text"}, {"type": "text", "text": 5}, {"type": "text", "text": None}])
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_part_without_words_is_no_conversation(tmp_path: Path, part: object, role: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(json.dumps([{"role": role, "content": [part]}, {"role": "user", "content": "a"}]))
    with pytest.raises(InferenceError, match="A part of message 1 has no text"):
        import_("odd", str(file))


@pytest.mark.parametrize("ending", ["md", "html", "json"])
def test_half_a_character_costs_no_export(tmp_path: Path, ending: str) -> None:
    messages = [{"role": role, "content": "a\ud800"} for role in ("system", "user", "assistant")]
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(messages))
    assert "a" in export(import_("odd", str(file)), str(tmp_path / f"out.{ending}")).read_text(encoding="utf-8")


def test_a_home_that_is_not_there_is_an_error_with_a_message() -> None:
    with pytest.raises(InferenceError, match="could not be read"):
        import_("odd", "~no-such-user/a.json")
    with pytest.raises(InferenceError, match="could not be written"):
        export(Thread("a"), "~no-such-user/a.json")
