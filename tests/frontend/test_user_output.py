"""Whether the user's code has shown something, in several threads at once."""

from __future__ import annotations

import sys
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from wandb_inference_magic.frontend import UserOutput


def shell() -> Any:
    """Return a shell whose display publisher has no hooks."""
    return SimpleNamespace(display_pub=None)


def test_what_is_printed_is_noted_in_its_thread_only_and_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    inside = Barrier(2, timeout=30)
    printing, silent = UserOutput(shell()), UserOutput(shell())

    def watch_and_print() -> None:
        with printing.watched():
            inside.wait()
            print("from the thread")
            inside.wait()

    thread = Thread(target=watch_and_print)
    thread.start()
    with silent.watched():
        inside.wait()
        inside.wait()
    thread.join()
    assert (printing.is_shown, silent.is_shown) == (True, False)
    with silent.watched():
        # A thread that the user's code has started.
        other = Thread(target=print, args=("from another",))
        other.start()
        other.join()
    assert silent.is_shown
    assert capsys.readouterr().out == "from the thread\nfrom another\n"


def test_the_streams_are_put_back_in_whichever_order_the_blocks_end() -> None:
    before = sys.stdout, sys.stderr
    first, second = UserOutput(shell()).watched(), UserOutput(shell()).watched()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.stdout is not before[0]
    second.__exit__(None, None, None)
    assert (sys.stdout, sys.stderr) == before
    with UserOutput(shell()).watched():
        kept = sys.stdout = SimpleNamespace(write=len)  # type: ignore[assignment]
    assert sys.stdout is kept
    sys.stdout = before[0]
