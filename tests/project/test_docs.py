"""The documentation agrees with the package."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from IPython.core.oinspect import getdoc

import wandb_inference_magic
from wandb_inference_magic.arguments.line import HELP, read_line
from wandb_inference_magic.arguments.reference import MAGICS, OPTIONS, sections
from wandb_inference_magic.catalog.feeds import snapshot
from wandb_inference_magic.client import practice_server as local
from wandb_inference_magic.config.settings import Resolved, WandbInference
from wandb_inference_magic.magics.magics import InferenceMagics
from wandb_inference_magic.session.endpoints import DEFAULT_MODEL

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The generated pages are made from what is tested here.
SITE = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "_" not in path.parent.name)]
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
MAGIC = re.compile(r"(?:\w+ = )?(%%?wb[a-z]+)(.*)")


def shown_lines() -> Iterator[tuple[str, str]]:
    """Yield each line that the pages and the examples show as code or in backticks, and the file that contains it."""
    for path in SITE:
        page = path.read_text(encoding="utf-8")
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            yield from ((path.name, re.sub(r"  +# .*", "", line.strip())) for line in block.splitlines())
        for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
            yield path.name, code.replace("\\|", "|")
    for path in EXAMPLES:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            lines = source.splitlines() if cell["cell_type"] == "code" else re.findall(r"`([^`\n]+)`", source)
            yield from ((path.name, line) for line in lines)


SHOWN = sorted(
    (where, *found.groups())
    for where, line in set(shown_lines())
    if (found := MAGIC.fullmatch(line)) and not found[2].endswith("?")
)


@cache
def constants() -> str:
    """Return all strings in the code of the package, one per line. A value inserted into a string ends its line."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "wandb_inference_magic").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize(("where", "magic", "line"), SHOWN, ids=lambda text: text[:40].strip())
def test_lines_shown_in_the_docs_are_valid(where: str, magic: str, line: str) -> None:
    options, text = MAGICS[magic]
    if re.fullmatch(" --[a-z-]+", line):
        # An option that is only mentioned, without its value.
        assert line.strip() in {flag for one in (*options.declared, HELP) for flag in one.flags}
        return
    read_line(options, magic, re.sub(r"\{\{.*?\}\}", "value", line), text=text)


@pytest.mark.xdist_group("constants")
def test_messages_explained_in_the_docs_exist_in_the_code() -> None:
    begin, end = (
        "<!-- messages: each is looked for in the code by tests/project/test_docs.py -->",
        "<!-- end of messages -->",
    )
    page = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
    table = page.partition(begin)[2].partition(end)[0]
    # A message of Python or IPython is marked as such. A message of a front end has no backticks.
    messages = re.findall(r"^\| `([^`]+)`(?: \(in the footer\))? \|", table, re.MULTILINE)
    assert len(messages) > 15
    texts = constants()
    assert [message for message in messages if message not in texts] == []


def test_links_between_pages_lead_somewhere_in_the_repository_too() -> None:
    """Also where the pages are read without being built. The folder `_generated` is made by the build."""
    links = [(page, link) for page in SITE for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))]
    assert len(links) > 60
    local = [(page, link) for page, link in links if "://" not in link and "_generated" not in link]
    assert [(page.name, link) for page, link in local if not (page.parent / link).exists()] == []


# Phrases of sentences that read as translated. Write what happened, why, and what to do, in common words.
TRANSLATED = re.compile(
    r"what had come|which hold it|to be had\b|\banew\b|\bheeds?\b|is told of|said to be one|stands? (?:below|above)"
    r"|of yours that|\bas it stands\b|in good order|knows? nothing of|\bmay not be written\b|goes? along|sent along",
    re.IGNORECASE,
)


@pytest.mark.xdist_group("constants")
def test_texts_for_users_do_not_read_as_translated() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in SITE}
    for path in EXAMPLES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    texts["messages in the code"] = constants()
    assert {(name, found[0]) for name, text in texts.items() for found in TRANSLATED.finditer(text)} == set()


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.encode()) <= 6000
    links = re.findall(r"\]\(([^)#]+)", README)
    assert len(links) > 20
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_readme_names_the_default_model_and_its_costs() -> None:
    price = {model.id: model for model in snapshot().models}[DEFAULT_MODEL].price
    assert price
    assert f"`{DEFAULT_MODEL}`" in README
    assert f"${price.cost(200, 400):.5f}" in README
    assert f"${2400 * price.cost(500, 500):.2f}" in README


def test_a_magics_docstring_begins_with_its_purpose_and_its_help_lists_all_options() -> None:
    """`%magic` and `%quickref` show the docstring, `?` the help, which is made when it is asked for."""
    for name, options in OPTIONS.items():
        method = getattr(InferenceMagics, name)
        assert method.__doc__.splitlines()[0] == sections(options)[0]
        shown = getdoc(method)
        assert shown
        assert all(one.usage in shown for one in options.declared)


def test_every_setting_is_resolved() -> None:
    fields = set(Resolved.__dataclass_fields__) - {"sources"}
    assert fields == set(WandbInference.class_trait_names(config=True))


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in wandb_inference_magic.__all__:
        assert getattr(wandb_inference_magic, name).__doc__


@pytest.mark.parametrize(
    ("tag", "date", "expected"),
    [
        ("", "unreleased", "agree"),
        ("v{}", "2026-12-01", "agree"),
        ("v{}", "unreleased", "(unreleased) after the version. Write the date of the release"),
        ("v9.0", "2026-12-01", "The tag is v9.0, but the version"),
    ],
)
def test_a_release_is_checked(tag: str, date: str, expected: str, tmp_path: Path) -> None:
    version = wandb_inference_magic.__version__
    for name in (".ci/check-release", "CITATION.cff", "CHANGELOG.md", "wandb_inference_magic/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(
            text.replace(f"## {version} (unreleased)", f"## {version} ({date})"), encoding="utf-8"
        )
    command = [sys.executable, tmp_path / ".ci" / "check-release", tag.format(version)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert expected in run.stdout
    assert run.returncode == (0 if expected == "agree" else 1)


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".gitlab-ci.yml"])
def test_hosted_ci_runs_what_ci_runs(name: str) -> None:
    assert "bash .ci/run" in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [".ci/run", "CONTRIBUTING.md"])
def test_contributors_and_ci_run_the_same_checks(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "\n.ci/lint\n" in text
    assert not any(f"uv run {tool}" in text for tool in ("ruff", "mypy", "lint-imports", "codespell"))


def test_the_readme_contains_the_install_command_of_the_practice_model() -> None:
    assert local.INSTALL_COMMAND in README


def test_the_costs_of_a_class_follow_from_the_price_list() -> None:
    """A chat is 200 + 400 tokens, a class 2,400 calls of 500 + 500."""
    page = (ROOT / "docs" / "howto" / "classes.md").read_text(encoding="utf-8")
    prices = {model.id: model for model in snapshot().models}
    rows = re.findall(r"^\| `([^`]+)`(?: \(the default\))? \| \$([\d.]+) \| \$([\d.]+) \|$", page, re.MULTILINE)
    assert rows[0][0] == DEFAULT_MODEL
    for model, chat, lesson in rows:
        price = prices[model].price
        assert price
        assert f"{price.cost(200, 400):.5f}" == chat
        assert f"{2400 * price.cost(500, 500):.2f}" == lesson


def test_ci_runs_the_test_command_of_the_readme() -> None:
    found = re.search(r"""\$\((sed .* README\.md .*)\)""", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert found
    assert subprocess.check_output(found[1], shell=True, text=True, cwd=ROOT) == "uv run pytest -n logical\n"


def test_contributing_lists_every_module() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.*)$", contributing, re.MULTILINE))
    for path in (ROOT / "wandb_inference_magic").rglob("*.py"):
        place = path.relative_to(ROOT / "wandb_inference_magic")
        if place.name.startswith("__"):
            continue
        if len(place.parts) == 1:
            assert place.name in rows
        else:
            assert f"`{place.stem}`" in rows[f"{place.parts[0]}/"], place


def test_packages_export_what_they_import_for_the_type_checker() -> None:
    """What `__init__` imports for mypy is what running code finds."""
    for path in (ROOT / "wandb_inference_magic").glob("*/__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = {
            (node.module, name.name)
            for block in tree.body
            if isinstance(block, ast.If)
            for node in block.body
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }
        # Importing a module sets its name in the package: it would replace what is exported under this name.
        assert not {name for _, name in typed} & {module.stem for module in path.parent.glob("*.py")}
        package = importlib.import_module(f"wandb_inference_magic.{path.parent.name}")
        for module, name in typed:
            assert getattr(package, name) is getattr(importlib.import_module(f"{package.__name__}.{module}"), name)


MAX_LINES, MAX_LINES_OF_A_FUNCTION = 450, 60


def test_modules_and_functions_stay_short() -> None:
    """The docstring of a function does not count."""
    too_long = []
    for path in (ROOT / "wandb_inference_magic").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > MAX_LINES:
            too_long.append(f"{path.name}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                if node.end_lineno - first.lineno >= MAX_LINES_OF_A_FUNCTION:
                    too_long.append(f"{path.name}: {node.name}")
    assert too_long == []


def test_functions_named_in_contributing_exist() -> None:
    """After a rename that forgets the call path, a newcomer would look for a name that no longer exists."""
    names = re.findall(r"`((?:[a-z_]+\.){1,3}\w+(?:\.\w+)?)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    packages = {path.name for path in (ROOT / "wandb_inference_magic").iterdir() if (path / "__init__.py").exists()}
    ours = [name for name in names if name.split(".")[0] in packages and not name.endswith(".py")]
    assert len(ours) > 15
    for name in ours:
        assert pkgutil.resolve_name(f"wandb_inference_magic.{name}"), name


def test_every_test_named_in_the_table_of_cases_exists() -> None:
    """A renamed test would leave a case without its proof."""
    table = (ROOT / "tests" / "CASES.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-E])(\d+) \| .* \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) > 70
    for area in "ABCDE":
        numbers = [int(number) for one, number, _ in rows if one == area]
        assert numbers == [*range(1, len(numbers) + 1)], area
    for area, number, shown_by in rows:
        named = re.findall(r"`([^`]+)`", shown_by)
        tests = [name for name in named if "::" in name]
        forms = [name for name in named if name.endswith(".txt")]
        assert tests or forms, f"{area}{number}"
        for test in tests:
            path, _, function = test.partition("::")
            assert function.startswith("test_"), test
            assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), test
        for form in forms:
            assert (ROOT / "tests" / "client" / "conformance" / form).exists(), form


def test_only_an_endpoint_compares_its_kind() -> None:
    """An endpoint says whether it is W&B's, local or free. A fourth kind must not need changes in forty places."""
    for path in (ROOT / "wandb_inference_magic").rglob("*.py"):
        if path.name != "endpoint.py":
            assert not re.search(r"endpoint\.kind\b", path.read_text(encoding="utf-8")), path
