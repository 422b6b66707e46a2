"""What tests of maps share."""

from __future__ import annotations

import pytest
from kernels import Kernel, SharedKernel
from mapped_rows import FRAME, echo
from service import Service


@pytest.fixture
def mapper(kernel: Kernel, service: Service) -> Kernel:
    service.always = echo
    assert kernel.run(FRAME).ok
    return kernel


@pytest.fixture
def shared_mapper(shared: SharedKernel) -> SharedKernel:
    shared.service.always = echo
    assert shared.kernel.run(FRAME).ok
    return shared
