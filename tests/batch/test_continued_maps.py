"""`%%wbmap` again: what an interrupted or killed run has answered is not asked again."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from threading import Event

from kernels import Kernel, Run
from mapped_rows import SCRIPT, echo, prompts, variables_for
from python_forks import ForkedProgram
from service import Answer, Service, Streamed, completion


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


def start_script(environment: dict[str, str], service: Service, rows: int) -> ForkedProgram:
    return ForkedProgram(SCRIPT, str(rows), environment=variables_for(environment, service))


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
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select count(*) from answers").fetchone() == (300,)


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


def test_an_answer_that_was_cut_is_replaced_with_its_mark(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(["A long"], finish="length")
    assert kernel.run("import pandas as pd\ndf = pd.DataFrame({'n': range(3)})").ok
    assert kernel.run("%%wbmap df -o df\n{{ n }}").ok
    assert kernel.value("int(df.reply_error.notna().sum())") == 3
    service.always = completion("A long answer.")
    again = kernel.run("%%wbmap df -o df\n{{ n }}")
    assert "These columns equal those of an earlier run, and are replaced: reply, reply_error." in again.text
    assert kernel.value("(list(df), df.reply.tolist())") == (["n", "reply"], ["A long answer."] * 3)


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
    '{"text": "kept", "tokens": -5}',
    '{"text": "kept", "tokens": 1.5}',
    '{"text": "kept", "cost": NaN}',
    '{"text": "kept", "cost": Infinity}',
    '{"text": "kept", "cost": "free"}',
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
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
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
