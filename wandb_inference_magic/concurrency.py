"""Run coroutines on an event loop in a separate thread, and import modules lazily or quietly."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from importlib import import_module
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from types import ModuleType

T = TypeVar("T")

# On Windows, an interrupt reaches a waiting main thread only between two waits.
SECONDS_BETWEEN_LOOKS: Final = 0.1
# A coroutine that ignores its cancellation is no longer waited for after this time.
SECONDS_TO_CANCEL: Final = 1.0


def run(coroutine: Coroutine[Any, Any, T], *, meanwhile: Callable[[], None] | None = None) -> T:
    """Run a coroutine to its end and return its result. An interrupt cancels it and is raised here.

    The waiting thread calls `meanwhile` about ten times a second, for example to draw the progress.
    """
    running = _Run(coroutine)
    try:
        running.start()
        while not running.ended.wait(SECONDS_BETWEEN_LOOKS):
            if meanwhile is not None:
                meanwhile()
    except BaseException:
        running.cancel()
        running.ended.wait(SECONDS_TO_CANCEL)
        raise
    if running.error is not None:
        raise running.error
    return cast("T", running.result)


class _Run(Thread):
    """A coroutine on a separate event loop in a separate thread, because the kernel's own loop is already running.

    `asyncio.run` is not used: nest_asyncio, which many notebooks apply, replaces it with a version that works only in
    the main thread.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        # Imported when a coroutine is run, because every package imports this module.
        import asyncio

        super().__init__(name="wb-background", daemon=True)
        self.ended = Event()
        self.result: object = None
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        # Created here and not in the thread, so that the coroutine sees the cell's context variables.
        self._task = self._loop.create_task(coroutine)

    def run(self) -> None:
        try:
            self.result = self._loop.run_until_complete(self._task)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error
        finally:
            try:
                self._close()
            finally:
                self.ended.set()

    def cancel(self) -> None:
        """Cancel the coroutine, from another thread."""
        with suppress(RuntimeError):  # the loop is closed: the coroutine has ended by itself
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _close(self) -> None:
        """Close the loop, and end what the coroutine has started: tasks, asynchronous generators, threads."""
        import asyncio

        try:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()


# Imports ---------------------------------------------------------------------------------------------------------


def lazy_exports(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], object]:
    """Return a `__getattr__` for a package that imports each public name on first use.

    Parameters
    ----------
    package : str
        The package's full name.
    modules : mapping
        Maps each of its modules to the public names defined there.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        # The next access does not call `__getattr__`.
        setattr(sys.modules[package], name, value)
        return value

    return get


# Warnings are disabled for all threads: two threads that did so at the same time would leave them disabled.
_one_at_a_time: Final = RLock()


def import_quietly(name: str) -> ModuleType:
    """Import a module without warnings: those of its import do not concern the cell that is being run.

    Parameters
    ----------
    name : str
        The module's full name.

    Returns
    -------
    ModuleType

    Raises
    ------
    ImportError
        When the module is not found. Any other error that the module itself raises is not caught.
    """
    if name in sys.modules:
        return import_module(name)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)
