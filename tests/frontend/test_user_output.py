"""Whether the user's code has shown something, in several threads at once."""

from __future__ import annotations

import logging
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
    streams = sys.stdout, sys.stderr
    first, second = UserOutput(shell()).watched(), UserOutput(shell()).watched()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert "write" in vars(sys.stdout)
    second.__exit__(None, None, None)
    assert (sys.stdout, sys.stderr) == streams
    assert all("write" not in vars(one) for one in streams)


def test_what_the_users_code_puts_in_place_of_a_stream_or_its_method_stays() -> None:
    before = sys.stdout
    with UserOutput(shell()).watched():
        kept = sys.stdout = SimpleNamespace(write=len)  # type: ignore[assignment]
    assert sys.stdout is kept
    with UserOutput(shell()).watched():
        print("is counted")
    assert vars(kept) == {"write": len}
    with UserOutput(shell()).watched():
        vars(kept)["write"] = print
    assert vars(kept) == {"write": print}
    sys.stdout = before


def test_what_is_logged_is_noted() -> None:
    """A handler has the stream from when it was made."""
    handler = logging.StreamHandler(sys.stdout)
    shown = UserOutput(shell())
    with shown.watched():
        handler.emit(logging.makeLogRecord({"msg": "looking it up"}))
    assert shown.is_shown
