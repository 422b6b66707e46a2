"""Load the extension into a shell and unload it, leaving the shell unchanged."""

from __future__ import annotations

import gc
import getpass
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import without_forks
from ..config import WandbInference
from ..garbage import without_collections
from ..session import current_session, start_session
from . import completion, transformers as question
from .magics import InferenceMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..session import Session
    from ..widgets import ShownJob

# Modules that the first chat needs, in order of use. Importing them takes seconds on a busy machine.
NEEDED: Final = (
    "configparser",
    "wandb_inference_magic.arguments.reference",
    "wandb_inference_magic.frontend.context",
    "wandb_inference_magic.frontend.execution",
    "wandb_inference_magic.commands.chat",
    "wandb_inference_magic.session.limiter",
    "wandb_inference_magic.session.models",
    "wandb_inference_magic.messages.thread",
    "wandb_inference_magic.cassettes.slot",
    "openai",
)
# Modules that the SDK imports with its first request, what a chat with a template needs as well, and what a failed one
# needs, which may fail because no more files can be opened.
LATER: Final = ("anyio._backends._asyncio", "jinja2", "wandb_inference_magic.failures.convert")


def load(shell: InteractiveShell, execution: object) -> None:
    """Register the magics and the settings, without prompts, output or slow imports.

    Parameters
    ----------
    shell : InteractiveShell
    execution : object
        Identifies the execution of the package's module. `%reload_ext` executes it between unloading and loading, and
        keeps the session; `%unload_ext` and `%load_ext` start a new one.

    Raises
    ------
    InferenceError
        If the running cell has a prompt that ends in `?`, which IPython did not take for a prompt.
    """
    kept = current_session() if _unloaded not in (None, execution) else None
    # First: it may refuse the cell.
    question.install(shell, is_reload=kept is not None)
    session = kept or start_session(WandbInference(parent=shell), partial(_ask_secret, shell))
    session.is_interactive, session.show_job = partial(_is_interactive, shell), partial(_show_job, shell)
    session.job_origin = partial(_job_origin, shell)
    magics = InferenceMagics(shell, session)
    session.origin = magics.origin
    registered = shell.magics_manager.magics
    # Magics of the user's with our names are there again after `%unload_ext`.
    magics.replaced = {
        kind: {name: registered[kind][name] for name in names if name in registered[kind]}
        for kind, names in magics.magics.items()
    }
    shell.register_magics(magics)
    # `%config` looks here for configurable classes.
    shell.configurables.append(session.settings)  # type: ignore[arg-type,unused-ignore]
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)
    completion.install(shell, session)
    # Where no thread can be started (Pyodide), the first chat imports all that itself.
    importing = Thread(target=_import_ahead, args=(session,), name="wandb-inference-import", daemon=True)
    with suppress(RuntimeError):
        importing.start()
        session.importing = importing


# The execution of the package's module at the last `unload`.
_unloaded: object = None


def unload(shell: InteractiveShell, execution: object) -> None:
    """Remove everything that `load` added, and close what the session has opened when the cell ends.

    `execution` is as for `load`.
    """
    global _unloaded
    _unloaded = execution
    magics = shell.magics_manager.registry.pop(InferenceMagics.__name__, None)
    if not isinstance(magics, InferenceMagics):
        return
    for kind, names in magics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
        shell.magics_manager.magics[kind].update(magics.replaced[kind])
    mine = {id(magics), id(current_session().settings)}
    shell.configurables[:] = [one for one in shell.configurables if id(one) not in mine]
    shell.events.unregister("pre_run_cell", magics.before_cell)
    shell.events.unregister("post_run_cell", magics.after_cell)
    question.uninstall(shell)
    completion.uninstall(shell)
    _close_after_cell(shell, magics.session)


def _close_after_cell(shell: InteractiveShell, session: Session) -> None:
    """Close a session at the end of the cell, unless the extension was loaded again: `%reload_ext` closes nothing.

    `%unload_ext` and `%load_ext` in one cell start a new session, which has closed this one.
    """

    def close(*_: object) -> None:
        shell.events.unregister("post_run_cell", close)
        if InferenceMagics.__name__ not in shell.magics_manager.registry:
            session.close()

    shell.events.register("post_run_cell", close)


def _import_ahead(session: Session) -> None:
    """Import and create what the first chat needs while the user is still reading. The chat reports any failure."""
    try:
        with without_forks(), without_collections():
            for name in NEEDED:
                importlib.import_module(name)
            from ..client import certificates
            from ..markup import sanitize_markdown

            # The first call creates the parsers.
            sanitize_markdown("**ready**")
        later: list[Callable[[], object]] = [partial(importlib.import_module, name) for name in LATER]
        # Last, a collection: it is due, and would delay the first chat.
        for prepare in (*later, certificates, gc.collect):
            # A command that begins waits for this, and has what it needs.
            if session.is_used:
                return
            with without_forks():
                prepare()
    except Exception:  # noqa: BLE001 - the chat that needs it tries again and says what is wrong
        return


def _is_interactive(shell: InteractiveShell) -> bool:
    from ..frontend import ExecutionInfo, is_notebook
    from ..text import is_terminal

    return ExecutionInfo.running(shell).is_interactive if is_notebook(shell) else is_terminal(sys.stdin)


def _job_origin(shell: InteractiveShell) -> dict[str, Any]:
    """Return where a job is started, as far as that is known."""
    from ..frontend import ExecutionInfo

    # Jupyter's server sets this to the notebook's file. With its folder: a copy in another one has the same cell ids.
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    cell = ExecutionInfo.running(shell).id or ""
    return {"notebook": notebook, "cell": cell, "execution": str(shell.execution_count)}


def _show_job(shell: InteractiveShell, job: ShownJob) -> None:
    from ..widgets import show_job

    show_job(shell, job)


def _ask_secret(shell: InteractiveShell, asking: str) -> str | None:
    """Prompt for a secret without showing it. Return None if the shell is not interactive."""
    from ..frontend import is_notebook
    from ..text import is_terminal

    if not is_notebook(shell) and not is_terminal(sys.stdin):
        return None
    try:
        # In a kernel, ipykernel replaces getpass with its own function, which shows a masked field in the front end.
        return getpass.getpass(asking)
    except (RuntimeError, EOFError):
        # IPython's StdinNotImplementedError is a RuntimeError, and other kernels raise that.
        return None
