"""Warnings of other packages during their import are not shown. The user's own warnings are, from any thread."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wandb_inference_magic.imports import import_quietly


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
