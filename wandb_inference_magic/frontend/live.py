"""Stream text to a canvas at a limited rate, with a status line while waiting."""

from __future__ import annotations

from contextvars import copy_context
from math import ceil
from threading import Event, Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Final

from ..messages import ReplyBuilder

if TYPE_CHECKING:
    from ..messages import Reply
    from .canvas import Canvas

# No status line is shown if the reply starts within this time.
QUIET_SECONDS: Final = 0.8
SETTLE_SECONDS: Final = 1.0


class Spinner:
    """A context manager that shows what is being done in its block, and for how long."""

    def __init__(self, canvas: Canvas, doing: str) -> None:
        self._canvas = canvas
        self._doing = doing
        self._started = perf_counter()
        self._stopped = Event()
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="wb-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if kind is not None:
            self._canvas.discard()

    def _run(self) -> None:
        pause = QUIET_SECONDS
        while not self._stopped.wait(pause):
            self._canvas.status(f"{self._doing} · {perf_counter() - self._started:.0f} s")
            pause = 1.0


class WaitingLine:
    """Shows a status line on a canvas while waiting."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas

    def waiting(self, doing: str) -> Spinner:
        """Return a context manager that shows what is being done, and for how long, while its block runs."""
        return Spinner(self._canvas, doing)


class LiveUpdater(WaitingLine):
    """Streams text from a ReplyBuilder to a Canvas.

    The receiving thread draws the first text at once. A separate thread draws all later text, so that it is shown
    even when the service pauses, and receiving does not wait for drawing.

    Use it as a context manager around a chat. Call `begin` for each call to the model, and `notice` after each chunk.
    """

    def __init__(self, canvas: Canvas, *, per_second: float) -> None:
        super().__init__(canvas)
        self._interval = 1 / per_second
        self._builder = ReplyBuilder()
        self._model = ""
        self._doing = ""
        self._doing_since = 0.0
        self._taken = 0
        self._last_text = 0.0
        self._status = ""
        self._pause: tuple[str, float] | None = None
        self._failure: BaseException | None = None
        self._lock = Lock()
        self._stopped = Event()
        # With a copied context the thread's output appears in the running cell.
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="wbchat-painter", daemon=True)

    def __enter__(self) -> LiveUpdater:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def finish(self, reply: Reply) -> None:
        """Draw the reply in its final form."""
        self._canvas.finish(reply)

    def discard(self) -> None:
        """Remove the status line. Called when there is no reply."""
        self._canvas.discard()

    def start(self, builder: ReplyBuilder, model: str) -> None:
        """Draw the reply of the next call from now on."""
        with self._lock:
            self._builder, self._model = builder, model
            self._taken, self._status, self._doing, self._pause = 0, "", "", None

    def notice(self) -> None:
        """Draw the first text at once and leave later text to the thread. Raise an error that the thread raised."""
        if self._taken == 0 and self._builder.text_pieces:
            self._paint()
        if self._failure is not None:
            raise self._failure

    def pause(self, words: str, seconds: float) -> None:
        """Show why nothing arrives, with a countdown of `seconds`."""
        self._pause = (words, perf_counter() + seconds)
        self._paint()

    def doing(self, words: str) -> None:
        """Show what is being done between two calls, if it takes long."""
        with self._lock:
            self._doing, self._doing_since, self._status = words, perf_counter(), ""

    def step(self, markdown: str) -> None:
        """Draw a step between two calls, below all text received so far."""
        with self._lock:
            self._doing = ""
            self._take(perf_counter())
            self._canvas.step(markdown)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._paint()
            except BaseException as error:  # noqa: BLE001 - raised again in the receiving thread
                self._failure = error
                return

    def _paint(self) -> None:
        with self._lock:
            if self._stopped.is_set():
                return
            now = perf_counter()
            if self._take(now):
                return
            if self._doing:
                self._paint_status(_waiting(self._doing, now - self._doing_since))
            elif self._taken and now - self._last_text > SETTLE_SECONDS:
                self._last_text = now
                self._canvas.flush()
            elif not self._taken:
                self._paint_status(self._status_line(now - self._builder.started))

    def _take(self, now: float) -> bool:
        """Append the text received since the last time to the canvas. Return whether there was any."""
        pieces = self._builder.text_pieces[self._taken :]
        if not pieces:
            return False
        self._taken += len(pieces)
        self._last_text = now
        self._canvas.append("".join(pieces))
        return True

    def _paint_status(self, line: str) -> None:
        if line and line != self._status:
            self._status = line
            self._canvas.status(line)

    def _status_line(self, waited: float) -> str:
        if self._pause is not None:
            words, until = self._pause
            if (left := until - perf_counter()) > 0:
                return f"{words} in {ceil(left)} s"
            self._pause = None
        words_thought = sum(piece.count(" ") for piece in self._builder.reasoning_pieces)
        doing = (
            f"{self._model} is thinking · {words_thought:,} words" if words_thought else f"waiting for {self._model}"
        )
        return _waiting(doing, waited)


def _waiting(doing: str, waited: float) -> str:
    return "" if waited < QUIET_SECONDS else f"{doing} · {waited:.0f} s"
