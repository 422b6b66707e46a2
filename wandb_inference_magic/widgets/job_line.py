"""The line of a job in the output of a cell, redrawn while other cells run, and Stop buttons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ..frontend import WIDGET, ExecutionInfo, RedrawnOutput, is_notebook, takes_output, widget_view
from ..rendering import BLANK, PLAIN
from ..text import printable

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .anywidgets import StopWidget


class Stoppable(Protocol):
    """What a Stop button ends: it has a number and a name in `%wbjobs`."""

    id: int
    what: str

    def cancel(self) -> None:
        """End it."""


class ShownJob(Stoppable, Protocol):
    """A job, as far as it is drawn."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""

    def bundle(self) -> dict[str, Any]:
        """Return its line as a MIME bundle."""

    def show(self, view: JobLine) -> None:
        """Draw the line on a view from now on."""


def show_job(shell: InteractiveShell, job: ShownJob) -> None:
    """Show the line of a job here, and go on drawing it until the job has ended."""
    if not is_notebook(shell):
        print(printable(job.bundle()[PLAIN]))
        return
    view = JobLine(shell, None if job.is_over else job)
    job.show(view)


class JobLine:
    """Draws the line of a job in one output, from whatever thread, while other cells run.

    Parameters
    ----------
    shell : InteractiveShell
    job : Stoppable or None
        What the Stop button below the line ends; None: there is no button.
    """

    def __init__(self, shell: InteractiveShell, job: Stoppable | None) -> None:
        # Another cell may replace the shell's publisher while it runs: `%%capture`.
        self._output = RedrawnOutput(shell, in_widget=takes_output(shell), publisher=shell.display_pub)
        # Where the front end may ignore updates, the outcome is a new output.
        is_updated = not ExecutionInfo.running(shell).may_be_console
        self._last = self._output if is_updated else RedrawnOutput(shell, in_widget=False, publisher=shell.display_pub)
        self._button = StopButton(shell, job) if job is not None else None
        self._is_drawn = self._is_over = False

    def draw(self, bundle: dict[str, Any]) -> None:
        """Draw the line in place of the one before, and the first time the button below it."""
        if self._is_over:
            return
        self._output.draw(bundle)
        if self._button is not None and not self._is_drawn:
            self._is_drawn = True
            self._button.draw()
        elif self._button is not None:
            self._button.describe(bundle[PLAIN])

    def end(self, bundle: dict[str, Any], line: str) -> None:
        """Draw the outcome of the job, and remove the button. `line` stays for a page that is reloaded."""
        if self._is_over:
            return
        self._is_over = True
        if self._last is not self._output:
            self._output.clear()
        self._last.draw(bundle)
        if self._button is not None:
            self._button.remove(line)


class StopButton:
    """A button below or above what can be stopped.

    Parameters
    ----------
    shell : InteractiveShell
    job : Stoppable
        What it ends, in another thread.
    """

    def __init__(self, shell: InteractiveShell, job: Stoppable) -> None:
        self._shell, self._job = shell, job
        self._output = RedrawnOutput(shell, in_widget=takes_output(shell), publisher=shell.display_pub)
        self._widget: StopWidget | None = None

    def draw(self) -> None:
        """Draw it here."""
        try:
            # Imported when a button is drawn, because anywidget takes long to import.
            from .anywidgets import StopWidget

            job = self._job
            self._widget = StopWidget(self._shell, job.cancel, f"job {job.id}: {job.what}")
        except Exception:  # noqa: BLE001 - anywidget is missing, too old or too new; `%wbjobs` stops as well
            return
        self._output.draw({WIDGET: widget_view(self._widget.model_id), PLAIN: BLANK})

    def describe(self, line: str) -> None:
        """Note what a page shows beside it that is loaded from now on."""
        if self._widget is not None:
            self._widget.line = line

    def remove(self, line: str = "") -> None:
        """Remove it. A page that is loaded later shows the line in its place."""
        if self._widget is None:
            return
        self._output.clear()
        if line:
            self._widget.end(line)
        else:
            self._widget.close()
        self._widget = None


@contextmanager
def stop_button(shell: InteractiveShell, job: Stoppable) -> Iterator[None]:
    """Show a Stop button here inside the `with` block."""
    button = StopButton(shell, job)
    button.draw()
    try:
        yield
    finally:
        button.remove()
