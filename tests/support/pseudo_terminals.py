"""IPython under a pseudo-terminal."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path

import pexpect
import pyte
from kernel_forks import LAUNCHER, can_fork, own_forks

PATIENCE = 90


def end(child: pexpect.spawn[str]) -> None:
    """End a program and its terminal. pexpect's own `close` fails if a busy machine takes longer than it waits."""
    with suppress(pexpect.ExceptionPexpect):
        child.kill(signal.SIGKILL)
        child.wait()
    child.close()


class Terminal:
    """An IPython session as a person uses it."""

    def __init__(self, environment: dict[str, str], folder: Path, width: int = 160) -> None:
        self.width, self.height = width, 50
        options = ["--no-banner", "--simple-prompt", "--no-confirm-exit", "--HistoryManager.enabled=False"]
        # Forked, as kernels are, it starts in a fifth of the time.
        ipython = (
            ["-SE", str(LAUNCHER), "--terminal", own_forks().address] if can_fork(environment) else ["-m", "IPython"]
        )
        self.child = pexpect.spawn(
            sys.executable,
            [*ipython, *options],
            env=environment,
            cwd=str(folder),
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(self.height, width),
        )
        self.child.expect(r"In \[1\]: ")

    def type(self, line: str) -> None:
        self.child.sendline(line)
        # The terminal echoes the typed line, or its end: readline can scroll a long one. The answer follows it.
        self.child.expect_exact(line[-40:])

    def raw_answer(self) -> str:
        """Return everything printed up to the next prompt, with the escape sequences."""
        self.child.expect(r"In \[\d+\]: ")
        return self.child.before or ""

    def answer(self) -> str:
        """Return what the person sees up to the next prompt."""
        return self.seen(self.raw_answer())

    def seen(self, raw: str) -> str:
        """Return what a terminal shows for the printed text."""
        screen = pyte.Screen(self.width, 300)
        pyte.Stream(screen).feed(raw)
        return "\n".join(line.rstrip() for line in screen.display).strip("\n") + "\n"

    def raw_until(self, text: str) -> str:
        """Return everything printed up to a text, with that and the escape sequences."""
        self.child.expect_exact(text)
        return f"{self.child.before}{text}"

    def scrolled(self, raw: str) -> list[str]:
        """Return the lines of a terminal of this size for the printed text, with those that have left the screen."""
        screen = pyte.HistoryScreen(self.width, self.height, history=2000)
        pyte.Stream(screen).feed(raw)
        above = ["".join(line[column].data for column in range(self.width)) for line in screen.history.top]
        return [line.rstrip() for line in (*above, *screen.display)]

    def resize(self, width: int, height: int = 50) -> None:
        self.width, self.height = width, height
        self.child.setwinsize(height, width)

    def run(self, line: str) -> str:
        self.type(line)
        return self.answer()

    def end(self) -> None:
        end(self.child)
