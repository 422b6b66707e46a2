"""The session's event loop, and coroutines that run on it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

# Imported at once: it cannot be imported any more by a thread that outlives the main thread.
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from .processes import ForkAware

if TYPE_CHECKING:
    import asyncio

    from .interrupts import Interrupts

T = TypeVar("T")
K = TypeVar("K")

CLOSED: Final = "The session was closed while this was waiting."
THREAD_NAME: Final = "wb-event-loop"
# Pyodide has one thread and cannot start another.
HAS_THREADS: Final = sys.platform != "emscripten"

# A waiting thread looks this often for an interrupt: on Windows, one is handled only between two waits.
SECONDS_BETWEEN_LOOKS: Final = 0.1
# A coroutine that ignores its cancellation is no longer waited for after this time.
SECONDS_TO_CANCEL: Final = 2.0


class EventLoop(ForkAware):
    """An event loop in a thread of its own, which starts on first use and lives until `close`.

    `asyncio.run` would not do: the kernel's own loop runs in the main thread already, and nest_asyncio, which many
    notebooks apply, replaces it. A child process made by `fork` has no copy of the thread, so it starts its own loop.
    Where no thread can be started (Pyodide), coroutines run on the loop that is there.

    Parameters
    ----------
    explain : callable
        Takes an error of Python when it starts a thread or opens a file. Returns the one that is raised in its place,
        or None.
    """

    def __init__(self, explain: Callable[[Exception], Exception | None] = lambda _: None) -> None:
        self._explain = explain
        super().__init__()

    def after_fork_in_child(self) -> None:
        """Begin without a loop: its thread runs in the parent of this process."""
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        meanwhile: Callable[[], object] | None = None,
        every: float = SECONDS_BETWEEN_LOOKS,
        wake: Event | None = None,
        interrupts: Interrupts | None = None,
    ) -> T:
        """Run a coroutine to its end and return its result. If this thread is interrupted, the coroutine is cancelled.

        Parameters
        ----------
        coroutine : coroutine
            It sees the context variables of the calling thread.
        meanwhile : callable, optional
            Called in the calling thread every `every` seconds while it waits, for example to draw.
        every : float
            Seconds.
        wake : Event, optional
            Calls `meanwhile` at once when it is set.
        interrupts : Interrupts, optional
            Deferred interrupts, which end the wait.

        Raises
        ------
        BaseException
            What the coroutine raises, or what ended the wait.
        """
        running = self.begin(coroutine, wake.set if wake is not None else None)
        try:
            while not running.wait(every, wake):
                if interrupts is not None:
                    interrupts.check()
                if meanwhile is not None:
                    meanwhile()
        except BaseException:
            running.cancel()
            running.wait(SECONDS_TO_CANCEL)
            raise
        return running.result()

    def call(
        self,
        function: Callable[[], T],
        *,
        meanwhile: Callable[[], object] | None = None,
        interrupts: Interrupts | None = None,
    ) -> T:
        """Run a function that blocks in another thread while this one waits, as in `run`, and return its result."""
        if not HAS_THREADS:
            return function()
        import asyncio

        with self._explained():
            return self.run(asyncio.to_thread(function), meanwhile=meanwhile, interrupts=interrupts)

    def begin(self, coroutine: Coroutine[Any, Any, T], ended: Callable[[], object] | None = None) -> Running[T]:
        """Start a coroutine. `ended` is called when it ends."""
        return self.begin_all([(coroutine, ended)])[0]

    def begin_all(
        self, coroutines: Sequence[tuple[Coroutine[Any, Any, T], Callable[[], object] | None]]
    ) -> list[Running[T]]:
        """Start coroutines, each with what is called when it ends. The loop's thread is woken once for all of them."""
        with self._explained():
            try:
                loop = self._start()
            except BaseException:
                for coroutine, _ in coroutines:
                    coroutine.close()
                raise
        running = [Running(loop, coroutine, ended) for coroutine, ended in coroutines]

        def begin() -> None:
            for one in running:
                one.begin()

        if HAS_THREADS:
            # This also copies the context variables of the calling thread.
            loop.call_soon_threadsafe(begin)
        else:
            begin()
        return running

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError) as error:
            if (explained := self._explain(error)) is None:
                raise
            raise explained from None

    def _start(self) -> asyncio.AbstractEventLoop:
        """Start the thread if necessary, and return its loop. In Pyodide, return the loop that is there."""
        # Imported on first use, because every package imports this module.
        import asyncio

        if not HAS_THREADS:
            return asyncio.get_event_loop()
        with self._lock:
            if sys.is_finalizing():
                # The threads of a loop do not run any more: a wait would have no end.
                raise RuntimeError("no event loop runs at interpreter shutdown")
            if self._loop is not None:
                return self._loop
            # It would log which selector it uses.
            logger = logging.getLogger("asyncio")
            disabled, logger.disabled = logger.disabled, True
            try:
                loop = asyncio.new_event_loop()
            finally:
                logger.disabled = disabled
            loop.set_default_executor(_DaemonThreads())
            thread = Thread(target=loop.run_forever, name=THREAD_NAME, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
            return loop

    def close(self) -> None:
        """Cancel what runs, end the thread and close the loop. The next `run` starts another one."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        ending = Running(loop, end_tasks(loop))
        loop.call_soon_threadsafe(ending.begin)
        ending.wait(SECONDS_TO_CANCEL)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS_TO_CANCEL)
        if not thread.is_alive():
            loop.close()


class _DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own, such as the look-up of a host's name.

    The threads of asyncio's executor end with the main thread: a thread that outlives it could send nothing.
    """

    def submit(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*arguments, **options))
                except BaseException as error:  # noqa: BLE001 - it belongs to the one that waits
                    future.set_exception(error)

        Thread(target=run, name="asyncio_call", daemon=True).start()
        return future


class Running(Generic[T]):
    """A coroutine that runs on the event loop of another thread or, in Pyodide, on that of the only thread.

    Parameters
    ----------
    loop : AbstractEventLoop
    coroutine : coroutine
    ended : callable, optional
        Called when it ends.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        ended: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._ended = ended
        self.task: asyncio.Task[T | None] | None = None
        self._stopped: BaseException | None = None
        self._is_over = False
        # Made by the thread that waits: most are only waited for by what their end calls.
        self._over: Event | None = None

    def begin(self) -> None:
        """Start the coroutine. Runs on the event loop."""
        self.task = self._loop.create_task(self._run())
        self.task.add_done_callback(self._end)

    def wait(self, seconds: float, wake: Event | None = None) -> bool:
        """Wait until the coroutine has ended, or the time is over. Return whether it has ended.

        With `wake`, it waits for that event only, and clears it. Start the coroutine with `ended=wake.set`, so that its
        end sets the event too.
        """
        if not HAS_THREADS:
            # Nothing can set an event meanwhile.
            _wait_here([self], seconds)
        elif not self._is_over:
            over = wake or self._over
            if over is None:
                over = self._over = Event()
            # It may have ended before it could see the event.
            if not self._is_over:
                over.wait(seconds)
            if wake is not None:
                wake.clear()
        return self._is_over or self._loop.is_closed()

    def cancel(self) -> None:
        """Cancel the coroutine. Call it once: a second time would cancel what it does to end, such as closing."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> T:
        """Return the result of a coroutine that has ended, or raise its error."""
        if self._stopped is not None:
            raise self._stopped
        if self.task is None or not self.task.done():
            raise RuntimeError(CLOSED)
        try:
            return cast("T", self.task.result())
        except BaseException as error:
            # A task of the user's code can also be cancelled by that code.
            if error.args == (CLOSED,):
                raise RuntimeError(CLOSED) from None
            raise

    async def _run(self) -> T | None:
        try:
            with named_asyncio():
                return await self._coroutine
        except (KeyboardInterrupt, SystemExit) as stopped:
            # They would end the loop and its thread.
            self._stopped = stopped
            return None

    def _cancel(self) -> None:
        # It has begun: what was given to the loop first runs first.
        if self.task is not None:
            self.task.cancel()

    def _end(self, task: asyncio.Task[T | None]) -> None:
        if not task.cancelled():
            # Marks an error as seen, in case no thread waits for it any more.
            task.exception()
        # One that was cancelled before it began would be reported as never awaited.
        self._coroutine.close()
        self._is_over = True
        if self._over is not None:
            self._over.set()
        if self._ended is not None:
            self._ended()


@contextmanager
def named_asyncio() -> Iterator[None]:
    """Let asyncio be found as what runs the coroutines of this context, also if the code around it runs on Trio.

    The HTTP library looks for it by sniffio, with which AnyIO and Trio name what they run, several times a request.
    """
    if (sniffio := sys.modules.get("sniffio")) is None:
        yield
        return
    of_context = sniffio.current_async_library_cvar.set("asyncio")
    of_thread, sniffio.thread_local.name = sniffio.thread_local.name, None
    try:
        yield
    finally:
        sniffio.thread_local.name = of_thread
        sniffio.current_async_library_cvar.reset(of_context)


class InFlight(Generic[K]):
    """Coroutines that run at the same time on an event loop. One thread starts them, and takes those that have ended.

    Each has a key, which identifies it to that thread.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._new: dict[K, Coroutine[Any, Any, None]] = {}
        self._running: dict[K, Running[None]] = {}
        self._ended: SimpleQueue[K] = SimpleQueue()
        self._all_have_ended = Event()

    def start(self, key: K, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine with the next `begin`: to wake the loop's thread for each one would cost time."""
        self._new[key] = coroutine

    def begin(self) -> None:
        """Begin the coroutines that were started."""
        if self._new:
            new, self._new = self._new, {}
            begun = self._loop.begin_all([(one, partial(self._end, key)) for key, one in new.items()])
            self._running.update(zip(new, begun, strict=True))

    def take(
        self, seconds: float, *, gather: float = 0.0, pauses: bool = False
    ) -> Iterator[tuple[K, Exception | None]]:
        """Yield the keys of those that have ended, and their errors. Wait for the first one at most this long.

        After a wait, `gather` is how long to wait for others: each change between two threads costs time. With `pauses`
        it waits as long when all have ended, so that other threads get Python meanwhile.
        """
        self._all_have_ended.clear()
        if not HAS_THREADS:
            _wait_here(self._running.values(), seconds if self._ended.empty() else 0)
            seconds = 0
        with suppress(Empty):
            key = self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait()
            if seconds and gather and len(self._running) > 1:
                if pauses:
                    sleep(gather)
                elif self._ended.qsize() + 1 < len(self._running):
                    self._all_have_ended.wait(gather)
            while True:
                yield key, self._error(key)
                key = self._ended.get_nowait()

    def _end(self, key: K) -> None:
        self._ended.put(key)
        # `take` has the first one already.
        if self._ended.qsize() + 1 >= len(self._running):
            self._all_have_ended.set()

    def _error(self, key: K) -> Exception | None:
        try:
            self._running.pop(key).result()
        except Exception as error:  # noqa: BLE001 - the caller reports it
            return error
        return None

    def cancel(self) -> None:
        """Cancel those that still run, and wait until they have ended."""
        for coroutine in self._new.values():
            coroutine.close()
        self._new.clear()
        for one in self._running.values():
            one.cancel()
        for one in self._running.values():
            one.wait(SECONDS_TO_CANCEL)
        self._running.clear()


async def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all other tasks of a loop, and end its asynchronous generators."""
    import asyncio

    others = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in others:
        task.cancel(CLOSED)
    if others:
        await asyncio.wait(others, timeout=SECONDS_TO_CANCEL / 2)
    await loop.shutdown_asyncgens()


def can_wait() -> bool:
    """Return whether a thread can wait for a coroutine here. Pyodide's can if the browser can switch stacks."""
    return HAS_THREADS or bool(import_module("pyodide.ffi").can_run_sync())


def _wait_here(running: Iterable[Running[Any]], seconds: float) -> None:
    """Run Pyodide's event loop until the first of the coroutines has ended, or the time is over."""
    import asyncio

    tasks = {one.task for one in running if one.task is not None}
    if tasks:
        waiting: Coroutine[Any, Any, object] = asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    else:
        waiting = asyncio.sleep(seconds)
    import_module("pyodide.ffi").run_sync(waiting)
