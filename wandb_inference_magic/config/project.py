"""Find the project that usage is counted for, in the environment and W&B's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeVar

from ..errors import InferenceError
from .credentials import home_folder, other_host, read_settings, settings_files, shown_path

T = TypeVar("T")

PROJECT_VARIABLE: Final = "WANDB_INFERENCE_PROJECT"
_PROJECT: Final = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


def find_project(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Find the project `team/project` and its source in the environment and W&B's settings files.

    Parameters
    ----------
    environ : mapping
        The environment.

    Returns
    -------
    tuple of str, or None
        The project and its source, as text for users.

    Raises
    ------
    InferenceError
        When `WANDB_INFERENCE_PROJECT` is not of that form. A project that was set for the wandb SDK is skipped
        if it cannot be sent, or if it is for a host other than W&B's (`WANDB_BASE_URL`).
    """
    if own := environ.get(PROJECT_VARIABLE, "").strip():
        return from_variable(check_project, PROJECT_VARIABLE, own), PROJECT_VARIABLE
    return next((one for one in _of_wandb(environ) if _PROJECT.fullmatch(one[0])), None)


def ignored_project(environ: Mapping[str, str]) -> str:
    """Return why a project that was set for the wandb SDK is not sent; empty if none is set. For where none is found.

    `environ` is as for `find_project`.
    """
    source = next((source for one, source in _of_wandb(environ) if all(one.split("/"))), "")
    if not source:
        return ""
    # The values may be anything, also a key in the wrong place: they are not shown.
    return (
        f"{source}: ignored, because together they are not team/project of letters, digits, dashes, dots and "
        "underscores"
    )


def _of_wandb(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield team and project as they are set for the wandb SDK, with a slash between, and the source.

    If they are for a host other than W&B's, there are none.
    """
    import configparser

    if other_host(environ.get("WANDB_BASE_URL", "")):
        return
    home = home_folder(environ)
    yield _joined(environ, "WANDB_ENTITY", "WANDB_PROJECT"), "WANDB_ENTITY and WANDB_PROJECT"
    for path in settings_files(environ, home):
        with suppress(OSError, ValueError, configparser.Error):
            yield _joined(read_settings(path), "entity", "project"), shown_path(path, home)


def from_variable(check: Callable[[str], T], variable: str, text: str) -> T:
    """Return the checked value of an environment variable. The error for another value names the variable."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise InferenceError(
            f"The environment variable {variable} is not usable: it has quotation marks around its value.",
            why="A shell removes them, but Docker's --env-file, systemd and Windows' `set` may keep them.",
            remedy="Write the value without them.",
        )
    try:
        return check(text)
    except InferenceError as error:
        raise InferenceError(
            f"The environment variable {variable} is not usable: {error.what}", why=error.why, remedy=error.remedy
        ) from None


def _joined(values: Mapping[str, str], team: str, project: str) -> str:
    return f"{values.get(team, '').strip()}/{values.get(project, '').strip()}"


def check_project(text: str) -> str:
    """Return a project of the form `team/project`, stripped.

    Raises
    ------
    InferenceError
        For any other form. The project is sent in a header, and the service returns the same error for a wrong
        project as for a wrong key.
    """
    text = text.strip()
    if not _PROJECT.fullmatch(text):
        # Text without a slash may be a key in the wrong variable. Do not show it.
        shown = repr(text[:60]) if "/" in text else "This"
        raise InferenceError(
            f"{shown} is not a project.",
            remedy="Write it as team/project: letters, digits, dashes, dots and underscores, with one slash between.",
        )
    return text
