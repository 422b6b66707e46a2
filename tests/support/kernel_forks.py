"""Kernels that are forked from a process which has imported what each kernel imports: that is most of their start.

Run as a program, this module is that process. It starts and ends kernels at the request of the tests' process, and
programs (`python_forks`).
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

# Modules of others, which start no threads.
IMPORTED = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "openai",
    "anyio._backends._asyncio",
    # What the SDK imports when it sends: which of them, depends on its version.
    "h11",
    "httpcore",
    "httpcore2",
    "truststore",
    "concurrent.futures.thread",
    "configparser",
    "difflib",
    "jinja2.meta",
    "markdown_it",
)
# What most kernels import that map frames.
FRAMES = ("pandas", "narwhals", "narwhals._pandas_like.namespace", "pyarrow.pandas_compat")
# What kernels import that trace. Weave starts no threads before it is used.
WEAVE = ("weave",)
# The interpreter reads these when it starts, and the SDK when it is imported.
READ_AT_START = ("PYTHON", "OPENAI_", "AZURE_OPENAI_")


def can_fork(environment: dict[str, str]) -> bool:
    """Return whether a kernel with this environment can be forked: all variables but a few are read later."""
    return sys.platform == "linux" and not any(name.startswith(READ_AT_START) for name in environment)


class Forks:
    """The process that kernels are forked from. It has imported these modules too."""

    def __init__(self, *imported: str) -> None:
        # Numpy's library would start threads, which a fork does not copy.
        alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # Weave reads this when it is imported: the package sets it before it imports Weave.
        alone["WANDB_ERROR_REPORTING"] = "false"
        self._process = subprocess.Popen(
            [sys.executable, __file__, *imported],
            env={name: value for name, value in os.environ.items() if not name.startswith(READ_AT_START)} | alone,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, connection_file: str, environment: dict[str, str], folder: Path) -> int:
        """Start a kernel and return its process id."""
        return self._ask({"file": connection_file, "environment": environment, "folder": str(folder)})

    def end(self, pid: int) -> None:
        """End a kernel, and wait until its process has ended."""
        self._ask({"end": pid})

    def start_program(
        self, code: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: str, errors: str
    ) -> int:
        """Start a program that writes into these two files, and return its process id."""
        program = {"code": code, "arguments": list(arguments), "out": out, "errors": errors}
        return self._ask({"program": program, "environment": dict(environment), "folder": str(folder)})

    def wait(self, pid: int) -> int:
        """Wait until a program has ended. Return its exit code, as `subprocess` counts: negative for a signal."""
        return self._ask({"wait": pid})

    def _ask(self, what: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that kernels are forked from has ended"
        return int(answer)


@cache
def forks(*imported: str) -> Forks:
    """Return this process's one with these imports. It ends when this process does."""
    return Forks(*imported)


@contextmanager
def forked_kernel(environment: dict[str, str], folder: Path, *imported: str) -> Iterator[tuple[int, str]]:
    """Start a kernel with exactly this environment, working in `folder`, and end it afterwards.

    The modules `imported` are there already.

    Yields its process id, and the path of its connection file.
    """
    from jupyter_client.connect import write_connection_file

    with TemporaryDirectory(prefix="kernel-") as sockets:
        file, _ = write_connection_file(f"{sockets}/kernel.json", transport="ipc", ip=f"{sockets}/kernel-ipc")
        pid = forks(*imported).start(file, environment, folder)
        try:
            yield pid, file
        finally:
            forks(*imported).end(pid)


# In the process that kernels are forked from -----------------------------------------------------------------------


def serve() -> None:
    for name in (*IMPORTED, *sys.argv[1:]):
        # One that cannot be imported fails in the kernel that needs it.
        with suppress(Exception):
            __import__(name)
    # Otherwise each kernel's collector goes through all of these modules again, and copies their pages.
    gc.collect()
    gc.freeze()
    # What kernels print does not belong to the conversation.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "end" in asked:
            # With the processes that the kernel has started.
            os.killpg(asked["end"], signal.SIGKILL)
            os.waitpid(asked["end"], 0)
            print(asked["end"], file=answers, flush=True)
            continue
        if "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), file=answers, flush=True)
            continue
        parent = os.getpid()
        if pid := os.fork():
            # The child does so too: whoever is first.
            with suppress(PermissionError):
                os.setpgid(pid, pid)
            print(pid, file=answers, flush=True)
            continue
        answers.close()
        become_another(asked["environment"], asked["folder"])
        if "program" in asked:
            run_program(**asked["program"])
        else:
            run_kernel(asked["file"], parent)
        return


def become_another(environment: dict[str, str], folder: str) -> None:
    """Leave what this process has of the one that it was forked from."""
    # The parent may have put this process into a group of its own already.
    with suppress(PermissionError):
        os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    random.seed()
    # This module's folder is not on the path of another program.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]


def run_kernel(connection_file: str, parent: int) -> None:
    # A kernel ends itself when its parent does.
    os.environ["JPY_PARENT_PID"] = str(parent)
    sys.argv[:] = ["ipykernel_launcher", "-f", connection_file]
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


def run_program(code: str, arguments: list[str], out: str, errors: str) -> None:
    """Run code as `python -c` does. A failure is written to `errors`, and ends the process with code 1."""
    os.dup2(os.open(out, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY), 2)
    sys.argv[:] = ["-c", *arguments]
    sys.path.insert(0, "")
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(code, "<string>", "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    serve()
