"""JupyterLab in headless Chromium: one server and browser a process, a new notebook for each test.

To load a front end takes ten times as much of the processor as to open a notebook in it.
"""

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
from kernel_forks import with_forked_kernels
from ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Request, Response

PATIENCE_MS = 120_000
EXPECT_MS = 60_000
# A cell that runs is marked at once. One that is not, after this time, has not been started.
LOST_MS = 20_000
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


# What the applications at these paths are called.
APPLICATIONS = {"doc/tree": "JupyterLab", "notebooks": "Jupyter Notebook"}
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
VIEWPORT = (1000, 900)

# Closes the notebooks of a page without asking whether to save them. With their kernels, if they are no longer needed:
# nobody waits until those have ended.
CLOSE = """
endsKernels => {
    for (const one of [...window.jupyterapp.shell.widgets('main')]) {
        if (endsKernels) one.context?.sessionContext?.shutdown().catch(() => {});
        one.dispose();
    }
}
"""
# Opens a notebook in this page. Notebook 7, which opens one a page, keeps the address of the first.
OPEN = """
([name, address]) => {
    const {commands, shell} = window.jupyterapp;
    shell.collapseLeft?.();
    commands.execute('docmanager:open', {path: name, factory: 'Notebook', options: {ref: '_noref'}});
    history.replaceState(null, '', address);
}
"""
# The notebook's page has its kernel, which the server can have before.
HAS_KERNEL = """
() => {
    const context = window.jupyterapp.shell.currentWidget?.context?.sessionContext;
    const kernel = context?.session?.kernel;
    return Boolean(context?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle');
}
"""
IS_SHOWN = "name => window.jupyterapp.shell.currentWidget?.context?.path === name"
SHOWN_THEME = "document.body.dataset.jpThemeName"


# The first one that is there is used. The one without windows takes a third less time for the same tests.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Tried in this order where there is none: Playwright's own, then Debian's.
WAYS_TO_GET_CHROMIUM = (
    (sys.executable, "-m", "playwright", "install", "chromium"),
    ("sh", "-c", f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {NAMES[0]} fonts-dejavu-core"),
)


def find_chromium(of_playwright: Path, ways: Sequence[Sequence[str]] = WAYS_TO_GET_CHROMIUM) -> str:
    """Return the path of a Chromium. Where there is none, get one."""
    for way in (None, *ways):
        if way:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(way, capture_output=True, timeout=600)
        for name in NAMES:
            if path := shutil.which(name):
                return path
        if of_playwright.exists():
            return str(of_playwright)
    pytest.fail(
        "There is no Chromium. Neither `playwright install chromium` nor `apt-get install chromium-headless-shell` "
        "could get one: install it, and run the tests again.",
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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
        else:
            environment |= with_forked_kernels()
        command = [
            str(python), "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self.port}",
            "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.folder}", "--KernelManager.transport=ipc",
            # The search for language servers runs npm.
            "--LanguageServerManager.autodetect=False",
            # Notebooks are opened by its commands.
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
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


def _notebook(cells: list[str], markdown: str) -> dict[str, Any]:
    code: list[dict[str, Any]] = [
        {
            "id": f"cell-{number}",
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(cells)
    ]
    text = [{"id": "words", "cell_type": "markdown", "source": markdown, "metadata": {}}] if markdown else []
    return {
        "cells": [*code, *text],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


class Lab:
    """One notebook, open in JupyterLab."""

    def __init__(self, server: JupyterServer, page: Page, name: str, path: str = "doc/tree") -> None:
        self.server = server
        self.page = page
        self.name = name
        self._path = path

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
        theme: str = LIGHT,
    ) -> Lab:
        """Create a notebook of code cells, with a Markdown cell at the end if one is given, and open it.

        `path` is `doc/tree` for JupyterLab and `notebooks` for Notebook 7. A page that has this front end of the
        server open closes its notebook, ends its kernel, and opens the new one. Returns when the kernel is idle.
        """
        lab = cls(server, page, name, path)
        page.set_default_timeout(PATIENCE_MS)
        if lab._is_loaded():
            lab.close(ends_kernels=True)
        _write(server.folder / name, _notebook(cells, markdown))
        lab.open_again()
        lab.set_theme(theme)
        lab.wait_for_kernel()
        return lab

    def is_open(self) -> bool:
        """Return whether this is the notebook that the page shows, with its kernel."""
        return not self.page.is_closed() and self._is_loaded() and bool(self.page.evaluate(IS_SHOWN, self.name))

    def clear_outputs(self) -> None:
        """Clear the outputs of all cells, and show the first cell."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        self.cell(0).scroll_into_view_if_needed()

    def close(self, *, ends_kernels: bool = False) -> None:
        """Close the notebook, as it was saved."""
        self.page.evaluate(CLOSE, ends_kernels)

    def open_again(self) -> None:
        """Open the notebook as it is on disk. A page that has no front end yet loads it."""
        address = f"{self.server.url}/{self._path}/{self.name}?token={TOKEN}"
        if self._is_loaded():
            self.page.evaluate(OPEN, [self.name, address])
        else:
            self.server.forget_layout()
            self.page.goto(address)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()

    def _is_loaded(self) -> bool:
        """Tell whether the page has this front end of the server, with or without a notebook."""
        of_server = self.page.url.startswith(f"{self.server.url}/")
        return of_server and self.page.evaluate("window.jupyterapp?.name") == APPLICATIONS[self._path]

    def set_theme(self, theme: str) -> None:
        """Switch the page to a theme (`LIGHT`, `DARK`), unless it is shown already."""
        if self.page.evaluate(SHOWN_THEME) != theme:
            change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
            self.page.evaluate(change, theme)
            self.page.wait_for_function(f"theme => {SHOWN_THEME} === theme", arg=theme)

    def wait_for_kernel(self) -> None:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            for session in self.server.api("sessions"):
                kernel = session["kernel"]
                if (
                    session["path"].endswith(self.name)
                    and kernel["execution_state"] == "idle"
                    and kernel["connections"]
                ):
                    self.page.wait_for_function(HAS_KERNEL)
                    return
            self.page.wait_for_timeout(100)
        raise AssertionError("the notebook's kernel never became idle")

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-OutputArea-output")

    def run(self, number: int, *, wait: bool = True) -> None:
        """Run a cell with Shift+Enter, as a person does."""
        self._press_run(number)
        if wait:
            self.wait_until_run(number)

    def _press_run(self, number: int) -> None:
        from playwright.sync_api import expect

        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        try:
            expect(self.cell(number).locator(".jp-InputPrompt")).not_to_have_text("[ ]:", timeout=LOST_MS)
        except AssertionError:
            # Seen once, on a busy machine: the page did not take the key. A person presses it again.
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")

    def wait_until_run(self, number: int, patience: float = PATIENCE_MS) -> None:
        prompt = self.cell(number).locator(".jp-InputPrompt")
        from playwright.sync_api import expect

        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=patience)

    def save(self) -> dict[str, Any]:
        """Save with Ctrl+S and return the notebook as it is on disk."""
        self.page.keyboard.press("Escape")
        # Waiting for the file is not enough: it is empty while the server writes it.
        with self.page.expect_response(self.is_a_save, timeout=PATIENCE_MS) as saved:
            self.page.keyboard.press("Control+s")
        assert saved.value.ok, saved.value.text()
        return dict(json.loads((self.server.folder / self.name).read_text()))

    def is_a_save(self, response: Response) -> bool:
        return response.request.method == "PUT" and f"/api/contents/{self.name}" in response.url


class KeptPages:
    """Pages that stay open from test to test, one for each front end, so that it is loaded once."""

    def __init__(self, browser: Browser) -> None:
        width, height = VIEWPORT
        # Those for the documentation are sharper.
        scale = 1.5 if os.environ.get("WRITE_PICTURES") else 1
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale
        )
        self._pages: dict[str, Page] = {}

    def page(self, path: str) -> Page:
        """Return the page for a front end, as tests find it."""
        page = self._pages.get(path)
        if page is None or page.is_closed():
            page = self._pages[path] = self.context.new_page()
        width, height = VIEWPORT
        page.set_viewport_size({"width": width, "height": height})
        return page

    def leave(self, path: str, *, failed: bool) -> None:
        """End a test. The page of one that failed is in an unknown state, and closed."""
        kept = [] if failed else [self._pages[path]]
        for page in self.context.pages:
            if page not in kept and (failed or page not in self._pages.values()):
                page.close()
        self.context.clear_permissions()


class Watch:
    """Records what a page must not do: requests to the hostile host, and dialogs."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self._page = page
        page.on("request", self._request)
        page.on("dialog", self._dialog)

    def end(self) -> None:
        self._page.remove_listener("request", self._request)
        self._page.remove_listener("dialog", self._dialog)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

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


def keep_screenshot(page: Page, name: str, *widths: int, height: int = 900) -> None:
    """Save a screenshot in the folder that WRITE_SCREENSHOTS names, for a person to look at.

    With `widths`, save one of each of these widths of the window.
    """
    folder = os.environ.get("WRITE_SCREENSHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    for width in widths:
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=str(Path(folder) / f"{name}-{width}.png"))
    if not widths:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
