"""Shared fixtures: a service, W&B's hosts, and kernels, each with its own home folder and environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from browser import FRONT_ENDS, VIEWPORT, JupyterServer, KeptPages, Watch, chromium
from environments import NO_NETWORK, clean_environment, with_sitecustomize
from hypothesis import settings
from kernel_forks import WEAVE
from kernels import Kernel, SharedKernel, quick_kernel
from known_models import MODELS, serve_known_models
from mock_server import Llmock, running_mock
from service import Service, Wandb, listing
from trace_server import TraceServer

import wandb_inference_magic
from wandb_inference_magic.garbage import without_collections
from wandb_inference_magic.session import end_session, session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A run that a script has started in the background ignores interrupts: those of the tests are not for it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# CI runs the same examples each time. Failures that random examples find are fixed where someone sees them.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def browser_group(item: pytest.Item) -> str:
    """Return the group of a browser test: those in the kept page of JupyterLab, and those in Notebook 7's or none.

    Each takes about half of the time, and loads one front end.
    """
    is_in_notebook = "[notebook" in item.name
    return "browser-lab" if "kept_pages" in getattr(item, "fixturenames", ()) and not is_in_notebook else "browser"


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import all tests without a collection of garbage: there is none, and to find that out takes a second."""
    with without_collections():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests in one process that share what takes long to start.

    Browser tests run in two processes: each has its server and its browser, and draws one page at a time.
    """
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group(browser_group(item)))
        elif "running_shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(f"shared-{item.path.stem}"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two processes per core: a test spends much of its time waiting for processes that it has started."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as running:
        yield running
        running.assert_no_failures()


@pytest.fixture
def wandb(tmp_path: Path) -> Iterator[Wandb]:
    with Wandb(tmp_path).running() as running:
        yield running
        running.assert_no_failures()


@pytest.fixture
def mock() -> Iterator[Llmock]:
    with running_mock() as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A clean environment, to be extended before a kernel is started with it."""
    home = tmp_path / "home"
    home.mkdir()
    return clean_environment(home)


@pytest.fixture
def start_kernel(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Start kernels with the test's environment, additional variables, and more modules that have been imported."""
    with ExitStack() as stack:

        def start(*more: str, **variables: str) -> Kernel:
            return stack.enter_context(quick_kernel(environment | variables, tmp_path, *more))

        yield start


@pytest.fixture
def no_network(tmp_path: Path) -> dict[str, str]:
    """Environment variables for a process whose Python code can open no connection."""
    return with_sitecustomize(NO_NETWORK, tmp_path)


@pytest.fixture
def kernel(start_kernel: Callable[..., Kernel], service: Service) -> Kernel:
    """A kernel with the extension loaded. Its endpoint is the test's service, its model `test/model-a`."""
    kernel = start_kernel(**service.environment)
    loaded = kernel.run("%load_ext wandb_inference_magic")
    assert loaded.ok
    return kernel


@pytest.fixture
def start_api(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ModuleType]]:
    """Start a session in this process, with the test's environment and more variables. Returns the package."""
    monkeypatch.chdir(tmp_path)

    def start(**variables: str) -> ModuleType:
        end_session()
        monkeypatch.setattr(session, "_session", None)
        for name in list(os.environ):
            # pytest removes its own variables itself.
            if not name.startswith("PYTEST_"):
                monkeypatch.delenv(name)
        for name, value in (environment | variables).items():
            monkeypatch.setenv(name, value)
        return wandb_inference_magic

    yield start
    end_session()


@pytest.fixture
def api(start_api: Callable[..., ModuleType], service: Service) -> ModuleType:
    """The package in this process, with a new session whose endpoint is the test's service."""
    return start_api(**service.environment)


@pytest.fixture(scope="module")
def running_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKernel]:
    """The kernel and the service behind `shared`. Tests request `shared` instead."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        Service().running() as service,
        quick_kernel(clean_environment(folder) | service.environment, folder) as kernel,
    ):
        assert kernel.run("%load_ext wandb_inference_magic").ok
        yield SharedKernel(kernel, service)


@pytest.fixture
def shared(running_shared: SharedKernel) -> Iterator[SharedKernel]:
    """A kernel shared by tests of a module that leave the session unchanged, such as tests of refused commands."""
    running_shared.service.reset()
    yield running_shared
    running_shared.service.assert_no_failures()


@pytest.fixture
def renewed(shared: SharedKernel, tmp_path: Path) -> Iterator[Kernel]:
    """The shared kernel, in the test's folder and with a session of its own. Its service is that of `shared`."""
    with shared.renewed(tmp_path) as kernel:
        yield kernel


@pytest.fixture
def traces() -> Iterator[TraceServer]:
    with TraceServer().running() as running:
        yield running
        running.assert_no_failures()


@pytest.fixture
def tracing_kernel(
    start_kernel: Callable[..., Kernel], service: Service, traces: TraceServer, wandb: Wandb
) -> Iterator[Kernel]:
    """A kernel with the extension loaded, which has imported Weave. When it traces, its Weave posts to `traces`."""
    kernel = start_kernel(
        *WEAVE,
        **service.environment,
        WANDB_INFERENCE_API_KEY="endpoint-secret-0123",
        # Requests of Weave to other hosts go to a proxy that lets none of them leave this machine.
        **wandb.environment,
        **traces.environment,
    )
    assert kernel.run("%load_ext wandb_inference_magic").ok
    yield kernel
    # Weave asks PyPI whether there is a newer version of it, as docs/security.md says. It contacts no other host.
    assert set(wandb.connected_to) <= {"pypi.org"}


@pytest.fixture
def kernel_with_catalog(start_kernel: Callable[..., Kernel], wandb: Wandb) -> Kernel:
    """A kernel at W&B's endpoint that has fetched the facts about KNOWN_MODELS. Its model is `test/small`."""
    serve_known_models(wandb)
    kernel = start_kernel(WANDB_API_KEY="a-key", WANDB_INFERENCE_MODEL="test/small", **wandb.environment)
    assert kernel.run("%load_ext wandb_inference_magic\n%wbmodels --table").ok
    return kernel


# One server and one browser for a group of browser tests: starting them takes longer than most tests take.


@pytest.fixture(scope="session")
def running_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wandb]:
    """The server behind `wandb_hosts`. Tests request `wandb_hosts` instead."""
    with Wandb(tmp_path_factory.mktemp("wandb")).running() as running:
        yield running


@pytest.fixture
def wandb_hosts(running_hosts: Wandb) -> Iterator[Wandb]:
    """W&B's hosts as the server of the browser tests sees them, reset for each test."""
    running_hosts.reset()
    running_hosts.api.listing = listing(*MODELS)
    yield running_hosts
    running_hosts.assert_no_failures()
    # The server and its kernels connect to no other host.
    assert set(running_hosts.connected_to) <= {Wandb.API, Wandb.FEED}


@pytest.fixture(scope="session")
def server(running_hosts: Wandb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    home = tmp_path_factory.mktemp("home")
    work = home / "work"
    work.mkdir()
    environment = clean_environment(home) | running_hosts.environment | {"WANDB_API_KEY": "a-key-of-the-tests"}
    with JupyterServer(work, environment).running() as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def kept_pages(browser: Browser) -> Iterator[KeptPages]:
    pages = KeptPages(browser)
    yield pages
    pages.context.close()


@pytest.fixture
def page(request: pytest.FixtureRequest, kept_pages: KeptPages) -> Iterator[Page]:
    """A page of the test's front end, JupyterLab if it does not name one. Other tests have opened notebooks in it."""
    path = request.getfixturevalue("path") if "path" in request.fixturenames else FRONT_ENDS["lab"]
    failed_before = request.session.testsfailed
    yield kept_pages.page(path)
    kept_pages.leave(path, failed=request.session.testsfailed > failed_before)


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Page]:
    """A page that nothing was opened in, in a context of its own."""
    width, height = VIEWPORT
    context = browser.new_context(viewport={"width": width, "height": height})
    yield context.new_page()
    context.close()


@pytest.fixture
def watch(page: Page) -> Iterator[Watch]:
    """What the test's page must not do, from now on."""
    watch = Watch(page)
    yield watch
    watch.end()


@pytest.fixture(params=FRONT_ENDS.values(), ids=list(FRONT_ENDS))
def path(request: pytest.FixtureRequest) -> str:
    """The address at which the server opens a notebook. Tests with it run in JupyterLab and in Notebook 7."""
    return str(request.param)
