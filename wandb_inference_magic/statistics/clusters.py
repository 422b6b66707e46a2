"""Tests and intervals for rows that are asked several times, or scored by parts: a row is one observation."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin, sqrt, tan
from operator import getitem
from random import Random
from statistics import NormalDist, fmean, stdev
from typing import Final

from .intervals import ALPHA, bisect, tango, wilson, z_value

# Random numbers begin with this seed: the same answers give the same figures.
SEED: Final = 20
RESAMPLES: Final = 2000
FLIPS: Final = 9999
# Above this many steps, sums of whole numbers are drawn and not enumerated.
MAX_STEPS: Final = 2_000_000
_CLOSE: Final = 1e-9
# Up to here, the expansion of Student's quantile is too small where many comparisons are corrected for.
FEW_DEGREES: Final = 15


def sign_flip(differences: Sequence[float], samples: int = 1) -> float:
    """Return the p-value of the sign-flip test, on both sides: is the mean of the rows' differences 0?

    If A and B do not differ, the difference of a row is as likely to be d as -d. The p-value is the share of all 2^n
    choices of signs whose sum is as far from 0 as the one seen. Where differences are whole multiples of 1 / samples,
    all choices are counted: the distribution of the sum is built up row by row. Otherwise 9,999 choices are drawn, and
    the one seen is counted with them: (1 + extreme) / (1 + drawn). With differences of -1, 0 and 1 it is the exact
    McNemar test.

    Source: R. A. Fisher, The Design of Experiments (1935), section 21; B. Phipson and G. K. Smyth, Permutation P-values
    should never be zero, Statistical Applications in Genetics and Molecular Biology 9 (2010), article 39.

    Parameters
    ----------
    differences : sequence of float
        For each row, the mean score of A minus that of B.
    samples : int
        How often each row was asked.
    """
    scaled = [one * samples for one in differences]
    sizes = [abs(round(one)) for one in scaled if abs(one) > _CLOSE]
    is_whole = all(abs(one - round(one)) < _CLOSE * samples for one in scaled)
    seen = abs(sum(scaled))
    if is_whole and len(sizes) * (sum(sizes) + 1) <= MAX_STEPS:
        chances = _sums(sizes)
        # A sum of signed sizes is its total minus twice what was flipped.
        total = sum(sizes)
        tail = sum(chance for flipped, chance in enumerate(chances) if abs(total - 2 * flipped) >= round(seen))
        return min(1.0, tail)
    random, magnitudes = Random(SEED), [abs(one) for one in scaled if one]
    size = sum(magnitudes)
    least = seen - _CLOSE * max(size, 1.0)
    tables = _subset_sums(magnitudes)
    flipped = (sum(map(getitem, tables, random.randbytes(len(tables)))) for _ in range(FLIPS))
    extreme = sum(abs(size - 2 * one) >= least for one in flipped)
    return (1 + extreme) / (1 + FLIPS)


def _subset_sums(sizes: Sequence[float]) -> list[list[float]]:
    """Return, for every eight sizes, the sums of their 256 subsets: a random byte then chooses among eight at once."""
    tables = []
    # A bit without a size chooses nothing.
    padded = [*sizes, *[0.0] * (-len(sizes) % 8)]
    for begin in range(0, len(padded), 8):
        sums = [0.0]
        for size in padded[begin : begin + 8]:
            sums += [one + size for one in sums]
        tables.append(sums)
    return tables


def _sums(sizes: Sequence[int]) -> list[float]:
    """Return the chance of each sum of sizes that are each taken with a chance of one half."""
    chances = [1.0]
    for size in sizes:
        longer = [one / 2 for one in chances] + [0.0] * size
        for place, chance in enumerate(chances):
            longer[place + size] += chance / 2
        chances = longer
    return chances


def bootstrap(values: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of a mean by the cluster bootstrap: whole rows are drawn again, with their samples.

    2,000 sets of n rows are drawn with replacement; the interval lies between two percentiles of their means. The
    percentiles are those of the expanded bootstrap: the normal quantile becomes sqrt(n / (n - 1)) times the quantile of
    Student's t, because the plain percentiles are too close together for few rows. Where Student's interval of the
    rows' means reaches further, its end is taken: with ten rows, of which most are alike, few sets hold the others.

    Source: B. Efron, Bootstrap methods, Annals of Statistics 7 (1979) 1-26; C. A. Field and A. H. Welsh, Bootstrapping
    clustered data, JRSS B 69 (2007) 369-390; expanded: T. C. Hesterberg, What teachers should know about the bootstrap,
    The American Statistician 69 (2015) 371-386.

    Parameters
    ----------
    values : sequence of float
        One for each row: the mean of its samples.
    alpha : float
    """
    rows, random = len(values), Random(SEED)
    if len(set(values)) < 2:
        # Few equal rows are no certainty, and they do not say how far others may lie.
        return float("-inf"), float("inf")
    means = sorted(fmean(random.choices(values, k=rows)) for _ in range(RESAMPLES))
    student = t_value(alpha, rows - 1)
    wide = sqrt(rows / (rows - 1)) * student
    outside = NormalDist().cdf(-wide) * (RESAMPLES - 1)
    mean, half = fmean(values), student * stdev(values) / sqrt(rows)
    return min(_at(means, outside), mean - half), max(_at(means, RESAMPLES - 1 - outside), mean + half)


def _at(ordered: Sequence[float], place: float) -> float:
    below = min(max(int(place), 0), len(ordered) - 2)
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


def difference_interval(differences: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of the mean of differences from -1 to 1: the bootstrap's, inside what is possible.

    Where all rows have the same difference there is nothing to draw: then each row counts as one that was asked once
    (Tango's interval), so that few equal rows are not certainty.
    """
    rows = len(differences)
    if len(set(differences)) <= 1:
        only_a, only_b = (sum(one > 0 for one in differences), sum(one < 0 for one in differences))
        low, high = tango(only_a, only_b, rows, alpha)
        found = differences[0] if differences else 0.0
        return min(low, found), max(high, found)
    low, high = bootstrap(differences, alpha)
    return max(-1.0, low), min(1.0, high)


def share_interval(shares: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the mean of shares from 0 to 1: Wilson's, for as many rows as they are worth.

    Rows that are right or wrong as a whole are worth n rows: then it is Wilson's interval itself. Where samples of a
    row differ, the mean is known better than that: as well as by the number of rows that a share with the same standard
    error would take, the effective sample size p (1 - p) / se^2. Where all rows agree, it is n.

    Source: E. L. Korn and B. I. Graubard, Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data, Survey Methodology 24 (1998) 193-201; with Wilson's: N. Dean and M. Pagano,
    Evaluating confidence interval methods for binomial proportions in clustered surveys, Journal of Survey Statistics
    and Methodology 3 (2015) 484-503.
    """
    rows = len(shares)
    share = fmean(shares) if shares else 0.0
    if rows < 2 or all(one in (0, 1) for one in shares):
        return wilson(share * rows, rows)
    spread = stdev(shares)
    worth = share * (1 - share) / (spread**2 / rows) if spread > 0 else rows
    # The standard error is itself an estimate: Student's quantile in place of the normal one.
    worth *= (z_value(ALPHA) / t_value(ALPHA, rows - 1)) ** 2
    return wilson(share * worth, worth)


def t_value(alpha: float, freedom: int) -> float:
    """Return the quantile of Student's t that leaves `alpha` outside, on both sides together.

    For few degrees of freedom the inverse of the exact distribution, else the expansion in 1 / freedom: M. Abramowitz
    and I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.3 to 26.7.5.
    """
    if freedom <= FEW_DEGREES:
        return sqrt(freedom) * tan(bisect(lambda angle: _inside(angle, freedom) < 1 - alpha, 0.0, pi / 2))
    z = z_value(alpha)
    return (
        z
        + (z**3 + z) / 4 / freedom
        + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160 / freedom**4
    )


def _inside(angle: float, freedom: int) -> float:
    """Return the chance that Student's t is at most sqrt(freedom) tan(angle) from 0."""
    is_odd = freedom % 2
    total, term = 0.0, cos(angle) if is_odd else 1.0
    for power in range(is_odd, freedom - 1, 2):
        total += term
        term *= cos(angle) ** 2 * (power + 1) / (power + 2)
    inside = total * sin(angle)
    return (angle + inside) * 2 / pi if is_odd else inside
