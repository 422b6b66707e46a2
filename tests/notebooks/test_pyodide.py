"""Pyodide under Node: Python in WebAssembly, with one thread and no sockets, as JupyterLite runs it in a browser."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from environments import clean_environment
from kernels import plain, running_kernel
from service import MODEL, Answer, Endless, Service, Streamed, calling, completion

# One Pyodide for all of them: starting it, and importing there, takes most of the time.
pytestmark = [pytest.mark.xdist_group("pyodide"), pytest.mark.timeout(900)]

ROOT = Path(__file__).parent.parent.parent
PYODIDE = "pyodide@314.0.7"
# What has a compiled part must fit Pyodide; openai 3 needs httpx2-jsfetch there, of which PyPI has an empty one.
PINS = ("openai==2.54.*", "httpx==0.28.*", "pydantic==2.14.4", "jiter==0.19.0", "ipython==9.*")
# The second platform is for MarkupSafe, which has no wheel for Pyodide. Without its compiled part it works as well.
PLATFORMS = ("pyemscripten_2026_0_wasm32", "manylinux2014_x86_64")

LOAD = "%load_ext wandb_inference_magic"
UNLOAD = "%unload_ext wandb_inference_magic"
CASSETTE = "%wbconfig --cassette class.jsonl --mode"
CHAT = "%wbchat Hello there!"
ROWS = "rows = [{'city': 'Rome'}, {'city': 'Oslo'}]"
MAP = "%%wbmap rows -o out\nWhere is {{ city }}?"
NOT_RECORDED = "%wbchat Nobody recorded this"
UNDEFINED = "%wbchat {{ nothing }}"
NO_STACK_SWITCHING = "%wbchat --once Can you wait?"
NO_SOCKETS = "%wbchat --once Is there a network?"
LIVE = "%wbchat --once Are you there?"
TEXTS = "texts = ['Lima', 'Quito', 'Lima']"
MAP_TEXTS = "%%wbmap texts -o answers\nIs it {{ text }}?"
TOOL = "async def weather(city: str):\n    'The weather.'\n    return 'sun'"
USE_TOOL = "%wbchat --tools weather --once How is Oslo?"
TAB = (
    "from IPython.core.completer import provisionalcompleter\n"
    "with provisionalcompleter():\n"
    "    print([one.text for one in get_ipython().Completer.completions('%wbchat -m test/', 16)])"
)
INTERRUPTED = "%wbchat Tell me everything"
AFTERWARDS = "%wbchat And now?"

RECORDED = (LOAD, f"{CASSETTE} record", CHAT, ROWS, MAP)
# As pyodide_run.mjs reads them.
STEPS: tuple[dict[str, Any], ...] = (
    {"cell": LOAD},
    {"cell": f"{CASSETTE} replay"},
    {"cell": CHAT},
    {"cell": "print(_wbreply.text)"},
    {"cell": ROWS},
    {"cell": MAP},
    {"cell": "print(out)"},
    {"cell": NOT_RECORDED},
    {"cell": UNDEFINED},
    {"cell": NO_STACK_SWITCHING, "waits": False},
    {"cell": f"{CASSETTE} off"},
    {"cell": NO_SOCKETS},
    {"sockets": True},
    {"cell": LIVE},
    {"cell": TEXTS},
    {"cell": MAP_TEXTS},
    {"cell": "print(answers)"},
    {"cell": TOOL},
    {"cell": USE_TOOL},
    {"cell": TAB},
    {"cell": INTERRUPTED, "interrupt_at": "Half an answer"},
    {"cell": "_wbreply.text, _wbreply.incomplete"},
    {"cell": AFTERWARDS},
    {"cell": UNLOAD},
)


@dataclass
class Ran:
    """A cell that was run in Pyodide: whether it succeeded, what it printed, and how many threads there were."""

    ok: bool
    shown: str
    threads: int


def answer(one: Answer) -> None:
    body = one.received.body
    prompt = body["messages"][-1]["content"]
    if "everything" in prompt:
        Endless("Half an answer")(one)
    elif body.get("tools") and body["messages"][-1]["role"] == "user":
        calling(("weather", '{"city": "Oslo"}'))(one)
    elif body.get("stream"):
        Streamed(["You said: ", prompt])(one)
    else:
        completion(f"You said: {prompt}")(one)


def done(*command: str | Path, **how: Any) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600, **how)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def node() -> str:
    """Node 20 or newer: `run_sync` needs what older ones do not have."""
    found = shutil.which("node") and shutil.which("npm") and shutil.which("node")
    if not found and not os.environ.get("CI"):
        pytest.skip("Node is not installed")
    assert found, "This test needs Node and npm."
    return found


@pytest.fixture(scope="module")
def pyodide(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    done("npm", "install", "--no-save", "--prefer-offline", "--prefix", folder, PYODIDE)
    return folder / "node_modules" / "pyodide"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this package and what it declares, for Pyodide's Python. pip's and uv's caches keep the wheels."""
    folder = tmp_path_factory.mktemp("packages")
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "This test needs uv: pip install uv"
    (folder / "pins.in").write_text("\n".join(PINS))
    # uv looks up what is needed on Emscripten; only pip takes the wheels for it.
    python = ("--python-version", "3.14")
    compiled = ("--quiet", "--no-annotate", "--no-header", "--python-platform", "wasm32-pyodide2025", *python)
    done(uv, "pip", "compile", *compiled, "-o", folder / "pins.txt", folder / "pins.in", ROOT / "pyproject.toml")
    site = folder / "site"
    wheels = ("--no-deps", "--only-binary=:all:", "--no-compile", "--implementation", "cp", *python)
    platforms = [f"--platform={name}" for name in PLATFORMS]
    done(uv, "tool", "run", "pip", "install", *wheels, *platforms, "--target", site, "-r", folder / "pins.txt")
    own = ("--no-deps", "--offline", "--no-build-isolation", "--python", sys.executable)
    done(uv, "pip", "install", *own, "--target", site, ROOT)
    return site


@pytest.fixture(scope="module")
def all_ran(node: str, pyodide: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """What each cell of STEPS has shown in Pyodide. An ordinary kernel records just before what is replayed there."""
    work = tmp_path_factory.mktemp("work")
    with Service().running() as service:
        service.always = answer
        variables = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": MODEL}
        with running_kernel(clean_environment(work) | variables, work) as kernel:
            assert [cell for cell in RECORDED if not kernel.run(cell).ok] == []
        lines = done(
            node,
            "--experimental-wasm-stack-switching",
            ROOT / "tests" / "support" / "pyodide_run.mjs",
            *(pyodide, packages, work),
            input=json.dumps({"variables": variables, "steps": STEPS}),
        ).splitlines()
        service.assert_well()
    cells = [step["cell"] for step in STEPS if "cell" in step]
    return {cell: Ran(*json.loads(line)) for cell, line in zip(cells, lines, strict=True)}


@pytest.fixture
def ran(all_ran: dict[str, Ran]) -> Callable[[str], str]:
    """Return what a cell has shown that succeeded."""

    def shown(cell: str) -> str:
        found = all_ran[cell]
        assert found.ok, found.shown
        return found.shown

    return shown


@pytest.fixture
def failed(all_ran: dict[str, Ran]) -> Callable[[str], list[str]]:
    """Return the lines that a cell has shown that failed."""

    def shown(cell: str) -> list[str]:
        found = all_ran[cell]
        assert not found.ok, found.shown
        return plain(found.shown).splitlines()

    return shown


def test_it_loads_and_unloads_silently(ran: Callable[[str], str]) -> None:
    assert ran(LOAD) == ran(UNLOAD) == ""


def test_no_thread_is_started_and_no_traceback_shown(all_ran: dict[str, Ran]) -> None:
    assert {one.threads for one in all_ran.values()} == {1}
    for cell, one in all_ran.items():
        assert "start new thread" not in one.shown, cell
        assert "Traceback" not in one.shown, cell


def test_a_chat_is_replayed(ran: Callable[[str], str]) -> None:
    assert ran(CHAT).startswith("You said: Hello there!\n[test/model-a · 12 + 3 tokens · ")
    assert " · replayed · " in ran(CHAT)
    assert ran("print(_wbreply.text)") == "You said: Hello there!\n"


def test_a_map_is_replayed_into_a_list_where_there_is_no_pandas(ran: Callable[[str], str]) -> None:
    assert "2 of 2 rows answered, in out · 2 replayed · " in ran(MAP)
    assert ast.literal_eval(ran("print(out)")) == [
        {"city": "Rome", "reply": "You said: Where is Rome?"},
        {"city": "Oslo", "reply": "You said: Where is Oslo?"},
    ]


def test_errors_are_short(failed: Callable[[str], list[str]]) -> None:
    for cell, what in {
        NOT_RECORDED: "The cassette class.jsonl does not hold this request. Nothing was sent.",
        UNDEFINED: "Line 1 of the prompt: 'nothing' is undefined. Nothing was sent.",
        NO_STACK_SWITCHING: "This browser cannot wait for a reply in a cell; nothing was sent.",
    }.items():
        assert failed(cell)[0] == what
        assert len(failed(cell)) <= 3
        assert failed(cell)[-1].startswith("What to do: ")


def test_an_http_library_without_fetch_is_reported(failed: Callable[[str], list[str]]) -> None:
    what, why, remedy = failed(NO_SOCKETS)
    assert what.endswith("could not be reached or the connection broke.")
    assert "its HTTP library opens sockets" in why
    assert "tried" not in why
    assert "Pyodide's own distribution" in remedy


# With Node's sockets in the place of the browser's fetch.


def test_a_chat_streams(ran: Callable[[str], str]) -> None:
    assert ran(LIVE).startswith("You said: Are you there?\n[test/model-a · 12 + 3 tokens · ")


def test_texts_are_mapped(ran: Callable[[str], str]) -> None:
    assert "3 of 3 rows answered, in answers · " in ran(MAP_TEXTS)
    cities = [text["text"] for text in ast.literal_eval(ran("print(answers)"))]
    assert cities == ["Lima", "Quito", "Lima"]


def test_an_async_tool_is_called(ran: Callable[[str], str]) -> None:
    assert "- `weather(city='Oslo')` → `sun`\nYou said: sun\n" in ran(USE_TOOL)


def test_tab_fetches_no_models(ran: Callable[[str], str]) -> None:
    assert ran(TAB) == "[]\n"


def test_an_interrupt_keeps_the_partial_reply(ran: Callable[[str], str], failed: Callable[[str], list[str]]) -> None:
    assert failed(INTERRUPTED)[-1] == "Interrupted. The partial reply is in _wbreply; the thread is unchanged."
    assert "('Half an answer', 'interrupted')" in ran("_wbreply.text, _wbreply.incomplete")
    assert " · turn 2 · 2 earlier messages]" in ran(AFTERWARDS)
