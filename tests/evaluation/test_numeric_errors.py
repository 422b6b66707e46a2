"""Numbers held against numbers: how far off an answer is."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, localcontext
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from evaluations import answers_in_turn, evaluate, evaluated
from pydantic import create_model
from service import Answer, Service, completion

from wandb_inference_magic.errors import InferenceError


def test_numeric_errors_are_compared_and_a_failed_row_has_the_largest(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        number = int(re.findall(r"\d+", one.received.body["messages"][-1]["content"])[0])
        off = 1 if one.received.body["model"] == "test/x" else 5 + number % 3
        completion("none" if (off, number) == (1, 3) else str(number + off))(one)

    service.always = answer
    frame = pd.DataFrame({"n": range(20), "label": range(20)})
    found = evaluated(api, frame, prompt="{{ n }}?", scorer="error")
    assert found.rows["score test/x"].tolist()[2:4] == [1.0, 7.0]
    assert "test/x is better than test/y: its mean error is 4.6" in str(found)


def test_a_typographic_minus_and_the_last_digits_of_a_float_are_no_error(api: ModuleType, service: Service) -> None:
    said = ["\u22125.50", "0.3", "4", "**42**", '"42"', "42\u3002"]
    frame = pd.DataFrame({"x": answers_in_turn(service, *said), "label": [-5.5, 0.1 + 0.2, 3, 42, 42, 42]})
    found = evaluated(api, frame, models="test/x", prompt="{{ x }}", scorer="error")
    assert found.rows["score"].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_the_error_of_decimals_does_not_depend_on_the_notebook(api: ModuleType, service: Service) -> None:
    truths = [Decimal("1.2345"), Decimal("100.04")]
    frame = pd.DataFrame({"x": answers_in_turn(service, "3.0", "3.0"), "label": truths})
    with localcontext(Context(prec=2, traps=[Inexact])):
        found = evaluated(api, frame, models="test/x", prompt="{{ x }}", scorer="error")
    assert found.rows["score"].tolist() == [1.7655, 97.04]


@pytest.mark.parametrize("truths", [[3.5, 10], [Decimal("3.50"), 10.0], pa.array([Decimal("3.50"), Decimal(10)])])
def test_decimals_are_numbers_in_truths_and_answers(api: ModuleType, service: Service, truths: Any) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, '{"n": "4"}', '{"n": 4}'), "label": truths})
    schema = create_model("Answered", n=(Decimal, ...))
    found = evaluated(api, frame, models="test/x", prompt="{{ x }}", schema=schema, scorer="error")
    assert found.rows["score"].tolist() == [0.5, 6.0]


def test_a_decimal_comma_is_not_read_as_thousands(api: ModuleType, service: Service) -> None:
    service.then(completion("1,5"), completion("1,000"))
    frame = pd.DataFrame({"n": [1, 2], "label": [1.5, 1000]})
    found = evaluated(api, frame, prompt="{{ n }}?", models="test/x", scorer="error", concurrency=1)
    assert found.candidates[0].samples == [(None,), (0.0,)]


def test_a_model_that_never_gives_a_number_is_not_as_good_as_one_that_is_right(
    api: ModuleType, service: Service
) -> None:
    def answer(one: Answer) -> None:
        number = re.findall(r"\d+", one.received.body["messages"][-1]["content"])[0]
        completion("no idea" if one.received.body["model"] == "test/x" else number)(one)

    service.always = answer
    frame = pd.DataFrame({"n": range(10), "label": range(10)})
    found = evaluated(api, frame, prompt="{{ n }}?", scorer="error")
    assert "test/y is better than test/x: its mean error is 9 lower on each row." in str(found)
    assert "test/x gave no number on 10 rows: each counts as an error of 9." in str(found)
    assert found.summary.score_low.isna().all()


@pytest.mark.parametrize("number", ["1e9999999", "1e400", "-1e400", "1e200", "1e-9999999", "NaN", "9" * 5000])
def test_no_number_of_a_model_is_too_large_to_be_scored(api: ModuleType, service: Service, number: str) -> None:
    service.always = completion(number)
    frame = pd.DataFrame({"n": range(3), "label": range(3)})
    found = evaluated(api, frame, prompt="{{ n }}?", scorer="error")
    assert "test/x" in str(found)
    assert len(found.rows) == len(found.comparisons) * 3 == 3


def test_errors_that_are_all_the_same_have_no_interval_of_no_width(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        number = int(re.findall(r"\d+", one.received.body["messages"][-1]["content"])[0])
        completion(str(number + (2.5 if one.received.body["model"] == "test/x" else 0)))(one)

    service.always = answer
    for rows, said in (
        (8, "test/y is better than test/x: its mean error is 2.5 lower on each row."),
        (3, "no clear difference"),
    ):
        frame = pd.DataFrame({"n": range(rows), "label": range(rows)})
        found = evaluated(api, frame, prompt="{{ n }}?", scorer="error")
        assert said in found.sentences
        assert "2.5 to 2.5" not in str(found)
        assert "inf" not in str(found)


def test_large_errors_are_written_out_and_drawn_to_scale(api: ModuleType, service: Service) -> None:
    rows = answers_in_turn(service, *(str(12345 + number) for number in range(4)))
    found = api.evaluate(pd.DataFrame({"x": rows, "truth": 0}), "{{ x }}", truth="truth", scorer="error")
    assert found.sentences == "test/model-a has a mean error of 12,346 (12,344 to 12,349) on 4 rows."
    assert "mean error (95% interval)  0 to 12,349 " in str(found)
    assert "e+" not in str(found)


def test_a_truth_that_is_no_number_has_no_error(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, "5", "6"), "truth": ["4", "6 km"]})
    found = evaluate(api, frame, "{{ x }}", truth="truth", scorer="error")
    assert found.summary["score"].tolist() == [1.0]
    assert "The truth 6 km is not a number: such rows are left out of the score." in repr(found)
    assert found.sentences == "test/model-a has a mean error of 1 on 1 row."
    assert "gave no number" not in repr(found)


def test_truths_of_which_none_is_a_number_are_refused_before_anything_is_sent(
    api: ModuleType, service: Service
) -> None:
    frame = pd.DataFrame({"x": ["a", "b", "c"], "price": ["$5", None, "7 EUR"]})
    with pytest.raises(InferenceError, match=r"no row has one in 'price': the first value is '\$5'. Nothing was sent"):
        api.evaluate(frame, "{{ x }}", truth="price", scorer="error")
    assert service.chats == []
