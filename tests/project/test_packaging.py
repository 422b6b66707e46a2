"""What users install: the wheel built from the sdist. Its contents, metadata, dependencies, and that it works alone."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import Distribution, PathDistribution, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from service import Service
from versions import BEFORE_3_11

import wandb_inference_magic
from wandb_inference_magic.catalog.feeds import SNAPSHOT_FILE
from wandb_inference_magic.client import practice_server as local

# Built and installed once for all tests.
pytestmark = pytest.mark.xdist_group("packaging")
of_distributions = pytest.mark.skipif(BEFORE_3_11, reason="Python does not find the packages of each distribution")

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "wandb_inference_magic"
NAME = "wandb-inference-magic"
STEM = f"wandb_inference_magic-{wandb_inference_magic.__version__}"

# Imported only for values of these packages in the notebook, or if they are available: no extra offers them.
THE_USERS_OWN = {"google", "kaggle_secrets", "matplotlib", "numpy", "PIL", "polars", "pyarrow"}
# A package pinned by another one, which is declared.
PARTS = {"pydantic_core": "pydantic"}


def uv(*arguments: str | Path) -> None:
    """Run uv: the one that runs these tests, or the one on PATH."""
    command = os.environ.get("UV") or shutil.which("uv")
    assert command, "These tests need uv: pip install uv"
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr


# The files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that is built from it: a missing file is missing in both."""
    folder = tmp_path_factory.mktemp("built")
    # With the build backend that is installed here, so that nothing has to be downloaded.
    uv("build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata_of_wheel(wheel: Path) -> Distribution:
    """The metadata of the wheel."""
    return PathDistribution(zipfile.Path(wheel, f"{STEM}.dist-info/"))


def test_one_wheel_serves_every_machine(wheel: Path) -> None:
    assert wheel.name == f"{STEM}-py3-none-any.whl"


def test_the_wheel_contains_only_the_package(wheel: Path) -> None:
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    files = {f"catalog/{SNAPSHOT_FILE}", "py.typed", "rendering/thread.html"}
    files |= {f"widgets/{name}.{end}" for name in ("picker", "review", "stop_button") for end in ("js", "css")}
    package_files = {f"{PACKAGE.name}/{name}" for name in modules | files}
    metadata_files = {f"{STEM}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == package_files | metadata_files


def test_the_sdist_contains_what_a_packager_needs(built: Path) -> None:
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    assert {name.partition("/")[0] for name in names} == {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "docs",
        "examples",
        "pyproject.toml",
        "tests",
        PACKAGE.name,
    }
    for folder in ("tests", PACKAGE.name):
        assert {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")} <= names
    assert not [name for name in names if "cache" in Path(name).parent.as_posix()]


# Metadata ----------------------------------------------------------------------------------------------------------


def test_the_version_comes_from_one_place(metadata_of_wheel: Distribution) -> None:
    assert metadata_of_wheel.metadata["Name"] == NAME
    assert metadata_of_wheel.version == wandb_inference_magic.__version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_metadata_is_complete(metadata_of_wheel: Distribution) -> None:
    metadata = metadata_of_wheel.metadata
    assert metadata["Summary"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.json["description"].strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert {"ipython", "jupyter", "magic", "wandb", "inference"} <= set(metadata["Keywords"].split(","))
    assert metadata.get_all("Project-URL") == ["W&B Inference, https://docs.wandb.ai/guides/inference"]
    # The build refuses a classifier that PyPI does not know.
    assert {
        "Framework :: IPython",
        "Framework :: Jupyter",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    } <= set(metadata.get_all("Classifier"))


def test_the_named_python_versions_are_those_that_ci_runs(metadata_of_wheel: Distribution) -> None:
    classifiers = "\n".join(metadata_of_wheel.metadata.get_all("Classifier"))
    named = set(re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.MULTILINE))
    script = (ROOT / ".ci" / "versions").read_text(encoding="utf-8")
    # Whole versions only: the script also searches pyenv's folders with the pattern 3.1[0-3].
    assert named == set(re.findall(r"\b3\.\d{2}\b", script))
    lowest = min(named, key=Version)
    assert metadata_of_wheel.metadata["Requires-Python"] == f">={lowest}"


# Dependencies ------------------------------------------------------------------------------------------------------


@cache
def imported() -> list[tuple[str, bool]]:
    """Return the top-level name of each import in the package, and whether it is imported together with its module."""
    found: list[tuple[str, bool]] = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        with_module = set(map(id, tree.body))
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found += ((name.partition(".")[0], id(node) in with_module) for name in names)
    return found


def others(*, with_module: bool = False) -> set[str]:
    """Return the imported packages that belong neither to Python nor to the user."""
    names = {name for name, immediate in imported() if immediate or not with_module}
    return {PARTS.get(name, name) for name in names - sys.stdlib_module_names - THE_USERS_OWN}


@cache
def installed_by() -> Mapping[str, list[str]]:
    """Return the distributions that install each top-level name. Reading all of them takes seconds."""
    return packages_distributions()


def of_packages(names: set[str]) -> set[str]:
    return {canonicalize_name(one) for name in names for one in installed_by()[name]}


def declared(metadata_of_wheel: Distribution, *, core: bool = False) -> list[Requirement]:
    every = [Requirement(line) for line in metadata_of_wheel.requires or ()]
    return [one for one in every if one.marker is None or not core]


@of_distributions
def test_imported_packages_are_declared(metadata_of_wheel: Distribution) -> None:
    # `dask[distributed]` declares distributed.
    names = {canonicalize_name(name) for one in declared(metadata_of_wheel) for name in (one.name, *one.extras)}
    assert of_packages(others()) <= names


@of_distributions
def test_declared_packages_are_imported(metadata_of_wheel: Distribution) -> None:
    used = of_packages(others())
    assert [
        one.name for one in declared(metadata_of_wheel) if not used & {canonicalize_name(one.name), *one.extras}
    ] == []


@of_distributions
def test_no_module_needs_an_extra_to_be_imported(metadata_of_wheel: Distribution) -> None:
    core = {canonicalize_name(one.name) for one in declared(metadata_of_wheel, core=True)}
    assert of_packages(others(with_module=True)) <= core


def test_every_dependency_has_a_tested_lower_bound(metadata_of_wheel: Distribution) -> None:
    assert [
        str(one) for one in declared(metadata_of_wheel) if [bound.operator for bound in one.specifier] != [">="]
    ] == []


# In a clean environment ----------------------------------------------------------------------------------------------


def installed_for(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Return the versions installed here of the requirements and of everything that they require."""
    versions: dict[str, str] = {}
    seen, waiting = set(), list(requirements)
    while waiting:
        one = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset({"", *one.extras})
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found = distribution(name)
        versions[name] = found.version
        beneath = [Requirement(line) for line in found.requires or ()]
        waiting += [
            need
            for need in beneath
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return versions


@pytest.fixture(scope="module")
def clean_python(wheel: Path, metadata_of_wheel: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with only the wheel and its declared dependencies: no extra, no ipykernel."""
    folder = tmp_path_factory.mktemp("clean")
    uv("venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    # The versions that the tests run with are in uv's cache, so nothing has to be downloaded. A new resolution
    # might need others.
    needed = [f"{name}=={version}" for name, version in installed_for(declared(metadata_of_wheel, core=True)).items()]
    uv("pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel, *needed)
    uv("pip", "check", "--quiet", "--python", python)
    return python


@pytest.fixture
def clean_variables(environment: dict[str, str]) -> dict[str, str]:
    """A clean environment that IPython does not recognize as that of these tests."""
    return {name: value for name, value in environment.items() if name != "VIRTUAL_ENV"}


def run_python(python: Path, *arguments: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [python, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


# Run cells in IPython, and print for each one whether it succeeded and what it showed.
CELLS = """
import json
from IPython.utils.capture import capture_output
shell = get_ipython()
ran = []
for cell in {cells!r}:
    with capture_output() as shown:
        done = shell.run_cell(cell)
    ran.append([done.success, shown.stdout + shown.stderr])
print(json.dumps(ran))
"""


def test_every_module_can_be_imported(clean_python: Path, clean_variables: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, wandb_inference_magic as package\n"
        "for one in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'{package.__name__}.{one.name}')\n"
        "print(package.__file__)"
    )
    place = run_python(clean_python, "-c", code, environment=clean_variables, folder=tmp_path)
    assert Path(place.strip()).is_relative_to(clean_python.parent.parent), "not the package in the repository"


def test_the_diagnosis_lists_missing_packages(
    clean_python: Path, clean_variables: dict[str, str], no_network: dict[str, str], tmp_path: Path
) -> None:
    shown = run_python(
        clean_python, "-m", "wandb_inference_magic", environment=clean_variables | no_network, folder=tmp_path
    )
    found = {line[:18].strip(): line[18:].strip() for line in shown.splitlines()}
    assert found["this package"] == wandb_inference_magic.__version__
    assert found["openai"][0].isdigit()
    assert {found[name] for name in ("ipykernel", "pandas", "weave", "practice model")} == {"not installed"}


@pytest.fixture
def run_cells(
    clean_python: Path, clean_variables: dict[str, str], service: Service, tmp_path: Path
) -> Callable[..., list[tuple[bool, str]]]:
    """Run cells in a plain IPython of the clean environment, at the test's service."""

    def run(*cells: str) -> list[tuple[bool, str]]:
        code = CELLS.format(cells=cells)
        command = ("-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code)
        results = json.loads(
            run_python(clean_python, *command, environment=clean_variables | service.environment, folder=tmp_path)
        )
        return [(succeeded, shown) for succeeded, shown in results]

    return run


def test_the_installed_package_loads_works_and_unloads(
    run_cells: Callable[..., list[tuple[bool, str]]], service: Service
) -> None:
    expected = {
        "%wbmodels --table": "test/model-b",
        "%wbconfig": service.url,
        "%wbchat hi": "Hello there.",
        "%wbchat -m test/model-a -m test/model-b hi": "tokens a second",
        "%wbthread --show": "Hello there.",
        "%wbusage": "test/model-b",
        "%wbchat?": "--system TEXT",
        "%%wbmap?": "--concurrency N",
    }
    loaded, *shown_results, unloaded, gone = run_cells(
        "%load_ext wandb_inference_magic", *expected, "%unload_ext wandb_inference_magic", "%wbchat hi"
    )
    assert loaded == unloaded == (True, "")
    for (succeeded, shown), (cell, fragment) in zip(shown_results, expected.items(), strict=True):
        assert succeeded, (cell, shown)
        assert fragment in shown, cell
    assert len(service.chats) == 3
    assert not gone[0]


def test_a_missing_extra_is_reported_with_the_install_command(run_cells: Callable[..., list[tuple[bool, str]]]) -> None:
    expected = {
        "%wbmodels -o found": "Run: pip install pandas",
        "%wbusage -o used": "Run: pip install pandas",
        "%wbconfig --trace team/project": 'Run: pip install "wandb-inference-magic[weave]"',
        "%wbconfig --endpoint local\n%wbchat hi": f"Run: {local.INSTALL_COMMAND}",
    }
    _, *ran = run_cells("%load_ext wandb_inference_magic", *expected)
    for (succeeded, shown), (cell, fragment) in zip(ran, expected.items(), strict=True):
        assert not succeeded, cell
        assert fragment in shown, cell
        assert "Traceback" not in shown, cell
