"""Evaluations from Python."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any


def evaluate(api: ModuleType, *given: Any, **options: Any) -> Any:
    """Return an Evaluation, whose notices have all been warnings, each once."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = api.evaluate(*given, **options)
    assert sorted(str(one.message) for one in warned) == sorted(found.notices)
    return found
