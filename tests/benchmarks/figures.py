"""A figure and its reference, both measured in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table: the measure, our value and the reference as text, and the result with its goal."""

    what: str
    ours: str
    reference: str
    result: str
    goal: str
    is_met: bool


def in_turns(times: int, *measures: Callable[[], float]) -> list[float]:
    """Take the measures alternately, so that a slow moment of the machine affects all of them. Return their medians."""
    taken = [[measure() for measure in measures] for _ in range(times)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def as_ratio(what: str, ours: float, reference: float, named: str, unit: str, goal: float) -> Figure:
    """Return a figure that should be at most `goal` times its reference."""
    ratio = ours / reference
    return Figure(
        what,
        f"{ours:,.3g} {unit}",
        f"{named} {reference:,.3g} {unit}",
        f"{ratio:.2f} times",
        f"at most {goal:g} times",
        ratio <= goal,
    )


def as_difference(what: str, ours: float, reference: float, named: str, goal: float) -> Figure:
    """Return a figure in seconds that should exceed its reference by at most `goal`. It is shown in milliseconds."""
    more = (ours - reference) * 1000
    return Figure(
        what,
        f"{ours * 1000:,.1f} ms",
        f"{named} {reference * 1000:,.1f} ms",
        f"{more:+,.1f} ms",
        f"at most {goal * 1000:+g} ms",
        more <= goal * 1000,
    )


def as_limit(what: str, ours: float, goal: float) -> Figure:
    """Return a figure in seconds that should stay below a limit. It is shown in milliseconds."""
    text = f"{ours * 1000:,.1f} ms"
    return Figure(what, text, "-", text, f"at most {goal * 1000:g} ms", ours <= goal)


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows = ["| what | ours | reference | result | goal | |", "|---|---|---|---|---|---|"]
    for one in figures:
        met = "yes" if one.is_met else "**no**"
        rows.append(f"| {one.what} | {one.ours} | {one.reference} | {one.result} | {one.goal} | {met} |")
    return "\n".join(rows)
