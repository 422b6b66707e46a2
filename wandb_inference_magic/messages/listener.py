"""The protocol by which the engine reports the progress of a call; a front end implements it and draws."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .builder import ReplyBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ..errors import InferenceError
    from .reply import Reply


class Waiting(Protocol):
    """Shows that the user has to wait for something."""

    def waiting(self, doing: str) -> AbstractContextManager[None]:
        """Show what is being done, and for how long, while the `with` block runs."""


class Listener(Waiting, Protocol):
    """Receives the reports of one chat. It draws only within its context, and once more at `finish`."""

    def __enter__(self) -> Listener: ...

    def __exit__(self, *_: object) -> None: ...

    def start(self, builder: ReplyBuilder, model: str) -> None:
        """Follow the reply of another call from now on."""

    def notice(self) -> None:
        """Report that something was received."""

    def pause(self, words: str, seconds: float) -> None:
        """Show why nothing will be received for this many seconds."""

    def doing(self, words: str) -> None:
        """Show what is being done between two calls."""

    def step(self, markdown: str) -> None:
        """Show what happened between two calls."""

    def finish(self, reply: Reply) -> None:
        """Show the reply, complete or partial, in its final form."""

    def discard(self) -> None:
        """Remove the waiting status, because no reply was received."""


class NullListener:
    """Shows nothing. Used for `--quiet` and for calls from Python."""

    def __enter__(self) -> NullListener:
        return self

    def __exit__(self, *_: object) -> None: ...

    def waiting(self, doing: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def start(self, builder: ReplyBuilder, model: str) -> None: ...

    def notice(self) -> None: ...

    def pause(self, words: str, seconds: float) -> None: ...

    def doing(self, words: str) -> None: ...

    def step(self, markdown: str) -> None: ...

    def finish(self, reply: Reply) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True)
class ComparedModel:
    """The progress of one of several compared models.

    Attributes
    ----------
    model : str
    builder : ReplyBuilder
        What has been received of the current call.
    ended : Reply or None
        The reply, once it has ended.
    error : InferenceError or None
        Why there is no reply.
    waits : tuple of (str, float) or None
        Why the request will be sent again, and when, as a `perf_counter` time.
    """

    model: str
    builder: ReplyBuilder = field(default_factory=ReplyBuilder)
    ended: Reply | None = None
    error: InferenceError | None = None
    waits: tuple[str, float] | None = None


class ComparisonListener(Waiting, Protocol):
    """Receives the reports of several models that answer at the same time."""

    def following(self, models: Sequence[ComparedModel]) -> AbstractContextManager[None]:
        """Show the progress of the models while the `with` block runs."""

    def finish(self, models: Sequence[ComparedModel], replies: Sequence[Reply], *, interrupted: bool) -> None:
        """Show the results of all models."""


class NullComparisonListener:
    """Shows nothing about the compared models."""

    def waiting(self, doing: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def following(self, models: Sequence[ComparedModel]) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def finish(self, models: Sequence[ComparedModel], replies: Sequence[Reply], *, interrupted: bool) -> None: ...
