"""`python -m wandb_inference_magic`: print a short diagnosis for a bug report. It contains no secrets."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from . import __version__
from .client import practice_server
from .config import WandbInference
from .errors import InferenceError
from .imports import installed_version
from .session import Command, Session

PACKAGES: Final = (
    "ipython",
    "ipykernel",
    "jupyterlab",
    "notebook",
    "ipywidgets",
    "openai",
    "httpx2",
    "httpx",
    "traitlets",
    "jinja2",
    "markdown-it-py",
    "rich",
    "pandas",
    "weave",
)


def main(arguments: Sequence[str] = ()) -> None:
    """Print what a maintainer asks for first: versions, the source of the key, whether the endpoint answers."""
    if arguments:
        print("python -m wandb_inference_magic takes no arguments: it prints a diagnosis for a bug report.")
        print("To chat, start `ipython`, and there: %load_ext wandb_inference_magic")
        sys.exit(0 if arguments[0] in ("-h", "--help") else 2)
    session = Session(WandbInference())
    for name, found in findings(session):
        print(f"{name:<18} {found}")
    session.close()


def findings(session: Session) -> Iterator[tuple[str, str]]:
    """Yield the name and the result of each check."""
    yield "this package", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for name in PACKAGES:
        yield name, installed_version(name) or "not installed"
    yield "practice model", "installed" if practice_server.installed() else "not installed"
    try:
        command = Command(session, dry=True)
        endpoint = command.endpoint
    except InferenceError as error:
        yield "endpoint", f"not usable: {error}"
        return
    yield "endpoint", endpoint.name if endpoint.is_local else ", ".join(dict.fromkeys((endpoint.name, endpoint.url)))
    found = "; ".join(session.keys.origins(endpoint)) or "none found"
    yield "key", f"from {found}" if endpoint.key else found
    yield "project", endpoint.project or "not set"
    yield "endpoint answers", _answer(command)


def _answer(command: Command) -> str:
    if command.endpoint.is_local:
        return "it is on this machine, and starts with the first chat"
    models = command.session.models
    try:
        models.catalog(command, refresh=True)
        failure = models.failure(command.endpoint)
    except InferenceError as error:
        failure = error
    return "yes" if failure is None else f"no: {failure.reason}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads the output, such as `head`, has ended. Python would report that it cannot write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
