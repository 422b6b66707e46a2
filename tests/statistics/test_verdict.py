"""The sentences about two candidates: what they say is in the interval, and ties are named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from wandb_inference_magic.statistics.verdict import (
    Comparison,
    ScoreMeasure,
    are_decided,
    compare_pairs,
    paired,
    rounded_up,
)

pytestmark = pytest.mark.short


def _compared(only_a: int, only_b: int, rows: int = 40, **options: object) -> Comparison:
    a = [1.0] * only_a + [0.0] * (rows - only_a)
    b = [0.0] * only_a + [1.0] * only_b + [0.0] * (rows - only_a - only_b)
    return compare_pairs(paired(["A", "B"], [a, b]), **options)[0]  # type: ignore[arg-type]


def test_a_tie_is_named_with_its_interval_and_the_rows_that_would_tell() -> None:
    found = _compared(5, 3)
    assert found.verdict == "not clear"
    assert found.sentences == (
        "These 40 rows show no clear difference between A and B (difference 5 points, -10 to 20). "
        "About 600 more rows would show one, 4 times in 5, if the difference really is 5 points."
    )


def test_a_difference_that_is_too_small_for_any_number_of_rows_is_called_so() -> None:
    said = _compared(1001, 1000, rows=4000).sentences
    assert said.endswith("Not even 100,000 more rows would show one, with a difference this small.")


def test_a_difference_is_named_from_the_side_of_the_better_one() -> None:
    assert _compared(12, 1).sentences == (
        "A is better than B: its share of right answers is 28 points higher (12 to 44)."
    )
    assert _compared(1, 12).sentences == (
        "B is better than A: its share of right answers is 28 points higher (12 to 44)."
    )


def test_where_test_and_interval_disagree_it_is_at_the_edge() -> None:
    found = _compared(5, 0)
    assert found.verdict == "not clear, at the edge"
    assert found.sentences == (
        "At the edge: A may be better than B, but these 40 rows do not settle it (difference 13 points, 3 to 26); "
        "the test finds no clear difference (p = 0.062), but the interval does not contain 0. "
        "About 30 more rows would settle it, 4 times in 5, if the difference really is 13 points."
    )


def test_without_a_difference_no_number_of_rows_is_promised() -> None:
    assert _compared(4, 4).sentences == (
        "These 40 rows show no clear difference between A and B (no difference, -15 to 15). "
        "They are equally good here; more rows would narrow the interval."
    )


def test_several_comparisons_are_corrected_for_their_number() -> None:
    # 8 rows against 1: clear alone (p = 0.039), not among three.
    a = [1.0] * 8 + [0.0] * 32
    b = [0.0] * 8 + [1.0] + [0.0] * 31
    assert compare_pairs(paired(["A", "B"], [a, b]))[0].is_clear
    found = compare_pairs(paired(["A", "B", "C"], [a, b, b]))
    assert found[0].p_value == pytest.approx(3 * 0.0390625)
    assert found[0].low < compare_pairs(paired(["A", "B"], [a, b]))[0].low
    assert [(one.a, one.b) for one in found] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert not found[0].is_clear


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_sentence_contradicts_the_interval(only_a: int, only_b: int, samples: int, sequential: bool) -> None:
    found = _compared(only_a, only_b, 60, samples=samples, is_sequential=sequential)
    says_better, holds_zero = found.better is not None, found.low <= 0 <= found.high
    assert ("at the edge" in found.sentences.casefold()) == (says_better == holds_zero)
    assert ("is better than" in found.sentences) == says_better
    assert found.low <= found.difference <= found.high
    if says_better:
        assert (found.better == "A") == (only_a > only_b)


def test_samples_are_compared_by_rows() -> None:
    # 5 samples of each row that always agree are worth no more than one of each.
    assert _compared(6, 1, samples=5).p_value == pytest.approx(_compared(6, 1).p_value)
    assert "bootstrap" in _compared(6, 1, samples=5).method


def test_a_smaller_error_is_better() -> None:
    error = ScoreMeasure("mean error", is_error=True)
    small, large = [0.1 * (one % 3) for one in range(30)], [1 + 0.1 * (one % 4) for one in range(30)]
    found = compare_pairs(paired(["A", "B"], [small, large]), measure=error)[0]
    assert found.better == "A"
    assert found.sentences.startswith("A is better than B: its mean error is 1.0")
    assert "lower (0." in found.sentences
    assert "to 1." in found.sentences


def test_a_stop_waits_for_every_comparison() -> None:
    clear = ([1.0] * 20, [0.0] * 20)
    assert are_decided(clear)
    assert not are_decided((*clear, [0.0] * 20))
    assert not are_decided(([1.0] * 20,))


def test_numbers_of_rows_are_round() -> None:
    assert [rounded_up(one) for one in (0.2, 21, 99, 101, 585, 1234)] == [10, 30, 100, 200, 600, 2000]


def test_a_tie_of_thirds_is_no_difference() -> None:
    scores = [[1.0, 1 / 3], [2 / 3, 2 / 3]]
    (tie,) = compare_pairs(paired(["A", "B"], scores), samples=3)
    assert tie.difference == 0.0
    assert "e-1" not in tie.sentences
    (small,) = compare_pairs(
        paired(["A", "B"], [[1e-15, 0.0], [0.0, 0.0]]), measure=ScoreMeasure("mean error", is_error=True)
    )
    assert small.difference == 5e-16
