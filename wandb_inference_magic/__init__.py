"""Chat with the models of the W&B Inference service in a notebook cell.

`%load_ext wandb_inference_magic` registers `%%wbchat`, `%%wbmap`, `%%wbeval`, `%wbmodels`, `%wbthread`, `%wbjobs`,
`%wbusage` and `%wbconfig`.
The same features are available from Python as `chat`, `map_prompts`, `evaluate`, `models` and `client`.
`as_prompt` defines how a value is written in a prompt, and can be extended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Imported before the function of that name: a later import of the package would take its place.
from . import client as _client  # noqa: F401
from .api import chat, client, evaluate, map_prompts, models
from .errors import InferenceError, InferenceWarning
from .imports import lazy_exports
from .messages import display

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .messages import Reply
    from .prompts import as_prompt

__version__ = "0.1.0"

# A new object each time that this module is executed: `%reload_ext` does that between unloading and loading.
_execution = object()

__all__ = [
    "InferenceError",
    "InferenceWarning",
    "Reply",
    "as_prompt",
    "chat",
    "client",
    "evaluate",
    "load_ipython_extension",
    "map_prompts",
    "models",
    "unload_ipython_extension",
]

# Imported on first use, so that they do not slow down loading the extension.
__getattr__ = lazy_exports(__name__)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _bundle(reply: Reply) -> dict[str, Any]:
    # Imported when a Reply is first shown.
    from .rendering import reply_bundle

    # An answer with a schema as its own cell shows it.
    return reply_bundle(reply, "markdown" if reply.parsed is None else "json")


display.renderer = _bundle


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics. Called by `%load_ext wandb_inference_magic`."""
    from .magics.extension import load

    load(shell, _execution)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Restore the shell as it was. Called by `%unload_ext wandb_inference_magic`."""
    from .magics.extension import unload

    unload(shell, _execution)
