"""What is drawn in a terminal, interrupted at any moment, leaves the terminal as it was."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import rich
from rich.cells import cell_len

from wandb_inference_magic.frontend import terminal

DRAWING = (str(Path(rich.__file__).parent), terminal.__file__)


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


class InterruptAt:
    """Sends an interrupt at a line, counted from 0, of those that run while something is drawn; with -1 at none."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> InterruptAt | None:
        if not frame.f_code.co_filename.startswith(DRAWING):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.place + 1:
                signal.raise_signal(signal.SIGINT)
        return self


def draw(canvas: terminal.RichCanvas, watch: InterruptAt) -> None:
    """Draw a line twice."""
    sys.settrace(watch)
    try:
        canvas.status("waiting")
        canvas.status("still waiting")
    finally:
        sys.settrace(None)


def test_an_interrupt_while_a_line_is_drawn_leaves_the_terminal_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich redirects stdout and hides the cursor while a line is shown."""
    monkeypatch.setattr(sys, "stdout", Screen())
    # What rich prepares once runs the first time only.
    for _ in range(2):
        whole, canvas = InterruptAt(-1), terminal.RichCanvas()
        draw(canvas, whole)
        canvas.discard()
    assert whole.lines > 500
    for place in range(0, whole.lines, 23):
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        canvas = terminal.RichCanvas()
        with pytest.raises(KeyboardInterrupt):
            draw(canvas, InterruptAt(place))
        canvas.discard()
        assert sys.stdout is screen
        canvas.thought("Thought for 1 s")
        written = screen.getvalue()
        assert "Thought for 1 s" in written
        assert written.count("\x1b[?25l") == written.count("\x1b[?25h")


@pytest.mark.parametrize(
    "reasoning",
    ["\u65e5\u672c\u8a9e\u3067\u8003\u3048\u308b" * 40, "Let me see, step by step. " * 30],
    ids=["Japanese", "English"],
)
def test_the_end_of_reasoning_takes_two_lines(reasoning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    canvas = terminal.RichCanvas(has_no_colours=True)
    canvas.thinking("thinking", reasoning)
    canvas.discard()
    drawn = [line for line in screen.getvalue().replace("\r", "").split("\n") if "\u2502" in line]
    # Drawn once, and again when it is removed.
    assert len(drawn) == 4
    # Each line but the last is full, or ends at a word.
    assert 50 <= cell_len(drawn[0].partition("\u2502 ")[2].removesuffix("\x1b[0m")) <= 58
    assert reasoning.strip()[-5:] in drawn[1]
