"""Interrupts that wait for a safe moment, and then are not lost."""

from __future__ import annotations

import gc
import signal
from typing import Any

import pytest

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
