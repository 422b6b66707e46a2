"""How an answer is scored against the known one: equality, measures of sets, numeric error, or the user's function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set as AnySet
from contextlib import suppress
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import partial
from inspect import iscoroutinefunction, signature
from statistics import fmean
from typing import Any, Final, NamedTuple

from ..errors import InferenceError, describe_exception, quoted, shortened, shortened_repr, users_failures
from ..frames import NO_VALUE, Kind, means_same, number_of, plain, read_nested
from ..statistics import SHARE, ScoreMeasure
from ..text import is_missing

# A scorer's errors can differ by row: no more of them are shown.
MAX_NOTICES: Final = 5
MAX_TRUTH_CHARS: Final = 40
# Of a larger number, no float would hold the square, and the interval is made of squares.
MAX_EXPONENT: Final = 100
# A cosine of equal vectors may be a little more or less than 1, with floats of 32 bits 1.0000001.
ROUNDING: Final = 1e-6

# The notebook's own context may have few digits, and traps.
_DECIMALS: Final = Context(prec=28, traps=[])

# Of Latin, Chinese and Japanese, and Arabic.
_COMMAS: Final = re.compile("[,\uff0c\u3001\uff64\u060c]")

Score = Callable[[Any, Any, Kind], "float | None"]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A way to score answers.

    Attributes
    ----------
    name : str
    score : callable
        Takes an answer, the truth and what the schema says of them; returns the score, or None if it has none.
    measure : ScoreMeasure
        What the mean of the scores is. `SHARE` if an answer is right or wrong.
    """

    name: str
    score: Score
    measure: ScoreMeasure = SHARE

    @property
    def has_scores(self) -> bool:
        """Whether an answer has a score besides being right or wrong."""
        return self.measure != SHARE

    @property
    def is_ours(self) -> bool:
        """Whether it is one of `SCORERS`, not a function of the user."""
        return SCORERS.get(self.name) is self

    def __reduce__(self) -> tuple[Callable[..., Scorer], tuple[Any, ...]]:
        """Pickle a scorer of ours by its name: unpickled, it is the same object."""
        if self.is_ours:
            return scorer_of, (self.name,)
        return Scorer, (self.name, self.score, self.measure)

    def is_right(self, score: float | None) -> bool:
        """Return whether a score is that of a right answer."""
        return score is not None and (score == 0 if self.measure.is_error else score >= 1)


class RowScores(NamedTuple):
    """The scores of the answers to one row.

    `samples` has the score of each answer, None for one without. `mean` is their mean, and `right` the share of
    answers that are right: both are None for a row without truth.
    """

    samples: tuple[float | None, ...]
    mean: float | None = None
    right: float | None = None


def score_samples(
    scorer: Scorer, kind: Kind, answers: Sequence[Any], truth: Any, notices: dict[str, None]
) -> RowScores:
    """Return the scores of the answers to one row.

    Parameters
    ----------
    scorer : Scorer
    kind : Kind
        What the schema says of them.
    answers : sequence
        `NO_VALUE` for one that failed.
    truth : object
        Without a value, there is no score.
    notices : dict
        Takes the errors of the user's function. The answers are paid for: the others are scored.
    """
    unknown = RowScores((None,) * len(answers))
    if is_missing(truth):
        return unknown
    if scorer.measure.is_error and as_number(truth) is None:
        if len(notices) < MAX_NOTICES:
            shown = quoted(shortened(str(truth), MAX_TRUTH_CHARS))
            notices[f"The truth {shown} is not a number: such rows are left out of the score."] = None
        return unknown
    scores: list[float | None] = []
    for answer in answers:
        score = None
        if answer is not NO_VALUE:
            try:
                score = scorer.score(answer, truth, kind)
            except InferenceError as error:
                if len(notices) < MAX_NOTICES:
                    notices[f"{error.what} Such answers count as not right."] = None
        scores.append(score)
    right = sum(map(scorer.is_right, scores)) / len(scores)
    # There is no worst error.
    mean = None if scorer.measure.is_error and None in scores else fmean(one or 0.0 for one in scores)
    return RowScores(tuple(scores), mean, right)


def cannot_start(what: str, remedy: str) -> InferenceError:
    """Return the error for an evaluation that cannot start."""
    return InferenceError(f"{what} Nothing was sent.", remedy=remedy)


def scorer_of(value: str | Callable[[Any, Any], Any] | None) -> Scorer:
    """Return the scorer of a name or of a function of the user.

    Raises
    ------
    InferenceError
        If there is none of the name.
    """
    if value is None:
        return SCORERS["equal"]
    if callable(value):
        name = str(getattr(value, "__name__", type(value).__name__))
        if iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__):
            raise cannot_start(
                f"The scorer {name} is async: it returns no number.", "Write it with def, without async."
            )
        # Some functions that are written in C have no signature.
        with suppress(TypeError, ValueError):
            _check_arguments(name, value)
        return Scorer(name, partial(_score_by, value, f"The scorer {name}"), ScoreMeasure(f"mean {name}"))
    if value not in SCORERS:
        others = f"Scorers: {', '.join(SCORERS)}, or a function of the notebook."
        raise cannot_start(f"There is no scorer {shortened_repr(value)}.", others)
    return SCORERS[value]


def _check_arguments(name: str, function: Callable[[Any, Any], Any]) -> None:
    takes = signature(function)
    try:
        takes.bind(None, None)
    except TypeError:
        what = f"The scorer {name} cannot be called with an answer and the truth: it takes {shortened(str(takes))}."
        raise cannot_start(what, "Give it two arguments: def scorer(answer, truth).") from None


def _score_by(function: Callable[[Any, Any], Any], scorer: str, answer: Any, truth: Any, _: Kind) -> float:
    try:
        returned = function(answer, truth)
    except users_failures() as error:
        raise InferenceError(f"{scorer} raised {quoted(describe_exception(error))}.") from None
    try:
        found = float(returned)
    except users_failures():
        kind = "None" if returned is None else f"a value of type {type(returned).__name__}"
        raise InferenceError(f"{scorer} returned {kind}: it must be a number from 0 to 1.") from None
    if not -ROUNDING <= found <= 1 + ROUNDING:
        raise InferenceError(f"{scorer} returned {found:g}: it must be from 0 to 1.")
    return 1.0 if found >= 1 - ROUNDING else max(found, 0.0)


def _equal(answer: Any, truth: Any, kind: Kind) -> float:
    return float(means_same(answer, truth, kind))


def _exact(answer: Any, truth: Any, kind: Kind) -> float:
    answer, truth = (plain(one, computed=False) for one in (answer, truth))
    if isinstance(answer, str) and isinstance(truth, str):
        return float(answer == truth)
    return float(means_same(answer, truth, kind))


def _items(value: Any) -> list[Any]:
    """Return the items of a set or a list, or of a text that holds one: in JSON or Python, or with commas between."""
    if is_missing(value):
        return []
    value = value if isinstance(value, AnySet) else plain(value, computed=False)
    if isinstance(value, str):
        try:
            value = read_nested(value)
        except ValueError:
            value = [one for part in _COMMAS.split(value) if (one := part.strip())]
    value = sorted(value, key=str) if isinstance(value, AnySet) else value
    return list(value) if isinstance(value, list) else [value]


def _precision_and_recall(answer: Any, truth: Any, kind: Kind) -> tuple[float, float]:
    """Return precision and recall of the items of an answer, each compared by what it means and counted once."""
    ours, theirs = _distinct(_items(answer), kind), _distinct(_items(truth), kind)
    if not ours and not theirs:
        return 1.0, 1.0
    shared = sum(any(means_same(one, other, kind.item) for other in theirs) for one in ours)
    return shared / len(ours) if ours else 0.0, shared / len(theirs) if theirs else 0.0


def _distinct(items: list[Any], kind: Kind) -> list[Any]:
    kept: list[Any] = []
    for one in items:
        if not any(means_same(one, other, kind.item) for other in kept):
            kept.append(one)
    return kept


def _f1(answer: Any, truth: Any, kind: Kind) -> float:
    precision, recall = _precision_and_recall(answer, truth, kind)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _error(answer: Any, truth: Any, _: Kind) -> float | None:
    """Return the distance of two numbers, or None if the answer is no number."""
    ours, theirs = as_number(answer), as_number(truth)
    if ours is None or theirs is None:
        return None
    return 0.0 if means_same(answer, truth) else float(_DECIMALS.subtract(ours, theirs).copy_abs())


def span(truths: Sequence[Any]) -> float:
    """Return how far known numbers lie apart, or how far from 0 if they are all the same. It is never 0."""
    numbers = [float(one) for truth in truths if (one := as_number(truth)) is not None]
    if not numbers:
        return 1.0
    return (max(numbers) - min(numbers)) or abs(numbers[0]) or 1.0


def as_number(value: Any) -> Decimal | None:
    """Return the number that a value is, or that a text consists of; None if it is none."""
    number = number_of(plain(value))
    return number if number is not None and number.is_finite() and number.adjusted() < MAX_EXPONENT else None


SCORERS: Final = {
    one.name: one
    for one in (
        Scorer("equal", _equal),
        Scorer("exact", _exact),
        Scorer("precision", lambda *given: _precision_and_recall(*given)[0], ScoreMeasure("mean precision")),
        Scorer("recall", lambda *given: _precision_and_recall(*given)[1], ScoreMeasure("mean recall")),
        Scorer("f1", _f1, ScoreMeasure("mean F1")),
        Scorer("error", _error, ScoreMeasure("mean error", is_error=True)),
    )
}
