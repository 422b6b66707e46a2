"""The session's event loop: what runs on it ends in good order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import thread as thread_pools
from threading import Thread, current_thread

import pytest
import sniffio

from wandb_inference_magic import errors
from wandb_inference_magic.concurrency import EventLoop, InFlight
from wandb_inference_magic.concurrency.coroutines import CoroutineRunner
from wandb_inference_magic.errors import beyond_limits


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    running = EventLoop()
    yield running
    running.close()


def test_cancelled_coroutines_can_end_what_they_do(loop: EventLoop) -> None:
    """A connection is closed after the cancellation, which takes a moment: a second one would stop that."""
    closed: list[int] = []

    async def request(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05 * (number + 1))
            closed.append(number)

    async def begun() -> None: ...

    in_flight: InFlight[int] = InFlight(loop)
    for number in range(5):
        in_flight.start(number, request(number))
    in_flight.begin()
    # The loop starts coroutines in order: when this one has ended, those have begun.
    loop.run(begun())
    in_flight.cancel()
    assert sorted(closed) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [OSError("Too many open files"), ValueError("a guard of sockets")])
def test_a_loop_that_cannot_be_made_leaves_no_coroutine_behind(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """One that was never awaited would be reported later, as an unraisable error."""

    def refuse() -> None:
        raise error

    request = asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", refuse)
        with pytest.raises(type(error), match=str(error)):
            loop.run(request)
    assert inspect.getcoroutinestate(request) == inspect.CORO_CLOSED
    loop.run(asyncio.sleep(0))


@pytest.mark.parametrize("runner", [EventLoop, CoroutineRunner])
def test_a_coroutine_is_found_to_run_on_asyncio_whatever_runs_the_code_around_it(
    runner: type[EventLoop | CoroutineRunner],
) -> None:
    """AnyIO and Trio name what they run, and the HTTP library takes its locks and sockets from what is named."""

    async def library() -> str:
        return sniffio.current_async_library()

    running = runner()
    of_context, sniffio.thread_local.name = sniffio.current_async_library_cvar.set("trio"), "trio"
    try:
        assert running.run(library()) == "asyncio"
        assert sniffio.current_async_library() == "trio"
    finally:
        sniffio.current_async_library_cvar.reset(of_context)
        sniffio.thread_local.name = None
        running.close()


@pytest.mark.parametrize("is_scheduled", [False, True])
def test_a_coroutine_that_is_cancelled_before_it_begins_does_nothing(loop: EventLoop, is_scheduled: bool) -> None:
    done: list[int] = []

    async def request() -> None:
        done.append(1)

    in_flight: InFlight[int] = InFlight(loop)
    for number in range(200):
        in_flight.start(number, request())
    if is_scheduled:
        in_flight.begin()
    in_flight.cancel()
    left = len(done)
    loop.run(asyncio.sleep(0))
    assert len(done) == left


def test_calls_that_block_run_after_the_end_of_the_main_thread(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the threads of all executors. A host's name is looked up in such a thread."""
    monkeypatch.setattr(thread_pools, "_shutdown", True)
    assert loop.call(lambda: current_thread().daemon)
    with pytest.raises(LookupError):
        loop.call(lambda: [][0])


def test_what_python_says_at_its_end_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    said = RuntimeError("can't create new thread at interpreter shutdown")
    assert beyond_limits(said) is None
    monkeypatch.setattr(errors, "main_thread", Thread)
    assert str(beyond_limits(said)).startswith("The program is ending: nothing was sent.")
    assert beyond_limits(RuntimeError("something else")) is None
