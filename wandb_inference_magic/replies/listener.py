"""The protocol by which the engine reports the progress of a call; a front end implements it and draws.

All methods are called by the thread that runs the cell, so that the output belongs to the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Protocol

from ..concurrency import SECONDS_BETWEEN_LOOKS
from .builder import ReplyBuilder

if TYPE_CHECKING:
    from ..errors import InferenceError
    from ..messages import Reply


@dataclass(slots=True)
class CallProgress:
    """The progress of a call to a model. The engine updates it while a front end reads it.

    Attributes
    ----------
    model : str
    builder : ReplyBuilder
        What has been received of the current request.
    ended : Reply or None
        The reply, once it has ended.
    error : InferenceError or None
        Why there is no reply.
    retry : tuple of (str, float) or None
        Why the request will be sent again, and when, as a `perf_counter` time.
    begun : Event or None
        Set when the first text has been received, if something waits for it to be drawn.
    """

    model: str
    builder: ReplyBuilder = field(default_factory=ReplyBuilder)
    ended: Reply | None = None
    error: InferenceError | None = None
    retry: tuple[str, float] | None = None
    begun: Event | None = None


class Listener:
    """Receives the reports of a chat, or of several models that answer at the same time. This one shows nothing."""

    # How often `redraw` is called, in seconds.
    interval = SECONDS_BETWEEN_LOOKS

    def waiting(self, doing: str, until: float | None = None) -> AbstractContextManager[Callable[[], None]]:  # noqa: ARG002
        """Return a context manager for a block that waits.

        It gives a function to call repeatedly, which shows what is being done, and for how long. With `until`, a
        `perf_counter` time, it shows in how long it will be done.
        """
        return nullcontext(self.redraw)

    def user_code(self) -> AbstractContextManager[None]:
        """Return a context manager for a block that runs the user's code. What that shows must stay."""
        return nullcontext()

    def watched(self) -> AbstractContextManager[None]:
        """Return a context manager for the whole command. What threads of the user show meanwhile must stay."""
        return nullcontext()

    def start(self, progress: CallProgress, *others: CallProgress) -> None:
        """Follow other calls from now on."""

    def redraw(self) -> None:
        """Show what has been received since the last time, or why nothing has been."""

    def doing(self, text: str) -> None:
        """Show what is being done between two calls."""

    def step(self, markdown: str) -> None:
        """Show what happened between two calls."""

    def finish(self, reply: Reply) -> None:
        """Show the reply, complete or partial, in its final form."""

    def finish_all(self, replies: Sequence[Reply], *, interrupted: bool) -> None:
        """Show the results of all models, in the order in which `start` named them."""

    def discard(self) -> None:
        """Remove the waiting status, because no reply was received."""


class Discards(Protocol):
    """Something that shows a waiting status: a Listener, or a front end's canvas."""

    def discard(self) -> None:
        """Remove it."""


@contextmanager
def cleared_on_error(shown: Discards) -> Iterator[None]:
    """Remove what is shown if the `with` block raises: for example, what was waited for before the error."""
    try:
        yield
    except BaseException:
        shown.discard()
        raise
