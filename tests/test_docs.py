"""What users read agrees with what the package does."""

from __future__ import annotations

import re
from pathlib import Path

import write_reference

import wandb_inference_magic
from wandb_inference_magic import local
from wandb_inference_magic.settings import Resolved, WandbInference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_reference_is_the_codes_own() -> None:
    assert write_reference.written(README) == README, "run: uv run python tests/write_reference.py"


def test_every_setting_is_resolved() -> None:
    fields = set(Resolved.__dataclass_fields__) - {"sources"}
    assert fields == set(WandbInference.class_trait_names(config=True))


def test_the_public_names_are_there() -> None:
    for name in wandb_inference_magic.__all__:
        assert getattr(wandb_inference_magic, name).__doc__


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {wandb_inference_magic.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_one_command_for_the_practice_model_is_the_readmes() -> None:
    assert local.INSTALL_COMMAND in README


def test_ci_calls_the_readmes_own_test_command() -> None:
    assert re.search(r"^uv run pytest$", README, re.MULTILINE)
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_map_of_the_package_names_every_module() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "wandb_inference_magic").glob("*.py")} - {"__init__.py"}
    assert modules <= set(re.findall(r"`(\w+\.py)`", contributing))
