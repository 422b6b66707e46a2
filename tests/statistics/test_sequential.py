"""The stop: Robbins's mixture, betting on row means, and the interval that belongs to them."""

from __future__ import annotations

from math import exp, lgamma, log, pi

import pytest
from hypothesis import given, settings, strategies as st

from wandb_inference_magic.statistics.sequential import interval, log_capital, p_value


def _rows(only_a: int, only_b: int, rest: int = 5) -> list[float]:
    return [1.0] * only_a + [-1.0] * only_b + [0.0] * rest


def robbins(only_a: int, only_b: int) -> float:
    """How much better a mixture of coins explains the rows than a fair one, in a closed form."""
    total = only_a + only_b
    return exp(lgamma(only_a + 0.5) + lgamma(only_b + 0.5) - lgamma(total + 1) - log(pi) + total * log(2))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 9), (40, 60)])
def test_the_mixture_is_the_integral_over_coins(only_a: int, only_b: int) -> None:
    from scipy import integrate, stats

    def better(coin: float) -> float:
        return float((2 * coin) ** only_a * (2 - 2 * coin) ** only_b * stats.beta.pdf(coin, 0.5, 0.5))

    assert robbins(only_a, only_b) == pytest.approx(integrate.quad(better, 0, 1, limit=200)[0], rel=1e-4)


@given(st.integers(0, 100), st.integers(0, 100))
def test_betting_on_rows_that_are_right_or_wrong_is_robbins(only_a: int, only_b: int) -> None:
    assert exp(log_capital(_rows(only_a, only_b))) == pytest.approx(robbins(only_a, only_b), rel=1e-6)


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), max_size=6), st.floats(-0.9, 0.9))
def test_the_next_row_does_not_change_the_expected_capital(rows: list[float], mean: float) -> None:
    # A row of 1 or -1 whose mean is `mean`: the capital is a martingale.
    up = (1 + mean) / 2
    expected = up * exp(log_capital([*rows, 1.0], mean)) + (1 - up) * exp(log_capital([*rows, -1.0], mean))
    assert expected == pytest.approx(exp(log_capital(rows, mean)))


@given(st.lists(st.sampled_from([-1.0, -0.6, -0.2, 0.0, 0.2, 0.6, 1.0]), min_size=1, max_size=60))
@settings(max_examples=30, deadline=None)
def test_the_interval_leaves_out_zero_exactly_when_it_is_decided(rows: list[float]) -> None:
    low, high = interval(rows)
    assert (not low <= 0 <= high) == (p_value(rows) <= 0.05)
    assert low <= sum(rows) / len(rows) <= high
    for inside, outside in ((low + 1e-6, low - 1e-6), (high - 1e-6, high + 1e-6)):
        if abs(outside) < 0.999:
            assert log_capital(rows, inside) < log(20) < log_capital(rows, outside)


def test_a_stop_takes_as_many_rows_as_it_must() -> None:
    assert p_value(_rows(6, 0)) > 0.05 >= p_value(_rows(7, 0))
    assert interval([]) == (-1, 1)
