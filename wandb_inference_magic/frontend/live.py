"""Draw while waiting. The thread that runs the cell does so: it waits for a call and redraws at a limited rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Final

from ..messages import estimate
from ..rendering import thought
from ..replies import CallProgress, Listener, ReplyBuilder, cleared_on_error
from ..text import counted, duration, redacted_value, without_secrets

if TYPE_CHECKING:
    from ..messages import Reply
    from .canvas import Canvas

# No status line is shown if the reply starts within this time.
QUIET_SECONDS: Final = 0.8
SETTLE_SECONDS: Final = 1.0
# The characters of a line of reasoning, and how many of its last ones are kept to be shown.
LINE: Final = 80
MAX_ENDING_CHARS: Final = 2000


class Spinner(Listener):
    """Shows a status line on a canvas, redrawn once a second, while something else is waited for.

    Parameters
    ----------
    canvas : Canvas
    doing : str
        What is being done while a call is waited for. Empty: nothing is said about that.
    """

    def __init__(self, canvas: Canvas, doing: str = "") -> None:
        self._canvas = canvas
        self._status = ""
        self._doing, self._started = doing, perf_counter()

    def redraw(self) -> None:
        """Show what is being done, and for how long, but nothing of a reply."""
        if self._doing:
            self._show_status(describe_wait(self._doing, perf_counter() - self._started))

    @contextmanager
    def waiting(self, doing: str, until: float | None = None) -> Iterator[Callable[[], None]]:
        """Return a context manager for a block that waits.

        It gives a function to call repeatedly, which shows what is being done, and for how long, or in how long with
        `until`. If the block raises, the line is removed.
        """
        started, self._status = perf_counter(), ""

        def show() -> None:
            waited = perf_counter() - started
            self._show_status(describe_wait(doing, waited) if until is None else describe_retry((doing, until)))

        with cleared_on_error(self._canvas):
            yield show

    def user_code(self) -> AbstractContextManager[None]:
        """Return a context manager for a block that runs the user's code. What that shows stays in the cell."""
        return self._canvas.user_code()

    def watched(self) -> AbstractContextManager[None]:
        """Return a context manager for the block that draws. What threads of the user print meanwhile stays too."""
        return self._canvas.watched()

    def _show_status(self, line: str) -> None:
        """Show a line, unless it is empty or was shown last."""
        if line and line != self._status:
            self._status = line
            self._canvas.status(line)


class LiveUpdater(Spinner):
    """Streams the text of a call to a canvas.

    Call `start` for each request, then `redraw` every `interval` seconds until it has ended.
    """

    def __init__(self, canvas: Canvas, *, per_second: float) -> None:
        super().__init__(canvas)
        self.interval = 1 / per_second
        self.start(CallProgress(""))
        self._last_text = 0.0

    def start(self, progress: CallProgress, *_: CallProgress) -> None:
        """Draw the reply to the next request from now on."""
        self._progress = progress
        self._status = ""
        self._follow(progress.builder)
        self._reasoning_taken = self._tokens_thought = 0
        self._ending, self._ending_shown, self._has_thought = "", 0, False

    def _follow(self, builder: ReplyBuilder) -> None:
        self._builder, self._pieces, self._taken, self._held = builder, builder.text_pieces, 0, ""

    def redraw(self) -> None:
        """Draw the text received since the last time or, if there has been none for a while, why."""
        now = perf_counter()
        if self._take(now):
            return
        if not self._taken:
            self._wait(now - self._builder.started)
        elif now - self._last_text > SETTLE_SECONDS:
            self._last_text = now
            self._canvas.flush()

    def doing(self, text: str) -> None:
        """Show what this thread is about to do between two requests, below all text received so far."""
        self._take(perf_counter())
        self._canvas.flush()
        self._canvas.doing(text)
        self._status = text

    def step(self, markdown: str) -> None:
        """Draw a step between two requests, below all text received so far."""
        self._take(perf_counter())
        self._canvas.step(markdown)
        self._status = ""

    def finish(self, reply: Reply) -> None:
        """Draw the reply in its final form."""
        rest = redacted_value(self._received(), self._builder.secrets)
        self._fold()
        self._canvas.finish(reply, rest)

    def discard(self) -> None:
        """Remove the status line. Called when there is no reply."""
        self._canvas.discard()

    def _take(self, now: float) -> bool:
        """Append the text received since the last time to the canvas. Return whether there was any."""
        received = self._received()
        # The end may be the beginning of a key.
        new, self._held = without_secrets(received, self._builder.secrets)
        if new:
            self._last_text = now
            self._fold()
            self._canvas.append(new)
        return bool(new)

    def _received(self) -> str:
        """Return the text that is not on the canvas yet."""
        text = self._of_builder()
        if self._progress.builder is not self._builder:
            # The request was sent again.
            self._follow(self._progress.builder)
            text += self._of_builder()
        return text

    def _of_builder(self) -> str:
        if self._builder.text_pieces is not self._pieces:
            # The text so far has turned out to be reasoning.
            if self._taken:
                self._canvas.step("*The text above is the model's reasoning.*")
            self._follow(self._builder)
        new, held = self._pieces[self._taken :], self._held
        self._taken += len(new)
        self._held = ""
        return "".join((held, *new))

    def _wait(self, waited: float) -> None:
        """Show what is waited for, or what the model thinks."""
        if retry := describe_retry(self._progress.retry):
            self._show_status(retry)
            return
        new = self._builder.reasoning_pieces[self._reasoning_taken :]
        self._reasoning_taken += len(new)
        model = self._progress.model
        if not self._reasoning_taken:
            self._show_status(describe_wait(f"waiting for {model}", waited))
            return
        self._tokens_thought += estimate("".join(new))
        self._ending = f"{self._ending}{''.join(new)}"[-MAX_ENDING_CHARS:]
        self._ending_shown += sum(map(len, new))
        line = describe_wait(f"{model} is thinking", waited)
        # Draw whole lines, not each word: what is sent stays in proportion to the reasoning.
        if line and (line != self._status or self._ending_shown >= LINE):
            self._status, self._ending_shown = line, 0
            ending, _ = without_secrets(self._ending, self._builder.secrets)
            self._canvas.thinking(f"{line} · about {counted(self._tokens_thought, 'token')}", ending)

    def _fold(self) -> None:
        """Fold the reasoning before the text, once."""
        builder = self._builder
        if builder.reasoning_pieces and not self._has_thought:
            self._has_thought = True
            self._canvas.thought(thought(builder.reasoning, builder.seconds_thinking))


def describe_wait(doing: str, waited: float) -> str:
    """Return a status line, or an empty string if the wait has just begun. `waited` is in seconds."""
    return "" if waited < QUIET_SECONDS else f"{doing} · {duration(round(waited))}"


def describe_retry(retry: tuple[str, float] | None) -> str:
    """Return why and when a request will be sent again, or an empty string if it will not."""
    if retry is None or (left := retry[1] - perf_counter()) <= 0:
        return ""
    return f"{retry[0]} in {duration(ceil(left))}"
