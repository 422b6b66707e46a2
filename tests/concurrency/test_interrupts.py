"""Interrupts that wait for a safe moment, and then are not lost."""

from __future__ import annotations

import os
import signal

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


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_an_interrupt_in_a_coroutine_comes_where_it_is_looked_for(loop: str) -> None:
    """Asyncio's handler cancels the task, and Trio's notes the interrupt: both have an effect later only.

    In another process: in this one Playwright's loop may be running, which keeps `asyncio.run` from starting one.
    """
    code = f"""
import signal, {loop}
from wandb_inference_magic.concurrency import deferred_interrupts

async def run():
    with deferred_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        interrupts.check()
    print("not reached")

try:
    {loop}.run({"run()" if loop == "asyncio" else "run"})
except KeyboardInterrupt:
    print("interrupted")
"""
    done = run_python("-c", code, environment=os.environ)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
