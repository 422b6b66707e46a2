"""aimock, a third-party server: it answers from fixtures, breaks calls on request and keeps a journal of requests."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import clean_environment
from ports import free_port
from registries import npm_package, running_server

PACKAGE = "@copilotkit/aimock@1.43.0"
KEY = "a-key-of-the-aimock"


@dataclass(frozen=True)
class Aimock:
    """The running server."""

    url: str

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self.url}/__aimock/{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def answer(self, prompt: str, *fixtures: dict[str, Any]) -> None:
        """Answer requests with this prompt by one fixture after the other, and by the last one from then on."""
        entries = []
        for number, fixture in enumerate(fixtures):
            match = {"userMessage": prompt, **fixture.get("match", {})}
            if number < len(fixtures) - 1:
                match["sequenceIndex"] = number
            entries.append({**fixture, "match": match})
        self.add(*entries)

    def add(self, *fixtures: dict[str, Any]) -> None:
        """Add fixtures, each with what it matches. The first one that matches a request answers it."""
        assert self.call("fixtures", {"fixtures": fixtures}) == {"added": len(fixtures)}

    def requests(self, prompt: str) -> list[dict[str, Any]]:
        """Return the journal's entries of the requests with this prompt."""
        return [one for one in self.call("journal") if prompt in json.dumps(one["body"])]


@contextmanager
def running_aimock(folder: Path) -> Iterator[Aimock]:
    """Install the server and run it until the end of the block."""
    package = npm_package(PACKAGE, folder)
    port = free_port()
    (folder / "fixtures").mkdir()
    with running_server(
        str(shutil.which("node")),
        package / "dist" / "cli.js",
        *("--port", str(port), "--fixtures", folder / "fixtures", "--log-level", "warn"),
        ready=f"http://127.0.0.1:{port}/ready",
        environment=clean_environment(folder) | {"AIMOCK_API_KEYS": KEY},
        log=folder / "aimock.log",
    ):
        yield Aimock(f"http://127.0.0.1:{port}")
