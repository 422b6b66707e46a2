"""The process that kernels of the tests are forked from outlives launchers that are killed."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from kernel_forks import forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")


@pytest.mark.parametrize("sent", [b"", b'{"arguments": ['])
def test_a_launcher_that_is_killed_before_it_has_asked_ends_no_other_kernel(tmp_path: Path, sent: bytes) -> None:
    """A page that ended its notebook's kernel while that started cost all later tests their kernels."""
    server = forks()
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(server.address)
        launcher.sendall(sent)
    program = {"code": "raise SystemExit(3)", "arguments": [], "out": os.devnull, "errors": os.devnull}
    assert server.start(dict(os.environ), tmp_path, program=program).wait() == 3
