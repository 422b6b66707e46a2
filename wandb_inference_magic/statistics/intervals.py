"""Shares, paired differences and agreement, with intervals and tests that are right for few rows. Plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import sqrt
from statistics import NormalDist
from typing import Any, Final

# The error level of every test, and one minus the level of every interval.
ALPHA: Final = 0.05
# The share of evaluations with `rows_needed` rows that find a difference.
POWER: Final = 0.8
_HALVINGS: Final = 60


def z_value(alpha: float) -> float:
    """Return the normal quantile that leaves `alpha` outside, on both sides together."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def wilson(right: float, rows: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Return Wilson's interval for a share.

    It is the set of shares p that the score test accepts: |k/n - p| <= z sqrt(p (1 - p) / n), solved for p.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.

    Parameters
    ----------
    right, rows : float
        k and n. Without rows, nothing is known of the share.
    alpha : float
    """
    if rows <= 0:
        return 0.0, 1.0
    z2, share = z_value(alpha) ** 2, right / rows
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = sqrt(z2 * (share * (1 - share) / rows + z2 / (4 * rows**2))) / (1 + z2 / rows)
    # Where all are right, or none, the end is exact.
    return 0.0 if right <= 0 else max(0.0, centre - half), 1.0 if right >= rows else min(1.0, centre + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of the exact McNemar test, on both sides: are A and B right equally often?

    Of the b + c rows that only one of two candidates has right, each falls to A or to B like a fair coin if there is
    no difference: p = min(1, 2 P(X <= min(b, c))), X binomial with b + c tosses.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947) 153-157; exact: F. Mosteller, Some statistical problems in measuring the subjective response
    to drugs, Biometrics 8 (1952) 220-226.

    Parameters
    ----------
    only_a, only_b : int
        b and c: the rows that only A, and only B, has right.
    """
    tosses = only_a + only_b
    # Each binomial coefficient from the one before it: anew, those of 40,000 rows take minutes.
    tail, term = 0, 1
    for count in range(min(only_a, only_b) + 1):
        tail += term
        term = term * (tosses - count) // (count + 1)
    # As whole numbers: a power of two may be too large for a float.
    return min(1.0, float(Fraction(2 * tail, 2**tosses)))


def tango(only_a: int, only_b: int, rows: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return Tango's score interval for a paired difference: the share of A minus the share of B.

    It is the set of differences d with |T(d)| <= z, where

        T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d)))

    and q is the most likely share of rows that only B has right, given d: the larger root of 2n q^2 + B q + C with
    B = -b - c + (2n - b + c) d and C = -c d (1 - d). T falls as d grows, so that each end is found by halving. At d = 0
    T is the square root of McNemar's statistic (b - c)^2 / (b + c).

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998) 891-908.

    Parameters
    ----------
    only_a, only_b : int
        b and c: the rows that only A, and only B, has right.
    rows : int
        n: all rows, also those that both or neither have right.
    alpha : float
    """
    if rows <= 0:
        return -1.0, 1.0
    z, found = z_value(alpha), (only_a - only_b) / rows

    def score(d: float) -> float:
        b = -only_a - only_b + (2 * rows - only_a + only_b) * d
        c = -only_b * d * (1 - d)
        q = (sqrt(max(b * b - 8 * rows * c, 0.0)) - b) / (4 * rows)
        variance = rows * (2 * q + d * (1 - d))
        distance = only_a - only_b - rows * d
        return distance / sqrt(variance) if variance > 0 else float((distance > 0) - (distance < 0)) * 1e9

    # T falls in d, and is 0 at the difference that was found.
    return bisect(lambda d: score(d) > z, -1.0, found), bisect(lambda d: score(d) >= -z, found, 1.0)


def bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that holds from `low` on ends: `low` or `high` if it never or always holds."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are corrected for their number, so that 5 % is the chance of any false alarm among them.

    The i-th smallest of k is multiplied by k - i + 1; none is smaller than one before it.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6
    (1979) 65-70.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = min(1.0, max(largest, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def rows_needed(difference: float, variance: float, alpha: float = ALPHA) -> float:
    """Return how many rows show a difference with a chance of `POWER`, if the true difference is the one seen.

        n = ((z_alpha sqrt(s2 + d^2) + z_power s) / d)^2

    where d is the mean and s2 the variance of the rows' differences; for rows that are right or wrong, s2 + d^2 is the
    share of rows that only one candidate has right.

    Source: R. J. Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43
    (1987) 207-211.
    """
    if difference == 0:
        return float("inf")
    z_alpha, z_power = z_value(alpha), NormalDist().inv_cdf(POWER)
    return ((z_alpha * sqrt(variance + difference**2) + z_power * sqrt(variance)) / difference) ** 2


def cohen_kappa(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[float, float, float] | None:
    """Return Cohen's kappa of two raters with its interval: 1 is full agreement, 0 what chance gives.

    kappa = (p_o - p_e) / (1 - p_e), with p_o the share of rows that both rate the same and p_e = sum of p_i. p_.i. The
    standard error is the asymptotic one of Fleiss and others:

        se^2 = (A + B - C) / ((1 - p_e)^2 n)
        A = sum p_ii (1 - (p_i. + p_.i) (1 - kappa))^2
        B = (1 - kappa)^2 sum_{i != j} p_ij (p_.i + p_j.)^2
        C = (kappa - p_e (1 - kappa))^2

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960)
    37-46; J. L. Fleiss, J. Cohen and B. S. Everitt, Large sample standard errors of kappa and weighted kappa,
    Psychological Bulletin 72 (1969) 323-327.

    Returns
    -------
    tuple of float, or None
        None if there are no rows, or if both raters gave one and the same rating to all.
    """
    rows = len(ours)
    # Fractions, so that an error of 0 is found to be 0.
    pairs = {(one, other): Fraction(0) for one in {*ours, *theirs} for other in {*ours, *theirs}}
    for pair, times in Counter(zip(ours, theirs, strict=True)).items():
        pairs[pair] = Fraction(times, rows)
    names = {one for one, _ in pairs}
    first = {name: sum(pairs[name, other] for other in names) for name in names}
    second = {name: sum(pairs[other, name] for other in names) for name in names}
    agreed, chance = sum(pairs[name, name] for name in names), sum(first[name] * second[name] for name in names)
    if not rows or chance == 1:
        return None
    kappa = (agreed - chance) / (1 - chance)
    a = sum(pairs[name, name] * (1 - (first[name] + second[name]) * (1 - kappa)) ** 2 for name in names)
    b = sum(share * (second[one] + first[other]) ** 2 for (one, other), share in pairs.items() if one != other)
    c = (kappa - chance * (1 - kappa)) ** 2
    error = sqrt((a + (1 - kappa) ** 2 * b - c) / rows) / float(1 - chance)
    half = z_value(ALPHA) * error
    return float(kappa), max(-1.0, float(kappa) - half), min(1.0, float(kappa) + half)
