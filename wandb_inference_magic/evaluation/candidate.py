"""The candidates of an evaluation, each a model with a prompt, and the rows as a frame with what each made of them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..frames import ANY, Kind, column_of, plain, with_label, with_pandas_columns, without_failures
from ..messages import data_frame
from ..rendering import name_of_model
from ..text import counted, is_missing, three_digits
from .scorers import RowScores, span

if TYPE_CHECKING:
    from ..batch import RunTotals
    from ..frames import Row, TypedColumn


@dataclass
class Candidate:
    """A model with a prompt, and how it did.

    `request` holds what all its requests have in common: the prompt, the system prompt and the parameters. `answers`,
    `errors`, `texts` (what came in place of answers) and `seconds` hold a list for each row, with one entry for each
    sample, and `samples` their scores.
    `endpoint` is the name of what answered; empty if it is not known.
    `scores` holds the mean score of each row, and `right` the share of its samples that are right: None for a row
    without truth.
    """

    model: str
    prompt: str
    label: str
    request: Mapping[str, Any]
    totals: RunTotals
    answers: list[list[Any]] = field(default_factory=list)
    errors: list[list[str]] = field(default_factory=list)
    texts: list[list[str | None]] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)
    samples: list[Sequence[float | None]] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    right: list[float | None] = field(default_factory=list)
    endpoint: str = ""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        # In an earlier version, a row without truth had no scores.
        self.samples = [
            scores or (None,) * len(answers) for scores, answers in zip(self.samples, self.answers, strict=True)
        ]

    def add(self, scores: RowScores) -> None:
        """Add the scores of the next row."""
        self.samples.append(scores.samples)
        self.scores.append(scores.mean)
        self.right.append(scores.right)

    @property
    def shown_model(self) -> str:
        """The model as users read it."""
        return name_of_model(self.model, self.endpoint)

    @property
    def answered(self) -> int:
        """The number of samples that are answered. The answer may be null."""
        rows = zip(self.answers, self.errors, strict=True)
        return sum(one is not None or not error for row in rows for one, error in zip(*row, strict=True))

    @property
    def failures(self) -> list[str | None]:
        """For each row, the first error of its samples; None if there is none."""
        return [next(filter(None, errors), None) for errors in self.errors]

    def columns(self, *, has_scores: bool) -> dict[str, list[Any]]:
        """Return what it made of the rows, as columns."""
        is_sampled = any(len(each) != 1 for each in self.answers)
        known = [[each for each in seconds if each > 0] for seconds in self.seconds]
        return {
            "answer": self.answers if is_sampled else [each[0] for each in self.answers],
            "right": self.right if is_sampled else [None if each is None else each == 1 for each in self.right],
            **({"score": self.scores} if has_scores else {}),
            "seconds": [fmean(each) if each else None for each in known],
            "error": self.failures,
            **({"text": [next(filter(None, each), None) for each in self.texts]} if any(map(any, self.texts)) else {}),
        }


def impute_worst_score(candidates: Sequence[Candidate], truths: Sequence[Any]) -> list[str]:
    """Give a row without a score the worst of all: to leave it out would favour the candidate that failed.

    If all others are perfect, or a candidate has no score on any row, the worst of the others is no measure of it: then
    such a row counts as at least the span of the known truths.

    Returns
    -------
    list of str
        Notices that say so.
    """
    found = [[one for one in each.scores if one is not None] for each in candidates]
    worst = max((max(scores) for scores in found if scores), default=0.0)
    if not worst or not all(found):
        worst = max(worst, span(truths))
    notices = []
    for each in candidates:
        missing = [place for place, one in enumerate(each.scores) if one is None and each.right[place] is not None]
        for place in missing:
            each.scores[place] = worst
        if missing:
            rows = counted(len(missing), "row")
            notices.append(f"{each.label} gave no number on {rows}: each counts as an error of {three_digits(worst)}.")
    return notices


def frame_of(
    source: Sequence[Row],
    places: Sequence[int],
    candidates: Sequence[Candidate],
    kind: Kind,
    truth: str,
    by_hand: Mapping[int, Any],
    *,
    has_scores: bool,
) -> Any:
    """Return the rows as a DataFrame. The answers have the types of a map's columns.

    Parameters
    ----------
    source : sequence of Row
    places : sequence of int
        Where each was in the frame. They are the column `index`, if rows were left out and have no index of their own.
    candidates : sequence of Candidate
    kind : Kind
        The type of an answer: what the schema says of it, or ANY for the answers to several samples.
    truth : str
        The column with the right answers.
    by_hand : mapping
        What a person said is right, by row.
    has_scores : bool
        Whether answers have scores besides being right or wrong.
    """
    # A column of the input that has the name of one of the evaluation is kept.
    rows = [{name: without_failures(one, {}) for name, one in with_label(row).items()} for row in source]
    given = {name for row in rows for name in row}
    columns: dict[str, list[Any]] = {}
    answers: dict[str, TypedColumn] = {}
    for one in candidates:
        end = "" if len(candidates) == 1 else f" {one.label}"
        for name, values in one.columns(has_scores=has_scores).items():
            columns[_free(f"{name}{end}", given)] = values
        name = _free(f"answer{end}", given)
        answers[name] = _typed(columns[name], kind)
    if by_hand:
        name = _free(f"{truth} reviewed", given)
        columns[name] = [by_hand.get(number) for number in range(len(rows))]
        answers[name] = _typed(columns[name], Kind(ANY))
        # An answer in place of the truth may be of another type, and no file takes a column of both.
        known = [row.get(truth) for row in rows]
        if len({type(one) for one in known if not is_missing(one)}) > 1:
            answers[truth] = _typed(known, Kind(ANY))
    has_index = any(row is not with_label(row) for row in source)
    if not has_index and any(place != number for number, place in enumerate(places)):
        name = _free("index", given)
        rows = [{name: place, **row} for place, row in zip(places, rows, strict=True)]
    records = [
        dict(row) | {name: values[number] for name, values in columns.items()} for number, row in enumerate(rows)
    ]
    frame = data_frame(records)
    return with_pandas_columns(frame, answers)[0] if records else frame


def _typed(values: Sequence[Any], kind: Kind) -> TypedColumn:
    return column_of(kind, [plain(one) for one in values])[0]


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name = f"{name}_eval"
    return name
