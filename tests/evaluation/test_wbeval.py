"""`%%wbeval` in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event

import pytest
from kernels import Kernel, SharedKernel
from service import Answer, Endless, Service, Wandb, completion

FRAME = (
    "import pandas as pd\n"
    "df = pd.DataFrame({'n': range(20), 'label': ['yes', 'no'] * 10, 'none': None})\n"
    "def near(answer, truth): return 0.5"
)


def answer(one: Answer) -> None:
    number = int(one.received.body["messages"][-1]["content"].split()[-1])
    right = "no" if number % 2 else "yes"
    completion(right if one.received.body["model"] == "test/x" else "yes")(one)


@pytest.fixture
def evaluator(kernel: Kernel, service: Service) -> Kernel:
    service.always = answer
    assert kernel.run(FRAME).ok
    return kernel


@pytest.fixture
def shared_evaluator(shared: SharedKernel) -> SharedKernel:
    shared.service.always = answer
    assert shared.kernel.run(FRAME).ok
    return shared


def test_models_and_prompts_are_held_against_the_truth(evaluator: Kernel, service: Service) -> None:
    assert evaluator.run("open('short.txt', 'w').write('Yes or no: {{ n }}')").ok
    run = evaluator.run("%%wbeval df --truth label -m test/x -m test/y -p short.txt -o found\nIs it even: {{ n }}")
    assert run.ok, run.error
    shown = run.text
    assert shown.startswith(
        "test/x with prompt is better than test/y with prompt and test/y with short.txt. These 20 rows"
    )
    assert "test/x  prompt     20           100% (84 to 100)  " in shown
    assert "test/y  short.txt  10           50% (30 to 70)        ······━━━━●━━━━······" in shown
    assert "In found." in shown
    assert len(service.chats) == 80
    assert evaluator.value("found.summary.right.tolist()") == [20, 10, 20, 10]
    assert evaluator.value("len(found.comparisons)") == 6
    # It shows itself again, as a value of a cell.
    assert evaluator.run("found").text.startswith("test/x with prompt is better")


@pytest.mark.parametrize("above", ["", "%%time\n"])
def test_prompts_in_files_need_no_body(evaluator: Kernel, service: Service, above: str) -> None:
    assert evaluator.run("open('short.txt', 'w').write('Yes or no: {{ n }}')").ok
    run = evaluator.run(f"{above}%%wbeval df --truth label -m test/x -p short.txt")
    assert run.ok, run.error
    assert "test/x is right on 20 of 20 rows" in run.text
    assert len(service.chats) == 20


def test_a_stop_is_said(evaluator: Kernel, service: Service) -> None:
    assert evaluator.run("df = pd.concat([df] * 12)").ok
    run = evaluator.run("%%wbeval df --truth label -m test/x -m test/y --stop-when-clear\nIs it even: {{ n }}")
    assert run.ok, run.error
    assert "test/x is better than test/y: its share of right answers is " in run.text
    assert "rows not needed." in run.text
    assert len(service.chats) < 200


def test_nothing_is_sent_with_dry_run(shared_evaluator: SharedKernel) -> None:
    run = shared_evaluator.kernel.run(
        "%%wbeval df --truth label -m test/x -m test/y --samples 2 --dry-run\nIs it even: {{ n }}"
    )
    assert run.ok, run.error
    shown = run.text
    assert "Nothing was sent. To test/x at" in shown
    assert "40 rows, about" in shown
    assert shown.count("Is it even: 0") == shown.count("Is it even: 2") == 1
    assert "They are 20 rows, each asked 2 times." in shown
    assert shared_evaluator.service.chats == []


def test_a_dry_run_says_what_a_judge_adds_and_a_stop_may_spare(shared_evaluator: SharedKernel) -> None:
    kernel = shared_evaluator.kernel
    line = "%%wbeval df --truth label -m test/x -m test/y --dry-run"
    judged = kernel.run(f"{line} --judge test/judge\nIs it even: {{{{ n }}}}")
    assert "Then test/judge judges at most 20 pairs of answers, each twice. This costs extra: about " in judged.text
    found = re.search(r"extra: about (\d+) \+ 100 tokens each, cost unknown", judged.text)
    assert found and int(found[1]) > 200, "the judge reads two replies of 100 tokens"
    stopped = kernel.run(f"{line} --stop-when-clear\nIs it even: {{{{ n }}}}")
    assert "That is for all rows; it stops when the comparison is decided." in stopped.text
    assert shared_evaluator.service.chats == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("df", "Name the column that holds them: --truth label."),
        ("", "Name a DataFrame of the notebook after it: %%wbeval reviews."),
        ("df --truth lable", "Did you mean label?"),
        ("df --truth none", "No row has a value in 'none'."),
        ("df --truth label --scorer nearly", "Scorers: equal, exact, precision, recall, f1, error"),
        ("df --truth label -o df", "The evaluation would replace the frame df. Nothing was sent."),
        ("'df' --truth label --limit 4 -o df", "The evaluation would replace the frame df. Nothing was sent."),
        ("df --truth label -p missing.txt", "The prompt 'missing.txt' cannot be read: No such file or directory."),
        ("df --truth label -p 'a\0b'", "It contains a null character."),
        ("df --truth label --stop-when-clear", "there is one candidate"),
        ("df --truth label --scorer error -m a -m b --stop-when-clear", "the scorer error has no bound"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(shared_evaluator: SharedKernel, line: str, says: str) -> None:
    run = shared_evaluator.kernel.run(f"%%wbeval {line}\nIs it even: {{{{ n }}}}")
    assert says in str(run.error)
    assert shared_evaluator.service.chats == []


@pytest.mark.parametrize("name", ["near", "f1"])
def test_a_function_of_the_notebook_scores_before_one_of_ours(evaluator: Kernel, name: str) -> None:
    assert evaluator.run(f"{name} = near").ok
    assert evaluator.run(f"%%wbeval df --truth label -m test/x --scorer {name}\nIs it even: {{{{ n }}}}").ok
    assert evaluator.value("_wbeval.summary.score.tolist()") == [0.5]


def test_a_star_import_brings_no_scorer(evaluator: Kernel) -> None:
    assert evaluator.run("from numpy import *").ok
    assert evaluator.run("%%wbeval df --truth label -m test/x --scorer equal\nIs it even: {{ n }}").ok
    assert "right" in evaluator.value("_wbeval.summary.columns.tolist()")


def test_every_file_of_the_same_name_is_a_prompt(evaluator: Kernel, service: Service, tmp_path: Path) -> None:
    service.always = answer
    (tmp_path / "v1").mkdir()
    for path, text in (("v1/p.txt", "First: {{ n }}"), ("p.txt", "Second: {{ n }}")):
        (tmp_path / path).write_text(text)
    run = evaluator.run("%%wbeval df --truth label -m test/x -p v1/p.txt -p p.txt -o found\nIs it even: {{ n }}")
    assert run.ok, run.text
    assert evaluator.value("found.summary.prompt.tolist()") == ["prompt", "v1/p.txt", "p.txt"]
    assert len(service.chats) == 60


def test_a_prompt_of_a_file_has_no_byte_order_mark_and_is_named(shared_evaluator: SharedKernel, tmp_path: Path) -> None:
    for name, text in (("a.txt", "\ufeffEven: {{ n }}"), ("b.txt", "Is it even: {{ m }}")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    line = f"%%wbeval df --truth label -m test/x -p {tmp_path}/a.txt"
    said = shared_evaluator.kernel.run(f"{line} -p {tmp_path}/b.txt\nIs it even: {{{{ n }}}}").error
    assert "Line 1 of the prompt 'b.txt': 'm' is undefined." in said
    assert shared_evaluator.service.chats == []
    assert shared_evaluator.kernel.run(f"{line} --limit 1\nIs it even: {{{{ n }}}}").ok
    sent = {chat.body["messages"][-1]["content"] for chat in shared_evaluator.service.chats}
    assert sent == {"Is it even: 0", "Even: 0"}


@pytest.mark.parametrize("option", ["", "--stop-when-clear", "--judge test/judge"])
def test_a_cassette_replays_an_evaluation(evaluator: Kernel, service: Service, tmp_path: Path, option: str) -> None:
    def judged(one: Answer) -> None:
        if one.received.body["model"] != "test/judge":
            answer(one)
            return
        text = one.received.body["messages"][-1]["content"]
        number = int(text.split("Is it even: ")[1].split()[0])
        is_first = f"first answer:\n{'no' if number % 2 else 'yes'}" in text
        completion(f'{{"better": "{"first" if is_first else "second"}"}}')(one)

    service.always = judged
    cell = f"%%wbeval df --truth label -m test/x -m test/y {option} -o found\nIs it even: {{{{ n }}}}"
    assert evaluator.run(f"%wbconfig --cassette {tmp_path / 'class.jsonl'} --mode record").ok
    recorded = evaluator.run(cell)
    assert recorded.ok
    if option.startswith("--judge"):
        assert "Judged by test/judge, in both orders: it contradicted itself on 0 of 10 pairs (0%)." in recorded.text
        assert "It agreed with label on 10 of 10 pairs." in recorded.text
    sent = len(service.chats)
    assert sent == {"": 40, "--stop-when-clear": 32, "--judge test/judge": 60}[option]
    assert evaluator.run(f"%wbconfig --cassette {tmp_path / 'class.jsonl'} --mode replay").ok
    replayed = evaluator.run(cell)
    assert replayed.ok
    assert len(service.chats) == sent
    assert replayed.text.splitlines()[:5] == recorded.text.splitlines()[:5]


def test_rows_that_the_cassette_does_not_hold_say_nothing_about_a_candidate(
    evaluator: Kernel, service: Service, tmp_path: Path
) -> None:
    service.always = answer
    evaluator.run(f"%wbconfig --cassette {tmp_path / 'class.jsonl'} --mode record")
    cell = "%%wbeval ROWS --truth label MODELS -o found\nIs it even: {{ n }}"
    evaluator.run(cell.replace("ROWS", "df").replace("MODELS", "-m test/x"))
    evaluator.run(cell.replace("ROWS", "df.head(8)").replace("MODELS", "-m test/y"))
    evaluator.run(f"%wbconfig --cassette {tmp_path / 'class.jsonl'} --mode replay")
    some = evaluator.run(cell.replace("ROWS", "df").replace("MODELS", "-m test/x -m test/y"))
    assert some.ok
    assert "12 rows left" in some.text
    assert "The cassette does not hold all requests to test/y: rows are left." in " ".join(some.text.split())
    assert evaluator.value("found.summary.rows.tolist()") == [8, 8]
    none = evaluator.run(cell.replace("ROWS", "df").replace("MODELS", "-m test/x -m test/z"))
    assert "does not hold this request" in none.error
    assert "No row has a score for all candidates: nothing is known." in none.text
    assert evaluator.value("found.comparisons.verdict.tolist()") == ["not clear"]


def test_an_interrupt_keeps_what_the_rows_so_far_tell_and_the_next_run_goes_on(
    evaluator: Kernel, service: Service
) -> None:
    requested, finished = Event(), Event()

    def hold(one: Answer) -> None:
        requested.set()
        finished.wait(60)

    service.then(*[answer] * 5)
    service.always = hold
    cell = "%%wbeval df --truth label -m test/x --concurrency 1 -o found\nIs it even: {{ n }}"
    request = evaluator.start(cell)
    try:
        assert requested.wait(60), "no request came after the answered ones"
        evaluator.interrupt()
        run = evaluator.finish(request)
    finally:
        finished.set()
    assert "The result so far is in found." in str(run.error)
    assert "test/x is right on 5 of 5 rows: 100% (57 to 100)." in run.text
    # The result says so itself, wherever it is shown later.
    assert evaluator.value("'15 rows left: this is the result so far.' in str(found)")
    assert evaluator.value("len(found.rows)") == 5
    service.always = answer
    again = evaluator.run(cell)
    assert again.ok
    assert "5 answers kept from before" in again.text
    assert evaluator.value("found.summary.right.tolist()") == [20]
    assert not evaluator.value("'so far' in str(found)")


def test_an_interrupt_ends_a_scorer_at_once_also_one_that_waits_for_a_chat(evaluator: Kernel, service: Service) -> None:
    asked = Event()

    def answer_or_wait(one: Answer) -> None:
        if one.received.body["messages"][-1]["content"] != "Is it right?":
            return answer(one)
        asked.set()
        return Endless("It is ")(one)

    service.always = answer_or_wait
    evaluator.run(
        "from wandb_inference_magic import chat\n"
        "def by_model(answer, truth):\n    return 'yes' in chat('Is it right?').text"
    )
    request = evaluator.start("%%wbeval df --truth label -m test/x --scorer by_model -o found\nIs it even: {{ n }}")
    assert asked.wait(60)
    evaluator.interrupt()
    run = evaluator.finish(request)
    assert "Interrupted. The result so far is in found. Run it again to continue" in run.error
    assert "No row has a score for all candidates: nothing is known." in run.text


def test_an_evaluation_above_the_budget_is_refused_with_the_figures(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    kernel.run("import pandas as pd\ndf = pd.DataFrame({'text': ['word ' * 100] * 500, 'label': 'yes'})")
    kernel.run("%wbconfig --budget 0.01")
    run = kernel.run("%%wbeval df --truth label --samples 2\n{{ text }}")
    assert re.search(r"would cost about \$0\.1\d, and \$0\.01\d? is left of the budget", run.error)
    assert wandb.api.chats == []
