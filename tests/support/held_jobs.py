"""Jobs whose answers wait until a test lets them go."""

from __future__ import annotations

from threading import Event
from typing import Any
from uuid import uuid4

from kernels import Kernel, Run
from service import Answer, completion

ROWS = "import pandas as pd\ndf = pd.DataFrame({'n': range(40)})"
MAP = "%%wbmap df --bg -o labelled\nWhat of {{ n }}?"


class Held:
    """Answers that wait until they may come."""

    def __init__(self) -> None:
        self.may = Event()
        self.asked = Event()

    def __call__(self, one: Answer) -> None:
        self.asked.set()
        if self.may.wait(60):
            completion(f"of {one.received.body['messages'][-1]['content']}")(one)


def run(kernel: Kernel, code: str, **how: Any) -> Run:
    """Run a cell in a notebook that someone looks at."""
    return kernel.run(code, allow_stdin=True, **{"cell_id": uuid4().hex, **how})
