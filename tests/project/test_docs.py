"""The documentation agrees with the package."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import write_reference
from IPython.core.oinspect import getdoc

import wandb_inference_magic
from wandb_inference_magic.arguments.line import HELP, declared_options, read_line
from wandb_inference_magic.arguments.reference import MAGICS, PAGES
from wandb_inference_magic.client import practice_server as local
from wandb_inference_magic.config.settings import Resolved, WandbInference
from wandb_inference_magic.magics.magics import InferenceMagics

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
MAGIC = re.compile(r"(?:\w+ = )?(%%?wb[a-z]+)(.*)")


def shown_lines() -> Iterator[tuple[str, str]]:
    """Yield each line that the README and the examples show as code or in backticks, and the file that contains it."""
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            yield "README.md", re.sub(r"  +# .*", "", line.strip())
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL)):
        yield "README.md", code.replace("\\|", "|")
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


def constants() -> str:
    """Return all strings in the code of the package, one per line. A value inserted into a string ends its line."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "wandb_inference_magic").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize(("where", "magic", "line"), SHOWN, ids=lambda text: text[:40].strip())
def test_lines_shown_in_the_docs_are_valid(where: str, magic: str, line: str) -> None:
    page, text = MAGICS[magic]
    if re.fullmatch(" --[a-z-]+", line):
        # An option that is only mentioned, without its value.
        assert line.strip() in {flag for one in (*declared_options(page.options), HELP) for flag in one.flags}
        return
    read_line(page.options, magic, re.sub(r"\{\{.*?\}\}", "value", line), text=text)


def test_messages_explained_in_the_readme_exist_in_the_code() -> None:
    begin, end = (
        "<!-- messages: each is looked for in the code by tests/project/test_docs.py -->",
        "<!-- end of messages -->",
    )
    table = README.partition(begin)[2].partition(end)[0]
    # A message of Python or IPython is marked as such. A message of a front end has no backticks.
    messages = re.findall(r"^\| `([^`]+)`(?: \(in the footer\))? \|", table, re.MULTILINE)
    assert len(messages) > 15
    texts = constants()
    assert [message for message in messages if message not in texts] == []


def test_the_reference_in_the_readme_is_up_to_date() -> None:
    assert write_reference.written(README) == README, "run: uv run python tests/write_reference.py"


def test_a_magics_docstring_begins_with_its_purpose_and_its_help_lists_all_options() -> None:
    """`%magic` and `%quickref` show the docstring, `?` the help, which is made when it is asked for."""
    for name, page in PAGES.items():
        method = getattr(InferenceMagics, name)
        assert method.__doc__.splitlines()[0] == page.purpose
        shown = getdoc(method)
        assert shown
        assert all(one.usage in shown for one in declared_options(page.options))


def test_every_setting_is_resolved() -> None:
    fields = set(Resolved.__dataclass_fields__) - {"sources"}
    assert fields == set(WandbInference.class_trait_names(config=True))


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in wandb_inference_magic.__all__:
        assert getattr(wandb_inference_magic, name).__doc__


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {wandb_inference_magic.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_contains_the_install_command_of_the_practice_model() -> None:
    assert local.INSTALL_COMMAND in README


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
    """The two lists in a package's `__init__` are kept by hand: one for mypy, one for running."""
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
        package = importlib.import_module(f"wandb_inference_magic.{path.parent.name}")
        for module, name in typed:
            assert getattr(package, name) is getattr(importlib.import_module(f"{package.__name__}.{module}"), name)
        tables = [ast.literal_eval(node) for node in ast.walk(tree) if isinstance(node, ast.Dict)]
        assert {(module, name) for table in tables for module, names in table.items() for name in names} == typed


MOST_LINES, MOST_LINES_OF_A_FUNCTION = 450, 60


def test_modules_and_functions_stay_short() -> None:
    """The docstring of a function does not count."""
    too_long = []
    for path in (ROOT / "wandb_inference_magic").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > MOST_LINES:
            too_long.append(f"{path.name}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                if node.end_lineno - first.lineno >= MOST_LINES_OF_A_FUNCTION:
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
