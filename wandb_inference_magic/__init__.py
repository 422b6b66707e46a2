"""Chat with the models of the W&B Inference service in a notebook cell.

`%load_ext wandb_inference_magic` registers `%%wbchat`, `%%wbmap`, `%wbmodels`, `%wbthread`, `%wbusage` and `%wbconfig`.
The same features are available from Python as `chat`, `map_prompts`, `models` and `client`. `compare_frame` compares
models. `as_prompt` defines how a value is written in a prompt, and can be extended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Before the function `client`: the first import of the package of that name sets the same attribute.
from . import client as _package  # noqa: F401
from .api import chat, client, compare_frame, map_prompts, models
from .errors import InferenceError
from .messages import Reply, render_with

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .prompts import as_prompt

__version__ = "0.1.0"

__all__ = [
    "InferenceError",
    "Reply",
    "as_prompt",
    "chat",
    "client",
    "compare_frame",
    "load_ipython_extension",
    "map_prompts",
    "models",
    "unload_ipython_extension",
]


def _bundle(reply: Reply) -> dict[str, Any]:
    # Imported when a Reply is first shown.
    from .rendering import reply_bundle

    return reply_bundle(reply)


render_with(_bundle)


def __getattr__(name: str) -> object:
    # Imported on first use, so that it does not slow down loading the extension.
    if name == "as_prompt":
        from .prompts import as_prompt

        return as_prompt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics. Called by `%load_ext wandb_inference_magic`."""
    from .magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Restore the shell as it was. Called by `%unload_ext wandb_inference_magic`."""
    from .magics import unload

    unload(shell)
