"""`%%wbmap` in a real kernel, and `map_prompts`: over a real socket."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import ModuleType

import nbformat
import pytest
from kernel_forks import FRAMES
from kernels import Kernel, NotebookRun, Run, SharedKernel
from python_forks import ForkedProgram
from python_processes import run_python
from service import MODEL, Answer, Service, Streamed, Wandb, completion, refused, usage

from wandb_inference_magic import InferenceError

MAP = "%%wbmap df\nIs {{ text }} good?"
FRAME = "import pandas as pd\ndf = pd.DataFrame({'text': list('abcd'), 'n': [1, 2, 3, 4]}, index=[3, 3, 9, 1])"


def prompt_of(one: Answer) -> str:
    return str(one.received.body["messages"][-1]["content"])


def prompts(service: Service) -> list[str]:
    return [chat.body["messages"][-1]["content"] for chat in service.chats]


def echo(one: Answer) -> None:
    completion(f"<{prompt_of(one)}>")(one)


@pytest.fixture
def mapper(kernel: Kernel, service: Service) -> Kernel:
    service.always = echo
    assert kernel.run(FRAME).ok
    return kernel


@pytest.fixture
def shared_mapper(shared: SharedKernel) -> SharedKernel:
    shared.service.always = echo
    assert shared.kernel.run(FRAME).ok
    return shared


# Frames ------------------------------------------------------------------------------------------------


def test_each_row_becomes_a_prompt_and_its_answer_a_column(mapper: Kernel, service: Service) -> None:
    run = mapper.run("%%wbmap df -o answered -s 'Be brief.' -t 0 --max-tokens 5\nIs {{ text }} {{ n + 1 }} good?")
    assert run.ok
    assert sorted(prompts(service)) == [f"Is {text} {n} good?" for text, n in zip("abcd", range(2, 6), strict=True)]
    assert service.last.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {name: service.last.body[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": 5,
    }
    assert "stream" not in service.last.body or service.last.body["stream"] is False
    assert mapper.value("answered.reply.tolist()") == [
        f"<Is {text} {n} good?>" for text, n in zip("abcd", range(2, 6), strict=True)
    ]
    assert mapper.value("answered.index.tolist()") == [3, 3, 9, 1]
    assert mapper.value("list(answered.columns)") == ["text", "n", "reply"]
    assert mapper.value("list(df.columns)") == ["text", "n"], "the frame itself is not changed"


def test_a_map_ends_with_one_tidy_output(mapper: Kernel, service: Service) -> None:
    run = mapper.run(MAP)
    assert set(run.output["data"]) == {"text/markdown", "text/plain"}
    for expected in ("4 of 4 rows answered, in _wbmap", "48 + 12 tokens", "cost unknown", MODEL):
        assert expected in run.text
    assert "Is a good?" in run.text


@pytest.mark.parametrize(
    ("make", "read"),
    [
        ("import polars; frame = polars.from_pandas(df)", "type(out).__module__.split('.')[0], out['reply'].to_list()"),
        pytest.param(
            "import polars; frame = polars.from_pandas(df).lazy()",
            "'polars', out['reply'].to_list()",
            marks=pytest.mark.short,
        ),
        pytest.param(
            "import pyarrow; frame = pyarrow.table({'text': list('abcd')})",
            "'pyarrow', out['reply'].to_pylist()",
            marks=pytest.mark.short,
        ),
        ("frame = df.text", "type(out).__name__, out['reply'].tolist()"),
        ("import polars; frame = polars.Series(['a', 'b', 'c', 'd'])", "'polars', out['reply'].to_list()"),
        pytest.param("frame = list('abcd')", "type(out).__name__, out['reply'].tolist()", marks=pytest.mark.short),
        ("frame = [{'text': one, 'other': 1} for one in 'abcd']", "type(out).__name__, out['reply'].tolist()"),
        ("frame = (one for one in 'abcd')", "type(out).__name__, out['reply'].tolist()"),
    ],
)
def test_any_frame_list_or_generator_can_be_mapped(shared_mapper: SharedKernel, make: str, read: str) -> None:
    kernel = shared_mapper.kernel
    kernel.run(make)
    run = kernel.run("%%wbmap frame -o out --no-cache\nIs {{ text }} good?")
    assert run.ok, run.error
    assert len(shared_mapper.service.chats) == 4
    assert kernel.value(f"({read})")[1] == [f"<Is {text} good?>" for text in "abcd"]


def test_columns_override_names_of_the_notebook(mapper: Kernel, service: Service) -> None:
    mapper.run("text, tone = 'of the notebook', 'kindly'")
    mapper.run("%%wbmap df --limit 1\n{{ text }} {{ tone }} {{ row['n'] }} {{ row | length }}")
    assert prompts(service) == ["a kindly 1 2"]


def test_each_field_of_a_schema_becomes_a_typed_column(mapper: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        letter = prompt_of(one)[0]
        completion(json.dumps({"label": "good" if letter < "c" else "bad", "score": ord(letter)}))(one)

    service.always = answer
    mapper.run("%%wbmap df -o out --schema 'label good|bad, score int'\n{{ text }}?")
    assert service.last.body["response_format"]["json_schema"]["strict"] is True
    assert mapper.value("out[['label', 'score']].values.tolist()") == [
        ["good", 97],
        ["good", 98],
        ["bad", 99],
        ["bad", 100],
    ]
    assert mapper.value("str(out.score.dtype)").lower() == "int64"
    assert "reply" not in mapper.value("list(out.columns)")


def test_an_answer_that_does_not_fit_is_repaired_once(mapper: Kernel, service: Service) -> None:
    service.then(completion('{"label": "so so"}'))
    service.always = completion('{"label": "bad"}')
    mapper.run("%%wbmap df -o out --limit 1 --schema 'label good|bad'\n{{ text }}?")
    assert len(service.chats) == 2
    assert "so so" in service.last.body["messages"][-2]["content"]
    assert mapper.value("out.label.tolist()") == ["bad"]


def test_a_refused_schema_is_relaxed_for_all_rows(mapper: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        if (one.received.body.get("response_format") or {}).get("type") == "json_schema":
            refused(400, "response_format json_schema is not supported")(one)
        else:
            completion('{"label": "good"}')(one)

    service.always = answer
    run = mapper.run("%%wbmap df -o out --concurrency 1 --schema 'label good|bad'\n{{ text }}?")
    assert mapper.value("out.label.tolist()") == ["good"] * 4
    # The second row was prepared while the first one was running.
    assert len(service.chats) <= 6
    assert "does not support schemas" in run.text
    before = len(service.chats)
    assert mapper.run("%%wbmap df -o out --schema 'label good|bad'\n{{ text }}?").ok
    assert len(service.chats) == before, "all answers are in the cache"


def test_several_models_answer_in_separate_columns(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: completion(one.received.body["model"])(one)
    mapper.run("%%wbmap df -o out -m test/a -m test/b\n{{ text }}?")
    assert mapper.value("out[['reply_a', 'reply_b']].values.tolist()") == [["test/a", "test/b"]] * 4


# Failures ----------------------------------------------------------------------------------------------


def test_a_row_that_fails_does_not_affect_the_others(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: (refused(400, "too odd") if "b" in prompt_of(one) else echo)(one)
    run = mapper.run("%%wbmap df -o out\nIs {{ text }} x?")
    assert run.ok
    assert mapper.value("out.reply.isna().tolist()") == [False, True, False, False]
    assert "too odd" in mapper.value("out.reply_error.fillna('-').tolist()")[1]
    assert mapper.value("out.reply_error.isna().tolist()") == [True, False, True, True]
    assert "1 failed" in run.text
    # It failed permanently: it is called again only on request.
    run = mapper.run("%%wbmap df -o out\nIs {{ text }} x?")
    assert len(service.chats) == 4
    assert "1 row was not asked again, because of a failure in an earlier run: --retry-failed asks again" in run.text
    service.always = echo
    mapper.run("%%wbmap out -o out --retry-failed\nIs {{ text }} x?")
    assert len(service.chats) == 5
    assert "reply_error" not in mapper.value("list(out.columns)")


def test_an_expression_that_fails_for_one_row_fails_that_row(mapper: Kernel, service: Service) -> None:
    mapper.run("%%wbmap df -o out\n{{ 6 // (n - 2) }}")
    assert "ZeroDivisionError" in mapper.value("out.reply_error.fillna('-').tolist()")[1]
    assert mapper.value("out.reply.fillna('-').tolist()")[2:] == ["<6>", "<3>"]


def test_the_prompts_that_an_estimate_needs_are_those_that_are_sent(mapper: Kernel, service: Service) -> None:
    mapper.run("made = []\ndef one(text):\n    made.append(text)\n    return len(made)\nmany = list('abcdefghij')")
    run = mapper.run("%%wbmap many -o out\n{{ text }} {{ one(text) }}")
    assert run.ok, run.error
    assert mapper.value("''.join(made)") == "abcdefghij"
    assert sorted(chat.body["messages"][-1]["content"] for chat in service.chats)[0] == "a 1"


def test_rows_without_a_prompt_do_not_end_the_run(mapper: Kernel, service: Service) -> None:
    mapper.run("many = [0] * 30 + [2]")
    run = mapper.run("%%wbmap many -o out\n{{ 6 // text }}")
    assert not run.ok, "none of the first rows has a prompt"
    mapper.run("%%wbmap [0, 1] -o out\n{{ 6 // text }}")
    assert mapper.value("out.reply.fillna('-').tolist()") == ["-", "<6>"]
    assert "ZeroDivisionError" in mapper.value("out.reply_error[0]")
    service.chats.clear()
    mapper.run("many.insert(0, 1)")
    run = mapper.run("%%wbmap many -o out\n{{ 6 // text }}")
    assert run.ok, run.error
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<6>", *["-"] * 30, "<3>"]
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%%wbmap dg\n{{ text }}", "There is no 'dg' in the notebook"),
        ("%%wbmap df\n{{ tekst }}", "'tekst' is undefined"),
        ("%%wbmap df\n{{ text", "Line 1 of the prompt"),
        ("%%wbmap\n{{ text }}", "needs a frame"),
        ("%%wbmap number\n{{ text }}", "has no rows"),
        ("%%wbmap df\n \n", "no prompt"),
    ],
)
def test_an_invalid_map_is_refused_before_anything_is_sent(
    shared_mapper: SharedKernel, cell: str, expected: str
) -> None:
    shared_mapper.kernel.run("number = 3")
    assert expected in shared_mapper.kernel.run(cell).error
    assert shared_mapper.service.chats == []


def test_an_error_for_all_rows_ends_the_run(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: (echo if "a" in prompt_of(one) else refused(402, "no credit"))(one)
    run = mapper.run("%%wbmap df -o out --concurrency 1\n{{ text }}")
    assert "The account's credit" in run.error
    assert "The rows so far are in out" in run.error
    assert len(service.chats) == 2
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "-", "-"]


def test_a_busy_service_is_retried_with_less_concurrency(mapper: Kernel, service: Service) -> None:
    """A service that accepts two requests at once: every row is answered in the end, and refusals become rare."""
    lock, active, refusals = threading.Lock(), [0], [0]

    def answer(one: Answer) -> None:
        with lock:
            active[0] += 1
            too_many = active[0] > 2
            refusals[0] += too_many
        try:
            if too_many:
                refused(429, "Concurrency limit reached for requests", Retry_After="0")(one)
            else:
                # An answer takes a moment, so that further requests come too early.
                Event().wait(0.005)
                echo(one)
        finally:
            with lock:
                active[0] -= 1

    service.always = answer
    mapper.run("%config WandbInference.max_retries = 20\nmany = list(range(80))")
    run = mapper.run("%%wbmap many -o out --concurrency 16\n{{ text }}")
    assert run.ok, run.error
    assert mapper.value("out.reply.tolist()") == [f"<{number}>" for number in range(80)]
    assert refusals[0] < 60


def test_a_generator_that_raises_ends_the_run_with_the_rows_so_far(mapper: Kernel, service: Service) -> None:
    mapper.run("def rows():\n    yield 'a'\n    yield 'b'\n    raise OSError('the file ended')\nmine = rows()")
    run = mapper.run("%%wbmap mine -o out\n{{ text }}")
    assert "Row 3 cannot be read: the source of the rows raised OSError: the file ended." in run.error
    assert mapper.value("out.reply.tolist()") == ["<a>", "<b>"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no exception groups")
def test_an_exception_group_of_the_users_is_one_short_error_too(mapper: Kernel) -> None:
    # IPython looks for one in the context of an error, and prints Python's own traceback then.
    mapper.run("def rows():\n    raise ExceptionGroup('two', [OSError('one'), OSError('other')])\n    yield")
    mapper.run("mine = rows()")
    run = mapper.run("%%wbmap mine -o out\n{{ text }}")
    assert "Row 1 cannot be read: the source of the rows raised ExceptionGroup: two (2 sub-exceptions)." in run.error
    assert not run.of("stream")


def test_a_run_over_a_generator_that_ends_early_returns_the_drawn_rows(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: (echo if prompt_of(one) == "0" else refused(402, "no credit"))(one)
    mapper.run("mine = (str(number) for number in range(30))")
    run = mapper.run("%%wbmap mine -o out --concurrency 1\n{{ text }}")
    assert "The rows so far are in out" in run.error
    assert mapper.value("out.reply.fillna('-').tolist()")[:3] == ["<0>", "-", "-"]


def test_the_progress_bar_shows_a_retry(mapper: Kernel, service: Service) -> None:
    shows_retry = False
    service.then(refused(503, "overloaded", Retry_After="1"))
    request = mapper.start("%%wbmap df --concurrency 1\n{{ text }}", allow_stdin=True)
    for message in mapper.messages(request):
        shown = json.dumps(message.content, ensure_ascii=False).replace("\u2007", " ")
        shows_retry = shows_retry or re.search(r"trying again=in \d s: The endpoint", shown) is not None
    assert shows_retry


def test_calls_whose_tokens_are_not_counted_are_not_shown_as_no_tokens(mapper: Kernel, service: Service) -> None:
    service.always = completion("Good.", counted={"queue_time": 0.1})
    service.then(completion("Good."))
    assert "12 + 3 tokens · tokens of 3 calls not counted" in mapper.run(MAP).text
    assert "in _wbmap · tokens of 4 calls not counted" in mapper.run(f"{MAP[:10]} --no-cache{MAP[10:]}").text


def test_a_run_waits_for_a_service_that_fails_for_every_row(mapper: Kernel, service: Service) -> None:
    """More often than `max_retries` says: only a row that fails where others are answered is given up."""
    failing = [refused(503, "overloaded", Retry_After="0")] * 12
    service.then(*failing)
    service.always = echo
    mapper.run("%config WandbInference.max_retries = 1")
    assert mapper.run("%%wbmap df -o out --concurrency 4\n{{ text }}").ok
    assert mapper.value("out.reply.tolist()") == ["<a>", "<b>", "<c>", "<d>"]
    assert len(service.chats) == len(failing) + 4


def test_a_row_that_fails_where_others_are_answered_is_given_up(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: (refused(500, "no", Retry_After="0") if "b" in prompt_of(one) else echo)(one)
    mapper.run("%config WandbInference.max_retries = 1")
    mapper.run("%%wbmap df -o out --concurrency 4\n{{ text }}")
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "<c>", "<d>"]
    # Once more if no other row was answered yet.
    assert sum("b" in one.body["messages"][-1]["content"] for one in service.chats) in (2, 3)
    assert sum("b" not in one.body["messages"][-1]["content"] for one in service.chats) == 3


def test_a_prompt_that_is_refused_is_one_rows_error(mapper: Kernel, service: Service) -> None:
    script = refused(403, "Input was flagged by moderation")
    service.always = lambda one: (script if "b" in prompt_of(one) else echo)(one)
    mapper.run("%%wbmap df -o out --concurrency 1\n{{ text }}")
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "<c>", "<d>"]
    assert "flagged by moderation" in mapper.value("out.reply_error.tolist()[1]")


# Nothing lost --------------------------------------------------------------------------------------------


def run_and_interrupt(kernel: Kernel, service: Service, code: str, after: int) -> Run:
    """Run a cell over rows and interrupt it after `after` of them are answered. The others are never answered."""
    requested, finished = Event(), Event()

    def hold(one: Answer) -> None:
        requested.set()
        finished.wait(60)

    service.then(*[echo] * after)
    service.always = hold
    request = kernel.start(code)
    try:
        assert requested.wait(60), "no request came after the answered ones"
        kernel.interrupt()
        return kernel.finish(request)
    finally:
        finished.set()


def test_an_interrupted_map_returns_its_answers_and_continues_when_run_again(mapper: Kernel, service: Service) -> None:
    run = run_and_interrupt(mapper, service, "%%wbmap df -o out --concurrency 1\nIs {{ text }} x?", after=2)
    assert "Interrupted." in run.error
    assert "out" in run.error
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<Is a x?>", "<Is b x?>", "-", "-"]
    service.always = echo
    before = len(service.chats)
    again = mapper.run("%%wbmap df -o out --concurrency 1\nIs {{ text }} x?")
    assert [chat.body["messages"][-1]["content"] for chat in service.chats[before:]] == ["Is c x?", "Is d x?"]
    assert "2 kept from before" in again.text
    assert mapper.value("out.reply.isna().sum().item()") == 0


def test_the_cache_key_includes_everything_that_shapes_an_answer(mapper: Kernel, service: Service) -> None:
    for line in ("", "-t 0.5", "-m test/b", "-s Hi", "--schema 'a'", "--param top_k=3"):
        service.always = completion('{"a": "x"}')
        for _ in range(2):
            assert mapper.run(f"%%wbmap df --limit 1 {line}\nIs {{{{ text }}}} good?").ok
    assert len(service.chats) == 6
    mapper.run("%%wbmap df --limit 1 --no-cache\nIs {{ text }} good?")
    assert len(service.chats) == 7


def test_the_cache_contains_no_prompt_and_is_private_to_the_user(
    mapper: Kernel, service: Service, environment: dict[str, str]
) -> None:
    mapper.run("%%wbmap df --limit 1\nA secret prompt about {{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    assert file.stat().st_mode & 0o077 == 0
    service.always = completion("An answer.")
    mapper.run("%%wbmap df --limit 1\nAnother secret prompt about {{ text }}")
    contents = b"".join(one.read_bytes() for one in file.parent.glob("answers.sqlite*"))
    assert b"An answer." in contents
    assert b"Another secret prompt" not in contents


def test_a_damaged_cache_is_reported_and_begun_anew(
    mapper: Kernel, service: Service, environment: dict[str, str]
) -> None:
    mapper.run("%%wbmap df --limit 1\n{{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    for one in file.parent.glob("answers.sqlite*"):
        one.unlink()
    file.write_bytes(b"This is no database, and long enough to be seen as none." * 100)
    run = mapper.run("%%wbmap df -o out\n{{ text }}")
    assert run.ok
    assert "answers.sqlite was damaged (file is not a database)" in run.text
    assert mapper.value("out.reply.tolist()") == ["<a>", "<b>", "<c>", "<d>"]
    assert "4 kept from before" in mapper.run("%%wbmap df -o out\n{{ text }}").text


ROWS = [
    '{"text": "kept", "seconds": "abc"}',
    '{"text": "kept", "seconds": NaN}',
    '{"text": "kept", "seconds": Infinity}',
    '{"text": "kept", "seconds": -1}',
    '{"text": "kept", "seconds": true}',
    f'{{"text": "kept", "seconds": {"1" * 400}}}',
    '{"text": ["kept"]}',
    '{"text": "kept", "error": 5}',
    '{"text": "kept", "more": 1}',
    '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "[]",
    "no JSON",
    b"\xff\xfe",
    b'{"text": "kept\xff"}',
    5,
]


def test_an_invalid_cached_answer_is_requested_again(
    mapper: Kernel, service: Service, environment: dict[str, str]
) -> None:
    mapper.run("%%wbmap df --limit 1\n{{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    for row in ROWS:
        requests_before = len(service.chats)
        with sqlite3.connect(file) as connection:
            connection.execute("update answers set answer = ?", (row,))
        run = mapper.run("%%wbmap df --limit 1 -o out\n{{ text }}")
        assert run.ok, run.error
        assert mapper.value("out.reply.tolist()") == ["<a>"]
        assert len(service.chats) == requests_before + 1


def test_a_cache_that_is_not_a_file_is_reported_with_its_name(mapper: Kernel, environment: dict[str, str]) -> None:
    mapper.run("%%wbmap df --limit 1\n{{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    for make in (Path.mkdir, os.mkfifo):
        for one in file.parent.glob("answers.sqlite*"):
            one.rmdir() if one.is_dir() else one.unlink()
        make(file)
        run = mapper.run("%%wbmap df -o out\n{{ text }}")
        assert run.ok
        assert "not kept on disk" in run.text


SCRIPT = """\
import sys
from wandb_inference_magic import map_prompts
print(len(map_prompts([str(number) for number in range(int(sys.argv[1]))], "{{ text }}", concurrency=4)))
"""


def variables_for(environment: dict[str, str], service: Service) -> dict[str, str]:
    """Return an environment with the service, its key and a model."""
    return environment | service.environment | {"WANDB_INFERENCE_API_KEY": "a-key"}


def start_script(environment: dict[str, str], service: Service, rows: int) -> ForkedProgram:
    return ForkedProgram(SCRIPT, str(rows), environment=variables_for(environment, service), imported=FRAMES)


def test_a_killed_process_loses_only_its_running_calls(environment: dict[str, str], service: Service) -> None:
    service.always = echo
    enough, lock, answered = Event(), threading.Lock(), [0]

    def answer(one: Answer) -> None:
        echo(one)
        with lock:
            answered[0] += 1
            if answered[0] == 60:
                enough.set()

    service.always = answer
    with start_script(environment, service, 300) as running:
        assert enough.wait(60)
        running.kill()
        assert running.wait() == -signal.SIGKILL
    service.always = echo
    before, sent = len(service.chats), set(prompts(service))
    assert before < 300, "it was killed before its end"
    with start_script(environment, service, 300) as again:
        out, errors = again.communicate()
    assert out == "300\n", errors
    repeated = [one for one in prompts(service)[before:] if one in sent]
    assert len(repeated) <= 8, "four running calls, and four that were answered while it was killed"


def test_two_processes_share_one_cache(environment: dict[str, str], service: Service) -> None:
    service.always = echo
    with start_script(environment, service, 300) as one, start_script(environment, service, 300) as other:
        for out, errors in (one.communicate(), other.communicate()):
            assert out == "300\n", errors
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    with sqlite3.connect(file) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select count(*) from answers").fetchone() == (300,)


# Before and during -----------------------------------------------------------------------------------------


def test_a_map_above_the_budget_is_refused_with_the_figures(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    kernel.run("%wbconfig --budget 0.01\nmany = ['word ' * 100] * 1000")
    run = kernel.run("%%wbmap many --max-tokens 10\n{{ text }}")
    assert re.search(r"would cost about \$0\.1\d, and \$0\.01\d? is left of the budget", run.error)
    assert "1,000 rows" in run.error
    assert len(wandb.api.chats) == before
    wandb.api.always = completion("Yes.", counted=usage(100, 3))
    assert kernel.run("%%wbmap many --max-tokens 10 --limit 3\n{{ text }}").ok


def test_a_map_stops_at_the_budget_and_keeps_its_rows(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    # Each call costs more than could be known before: 0.001 USD.
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    kernel.run("%wbconfig --budget 0.01\nmany = [str(number) for number in range(100)]")
    run = kernel.run("%%wbmap many -o out --max-tokens 5 --concurrency 2\n{{ text }}")
    assert re.search(
        r"The budget is used up after \d+ calls: the next could cost \$0\.\d+, and nothing is left\.", run.error
    )
    assert "Nothing was sent" not in run.error
    assert 9 <= len(wandb.api.chats) - before <= 12
    assert kernel.value("out.reply.notna().sum().item()") == len(wandb.api.chats) - before


def test_compared_models_share_the_budget(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    # Each call can cost 0.0005 USD: one fits, two do not.
    kernel.run("%wbconfig --budget 0.0008")
    run = kernel.run("%%wbchat -m test/small -m test/eyes --max-tokens 1000\nhi")
    assert not wandb.api.chats
    assert "test/eyes: This could cost $0.00061, and $0.00019 is left of the budget. Nothing was sent." in run.error
    assert "The other models could cost $0.00061. A comparison is sent as a whole." in run.error
    assert kernel.run("%wbchat --once --max-tokens 1000 hi").ok, "the reservation has been released"


def test_unused_reservations_of_rows_are_available_to_later_rows(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(10, 1))
    kernel_with_catalog.run("%wbchat --once hi")
    # Sixteen rows at once could cost 0.0016 USD, all thirty cost 0.0003.
    kernel_with_catalog.run("%wbconfig --budget 0.0012\nmany = [str(number) for number in range(30)]")
    run = kernel_with_catalog.run("%%wbmap many --max-tokens 200\n{{ text }}?")
    assert run.ok, run.error
    assert len(wandb.api.chats) == 31


def test_a_chat_above_the_budget_is_refused(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    kernel.run("%wbconfig --budget 0.000001")
    run = kernel.run("%wbchat --max-tokens 100 hi")
    assert "is left of the budget. Nothing was sent." in run.error
    run = kernel.run("%%wbchat --max-tokens 100 -m test/small -m test/eyes\nhi")
    assert "test/small: This could cost $0.00016, and " in run.error
    assert len(wandb.api.chats) == before


def test_the_first_answers_are_shown_while_others_are_running(mapper: Kernel, service: Service) -> None:
    gate, seen = Event(), False

    def answer(one: Answer) -> None:
        if "a" not in prompt_of(one):
            assert gate.wait(60)
        echo(one)

    service.always = answer
    request = mapper.start("%%wbmap df --concurrency 2\nIs {{ text }} x?")
    for message in mapper.messages(request):
        if "Is a x?" in json.dumps(message.content) and not gate.is_set():
            seen = True
            gate.set()
    assert seen


def test_a_headless_map_shows_no_progress_bar(environment: dict[str, str], service: Service, tmp_path: Path) -> None:
    """The output under nbclient contains the answers and no widget."""
    service.always = echo
    cells = ["%load_ext wandb_inference_magic", FRAME, MAP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    NotebookRun(notebook, timeout=120).execute(env=variables_for(environment, service))
    (output,) = notebook.cells[-1].outputs
    assert set(output.data) == {"text/markdown", "text/plain"}
    assert "4 of 4 rows answered" in output.data["text/plain"]


def test_map_prompts_works_in_a_script(environment: dict[str, str], service: Service) -> None:
    service.always = echo
    done = run_python("-c", SCRIPT, "3", environment=variables_for(environment, service))
    assert done.stdout == "3\n", done.stderr


def test_rows_of_a_generator_are_drawn_lazily(api: ModuleType, service: Service) -> None:
    """The rows are an endless generator: only rows that are used are drawn."""
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield str(drawn)

    service.always = lambda one: (echo if int(prompt_of(one)) < 100 else refused(402, "no credit"))(one)
    with pytest.raises(InferenceError) as caught:
        api.map_prompts(endless(), "{{ text }}", concurrency=4)
    assert 100 <= drawn <= 112
    assert caught.value.cause == "quota"


@pytest.mark.parametrize("frame", ["df", '"df"', "(df)"])
def test_rows_beyond_the_limit_are_not_lost(kernel: Kernel, service: Service, frame: str) -> None:
    service.always = completion("good")
    assert kernel.run("import pandas as pd\ndf = pd.DataFrame({'n': range(40)})").ok
    refused = kernel.run(f"%%wbmap {frame} -o df --limit 4\n{{{{ n }}}}").error
    assert "df would keep only its first 4 rows, because of --limit. Nothing was sent." in refused
    assert service.chats == []
    assert kernel.run("%%wbmap df -o df\n{{ n }}").ok
    assert kernel.value("(len(df), list(df))") == (40, ["n", "reply"])


def test_an_answer_that_was_cut_is_replaced_with_its_mark(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(["A long"], finish="length")
    assert kernel.run("import pandas as pd\ndf = pd.DataFrame({'n': range(3)})").ok
    assert kernel.run("%%wbmap df -o df\n{{ n }}").ok
    assert kernel.value("int(df.reply_error.notna().sum())") == 3
    service.always = completion("A long answer.")
    again = kernel.run("%%wbmap df -o df\n{{ n }}")
    assert "The columns of an earlier run are replaced: reply, reply_error." in again.text
    assert kernel.value("(list(df), df.reply.tolist())") == (["n", "reply"], ["A long answer."] * 3)


def test_a_row_that_fails_with_several_models_is_named_once(kernel: Kernel, service: Service) -> None:
    service.always = lambda one: (refused(400, "no") if "n=1" in str(one.received.body) else completion("yes"))(one)
    assert kernel.run("rows = [{'n': one} for one in range(3)]").ok
    said = kernel.run("%%wbmap rows -m test/a -m test/b -o out\nn={{ n }}").text
    assert "Row 2: " in said
    assert "2, 2" not in said
    assert "shorten the prompt if it is too long (in a chat:" in kernel.value("out.reply_a_error[1]")


def test_all_models_get_the_same_prompts_each_rendered_once(mapper: Kernel, service: Service) -> None:
    mapper.run("made = []\ndef one(text):\n    made.append(text)\n    return len(made)\nmany = list('abcdefgh')")
    run = mapper.run("%%wbmap many -o out -m test/a -m test/b\n{{ text }} {{ one(text) }}")
    assert run.ok, run.error
    assert mapper.value("''.join(made)") == "abcdefgh"
    asked = [(chat.body["model"], chat.body["messages"][-1]["content"]) for chat in service.chats]
    expected = [f"{text} {number}" for number, text in enumerate("abcdefgh", 1)]
    assert sorted(asked) == [(model, prompt) for model in ("test/a", "test/b") for prompt in expected]
