"""Jobs: work that runs in the background, in a real kernel."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import pytest
from held_jobs import MAP, ROWS, Held, run
from kernels import Kernel, failing
from service import Service, completion, refused

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.session import current_session


def test_a_map_runs_while_other_cells_do(mapping: Kernel, held: Held) -> None:
    assert mapping.value("1 + 1") == 2
    assert mapping.value("(labelled.state, labelled.total, labelled.errors)") == ("running", 40, 0)
    assert mapping.value("len(labelled.frame())") == 40
    held.may.set()
    assert mapping.value("labelled.wait(60).reply.tolist()") == [f"of What of {n}?" for n in range(40)]
    assert mapping.value("(labelled.state, labelled.done)") == ("done", 40)
    assert "done · 40 of 40" in mapping.value("repr(labelled)")


def test_a_job_whose_answers_were_kept_is_not_free(mapping: Kernel, held: Held) -> None:
    held.may.set()
    mapping.run("labelled.wait(60)")
    assert run(mapping, MAP).ok
    mapping.run("labelled.wait(60)")
    assert "free" not in mapping.value("repr(labelled)")
    assert "done · 40 of 40" in mapping.value("repr(labelled)")
    assert "free" not in mapping.run("%wbjobs").text


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


def test_an_evaluation_runs_beside_the_notebook(kernel: Kernel, held: Held) -> None:
    kernel.run(f"{ROWS}\ndf['label'] = 'yes'")
    begun = run(kernel, "%%wbeval df --bg --truth label -m test/x -m test/y -o found\n{{ n }}")
    assert begun.text.startswith("%%wbeval df · job 1 · running")
    held.may.set()
    assert "found.wait()" in kernel.updated("0 to 100 %")
    assert kernel.value("found.wait(60).summary.right.tolist()") == [0, 0]
    assert kernel.value("len(found.frame())") == 40


def test_python_starts_jobs_too(api: ModuleType, held: Held) -> None:
    current_session().is_interactive = lambda: True
    job = api.map_prompts(["a", "b"], "{{ text }}", background=True)
    with pytest.raises(TimeoutError, match="Job 1 has not ended after") as waited:
        job.wait(0.05)
    assert "wait() waits again" in "".join(waited.value._render_traceback_())
    assert failing(lambda: current_session().jobs.get(7)).startswith("There is no job 7.")
    held.may.set()
    assert job.wait(60).reply.tolist() == ["of a", "of b"]


def test_a_cell_can_start_several_jobs(kernel: Kernel, held: Held) -> None:
    kernel.run("from wandb_inference_magic import map_prompts")
    code = "first, second = (map_prompts([text], '{{ text }}', background=True) for text in 'ab')"
    assert run(kernel, code, cell_id="the-cell").ok
    assert kernel.value("(first.state, second.state)") == ("running", "running")
    held.may.set()
    assert kernel.value("[one.wait(60).reply.tolist() for one in (first, second)]") == [["of a"], ["of b"]]


def test_a_script_gets_a_job_that_has_ended(api: ModuleType, service: Service) -> None:
    service.always = completion("good")
    with pytest.warns(InferenceWarning, match="ran in the foreground"):
        job = api.map_prompts(["a", "b"], "{{ text }}", background=True)
    assert job.state == "done"
    assert job.wait().reply.tolist() == ["good", "good"]
    # Warnings are errors in tests.
    with pytest.raises(InferenceWarning, match="ran in the foreground") as raised:
        api.map_prompts(["c"], "{{ text }}", background=True)
    assert raised.value.partial.wait().reply.tolist() == ["good"]


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


def test_the_end_of_a_job_is_announced_with_the_next_reply(mapping: Kernel, held: Held) -> None:
    held.may.set()
    mapping.updated("rows answered")
    assert "Job 1 (%%wbmap df) is done: 40 of 40" in mapping.run("%wbchat hi").text
    assert "Job 1" not in mapping.run("%wbchat hi").text


def test_a_job_whose_result_was_looked_at_is_not_announced(mapping: Kernel, held: Held) -> None:
    held.may.set()
    assert mapping.run("_ = labelled.wait(60)").ok
    assert "Job 1" not in mapping.run("%wbchat hi").text


@pytest.mark.parametrize("option", ["--tools print", "--code", "--thread other", "--new", "-m test/a -m test/b"])
def test_options_that_need_the_cell_are_refused(kernel: Kernel, service: Service, option: str) -> None:
    refused_run = run(kernel, f"%%wbchat --bg {option}\nHello")
    several = "works with one model" if "-m" in option else f"{option.split()[0]} cannot be combined with --bg"
    assert several in refused_run.error
    assert service.chats == []


def test_rows_that_come_one_by_one_are_refused_and_all_left(kernel: Kernel, service: Service) -> None:
    assert kernel.run("rows = (str(n) for n in range(3))").ok
    failed = run(kernel, "%%wbmap rows --bg\n{{ text }}")
    assert "Put them into a list first" in failed.error
    assert kernel.value("list(rows)") == ["0", "1", "2"]
    assert service.chats == []


def test_a_failure_is_the_jobs_error(kernel: Kernel, service: Service) -> None:
    service.always = refused(401, "bad key")
    kernel.run(ROWS)
    assert run(kernel, MAP).ok
    assert "bad key" in kernel.run("labelled.wait(60)").error
    assert kernel.value("labelled.state") == "failed"
    assert "failed" in kernel.run("%wbjobs").text


def test_the_failure_of_a_job_is_announced_in_one_sentence(kernel: Kernel, service: Service) -> None:
    service.then(refused(401, "bad key"))
    kernel.run(ROWS)
    assert run(kernel, MAP).ok
    kernel.updated("asks for a key")
    notice = kernel.run("%wbchat hi").text
    assert "Job 1 (%%wbmap df) has failed: " in notice
    assert "asks for a key. See %wbjobs 1." in notice


def test_a_chat_that_fails_is_an_error_of_unknown_cost(kernel: Kernel, service: Service) -> None:
    service.then(refused(400, "bad words"))
    assert run(kernel, "%%wbchat --bg -o later\nHello").ok
    assert "bad words" in kernel.run("later.wait(60)").error
    assert kernel.value("(later.done, later.errors, later.cost)") == (1, 1, None)
    assert "failed · 1 of 1 reply · 1 error" in kernel.run("%wbjobs 1").text


def test_a_chat_that_cannot_be_sent_has_cost_nothing(kernel: Kernel, service: Service) -> None:
    kernel.run("import os\nos.environ['HF_TOKEN'] = 'hf_abcdefghijklmnopqrstuv'")
    assert run(kernel, "%%wbchat --bg -o later\n{{ os.environ['HF_TOKEN'] }}").ok
    assert "Nothing was sent" in kernel.run("later.wait(60)").error
    assert kernel.value("(later.errors, later.cost)") == (1, 0.0)


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
