"""Shares, paired differences and agreement: against scipy, statsmodels and published worked examples.

Tests import statsmodels themselves: each process of a run imports this file, and would take seconds more for it.
"""

from __future__ import annotations

import gc
from math import sqrt
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from wandb_inference_magic.statistics.clusters import bootstrap, difference_interval, share_interval, sign_flip, t_value
from wandb_inference_magic.statistics.intervals import cohen_kappa, holm, mcnemar, rows_needed, tango, wilson, z_value


@pytest.mark.parametrize("rows", [1, 10, 40, 200])
def test_wilson_equals_statsmodels_and_scipy(rows: int) -> None:
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    for right in range(rows + 1):
        theirs = proportion_confint(right, rows, method="wilson")
        assert wilson(right, rows) == pytest.approx(theirs, abs=1e-9)
        other = stats.binomtest(right, rows).proportion_ci(0.9, method="wilson")
        assert wilson(right, rows, 0.1) == pytest.approx((other.low, other.high), abs=1e-9)


@pytest.mark.parametrize(
    ("right", "rows", "interval"),
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998)
    # 857-872, table I, method 3.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_what_newcombe_published(right: int, rows: int, interval: tuple[float, float]) -> None:
    assert wilson(right, rows) == pytest.approx(interval, abs=5e-5)


def test_nothing_is_known_of_a_share_without_rows() -> None:
    assert wilson(0, 0) == (0, 1)
    assert tango(0, 0, 0) == (-1, 1)


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=50)
def test_mcnemar_equals_statsmodels_and_the_sign_flip_test(only_a: int, only_b: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar

    theirs = their_mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(min(theirs, 1.0))
    differences = [1.0] * only_a + [-1.0] * only_b + [0.0] * 7
    assert sign_flip(differences) == pytest.approx(mcnemar(only_a, only_b))


def test_mcnemar_of_very_many_rows_is_a_number() -> None:
    assert mcnemar(2500, 2500) == 1
    assert 0 < mcnemar(2300, 2700) < 1e-5


def test_mcnemar_of_a_large_evaluation_does_not_take_minutes() -> None:
    from scipy import stats

    assert mcnemar(19_600, 20_400) == pytest.approx(stats.binomtest(19_600, 40_000).pvalue)


@pytest.mark.parametrize(
    ("only_a", "only_b", "rows", "interval"),
    [
        # M. W. Fagerland, S. Lydersen and P. Laake, Recommended tests and confidence intervals for paired binomial
        # proportions, Statistics in Medicine 33 (2014) 2850-2875: airway hyper-responsiveness (Bentur, 2009).
        (1, 7, 21, (-0.517, -0.026)),
    ],
)
def test_tango_gives_what_was_published(only_a: int, only_b: int, rows: int, interval: tuple[float, float]) -> None:
    assert tango(only_a, only_b, rows) == pytest.approx(interval, abs=5e-4)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_the_ends_of_tango_are_where_the_constrained_score_statistic_is_the_quantile(b: int, c: int, rest: int) -> None:
    rows = b + c + rest
    if not rows:
        return
    low, high = tango(b, c, rows)
    assert -1 <= low <= (b - c) / rows <= high <= 1
    # The other way round, it is the other way round.
    assert tango(c, b, rows) == pytest.approx((-high, -low), abs=1e-9)
    for end in (low, high):
        if abs(end) < 0.999:
            assert abs(_constrained_score(b, c, rows, end)) == pytest.approx(z_value(0.05), abs=2e-3)


def _constrained_score(b: int, c: int, rows: int, difference: float) -> float:
    """The score statistic, with the likelihood maximised by a search and not by Tango's formula."""
    from scipy.optimize import minimize_scalar

    def loss(q: float) -> float:
        shares = (q + difference, q, 1 - 2 * q - difference)
        return -sum(n * np.log(max(p, 1e-300)) for n, p in zip((b, c, rows - b - c), shares, strict=True) if n)

    least, most = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(loss, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
    return float((b - c - rows * difference) / sqrt(rows * (2 * q + difference * (1 - difference))))


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40)
def test_tango_at_zero_is_mcnemars_statistic(b: int, c: int, rest: int) -> None:
    # The interval at the level of McNemar's own p-value ends at 0.
    from scipy import stats

    p = 2 * stats.norm.sf(abs(b - c) / sqrt(b + c))
    low, high = tango(b, c, b + c + rest, min(p, 1 - 1e-12))
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    # It collects garbage in each call, in a process that has imported much.
    with patch.object(gc, "collect"):
        theirs = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(theirs))


def test_rows_needed_have_the_power_that_is_said() -> None:
    # 20 % of the rows are right for one candidate alone, and the difference is 5 points.
    from scipy import stats

    rows = round(rows_needed(0.05, 0.2 - 0.05**2))
    assert rows == 626
    discordant = np.arange(rows + 1)
    power = 0.0
    for total, chance in zip(discordant, stats.binom.pmf(discordant, rows, 0.2), strict=True):
        if chance > 1e-9:
            # Without a correction for being exact: the formula is that of the score test.
            most = (total - 1.96 * sqrt(total)) / 2
            power += chance * (stats.binom.cdf(most, total, 0.375) + stats.binom.sf(total - most - 1e-9, total, 0.375))
    assert 0.78 < power < 0.82
    assert rows_needed(0, 0.2) == float("inf")


def test_kappa_equals_statsmodels() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    ours = list("aabbbaaabacbcbbbacaa")
    theirs = list("aabbaaabbaccbcbbabab")
    table, _ = to_table(np.array([[ord(one), ord(other)] for one, other in zip(ours, theirs, strict=True)]))
    expected = cohens_kappa(table)
    found = cohen_kappa(ours, theirs)
    assert found is not None
    assert found == pytest.approx((expected.kappa, expected.kappa_low, expected.kappa_upp))
    assert cohen_kappa([], []) is None
    assert cohen_kappa("aaa", "aaa") is None


@pytest.mark.parametrize("rows", range(4, 40))
@pytest.mark.parametrize("is_same", [True, False])
def test_a_kappa_without_an_error_has_no_interval_of_rounding_errors(rows: int, *, is_same: bool) -> None:
    theirs = [number % 3 == 0 for number in range(rows)]
    kappa = float(is_same)
    assert cohen_kappa(theirs if is_same else [True] * rows, theirs) == (kappa, kappa, kappa)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
@settings(max_examples=40, deadline=None)
def test_the_sign_flip_test_equals_scipys_permutation_test(sums: list[int]) -> None:
    from scipy import stats

    differences = np.array([one / 4 for one in sums])
    theirs = stats.permutation_test(
        (differences,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip(list(differences), 4) == pytest.approx(theirs.pvalue)


def test_the_sign_flip_test_of_measures_draws_signs_and_is_never_zero() -> None:
    from scipy import stats

    differences = [0.311 + one / 97 for one in range(30)]
    assert sign_flip(differences) == 1 / 10_000
    mixed = [(-1) ** one * (0.3 + one / 97) for one in range(12)]
    exact = stats.permutation_test(
        (np.array(mixed),), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", vectorized=True
    ).pvalue
    assert sign_flip(mixed) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("magnitudes", [[0.3, 0.7], [0.3 + one / 997 for one in range(90)]])
def test_drawn_signs_of_few_and_of_many_magnitudes_agree_with_scipy(magnitudes: list[float]) -> None:
    from scipy import stats

    random = np.random.default_rng(3)
    signs = random.choice([-1, 1], 90, p=[0.42, 0.58])
    differences = [float(sign * magnitudes[place % len(magnitudes)]) for place, sign in enumerate(signs)]
    theirs = stats.permutation_test(
        (np.array(differences),),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        random_state=4,
    )
    assert 0.02 < theirs.pvalue < 0.9
    assert sign_flip(differences) == pytest.approx(theirs.pvalue, abs=0.02)


@pytest.mark.parametrize(
    ("differences", "exact"),
    [
        ([7006643.01, 5071159.71, 5498874.25, 7135575.48, 4850559.11], 0.0625),
        ([98765432.1] * 11 + [-98765432.1] * 3, 0.0574),
    ],
)
def test_the_sign_flips_of_large_differences_count_ties(differences: list[float], exact: float) -> None:
    assert sign_flip(differences) == pytest.approx(exact, abs=0.008)


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_bootstrap_of_few_and_of_many_different_values_agrees_with_scipy(decimals: int) -> None:
    from scipy import stats

    random = np.random.default_rng(6)
    values = np.round(random.beta(0.4, 2, 900), decimals)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, random_state=7)
    low, high = bootstrap([*map(float, values)])
    interval = theirs.confidence_interval
    width = interval.high - interval.low
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.08 * width)


def test_the_cluster_bootstrap_is_near_students_interval_and_the_same_each_time() -> None:
    from scipy import stats

    random = np.random.default_rng(5)
    values = [*map(float, random.binomial(5, 0.6, 60) / 5)]
    low, high = bootstrap(values)
    theirs = stats.t.interval(0.95, 59, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(theirs, abs=0.012)
    assert bootstrap(values) == (low, high)


@pytest.mark.parametrize("freedom", [*range(1, 18), 39, 199, 10**9])
@pytest.mark.parametrize("comparisons", [1, 3, 45, 190])
def test_students_quantile(freedom: int, comparisons: int) -> None:
    from scipy import stats

    alpha = 0.05 / comparisons
    assert t_value(alpha, freedom) == pytest.approx(stats.t.isf(alpha / 2, freedom), rel=1e-3)


def test_equal_rows_are_not_certainty() -> None:
    assert difference_interval([0.0] * 10) == tango(0, 0, 10)
    assert difference_interval([0.5] * 10)[0] < 0.5
    assert share_interval([1.0] * 10) == wilson(10, 10)
    assert share_interval([0.5] * 10) != (0.5, 0.5)


def test_a_share_of_samples_is_known_as_well_as_the_rows_allow() -> None:
    # Samples that always agree are worth no more than one.
    assert share_interval([1.0] * 30 + [0.0] * 10) == wilson(30, 40)
    low, high = share_interval([0.6, 0.8, 1.0, 0.6] * 10)
    assert low > wilson(30, 40)[0]
    assert high < wilson(30, 40)[1]
