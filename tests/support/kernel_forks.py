"""Kernels that are forked from a process which has imported what each kernel imports: that is most of their start.

Run as a program, this module is that process: `kernel_forks.py ADDRESS MODULE...`. Whoever connects to its address asks
for one kernel or program (`python_forks`) with one line of JSON, and receives its process id and, at its end, its
exit code. It is killed when the connection is closed before. The process itself ends with its standard input.
"""

from __future__ import annotations

import fcntl
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
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory, mkdtemp
from types import ModuleType
from typing import Any

from environments import clean_environment

# Modules of others, which start no threads.
IMPORTED = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.magics.extension",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.terminal.ipapp",
    "faulthandler",
    "sqlite3",
    "tornado.platform.asyncio",
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
# What kernels import that map frames: a third of all.
FRAMES = ("pandas", "narwhals", "narwhals._pandas_like.namespace", "pyarrow.pandas_compat")
# What kernels import that trace. Weave starts no threads before it is used.
WEAVE = (
    "weave",
    # What it imports when it begins to trace.
    "gql.transport.httpx",
    "openai.resources.beta",
    "openai.resources.chat.completions",
    "openai.resources.embeddings",
    "openai.resources.moderations",
    "openai.resources.responses",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
# All modules of the package. Kernels of notebooks import them themselves, as a user's do.
OWN = "wandb_inference_magic"
# The interpreter reads these when it starts, and the SDK when it is imported.
READ_AT_START = ("PYTHON", "OPENAI_", "AZURE_OPENAI_")


# What starts in place of a kernel of a kernelspec.
LAUNCHER = Path(__file__).with_name("kernel_launcher.py")


def can_fork(environment: dict[str, str]) -> bool:
    """Return whether a kernel with this environment can be forked: all variables but a few are read later."""
    return sys.platform == "linux" and not any(name.startswith(READ_AT_START) for name in environment)


class Fork:
    """A process that was forked."""

    def __init__(self, address: str, asked: dict[str, Any]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        self._connection.sendall(json.dumps(asked).encode() + b"\n")
        self._answers = self._connection.makefile("r")
        self.pid = int(self._answers.readline())

    def wait(self) -> int:
        """Wait until the process has ended. Return its exit code, as `subprocess` counts: negative for a signal."""
        with self._connection, self._answers:
            return int(self._answers.readline())

    def end(self) -> None:
        """Kill the process with those that it has started, and wait until it has ended."""
        self._connection.shutdown(socket.SHUT_WR)
        self.wait()


class Forks:
    """The process that kernels are forked from. It has imported these modules too, with those in the package `OWN`."""

    def __init__(self, *imported: str) -> None:
        # The name of a socket may have at most 107 bytes.
        self.folder = Path(mkdtemp(prefix="forks-"))
        self.address = str(self.folder / "s")
        environment = clean_environment(self.folder) | {
            # Numpy's library would start threads, which a fork does not copy.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            # Weave reads this when it is imported: the package sets it before it imports Weave.
            "WANDB_ERROR_REPORTING": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address, *imported],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the process that kernels are forked from has ended"

    def start(self, environment: dict[str, str], folder: Path, **asked: Any) -> Fork:
        """Start a kernel, with the `arguments` of ipykernel, or a `program`."""
        return Fork(self.address, asked | {"environment": environment, "folder": str(folder)})


@cache
def forks(*imported: str) -> Forks:
    """Return this process's one with these imports. It ends when this process does."""
    return Forks(*imported)


def own_forks(*imported: str) -> Forks:
    """Return the one that has imported the package, pandas and the modules `imported`."""
    return forks(OWN, *FRAMES, *imported)


@contextmanager
def forked_kernel(environment: dict[str, str], folder: Path, *imported: str) -> Iterator[tuple[int, str]]:
    """Start a kernel with exactly this environment, working in `folder`, and end it afterwards.

    The modules of the package are there already, with pandas, and the modules `imported`.

    Yields its process id, and the path of its connection file.
    """
    from jupyter_client.connect import write_connection_file

    with TemporaryDirectory(prefix="kernel-") as sockets:
        file, _ = write_connection_file(f"{sockets}/kernel.json", transport="ipc", ip=f"{sockets}/kernel-ipc")
        kernel = own_forks(*imported).start(environment, folder, arguments=["-f", file])
        try:
            yield kernel.pid, file
        finally:
            kernel.end()


def with_forked_kernels() -> dict[str, str]:
    """Return variables for a process, such as a Jupyter server, whose kernels `python3` are to be forked."""
    return {"JUPYTER_PATH": str(forked_kernelspec())} if sys.platform == "linux" else {}


@cache
def forked_kernelspec() -> Path:
    """Return a folder for JUPYTER_PATH: its kernel `python3` is forked from a process that has imported pandas.

    It imports the package itself.
    """
    warm = forks(*FRAMES)
    argv = [sys.executable, "-SE", str(LAUNCHER), warm.address, "-f", "{connection_file}"]
    spec = warm.folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    return warm.folder


# In the process that kernels are forked from -----------------------------------------------------------------------


class Server:
    """Forks a process for each connection, and ends it with the connection."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._ended, wakes = socket.socketpair()
        self._connections: dict[int, socket.socket] = {}
        # A process that has ended wakes the selector.
        wakes.setblocking(False)
        self._own = [self._listener, self._ended, wakes]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno())
        for one in (self._listener, self._ended, sys.stdin):
            self._selector.register(one, selectors.EVENT_READ)

    def next_one(self) -> dict[str, Any] | None:
        """Serve. Return, in each process that is forked, what was asked for, and None in this one at the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._tell_ends()
                elif key.fileobj is self._listener:
                    if asked := self._fork(self._listener.accept()[0]):
                        return asked
                elif key.data in self._connections:
                    # With the processes that it has started.
                    os.killpg(key.data, signal.SIGKILL)
                    self._selector.unregister(key.fileobj)

    def _fork(self, connection: socket.socket) -> dict[str, Any] | None:
        with connection.makefile("r") as lines:
            line = lines.readline()
        if not line.endswith("\n"):
            # A launcher that was killed before it had asked.
            connection.close()
            return None
        asked: dict[str, Any] = json.loads(line)
        if pid := os.fork():
            # The child does so too: whoever is first. The leader of a group can have no terminal.
            if "terminal" not in asked:
                with suppress(PermissionError):
                    os.setpgid(pid, pid)
            self._connections[pid] = connection
            self._selector.register(connection, selectors.EVENT_READ, pid)
            # If the launcher was killed meanwhile, the end of the connection ends the process.
            with suppress(OSError):
                connection.sendall(f"{pid}\n".encode())
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (connection, *self._own, *self._connections.values()):
            one.close()
        return asked

    def _tell_ends(self) -> None:
        """Send the exit codes of the processes that have ended."""
        for pid, connection in list(self._connections.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self._connections[pid]
            with suppress(KeyError):
                self._selector.unregister(connection)
            with suppress(OSError), connection:
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def serve(address: str, *imported: str) -> None:
    """Import, and fork processes until standard input ends."""
    for name in (*IMPORTED, *imported):
        # One that cannot be imported fails in the kernel that needs it.
        with suppress(Exception):
            import_all(import_module(name))
    if OWN in imported:
        run_once()
    # Otherwise each kernel's collector goes through all of these modules again, and copies their pages.
    gc.collect()
    gc.freeze()
    # It counts them one by one: 20 ms, in each kernel and for each map.
    gc.get_freeze_count = partial(int, gc.get_freeze_count())
    server = Server(address)
    print("ready", flush=True)
    # What kernels print does not belong to the conversation.
    os.dup2(2, 1)
    parent = os.getpid()
    asked = server.next_one()
    if asked is None:
        shutil.rmtree(Path(address).parent)
        return
    become_another(asked["environment"], asked["folder"], asked.get("terminal", os.devnull))
    if "program" in asked:
        run_program(**asked["program"])
    elif "terminal" in asked:
        run_ipython(asked["arguments"])
    else:
        run_kernel(asked["arguments"], parent)


def import_all(package: ModuleType) -> None:
    """Import all modules of the package under test. Of others, only what imports itself."""
    if package.__name__ == OWN:
        for module in walk_packages(package.__path__, f"{OWN}."):
            import_module(module.name)


def run_once() -> None:
    """Send a chat and map rows, so that each kernel has what the package creates for the first ones and keeps."""
    from service import Service

    from wandb_inference_magic.session import session

    with Service().running() as service:
        os.environ.update(service.environment)
        package = import_module(OWN)
        package.chat("hi")
        package.map_prompts(["a", "b"], "{{ text }}")
        session.end_session()
        session._session = None
    # A fork does not copy threads: none may hold a lock.
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(10)


def become_another(environment: dict[str, str], folder: str, standard_input: str) -> None:
    """Leave what this process has of the one that it was forked from."""
    # The parent may have put this process into a group of its own already.
    with suppress(PermissionError):
        os.setsid()
    os.dup2(os.open(standard_input, os.O_RDWR), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    random.seed()
    # This module's folder is not on the path of another program.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    if added := environment.get("PYTHONPATH"):
        # As the interpreter does when it starts.
        sys.path[:0] = added.split(os.pathsep)
        sys.modules.pop("sitecustomize", None)
        with suppress(ModuleNotFoundError):
            import_module("sitecustomize")


def run_kernel(arguments: list[str], parent: int) -> None:
    """Run ipykernel with these arguments."""
    # A kernel ends itself when its parent does.
    os.environ["JPY_PARENT_PID"] = str(parent)
    sys.argv[:] = ["ipykernel_launcher", *arguments]
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


def run_ipython(arguments: list[str]) -> None:
    """Run IPython with these arguments in the terminal of standard input, as `python -m IPython` does."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (1, 2):
        os.dup2(0, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1, "utf-8"), os.fdopen(2, "w", 1, "utf-8")
    # A library such as tqdm takes a process that has imported this for a kernel.
    for name in [name for name in sys.modules if name.partition(".")[0] == "ipykernel"]:
        del sys.modules[name]
    sys.argv[:] = ["ipython", *arguments]
    sys.path.insert(0, "")
    from IPython import start_ipython

    start_ipython()


def run_program(code: str, arguments: list[str], out: str, errors: str) -> None:
    """Run code as `python -c` does. A failure is written to `errors`, and ends the process with code 1."""
    os.dup2(os.open(out, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY), 2)
    sys.argv[:] = ["-c", *arguments]
    sys.path.insert(0, "")
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(code, "<string>", "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    serve(*sys.argv[1:])
