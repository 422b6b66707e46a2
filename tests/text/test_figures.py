"""Counts, durations and costs read the same everywhere; lines of messages break at words."""

from __future__ import annotations

import pytest
from kernels import plain

from wandb_inference_magic.catalog import describe_cost
from wandb_inference_magic.errors import InferenceError, Interrupted
from wandb_inference_magic.text import counted, duration, wrapped


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (3.21, "3.2 s"),
        (3, "3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125.0, "2 min 5 s"),
        (3600, "1 h"),
        (3_720_000, "1,033 h 20 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_counts_and_costs() -> None:
    assert [counted(number, "row") for number in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    assert [describe_cost(cost) for cost in (None, 0.0, 0.00012)] == ["cost unknown", "free", "$0.00012"]


def test_lines_of_messages_break_at_words() -> None:
    """JupyterLab and terminals break a longer line wherever it reaches the edge."""
    address = "https://example.org/" + "a" * 90
    words = " ".join(["antidisestablishmentarianism"] * 9)
    error = InferenceError(f"It failed: {words}.", why=f"See {address} for it.", remedy=words, cause="request")
    lines = plain("\n".join(error._render_traceback_())).splitlines()
    assert all(len(line) <= 80 or address in line for line in lines)
    assert len(lines) > 8
    assert " ".join(" ".join(lines).split()) == f"It failed: {words}. See {address} for it. What to do: {words}"
    assert "\n" not in str(error)
    assert len(Interrupted(words)._render_traceback_()[0].splitlines()) > 1
    assert wrapped("short\n\nlines") == "short\n\nlines"
