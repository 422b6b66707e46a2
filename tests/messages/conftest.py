"""These tests share a kernel for each module. Each test has a session of its own in it."""

from __future__ import annotations

import pytest
from kernels import Kernel, SharedKernel
from service import Service


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed
