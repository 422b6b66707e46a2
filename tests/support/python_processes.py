"""Python in another process, with an environment that a test gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run_python(
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    timeout: float = 120,
    encoding: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end, in `folder`."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        encoding=encoding,
    )


def run_diagnosis(environment: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m wandb_inference_magic`."""
    return run_python("-m", "wandb_inference_magic", *arguments, environment=environment, folder=folder)
