"""What cells do while a job runs: to its rows, its questions, its budget."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from held_jobs import MAP, ROWS, Held, run
from kernels import Kernel
from service import Service, completion

from wandb_inference_magic.session import current_session


def test_rows_can_be_changed_after_a_job_has_begun(
    api: ModuleType, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)
    rows = [{"n": number, "label": f"of {number}"} for number in range(6)]
    mapped = api.map_prompts(rows, "{{ n }}", background=True)
    evaluated = api.evaluate(rows, "{{ n }}", truth="label", models="test/x", background=True)
    for row in rows:
        row["label"] = "changed"
    rows[0].clear()
    held.may.set()
    assert mapped.wait(60)[["n", "label"]].values.tolist() == [[number, f"of {number}"] for number in range(6)]
    assert evaluated.wait(60).summary.right.tolist() == [6]


def test_templates_run_in_the_cell_and_later_changes_of_the_frame_do_not_matter(kernel: Kernel, held: Held) -> None:
    kernel.run(f"{ROWS}\nimport threading\nran_in = set()\nclass Seen:\n    def __str__(self): return 'x'")
    kernel.run("def where():\n    ran_in.add(threading.current_thread() is threading.main_thread())\n    return 'here'")
    assert run(kernel, "%%wbmap df --bg -o labelled\n{{ n }} {{ where() }}").ok
    kernel.run("df['n'] = 0\ndf.drop(index=range(20), inplace=True)")
    held.may.set()
    assert kernel.value("labelled.wait(60).n.tolist()") == list(range(40))
    assert kernel.value("ran_in") == {True}


@pytest.mark.parametrize(
    "magic", ["%%wbmap df --bg -o df", '%%wbmap "df" --bg -o df', "%%wbeval (df) --truth n --bg -o df"]
)
def test_a_job_does_not_replace_the_frame_that_it_works_on(kernel: Kernel, service: Service, magic: str) -> None:
    assert kernel.run(ROWS).ok
    refused = run(kernel, f"{magic}\n{{{{ n }}}}?").error
    assert "The job would replace the frame df. Nothing was sent." in refused
    assert "-o df_job" in refused
    assert service.chats == []
    assert kernel.value("len(df)") == 40


def test_a_cell_that_is_run_again_ends_its_job_and_goes_on(mapping: Kernel, held: Held) -> None:
    mapping.run("first = labelled")
    assert run(mapping, MAP, cell_id="the-cell").ok
    assert mapping.value("first.state") == "cancelled"
    held.may.set()
    assert mapping.value("len(labelled.wait(60))") == 40


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("%%wbmap df --limit 1\nOf {{ n }}?", "Of 0?"),
        ("%%wbeval df --truth n --limit 1\nOf {{ n }}?", "Of 0?"),
        ("%%wbchat\nHello", "Hello"),
        ("from wandb_inference_magic import map_prompts\nmap_prompts(['Hello'], '{{ text }}')", "Hello"),
    ],
)
def test_a_cell_that_is_run_again_without_a_job_ends_its_job(
    mapping: Kernel, held: Held, service: Service, code: str, asked: str
) -> None:
    assert mapping.run("first = labelled").ok
    # It looks, and sends nothing.
    assert run(mapping, "%%wbmap df --dry-run\nOf {{ n }}?", cell_id="the-cell").ok
    assert mapping.value("first.state") == "running"
    service.always = completion("good")
    again = run(mapping, code, cell_id="the-cell")
    assert again.ok, again.error
    assert mapping.value("first.state") == "cancelled"
    assert ("Job 1 (%%wbmap df) is cancelled: " in again.text) == code.startswith("%%wb")
    held.may.set()
    assert service.last.body["messages"][-1]["content"] == asked


def test_a_map_of_what_a_job_is_asking_waits_for_its_answers(mapping: Kernel, held: Held, service: Service) -> None:
    """Nothing is paid for twice."""
    again = run(mapping, MAP.replace("labelled", "again").replace("df ", "df.head(5) "), cell_id="another-cell")
    assert again.ok, again.error
    waits = "another map or job is asking the same question"
    assert waits in mapping.updated(waits)
    assert mapping.value("again.state") == "waiting"
    held.may.set()
    for name, number in {"labelled": 40, "again": 5}.items():
        answers = [f"of What of {n}?" for n in range(number)]
        assert mapping.value(f"{name}.wait(60).reply.tolist()") == answers
    assert len(service.chats) == 40


def test_a_map_asks_what_an_ended_job_has_not(mapping: Kernel, held: Held, service: Service) -> None:
    again = run(mapping, MAP.replace("labelled", "again"), cell_id="another-cell")
    assert again.ok, again.error
    assert mapping.run("labelled.cancel(); labelled.join(60)").ok
    held.may.set()
    assert mapping.value("again.wait(60).reply.notna().sum().item()") == 40


LEFT = "Command(current_session(), dry=True).budget.left"


@pytest.mark.parametrize("options", ["--max-tokens 1000", ""])
@pytest.mark.parametrize("shared", ["", "--budget-file shared.sqlite"])
def test_the_notebook_and_a_job_share_the_budget(
    kernel_with_catalog: Kernel, wandb: Any, options: str, shared: str
) -> None:
    kernel, held = kernel_with_catalog, Held()
    wandb.api.always = held
    kernel.run(f"{ROWS}\nimport time\nfrom wandb_inference_magic.session import Command, current_session")
    assert kernel.run(f"%wbconfig --budget 0.005 {shared}").ok
    begun = run(kernel, f"%%wbmap df --bg -o labelled {options}\n{{{{ n }}}}")
    assert begun.ok, begun.error
    assert held.asked.wait(60)
    # Until it has reserved all that it may.
    assert kernel.run(f"left = 1\nwhile left != (left := {LEFT}): time.sleep(0.3)").ok
    refused = kernel.run("%wbchat --max-tokens 100000 hi").error
    assert "is left of the budget" in refused
    assert "Calls in progress have reserved $0.00" in refused
    held.may.set()
    assert kernel.value("labelled.wait(60).reply.notna().sum().item()") == 40
    wandb.api.then(completion("Yes."))
    chat = kernel.run("%wbchat --once hi")
    assert chat.ok, chat.error


def test_a_map_waits_for_what_calls_in_progress_have_reserved(kernel_with_catalog: Kernel, wandb: Any) -> None:
    kernel, held = kernel_with_catalog, Held()
    wandb.api.always = completion("Yes.")
    wandb.api.then(held)
    kernel.run(ROWS)
    assert kernel.run("%wbconfig --budget 0.0004").ok
    begun = run(kernel, "%%wbchat --bg -o chat\nhi")
    assert begun.ok, begun.error
    assert held.asked.wait(60)
    begun = run(kernel, "%%wbmap df.head(4) --bg -o labelled\n{{ n }}")
    assert begun.ok, begun.error
    waits = "calls in progress have reserved the rest of the budget"
    assert waits in kernel.updated(waits)
    assert kernel.value("labelled.state") == "waiting"
    held.may.set()
    assert kernel.value("labelled.wait(60).reply.tolist()") == ["Yes."] * 4
