"""Coroutines of the user's, which run in the thread that waits for them."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, finalize

from .event_loop import HAS_THREADS, SECONDS_TO_CANCEL, EventLoop, end_tasks, named_asyncio
from .interrupts import deferred_interrupts
from .processes import ForkAware

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class CoroutineRunner(ForkAware):
    """Runs coroutines, in each thread on an event loop of its own, which is kept until `close`.

    A client, a lock or a connection of the notebook that one coroutine has used can be used by the next one: it
    belongs to its loop, and some to their thread. Between two coroutines the loop stands still. In a kernel, the loop
    that runs the cell is set aside meanwhile: it cannot run twice.
    """

    def __init__(self) -> None:
        # Each with what closes it when its thread has ended.
        self._loops: WeakKeyDictionary[Thread, tuple[asyncio.AbstractEventLoop, finalize[[], Thread]]]
        self._loops = WeakKeyDictionary()
        # Loops of the parent process. To close them would change what the parent waits for.
        self._of_parent: list[object] = []
        super().__init__()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and return its result. It sees the context variables of the thread.

        Raises
        ------
        BaseException
            What the coroutine raises, or an interrupt: then it is cancelled.
        """
        if not HAS_THREADS:
            return EventLoop().run(coroutine)

        loop = self._loop()
        if loop.is_running():
            # A coroutine has called something that runs another one.
            inner = _new_loop()
            try:
                return _run(inner, coroutine)
            finally:
                _close(inner)
        return _run(loop, coroutine)

    def close(self) -> None:
        """End what coroutines have left running, and close the loops that do not run at this moment."""
        with self._lock:
            loops = [loop for loop, _ in self._loops.values() if not loop.is_running()]
            self._loops.clear()
        for loop in loops:
            if not loop.is_closed():
                _close(loop)

    def after_fork_in_child(self) -> None:
        self._lock = Lock()
        for loop, closing in self._loops.values():
            closing.detach()
            self._of_parent.append(loop)
        self._loops = WeakKeyDictionary()

    def _loop(self) -> asyncio.AbstractEventLoop:

        thread = current_thread()
        with self._lock:
            loop, _ = self._loops.get(thread, (None, None))
            if loop is None or loop.is_closed():
                loop = _new_loop()
                self._loops[thread] = loop, finalize(thread, loop.close)
            return loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that does not report interrupts: it raises them past their tasks, also those of others."""
    import asyncio

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KeyboardInterrupt):
            loop.default_exception_handler(context)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(report)
    return loop


def _run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:

    with deferred_interrupts() as interrupts, _other_loop_aside():
        task = loop.create_task(coroutine)
        try:
            with interrupts.allowed():
                return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                _cancel(loop, task)
            raise


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end. One that ignores that is no longer waited for after some time."""
    ended = loop.create_future()

    def end(_: object = None) -> None:
        if not ended.done():
            ended.set_result(None)

    task.add_done_callback(end)
    task.cancel()
    limit = loop.call_later(SECONDS_TO_CANCEL, end)
    while not ended.done():
        # A task that the interrupt has ended raises it once more for the one that waits for it.
        with suppress(KeyboardInterrupt):
            loop.run_until_complete(ended)
    limit.cancel()


@contextmanager
def _other_loop_aside() -> Iterator[None]:
    """Let this thread run another event loop than the one that runs in it, by what asyncio offers for such loops."""
    import asyncio

    running = asyncio._get_running_loop()
    task = None if running is None else asyncio.current_task(running)
    if running is not None and task is not None:
        asyncio.tasks._leave_task(running, task)
    asyncio._set_running_loop(None)
    try:
        with named_asyncio():
            yield
    finally:
        asyncio._set_running_loop(running)
        if running is not None and task is not None:
            asyncio.tasks._enter_task(running, task)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    try:
        with deferred_interrupts(), _other_loop_aside():
            # Threads that coroutines have started are not waited for: they cannot be ended.
            loop.run_until_complete(end_tasks(loop))
    finally:
        loop.close()


# One for the process: a thread has one loop, whatever sessions there are.
coroutines = CoroutineRunner()
