"""How often intervals hold and tests give a false alarm: the figures in tests/benchmarks/README.md."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks.levels import (
    GRID,
    bootstrap_misses,
    cluster_figures,
    mcnemar_alarms,
    simulated,
    stop_alarms,
    tango_coverage,
    wilson_coverage,
)

from wandb_inference_magic.statistics.intervals import tango, wilson

COARSE = [one / 10 for one in range(1, 10)]


@pytest.mark.parametrize("n", [10, 40, 200])
@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_wilsons_coverage_is_that_of_the_score_test(n: int, p: float) -> None:
    # The interval holds p exactly where |k - np| <= 1.96 sqrt(np(1 - p)): the chance of that, by scipy.
    from scipy import stats

    half = stats.norm.ppf(0.975) * (n * p * (1 - p)) ** 0.5
    theory = sum(stats.binom.pmf(k, n, p) for k in range(n + 1) if abs(k - n * p) <= half)
    assert wilson_coverage(n, p) == pytest.approx(theory)


@pytest.mark.parametrize("n", [10, 40, 200])
@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_tangos_coverage_is_that_of_the_score_test(n: int, p: float) -> None:
    # It holds 0 exactly where |b - c| <= 1.96 sqrt(b + c): b + c rows are discordant, and b of them fall like a coin.
    from scipy import stats

    z, total = stats.norm.ppf(0.975), 0.0
    for discordant in range(n + 1):
        held = [b for b in range(discordant + 1) if abs(2 * b - discordant) <= z * discordant**0.5]
        total += stats.binom.pmf(discordant, n, 2 * p * (1 - p)) * stats.binom.pmf(held, discordant, 0.5).sum()
    assert tango_coverage(n, p, p) == pytest.approx(total)


@pytest.mark.parametrize("n", [10, 40, 200])
def test_wilson_holds_in_95_of_100_on_average(n: int) -> None:
    assert 0.94 < sum(wilson_coverage(n, p) for p in GRID) / len(GRID) < 0.97


@pytest.mark.parametrize("n", [10, 40])
def test_tango_holds_in_95_of_100_on_average(n: int) -> None:
    assert 0.94 < sum(tango_coverage(n, p, q) for p in COARSE for q in COARSE) / len(COARSE) ** 2 < 0.97


@pytest.mark.parametrize("p", [0.02, 0.5])
def test_simulations_are_within_two_standard_errors_of_the_enumeration(p: float) -> None:
    random, times, n = Random(1), 2000, 40
    wilsons = tangos = 0
    for _ in range(times):
        a, b = ([random.random() < p for _ in range(n)] for _ in range(2))
        low, high = wilson(sum(a), n)
        wilsons += low <= p <= high
        only_a = sum(one and not other for one, other in zip(a, b, strict=True))
        low, high = tango(only_a, only_a - sum(a) + sum(b), n)
        tangos += low <= 0 <= high
    expected = wilson_coverage(n, p), tango_coverage(n, p, p)
    for found, enumerated in zip((wilsons, tangos), expected, strict=True):
        assert abs(found / times - enumerated) <= simulated(enumerated, times)


def test_false_alarms_are_at_most_5_in_100() -> None:
    assert max(mcnemar_alarms(n, share) for n in (10, 40, 200) for share in COARSE) <= 0.05
    # Looked at after every row.
    assert [round(stop_alarms(most), 4) for most in (40, 200)] == [0.0271, 0.0333]


def test_false_alarms_are_at_most_5_in_100_with_clusters_too() -> None:
    found = cluster_figures(20, 4, 400)
    assert found["sign flips"] <= 0.05 + simulated(0.05, 400)
    assert found["stop"] <= 0.05
    # As rows of their own, samples would give one false alarm in five.
    assert found["McNemar over samples"] > 0.15


def test_the_bootstraps_interval_holds_for_few_rows_too() -> None:
    # Of few rows most are alike here: without Student's interval it would miss 9 in 100.
    assert bootstrap_misses(8, 3, ((5, 0.2), (3, 0.3)), 300) <= 0.05 + simulated(0.05, 300)
