"""The benchmarks run. These tests do not judge the results."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.browser
def test_the_short_benchmarks_run() -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "run.py"
    done = subprocess.run([sys.executable, str(script), "--short"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n| ") == 13


def test_the_map_benchmark_runs() -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "map_run.py"
    done = subprocess.run([sys.executable, str(script), "--rows", "60"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "| AsyncOpenAI by hand |" in done.stdout
