"""Drawing a reply while it grows and when it is whole, for the front end at hand: notebook or terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from ..markup import Untrusted, fenced, safe_document, split_finished
from ..rendering import BLANK, MARKDOWN, PLAIN, reply_bundle, status_markdown
from ..text import safe_plain
from .output_widget import Redrawn, takes_output

if TYPE_CHECKING:
    from collections.abc import Collection

    from IPython.core.interactiveshell import InteractiveShell

    from ..markup import Part
    from ..messages import Reply

# A long block is drawn again only once it has grown by a part of itself, so that what is sent stays in
# proportion to the reply however long a single block becomes.
LONG_BLOCK: Final = 2000
GROWTH: Final = 1 / 8


# The marks that a block begins with, before any of its words: a fence with its language, a list's dash.
_MARKS_ALONE: Final = re.compile(r"\s*(?:(?:`{3,}|~{3,})[^\n]*\n?|[!-/:-@\[-`{-~]*)\s*")


class Canvas(Protocol):
    """Where one reply is drawn."""

    def status(self, words: str) -> None:
        """Show what is awaited, while there is no text."""

    def append(self, text: str) -> None:
        """Add text that has come and show it, at once or with what follows."""

    def flush(self) -> None:
        """Show all that was added: nothing more has come for a while."""

    def step(self, markdown: str) -> None:
        """Show what happened on the way, such as a tool's call; text that comes then begins below it."""

    def finish(self, reply: Reply) -> None:
        """Leave the reply, whole or as far as it came, in its final form."""

    def discard(self) -> None:
        """Take away the status: no reply came."""

    def preview(self, data: dict[str, Any], words: str) -> None:
        """Show how far something has come: as it is where it can be drawn again, in words elsewhere."""

    def show(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Show something that is no reply, such as a table, in the place of the status or of a sketch."""

    def clear(self) -> None:
        """Take all that the cell shows away, once something else is shown; where others' outputs stand, nothing."""

    def append_below(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Show something more below what was shown last, and leave that as it is; nothing, where there is none."""


class NullCanvas:
    """Draws nothing: for `--quiet` and for Python."""

    def status(self, words: str) -> None: ...

    def append(self, text: str) -> None: ...

    def flush(self) -> None: ...

    def step(self, markdown: str) -> None: ...

    def finish(self, reply: Reply) -> None: ...

    def discard(self) -> None: ...

    def preview(self, data: dict[str, Any], words: str) -> None: ...

    def show(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None: ...

    def clear(self) -> None: ...

    def append_below(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None: ...


def is_notebook(shell: InteractiveShell) -> bool:
    """Whether the shell runs in a kernel, whose front end takes rich output."""
    return hasattr(shell, "kernel")


class BlockCanvas:
    """A reply drawn block by block: a finished block once, the last one again while it grows.

    Parameters
    ----------
    lets_go : bool
        Whether finished blocks may be left where they stand. Otherwise the whole reply is drawn again.
    """

    def __init__(self, *, lets_go: bool) -> None:
        self._lets_go = lets_go
        self._open = ""
        self._drawn = 0

    def append(self, text: str) -> None:
        words_end = len(self._open.rstrip())
        self._open += text
        # Where a line has ended, a block may have too: seen with the next one's first words, before these are drawn.
        if self._lets_go and "\n" in self._open[words_end:]:
            self._let_go_of_finished()
        if len(self._open) - self._drawn > (len(self._open) - LONG_BLOCK) * GROWTH:
            self.flush()

    def flush(self) -> None:
        # Marks alone look like words first, and like nothing when they are whole: they would flicker.
        if len(self._open) > self._drawn and not _MARKS_ALONE.fullmatch(self._open):
            self._draw_open(self._open)
            self._drawn = len(self._open)

    def step(self, markdown: str) -> None:
        self._open = f"{self._open}\n\n{markdown}\n\n" if self._open.strip() else f"{markdown}\n\n"
        if self._lets_go:
            self._leave(self._open)
            self._open, self._drawn = "", 0
        else:
            self.flush()

    def _let_go_of_finished(self) -> None:
        finished, rest = split_finished(self._open)
        # What is on the screen stays where it is: words that moved to the next output would be gone between the two.
        if finished.strip() and not self._open[len(finished) : self._drawn].strip():
            self._leave(finished)
            self._open, self._drawn = rest, 0

    def _draw_open(self, text: str) -> None:
        """Draw the block that grows, in the place of its last drawing."""
        raise NotImplementedError

    def _leave(self, text: str) -> None:
        """Draw finished blocks for good; what comes next is drawn below them."""
        raise NotImplementedError


class NotebookCanvas(BlockCanvas):
    """A reply in a notebook: finished blocks are sent once, the last one again while it grows.

    Parameters
    ----------
    shell : InteractiveShell
        Its display publisher carries the messages, so that `%%capture` and Output widgets work.
    owns_cell : bool
        Whether no other output stands above in this cell. Then the blocks are outputs of their own while
        the reply streams, and are cleared for the one tidy output at the end. Otherwise the reply keeps to
        one output throughout. It does so inside an Output widget too, where the user's own outputs stand above.
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
        self._redrawn = Redrawn(shell) if takes_output(shell) else None
        self._owns_cell = owns_cell and self._redrawn is None
        super().__init__(lets_go=self._owns_cell)
        self._shell = shell
        self._format = format
        self._images = allow_images_from
        self._outputs = 0
        self._id = ""

    def status(self, words: str) -> None:
        above: list[Part] = [self._part(self._open), "\n\n"] if self._open.strip() else []
        self._draw({MARKDOWN: safe_document([*above, status_markdown(words)], self._images)})

    def _leave(self, text: str) -> None:
        self._draw_open(text)
        self._id = ""

    def _draw_open(self, text: str) -> None:
        # The plain text comes with the whole reply: a front end that shows only that shows it once.
        self._draw({MARKDOWN: safe_document([self._part(text)], self._images).strip("\n") or BLANK})

    def _part(self, text: str) -> Untrusted:
        return Untrusted(text if self._format == "markdown" else fenced(safe_plain(text), "text"))

    def _draw(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        if self._redrawn is not None:
            self._redrawn.draw(data, metadata or {})
            self._outputs, self._id = 1, "redrawn"
            return
        update = bool(self._id)
        if not update:
            self._id = uuid4().hex
            self._outputs += 1
        self._shell.display_pub.publish(data, metadata or {}, transient={"display_id": self._id}, update=update)

    def finish(self, reply: Reply) -> None:
        data = reply_bundle(reply, self._format, self._images)
        if self._outputs > 1 or (self._outputs and not self._id):
            # Blocks that were left where they stand. `wait` keeps them on screen until what replaces them is there.
            self._shell.display_pub.clear_output(wait=True)  # type: ignore[no-untyped-call,unused-ignore]
            self._id = ""
        self._draw(data, {"wandb_inference": reply.facts()})

    def preview(self, data: dict[str, Any], words: str) -> None:  # noqa: ARG002
        self._draw(data)

    def show(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self._draw(data, metadata)

    def clear(self) -> None:
        if self._owns_cell:
            self._shell.display_pub.clear_output(wait=True)  # type: ignore[no-untyped-call,unused-ignore]
            self._id, self._outputs = "", 0

    def append_below(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        if data:
            self._shell.display_pub.publish(data, metadata or {})

    def discard(self) -> None:
        if self._outputs and self._owns_cell:
            self._shell.display_pub.clear_output(wait=False)  # type: ignore[no-untyped-call,unused-ignore]
        elif self._id:
            self._draw({MARKDOWN: BLANK, PLAIN: BLANK})
