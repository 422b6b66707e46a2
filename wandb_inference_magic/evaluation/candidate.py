"""One of the candidates of an evaluation: a model with a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..batch import BatchRun


@dataclass
class Candidate:
    """A model with a prompt, and how it did.

    `answers`, `errors` and `seconds` hold a list for each row, with one entry for each sample, and `samples` their
    scores. `scores` holds the mean score of each row, and `right` the share of its samples that are right: None for a
    row without truth.
    """

    model: str
    prompt: str
    label: str
    run: BatchRun
    answers: list[list[Any]] = field(default_factory=list)
    errors: list[list[str]] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)
    samples: list[Sequence[float | None]] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    right: list[float | None] = field(default_factory=list)


def fill_in_the_worst(candidates: Sequence[Candidate], least: float) -> list[str]:
    """Give a row without a score the worst of all: to leave it out would favour the candidate that failed.

    Parameters
    ----------
    candidates : sequence of Candidate
    least : float
        What such a row counts as at least, if all others are perfect or a candidate has no score on any row: then the
        worst of the others is no measure of it.

    Returns
    -------
    list of str
        Notices that say so.
    """
    found = [[one for one in each.scores if one is not None] for each in candidates]
    worst = max((max(scores) for scores in found if scores), default=0.0)
    if not worst or not all(found):
        worst = max(worst, least)
    notices = []
    for each in candidates:
        missing = [place for place, one in enumerate(each.scores) if one is None and each.right[place] is not None]
        for place in missing:
            each.scores[place] = worst
        if missing:
            rows = counted(len(missing), "row")
            notices.append(f"{each.label} gave no number on {rows}: each counts as an error of {worst:.3g}.")
    return notices
