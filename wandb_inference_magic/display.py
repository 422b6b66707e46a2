"""Drawing a reply while it grows and when it is whole, for the front end at hand: notebook or terminal."""

from __future__ import annotations

import sys
from contextvars import copy_context
from math import ceil
from threading import Event, Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from .blocks import split_finished
from .rendering import BLANK, MARKDOWN, PLAIN, footer, reply_bundle, status_markdown, why_empty
from .safety import safe_markdown, safe_plain

if TYPE_CHECKING:
    from collections.abc import Collection

    from IPython.core.interactiveshell import InteractiveShell

    from .reply import Reply, ReplyBuilder

# A reply that begins sooner shows no line saying that it is awaited.
QUIET_SECONDS: Final = 0.8
# A long block is drawn again only once it has grown by a part of itself, so that what is sent stays in
# proportion to the reply however long a single block becomes.
LONG_BLOCK: Final = 2000
GROWTH: Final = 1 / 8
SETTLE_SECONDS: Final = 1.0


class Canvas(Protocol):
    """Where one reply is drawn."""

    def status(self, words: str) -> None:
        """Show what is awaited, while there is no text."""

    def grow(self, text: str) -> None:
        """Add text that has come and show it, at once or with what follows."""

    def settle(self) -> None:
        """Show all that was added: nothing more has come for a while."""

    def finish(self, reply: Reply) -> None:
        """Leave the reply, whole or as far as it came, in its final form."""

    def abandon(self) -> None:
        """Take away the status: no reply came."""

    def show(self, data: dict[str, Any]) -> None:
        """Show something that is no reply, such as a table, in the place of the status."""


def is_notebook(shell: InteractiveShell) -> bool:
    """Whether the shell runs in a kernel, whose front end takes rich output."""
    return hasattr(shell, "kernel")


class NotebookCanvas:
    """A reply in a notebook: finished blocks are sent once, the last one again while it grows.

    Parameters
    ----------
    shell : InteractiveShell
        Its display publisher carries the messages, so that `%%capture` and Output widgets work.
    owns_cell : bool
        Whether no other output stands above in this cell. Then the blocks are outputs of their own while
        the reply streams, and are cleared for the one tidy output at the end. Otherwise the reply keeps to
        one output throughout.
    format : str
        How the whole reply is shown; see `rendering.reply_bundle`.
    allow_images_from : collection of str
        Hosts whose images may load.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        *,
        owns_cell: bool,
        format: str = "markdown",
        allow_images_from: Collection[str] = (),
    ) -> None:
        self._shell = shell
        self._owns_cell = owns_cell
        self._format = format
        self._images = allow_images_from
        self._outputs = 0
        self._id = ""
        self._open = ""
        self._drawn = 0

    def status(self, words: str) -> None:
        self._draw({MARKDOWN: status_markdown(words)})

    def grow(self, text: str) -> None:
        self._open += text
        if self._owns_cell and "\n" in text:
            self._let_go_of_finished()
        if len(self._open) - self._drawn > (len(self._open) - LONG_BLOCK) * GROWTH:
            self.settle()

    def settle(self) -> None:
        if len(self._open) > self._drawn:
            self._draw_text(self._open)
            self._drawn = len(self._open)

    def _let_go_of_finished(self) -> None:
        finished, rest = split_finished(self._open)
        if not finished.strip():
            return
        self._draw_text(finished)
        self._open, self._drawn, self._id = rest, 0, ""

    def _draw_text(self, text: str) -> None:
        markdown = _as_source(text) if self._format != "markdown" else safe_markdown(text, self._images)
        # The plain text comes with the whole reply: a front end that shows only that shows it once.
        self._draw({MARKDOWN: markdown.strip("\n") or BLANK})

    def _draw(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        update = bool(self._id)
        if not update:
            self._id = uuid4().hex
            self._outputs += 1
        self._shell.display_pub.publish(data, metadata or {}, transient={"display_id": self._id}, update=update)

    def finish(self, reply: Reply) -> None:
        # Half an answer is no JSON, and that is not what its reader must be told.
        format = "text" if reply.incomplete and self._format == "json" else self._format
        data = reply_bundle(reply, format, self._images)
        if self._outputs > 1:
            # `wait` keeps the blocks on screen until the output that replaces them is there.
            self._shell.display_pub.clear_output(wait=True)  # type: ignore[no-untyped-call,unused-ignore]
            self._id = ""
        self._draw(data, {"wandb_inference": reply.facts()})

    def show(self, data: dict[str, Any]) -> None:
        self._draw(data)

    def abandon(self) -> None:
        if self._outputs and self._owns_cell:
            self._shell.display_pub.clear_output(wait=False)  # type: ignore[no-untyped-call,unused-ignore]
        elif self._id:
            self._draw({MARKDOWN: BLANK, PLAIN: BLANK})


def _as_source(text: str) -> str:
    """Show a growing text as it came, in a fence that it cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{safe_plain(text)}\n{fence}"


class TerminalCanvas:
    """A reply in a terminal: the text as it arrives, then the footer."""

    def __init__(self) -> None:
        self._has_status = False
        self._ends_line = True
        self._given = 0

    def status(self, words: str) -> None:
        if sys.stdout.isatty():
            self._write(f"\r\x1b[K\x1b[2m{safe_plain(words)}\x1b[0m")
            self._has_status = True

    def grow(self, text: str) -> None:
        self._clear_status()
        self._given += len(text)
        self._print(safe_plain(text))

    def settle(self) -> None:
        """Nothing is held back here."""

    def finish(self, reply: Reply) -> None:
        self._clear_status()
        self._print(safe_plain(reply.text[self._given :]) if reply.text else why_empty(reply))
        line = f"[{footer(reply)}]"
        end = "" if self._ends_line else "\n"
        self._write(f"{end}\x1b[2m{line}\x1b[0m\n" if sys.stdout.isatty() else f"{end}{line}\n")

    def show(self, data: dict[str, Any]) -> None:
        self._clear_status()
        print(data[PLAIN])

    def abandon(self) -> None:
        self._clear_status()
        if not self._ends_line:
            self._write("\n")

    def _print(self, text: str) -> None:
        if text:
            self._write(text)
            self._ends_line = text.endswith("\n")

    def _clear_status(self) -> None:
        if self._has_status:
            self._write("\r\x1b[K")
            self._has_status = False

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class Progress:
    """Says what is being done, and for how long, while it is done; use as a context manager around it."""

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
            self._canvas.abandon()

    def _run(self) -> None:
        pause = QUIET_SECONDS
        while not self._stopped.wait(pause):
            self._canvas.status(f"{self._doing} · {perf_counter() - self._started:.0f} s")
            pause = 1.0


class Painter:
    """Moves what has come from a ReplyBuilder to a Canvas, at a bounded rate.

    The first words are drawn by the thread that receives them, at once; all later ones by a thread of the
    painter's own, so that they show even when the service pauses, and receiving never waits for drawing.

    Use as a context manager around receiving; call `notice` after each piece.
    """

    def __init__(self, builder: ReplyBuilder, canvas: Canvas, *, model: str, per_second: float) -> None:
        self._builder = builder
        self._canvas = canvas
        self._model = model
        self._interval = 1 / per_second
        self._taken = 0
        self._last_text = 0.0
        self._status = ""
        self._pause: tuple[str, float] | None = None
        self._failure: BaseException | None = None
        self._lock = Lock()
        self._stopped = Event()
        # A copied context lets the thread's output reach the cell that is running here.
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="wbchat-painter", daemon=True)

    def __enter__(self) -> Painter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def notice(self) -> None:
        """Draw the first words at once; of later ones take no notice."""
        if self._taken == 0 and self._builder.text_pieces:
            self._paint()
        if self._failure is not None:
            raise self._failure

    def pause(self, words: str, seconds: float) -> None:
        """Say why nothing comes for so many seconds, counting them down."""
        self._pause = (words, perf_counter() + seconds)
        self._paint()

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
            pieces = self._builder.text_pieces[self._taken :]
            now = perf_counter()
            if pieces:
                self._taken += len(pieces)
                self._last_text = now
                self._canvas.grow("".join(pieces))
            elif self._taken and now - self._last_text > SETTLE_SECONDS:
                self._last_text = now
                self._canvas.settle()
            elif not self._taken:
                self._paint_status(now - self._builder.started)

    def _paint_status(self, waited: float) -> None:
        line = self._status_line(waited)
        if line and line != self._status:
            self._status = line
            self._canvas.status(line)

    def _status_line(self, waited: float) -> str:
        if self._pause is not None:
            words, until = self._pause
            if (left := until - perf_counter()) > 0:
                return f"{words} in {ceil(left)} s"
            self._pause = None
        if waited < QUIET_SECONDS:
            return ""
        words_thought = sum(piece.count(" ") for piece in self._builder.reasoning_pieces)
        doing = (
            f"{self._model} is thinking · {words_thought:,} words" if words_thought else f"waiting for {self._model}"
        )
        return f"{doing} · {waited:.0f} s"
