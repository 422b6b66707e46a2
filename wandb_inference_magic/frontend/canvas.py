"""Draw a reply while it streams and when it is complete, in a notebook or a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..markup import Untrusted, directed, fenced, goes_on, safe_document, split_finished
from ..rendering import (
    BLANK,
    MARKDOWN,
    PLAIN,
    reply_bundle,
    status_markdown,
    thinking_markdown,
    thought_parts,
)
from ..text import safe_plain
from .output_widget import WIDGET, RedrawnOutput, takes_output, widget_view
from .user_output import UserOutput

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..markup import DocumentPart
    from ..messages import Reply
    from ..rendering import Column

# In characters: longer blocks are drawn again less often.
LONG_BLOCK: Final = 2000
GROWTH: Final = 1 / 8

# Shown below a reply while it grows. A page that is reloaded meanwhile, or saved, keeps it.
GROWING: Final = "still being written"
# Shown in place of the reasoning until the reply is complete: it can be long, and a growing block is drawn often.
LATER: Final = "*It is shown when the reply is complete.*"
# Blocks that front ends draw with space above. Between two outputs, that would be added to the space below the first.
_WITH_SPACE: Final = re.compile(r"\s*(?:(?P<more>#{1,6}\s|`{3}|~{3})|[-*+]\s|\d{1,9}[.)]\s|>|[-*_]{3})")
# The last line of the blocks with more space below than others, in em, as JupyterLab has it.
_MORE_BELOW: Final = ((re.compile(r"`{3}|~{3}"), 1.45), (re.compile(r"#\s"), 1.5), (re.compile(r"##\s"), 1.2))
# The last element of an output has less space below. This one takes its place, and nothing else.
_END: Final = '\n\n<div style="clear: both"></div>'
# As tall as the reasoning that was shown there, and of no width.
_AS_TALL: Final = '<div style="float: left; height: 3.6em"></div>\n\n'

# The markup at the start of a block, before any text: a fence with its language, or the dash or the number of a list
# item.
_MARKS_ALONE: Final = re.compile(r"\s*(?:(?:`{3,}|~{3,})[^\n]*\n?|[!-/:-@\[-`{-~]*|\d{1,9}[.)]?)\s*")


def has_grown(size: int, drawn: int) -> bool:
    """Return whether a text is to be drawn again: a long one only when it has grown by a fraction of its length.

    The amount of data sent then stays in proportion to the reply, however long a single block becomes.
    """
    return size - drawn > max(0.0, (size - LONG_BLOCK) * GROWTH)


def _less_space(above: str, text: str) -> list[DocumentPart]:
    """Return what takes away the space above a text that follows another one, so that it is not there twice."""
    found = _WITH_SPACE.match(text)
    if found is None:
        return []
    last = above.rstrip().rpartition("\n")[2]
    space = next((space for begins, space in _MORE_BELOW if begins.match(last)), 1.0) if found["more"] else 1.0
    return [f'<div style="margin-bottom: -{space}em"></div>\n\n']


class Canvas:
    """Where one reply is drawn. This one draws nothing."""

    def status(self, text: str) -> None:
        """Show a status line while there is no text."""

    def doing(self, text: str) -> None:
        """Show what the user's code is about to do, below all text so far. What it prints is below that."""
        self.status(text)

    def thinking(self, text: str, reasoning: str) -> None:  # noqa: ARG002
        """Show a status line, and below it the end of the reasoning so far if there is room."""
        self.status(text)

    def thought(self, summary: str) -> None:
        """Fold the reasoning. The text that is added next follows it."""

    def append(self, text: str) -> None:
        """Add received text. Show it at once or together with later text."""

    def flush(self) -> None:
        """Show all added text. Called when no more text has arrived for a while."""

    def step(self, markdown: str) -> None:
        """Show an intermediate step, such as a tool call. Later text starts below it."""

    def finish(self, reply: Reply, rest: str) -> None:
        """Draw the reply, complete or partial, in its final form. `rest` is the text that has not been added yet."""

    def user_code(self) -> AbstractContextManager[None]:
        """Return a context manager for a block that runs the user's code. What that shows stays in the cell."""
        return nullcontext()

    def watched(self) -> AbstractContextManager[None]:
        """Return a context manager for the block that draws. What threads of the user print meanwhile stays too."""
        return nullcontext()

    def discard(self) -> None:
        """Remove the status. Called when there is no reply."""

    def preview(self, data: dict[str, Any], text: str) -> None:  # noqa: ARG002
        """Show progress: `data` if the output can be redrawn, otherwise `text`."""
        self.status(text)

    def widget(self, widget: Any) -> None:
        """Show a widget until something is shown for good."""

    def show(self, data: dict[str, Any], columns: Sequence[Column] = (), facts: dict[str, Any] | None = None) -> None:
        """Show something other than a single reply, such as a table. It replaces the status or the preview.

        A terminal with colours renders `columns`, if there are any, one below the other. `facts` is the metadata of
        the output.
        """

    def clear(self) -> None:
        """Remove all output of the cell when the next output appears. Do nothing if the cell has other outputs."""

    def append_below(self, data: dict[str, Any]) -> None:
        """Show more output below the last output, which stays unchanged. Do nothing if `data` is empty."""


def is_notebook(shell: InteractiveShell) -> bool:
    """Return whether the shell runs in a kernel, whose front end shows rich output."""
    return hasattr(shell, "kernel")


def has_no_colours(shell: InteractiveShell) -> bool:
    """Return whether the user has switched off the colours of the shell."""
    # "NoColor" until IPython 9, and "nocolor" since.
    return str(shell.colors).lower() == "nocolor"


class BlockCanvas(Canvas):
    """Draws a reply block by block: a finished block once, the last block again while it grows.

    Parameters
    ----------
    prints_finished_blocks : bool
        Whether finished blocks may stay as they are. Otherwise the whole reply is redrawn.
    """

    def __init__(self, *, prints_finished_blocks: bool) -> None:
        self._prints_finished_blocks = prints_finished_blocks
        self._open = ""
        self._drawn = 0
        # Whether text was added since the last step.
        self._has_text = False

    def append(self, text: str) -> None:
        self._has_text = True
        text_end = len(self._open.rstrip())
        self._open += text
        # A block may end where a line ends. This shows once the next block starts, so check before that text is drawn.
        has_line_end = self._prints_finished_blocks and "\n" in self._open[text_end:]
        if has_line_end and not goes_on(self._open, text_end):
            self._leave_finished()
        if has_grown(len(self._open), self._drawn):
            self.flush()

    def flush(self) -> None:
        # Incomplete markup is shown as text and disappears when it is complete. Drawing it would flicker.
        if len(self._open) > self._drawn and not _MARKS_ALONE.fullmatch(self._open):
            self._draw_open(self._open)
            self._drawn = len(self._open)

    def step(self, markdown: str) -> None:
        self._has_text = False
        self._open = f"{self._open}\n\n{markdown}\n\n" if self._open.strip() else f"{markdown}\n\n"
        if self._prints_finished_blocks:
            self._leave(self._open)
            self._open, self._drawn = "", 0
        else:
            self.flush()

    def _leave_finished(self) -> None:
        finished, rest = split_finished(self._open)
        # Drawn text must stay in its output. Text that moved to the next output would disappear in between.
        if finished.strip() and not self._open[len(finished) : self._drawn].strip():
            self._leave(finished)
            self._open, self._drawn = rest, 0

    def _draw_open(self, text: str) -> None:
        """Draw the growing block in place of its last drawing."""
        raise NotImplementedError

    def _leave(self, text: str) -> None:
        """Draw finished blocks for the last time. Later text is drawn below them."""
        raise NotImplementedError


@dataclass(slots=True)
class _Growing:
    """The outputs of a reply while it grows, and what is drawn in them.

    Attributes
    ----------
    outputs : list of RedrawnOutput
        All of them.
    block : RedrawnOutput or None
        The output of the growing block.
    status_output : RedrawnOutput or None
        The output below it: the status, or that the reply grows.
    status : str
        What `status_output` shows.
    prefix : list of DocumentPart
        What is above the text of the growing block: the folded reasoning, or space.
    last_finished : str
        The finished blocks that were drawn last.
    """

    outputs: list[RedrawnOutput] = field(default_factory=list)
    block: RedrawnOutput | None = None
    status_output: RedrawnOutput | None = None
    status: str = ""
    prefix: list[DocumentPart] = field(default_factory=list)
    last_finished: str = ""


class NotebookCanvas(BlockCanvas):
    """Draws a reply in a notebook: finished blocks are sent once, the last block again while it grows.

    Parameters
    ----------
    shell : InteractiveShell
        Its display publisher sends the messages, so that `%%capture` and Output widgets work.
    owns_cell : bool
        Whether the cell has no other output above. Then each block is a separate output while the reply streams,
        and one final output replaces them at the end. Otherwise the reply is always a single output. It is also a
        single output inside an Output widget, where the user's own outputs may be above.
    is_final_new : bool
        Whether the final output is a new one, for a front end that ignores updates of the drawings before it.
    format : str
        How the complete reply is shown; see `rendering.reply_bundle`.
    allow_images_from : collection of str
        Hosts from which images may load.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        *,
        owns_cell: bool,
        is_final_new: bool,
        format: str,
        allow_images_from: Collection[str],
    ) -> None:
        self._is_in_widget = takes_output(shell)
        self._owns_cell = owns_cell and not self._is_in_widget
        super().__init__(prints_finished_blocks=self._owns_cell)
        self._is_final_new = is_final_new and not self._is_in_widget
        self._shell = shell
        self._format = format
        self._images = allow_images_from
        # What the user's code shows, while it runs, and what threads of the user print.
        self._users: UserOutput | None = None
        self._others = UserOutput(shell)
        self._growing = _Growing()
        # Outputs above something that the user's code has shown, and widgets. They are empty in the end.
        self._temporary_outputs: list[RedrawnOutput] = []

    def status(self, text: str) -> None:
        self._set_status(status_markdown(text))

    def thinking(self, text: str, reasoning: str) -> None:
        self._set_status(thinking_markdown(text, reasoning))
        if self._growing.last_finished:
            self._growing.prefix = [_AS_TALL]

    def thought(self, summary: str) -> None:
        if not self._growing.last_finished and not self._open.strip():
            self._growing.prefix = thought_parts(summary, [LATER])

    def _set_status(self, markdown: str) -> None:
        """Show a status below the growing block."""
        growing = self._growing
        if not self._owns_cell:
            self._draw(self._document(self._open, [markdown]))
        elif markdown != growing.status:
            growing.status = markdown
            growing.status_output = self._put(growing.status_output, {MARKDOWN: safe_document([markdown])})

    def _leave(self, text: str) -> None:
        self._draw_open(text)
        self._growing.block, self._growing.prefix, self._growing.last_finished = None, [], text

    def _draw_open(self, text: str) -> None:
        if not self._owns_cell:
            self._draw(self._document(text, [status_markdown(GROWING)]))
            return
        growing = self._growing
        if growing.block is None:
            # The block takes the place of the line below the last one, once that line is there again: at any moment
            # the output says that it grows, and none of its lines moves up.
            if growing.last_finished and not growing.prefix:
                growing.prefix = _less_space(growing.last_finished, text)
            if growing.status_output is None:
                self.status(GROWING)
            growing.block, growing.status_output, growing.status = growing.status_output, None, ""
        self.status(GROWING)
        self._put(growing.block, self._document(text, [_END]))

    def _document(self, text: str, below: list[DocumentPart]) -> dict[str, Any]:
        # Plain text is sent only with the complete reply, so that a front end that shows only plain text shows it once.
        prefix = self._growing.prefix
        parts = [*prefix, *self._parts(text), "\n\n", *below] if text.strip() or prefix else below
        return {MARKDOWN: safe_document(parts, self._images).strip("\n") or BLANK}

    def _parts(self, text: str) -> list[DocumentPart]:
        return directed(text) if self._format == "markdown" else [Untrusted(fenced(safe_plain(text), "text"))]

    def _draw(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        growing = self._growing
        growing.block = self._put(growing.block or growing.status_output, data, metadata)

    def _put(
        self, output: RedrawnOutput | None, data: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> RedrawnOutput:
        """Draw in an output, or in a new one. Return it."""
        if output is None:
            output = RedrawnOutput(self._shell, in_widget=self._is_in_widget)
            self._growing.outputs.append(output)
        with self._users.not_counted() if self._users is not None else nullcontext():
            output.draw(data, metadata)
        return output

    @contextmanager
    def user_code(self) -> Iterator[None]:
        shown, around = UserOutput(self._shell), self._users
        self._users = shown
        try:
            with shown.watched():
                yield
        finally:
            self._users = around
            # Also after an interrupt: the partial reply is drawn then.
            if shown.is_shown and not self._is_in_widget:
                self._continue_in_new_output()

    def watched(self) -> AbstractContextManager[None]:
        return self._others.watched_printing()

    def _leave_others(self) -> None:
        """Keep what threads of the user have printed in between."""
        if self._others.is_shown and self._owns_cell:
            self._continue_in_new_output()

    def _continue_in_new_output(self) -> None:
        """Continue below what the user's code has shown, in one output: the cell can no longer be cleared."""
        self._owns_cell = self._prints_finished_blocks = False
        # If that has cleared the cell, front ends ignore what is drawn in them.
        self._temporary_outputs += self._growing.outputs
        self._growing = _Growing()
        self._open, self._drawn = "", 0

    def _clear_temporary_outputs(self) -> None:
        for output in self._temporary_outputs:
            output.clear()
        self._temporary_outputs = []

    def finish(self, reply: Reply, rest: str) -> None:  # noqa: ARG002
        data = reply_bundle(reply, self._format, self._images)
        if len(self._growing.outputs) > 1:
            # Finished blocks are still shown. They stay on screen until the final output replaces them.
            self.clear()
        self._draw_final(data, {"wandb_inference": reply.facts()})

    def _draw_final(self, data: dict[str, Any], metadata: dict[str, Any] | None) -> None:
        """Draw what stays, in place of what was drawn before."""
        self._leave_others()
        if self._growing.outputs and self._is_final_new:
            self.clear()
            self._continue_in_new_output()
        # Another one, such as the next choice in a picker, takes its place.
        self._is_final_new = False
        self._clear_temporary_outputs()
        self._draw(data, metadata)

    def preview(self, data: dict[str, Any], text: str) -> None:  # noqa: ARG002
        self._draw(data)

    def widget(self, widget: Any) -> None:
        output = RedrawnOutput(self._shell, in_widget=self._is_in_widget)
        output.draw({PLAIN: BLANK, WIDGET: widget_view(widget.model_id)})
        self._temporary_outputs.append(output)

    def show(self, data: dict[str, Any], columns: Sequence[Column] = (), facts: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self._draw_final(data, facts)

    def clear(self) -> None:
        self._leave_others()
        if self._owns_cell:
            self._shell.display_pub.clear_output(wait=True)  # type: ignore[no-untyped-call,unused-ignore]
            self._growing, self._temporary_outputs = _Growing(), []

    def append_below(self, data: dict[str, Any]) -> None:
        if data:
            self._shell.display_pub.publish(data, {})

    def discard(self) -> None:
        self._leave_others()
        self._clear_temporary_outputs()
        if self._growing.outputs and self._owns_cell:
            self._shell.display_pub.clear_output(wait=False)  # type: ignore[no-untyped-call,unused-ignore]
        elif self._growing.block:
            self._draw({MARKDOWN: BLANK, PLAIN: BLANK})
