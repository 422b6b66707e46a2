"""Interrupts that wait for a safe moment, and then are not lost."""

from __future__ import annotations

import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from python_processes import run_python

from wandb_inference_magic.concurrency import deferred_interrupts

pytestmark = pytest.mark.short


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        steps.append("whole")
    assert steps == ["whole"]


def test_an_interrupt_of_the_users_code_comes_at_once() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interrupts, interrupts.allowed():
        signal.raise_signal(signal.SIGINT)
        steps.append("not reached")
    assert steps == []


def test_an_interrupt_during_a_garbage_collection_is_not_lost() -> None:
    """Python drops what is raised in a callback of the collector, and what arrives meanwhile is raised there."""
    steps: list[str] = []

    def callback(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and not steps:
            steps.append("interrupted")
            signal.raise_signal(signal.SIGINT)

    # The first of all: the interrupt is handled there.
    gc.callbacks.insert(0, callback)
    try:
        with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interrupts:
            with interrupts.allowed():
                gc.collect()
                steps.append("the user's code ends")
            steps.append("not reached")
    finally:
        gc.callbacks.remove(callback)
    assert steps == ["interrupted", "the user's code ends"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Finalized:
    """Interrupts when it is deleted."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def delete_finalized() -> None:
    Finalized()


def delete_watched() -> None:
    class Watched:
        pass

    watched = Watched()
    reference = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT))
    del watched
    assert reference() is None


@pytest.mark.parametrize("delete", [delete_finalized, delete_watched])
def test_an_interrupt_that_python_drops_is_not_lost(delete: Callable[[], None]) -> None:
    steps: list[str] = []
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interrupts:
        with interrupts.allowed():
            delete()
            steps.append("the user's code ends")
        steps.append("not reached")
    assert steps == ["the user's code ends"]
    assert sys.unraisablehook is hook


def test_what_else_python_drops_is_reported_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)

    class Failing:
        def __del__(self) -> None:
            raise ValueError("no")

    with deferred_interrupts() as interrupts, interrupts.allowed():
        Failing()
    assert [one.exc_type for one in dropped] == [ValueError]


def test_an_interrupt_in_a_coroutine_comes_where_it_is_looked_for() -> None:
    """Asyncio's handler cancels the task: it would have an effect at its next `await` only.

    In another process: in this one Playwright's loop may be running, which keeps `asyncio.run` from starting one.
    """
    code = """
import asyncio, signal
from wandb_inference_magic.concurrency import deferred_interrupts

async def run():
    with deferred_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        interrupts.check()
    print("not reached")

try:
    asyncio.run(run())
except KeyboardInterrupt:
    print("interrupted")
"""
    done = run_python("-c", code, environment=os.environ)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
