"""Runs cells in JupyterLite's kernel. It is run inside Pyodide, by pyodide_run.mjs; the tests do not import it."""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

sys.path.append("/packages")
os.chdir("/work")

import pyodide_kernel  # noqa: E402

kernel, shell = pyodide_kernel.kernel_instance, pyodide_kernel.ipython_shell


class FrontEnd:
    """Collects what the kernel sends for a cell. `reached` is called once, when `awaited` is in a message."""

    def __init__(self, awaited: str, reached: Callable[[], object]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._awaited = awaited
        self._reached = reached
        self._attach()

    def _attach(self) -> None:
        for stream in (pyodide_kernel.stdout_stream, pyodide_kernel.stderr_stream):
            stream.publish_stream_callback = lambda name, text: self.receive("stream", name=name, text=text)
        for kind in ("display_data", "update_display_data"):
            setattr(shell.display_pub, f"{kind}_callback", self._display(kind))
        shell.display_pub.clear_output_callback = lambda wait: self.receive("clear_output", wait=wait)
        shell.displayhook.publish_execution_result = lambda _, *given: self._display("execute_result")(*given)
        shell.send_comm = lambda kind, content, *_: self.receive(kind, **content)
        shell.getpass = lambda _: "a-key-that-is-typed"

    def _display(self, kind: str) -> Callable[..., None]:
        return lambda data, metadata, transient=None: self.receive(
            kind, data=data, metadata=metadata or {}, transient=transient or {}
        )

    def receive(self, kind: str, **content: Any) -> None:
        self.messages.append({"type": kind, "content": content})
        if self._awaited and self._awaited in json.dumps(content):
            self._awaited = ""
            self._reached()


def asked(cell: str, cell_id: str) -> None:
    kernel._parent_header = {
        "header": {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request"},
        "metadata": {"cellId": cell_id},
        "content": {"code": cell, "allow_stdin": True},
    }


def ended(front_end: FrontEnd) -> str:
    error = shell._last_traceback
    if error is not None:
        front_end.receive("error", **error)
    reply = {"status": "ok" if error is None else "error"}
    return json.dumps({"messages": front_end.messages, "reply": reply, "threads": threading.active_count()})


async def run(cell: str, cell_id: str, awaited: str, reached: Callable[[], object]) -> str:
    front_end = FrontEnd(awaited, reached)
    asked(cell, cell_id)
    await kernel.run(cell)
    return ended(front_end)


def run_without_waiting(cell: str, cell_id: str) -> str:
    """Run a cell as in a browser that cannot switch stacks: a coroutine cannot be waited for."""
    front_end = FrontEnd("", int)
    asked(cell, cell_id)
    shell._last_traceback = None
    shell.run_cell(cell, store_history=True)
    return ended(front_end)
