"""What tests of cassettes share: a kernel for each module. Each test has a session of its own in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from environments import NO_NETWORK
from kernels import Kernel, SharedKernel
from service import Service


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


@pytest.fixture
def offline(start_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Start kernels that can open no connection. Their own messages do not go through Python's sockets."""

    def start(**variables: str) -> Kernel:
        kernel = start_kernel(**variables)
        assert kernel.run(NO_NETWORK).ok
        return kernel

    return start
