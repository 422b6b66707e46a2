"""The benchmarks run. These tests do not judge the results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from browser import JupyterServer
from playwright.sync_api import Page
from service import Wandb

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def printed(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_short_benchmarks_run() -> None:
    # Those two have tests of their own.
    assert printed("run.py", "--short", "--skip", "dropdown", "--skip", "map").count("\n| ") == 11


def test_the_map_benchmark_runs() -> None:
    assert "| AsyncOpenAI by hand |" in printed("map_run.py", "--rows", "60")


@pytest.mark.browser
def test_the_benchmark_of_the_picker_runs(
    server: JupyterServer, page: Page, wandb_hosts: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from browser_run import dropdown_at

    figure = dropdown_at(server, page, wandb_hosts.api, 1, 100)
    assert figure.ours.endswith("ms")
    assert figure.reference.startswith("30 models")
