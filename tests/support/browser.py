"""JupyterLab in headless Chromium: one server and one browser for the whole run, a new notebook for each test."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page, Response

PATIENCE_MS = 120_000
EXPECT_MS = 60_000
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Nothing in the tests may leave this machine: this is the only address that the browser can resolve.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
TOKEN = "the-tests-own"
# The paths at which the server opens a notebook in JupyterLab and in Notebook 7.
FRONT_ENDS = {"lab": "doc/tree", "notebook": "notebooks"}


# Tried in this order where there is no Chromium: Playwright's own, then Debian's.
WAYS_TO_GET_CHROMIUM = (
    (sys.executable, "-m", "playwright", "install", "chromium"),
    ("sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core"),
)


def find_chromium(of_playwright: Path, ways: Sequence[Sequence[str]] = WAYS_TO_GET_CHROMIUM) -> str:
    """Return the path of a Chromium. Where there is none, get one."""
    for way in (None, *ways):
        if way:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(way, capture_output=True, timeout=600)
        for name in ("chromium", "chromium-browser", "google-chrome"):
            if path := shutil.which(name):
                return path
        if of_playwright.exists():
            return str(of_playwright)
    pytest.fail(
        "There is no Chromium. Neither `playwright install chromium` nor `apt-get install chromium` could get one: "
        "install it, and run the tests again.",
        pytrace=False,
    )


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a Chromium. A missing one is a failure, never a skip."""
    from playwright.sync_api import expect, sync_playwright

    # Set here, so that it applies to every file with browser tests, also to one that runs alone.
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        path = find_chromium(Path(playwright.chromium.executable_path))
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class JupyterServer:
    """A Jupyter server with its own home, configuration and runtime folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self._environment = environment
        settings = Path(environment["JUPYTER_CONFIG_DIR"]) / "lab" / "user-settings"
        _write(
            settings / "@jupyterlab/apputils-extension/notification.jupyterlab-settings",
            {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
        )
        self._workspaces = settings.with_name("workspaces")
        self._theme = settings / "@jupyterlab/apputils-extension/themes.jupyterlab-settings"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set_theme(self, theme: str) -> None:
        """Open further pages in this theme (`JupyterLab Light`, `JupyterLab Dark`)."""
        _write(self._theme, {"theme": theme})

    def forget_layout(self) -> None:
        """Open further pages with JupyterLab's own layout: a narrow page leaves a side bar that covers a wide one."""
        for file in self._workspaces.glob("*"):
            file.unlink()

    def api(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(f"{self.url}/api/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def end_kernel(self, name: str) -> None:
        """End the kernel of a notebook, as shutting it down in the list of running kernels does."""
        for session in self.api("sessions"):
            if session["path"] == name:
                self.api(f"sessions/{session['id']}", "DELETE")

    def write_untrusted(self, name: str, saved: dict[str, Any], *cells: int) -> None:
        """Write a notebook as another tool would: the outputs of these cells have no signature of this server."""
        for number in cells:
            for output in saved["cells"][number]["outputs"]:
                if "metadata" in output:
                    output["metadata"]["touched"] = True
        (self.folder / name).write_text(json.dumps(saved))

    @contextmanager
    def running(self, python: str | Path = sys.executable) -> Iterator[JupyterServer]:
        """Run the server. `python` may be that of another environment: the kernels' is this one."""
        environment = dict(self._environment)
        if python != sys.executable:
            kernel = Path(environment["JUPYTER_DATA_DIR"]) / "kernels" / "python3" / "kernel.json"
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            _write(kernel, {"argv": argv, "display_name": "Python 3", "language": "python"})
            # It counts before the kernel of the other environment.
            environment["JUPYTER_PREFER_ENV_PATH"] = "0"
        command = [
            str(python), "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self.port}",
            "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.folder}", "--KernelManager.transport=ipc",
        ]  # fmt: skip
        # A socket name may have at most 107 bytes, and those of the kernels are in this folder.
        with TemporaryDirectory(prefix="jupyter-") as runtime, (self.folder.parent / "jupyter.log").open("wb") as log:
            environment |= {"JUPYTER_RUNTIME_DIR": runtime}
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
            try:
                self._wait(process)
                yield self
            finally:
                _end(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, "the Jupyter server stopped"
            try:
                self.api("status")
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError("the Jupyter server did not answer")


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


class Lab:
    """One notebook, open in JupyterLab."""

    def __init__(self, server: JupyterServer, page: Page, name: str) -> None:
        self.server = server
        self.page = page
        self.name = name

    @classmethod
    def open(
        cls,
        server: JupyterServer,
        page: Page,
        name: str,
        cells: list[str],
        *,
        markdown: str = "",
        path: str = "doc/tree",
    ) -> Lab:
        """Create a notebook of code cells, with a Markdown cell at the end if one is given, and open it.

        `path` is `doc/tree` for JupyterLab and `notebooks` for Notebook 7. Returns when the kernel is idle.
        """
        notebook: dict[str, Any] = {
            "cells": [
                {
                    "id": f"cell-{number}",
                    "cell_type": "code",
                    "source": source,
                    "metadata": {},
                    "outputs": [],
                    "execution_count": None,
                }
                for number, source in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        if markdown:
            notebook["cells"].append({"id": "words", "cell_type": "markdown", "source": markdown, "metadata": {}})
        (server.folder / name).write_text(json.dumps(notebook))
        page.set_default_timeout(PATIENCE_MS)
        server.forget_layout()
        page.goto(f"{server.url}/{path}/{name}?token={TOKEN}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        lab = cls(server, page, name)
        lab._wait_for_kernel()
        return lab

    def _wait_for_kernel(self) -> None:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            for session in self.server.api("sessions"):
                kernel = session["kernel"]
                if (
                    session["path"].endswith(self.name)
                    and kernel["execution_state"] == "idle"
                    and kernel["connections"]
                ):
                    return
            self.page.wait_for_timeout(100)
        raise AssertionError("the notebook's kernel never became idle")

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-OutputArea-output")

    def run(self, number: int, *, wait: bool = True) -> None:
        """Run a cell with Shift+Enter, as a person does."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        if wait:
            self.wait_until_run(number)

    def wait_until_run(self, number: int, patience: float = PATIENCE_MS) -> None:
        prompt = self.cell(number).locator(".jp-InputPrompt")
        from playwright.sync_api import expect

        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=patience)

    def save(self) -> dict[str, Any]:
        """Save with Ctrl+S and return the notebook as it is on disk."""
        self.page.keyboard.press("Escape")
        # Waiting for the file is not enough: it is empty while the server writes it.
        with self.page.expect_response(self._is_a_save, timeout=PATIENCE_MS) as saved:
            self.page.keyboard.press("Control+s")
        assert saved.value.ok, saved.value.text()
        return dict(json.loads((self.server.folder / self.name).read_text()))

    def _is_a_save(self, response: Response) -> bool:
        return response.request.method == "PUT" and f"/api/contents/{self.name}" in response.url


class Watch:
    """Records what a page must not do: requests to the hostile host, and dialogs."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            # A dialog of the front end itself, for a notebook that has changed since it was saved.
            dialog.accept()
            return
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def assert_nothing(self) -> None:
        assert self.dialogs == []
        assert [url for url in self.requests if "evil.example" in url] == []


@contextmanager
def running_voila(folder: Path, notebook: str, environment: dict[str, str]) -> Iterator[str]:
    """Serve a notebook as a page with Voila, and yield its address."""
    port = free_port()
    command = [
        sys.executable, "-m", "voila", notebook, "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1",
        "--Voila.port_retries=0", f"--token={TOKEN}",
    ]  # fmt: skip
    with (folder.parent / "voila.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            _wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}/?token={TOKEN}"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server. How long it takes to end by itself, on a busy machine, is not what is tested."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server stopped"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not answer")


def keep_screenshot(page: Page, name: str) -> None:
    """Save a screenshot in the folder that WRITE_SCREENSHOTS names, for a person to look at."""
    if folder := os.environ.get("WRITE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
