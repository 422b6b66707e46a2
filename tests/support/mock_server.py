"""llmock, an OpenAI-compatible third-party server: it breaks calls on request and grades the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ports import free_port


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

    def wait_for_end(self, fault: str) -> None:
        """Return after the newest request has ended with this fault: only then is the next one a second attempt."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            requests = self.call("requests")["requests"]
            if requests and str(requests[-1]["fault"]).startswith(fault):
                return
            time.sleep(0.05)
        raise AssertionError(f"llmock did not see the end of {fault}: {self.call('requests')}")


@contextmanager
def running_mock() -> Iterator[Llmock]:
    port = free_port()
    command = [sys.executable, "-m", "llmock.cli", "serve", "--port", str(port), "--stream-chunk-delay-ms", "30"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    mock = Llmock(port)
    deadline = time.monotonic() + 60
    try:
        while True:
            assert process.poll() is None, "llmock stopped"
            assert time.monotonic() < deadline, "llmock did not answer"
            try:
                mock.call("verdict")
                break
            except OSError:
                time.sleep(0.1)
        yield mock
    finally:
        process.terminate()
        process.wait(30)
