"""What tests of cassettes share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from environments import NO_NETWORK
from kernels import Kernel


@pytest.fixture
def offline(start_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Start kernels that can open no connection. Their own messages do not go through Python's sockets."""

    def start(**variables: str) -> Kernel:
        kernel = start_kernel(**variables)
        assert kernel.run(NO_NETWORK).ok
        return kernel

    return start
