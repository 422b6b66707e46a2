"""Rows that fail in `%%wbmap`, and what ends its run."""

from __future__ import annotations

import json
import re
import sys
import threading
from threading import Event

import pytest
from kernels import Kernel, SharedKernel
from mapped_rows import echo, prompt_of
from service import Answer, Script, Service, completion, page, refused


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
    ("script", "said"),
    [
        (refused(403, "Input was flagged by moderation"), "flagged by moderation"),
        # A firewall blocks what looks like SQL.
        (page("<html><title>Attention Required!</title><body>You have been blocked</body></html>", 403), "a web page"),
    ],
)
def test_a_prompt_that_is_refused_is_one_rows_error(
    mapper: Kernel, service: Service, script: Script, said: str
) -> None:
    service.always = lambda one: (script if "b" in prompt_of(one) else echo)(one)
    run = mapper.run("%%wbmap df -o out --concurrency 1\n{{ text }}")
    assert run.ok, run.error
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "<c>", "<d>"]
    assert said in mapper.value("out.reply_error.tolist()[1]")
    assert len(service.chats) == 4
    # With the other answers on disk, it is the only row that is sent, or none is.
    run = mapper.run("%%wbmap df -o out --concurrency 1\n{{ text }}")
    assert run.ok, run.error
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "<c>", "<d>"]


def test_a_row_that_fails_with_several_models_is_named_once(kernel: Kernel, service: Service) -> None:
    service.always = lambda one: (refused(400, "no") if "n=1" in str(one.received.body) else completion("yes"))(one)
    assert kernel.run("rows = [{'n': one} for one in range(3)]").ok
    said = kernel.run("%%wbmap rows -m test/a -m test/b -o out\nn={{ n }}").text
    assert "Row 2: " in said
    assert "2, 2" not in said
    assert "shorten the prompt if it is too long (in a chat:" in kernel.value("out.reply_a_error[1]")


def test_a_row_that_fails_where_others_are_answered_is_given_up(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: (refused(500, "no", Retry_After="0") if "b" in prompt_of(one) else echo)(one)
    mapper.run("%config WandbInference.max_retries = 1")
    mapper.run("%%wbmap df -o out --concurrency 4\n{{ text }}")
    assert mapper.value("out.reply.fillna('-').tolist()") == ["<a>", "-", "<c>", "<d>"]
    # Once more if no other row was answered yet.
    assert sum("b" in one.body["messages"][-1]["content"] for one in service.chats) in (2, 3)
    assert sum("b" not in one.body["messages"][-1]["content"] for one in service.chats) == 3


@pytest.mark.parametrize("script", [refused(500, "no"), refused(502, "no"), Answer.cut], ids=["500", "502", "cut"])
@pytest.mark.parametrize("bad", ["a", "b"])
def test_a_row_that_always_fails_leaves_its_place_to_those_that_were_not_sent_yet(
    mapper: Kernel, service: Service, script: Script, bad: str
) -> None:
    """With one request at once, no other one is in flight that could show that the service works."""
    service.always = lambda one: (script if prompt_of(one) == bad else echo)(one)
    mapper.run("%config WandbInference.max_retries = 1")
    assert mapper.run("%%wbmap df -o out --concurrency 1\n{{ text }}").ok
    expected = ["-" if one == bad else f"<{one}>" for one in "abcd"]
    assert mapper.value("out.reply.fillna('-').tolist()") == expected
    asked = [one.body["messages"][-1]["content"] for one in service.chats]
    assert 2 <= asked.count(bad) <= 4
    assert len(asked) == asked.count(bad) + 3


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


def test_the_progress_bar_shows_a_retry(mapper: Kernel, service: Service) -> None:
    shows_retry = False
    service.then(refused(503, "overloaded", Retry_After="1"))
    request = mapper.start("%%wbmap df --concurrency 1\n{{ text }}", allow_stdin=True)
    for message in mapper.messages(request):
        shown = json.dumps(message.content, ensure_ascii=False).replace("\u2007", " ")
        shows_retry = shows_retry or re.search(r"trying again=in \d s: The endpoint", shown) is not None
    assert shows_retry


def test_a_run_waits_for_a_service_that_fails_for_every_row(mapper: Kernel, service: Service) -> None:
    """More often than `max_retries` says: only a row that fails where others are answered is given up."""
    failing = [refused(503, "overloaded", Retry_After="0")] * 12
    service.then(*failing)
    service.always = echo
    mapper.run("%config WandbInference.max_retries = 1")
    assert mapper.run("%%wbmap df -o out --concurrency 4\n{{ text }}").ok
    assert mapper.value("out.reply.tolist()") == ["<a>", "<b>", "<c>", "<d>"]
    assert len(service.chats) == len(failing) + 4


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
