"""Runs cells in IPython. It is run inside Pyodide, by pyodide_run.mjs; the tests do not import it."""

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

sys.path.append("/packages")
os.chdir("/work")

from IPython.core.interactiveshell import InteractiveShell  # noqa: E402

shell = InteractiveShell.instance(colors="nocolor")


class Shown(io.StringIO):
    """What a cell prints. `reached` is called once, when `awaited` is in it."""

    def __init__(self, awaited: str, reached: Callable[[], object]) -> None:
        super().__init__()
        self._awaited = awaited
        self._reached = reached

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._awaited and self._awaited in self.getvalue():
            self._awaited = ""
            self._reached()
        return written


def run(cell: str, interrupt_at: str, interrupt: Callable[[], object]) -> str:
    shown = Shown(interrupt_at, interrupt)
    with redirect_stdout(shown), redirect_stderr(shown):
        done = shell.run_cell(cell)
    return json.dumps([done.success, shown.getvalue(), threading.active_count()])
