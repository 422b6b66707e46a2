"""Loading and unloading in a real kernel: nothing is shown, nothing heavy is imported, nothing is left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kernels import Kernel
from service import Service, Wandb

STATE = """
import sys, threading, warnings
shell = get_ipython()
def printers():
    formatters = {"mimebundle": shell.display_formatter.mimebundle_formatter, **shell.display_formatter.formatters}
    return {
        name: (one.enabled, *(sorted(map(str, printers.items())) for printers in (
            one.singleton_printers, one.type_printers, one.deferred_printers)))
        for name, one in formatters.items()
    }
def state():
    return {
        "line": sorted(shell.magics_manager.magics["line"]),
        "cell": sorted(shell.magics_manager.magics["cell"]),
        "configurables": sorted(type(one).__name__ for one in shell.configurables),
        "events": {name: len(found) for name, found in shell.events.callbacks.items()},
        "tokens": [one.__name__ for one in shell.input_transformer_manager.token_transformers],
        "cleanup": [*map(str, shell.input_transformers_cleanup), *map(str, shell.input_transformers_post)],
        "hooks": [shell.custom_exceptions, *map(str, (
            sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook,
            shell.showtraceback, shell._showtraceback, shell.CustomTB))],
        "formatters": printers(),
        "active": list(shell.display_formatter.active_types),
        "warnings": [str(one) for one in warnings.filters],
    }
before = state()
"""


@pytest.mark.short
def test_loading_shows_nothing_and_needs_neither_network_nor_key(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    kernel = start_kernel(**wandb.environment)
    threads = kernel.threads()
    loaded = kernel.run("%load_ext wandb_inference_magic")
    assert loaded.ok
    assert loaded.messages == []
    # What it starts in the background sends no request either.
    kernel.join_threads_since(threads)
    assert wandb.connected_to == []
    assert kernel.run("%reload_ext wandb_inference_magic").messages == []


def test_loading_imports_nothing_heavy_on_the_calling_thread(start_kernel: Callable[..., Kernel]) -> None:
    run = start_kernel().run(
        """
import builtins, sys, threading
heavy, real = [], builtins.__import__
def watching(name, *args, **kwargs):
    if threading.current_thread() is threading.main_thread() and name.split(".")[0] in (
        "anywidget", "openai", "ipywidgets", "pandas", "jinja2", "markdown_it", "xllamacpp", "httpx", "httpx2",
        "pydantic"):
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


def test_loading_imports_no_package_that_only_a_call_needs() -> None:
    code = "import sys, wandb_inference_magic.magics.extension\nprint(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    packages = {name.split(".")[1] for name in loaded if name.startswith("wandb_inference_magic.")}
    assert "magics" in packages
    for_calls = "arguments batch cassettes commands engine frontend markup prompts rendering schemas"
    assert packages.isdisjoint(for_calls.split())
    assert "wandb_inference_magic.messages.reply" not in loaded


@pytest.mark.short
def test_unloading_leaves_the_shell_as_it_was(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(**service.environment)
    # IPython creates the object behind one of its own magics at first use: those of the magics below.
    kernel.run("%unload_ext nothing\nlen?\n%time 1")
    kernel.run(STATE)
    threads = kernel.threads()
    # Nothing of a load that was refused is left either.
    for line in ("%wbchat Why so?", "x = %wbchat Why so?", "wbchat Why so?"):
        for cell in ("%load_ext wandb_inference_magic\n{}", "%%time\n%load_ext wandb_inference_magic\nif 1:\n  {}"):
            refused = kernel.run(cell.format(line))
            assert "A prompt that ends in ? is in the cell that loads the extension." in refused.error, line
    assert service.chats == []
    assert kernel.run("%load_ext wandb_inference_magic\nlen?\n# Why so?").ok
    kernel.run("%unload_ext wandb_inference_magic")
    assert kernel.run("%load_ext wandb_inference_magic").messages == []
    kernel.join_threads_since(threads)
    # In a cell, as before: IPython sets its own hooks while a cell runs.
    kernel.run("loaded = state()")
    new = "sorted(set(loaded[{0!r}]) - set(before[{0!r}]))"
    assert kernel.value(new.format("line")) == ["wbchat", "wbconfig", "wbjobs", "wbmodels", "wbthread", "wbusage"]
    assert kernel.value(new.format("cell")) == ["wbchat", "wbeval", "wbmap"]
    # Apart from its magics and settings it has only added itself to the lists that IPython has for that.
    assert kernel.value("sorted(name for name in before if loaded[name] != before[name])") == [
        "cell",
        "cleanup",
        "configurables",
        "events",
        "line",
        "tokens",
    ]
    kernel.run("%wbchat hi\n%wbmodels --table")
    assert kernel.run("%unload_ext wandb_inference_magic").messages == []
    kernel.run("after = state()")
    assert kernel.value("{name: (after[name], before[name]) for name in before if after[name] != before[name]}") == {}
    assert not kernel.run("%%wbchat\nhi").ok


def test_magics_of_the_user_with_the_same_names_are_there_again_after_unloading(kernel: Kernel) -> None:
    kernel.run(
        "%unload_ext wandb_inference_magic\n"
        "from IPython.core.magic import register_cell_magic, register_line_magic\n"
        "register_line_magic('wbusage')(lambda line: print('mine'))\n"
        "register_cell_magic('wbmap')(lambda line, cell: print('mine too'))"
    )
    assert kernel.run("%load_ext wandb_inference_magic\n%wbusage").text != "mine"
    assert kernel.run("%reload_ext wandb_inference_magic\n%wbusage").text != "mine"
    kernel.run("%unload_ext wandb_inference_magic")
    assert kernel.run("%wbusage").text.strip() == "mine"
    assert kernel.run("%%wbmap\nx").text.strip() == "mine too"


def test_unloading_closes_the_client(kernel: Kernel) -> None:
    kernel.run("from wandb_inference_magic import client\nmine = client()")
    assert kernel.value("mine.is_closed()") is False
    kernel.run("%unload_ext wandb_inference_magic")
    assert kernel.value("mine.is_closed()") is True


def test_reloading_closes_nothing(kernel: Kernel) -> None:
    kernel.run("from wandb_inference_magic import client\nmine = client()\n%wbchat hi")
    threads = kernel.value("[one.name for one in __import__('threading').enumerate() if 'wandb' in one.name]")
    kernel.run("%reload_ext wandb_inference_magic")
    assert kernel.value("mine.is_closed()") is False
    assert threads == kernel.value("[one.name for one in __import__('threading').enumerate() if 'wandb' in one.name]")
    kernel.run("%unload_ext wandb_inference_magic\nis_closed_in_the_cell = mine.is_closed()")
    assert kernel.value("(is_closed_in_the_cell, mine.is_closed())") == (False, True)


def test_a_failing_import_is_silent_until_it_is_needed(start_kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for name in ("httpx", "httpx2"):
        (installed / f"{name}.py").write_text(f"raise ImportError('half installed', name='{name}')\n")
    kernel = start_kernel(
        PYTHONPATH=str(installed),
        WANDB_INFERENCE_BASE_URL="http://127.0.0.1:9/v1",
        WANDB_INFERENCE_MODEL="m",
    )
    assert kernel.run("%load_ext wandb_inference_magic").messages == []
    assert kernel.run("1 + 1").ok
    failed = kernel.run("%wbchat hi")
    assert not failed.ok
    assert "The package httpx2 cannot be imported" in failed.error
    assert "Traceback" not in failed.error


def test_reloading_keeps_the_session(kernel: Kernel, service: Service) -> None:
    kernel.run("%config WandbInference.max_retries = 7\n%wbchat --thread talk Before")
    assert kernel.run("%reload_ext wandb_inference_magic").messages == []
    assert kernel.run("%wbchat --thread talk And now").ok
    assert [one["content"] for one in service.last.body["messages"]] == ["Before", "Hello there.", "And now"]
    assert re.search(r"max_retries +7 +set in this session", kernel.run("%wbconfig").text)
    assert re.search(r"\b2\b", kernel.run("%wbusage").text)
    # The cell was read with the extension, so a final ? is text.
    assert kernel.run("%%time\n%reload_ext wandb_inference_magic\n%wbchat --once Why so?").ok
    # Unloading and loading starts a new session.
    assert kernel.run("%unload_ext wandb_inference_magic\n%load_ext wandb_inference_magic\n%wbchat --once So?").ok
    assert service.last.body["messages"][-1]["content"] == "So?"
    kernel.run("%wbchat --thread talk And now")
    assert [one["content"] for one in service.last.body["messages"]] == ["And now"]


def test_loading_keeps_what_python_code_has_begun(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(**service.environment)
    assert kernel.run("from wandb_inference_magic import chat\nchat('Before', thread='talk')").ok
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.max_retries = 7")
    assert kernel.run("%wbchat --thread talk And now").ok
    assert [one["content"] for one in service.last.body["messages"]] == ["Before", "Hello there.", "And now"]
    assert re.search(r"max_retries +7 +set in this session", kernel.run("%wbconfig").text)
    assert re.search(r"\b2\b", kernel.run("%wbusage").text)


def test_reloading_keeps_a_typed_key(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    request = kernel.start("%wbconfig --key", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=60)
    kernel.client.input("typed-key-0123456789")
    assert kernel.finish(request).ok
    kernel.run("%reload_ext wandb_inference_magic")
    assert kernel.run("%wbchat hi").ok
    assert service.last.headers["authorization"] == "Bearer typed-key-0123456789"


@pytest.mark.parametrize("before", ["%load_ext rich", "%colors NoColor"])
def test_an_error_is_one_message_where_the_shell_shows_errors_in_another_way(kernel: Kernel, before: str) -> None:
    """Of rich's own form, only the frames of the cell and of IPython are not ours. Without colours, none are sent."""
    kernel.run(before)
    shown = str(kernel.run("%wbchat {{ nothing }}").messages)
    assert "is undefined" in shown
    assert not re.search(r"(chat|template|jinja|spec)\.py", shown)
    assert "\\x1b[1m" not in shown or "rich" in before
