"""Loading into a shell and leaving it as it was."""

from __future__ import annotations

import getpass
import importlib
import sys
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Final

from IPython.core.error import StdinNotImplementedError

from ..config import WandbInference
from ..session import current_session, end_session, start_session
from . import completion, transformers as question
from .magics import InferenceMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# What the first chat needs, in the order in which it does; importing it takes seconds on a busy machine.
NEEDED: Final = ("configparser", "wandb_inference_magic.commands.chat", "wandb_inference_magic.frontend.context")
# What a chat with a template needs besides.
LATER: Final = ("jinja2",)


def load(shell: InteractiveShell) -> None:
    """Register the magics and the settings; ask nothing, print nothing, import nothing heavy."""
    settings = WandbInference(parent=shell)
    session = start_session(settings, partial(_ask_secret, shell))
    magics = InferenceMagics(shell, session)
    shell.register_magics(magics)
    # Here `%config` looks for classes it can set.
    shell.configurables.append(settings)  # type: ignore[arg-type,unused-ignore]
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)
    question.install(shell)
    completion.install(shell, session)
    Thread(target=_import_ahead, name="wandb-inference-import", daemon=True).start()


def unload(shell: InteractiveShell) -> None:
    """Take away all that `load` added, and close the client."""
    magics = shell.magics_manager.registry.pop(InferenceMagics.__name__, None)
    if not isinstance(magics, InferenceMagics):
        return
    for kind, names in magics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    mine = {id(magics), id(current_session().settings)}
    shell.configurables[:] = [one for one in shell.configurables if id(one) not in mine]
    shell.events.unregister("pre_run_cell", magics.before_cell)
    shell.events.unregister("post_run_cell", magics.after_cell)
    question.uninstall(shell)
    completion.uninstall(shell)
    end_session()


def _import_ahead() -> None:
    """Import and make what the first chat needs while the user still reads; a failure is told when it is needed."""
    try:
        for name in NEEDED:
            importlib.import_module(name)
        from ..client import certificates
        from ..markup import sanitize_markdown

        certificates()
        # The first text makes the parsers.
        sanitize_markdown("**ready**")
        for name in LATER:
            importlib.import_module(name)
    except Exception:  # noqa: BLE001 - the chat that needs it tries again and says what is wrong
        return


def _ask_secret(shell: InteractiveShell, asking: str) -> str | None:
    """Ask for a secret without showing it; None where nobody can answer."""
    from ..frontend import is_notebook

    if not is_notebook(shell) and not sys.stdin.isatty():
        return None
    try:
        # In a kernel ipykernel has put its own in the place of getpass: a masked field in the front end.
        return getpass.getpass(asking)
    except (StdinNotImplementedError, EOFError):
        return None
