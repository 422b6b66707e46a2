"""What the tests share: a service, W&B's hosts, kernels, each with a home and an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import FRONT_ENDS, JupyterServer, chromium
from environments import beginning_with, clean_environment
from hypothesis import settings
from kernels import Kept, Kernel, running_kernel
from known_models import KNOWN_MODELS, MODELS
from mock_server import Llmock, running_mock
from service import MODEL, Service, Wandb, listing
from trace_server import TraceServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# In CI the same examples each time: what chance finds is found, and mended, where somebody looks.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all that the browser shows to one of the processes: it has the server, and one page is drawn at a time."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run half as many processes again as there are cores: a third of the time a test waits for what it has started."""
    return ceil(1.5 * (os.cpu_count() or 1))


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as running:
        yield running
        running.assert_well()


@pytest.fixture
def wandb(tmp_path: Path) -> Iterator[Wandb]:
    with Wandb(tmp_path).running() as running:
        yield running
        running.assert_well()


@pytest.fixture
def mock() -> Iterator[Llmock]:
    with running_mock() as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A clean environment, to be added to before a kernel is started with it."""
    home = tmp_path / "home"
    home.mkdir()
    return clean_environment(home)


@pytest.fixture
def start_kernel(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Start kernels with the test's environment and variables of their own."""
    with ExitStack() as stack:

        def start(**variables: str) -> Kernel:
            return stack.enter_context(running_kernel(environment | variables, tmp_path))

        yield start


@pytest.fixture
def no_network(tmp_path: Path) -> dict[str, str]:
    """Variables of a process that can open no connection from Python code."""
    code = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        raise OSError('there is no network')\n"
        "sys.addaudithook(refuse)\n"
    )
    return beginning_with(code, tmp_path)


@pytest.fixture
def kernel(start_kernel: Callable[..., Kernel], service: Service) -> Kernel:
    """A kernel with the extension loaded, its endpoint the test's service, its model `test/model-a`."""
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL=MODEL)
    loaded = kernel.run("%load_ext wandb_inference_magic")
    assert loaded.ok
    return kernel


@pytest.fixture(scope="module")
def running_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """The pair behind `kept`: ask for that instead."""
    folder = tmp_path_factory.mktemp("kept")
    with Service().running() as service:
        told = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": MODEL}
        with running_kernel(clean_environment(folder) | told, folder) as kernel:
            assert kernel.run("%load_ext wandb_inference_magic").ok
            yield Kept(kernel, service)


@pytest.fixture
def kept(running_pair: Kept) -> Iterator[Kept]:
    """A kernel for all such tests of a file: for those that leave the session as it was, as what is refused does."""
    running_pair.service.reset()
    yield running_pair
    running_pair.service.assert_well()


@pytest.fixture
def traces() -> Iterator[TraceServer]:
    with TraceServer().running() as running:
        yield running
        running.assert_well()


@pytest.fixture
def observed(
    start_kernel: Callable[..., Kernel], service: Service, traces: TraceServer, wandb: Wandb
) -> Iterator[Kernel]:
    """A kernel with the extension loaded whose Weave, once it traces, posts to `traces`."""
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=service.url,
        WANDB_INFERENCE_MODEL=MODEL,
        WANDB_INFERENCE_API_KEY="endpoint-secret-0123",
        # What Weave would ask beyond this machine goes to a proxy that lets it nowhere.
        **wandb.environment,
        **traces.environment,
    )
    assert kernel.run("%load_ext wandb_inference_magic").ok
    yield kernel
    # It asks whether there is a newer one of it, as the README says, and nobody else anything.
    assert set(wandb.connected_to) <= {"pypi.org"}


@pytest.fixture
def informed_kernel(start_kernel: Callable[..., Kernel], wandb: Wandb) -> Kernel:
    """A kernel at W&B's endpoint that has fetched the facts of KNOWN_MODELS; its model is `test/small`."""
    models = {str(one["id"]): one for one in KNOWN_MODELS}
    wandb.api.listing = listing(*models)
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}
    kernel = start_kernel(WANDB_API_KEY="a-key", WANDB_INFERENCE_MODEL="test/small", **wandb.environment)
    assert kernel.run("%load_ext wandb_inference_magic\n%wbmodels --table").ok
    return kernel


# One server and one browser for the whole run: starting them takes longer than most tests.


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wandb]:
    """The server behind `world`: ask for that instead."""
    with Wandb(tmp_path_factory.mktemp("wandb")).running() as running:
        yield running


@pytest.fixture
def world(hosts: Wandb) -> Iterator[Wandb]:
    """W&B's hosts, as the browser tests' server sees them; nothing of the test before is left in them."""
    hosts.reset()
    hosts.api.listing = listing(*MODELS)
    yield hosts
    hosts.assert_well()
    # The server and its kernels ask for nobody else.
    assert set(hosts.connected_to) <= {Wandb.API, Wandb.FEED}


@pytest.fixture(scope="session")
def server(hosts: Wandb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    home = tmp_path_factory.mktemp("home")
    work = home / "work"
    work.mkdir()
    environment = clean_environment(home) | hosts.environment | {"WANDB_API_KEY": "a-key-of-the-tests"}
    with JupyterServer(work, environment).running() as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1000, "height": 900}, device_scale_factor=1.5)
    page = context.new_page()
    yield page
    context.close()


@pytest.fixture(params=FRONT_ENDS.values(), ids=list(FRONT_ENDS))
def path(request: pytest.FixtureRequest) -> str:
    """Where the server opens a notebook: a test that asks for it is run in JupyterLab and in Notebook 7."""
    return str(request.param)
