"""Loading and unloading, in a real kernel: nothing is shown, nothing heavy is imported, nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kernels import Kernel
from service import Wandb

STATE = """
import sys
shell = get_ipython()
def state():
    return {
        "line": sorted(shell.magics_manager.magics["line"]),
        "cell": sorted(shell.magics_manager.magics["cell"]),
        "configurables": sorted(type(one).__name__ for one in shell.configurables),
        "events": {name: len(found) for name, found in shell.events.callbacks.items()},
        "tokens": [one.__name__ for one in shell.input_transformer_manager.token_transformers],
        "cleanup": len(shell.input_transformers_cleanup) + len(shell.input_transformers_post),
        "hooks": [shell.custom_exceptions, str(sys.excepthook), str(shell.showtraceback)],
        "formatters": sorted(str(one) for one in shell.display_formatter.formatters["text/plain"].type_printers),
    }
before = state()
"""


def test_loading_shows_nothing_needs_no_network_and_no_key(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(**wandb.environment)
    loaded = kernel.run("%load_ext wandb_inference_magic")
    assert loaded.ok
    assert loaded.messages == []
    assert wandb.connected_to == []
    assert kernel.run("%reload_ext wandb_inference_magic").messages == []


def test_loading_imports_nothing_heavy_on_the_calling_thread(start_kernel: Callable[..., Kernel]) -> None:
    run = start_kernel().run(
        """
import builtins, sys, threading
heavy, real = [], builtins.__import__
def watching(name, *args, **kwargs):
    if threading.current_thread() is threading.main_thread() and name.split(".")[0] in (
        "openai", "ipywidgets", "pandas", "jinja2", "markdown_it", "xllamacpp", "httpx", "httpx2", "pydantic"):
        heavy.append(name)
    return real(name, *args, **kwargs)
builtins.__import__ = watching
try:
    get_ipython().run_line_magic("load_ext", "wandb_inference_magic")
finally:
    builtins.__import__ = real
print(heavy)
"""
    )
    assert run.text == "[]\n"


def test_unloading_leaves_the_shell_as_it_was(kernel: Kernel) -> None:
    assert kernel.run("%unload_ext wandb_inference_magic").messages == []
    kernel.run(STATE)
    assert kernel.run("%load_ext wandb_inference_magic").messages == []
    assert kernel.value("state() != before") is True
    assert kernel.value("sorted(set(state()['line']) - set(before['line']))") == [
        "wbchat",
        "wbconfig",
        "wbmodels",
        "wbthread",
        "wbusage",
    ]
    kernel.run("%wbchat hi\n%wbmodels --table")
    assert kernel.run("%unload_ext wandb_inference_magic").messages == []
    # In a cell, as before: IPython sets hooks of its own while one runs.
    kernel.run("after = state()")
    assert kernel.value("{name: (after[name], before[name]) for name in before if after[name] != before[name]}") == {}
    assert not kernel.run("%%wbchat\nhi").ok


def test_unloading_closes_the_client(kernel: Kernel) -> None:
    kernel.run("from wandb_inference_magic import client\nmine = client()")
    assert kernel.value("mine.is_closed()") is False
    kernel.run("%unload_ext wandb_inference_magic")
    assert kernel.value("mine.is_closed()") is True


def test_an_import_that_fails_ahead_is_silent_until_it_is_needed(
    start_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    for name in ("httpx", "httpx2"):
        (tmp_path / "broken" / f"{name}.py").write_text(f"raise ImportError('half installed', name='{name}')\n")
    kernel = start_kernel(
        PYTHONPATH=str(tmp_path / "broken"),
        WANDB_INFERENCE_BASE_URL="http://127.0.0.1:9/v1",
        WANDB_INFERENCE_MODEL="m",
    )
    assert kernel.run("%load_ext wandb_inference_magic").messages == []
    assert kernel.run("1 + 1").ok
    failed = kernel.run("%wbchat hi")
    assert not failed.ok
    assert "The package httpx2 cannot be imported" in failed.error
    assert "Traceback" not in failed.error
