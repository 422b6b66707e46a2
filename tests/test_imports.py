"""Imports: no warning of theirs is shown, and nothing of the user's process is changed after them."""

from __future__ import annotations

import py_compile
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from wandb_inference_magic.imports import import_quietly


@pytest.mark.short
def test_public_names_are_found_without_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an installation of compiled files only, such as one that a bundler makes."""
    package = tmp_path / "only_compiled"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from wandb_inference_magic.imports import lazy_exports\n"
        "if TYPE_CHECKING:\n"
        "    from os import sep\n"
        "    from .first import one, two\n"
        "    from .second import three\n"
        "__getattr__ = lazy_exports(__name__)\n"
    )
    (package / "first.py").write_text("one, two = 1, 2\n")
    (package / "second.py").write_text("three = 3\n")
    for source in list(package.glob("*.py")):
        py_compile.compile(str(source), str(source.with_suffix(".pyc")))
        source.unlink()
    monkeypatch.syspath_prepend(tmp_path)
    only_compiled = import_module("only_compiled")
    assert (only_compiled.one, only_compiled.two, only_compiled.three) == (1, 2, 3)
    for name in ("four", "sep"):
        with pytest.raises(AttributeError, match=f"module 'only_compiled' has no attribute '{name}'"):
            getattr(only_compiled, name)


@pytest.mark.short
def test_a_warning_during_an_import_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "warns_when_imported.py").write_text("import warnings\nwarnings.warn('mine')\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert import_quietly("warns_when_imported").value == 1
        warnings.warn("the user's", stacklevel=1)
    assert [str(one.message) for one in shown] == ["the user's"]


@pytest.mark.short
@pytest.mark.parametrize("new", [200, 0])
def test_parallel_imports_leave_the_users_warning_filters_unchanged(
    new: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports in parallel, as in a traced map, whose first calls import what they need at the same time."""
    modules = [f"imported_side_by_side_{number}" for number in range(new)]
    for name in modules:
        (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with warnings.catch_warnings():
            before = list(warnings.filters)
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(import_quietly, modules or ["json"] * 5000))
            assert list(warnings.filters) == before
    finally:
        sys.setswitchinterval(interval)
