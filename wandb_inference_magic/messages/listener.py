"""What a call reports while it goes on: the engine reports, a front end listens and draws."""

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
    """Shows that something is waited for."""

    def waiting(self, doing: str) -> AbstractContextManager[None]:
        """Show what is being done, and for how long, while the block within goes on."""


class Listener(Waiting, Protocol):
    """Hears of one chat. It draws only within its context, and once more at `finish`."""

    def __enter__(self) -> Listener: ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, builder: ReplyBuilder, model: str) -> None:
        """Follow another call's reply from here on."""

    def notice(self) -> None:
        """Take note that something has arrived."""

    def pause(self, words: str, seconds: float) -> None:
        """Show why nothing comes for so many seconds."""

    def doing(self, words: str) -> None:
        """Show what is being done between two calls."""

    def step(self, markdown: str) -> None:
        """Show what happened between two calls."""

    def finish(self, reply: Reply) -> None:
        """Show the reply, whole or as far as it came, in its final form."""

    def discard(self) -> None:
        """Take away what says that a reply is awaited: none came."""


class NullListener:
    """Shows nothing: for `--quiet` and for Python."""

    def __enter__(self) -> NullListener:
        return self

    def __exit__(self, *_: object) -> None: ...

    def waiting(self, doing: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def begin(self, builder: ReplyBuilder, model: str) -> None: ...

    def notice(self) -> None: ...

    def pause(self, words: str, seconds: float) -> None: ...

    def doing(self, words: str) -> None: ...

    def step(self, markdown: str) -> None: ...

    def finish(self, reply: Reply) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True)
class ComparedModel:
    """How far one of several models has come.

    Attributes
    ----------
    model : str
    builder : ReplyBuilder
        What has arrived of the call under way.
    ended : Reply or None
        The reply, once it is there.
    error : InferenceError or None
        Why there is none.
    waits : tuple of (str, float) or None
        Why the request is to be sent again, and when, by `perf_counter`.
    """

    model: str
    builder: ReplyBuilder = field(default_factory=ReplyBuilder)
    ended: Reply | None = None
    error: InferenceError | None = None
    waits: tuple[str, float] | None = None


class ComparisonListener(Waiting, Protocol):
    """Hears of several models that answer at once."""

    def following(self, models: Sequence[ComparedModel]) -> AbstractContextManager[None]:
        """Show how far the models have come, while the block within goes on."""

    def finish(self, models: Sequence[ComparedModel], replies: Sequence[Reply], *, interrupted: bool) -> None:
        """Show what came of all."""


class NullComparisonListener:
    """Shows nothing of several models."""

    def waiting(self, doing: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def following(self, models: Sequence[ComparedModel]) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def finish(self, models: Sequence[ComparedModel], replies: Sequence[Reply], *, interrupted: bool) -> None: ...
