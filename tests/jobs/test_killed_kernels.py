"""What a killed kernel leaves: the records of its jobs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any

import pytest
from held_jobs import MAP, ROWS, Held, run
from kernels import Kernel
from service import Answer, Service, completion

from wandb_inference_magic.session import JobRecord


def test_what_a_killed_kernel_left_is_listed_and_goes_on(
    mapping: Kernel, held: Held, start_kernel: Any, service: Service
) -> None:
    (record,) = Path(mapping.value("__import__('os').environ['HOME']")).rglob("jobs/*.json")
    assert "What of" not in record.read_text()
    os.kill(mapping.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    shown = kernel.run("%wbjobs").text
    assert shown.startswith("Unfinished: %%wbmap df (labelled), started ")
    assert ": at least 0 of 40 rows done when its kernel ended. Run that cell again to go on." in shown
    held.may.set()
    kernel.run(ROWS)
    assert run(kernel, MAP, cell_id="the-cell").ok
    assert kernel.value("len(labelled.wait(60))") == 40
    assert max(Counter(one.body["messages"][-1]["content"] for one in service.chats).values()) <= 2
    assert "Unfinished" not in kernel.run("%wbjobs").text
    assert list(record.parent.glob("*.json")) == []


def test_what_a_killed_kernel_left_is_done_by_its_cell_in_the_foreground(
    mapping: Kernel, held: Held, start_kernel: Any, service: Service
) -> None:
    os.kill(mapping.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    held.may.set()
    kernel.run(ROWS)
    # Without --no-cache, another cell has the answers: it leaves the record alone.
    assert run(kernel, MAP.replace(" --bg", ""), cell_id="another-cell").ok
    assert "Unfinished" in kernel.run("%wbjobs").text
    assert run(kernel, MAP.replace(" --bg", ""), cell_id="the-cell").ok
    assert "Unfinished" not in kernel.run("%wbjobs").text


@pytest.mark.parametrize(
    "again",
    [
        MAP,
        MAP.replace(" --bg", ""),
        MAP.replace("--bg -o labelled", "--bg -o other --concurrency 3"),
        "job = map_prompts(df, 'What of {{ n }}?', background=True)",
        "result = map_prompts(df.to_dict('records'), 'What of {{ n }}?')",
        MAP.replace("--bg", "--no-cache"),
    ],
    ids=["same cell", "foreground", "other options", "Python", "rows of another kind", "no cache"],
)
def test_where_cells_have_no_ids_a_job_is_the_same_that_asks_the_same(
    kernel: Kernel, held: Held, start_kernel: Any, service: Service, again: str
) -> None:
    """So it is in a terminal, and in front ends that send no ids."""
    assert kernel.run(ROWS).ok
    assert kernel.run(MAP, allow_stdin=True).ok
    assert held.asked.wait(60)
    os.kill(kernel.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run(f"%load_ext wandb_inference_magic\nfrom wandb_inference_magic import map_prompts\n{ROWS}")
    held.may.set()
    # Another question, fewer rows, another model, and a cell with an id.
    for other in ("df\nWhat is {{ n }}?", "df.head(20)\nWhat of {{ n }}?", "df -m test/model-b\nWhat of {{ n }}?"):
        assert kernel.run(f"%%wbmap {other}", allow_stdin=True).ok
    assert run(kernel, MAP.replace(" --bg", "")).ok
    assert "Unfinished" in kernel.run("%wbjobs").text
    assert kernel.run(again, allow_stdin=True).ok
    # Until the job ends, the one before is unfinished.
    jobs = "[globals().get(name) for name in ('labelled', 'other', 'job')]"
    assert kernel.run(f"_ = [one.wait(60) for one in {jobs} if hasattr(one, 'wait')]").ok
    assert "Unfinished" not in kernel.run("%wbjobs").text


def test_where_cells_have_no_ids_a_chat_is_known_by_its_variable(
    kernel: Kernel, held: Held, start_kernel: Any, service: Service
) -> None:
    assert kernel.run("%%wbchat --bg -o reply\nhi", allow_stdin=True).ok
    assert held.asked.wait(60)
    os.kill(kernel.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    held.may.set()
    assert kernel.run("%%wbchat --bg -o other\nhi", allow_stdin=True).ok
    assert "Unfinished" in kernel.run("%wbjobs").text
    assert kernel.run("%%wbchat --bg -o reply\nhi there", allow_stdin=True).ok
    # Until the job ends, the one before is unfinished.
    assert kernel.run("_ = reply.wait(60)").ok
    assert "Unfinished" not in kernel.run("%wbjobs").text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (JobRecord(cell="a", notebook="n", asks="x"), JobRecord(cell="a", notebook="n", asks="y"), True),
        (JobRecord(cell="a", notebook="n", asks="x"), JobRecord(cell="a", notebook="m", asks="x"), False),
        (JobRecord(cell="a", asks="x"), JobRecord(cell="b", asks="x"), False),
        (JobRecord(cell="a", asks="x"), JobRecord(asks="x"), False),
        (JobRecord(asks="x"), JobRecord(asks="x"), True),
        (JobRecord(asks="x"), JobRecord(asks="y"), False),
        (JobRecord(), JobRecord(), False),
    ],
)
def test_a_job_is_the_same_by_its_cell_or_else_by_what_it_asks(one: JobRecord, other: JobRecord, same: bool) -> None:
    assert one.is_same(other) is same
    assert other.is_same(one) is same


def test_a_job_without_a_cache_says_that_its_cell_asks_for_everything(
    kernel: Kernel, held: Held, start_kernel: Any, service: Service
) -> None:
    assert kernel.run(ROWS).ok
    assert run(kernel, MAP.replace("--bg", "--bg --no-cache"), cell_id="the-cell").ok
    assert held.asked.wait(60)
    os.kill(kernel.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    shown = kernel.run("%wbjobs").text
    assert "No answers were kept on disk: if you run that cell again, it asks for everything." in shown
    assert "to go on" not in shown


def test_a_kernel_that_is_killed_twice_asks_for_no_answer_twice(
    service: Service, start_kernel: Any, held: Held
) -> None:
    """The server answers twelve rows, then twelve more, then all. Rows that were not answered are asked again."""
    lock, answered = Lock(), Counter[str]()
    limit, key, reached = [12], [""], Event()

    def answer(one: Answer) -> None:
        row = one.received.body["messages"][-1]["content"]
        with lock:
            # A request of a kernel that has been killed may be read late.
            is_alive = one.received.headers["authorization"] == f"Bearer {key[0]}"
            may = is_alive and len(answered) < limit[0]
            if may:
                answered[row] += 1
        if not may:
            if is_alive:
                reached.set()
            held.may.wait(60)
            return
        completion("good")(one)

    service.always = answer
    for more in (12, 28):
        with lock:
            key[0] = f"key-{more}"
            reached.clear()
        kernel = start_kernel(**service.environment, WANDB_INFERENCE_API_KEY=key[0])
        kernel.run(f"%load_ext wandb_inference_magic\n{ROWS}")
        assert run(kernel, MAP, cell_id="the-cell").ok
        assert reached.wait(60)
        kernel.run(f"import time\nwhile labelled.done < {limit[0]}: time.sleep(0.01)")
        os.kill(kernel.pid, signal.SIGKILL)
        with lock:
            key[0] = ""
            limit[0] += more
    held.may.set()
    key[0] = "key-last"
    kernel = start_kernel(**service.environment, WANDB_INFERENCE_API_KEY=key[0])
    kernel.run(f"%load_ext wandb_inference_magic\n{ROWS}")
    assert run(kernel, MAP, cell_id="the-cell").ok
    assert kernel.value("labelled.wait(60).reply.tolist()") == ["good"] * 40
    assert set(answered.values()) == {1}


def test_the_jobs_of_a_copy_in_another_folder_are_those_of_another_notebook(
    held: Held, start_kernel: Any, service: Service
) -> None:
    for folder in ("anna", "ben"):
        kernel = start_kernel(**service.environment, JPY_SESSION_NAME=f"/class/{folder}/lesson.ipynb")
        kernel.run(f"%load_ext wandb_inference_magic\n{ROWS}")
        assert run(kernel, MAP, cell_id="the-cell").ok
        os.kill(kernel.pid, signal.SIGKILL)
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    assert kernel.run("%wbjobs").text.count(" of lesson.ipynb: ") == 2


# From Python 3.12 on, a fork beside threads warns. The child does nothing but wait.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_process_does_not_hide_what_a_killed_kernel_left(api: ModuleType) -> None:
    from wandb_inference_magic.session.jobs import RecordFile, unfinished

    file = RecordFile()
    file.write(JobRecord("%%wbmap df", written=time.time()))
    assert unfinished() == []
    (begun, begin), (ended, end) = os.pipe(), os.pipe()
    if not (child := os.fork()):
        os.write(begin, b".")
        os.read(ended, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        file.release()
        assert [one.what for one in unfinished()] == ["%%wbmap df"]
    finally:
        os.write(end, b".")
        os.waitpid(child, 0)


def test_a_damaged_record_is_passed_over(kernel: Kernel) -> None:
    folder = Path(kernel.value("str(__import__('wandb_inference_magic.config').config.cache_folder())")) / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    whole = asdict(JobRecord("%%wbmap df", started=1.0, written=time.time()))
    for number, damage in enumerate([{"started": 1e300}, {"started": -1e20}, {"done": "x"}, {"total": -1}]):
        (folder / f"{number}.json").write_text(json.dumps(whole | damage))
    (folder / "cut.json").write_text("{")
    assert kernel.run("%wbjobs").text == "There are no jobs. %%wbmap, %%wbeval and %%wbchat start one with --bg."
    # Earlier versions wrote no digest.
    del whole["asks"]
    (folder / "whole.json").write_text(json.dumps(whole))
    assert kernel.run("%wbjobs").text.startswith("Unfinished: %%wbmap df, started 1970-01-01")
