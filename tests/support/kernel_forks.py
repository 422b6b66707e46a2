"""Kernels that are forked from a process which has imported what each kernel imports: that is most of their start.

Run as a program, this module is that process: `kernel_forks.py ADDRESS MODULE...`. Whoever connects to its address asks
for one kernel with one line of JSON and receives its process id. The connection lasts as long as the kernel: the kernel
ends when it is closed, and it is closed when the kernel ends. The process itself ends with its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
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
    "jinja2",
    "markdown_it",
)
# What most kernels import that map frames.
FRAMES = ("pandas", "narwhals")
# The interpreter reads these when it starts, and the SDK when it is imported.
READ_AT_START = ("PYTHON", "OPENAI_", "AZURE_OPENAI_")
# What starts in place of a kernel.
LAUNCHER = Path(__file__).with_name("kernel_launcher.py")


def can_fork(environment: dict[str, str]) -> bool:
    """Return whether a kernel with this environment can be forked: all variables but a few are read later."""
    return sys.platform == "linux" and not any(name.startswith(READ_AT_START) for name in environment)


class Forks:
    """The process that kernels are forked from. It has imported these modules too."""

    def __init__(self, *imported: str) -> None:
        # A socket name may have at most 107 bytes.
        self.address = f"{mkdtemp(prefix='forks-')}/s"
        # Numpy's library would start threads, which a fork does not copy.
        alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address, *imported],
            env={name: value for name, value in os.environ.items() if not name.startswith(READ_AT_START)} | alone,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the process that kernels are forked from has not started"

    @contextmanager
    def kernel(self, connection_file: str, environment: dict[str, str], folder: Path) -> Iterator[int]:
        """Start a kernel, yield its process id, end it, and wait until its process has ended."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.address)
            asked = {"arguments": ["-f", connection_file], "environment": environment, "folder": str(folder)}
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("r") as answers:
                yield int(answers.readline())
                connection.shutdown(socket.SHUT_WR)
                answers.readline()


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
        with forks(*imported).kernel(file, environment, folder) as pid:
            yield pid, file


def with_forked_kernels() -> dict[str, str]:
    """Return variables for a process, such as a Jupyter server, whose kernels `python3` are to be forked."""
    return {"JUPYTER_PATH": str(forked_kernelspec())} if sys.platform == "linux" else {}


@cache
def forked_kernelspec() -> Path:
    """Return a folder for JUPYTER_PATH: its kernel `python3` is forked from a process that has imported pandas."""
    address = forks(*FRAMES).address
    argv = [sys.executable, "-SE", str(LAUNCHER), address, "-f", "{connection_file}"]
    folder = Path(address).parent
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    return folder


# In the process that kernels are forked from -----------------------------------------------------------------------


class Server:
    """Forks a kernel for each connection, and ends it with the connection."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._ended, wakes = socket.socketpair()
        self._kernels: dict[int, socket.socket] = {}
        # A kernel that has ended wakes the selector.
        wakes.setblocking(False)
        self._own = [self._listener, self._ended, wakes]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno())
        for one in (self._listener, self._ended, sys.stdin):
            self._selector.register(one, selectors.EVENT_READ)

    def next_kernel(self) -> dict[str, Any] | None:
        """Serve until there is a kernel to be: then return, in its process, what was asked for. None at the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._reap()
                elif key.fileobj is self._listener:
                    if asked := self._fork(self._listener.accept()[0]):
                        return asked
                elif key.data in self._kernels:
                    # With the processes that the kernel has started.
                    os.killpg(key.data, signal.SIGKILL)
                    self._selector.unregister(key.fileobj)

    def _fork(self, connection: socket.socket) -> dict[str, Any] | None:
        with connection.makefile("r") as lines:
            asked: dict[str, Any] = json.loads(lines.readline())
        if pid := os.fork():
            # The child does so too: whoever is first.
            with suppress(PermissionError):
                os.setpgid(pid, pid)
            self._kernels[pid] = connection
            self._selector.register(connection, selectors.EVENT_READ, pid)
            connection.sendall(f"{pid}\n".encode())
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (connection, *self._own, *self._kernels.values()):
            one.close()
        return asked

    def _reap(self) -> None:
        for pid, connection in list(self._kernels.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._kernels[pid]
                with suppress(KeyError):
                    self._selector.unregister(connection)
                connection.close()


def serve(address: str, *imported: str) -> None:
    """Import, and fork kernels until standard input ends."""
    for name in (*IMPORTED, *imported):
        with suppress(ModuleNotFoundError):
            __import__(name)
    # Otherwise each kernel's collector goes through all of these modules again, and copies their pages.
    gc.collect()
    gc.freeze()
    server = Server(address)
    print("ready", flush=True)
    # What kernels print does not belong to the conversation.
    os.dup2(2, 1)
    parent = os.getpid()
    if asked := server.next_kernel():
        run_kernel(asked, parent)
    else:
        shutil.rmtree(Path(address).parent)


def run_kernel(asked: dict[str, Any], parent: int) -> None:
    """Become the kernel that was asked for."""
    # The parent may have put this process into a group of its own already.
    with suppress(PermissionError):
        os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    # A kernel ends itself when its parent does.
    os.environ.update(asked["environment"] | {"JPY_PARENT_PID": str(parent)})
    time.tzset()
    os.chdir(asked["folder"])
    random.seed()
    # This module's folder is not on the path of a kernel.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    if added := os.environ.get("PYTHONPATH"):
        # As the interpreter does when it starts.
        sys.path[:0] = added.split(os.pathsep)
        sys.modules.pop("sitecustomize", None)
        with suppress(ModuleNotFoundError):
            import_module("sitecustomize")
    sys.argv[:] = ["ipykernel_launcher", *asked["arguments"]]
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


if __name__ == "__main__":
    serve(*sys.argv[1:])
