"""What tests of jobs share."""

from __future__ import annotations

import pytest
from held_jobs import MAP, ROWS, Held, run
from kernels import Kernel
from service import Service


@pytest.fixture
def held(service: Service) -> Held:
    service.always = held = Held()
    return held


@pytest.fixture
def mapping(kernel: Kernel, held: Held) -> Kernel:
    """A kernel with a job whose answers are held."""
    assert kernel.run(ROWS).ok
    begun = run(kernel, MAP, cell_id="the-cell")
    assert begun.ok, begun.error
    assert begun.text.startswith("%%wbmap df · job 1 · running")
    assert held.asked.wait(60)
    return kernel
