"""Which candidate is better, as figures and as sentences that say no more than the rows do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, isfinite, isnan, log10
from statistics import fmean
from typing import Final

from ..text import counted, three_digits
from . import sequential
from .clusters import bootstrap, difference_interval, sign_flip
from .intervals import ALPHA, holm, mcnemar, rows_needed, tango

# More rows than this are not worth naming.
MAX_ROWS: Final = 100_000
BOOTSTRAP: Final = "sign flips, bootstrap over rows"
# The relative precision of a mean of differences.
EXACT: Final = 1e-12


@dataclass(frozen=True, slots=True)
class ScoreMeasure:
    """What the scores of rows are.

    Attributes
    ----------
    name : str
        As sentences name it: "share of right answers".
    is_error : bool
        Whether a score is how far a number is from the truth: lower is better, and there is no bound. Any other score
        is a share, from 0 to 1.
    """

    name: str = "share of right answers"
    is_error: bool = False

    def within(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of an interval of a mean score, inside what is possible."""
        return max(low, 0.0), high if self.is_error else min(high, 1.0)

    def format(self, value: float) -> str:
        """Return a difference as text, without its unit: for shares, as points."""
        if self.is_error:
            return three_digits(value)
        # Tenths where whole points would hide which side of 0 they are on.
        points = value * 100
        texts = (whole(points), f"{points:.1f}", f"{points:.2g}")
        return next((text for text in texts if float(text)), "0")


SHARE: Final = ScoreMeasure()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two candidates on the same rows.

    Attributes
    ----------
    a, b : str
        Their names.
    rows : int
        The rows that both were asked about, and whose truth is known.
    difference : float
        The mean score of A minus that of B.
    low, high : float
        Its interval. With several comparisons all of their intervals hold together, with 95 % (Bonferroni).
    p_value : float
        Corrected for the number of comparisons (Holm).
    method : str
        The test and the interval.
    more : float
        How many more rows would tell them apart four times in five, if the difference is what was seen. NaN if that
        is not known, as for a test that may stop at any row.
    measure : ScoreMeasure
    """

    a: str
    b: str
    rows: int
    difference: float
    low: float
    high: float
    p_value: float
    method: str
    more: float = float("inf")
    measure: ScoreMeasure = SHARE

    @property
    def is_clear(self) -> bool:
        """Whether the test finds a difference."""
        return self.p_value <= ALPHA

    @property
    def is_at_edge(self) -> bool:
        """Whether the test and the interval disagree: one shows a difference, the other does not."""
        return self.has_interval and self.is_clear == (self.low <= 0 <= self.high)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval: one row, or rows that all have the same difference, give none."""
        return isfinite(self.low) and isfinite(self.high)

    @property
    def lead(self) -> float:
        """How much better A is than B: the difference, or its opposite for errors."""
        return -self.difference if self.measure.is_error else self.difference

    @property
    def better(self) -> str | None:
        """The name of the better candidate, or None if there is no clear difference."""
        if not self.is_clear or not self.difference:
            return None
        return self.a if self.lead > 0 else self.b

    @property
    def verdict(self) -> str:
        """`a is better`, `b is better` or `not clear`, and whether that is at the edge."""
        found = "not clear" if self.better is None else "a is better" if self.better == self.a else "b is better"
        return f"{found}, at the edge" if self.is_at_edge else found

    @property
    def sentences(self) -> str:
        """What the rows say, and what they do not."""
        if not self.rows:
            return f"There is no row to compare {self.a} and {self.b} on: nothing is known."
        if self.better is None:
            return f"{self._unclear()} {self._more_rows()}"
        return f"{self._clear()} {self._more_rows()}" if self.is_at_edge else self._clear()

    def _clear(self) -> str:
        worse = self.b if self.better == self.a else self.a
        word = "lower" if self.measure.is_error else "higher"
        edge = f"; at the edge, {self._disagreement()}" if self.is_at_edge else ""
        ends = f"({self._ends}{edge})" if self.has_interval else "on each row"
        return f"{self.better} is better than {worse}: its {self.measure.name} is {self._size} {word} {ends}."

    def _unclear(self) -> str:
        rows = counted(self.rows, "row")
        # The one that is ahead comes first, and the difference is how far.
        ahead, behind = (self.a, self.b) if self.lead >= 0 else (self.b, self.a)
        size = f"difference {self._size}" if self.difference else "no difference"
        ends = f"({size}, {self._ends})" if self.has_interval else f"({size})"
        if self.is_at_edge:
            # One row is too few for that.
            return (
                f"At the edge: {ahead} may be better than {behind}, but these {rows} do not settle it {ends}; "
                f"{self._disagreement()}."
            )
        these, show = ("These", "show") if self.rows != 1 else ("This", "shows")
        return f"{these} {rows} {show} no clear difference between {ahead} and {behind} {ends}."

    def _disagreement(self) -> str:
        """Say how the test and the interval disagree."""
        test = "finds a difference" if self.is_clear else "finds no clear difference"
        interval = "contains 0" if self.low <= 0 <= self.high else "does not contain 0"
        return f"the test {test} ({format_p(self.p_value)}), but the interval {interval}"

    @property
    def _size(self) -> str:
        """The difference without its sign, with its unit."""
        size = self.measure.format(abs(self.difference))
        return size if self.measure.is_error else f"{size} {'point' if size == '1' else 'points'}"

    @property
    def _ends(self) -> str:
        """The interval of the difference without its sign."""
        low, high = (self.low, self.high) if self.difference >= 0 else (-self.high, -self.low)
        return f"{self.measure.format(low)} to {self.measure.format(high)}"

    def _more_rows(self) -> str:
        if not self.difference:
            return "They are equally good here; more rows would narrow the interval."
        if isnan(self.more):
            return "More rows may settle it."
        would = "would settle it" if self.is_at_edge else "would show one"
        if not isfinite(self.more) or self.more > MAX_ROWS:
            return f"Not even {MAX_ROWS:,} more rows {would}, with a difference this small."
        more = rounded_up(self.more)
        return f"About {more:,} more rows {would}, 4 times in 5, if the difference really is {self._size}."


def paired(names: Sequence[str], scores: Sequence[Sequence[float]]) -> list[tuple[str, str, list[float]]]:
    """Return every two candidates with the differences of their scores on the same rows.

    The score of a row is the mean of its samples.
    """
    return [
        (a, b, [one - other for one, other in zip(ours, theirs, strict=True)])
        for (a, ours), (b, theirs) in combinations(zip(names, scores, strict=True), 2)
    ]


def compare_pairs(
    pairs: Sequence[tuple[str, str, Sequence[float]]],
    *,
    samples: int = 1,
    is_sequential: bool = False,
    measure: ScoreMeasure = SHARE,
) -> list[Comparison]:
    """Compare pairs of candidates, each given as two names and, for each row, the difference of their scores.

    Parameters
    ----------
    pairs : sequence of tuple
        As `paired` returns them.
    samples : int
        How often each row was asked.
    is_sequential : bool
        Whether the rows stopped when the comparison was decided. Then only a method that allows it is right.
    measure : ScoreMeasure
        What the scores are.
    """
    alpha = ALPHA / max(len(pairs), 1)
    found = [_tested(each, samples, alpha, is_sequential=is_sequential, measure=measure) for *_, each in pairs]
    comparisons = []
    for (a, b, each), p, (_, low, high, method) in zip(pairs, holm([p for p, *_ in found]), found, strict=True):
        mean = _mean(each)
        variance = fmean([(one - mean) ** 2 for one in each]) if each else 0.0
        more = float("nan") if is_sequential else rows_needed(mean, variance, alpha) - len(each)
        comparisons.append(Comparison(a, b, len(each), mean, low, high, p, method, more=more, measure=measure))
    return comparisons


def _mean(differences: Sequence[float]) -> float:
    """Return the mean, which is 0 where only the rounding of its terms makes it another number, as of thirds."""
    mean = fmean(differences) if differences else 0.0
    return 0.0 if abs(mean) <= EXACT * fmean(map(abs, differences or [0.0])) else mean


def _tested(
    differences: Sequence[float], samples: int, alpha: float, *, is_sequential: bool, measure: ScoreMeasure
) -> tuple[float, float, float, str]:
    """Return the p-value, the interval and the name of the method."""
    if not differences:
        return 1.0, -1.0, 1.0, "no rows"
    if is_sequential:
        inside = [min(1.0, max(-1.0, one)) for one in differences]
        return sequential.p_value(inside), *sequential.interval(inside, alpha), "betting, at a stop"
    if samples == 1 and not measure.is_error and all(one in (-1, 0, 1) for one in differences):
        only_a, only_b = (sum(one == sign for one in differences) for sign in (1, -1))
        return mcnemar(only_a, only_b), *tango(only_a, only_b, len(differences), alpha), "McNemar, Tango"
    interval = bootstrap(differences, alpha) if measure.is_error else difference_interval(differences, alpha)
    return sign_flip(differences, samples), *interval, BOOTSTRAP


def are_decided(scores: Sequence[Sequence[float]]) -> bool:
    """Return whether the rows so far show a difference between every two candidates, after Holm's correction."""
    pairs = combinations(scores, 2)
    ps = [sequential.p_value([one - other for one, other in zip(a, b, strict=True)]) for a, b in pairs]
    return bool(ps) and max(holm(ps)) <= ALPHA


def format_p(p: float) -> str:
    """Return a p-value as text."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def rounded_up(number: float) -> int:
    """Return a number of rows in one digit, at least 10, rounded up: it is an estimate."""
    step = 10 ** floor(log10(max(number, 10)))
    return int(max(ceil(number / step), 1) * step)


def whole(number: float) -> str:
    """Return a number rounded to a whole one, halves away from 0, as people do."""
    return f"{'-' if number < 0 else ''}{floor(abs(number) + 0.5 + 1e-9)}"
