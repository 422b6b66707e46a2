"""Third-party servers, installed from the package registries when a test needs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL_SECONDS = 280
START_SECONDS = 120


def unavailable(missing: str) -> NoReturn:
    """Fail in CI, where each server must be tested. Elsewhere skip the test and say what is missing."""
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def _install(name: str, *command: str | Path) -> str:
    """Run a command of a package manager and return what it prints. If it fails, the package is unavailable."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        unavailable(f"{name} was not installed in {INSTALL_SECONDS} seconds.")
    if done.returncode:
        unavailable(f"{name} cannot be installed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout.strip()


def npm_package(name: str, folder: Path) -> Path:
    """Install an npm package, `name@version`, and return its folder. npm's cache keeps what it downloads."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        unavailable(f"{name} needs Node and npm.")
    version = _install("Node", node, "--version")
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        unavailable(f"{name} needs Node 20 or newer, not {version}.")
    options = ("--no-save", "--no-audit", "--no-fund", "--prefer-offline", "--prefix", folder)
    _install(name, npm, "install", *options, name)
    return folder / "node_modules" / name[: name.rindex("@")]


def tool_environment(requirement: str, *others: str) -> Path:
    """Install Python packages in their own environment, which uv's cache keeps, and return its folder of programs."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        unavailable(f"{requirement} needs uv: pip install uv")
    run = (
        uv,
        "tool",
        "run",
        "--quiet",
        "--python",
        sys.executable,
        "--from",
        requirement,
        *(f"--with={one}" for one in others),
    )
    return Path(_install(requirement, *run, "python", "-c", "import sys; print(sys.executable)")).parent


@contextmanager
def running_server(*command: str | Path, ready: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a server until the end of the block. It has started when the address `ready` answers."""
    with log.open("wb") as output:
        # In a group of its own: a `node` that pip installed is a script that runs another process.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
    # No proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, f"{command[0]} stopped: {log.read_text(encoding='utf-8')[-2000:]}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {log.read_text(encoding='utf-8')[-2000:]}"
            try:
                with opener.open(ready, timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
