"""A test that may be looked at after every row: it stops when the comparison is decided, and keeps the error level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import cos, exp, log, pi
from typing import Final

from .intervals import ALPHA, bisect

# Bets that are mixed. With so many, the mixture is exact for as many as 255 rows that only one candidate has right.
_BETS: Final = tuple((1 - cos((2 * place - 1) * pi / 256)) / 2 for place in range(1, 129))
_EDGE: Final = 1 - 1e-9


def log_capital(differences: Sequence[float] | Counter[float], difference: float = 0.0) -> float:
    """Return the logarithm of the capital of a bet that the mean of the rows' differences is not `difference`.

    For a row with x in [-1, 1] and the mean m, the bet t in [0, 1] multiplies the capital by

        (1 - t) (1 - x) / (1 - m) + t (1 + x) / (1 + m) = 1 + lambda (x - m)

    whose mean is 1 if m is the mean. The capitals of bets t are mixed by Beta(1/2, 1/2), at Chebyshev's points. The
    mixture is a martingale that starts at 1, so that it ever reaches 1 / alpha with a chance of at most alpha (Ville's
    inequality), however often it is looked at. Every factor is log-convex in m, and so is the mixture of their
    products: the means that are not rejected are an interval.

    With b rows of 1, c of -1 and m = 0, the capital is Robbins's:

        B(b + 1/2, c + 1/2) / B(1/2, 1/2) * 2^(b + c)

    Sources: H. Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical
    Statistics 41 (1970) 1397-1409; the mixture is that of R. E. Krichevsky and V. K. Trofimov, The performance of
    universal encoding, IEEE Transactions on Information Theory 27 (1981) 199-207; for bounded x, I. Waudby-Smith and
    A. Ramdas, Estimating means of bounded random variables by betting, JRSS B 86 (2024) 1-27.

    Parameters
    ----------
    differences : sequence of float, or Counter
        For each row, the mean score of A minus that of B, from -1 to 1; or how often each occurs.
    difference : float
        The mean that is tested, between -1 and 1.
    """
    counts = Counter(differences)
    against, for_ = 1 / (1 - difference), 1 / (1 + difference)
    logs = [
        sum(many * log((1 - bet) * (1 - x) * against + bet * (1 + x) * for_) for x, many in counts.items())
        for bet in _BETS
    ]
    most = max(logs)
    return most + log(sum(exp(one - most) for one in logs) / len(logs))


def p_value(differences: Sequence[float]) -> float:
    """Return the p-value after a stop, whatever the rule of stopping: one through the capital at that time."""
    return min(1.0, exp(-log_capital(differences)))


def interval(differences: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """Return the means that a bet does not reject: an interval that holds at every time at once.

    It leaves out 0 exactly when `p_value` is at most alpha.
    """
    counts, limit = Counter(differences), log(1 / alpha)
    if not counts:
        return -1.0, 1.0
    # There no bet wins: the factors of all rows have the mean 1, so that their product is at most 1.
    mean = sum(differences) / len(differences)
    low = bisect(lambda one: log_capital(counts, one) >= limit, -_EDGE, min(mean, _EDGE))
    high = bisect(lambda one: log_capital(counts, one) < limit, max(mean, -_EDGE), _EDGE)
    return min(low, mean), max(high, mean)
