"""Coroutines on an event loop in a thread of its own, and imports that are lazy or quiet."""

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

# An interrupt reaches a waiting main thread on Windows only between two waits.
SECONDS_BETWEEN_LOOKS: Final = 0.1
# What does not heed being cancelled is left behind.
SECONDS_TO_CANCEL: Final = 1.0


def run(coroutine: Coroutine[Any, Any, T], *, meanwhile: Callable[[], None] | None = None) -> T:
    """Run a coroutine to its end and return what it returns; an interrupt cancels it and is raised here.

    `meanwhile` is called about ten times a second by the thread that waits, such as to draw how far it has come.
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
    """A coroutine in an event loop and a thread of its own, since a kernel's own loop is running already.

    Not `asyncio.run`: nest_asyncio, which many notebooks apply, puts one in its place that works in the main
    thread alone.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        # Imported when a coroutine is run: every package imports this module.
        import asyncio

        super().__init__(name="wb-background", daemon=True)
        self.ended = Event()
        self.result: object = None
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        # Made here and not in the thread, so that the coroutine sees the context variables of the cell.
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
        """Leave nothing behind: tasks the coroutine has started, asynchronous generators, threads."""
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
    """Return a package's `__getattr__` that imports each public name when it is first asked for.

    Parameters
    ----------
    package : str
        The package's full name.
    modules : mapping
        From its modules to the public names that they hold.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        # The next time it is found without asking here.
        setattr(sys.modules[package], name, value)
        return value

    return get


# Warnings are switched off for all threads: two that did it side by side would leave them off.
_one_at_a_time: Final = RLock()


def import_quietly(name: str) -> ModuleType:
    """Import a module; what it and those behind it warn of meanwhile says nothing of the cell that is being run.

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
        When it is not there; whatever else the module itself raises.
    """
    if name in sys.modules:
        return import_module(name)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)
