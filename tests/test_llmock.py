"""llmock, a server that nobody here wrote, breaks every call in its ways and grades the client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kernels import Kernel

Behaviour = dict[str, Any]

# A fault, what is queued, and whether the magic recovers by itself or leaves it to the user, who runs the cell again.
FAULTS: list[tuple[str, list[Behaviour], bool]] = [
    ("rate limit", [{"type": "fail", "status": 429, "retry_after": 1, "times": 2}], True),
    ("500", [{"type": "fail", "status": 500, "retry_after": 1, "times": 1}], True),
    ("503", [{"type": "fail", "status": 503, "times": 1}], True),
    ("400", [{"type": "fail", "status": 400}], False),
    ("401", [{"type": "fail", "status": 401}], False),
    ("403", [{"type": "fail", "status": 403}], False),
    ("404", [{"type": "fail", "status": 404}], False),
    ("422", [{"type": "fail", "status": 422}], False),
    ("slow response", [{"type": "delay", "seconds": 1}], True),
    ("slow first token", [{"type": "slow_first_token", "seconds": 1}], True),
    ("disconnect", [{"type": "stream_fault", "kind": "disconnect", "after_chunks": 3}], False),
    ("truncate", [{"type": "stream_fault", "kind": "truncate", "after_chunks": 3}], False),
    ("malformed", [{"type": "stream_fault", "kind": "malformed", "after_chunks": 3}], False),
    ("stall", [{"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 30}], False),
    ("truncate at once", [{"type": "stream_fault", "kind": "truncate", "after_chunks": 0}], True),
    ("disconnect at once", [{"type": "stream_fault", "kind": "disconnect", "after_chunks": 0}], True),
]
# Run again with nothing changed, these fail the same way: the user mends what the error names instead.
MENDED = {"400", "401", "403", "404", "422"}


class Llmock:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/_llmock/{path}", data=data, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")


@pytest.fixture(scope="module")
def mock() -> Iterator[Llmock]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llmock.cli", "serve", "--port", str(port), "--stream-chunk-delay-ms", "20"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    mock = Llmock(port)
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "llmock stopped"
        assert time.monotonic() < deadline, "llmock did not answer"
        try:
            mock.call("verdict")
            break
        except OSError:
            time.sleep(0.1)
    yield mock
    process.terminate()
    process.wait(30)


def test_the_verdict_is_clean(start_kernel: Callable[..., Kernel], mock: Llmock) -> None:
    """Each fault in turn; the user does what the error says; in the end nothing is held against the client."""
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=f"{mock.url}/v1", WANDB_INFERENCE_MODEL="gpt-4o", WANDB_INFERENCE_API_KEY="mock"
    )
    kernel.run("%load_ext wandb_inference_magic\n%wbconfig --timeout 5")
    for name, behaviours, recovers in FAULTS:
        mock.call("scenario", {"behaviors": behaviours})
        run = kernel.run(f"%wbchat --once Tell me about {name}, in several words please.")
        assert run.ok is recovers, (name, run.text)
        if not recovers:
            assert "What to do:" in run.error, name
            assert "Traceback" not in run.error, name
        if not recovers and name not in MENDED:
            assert "incomplete: the reply broke off" in run.text, name
            assert kernel.run(f"%wbchat --once Tell me about {name}, in several words please.").ok, name
    verdict = mock.call("verdict")
    assert verdict["findings"] == [], json.dumps(verdict, indent=1)
