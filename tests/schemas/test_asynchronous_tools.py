"""Tools that are coroutines, and interrupts in tools."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from tool_calls import received, step

from wandb_inference_magic.concurrency import coroutines

pytestmark = pytest.mark.short

where = contextvars.ContextVar("where", default="nowhere")


async def triple(a: int) -> list[object]:
    await asyncio.sleep(0)
    return [3 * a, where.get(), threading.current_thread() is threading.main_thread()]


def test_an_asynchronous_tool_is_awaited() -> None:
    where.set("in the cell")
    assert received(triple, {"a": 2}) == [6, "in the cell", True]


def test_an_asynchronous_tool_runs_inside_a_running_loop() -> None:
    async def main() -> Any:
        return received(triple, {"a": 2})[0]

    # In a separate thread: the browser of other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, main()).result() == 6


def test_an_asynchronous_tool_can_call_what_runs_another_one() -> None:
    async def outer() -> object:
        await asyncio.sleep(0)
        return [received(triple, {"a": 1})[0], received(triple, {"a": 2})[0]]

    assert received(outer, {}) == [3, 6]


def test_asynchronous_tools_share_what_belongs_to_a_loop_or_a_thread() -> None:
    """As a client, a lock or a connection of a database that the notebook has made once."""
    lock, database = asyncio.Lock(), sqlite3.connect(":memory:")

    async def tool() -> str:
        # It is bound to a loop as soon as one waits for it.
        async with lock:
            waiting = asyncio.ensure_future(lock.acquire())
            await asyncio.sleep(0)
        await waiting
        lock.release()
        return str(database.execute("select 1").fetchone())

    with closing(database):
        assert [step(tool).result for _ in range(3)] == ["(1,)"] * 3


def test_a_task_of_an_asynchronous_tool_goes_on_with_the_next_one_and_ends_with_the_session() -> None:
    steps: list[str] = []

    async def task() -> None:
        try:
            while True:
                steps.append("step")
                await asyncio.sleep(0)
        finally:
            steps.append("ended")

    kept: list[Any] = []

    async def tool() -> str:
        kept[:] = kept or [asyncio.create_task(task())]
        await asyncio.sleep(0)
        return "done"

    for number in range(1, 3):
        assert step(tool).result == "done"
        assert len(steps) >= number
    before = len(steps)
    coroutines.close()
    assert steps[before:].count("ended") == 1
    assert step(tool).result == "done"
    coroutines.close()


def test_an_interrupt_in_a_tool_is_raised() -> None:
    def tool() -> None:
        raise KeyboardInterrupt

    async def asynchronous_tool() -> None:
        raise KeyboardInterrupt

    for function in (tool, asynchronous_tool):
        with pytest.raises(KeyboardInterrupt):
            step(function)


def run_and_interrupt(body: str) -> list[str]:
    """Run an asynchronous tool in another process, interrupt it after its start, and return what it prints then."""
    code = (
        "import asyncio, threading\n"
        # As at the start of Python: child processes of these tests may inherit ignored or blocked interrupts.
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})\n"
        "from wandb_inference_magic.messages.reply import ToolCall\n"
        "from wandb_inference_magic.schemas.tools import toolbox_of\n"
        "async def tool():\n"
        "    'Wait.'\n"
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "try:\n"
        "    toolbox_of([tool]).run(ToolCall('call_1', 'tool', ''))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=30)
            assert errors == ""
            return printed.splitlines()
        finally:
            process.kill()


def test_an_interrupt_cancels_an_asynchronous_tool() -> None:
    # It has begun to wait when the loop calls this.
    body = """
        asyncio.get_running_loop().call_soon(lambda: print('begun', flush=True))
        try:
            await asyncio.sleep(200)
        except asyncio.CancelledError:
            print("cancelled")
            raise
    """
    assert run_and_interrupt(body) == ["cancelled", "interrupted"]


@pytest.mark.parametrize(
    "waiting",
    ["asyncio.gather(spin(), asyncio.sleep(200))", "asyncio.wait_for(spin(), 200)", "asyncio.create_task(spin())"],
)
def test_an_interrupt_in_a_task_of_a_tool_is_not_reported_as_well(waiting: str) -> None:
    body = f"""
        async def spin():
            print('begun', flush=True)
            while True:
                pass
        await {waiting}
    """
    assert run_and_interrupt(body) == ["interrupted"]


def test_an_interrupt_does_not_wait_for_a_tool_that_cannot_be_cancelled() -> None:
    assert run_and_interrupt("print('begun', flush=True)\nthreading.Event().wait(200)") == ["interrupted"]
