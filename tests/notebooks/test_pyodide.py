"""JupyterLite's kernel in Pyodide under Node: Python in WebAssembly with one thread and no sockets, as in a browser."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environments import clean_environment
from kernels import Message, Run, running_kernel
from service import MODEL, Answer, Endless, Service, Streamed, calling, completion

# One Pyodide for all of them: starting it, and importing there, takes most of the time.
pytestmark = [pytest.mark.xdist_group("pyodide"), pytest.mark.timeout(900)]

ROOT = Path(__file__).parent.parent.parent
PYODIDE = "pyodide@314.0.7"
# What has a compiled part must fit Pyodide; openai 3 needs httpx2-jsfetch there, of which PyPI has an empty one.
PINS = ("openai==2.54.*", "httpx==0.28.*", "pydantic==2.14.4", "jiter==0.19.0", "ipython==9.*")
# The wheel of JupyterLite's kernel is in the wheel of its front-end part.
KERNEL = "jupyterlite-pyodide-kernel==0.8.*"
# The second platform is for MarkupSafe, which has no wheel for Pyodide. Without its compiled part it works as well.
PLATFORMS = ("pyemscripten_2026_0_wasm32", "manylinux2014_x86_64")

LOAD = "%load_ext wandb_inference_magic"
UNLOAD = "%unload_ext wandb_inference_magic"
CASSETTE = "%wbconfig --cassette class.jsonl --mode"
CHAT = "%wbchat Hello there!"
ROWS = "rows = [{'city': 'Rome'}, {'city': 'Oslo'}]"
MAP = "%%wbmap rows -o out\nWhere is {{ city }}?"
NOT_RECORDED = "%wbchat This is not recorded"
UNDEFINED = "%wbchat {{ nothing }}"
NO_STACK_SWITCHING = "%wbchat --once Can you wait?"
NO_SOCKETS = "%wbchat --once Is there a network?"
LIVE = "%wbchat --once Are you there?"
TEXTS = "texts = ['Lima', 'Quito', 'Lima']"
MAP_TEXTS = "%%wbmap texts -o answers\nIs it {{ text }}?"
JOB = "%%wbmap texts --bg -o later\nWas it {{ text }}?"
TOOL = "async def weather(city: str):\n    'The weather.'\n    return 'sun'"
USE_TOOL = "%wbchat --tools weather --once How is Oslo?"
TAB = "get_ipython().kernel.complete('%wbchat -m test/', 16)['matches']"
KEY = "%wbconfig --key"
PICK = "%wbmodels"
COMPARE = "%wbchat --once -m test/model-a -m test/model-b Who are you?"
INTERRUPTED = "%wbchat Tell me everything"
AFTERWARDS = "%wbchat And now?"
EDITED = "%wbchat And then?"

RECORDED = (LOAD, f"{CASSETTE} record", CHAT, ROWS, MAP)
# As pyodide_run.mjs reads them.
STEPS: tuple[dict[str, Any], ...] = (
    {"cell": LOAD},
    {"cell": f"{CASSETTE} replay"},
    {"cell": CHAT},
    {"cell": "_wbreply.text"},
    {"cell": ROWS},
    {"cell": MAP},
    {"cell": "out"},
    {"cell": NOT_RECORDED},
    {"cell": UNDEFINED},
    {"cell": NO_STACK_SWITCHING, "waits": False},
    {"cell": f"{CASSETTE} off"},
    {"cell": NO_SOCKETS},
    {"sockets": True},
    {"cell": KEY},
    {"cell": LIVE},
    {"cell": TEXTS},
    {"cell": MAP_TEXTS},
    {"cell": "answers"},
    {"cell": JOB},
    {"cell": "later.wait()"},
    {"cell": TOOL},
    {"cell": USE_TOOL},
    {"cell": TAB},
    {"cell": PICK},
    {"cell": COMPARE},
    {"cell": INTERRUPTED, "interrupt_at": "Half an answer"},
    {"cell": "_wbreply.text, _wbreply.incomplete"},
    {"cell": AFTERWARDS, "id": "the last"},
    {"cell": EDITED, "id": "the last"},
    {"cell": UNLOAD},
)


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
    found, npm = shutil.which("node"), shutil.which("npm")
    if (not found or not npm) and not os.environ.get("CI"):
        pytest.skip("Node or npm is not installed.")
    assert found, "This test needs Node."
    assert npm, "This test needs npm."
    version = done(found, "--version").strip()
    assert int(version.removeprefix("v").partition(".")[0]) >= 20, f"This test needs Node 20 or newer, not {version}."
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
    done(uv, "pip", "install", "--no-deps", "--python", sys.executable, "--target", folder / "lite", KERNEL)
    (kernel,) = (folder / "lite").rglob("pyodide_kernel-*.whl")
    shutil.unpack_archive(kernel, site, "zip")
    own = ("--no-deps", "--offline", "--no-build-isolation", "--python", sys.executable)
    done(uv, "pip", "install", *own, "--target", site, ROOT)
    return site


@pytest.fixture(scope="module")
def lines(
    node: str, pyodide: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What each cell of STEPS has sent in Pyodide. An ordinary kernel records just before what is replayed there."""
    work = tmp_path_factory.mktemp("work")
    with Service().running() as service:
        service.always = answer
        variables = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": MODEL}
        with running_kernel(clean_environment(work) | variables, work) as kernel:
            assert [cell for cell in RECORDED if not kernel.run(cell).ok] == []
        printed = done(
            node,
            "--experimental-wasm-stack-switching",
            ROOT / "tests" / "support" / "pyodide_run.mjs",
            *(pyodide, packages, work),
            input=json.dumps({"variables": variables, "steps": STEPS}),
        )
        service.assert_no_failures()
    cells = [step["cell"] for step in STEPS if "cell" in step]
    return {cell: json.loads(line) for cell, line in zip(cells, printed.splitlines(), strict=True)}


@pytest.fixture
def runs(lines: dict[str, dict[str, Any]]) -> dict[str, Run]:
    """The run of each cell of STEPS, as of one in an ordinary kernel."""
    return {
        cell: Run([Message(one["type"], one["content"], 0.0, 0) for one in line["messages"]], line["reply"])
        for cell, line in lines.items()
    }


@pytest.fixture
def shown(runs: dict[str, Run]) -> Callable[[str], str]:
    """Return what a cell shows in the end that succeeded."""

    def of(cell: str) -> str:
        run = runs[cell]
        assert run.ok, run.error
        return run.text

    return of


def test_it_loads_and_unloads_silently(runs: dict[str, Run]) -> None:
    for cell in (LOAD, UNLOAD):
        assert runs[cell].ok
        assert runs[cell].outputs == []


def test_no_thread_is_started_and_nothing_is_printed(lines: dict[str, dict[str, Any]], runs: dict[str, Run]) -> None:
    assert {line["threads"] for line in lines.values()} == {1}
    assert {cell: run.of("stream") for cell, run in runs.items() if run.of("stream")} == {}


def test_a_chat_is_replayed(shown: Callable[[str], str]) -> None:
    assert shown(CHAT).startswith("You said: Hello there!\n\n[test/model-a · 12 + 3 tokens · ")
    assert " · replayed · " in shown(CHAT)
    assert shown("_wbreply.text") == "'You said: Hello there!'"


def test_a_map_is_replayed_into_a_list_where_there_is_no_pandas(shown: Callable[[str], str]) -> None:
    assert "2 of 2 rows answered, in out · 2 replayed · " in shown(MAP)
    assert ast.literal_eval(shown("out")) == [
        {"city": "Rome", "reply": "You said: Where is Rome?"},
        {"city": "Oslo", "reply": "You said: Where is Oslo?"},
    ]


def test_errors_are_short(runs: dict[str, Run]) -> None:
    for cell, what in {
        NOT_RECORDED: "The cassette class.jsonl does not hold this request. Nothing was sent.",
        UNDEFINED: "Line 1 of the prompt: 'nothing' is undefined. Nothing was sent.",
        NO_STACK_SWITCHING: "This browser cannot wait for a reply in a cell; nothing was sent.",
    }.items():
        first, *_, last = said = runs[cell].error.splitlines()
        assert first == what
        assert last.startswith("What to do: ")
        assert len(said) <= 3


def test_an_http_library_without_fetch_is_reported(runs: dict[str, Run]) -> None:
    what, why, remedy = runs[NO_SOCKETS].error.splitlines()
    assert what.endswith("could not be reached or the connection broke.")
    assert "its HTTP library opens sockets" in why
    assert "tried" not in why
    assert "Pyodide's own distribution" in remedy


# With Node's sockets in the place of the browser's fetch.


def test_a_key_is_asked_for_and_not_shown(lines: dict[str, dict[str, Any]], shown: Callable[[str], str]) -> None:
    assert "typed" in shown(KEY)
    assert "a-key-that-is-typed" not in json.dumps(lines)


def test_a_chat_streams_into_one_output(runs: dict[str, Run]) -> None:
    assert runs[LIVE].output["data"]["text/markdown"].startswith("You said: Are you there?\n\n<small>test/model-a · ")


def test_texts_are_mapped(shown: Callable[[str], str]) -> None:
    assert "3 of 3 rows answered, in answers · " in shown(MAP_TEXTS)
    assert [row["text"] for row in ast.literal_eval(shown("answers"))] == ["Lima", "Quito", "Lima"]


def test_a_job_runs_in_the_foreground(shown: Callable[[str], str]) -> None:
    assert "3 of 3" in shown(JOB)
    assert "No thread can be started in a browser, so the job ran in the foreground." in shown(JOB)
    assert [row["reply"] for row in ast.literal_eval(shown("later.wait()"))][:1] == ["You said: Was it Lima?"]


def test_an_async_tool_is_called(shown: Callable[[str], str]) -> None:
    assert shown(USE_TOOL).startswith("- `weather(city='Oslo')` → `sun`\n\nYou said: sun\n")


def test_models_are_picked_in_a_dropdown_and_compared(runs: dict[str, Run], shown: Callable[[str], str]) -> None:
    opened = [message.content["data"]["state"] for message in runs[PICK].of("comm_open")]
    assert "DropdownModel" in [state["_model_name"] for state in opened]
    assert shown(COMPARE).count("You said: Who are you?") == 2


def test_tab_offers_the_models_that_are_known(shown: Callable[[str], str]) -> None:
    # `%wbconfig --key` has fetched them for its check.
    assert shown(TAB) == "['test/model-a', 'test/model-b']"


def test_an_interrupt_keeps_the_partial_reply(runs: dict[str, Run], shown: Callable[[str], str]) -> None:
    said = "Interrupted. The partial reply is in _wbreply; the thread is unchanged."
    assert runs[INTERRUPTED].error == said
    assert shown("_wbreply.text, _wbreply.incomplete") == "('Half an answer', 'interrupted')"


def test_a_cell_run_again_replaces_its_turn(shown: Callable[[str], str]) -> None:
    assert " · turn 2 · 2 earlier messages]" in shown(AFTERWARDS)
    assert " · turn 2 · 2 earlier messages]" in shown(EDITED)
