"""Jobs: work that runs in the background, in a real kernel."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from kernels import PATIENCE, Kernel, Run, failing
from service import Answer, Service, chunk, completion, refused

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.session import JobRecord, current_session

ROWS = "import pandas as pd\ndf = pd.DataFrame({'n': range(40)})"
MAP = "%%wbmap df --bg -o labelled\nWhat of {{ n }}?"


class Held:
    """Answers that wait until they may come."""

    def __init__(self) -> None:
        self.may = Event()
        self.asked = Event()

    def __call__(self, one: Answer) -> None:
        self.asked.set()
        if self.may.wait(60):
            completion(f"of {one.received.body['messages'][-1]['content']}")(one)


@pytest.fixture
def held(service: Service) -> Held:
    service.always = held = Held()
    return held


def run(kernel: Kernel, code: str, **how: Any) -> Run:
    """Run a cell in a notebook that someone looks at."""
    return kernel.run(code, allow_stdin=True, **{"cell_id": uuid4().hex, **how})


@pytest.fixture
def mapping(kernel: Kernel, held: Held) -> Kernel:
    """A kernel with a job whose answers are held."""
    assert kernel.run(ROWS).ok
    begun = run(kernel, MAP, cell_id="the-cell")
    assert begun.ok, begun.error
    assert begun.text.startswith("%%wbmap df · job 1 · running")
    assert held.asked.wait(60)
    return kernel


def test_a_map_runs_while_other_cells_do(mapping: Kernel, held: Held) -> None:
    assert mapping.value("1 + 1") == 2
    assert mapping.value("(labelled.state, labelled.total, labelled.errors)") == ("running", 40, 0)
    assert mapping.value("len(labelled.frame())") == 40
    held.may.set()
    assert mapping.value("labelled.wait(60).reply.tolist()") == [f"of What of {n}?" for n in range(40)]
    assert mapping.value("(labelled.state, labelled.done)") == ("done", 40)
    assert "done · 40 of 40" in mapping.value("repr(labelled)")


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


def test_the_line_of_a_job_grows_and_becomes_its_summary(mapping: Kernel, held: Held) -> None:
    assert mapping.run("print('another cell')").ok
    assert "░" in mapping.updated("%%wbmap df · job 1 · running")
    held.may.set()
    assert "40 of 40 rows answered, in labelled.frame()" in mapping.updated("rows answered")


def test_a_job_runs_where_no_button_can_be_made(kernel: Kernel, service: Service) -> None:
    service.always = completion("good")
    assert kernel.run(f"{ROWS}\nimport sys; sys.modules['anywidget'] = None").ok
    begun = run(kernel, MAP)
    assert begun.ok, begun.error
    assert kernel.value("len(labelled.wait(60))") == 40


def test_a_job_is_listed_followed_paused_and_resumed(mapping: Kernel, held: Held) -> None:
    assert "running" in mapping.run("%wbjobs").text
    assert mapping.run("%wbjobs 1 --pause").text == "Job 1 sends no more requests. To go on: %wbjobs 1 --resume"
    held.may.set()
    mapping.run("import time\nwhile not labelled.done: time.sleep(0.01)")
    assert mapping.value("(labelled.state, labelled.done < 40)") == ("paused", True)
    assert mapping.run("%wbjobs 1 --result so_far").text == "so_far has the result of job 1, so far."
    assert mapping.value("int(so_far.reply.notna().sum())") < 40
    assert mapping.run("%wbjobs 1 --resume").ok
    followed = mapping.run("%wbjobs 1")
    assert "40 of 40 rows answered" in followed.text
    assert mapping.run("%wbjobs 1 --result all_of_it").text == "all_of_it has the result of job 1."
    assert mapping.value("all_of_it.reply.notna().sum().item()") == 40
    assert mapping.value("(labelled.pause(), labelled.state, labelled.is_paused)") == (None, "done", False)
    assert mapping.value("labelled.resume()") is False


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


def test_a_job_whose_thread_cannot_start_is_over(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)
    monkeypatch.setattr("wandb_inference_magic.jobs.job.Thread", Refusing)
    with pytest.raises(InferenceError, match="This machine starts no more threads"):
        api.map_prompts(["a"], "{{ text }}", background=True)
    (job,) = current_session().jobs
    assert (job.state, job.is_over) == ("failed", True)  # type: ignore[attr-defined]


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


def test_what_is_no_number_of_seconds_is_not_waited_for(
    api: ModuleType, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)
    job = api.map_prompts(["a"], "{{ text }}", background=True)
    with pytest.raises(TimeoutError):
        job.wait(float("nan"))
    with pytest.raises(InferenceError, match=re.escape("wait() takes a number of seconds, not 'soon'.")):
        job.wait("soon")
    held.may.set()
    job.wait(60)


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


def test_interrupting_ends_the_following_and_no_job(mapping: Kernel, held: Held) -> None:
    followed = mapping.interrupt_at("%wbjobs 1", "job 1")
    assert "Job 1 goes on. To end it: %wbjobs 1 --cancel" in followed.error
    # A signal that comes just before a sleep is seen after it: each sleep is short.
    waiting = "import time; print('now', flush=True)\nfor _ in range(600): time.sleep(0.1)"
    assert mapping.interrupt_at(waiting, "now").reply["ename"] == "KeyboardInterrupt"
    held.may.set()
    assert mapping.value("len(labelled.wait(60))") == 40


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


def test_the_end_of_a_job_is_announced_with_the_next_reply(mapping: Kernel, held: Held) -> None:
    held.may.set()
    mapping.updated("rows answered")
    assert "Job 1 (%%wbmap df) is done: 40 of 40" in mapping.run("%wbchat hi").text
    assert "Job 1" not in mapping.run("%wbchat hi").text


def test_a_job_whose_result_was_looked_at_is_not_announced(mapping: Kernel, held: Held) -> None:
    held.may.set()
    assert mapping.run("_ = labelled.wait(60)").ok
    assert "Job 1" not in mapping.run("%wbchat hi").text


def test_a_chat_runs_beside_the_notebook_without_history(kernel: Kernel, held: Held, service: Service) -> None:
    assert "%%wbchat test/model-a · job 1 · running" in run(kernel, "%%wbchat --bg -o later\nHello").text
    assert kernel.value("later.state") == "running"
    held.may.set()
    assert "of Hello" in kernel.updated("of Hello")
    assert kernel.value("later.wait(60).text") == "of Hello"
    assert kernel.value("'_wbreply' in globals()") is False
    assert kernel.run("%wbthread").text.splitlines()[2].split() == ["main", "←", "current", "0", "0"]


def test_chats_in_the_background_hold_no_other_chat_up(kernel: Kernel, held: Held, service: Service) -> None:
    assert run(kernel, "%%wbchat --bg -o first\nOne").ok
    assert held.asked.wait(60)
    service.then(completion("At once."))
    assert "At once." in run(kernel, "%wbchat Two").text
    assert kernel.value("first.state") == "running"
    held.may.set()
    assert kernel.value("first.wait(60).text") == "of One"


@pytest.mark.parametrize("option", ["--tools print", "--code", "--thread other", "--new", "-m test/a -m test/b"])
def test_options_that_need_the_cell_are_refused(kernel: Kernel, service: Service, option: str) -> None:
    refused_run = run(kernel, f"%%wbchat --bg {option}\nHello")
    several = "works with one model" if "-m" in option else f"{option.split()[0]} cannot be combined with --bg"
    assert several in refused_run.error
    assert service.chats == []


def test_an_evaluation_runs_beside_the_notebook(kernel: Kernel, held: Held) -> None:
    kernel.run(f"{ROWS}\ndf['label'] = 'yes'")
    begun = run(kernel, "%%wbeval df --bg --truth label -m test/x -m test/y -o found\n{{ n }}")
    assert begun.text.startswith("%%wbeval df · job 1 · running")
    held.may.set()
    assert "found.wait()" in kernel.updated("0 to 100 %")
    assert kernel.value("found.wait(60).summary.right.tolist()") == [0, 0]
    assert kernel.value("len(found.frame())") == 40


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


def test_a_failure_is_the_jobs_error(kernel: Kernel, service: Service) -> None:
    service.always = refused(401, "bad key")
    kernel.run(ROWS)
    assert run(kernel, MAP).ok
    assert "bad key" in kernel.run("labelled.wait(60)").error
    assert kernel.value("labelled.state") == "failed"
    assert "failed" in kernel.run("%wbjobs").text


def test_templates_run_in_the_cell_and_later_changes_of_the_frame_do_not_matter(kernel: Kernel, held: Held) -> None:
    kernel.run(f"{ROWS}\nimport threading\nran_in = set()\nclass Seen:\n    def __str__(self): return 'x'")
    kernel.run("def where():\n    ran_in.add(threading.current_thread() is threading.main_thread())\n    return 'here'")
    assert run(kernel, "%%wbmap df --bg -o labelled\n{{ n }} {{ where() }}").ok
    kernel.run("df['n'] = 0\ndf.drop(index=range(20), inplace=True)")
    held.may.set()
    assert kernel.value("labelled.wait(60).n.tolist()") == list(range(40))
    assert kernel.value("ran_in") == {True}


def test_rows_that_come_one_by_one_are_refused_and_all_left(kernel: Kernel, service: Service) -> None:
    assert kernel.run("rows = (str(n) for n in range(3))").ok
    failed = run(kernel, "%%wbmap rows --bg\n{{ text }}")
    assert "Put them into a list first" in failed.error
    assert kernel.value("list(rows)") == ["0", "1", "2"]
    assert service.chats == []


def test_a_cell_that_is_run_again_ends_its_job_and_goes_on(mapping: Kernel, held: Held) -> None:
    mapping.run("first = labelled")
    assert run(mapping, MAP, cell_id="the-cell").ok
    assert mapping.value("first.state") == "cancelled"
    held.may.set()
    assert mapping.value("len(labelled.wait(60))") == 40


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


def test_an_interrupt_of_a_job_that_runs_in_the_foreground_ends_the_cell(kernel: Kernel, held: Held) -> None:
    assert kernel.run(ROWS).ok
    request = kernel.start(f"{MAP}")
    assert held.asked.wait(60)
    kernel.interrupt()
    interrupted = kernel.finish(request)
    assert "Interrupted." in interrupted.error
    assert kernel.value("labelled.state") == "cancelled"


def test_where_nobody_looks_a_job_runs_in_the_foreground(kernel: Kernel, service: Service) -> None:
    service.always = completion("good")
    kernel.run(ROWS)
    done = kernel.run(MAP)
    assert "No interactive front end is attached, so the job ran in the foreground." in done.text
    assert kernel.value("(labelled.state, len(labelled.wait()))") == ("done", 40)


def test_a_quiet_chat_shows_nothing_also_where_it_runs_in_the_foreground(kernel: Kernel, service: Service) -> None:
    service.always = completion("good")
    done = kernel.run("%%wbchat --bg --quiet -o later\nHello")
    assert (done.ok, done.text) == (True, "")
    assert kernel.value("later.wait().text") == "good"


def test_a_script_gets_a_job_that_has_ended(api: ModuleType, service: Service) -> None:
    service.always = completion("good")
    with pytest.warns(InferenceWarning, match="ran in the foreground"):
        job = api.map_prompts(["a", "b"], "{{ text }}", background=True)
    assert job.state == "done"
    assert job.wait().reply.tolist() == ["good", "good"]


def test_a_cell_can_start_several_jobs(kernel: Kernel, held: Held) -> None:
    kernel.run("from wandb_inference_magic import map_prompts")
    code = "first, second = (map_prompts([text], '{{ text }}', background=True) for text in 'ab')"
    assert run(kernel, code, cell_id="the-cell").ok
    assert kernel.value("(first.state, second.state)") == ("running", "running")
    held.may.set()
    assert kernel.value("[one.wait(60).reply.tolist() for one in (first, second)]") == [["of a"], ["of b"]]


def test_python_starts_jobs_too(api: ModuleType, held: Held) -> None:
    current_session().is_interactive = lambda: True
    job = api.map_prompts(["a", "b"], "{{ text }}", background=True)
    with pytest.raises(TimeoutError, match="Job 1 has not ended after"):
        job.wait(0.05)
    assert failing(lambda: current_session().jobs.get(7)).startswith("There is no job 7.")
    held.may.set()
    assert job.wait(60).reply.tolist() == ["of a", "of b"]


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


@pytest.mark.parametrize("end", ["%unload_ext wandb_inference_magic", "get_ipython().kernel.do_shutdown(True)"])
def test_the_end_of_the_session_cancels_jobs(mapping: Kernel, end: str) -> None:
    (record,) = Path(mapping.value("__import__('os').environ['HOME']")).rglob("jobs/*.json")
    mapping.start(end)
    until = time.monotonic() + 60
    while json.loads(record.read_text())["state"] != "cancelled":
        assert time.monotonic() < until
        time.sleep(0.05)


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


def test_a_job_that_is_being_cancelled_does_not_go_on(mapping: Kernel, held: Held) -> None:
    cancelled = mapping.run("%wbjobs 1 --pause\n%wbjobs 1 --cancel\n%wbjobs 1 --resume")
    # It may have ended before the last line.
    assert "goes on" not in cancelled.text
    assert "Job 1 is being cancelled" in cancelled.text
    held.may.set()


def test_a_damaged_record_is_passed_over(kernel: Kernel) -> None:
    folder = Path(kernel.value("str(__import__('wandb_inference_magic.config').config.cache_folder())")) / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    whole = asdict(JobRecord("%%wbmap df", started=1.0, written=time.time()))
    for number, damage in enumerate([{"started": 1e300}, {"started": -1e20}, {"done": "x"}, {"total": -1}]):
        (folder / f"{number}.json").write_text(json.dumps(whole | damage))
    (folder / "cut.json").write_text("{")
    assert kernel.run("%wbjobs").text == "There are no jobs. %%wbmap, %%wbeval and %%wbchat start one with --bg."
    (folder / "whole.json").write_text(json.dumps(whole))
    assert kernel.run("%wbjobs").text.startswith("Unfinished: %%wbmap df, started 1970-01-01")
