"""Interrupts that wait for a safe moment."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Event, current_thread, local, main_thread
from time import monotonic
from types import FrameType
from typing import Final

from ..imports import loaded

# A second interrupt is not deferred if the first has waited for this long.
SECONDS_OF_PATIENCE: Final = 2.0


class Interrupts:
    """The interrupts that arrive while `deferred_interrupts` is active, and a cancellation from another thread.

    Attributes
    ----------
    late : KeyboardInterrupt or None
        The error that the block raises for an interrupt, once its result is complete. It says where the result is.
    """

    def __init__(
        self,
        handler: Callable[[int, FrameType | None], object] | None = None,
        cancelled: Event | None = None,
        user_code: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._handler = handler
        self._cancelled = cancelled or Event()
        self._user_code = user_code
        self.late: KeyboardInterrupt | None = None
        self._since: float | None = None

    def check(self) -> None:
        """Raise KeyboardInterrupt if an interrupt or a cancellation has arrived."""
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        if self._since is not None and self._handler is not None:
            self._since = None
            # The handler that was there before: Python's own raises KeyboardInterrupt. Asyncio's cancels the task that
            # runs this, and Trio's notes the interrupt: both would have no effect before this returns.
            if not _in_trio():
                self._handler(signal.SIGINT, None)
            if _in_trio() or _runs("asyncio.get_running_loop"):
                raise KeyboardInterrupt

    @contextmanager
    def allowed(self, *, new_only: bool = False) -> Iterator[None]:
        """Let interrupts through inside the `with` block, at once: the user's own code runs there.

        An interrupt that has arrived before is raised first. With `new_only` it stays deferred, and so do others.
        """
        with self._user_code():
            if self._handler is None or (new_only and self._since is not None):
                yield
                return
            self.check()
            deferring = signal.signal(signal.SIGINT, self._handler)
            try:
                yield
            finally:
                signal.signal(signal.SIGINT, deferring)
        self.check()

    def _defer(self, number: int, frame: FrameType | None) -> None:
        if self._since is None:
            self._since = monotonic()
        elif monotonic() - self._since > SECONDS_OF_PATIENCE and self._handler is not None:
            # What should have looked at it by now hangs.
            self._handler(number, frame)


class _OfThread(local):
    """The blocks of `deferred_interrupts` that a thread is in."""

    def __init__(self) -> None:
        self.blocks: list[Interrupts] = []


_of_thread: Final = _OfThread()


def check_interrupts() -> None:
    """Raise KeyboardInterrupt if an interrupt or a cancellation is deferred in this thread. For what may wait long."""
    # Each block passes an interrupt on to the one around it.
    for interrupts in reversed(_of_thread.blocks):
        interrupts.check()


def _in_trio() -> bool:
    """Return whether this thread runs Trio, which would also raise an interrupt again that its handler has noted."""
    return _runs("trio.lowlevel.current_trio_token")


def _runs(current: str) -> bool:
    """Return whether a loop runs in this thread: the function of this full name returns it, or raises if none does."""
    # Not imported here: an interrupt may come while another import runs.
    with suppress(RuntimeError):
        return (function := loaded(current)) is not None and function() is not None
    return False


@contextmanager
def deferred_interrupts(
    cancelled: Event | None = None, user_code: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[Interrupts]:
    """Defer interrupts inside the `with` block until `check`, `allowed` or the end of the block.

    An interrupt then never comes between two steps that belong together, such as recording a turn and drawing it.
    Only the main thread receives interrupts.

    Parameters
    ----------
    cancelled : Event, optional
        In any thread, `check` raises once it is set.
    user_code : callable, optional
        Returns a context manager for each block in which interrupts are allowed.
    """
    handler = signal.getsignal(signal.SIGINT) if current_thread() is main_thread() else None
    interrupts = Interrupts(handler if callable(handler) else None, cancelled, user_code)
    _of_thread.blocks.append(interrupts)
    try:
        if not callable(handler):
            yield interrupts
            return
        signal.signal(signal.SIGINT, interrupts._defer)
        try:
            yield interrupts
        finally:
            signal.signal(signal.SIGINT, handler)
        interrupts.check()
    except KeyboardInterrupt:
        if interrupts.late is None:
            raise
        raise interrupts.late from None
    finally:
        _of_thread.blocks.remove(interrupts)
