"""Kernels of these tests have imported pandas: nearly every one does."""

from __future__ import annotations

import pytest
from kernel_forks import FRAMES


@pytest.fixture(scope="module")
def imported() -> tuple[str, ...]:
    return FRAMES
