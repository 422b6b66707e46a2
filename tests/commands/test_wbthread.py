"""Threads in a real kernel: cells run again, forks, `%wbthread`, the context of the model, as sent to the service."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, SharedKernel
from service import Service, Streamed, Wandb, calling

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import Reply, ToolCall, ToolStep
from wandb_inference_magic.messages.thread import Thread, Turn
from wandb_inference_magic.rendering.thread_file import export, import_, left_out_of, to_html, to_markdown


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


def sent(service: Service) -> list[Any]:
    return [message["content"] for message in service.last.body["messages"]]


def queue_replies(service: Service, *texts: str) -> None:
    service.then(*(Streamed([text]) for text in texts))


def test_run_all_and_edited_cells_keep_the_written_order(kernel: Kernel, service: Service) -> None:
    cells = {"c1": "one", "c2": "two", "c3": "three"}
    for _ in range(2):
        queue_replies(service, "A", "B", "C")
        for cell_id, text in cells.items():
            kernel.run(f"%%wbchat\n{text}", cell_id=cell_id)
        assert sent(service) == ["one", "A", "two", "B", "three"]
    queue_replies(service, "B2", "C2")
    assert "turn 2 · 2 earlier messages" in kernel.run("%%wbchat\ntwo, edited", cell_id="c2").text
    assert sent(service) == ["one", "A", "two, edited"]
    kernel.run("%%wbchat\nthree", cell_id="c3")
    assert sent(service) == ["one", "A", "two, edited", "B2", "three"]
    # A cell that is inserted in between comes last: the kernel does not know its position.
    kernel.run("%%wbchat\nfour", cell_id="c4")
    assert sent(service) == ["one", "A", "two, edited", "B2", "three", "C2", "four"]


@pytest.mark.parametrize("options", ["--once", "--thread other", "-m test/model-a -m test/model-b", "--once --bg"])
def test_a_cell_that_leaves_its_thread_takes_its_turn_along(kernel: Kernel, service: Service, options: str) -> None:
    for cell_id, text in [("c1", "one"), ("c2", "two"), ("c3", "three")]:
        kernel.run(f"%%wbchat\n{text}", cell_id=cell_id)
    run = kernel.run(f"%%wbchat {options}\ntwo", cell_id="c2")
    assert "The turn that this cell had in the thread main was removed." in run.text
    kernel.run("%%wbchat\nthree", cell_id="c3")
    assert [one["content"] for one in service.chats[-1].body["messages"][::2]] == ["one", "three"]
    assert "was removed" not in kernel.run(f"%%wbchat {options}\ntwo", cell_id="c2").text


@pytest.mark.parametrize(("options", "earlier"), [("--new", []), ("--thread main --fork side", ["aside", "B"])])
def test_an_empty_reply_also_begins_its_thread(
    kernel: Kernel, service: Service, options: str, earlier: list[str]
) -> None:
    queue_replies(service, "A", "B", "", "C")
    for line in ("one", "--thread side aside", f"{options} two", "three"):
        assert kernel.run(f"%wbchat {line}").ok
    assert sent(service) == [*earlier, "three"]


def test_a_cell_with_several_chats_keeps_its_turns_in_all_threads(kernel: Kernel, service: Service) -> None:
    cell = "%wbchat --thread a one\n%wbchat --thread b two\n%wbchat --once three"
    for _ in range(2):
        kernel.run(cell, cell_id="c1")
        kernel.run("%wbchat --thread b four", cell_id="c2")
    assert [one["content"] for one in service.chats[-1].body["messages"][::2]] == ["two", "four"]


def test_a_cell_that_chats_from_python_replaces_its_turns_too(kernel: Kernel, service: Service) -> None:
    kernel.run("from wandb_inference_magic import chat")
    cell = "for text in ['one', 'two']: chat(text, thread='main')"
    kernel.run(cell, cell_id="c1")
    kernel.run("%wbchat three", cell_id="c2")
    kernel.run(cell, cell_id="c1")
    kernel.run("%wbchat four", cell_id="c3")
    prompts = [one["content"] for one in service.chats[-1].body["messages"][::2]]
    assert prompts == ["one", "two", "three", "four"]


def test_reloading_the_extension_starts_a_new_conversation(kernel: Kernel, service: Service) -> None:
    kernel.run("%%wbchat\none", cell_id="c1")
    kernel.run("%unload_ext wandb_inference_magic\n%load_ext wandb_inference_magic")
    kernel.run("%%wbchat\none", cell_id="c1")
    assert sent(service) == ["one"]


@pytest.mark.short
@pytest.mark.parametrize(
    "first", ["%wbchat {{ nope }}", "%wbchat --no-such-option two", "%wbchat --once two", "%wbchat --thread other two"]
)
def test_a_cell_that_had_no_turn_at_first_keeps_its_place(kernel: Kernel, service: Service, first: str) -> None:
    for cell, text in (("c1", "%wbchat one"), ("c2", first), ("c3", "%wbchat three"), ("c2", "%wbchat two")):
        kernel.run(text, cell_id=cell)
    assert sent(service) == ["one", "Hello there.", "two"]


def test_the_cell_id_of_ipython_is_used_if_the_front_end_sends_none(kernel: Kernel, service: Service) -> None:
    shell = "get_ipython()"
    # A shell that runs cells itself, as in some kernels: IPython receives the id, but no request contains one.
    run = f"{shell}.run_cell('%%wbchat\\n{{}}', cell_id='{{}}', store_history=True)"
    kernel.run(run.format("one", "x1"))
    kernel.run(run.format("two", "x2"))
    assert sent(service) == ["one", "Hello there.", "two"]
    kernel.run(run.format("one again", "x1"))
    assert sent(service) == ["one again"]


def test_a_first_cell_may_clear_and_show_the_current_thread(kernel: Kernel, service: Service) -> None:
    for option, expected in {"--show": "no turns yet", "--clear": "is empty now", "--delete": "is deleted"}.items():
        assert expected in kernel.run(f"%wbthread {option}").text
    assert "no turn to take back" in kernel.run("%wbthread --undo").error
    assert "There is no thread 'main'" not in kernel.run("%wbthread other\n%wbthread --clear").text
    kernel.run("%wbchat one")
    assert sent(service) == ["one"]
    assert "There is no thread 'mine'" in kernel.run("%wbthread mine --clear").error


@pytest.mark.parametrize(
    "begin",
    [
        '%wbchat --new -s "In French." two',
        '%wbthread --clear\n%wbchat -s "In French." two',
        '%wbthread --delete\n%wbchat -s "In French." two',
        '%wbchat --thread main --fork side -s "In French." two',
    ],
)
def test_cells_above_one_that_begins_the_thread_afresh_send_the_same_again(
    kernel: Kernel, service: Service, begin: str
) -> None:
    kernel.run("%wbchat --thread side aside")
    runs = []
    for _ in range(3):
        first = len(service.chats)
        for cell, text in enumerate(("%wbchat zero", "%wbchat one", begin, "%wbchat three")):
            assert kernel.run(text, cell_id=f"c{cell}").ok
        runs.append([one.body["messages"] for one in service.chats[first:]])
    assert runs[0] == runs[1] == runs[2]
    assert [len(messages) for messages in runs[0]] == [1, 3, len(runs[0][2]), len(runs[0][2]) + 2]
    kernel.run("%wbchat zero", cell_id="c0")
    assert sent(service) == ["zero"]


def test_an_export_among_cells_that_are_run_again_holds_the_turns_before_it(kernel: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "part.json"
    for _ in range(2):
        kernel.run("%wbchat one", cell_id="c1")
        assert "(1 turn)" in kernel.run(f"%wbthread --export {file}", cell_id="c2").text
        assert json.loads(file.read_text())[0]["content"] == "one"
        kernel.run("%wbchat --new two", cell_id="c3")
        kernel.run("%wbchat three", cell_id="c4")


def test_turns_that_a_copy_replaces_are_not_lost_without_a_word(kernel: Kernel) -> None:
    kernel.run("%wbchat one", cell_id="c0")
    # A cell that is run again replaces its own turn.
    for prompt in ("a", "b"):
        assert "The copy of" not in kernel.run(f"%wbchat --thread mine --fork main {prompt}", cell_id="c1").text
    shown = kernel.run("%wbchat --thread mine --fork main c", cell_id="c2").text
    assert "The copy of main replaced 1 turn of mine." in shown


def test_run_all_again_sends_the_same_also_in_cells_that_add_no_turn(kernel: Kernel, service: Service) -> None:
    cells = {
        "c0": "%wbchat -m a -m b first",
        "c1": "%wbchat one",
        "c2": "%wbchat -m a -m b compare",
        "c3": "%wbchat --fork main --thread side aside",
        "dry": "%wbchat --dry-run what?",
        "c4": "%wbchat later",
    }
    passes = []
    for _ in range(2):
        asked = len(service.chats)
        shown = {cell: kernel.run(text, cell_id=cell).text for cell, text in cells.items()}
        messages = [[one["content"] for one in chat.body["messages"]] for chat in service.chats[asked:]]
        passes.append((messages, shown["dry"]))
    assert passes[0] == passes[1]


def test_a_fork_starts_from_a_copy(kernel: Kernel, service: Service) -> None:
    queue_replies(service, "A", "B")
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
    assert "cannot be combined with" in kernel.run("%wbchat --once --fork main six").error
    kernel.run("%wbthread main")
    asked = len(service.chats)
    for line in ("--fork main seven", "--fork other --thread other seven"):
        error = kernel.run(f"%wbchat {line}").error
        assert "is the current thread: a copy of it needs another name" in error
        assert "--thread NAME" in error
    assert len(service.chats) == asked


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
    # A name is that of one thread in each form of Unicode.
    kernel.run("%wbchat --thread cafe\u0301 four")
    assert "the thread caf\u00e9 (1 turn)" in kernel.run("%wbthread cafe\u0301").text
    kernel.run("from wandb_inference_magic import chat; chat('five', thread='cafe\u0301')")
    assert sent(service) == ["four", "Hello there.", "five"]


def test_wbthread_shows_a_conversation_rendered_and_inert(kernel: Kernel, service: Service) -> None:
    queue_replies(service, "**bold** <img src=x>")
    kernel.run("%wbchat a *plain* <b>prompt</b>")
    data = kernel.run("%wbthread --show").output["data"]
    assert "**bold** &lt;img src=x>" in data["text/markdown"]
    assert "<blockquote>\n\na *plain* &lt;b>prompt&lt;/b>" in data["text/markdown"]
    # With model, time and cost, as below the reply itself.
    assert re.search(r"<small>test/model-a · 12 \+ 3 tokens · [\d.]+ s · cost unknown</small>", data["text/markdown"])
    assert data["text/plain"].startswith("[turn 1] a *plain* <b>prompt</b>\n\n**bold** <img src=x>\n\n[test/model-a · ")


SOURCE = "def mean(values):\n    # of __all__\n    return sum(values) / len(values)"


def test_a_thread_is_shown_to_be_read(kernel: Kernel, service: Service) -> None:
    """Code and frames stand as such, long ones folded; JSON is indented; tool calls and images are there."""
    queue_replies(service, '{"a": [1, 2]}', "B")
    kernel.run(f"import pandas as pd, inspect\nframe = pd.DataFrame({{'n': range(40)}})\nsource = {SOURCE!r}")
    kernel.run("%%wbchat\nExplain\nthis: $5 and $6\n\n{{ source }}\n\n{{ frame }}\n\nBriefly, \\(x^2\\).")
    kernel.run("%wbchat --image data:image/png;base64,iVBORw0KGgo= See")
    shown = kernel.run("%wbthread --show").output["data"]["text/markdown"]
    assert "Explain  \nthis: <span>\\$</span>5 and <span>\\$</span>6\n" in shown
    assert f"```python\n{SOURCE}\n```" in shown
    folded = re.search(r"<details><summary>(\d+) lines</summary>\n\n```text\nDataFrame, 40 rows", shown)
    assert folded
    assert "Briefly, $x^2$." in shown
    assert '```json\n{\n  "a": [\n    1,\n    2\n  ]\n}\n```' in shown
    assert "![image](data:image/png;base64,iVBORw0KGgo=)" in shown


def test_tool_calls_of_a_turn_are_shown(kernel: Kernel, service: Service) -> None:
    thread = Thread("main", [Turn("hi", "Done.", answer=answer_with_a_step())])
    assert "- `add(a=1)` → `2`\n\nDone." in to_markdown(thread)
    assert "<code>add(a=1)</code>" in to_html(thread)


def test_an_export_of_messages_says_what_it_leaves_out(kernel: Kernel, service: Service) -> None:
    calls, thought = replace(answer_with_a_step(), reasoning="Hm."), Reply("Yes.", "m", "m", "wandb", reasoning="Hm.")
    thread = Thread("main", [Turn("hi", "Done.", answer=calls), Turn("so", "Yes.", answer=thought), Turn("a", "b")])
    assert left_out_of(thread, Path("a.JSON")) == ("1 tool call", "the reasoning of 2 replies")
    assert left_out_of(thread, Path("a.md")) == left_out_of(Thread("main"), Path("a.json")) == ()
    service.then(calling(("add", '{"a": 1}')))
    assert kernel.run("def add(a: int):\n    'Add.'\n    return a + 1\n%wbchat --tools add hi").ok
    assert "t.json. Left out: 1 tool call." in kernel.run("%wbthread --export t.json").text
    assert "Left out" not in kernel.run("%wbthread --export t.md").text


def answer_with_a_step() -> Reply:
    step = ToolStep(ToolCall("1", "add", '{"a": 1}'), "2", True, 0.1)
    return Reply("Done.", "m", "m", "wandb", steps=(step,))


def test_a_turn_is_edited(kernel: Kernel, service: Service) -> None:
    """Its prompt comes as it was sent, and the next chat of a new cell replaces that turn alone."""
    kernel.run("%%wbchat -s Briefly.\none {{ '{{ 1 }}' }}", cell_id="c1")
    kernel.run("%%wbchat\ntwo", cell_id="c2")
    run = kernel.run("%wbthread --edit 1", cell_id="c3")
    assert "Turn 1 of main is in a new cell." in run.text
    (payload,) = run.reply["payload"]
    assert payload["text"] == "%%wbchat --raw -s Briefly.\none {{ 1 }}"
    queue_replies(service, "New.", "Newer.")
    assert "turn 1" in kernel.run("%%wbchat --raw\nuno {{ 1 }}", cell_id="c4").text
    assert sent(service) == ["Briefly.", "uno {{ 1 }}"]
    kernel.run("%%wbchat\nthree", cell_id="c5")
    assert sent(service) == ["Briefly.", "uno {{ 1 }}", "New.", "two", "Hello there.", "three"]
    # The new cell has the turn now.
    kernel.run("%%wbchat -s Briefly.\neins", cell_id="c4")
    assert sent(service) == ["Briefly.", "eins"]
    assert "The thread main has 3 turns, so there is no turn 4." in kernel.run("%wbthread --edit 4").error
    # Without cell ids the prompt is shown, to be copied.
    assert "%%wbchat --raw\ntwo" in kernel.run("%wbthread --edit 2").text


def test_a_cell_that_imports_a_thread_can_be_run_again(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    file = tmp_path / "examples.json"
    for text in ("one", "uno"):
        file.write_text(json.dumps([{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]))
        run = kernel.run(f"%wbthread examples --import {file}")
        assert run.ok, run.error
        kernel.run("%wbchat --thread mine --fork examples two")
        assert sent(service) == [text, "Yes.", "two"]
    assert "in place of those that were imported before" in run.text
    kernel.run("%wbchat --thread examples three")
    assert "has turns already" in kernel.run(f"%wbthread examples --import {file}").error


def test_an_edit_outlives_the_undoing_of_another_turn(kernel: Kernel, service: Service) -> None:
    for number, text in enumerate(("one", "two", "three")):
        kernel.run(f"%%wbchat\n{text}", cell_id=f"c{number}")
    kernel.run("%wbthread --edit 1", cell_id="c4")
    kernel.run("%wbthread --undo", cell_id="c5")
    assert "turn 1" in kernel.run("%%wbchat --raw\nuno", cell_id="c6").text
    assert sent(service) == ["uno"]
    kernel.run("%wbthread --edit 2", cell_id="c7")
    kernel.run("%wbthread --undo", cell_id="c8")
    assert "turn 2" in kernel.run("%%wbchat --raw\ndue", cell_id="c9").text
    assert sent(service) == ["uno", "Hello there.", "due"]


def test_an_edit_in_cells_that_are_run_again_numbers_the_turns_as_they_are_shown(
    kernel: Kernel, service: Service
) -> None:
    for _ in range(2):
        kernel.run("%wbchat one", cell_id="c1")
        kernel.run("%wbchat two", cell_id="c2")
        assert "turn 2" in kernel.run("%wbthread --show", cell_id="c3").output["data"]["text/plain"]
        run = kernel.run("%wbthread --edit 2", cell_id="c4")
        assert run.ok, run.error
        assert run.reply["payload"][0]["text"] == "%%wbchat --raw\ntwo"
        kernel.run("%wbchat --new other", cell_id="c5")
    assert "turn 2" in kernel.run("%%wbchat --raw\ndue", cell_id="c6").text
    assert sent(service) == ["one", "Hello there.", "due"]


def test_the_formulas_of_a_page_need_no_script() -> None:
    hostile = r"$\text{<img src=x>}$ and $\href{javascript:alert(1)}{x}$ and $\sqrt{x}$ and $\ce{H2O}$, or $5 and $6."
    page = to_html(Thread("main", [Turn("hi", hostile)]))
    assert '<math display="inline"><mrow><msqrt>' in page
    assert "<mtext>img\xa0src=x&gt;</mtext>" in page
    assert "<code>$\\ce{H2O}$</code>" in page
    assert "<img" not in page
    assert "href" not in page.replace("\\href", "")
    assert "<span>$</span>5 and <span>$</span>6." in page


def test_turns_are_undone_cleared_and_deleted(kernel: Kernel, service: Service) -> None:
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
    kernel.run("%wbchat six", cell_id="c6")
    kernel.run("%wbthread --clear", cell_id="c7")
    assert "no turn to take back" in kernel.run("%wbthread --undo", cell_id="c8").error
    kernel.run("%wbchat nine", cell_id="c9")
    kernel.run("%wbchat --once ten", cell_id="c6")
    assert "no turn before this cell to take back" in kernel.run("%wbthread --undo", cell_id="c8").error
    assert "one thing at a time" in kernel.run("%wbthread --undo --clear").error


def test_a_thread_is_exported_and_imported(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    queue_replies(service, "A $x$ **b**", "B")
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
    # Python 3.10 and 3.11 take no subclass of str for the name of a file.
    kernel.run(f"import os; os.chdir({str(tmp_path)!r}); name = 'talk'")
    assert "2 turns" in kernel.run("%wbthread --export {{ name }}.json").text
    kernel.run("%wbthread again --import {{ name }}.json")
    kernel.run("%wbchat --thread again three")
    assert sent(service) == ["Be brief.", "one", "A $x$ **b**", "two", "B", "three"]
    assert "has turns already" in kernel.run(f"%wbthread again --import {tmp_path}/talk.json").error
    kernel.run(f"%wbthread --export {tmp_path}/talk.md")
    text = (tmp_path / "talk.md").read_text()
    assert text.startswith(
        "# main\n\n## Turn 1\n\n> System: Be brief.\n\n**Prompt**\n\n<blockquote>\n\none\n\n\n\n</blockquote>\n\n"
        "**Reply**\n\nA $x$ **b**\n\n<small>test/model-a"
    )
    assert "## Turn 2" in text
    kernel.run(f"%wbthread --export {tmp_path}/talk.html")
    page = (tmp_path / "talk.html").read_text()
    assert "System: Be brief." in page
    assert "<mi>x</mi>" in page
    assert "<strong>b</strong>" in page
    kernel.run(f"%wbthread --export {tmp_path}/TALK.HTML")
    assert (tmp_path / "TALK.HTML").read_text() == page
    unknown = kernel.run(f"%wbthread --export {tmp_path}/talk.docx").error
    assert "talk.docx has the ending .docx: the export format is unknown." in unknown
    assert ".json for OpenAI messages" in unknown
    nowhere = kernel.run(f"%wbthread --export {tmp_path}/no-such-folder/talk.md").error
    assert "talk.md could not be written." in nowhere
    assert "Name a file in an existing folder that you can write to: %wbthread --export FILE." in nowhere


def test_the_default_system_prompt_is_part_of_the_conversation(
    kernel: Kernel, service: Service, tmp_path: Path
) -> None:
    for default, prompt in (("Be brief.", "one"), ("Be brief.", "two"), ("Be kind.", "three")):
        kernel.run(f"%config WandbInference.system = {default!r}")
        kernel.run(f"%wbchat {prompt}")
    assert sent(service)[0] == "Be kind."
    kernel.run("%wbchat -s 'Be a pirate.' four")
    kernel.run("%wbchat five")
    kernel.run(f"%wbthread --export {tmp_path}/talk.json")
    messages = json.loads((tmp_path / "talk.json").read_text())
    assert [one["content"] for one in messages if one["role"] != "assistant"] == [
        *("Be brief.", "one", "two", "Be kind.", "three", "Be a pirate.", "four", "five")
    ]
    shown = kernel.run("%wbthread --show")
    assert shown.text.count("[System] Be brief.") == 1
    assert shown.output["data"]["text/markdown"].count("> System: ") == 3


def test_the_examples_for_the_model_in_the_docs_are_sent_first(kernel: Kernel, service: Service) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "howto" / "conversations.md").read_text(encoding="utf-8")
    section = page.partition("## Examples for the model")[2].partition("\n## ")[0]
    *cells, chat = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for cell in cells:
        assert kernel.run(cell).ok
    for _ in range(2):
        assert kernel.run(chat).ok
        roles = [one["role"] for one in service.last.body["messages"]]
        assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert service.last.body["messages"][-1]["content"] == "I would see it again."


def test_a_file_that_is_not_a_conversation_is_refused_on_import(shared: SharedKernel, tmp_path: Path) -> None:
    files = {
        "deep.json": b"[" * 100_000 + b"]" * 100_000,
        "digits.json": b'[{"role": "user", "content": ' + b"1" * 5000 + b"}]",
        "binary.json": b"\xff\xfe\x00\x01" * 1000,
        "object.json": b'{"messages": {"role": "user"}}',
        "odd.json": b'[{"role": ["user"]}]',
        "parts.json": b'[{"role": "user", "content": [5]}]',
        "empty.json": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        error = shared.kernel.run(f"%wbthread other --import {tmp_path}/{name}").error
        assert f"{name} holds no conversation." in error
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**10)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("huge.json", "folder.json", "pipe.json"):
        assert f"{name} could not be read." in shared.kernel.run(f"%wbthread other --import {tmp_path}/{name}").error


def test_a_long_thread_is_trimmed_with_a_notice(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    wandb.api.always = Streamed(["x" * 200])
    for number in range(3):
        run = kernel_with_catalog.run(f"%wbchat turn {number} {'y' * 200}")
    assert [one[:6] for one in sent(wandb.api)] == ["turn 1", "xxxxxx", "turn 2"]
    notice = "The thread does not fit into the model's context of 300 tokens: its oldest turn was not sent."
    assert notice in run.text
    assert "turn 3 · 2 earlier messages" in run.text
    assert kernel_with_catalog.value("_wbreply.notices") == (notice,)
    run = kernel_with_catalog.run("%wbchat --max-tokens 290 turn 4")
    reserved = "model's context of 300 tokens, of which 290 are for the reply (max_tokens): its 3 oldest turns"
    assert reserved in run.text


def test_an_image_that_a_model_cannot_see_is_announced(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel_with_catalog.run("%wbchat -m test/eyes --image data:image/png;base64,iVBORw0KGgo= See")
    run = kernel_with_catalog.run("%wbchat And?")
    assert sent(wandb.api)[0] == "See[image]"
    assert "This model reads text only: the images of earlier turns were not sent" in run.text
    assert "text only" not in kernel_with_catalog.run("%wbchat --once And?").text


def test_a_part_that_a_model_cannot_read_is_announced(
    kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path
) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    talk = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "b"}]
    (tmp_path / "talk.json").write_text(json.dumps(talk))
    kernel_with_catalog.run(f"%wbthread --import {tmp_path}/talk.json")
    run = kernel_with_catalog.run("%wbchat And?")
    assert sent(wandb.api)[0] == "[input_audio]"
    assert "the non-text parts of earlier turns were not sent; each was replaced by [input_audio]" in run.text


def test_a_prompt_that_is_longer_than_the_context_is_refused(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    run = kernel_with_catalog.run(f"%wbchat {'y' * 2000}")
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
def test_import_refuses_a_part_without_text(tmp_path: Path, part: object, role: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(json.dumps([{"role": role, "content": [part]}, {"role": "user", "content": "a"}]))
    with pytest.raises(InferenceError, match="A part of message 1 has no text"):
        import_("odd", str(file))


def test_what_an_import_leaves_out_is_said_and_other_parts_are_shown(
    kernel: Kernel, service: Service, tmp_path: Path
) -> None:
    look = [{"type": "input_text", "text": "Listen"}, {"type": "input_audio", "input_audio": {"data": "AAAA"}}]
    talk = [{"role": "user", "content": look}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    (tmp_path / "talk.json").write_text(json.dumps(talk))
    said = kernel.run(f"%wbthread --import {tmp_path}/talk.json").text
    assert "The thread main has 1 turn from" in said
    assert "Left out: a last prompt without a reply." in said
    assert "Listen[input_audio]" in kernel.run("%wbthread --show").output["data"]["text/plain"]
    assert "input_audio" in kernel.run("%wbchat --dry-run And?").text
    run = kernel.run("%wbthread --edit 1", cell_id="c1")
    assert "Some of its parts are not in the cell, which cannot hold them: [input_audio]." in run.text
    assert run.reply["payload"][0]["text"] == "%%wbchat --raw\nListen"


@pytest.mark.parametrize("ending", ["md", "html", "json"])
def test_half_a_surrogate_pair_is_exported(tmp_path: Path, ending: str) -> None:
    messages = [{"role": role, "content": "a\ud800"} for role in ("system", "user", "assistant")]
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(messages))
    assert "a" in export(import_("odd", str(file)).thread, str(tmp_path / f"out.{ending}")).read_text(encoding="utf-8")


def test_an_unknown_home_folder_is_reported() -> None:
    with pytest.raises(InferenceError, match="could not be read"):
        import_("odd", "~no-such-user/a.json")
    with pytest.raises(InferenceError, match="could not be written"):
        export(Thread("a"), "~no-such-user/a.json")


@pytest.mark.parametrize("ending", ["md", "html", "json"])
def test_an_export_that_fails_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    file = tmp_path / f"talk.{ending}"
    file.write_text("before")
    thread = Thread("main", turns=[Turn("half \ud83d", "of \udc00 a character")])
    assert export(thread, str(file)).read_text(encoding="utf-8") != "before"
    file.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InferenceError, match="No space left"):
        export(thread, str(file))
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
