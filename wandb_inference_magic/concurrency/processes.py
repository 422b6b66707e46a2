"""State that a forked child must not use, and settings that child processes inherit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, Final, Protocol
from weakref import WeakSet

_NAME: Final = "wandb_inference_magic"


class ForkAware:
    """Holds something that belongs to this process, such as a thread or connections."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        _holders.add(self)

    def after_fork_in_child(self) -> None:
        """Begin without it. Called at the beginning, and in every child process that this one makes by `fork`."""


class ClosedInForks(Protocol):
    """Holds something that no process may have while it is forked, such as a file of SQLite."""

    def before_fork(self) -> None:
        """Close it, and keep it closed."""

    def after_fork(self) -> None:
        """Allow it to be opened. Called in both processes."""


_holders: WeakSet[ForkAware] = WeakSet()
_closed_in_forks: WeakSet[ClosedInForks] = WeakSet()
# Those that are closed for the fork that is being made.
_closed: Final[list[ClosedInForks]] = []


def close_in_forks(holder: ClosedInForks) -> None:
    """Call `holder.before_fork` and `holder.after_fork` around every `fork` of this process."""
    _closed_in_forks.add(holder)


def _notify_holders() -> None:
    for holder in list(_holders):
        holder.after_fork_in_child()


def _close() -> None:
    _closed.extend(_closed_in_forks)
    for holder in _closed:
        holder.before_fork()


def _allow_to_open() -> None:
    while _closed:
        _closed.pop().after_fork()


# A fork waits for it. A thread that is forked away would never release what it holds, such as the lock of an import.
_forkless: Final = RLock()


@contextmanager
def without_forks() -> Iterator[None]:
    """Let forks of this process wait for the end of the `with` block. For threads of ours; no block takes long."""
    with _forkless:
        yield


if hasattr(os, "register_at_fork"):
    # What is called before a fork is called in the reverse order: first of all, the fork waits.
    os.register_at_fork(before=_close, after_in_parent=_allow_to_open, after_in_child=_allow_to_open)
    os.register_at_fork(before=_forkless.acquire, after_in_parent=_forkless.release, after_in_child=_forkless.release)
    os.register_at_fork(after_in_child=_notify_holders)


def pass_to_children(facts: Mapping[str, Any]) -> None:
    """Give facts to the child processes that begin from now on, also to those that are not forked.

    Those of multiprocessing, joblib and Dask are: `multiprocessing` pickles its own facts about a process for its
    children. A program that is started otherwise gets nothing. With no facts, those given before are taken back.
    """
    if facts:
        with suppress(ImportError):  # in a browser
            _facts_of_process()[_NAME] = {**facts, "process": os.getpid()}
    elif may_have_children():
        _facts_of_process().pop(_NAME, None)


def may_have_children() -> bool:
    """Return whether this process can have child processes that run its code: `multiprocessing` is imported."""
    return "multiprocessing.process" in sys.modules


def has_children() -> bool:
    """Return whether child processes of `multiprocessing`, or of what is built on it, are running."""
    if not may_have_children():
        return False
    from multiprocessing import active_children

    return bool(active_children())


def handed_down() -> Mapping[str, Any]:
    """Return the facts that a parent process has given to this one; empty if none has. `process` is its id."""
    found = _facts_of_process().get(_NAME, {}) if may_have_children() else {}
    return {} if found.get("process") == os.getpid() else found


def _facts_of_process() -> dict[str, Any]:
    from multiprocessing.process import current_process

    return getattr(current_process(), "_config", {})
