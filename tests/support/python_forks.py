"""Programs in processes that are forked from one which has imported much already, as kernels are (`kernel_forks`).

For tests of what several processes do to each other: each starts in a tenth of the time. A test of the start of
Python, or of what is imported, needs `python_processes`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TextIO

from kernel_forks import own_forks


class ForkedProgram:
    """A program that runs. It has what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        code: str,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._files = TemporaryDirectory(prefix="program-")
        files = Path(self._files.name)
        out, self._errors = files / "out", files / "errors"
        os.mkfifo(out)
        self._errors.touch()
        program = {"code": code, "arguments": arguments, "out": str(out), "errors": str(self._errors)}
        self._fork = own_forks().start(dict(environment), folder or files, program=program)
        self.pid = self._fork.pid
        self.stdout: TextIO = out.open()

    def __enter__(self) -> ForkedProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.wait()
        self.stdout.close()
        self._files.cleanup()

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        if self.returncode is None:
            self.returncode = self._fork.wait()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end, and return what was printed and the errors."""
        out = self.stdout.read()
        self.wait()
        return out, self._errors.read_text()


def run_by_fork(code: str, environment: Mapping[str, str], folder: Path | None = None) -> CompletedProcess[str]:
    """Run a program to its end."""
    with ForkedProgram(code, environment=environment, folder=folder) as program:
        out, errors = program.communicate()
    return CompletedProcess((), program.wait(), out, errors)


def printed_by_fork(code: str, environment: Mapping[str, str], folder: Path | None = None) -> list[str]:
    """Run a program that must not fail, and return the lines that it prints."""
    done = run_by_fork(code, environment, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
