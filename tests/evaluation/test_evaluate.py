"""`evaluate`: models and prompts held against known answers."""

from __future__ import annotations

import json
import pickle
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, Inexact, localcontext
from enum import Enum
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from evaluations import evaluate
from pydantic import AfterValidator, BaseModel, Field, HttpUrl, SecretStr, computed_field, create_model
from service import Answer, Service, completion, refused, usage

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.evaluation import result
from wandb_inference_magic.evaluation.run import Scores
from wandb_inference_magic.statistics import ScoreMeasure, compare_pairs, paired

FRAME = pd.DataFrame({"text": list("abcd"), "label": ["good", "good", "bad", "bad"]})


class Mark(Enum):
    A = 1
    B = 2


def by_model(service: Service, **answers: str) -> None:
    """Answer the rows a, b, c, d with the words of the model's text, in this order. `-` refuses."""

    def answer(one: Answer) -> None:
        words = answers[one.received.body["model"].partition("/")[2]].split()
        word = words["abcd".index(one.received.body["messages"][-1]["content"][0])]
        if word == "-":
            refused(400, "no")(one)
        elif "response_format" in one.received.body:
            completion(json.dumps({"label": word, "why": one.received.body["model"]}), counted=usage(10, 5))(one)
        else:
            completion(f"{word.title()}.", counted=usage(10, 5))(one)

    service.always = answer


def evaluated(api: ModuleType, frame: object = FRAME, **options: Any) -> Any:
    options = {"models": ["test/x", "test/y"], "truth": "label"} | options
    return evaluate(api, frame, options.pop("prompt", "{{ text }}?"), **options)


def by_number(service: Service, right: Callable[[str, int], bool]) -> pd.DataFrame:
    """Answer `yes` to row n of the frame that is returned, where the model is right, by its name and n; else `no`."""

    def answer(one: Answer) -> None:
        number = int(re.findall(r"\d+", one.received.body["messages"][-1]["content"])[0])
        completion("yes" if right(one.received.body["model"].partition("/")[2], number) else "no")(one)

    service.always = answer
    return pd.DataFrame({"n": range(40), "label": "yes"})


def test_the_summary_says_how_often_each_model_is_right(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api)
    summary = found.summary
    assert list(summary.columns) == [
        "model", "prompt", "rows", "answered", "right", "share", "low", "high", "cost_usd", "seconds", "tokens",
    ]  # fmt: skip
    assert summary[["model", "rows", "answered", "right", "share"]].values.tolist() == [
        ["test/x", 4, 4, 4, 1.0],
        ["test/y", 4, 3, 2, 0.5],
    ]
    assert summary[["low", "high"]].round(3).values.tolist() == [[0.51, 1.0], [0.15, 0.85]]
    assert summary.tokens.tolist() == [60, 45]
    assert (summary.seconds > 0).all()
    assert summary.cost_usd.isna().all(), "no price is known"
    assert "1 failed or cut, counted as not right. Row 3 of `rows`, test/y:" in str(found)


def is_short(answer: str, truth: str) -> float:
    return float(len(answer) < 6)


@pytest.mark.parametrize(
    "options",
    [{}, {"scorer": "precision"}, {"scorer": is_short}, {"samples": 2}],
    ids=["equal", "precision", "function", "samples"],
)
def test_an_evaluation_can_be_pickled(api: ModuleType, service: Service, options: dict[str, Any]) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api, **options)
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    pd.testing.assert_frame_equal(again.rows, found.rows)
    assert str(again.reviewed()) == str(found.reviewed())


def test_the_comparison_says_what_four_rows_do_not_tell(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api)
    (comparison,) = found.comparisons.to_dict("records")
    assert (comparison["a"], comparison["b"], comparison["rows"]) == ("test/x", "test/y", 4)
    assert (comparison["difference"], comparison["p_value"], comparison["verdict"]) == (0.5, 0.5, "not clear")
    assert "These 4 rows show no clear difference between test/x and test/y (difference 50 points, " in str(found)
    assert "more rows would show one, 4 times in 5, if the difference really is 50 points." in str(found)


def test_rows_hold_each_answer_and_disagreements_are_those_to_look_at(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api)
    assert list(found.rows.columns) == [
        "text", "label", "answer test/x", "right test/x", "seconds test/x", "error test/x",
        "answer test/y", "right test/y", "seconds test/y", "error test/y",
    ]  # fmt: skip
    assert found.rows["answer test/y"].tolist()[:3] == ["Good.", "Bad.", "Bad."]
    assert found.rows["right test/x"].tolist() == [True] * 4
    assert found.disagreements.text.tolist() == ["b", "d"]


def test_prompts_are_candidates_too(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(
        "good" if "kind" in one.received.body["messages"][-1]["content"] else "bad"
    )(one)
    found = evaluated(api, models="test/x", prompts={"kind": "Be kind: {{ text }}?"})
    assert found.summary[["prompt", "right"]].values.tolist() == [["prompt", 2], ["kind", 2]]
    assert found.comparisons[["a", "b"]].values.tolist() == [["prompt", "kind"]]
    both = evaluated(api, prompts=["Be kind: {{ text }}?"])
    assert len(both.summary) == 4
    assert both.summary.prompt.tolist() == ["prompt", "prompt", "prompt 2", "prompt 2"]
    assert len(both.comparisons) == 6


def test_the_same_question_is_not_paid_twice(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad bad")
    # `-t 0` of a magic is 0.0.
    api.map_prompts(FRAME, "{{ text }}?", model="test/x", temperature=0.0)
    assert len(service.chats) == 4
    found = evaluated(api, temperature=0)
    assert len(service.chats) == 8
    assert "4 answers kept from before" in str(found)
    evaluated(api, temperature=0)
    assert len(service.chats) == 8


def test_samples_are_asked_and_a_row_stays_one_observation(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: model == "x" or number % 8 > 0)
    found = evaluated(api, frame, prompt="{{ n }}?", samples=3)
    assert len(service.chats) == 240
    assert found.summary.right.tolist() == [120, 105]
    assert found.rows["right test/y"].tolist()[0] == 0
    assert found.comparisons.p_value.tolist() == [0.0625], "5 rows against 0, as without samples"
    assert found.comparisons.method.tolist() == ["sign flips, bootstrap over rows"]
    assert "Fewer than 20 rows" not in str(found)
    few = str(evaluated(api, frame.head(10), prompt="{{ n }}?", samples=3))
    assert "Fewer than 20 rows: intervals of a difference may be right 92 times in 100, not 95." in few


def test_a_stop_spares_rows_once_it_is_clear(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: model == "x")
    found = evaluated(api, frame, prompt="{{ n }}?", stop_when_clear=True)
    assert len(service.chats) == 16
    assert "Decided after 8 rows: 32 rows not needed." in str(found)
    assert found.comparisons.verdict.tolist() == ["a is better"]
    assert found.comparisons.method.tolist() == ["betting, at a stop"]
    asked = found.rows.n.tolist()
    assert asked == sorted(asked), "in the frame's order"
    assert asked != list(range(8)), "chosen at random"
    assert found.rows["index"].tolist() == asked
    assert found.disagreements["index"].tolist() == asked


def test_a_stop_that_is_never_clear_asks_every_row(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: number % 4 > 0)
    found = evaluated(api, frame, prompt="{{ n }}?", stop_when_clear=True)
    assert len(service.chats) == 80
    assert "Not decided: 40 rows asked." in str(found)
    assert found.comparisons.verdict.tolist() == ["not clear"]
    with pytest.raises(InferenceError, match="compares two candidates, and there is one candidate"):
        evaluated(api, frame, models="test/x", prompt="{{ n }}?", stop_when_clear=True)


def test_a_stop_among_several_says_which_are_not_told_apart(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: model == "a")
    options: dict[str, Any] = {"prompt": "{{ n }}?", "stop_when_clear": True}
    found = evaluated(api, frame, models=["x/a", "x/b", "x/c"], **options)
    assert found.sentences == "x/a is better than x/b and x/c."
    assert "Not decided between x/b and x/c: 40 rows asked." in str(found)
    many = str(evaluated(api, frame, models=[f"x/{name}" for name in "abcde"], **options))
    assert "Not decided between x/b and x/c; x/b and x/d; x/b and x/e, and 3 more pairs: 40 rows asked." in many


@pytest.mark.parametrize(
    ("right", "said"), [(0, "Decided with the last of 7 rows."), (3, "Not decided: 7 rows asked.")]
)
def test_the_last_rows_may_decide_a_comparison(api: ModuleType, service: Service, right: int, said: str) -> None:
    frame = by_number(service, lambda model, number: model == "x" or number < right)
    found = evaluated(api, frame.head(7), prompt="{{ n }}?", stop_when_clear=True)
    assert said in str(found)


def test_several_candidates_are_summed_up_around_the_best(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: number > {"x": 2, "y": 4, "z": 30}[model])
    said = str(evaluated(api, frame, prompt="{{ n }}?", models=["test/x", "test/y", "test/z"]))
    assert said.startswith(
        "test/x is better than test/z. "
        "These 40 rows show no clear difference between test/x and test/y (difference 5 points, "
    )


@pytest.mark.parametrize("kind", [list, np.array, set])
@pytest.mark.parametrize("scorer", ["equal", "f1"])
def test_lists_that_went_through_csv_are_read(api: ModuleType, service: Service, scorer: str, kind: Any) -> None:
    service.always = completion('{"tags": ["refund", "it\'s, odd"]}')
    frame = pd.DataFrame({"text": ["p"], "tags": [kind(["refund", "it's, odd"])]})
    again = pd.read_csv(StringIO(frame.to_csv(index=False)))
    found = evaluated(api, again, models="test/x", truth="tags", schema="tags list", scorer=scorer)
    assert found.summary.right.tolist() == [1]


def test_scorers_and_functions_score_answers(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion('{"tags": ["a", "B"]}')(one)
    frame = pd.DataFrame({"text": ["p", "q"], "tags": [["b", "a"], "a, c, d"]})
    found = evaluated(api, frame, models="test/x", truth="tags", schema="tags list", scorer="f1")
    assert found.rows["score"].tolist() == [1.0, pytest.approx(0.4)]
    assert found.summary.right.tolist() == [1]
    assert found.summary.score.tolist() == [pytest.approx(0.7)]

    def half(answer: list[str], truth: object) -> float:
        return 0.5 if truth == "a, c, d" else 3

    found = evaluated(api, frame, models="test/x", truth="tags", schema="tags list", scorer=half)
    assert found.rows["score"].tolist() == [0.0, 0.5]
    assert "The scorer half returned 3: it must be from 0 to 1. Such answers count as not right." in str(found)
    with pytest.raises(InferenceError, match=r"There is no scorer 'f2'.*precision, recall, f1"):
        evaluated(api, frame, models="test/x", truth="tags", scorer="f2")


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


def test_a_model_that_does_not_exist_is_not_a_worse_one(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        is_known = one.received.body["model"] == "test/x"
        (completion("yes") if is_known else refused(404, "model not found"))(one)

    service.always = answer
    frame = pd.DataFrame({"n": range(30), "label": "yes"})
    with pytest.raises(InferenceError, match="does not know the model 'test/y'") as caught:
        evaluated(api, frame, prompt="{{ n }}?")
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert "better" not in str(partial)
    assert partial.sentences == "No row has a score for all candidates: nothing is known."


def test_a_key_that_is_revoked_meanwhile_is_no_wrong_answer(api: ModuleType, service: Service) -> None:
    service.then(*[completion("yes")] * 8)
    service.always = refused(401, "revoked")
    frame = pd.DataFrame({"n": range(30), "label": "yes"})
    with pytest.raises(InferenceError) as caught:
        evaluated(api, frame, prompt="{{ n }}?", models="test/x", concurrency=1)
    assert "test/x is right on 8 of 8 rows" in str(caught.value.partial)  # type: ignore[attr-defined]


def test_the_columns_of_the_input_are_kept(api: ModuleType, service: Service) -> None:
    service.always = completion("good")
    frame = pd.DataFrame({"text": list("ab"), "answer": ["good", "bad"], "right": "mine", "error": "mine too"})
    found = evaluated(api, frame, truth="answer", models="test/x")
    assert (
        found.rows[["answer", "right", "error"]].values.tolist() == frame[["answer", "right", "error"]].values.tolist()
    )
    assert found.rows.answer_eval.tolist() == ["good", "good"]
    assert found.rows.right_eval.tolist() == [True, False]
    assert found.disagreements.answer.tolist() == ["bad"]


def test_the_columns_of_the_input_keep_their_types(api: ModuleType, service: Service) -> None:
    service.always = completion("other")
    levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    frame = pd.DataFrame({
        "text": list("abc"),
        "label": pd.Categorical(["low", "high", "low"], dtype=levels),
        "n": pd.array([1, None, 3], dtype="Int64"),
        "f": pd.array([0.5, 1, 2], dtype="float32"),
        "o": pd.array(["x", 1, None], dtype=object),
    }, index=list("xyz"))  # fmt: skip
    found = pickle.loads(pickle.dumps(evaluated(api, frame, models="test/x")))
    assert found.rows[list(frame)].dtypes.to_dict() == frame.dtypes.to_dict()
    assert found.disagreements.label.max() == "high"
    found.review().decide(1, 1)
    assert found.reviewed().rows.label.tolist() == ["low", "other", "low"]


def test_among_several_a_verdict_at_the_edge_says_so(api: ModuleType, service: Service) -> None:
    right = {"a": lambda n: n not in (38, 39), "b": lambda n: n >= 10, "c": lambda n: n % 8 == 0}
    frame = by_number(service, lambda model, number: right[model](number))
    found = evaluated(api, frame, prompt="{{ n }}?", models=["x/a", "x/b", "x/c"])
    assert found.comparisons.verdict.tolist()[0] == "a is better, at the edge"
    assert found.sentences.startswith("x/a is better than x/c. x/a is better than x/b: its share")
    assert "at the edge, the test finds a difference" in found.sentences


def test_a_whole_answer_is_not_compared_with_a_value(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match=r"does not say which one it holds[\s\S]*--field label"):
        evaluated(api, FRAME.rename(columns={"label": "truth"}), truth="truth", schema="label good|bad, why")
    assert service.chats == []


@pytest.mark.parametrize(
    ("schema", "truths", "said"),
    [
        ("label good|bad", [1, 0], "The first is 1; the schema allows good, bad."),
        ("label good|bad?", ["positive", "negative"], "The first is 'positive'; the schema allows good, bad."),
        (Mark, ["A", "B"], "The first is 'A'; the schema allows 1, 2."),
        ("label int", ["five", "six"], "The first is 'five'."),
        ("label bool", ["it is", "it is not"], "The first is 'it is'."),
        ("label date", ["Jan 5, 2024", "05/01/2024"], "The first is 'Jan 5, 2024'."),
        ("label list of a|b|c", ["a, b", "c"], "The first is 'a, b'."),
        ("label list[int]", [1, {"a": 1}], "The first is 1."),
        ("label int", [[1], {"a": 1}], "The first is [1]."),
    ],
)
def test_truths_that_the_schema_does_not_allow_are_refused(
    api: ModuleType, service: Service, schema: Any, truths: list[Any], said: str
) -> None:
    frame = pd.DataFrame({"text": ["p", "q"], "label": truths})
    with pytest.raises(InferenceError, match=f"No answer can be right.*{re.escape(said)} Nothing was sent"):
        evaluated(api, frame, schema=schema)
    assert service.chats == []


@pytest.mark.parametrize(
    ("schema", "answer", "truths", "never"),
    [
        (
            "label good|bad",
            "good",
            ["Good.", "bad", "ood"],
            "In 1 row, label has a value",
        ),
        (Mark, 1, [Mark.A, 2, "1"], ""),
        ("label yes|no", "yes", [True, 0, "YES"], ""),
        ("label int", 1, ["1,000", 2.0, True], ""),
        ("label float", 1, ["five", "1e3", "x"], "In 2 rows, label has a value"),
        ("label date", "2024-01-05", ["2024-01-05.", date(2024, 1, 5), "`2024-01-05T00:00:00`"], ""),
        ("label datetime", "2024-01-05T10:00", ["2024-01-05 10:00", "2024-01-05T10:00Z", "2024-01-05"], ""),
        ("label list", ["a"], ["['a' 'b']", ["b"], {"c"}], ""),
        ("label list", ["a"], ["a", ["b"], '{"a", "b"}'], "In 1 row, label has a value"),
        (Annotated[Mark, AfterValidator(lambda one: one.name)], 1, ["A", "B", "A"], ""),
        (
            create_model("Mark", label=(Annotated[int, AfterValidator(hex)], ...)),
            {"label": 1},
            ["0x1", "0x2", "0x3"],
            "",
        ),
    ],
)
def test_truths_that_the_schema_does_not_allow_are_counted(
    api: ModuleType, service: Service, schema: Any, answer: Any, truths: list[Any], never: str
) -> None:
    service.always = completion(json.dumps(answer if "Mark" in str(schema) else {"label": answer}))
    frame = pd.DataFrame({"text": ["p", "q", "r"], "label": truths}, dtype=object)
    found = str(evaluated(api, frame, schema=schema))
    assert never in found
    assert ("does not allow" in found) == bool(never)


@pytest.mark.parametrize(
    ("returned", "said"), [(None, "None"), ("yes", "a value of type str"), ([1], "a value of type list")]
)
def test_what_a_scorer_returns_is_named(api: ModuleType, service: Service, returned: object, said: str) -> None:
    service.always = completion("good")
    found = evaluated(api, models="test/x", scorer=lambda answer, truth: returned)
    assert f"returned {said}: it must be a number from 0 to 1" in str(found)


@pytest.mark.parametrize(
    ("returned", "score"),
    [(1.0000000000000002, 1.0), (sum([0.1] * 10), 1.0), (float(np.float32(1.0000001)), 1.0), (-1e-17, 0.0)],
)
def test_what_rounding_adds_to_a_score_does_not_count(
    api: ModuleType, service: Service, returned: float, score: float
) -> None:
    service.always = completion("good")
    found = evaluated(api, models="test/x", scorer=lambda answer, truth: returned)
    assert found.rows.score.tolist() == [score] * 4
    assert found.summary.right.tolist() == [4 * score]
    assert "must be" not in str(found)


@pytest.mark.parametrize("returned", [1.01, -0.01, float("nan")])
def test_a_score_outside_its_range_is_named(api: ModuleType, service: Service, returned: float) -> None:
    service.always = completion("good")
    found = evaluated(api, models="test/x", scorer=lambda answer, truth: returned)
    assert f"returned {returned:g}: it must be from 0 to 1" in str(found)


def only_names(*, answer: str, truth: str) -> float:
    return float(answer == truth)


@pytest.mark.parametrize(
    "scorer", [lambda answer: 1.0, lambda answer, truth, row: 1.0, only_names], ids=["one", "three", "only names"]
)
def test_a_scorer_of_other_arguments_is_refused_before_anything_is_sent(
    api: ModuleType, service: Service, scorer: Any
) -> None:
    with pytest.raises(InferenceError, match="cannot be called with an answer and the truth: it takes"):
        evaluated(api, scorer=scorer)
    assert service.chats == []


def test_errors_of_a_scorer_that_differ_by_row_do_not_flood(api: ModuleType, service: Service) -> None:
    def scorer(answer: str, truth: int) -> float:
        raise ValueError(f"row {truth}")

    service.always = completion("good")
    frame = pd.DataFrame({"n": range(60), "label": range(60)})
    assert str(evaluated(api, frame, prompt="{{ n }}?", models="test/x", scorer=scorer)).count("raised") == 5


@pytest.mark.parametrize("stop", [False, True])
def test_an_interrupt_in_a_scorer_is_heeded_at_once_and_keeps_what_is_scored(
    api: ModuleType, service: Service, *, stop: bool
) -> None:
    scored: list[Any] = []

    def scorer(answer: str, truth: str) -> float:
        # With the stop, during the run: eight rows of two models are looked at together.
        if len(scored) == (18 if stop else 4):
            scored.append("interrupted")
            signal.raise_signal(signal.SIGINT)
            scored.append("went on")
        scored.append(truth)
        return float(answer == truth)

    frame = by_number(service, lambda model, number: number % 2 == 0)
    with pytest.raises(KeyboardInterrupt) as caught:
        evaluated(api, frame, prompt="{{ n }}?", cache=False, scorer=scorer, stop_when_clear=stop)
    assert "went on" not in scored
    told, same = caught.value.partial.summary.rows
    assert told == same
    assert told >= 8 if stop else told == 2


def test_a_scorer_is_called_once_for_an_answer(api: ModuleType, service: Service) -> None:
    scored: list[tuple[str, int]] = []

    def scorer(answer: str, truth: int) -> float:
        scored.append((answer, truth))
        return 1.0

    frame = by_number(service, lambda model, number: True).assign(label=range(40))
    evaluated(api, frame, prompt="{{ n }}?", scorer=scorer, stop_when_clear=True)
    assert sorted(scored) == [("yes", number) for number in range(40) for _ in range(2)]


def test_a_scorer_that_fails_on_every_answer_says_nothing_of_the_candidates(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api, scorer=lambda answer, truth: answer.no_such_attribute)
    assert found.sentences == "No answer has a score by <lambda>: nothing is known."
    assert "no_such_attribute" in str(found)
    assert "A schema limits" not in str(found)


def test_an_async_scorer_is_refused_before_anything_is_sent(api: ModuleType, service: Service) -> None:
    async def scorer(answer: str, truth: str) -> float:
        return 1.0

    with pytest.raises(InferenceError, match="The scorer scorer is async"):
        evaluated(api, scorer=scorer)
    assert service.chats == []


def test_a_decimal_comma_is_not_read_as_thousands(api: ModuleType, service: Service) -> None:
    service.then(completion("1,5"), completion("1,000"))
    frame = pd.DataFrame({"n": [1, 2], "label": [1.5, 1000]})
    found = evaluated(api, frame, prompt="{{ n }}?", models="test/x", scorer="error", concurrency=1)
    assert found.candidates[0].samples == [(None,), (0.0,)]


def test_failures_of_an_earlier_run_are_said_and_asked_again_on_demand(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"n": [1, 2], "label": ["yes", "yes"]})
    options: dict[str, Any] = {"prompt": "{{ n }}?", "models": "test/x", "concurrency": 1}
    service.then(completion("yes"), refused(400, "bad row"))
    evaluated(api, frame, **options)
    service.always = completion("yes")
    again = evaluated(api, frame, **options)
    assert any(re.search(r"1 row was not asked again.*retry_failed=True", notice) for notice in again.notices)
    assert (again.summary.right.tolist(), len(service.chats)) == ([1], 2)
    asked = evaluated(api, frame, retry_failed=True, **options)
    assert (asked.summary.right.tolist(), len(service.chats)) == ([2], 3)


@pytest.mark.parametrize(
    ("index", "shown"),
    [
        (pd.Index([7, 3, 9, 1]), {"index": [7, 3, 1]}),
        (pd.Index(list("wxyz"), name="id"), {"id": list("wxz")}),
        (pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a"), (2, "b")]), {"level_0": [1, 1, 2]}),
        (pd.Index([pd.NA, 3, 9, 1]), {"index": [pd.NA, 3, 1]}),
        (pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a"), (2, "b")], names=["k", "k"]), {"k": [1, 1, 2]}),
        (pd.RangeIndex(4), {"index": [0, 1, 3]}),
    ],
)
def test_rows_have_the_index_of_the_frame(
    api: ModuleType, service: Service, index: pd.Index[Any], shown: dict[str, list[Any]]
) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    frame = FRAME.assign(label=["good", "good", None, "bad"]).set_axis(index)
    rows = evaluated(api, frame).rows
    assert {name: rows[name].tolist() for name in shown} == shown
    assert ("index" in rows.columns) == ("index" in shown)
    assert rows.text.tolist() == ["a", "b", "d"]


def test_an_own_index_is_kept_at_a_stop_and_a_column_index_too(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: model == "x")
    options: dict[str, Any] = {"prompt": "{{ n }}?", "stop_when_clear": True}
    found = evaluated(api, frame.set_axis(range(100, 140)), **options)
    assert found.rows["index"].tolist() == [100 + n for n in found.rows.n]
    found = evaluated(api, frame.assign(index="mine"), **options)
    assert found.rows["index"].unique().tolist() == ["mine"]
    assert found.rows["index_eval"].tolist() == found.rows.n.tolist()


def test_answers_of_which_none_is_right_are_to_be_compared_with_the_truth(api: ModuleType, service: Service) -> None:
    service.always = completion("I like it.")
    hint = "No answer is right: compare the answers in .rows with label."
    assert hint in str(evaluated(api))
    by_model(service, x="good bad bad bad", y="bad bad good good")
    assert hint not in str(evaluated(api, prompt="{{ text }} now?"))


def test_one_text_is_one_prompt_and_names_are_texts(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad")
    assert evaluated(api, prompt=None, prompts="{{ text }} ok?", models="test/x").summary.prompt.tolist() == [
        "prompt 1"
    ]
    sent = len(service.chats)
    with pytest.raises(InferenceError, match="A prompt and its name must be texts, and 1 is not"):
        evaluated(api, prompt=None, prompts={1: "{{ text }}"}, models="test/x")
    with pytest.raises(InferenceError, match=r"The prompt 'e' is empty\. Nothing was sent"):
        evaluated(api, prompts={"e": " "}, models="test/x")
    with pytest.raises(InferenceError, match=r"models is 'test/x, test/y'.* Give several as a list"):
        evaluated(api, models="test/x, test/y")
    with pytest.raises(InferenceError, match=r"truth is 1: it must be a column.s name.* of a column 0 as"):
        evaluated(api, truth=1)
    assert len(service.chats) == sent


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompts": {"long": "\n{{ txt }}"}}, "Line 2 of the prompt 'long': 'txt' is undefined."),
        ({"prompts": {"long": "{{ text"}}, "Line 1 of the prompt 'long': unexpected end of template"),
        ({"prompts": ["{{ txt }}"]}, "Line 1 of the prompt 'prompt 2': 'txt' is undefined."),
        ({"prompt": "{{ txt }}", "prompts": ["Fine: {{ text }}"]}, "Line 1 of the prompt: 'txt' is undefined."),
    ],
)
def test_a_prompt_that_cannot_be_rendered_is_named(
    api: ModuleType, service: Service, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InferenceError) as refused:
        evaluated(api, models="test/x", **options)
    assert says in refused.value.what
    assert service.chats == []


def test_how_many_more_rows_a_sequential_test_needs_is_not_claimed(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: model == "x" or number > 2)
    found = evaluated(api, frame, prompt="{{ n }}?", stop_when_clear=True)
    assert "More rows may settle it." in found.sentences
    assert "4 times in 5" not in found.sentences


def test_an_interrupted_budget_gives_what_the_rows_so_far_tell(api: ModuleType, service: Service) -> None:
    service.always = refused(401, "no key")
    with pytest.raises(InferenceError, match="The result so far is in `partial` of this error") as caught:
        evaluated(api)
    assert "partial" in vars(caught.value)


def test_a_missing_column_or_field_is_refused(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match=r"There is no column 'lable'.*label"):
        evaluated(api, truth="lable")
    with pytest.raises(InferenceError, match="no field 'why'"):
        evaluated(api, schema="label", field="why")
    with pytest.raises(InferenceError, match="No row has a value in 'label'"):
        evaluated(api, FRAME.assign(label=None))
    with pytest.raises(InferenceError, match="There are no rows"):
        evaluated(api, FRAME.head(0))
    with pytest.raises(InferenceError, match=r"the answers have none.*Give a schema too"):
        evaluated(api, field="why")
    with pytest.raises(InferenceError, match="samples is 0"):
        evaluated(api, samples=0)
    assert service.chats == []


def test_labels_stored_as_floats_and_missing_labels_are_compared_by_meaning(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        completion("2" if one.received.body["messages"][-1]["content"] == "c?" else "1")(one)

    service.always = answer
    frame = pd.DataFrame({"text": list("abcd"), "label": [1, 2, None, None]})
    frame["whole"] = frame.label.astype("Int64")
    for truth in ("label", "whole"):
        found = evaluated(api, frame, models="test/x", truth=truth)
        assert found.summary[["rows", "right"]].values.tolist() == [[2, 1]]
        assert str(found).startswith("test/x is right on 1 of 2 rows: 50% (9 to 91).")
        assert f"2 rows without a value in {truth} left out." in str(found)
    assert len(service.chats) == 2


def test_a_truth_of_zeros_and_ones_is_compared_with_booleans(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(
        json.dumps({"good": one.received.body["messages"][-1]["content"][0] in "ab", "tags": ["x"]})
    )(one)
    frame = FRAME.assign(as_number=[1, 1, 0, 0], as_float=[1.0, None, 0.0, 1.0], as_text=["yes", "Yes", "no", "False"])
    for truth, right, rows in [("as_number", 4, 4), ("as_float", 2, 3), ("as_text", 4, 4)]:
        found = evaluated(api, frame, models="test/x", truth=truth, field="good", schema="good bool, tags list")
        assert found.summary[["right", "rows"]].values.tolist() == [[right, rows]]


@pytest.mark.parametrize("schema", ["good yes|no", None])
@pytest.mark.parametrize("truths", [[1, 1, 0, 0], [True, True, False, False], ["Y", "true", "n", "0"]])
def test_the_words_yes_and_no_are_compared_with_booleans(
    api: ModuleType, service: Service, schema: str | None, truths: list[Any]
) -> None:
    service.always = lambda one: completion(
        (lambda word: json.dumps({"good": word}) if schema else word.title())(
            "yes" if one.received.body["messages"][-1]["content"][0] in "ab" else "no"
        )
    )(one)
    found = evaluated(api, FRAME.assign(truth=truths), models="test/x", truth="truth", schema=schema)
    # Without a schema a number may be any number.
    are_read = schema is not None or truths[0] is True
    assert found.summary["right"].tolist() == [4 if are_read else 0]


def test_a_field_of_which_a_json_schema_says_nothing_is_compared(api: ModuleType, service: Service) -> None:
    service.always = completion('{"good": "yes"}')
    schema = {"type": "object", "properties": {"good": True}}
    found = evaluated(api, FRAME.assign(good="Yes."), models="test/x", truth="good", schema=schema)
    assert found.summary["right"].tolist() == [4]


def test_whole_answers_are_compared_part_by_part(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion('{"when": "2024-01-05", "price": 2.50, "tags": ["a", "B"]}')(one)
    truth = [
        {"when": pd.Timestamp("2024-01-05"), "price": 2.5, "tags": ["a", "b"]},
        '{"tags": ["a", "b"], "when": "2024-01-05", "price": "2.5"}',
        {"when": "2024-01-05", "price": 2.5, "tags": ["b", "a"]},
        {"when": "2024-01-06", "price": 2.5, "tags": ["a", "b"]},
    ]
    frame = FRAME.assign(truth=truth)
    found = evaluated(api, frame, models="test/x", truth="truth", schema="when date, price float, tags list")
    assert found.summary.share.tolist() == [0.5]


class Sub(BaseModel):
    tags: set[str]


class Whole(BaseModel):
    full_name: str = Field(alias="fullName")
    sub: Sub
    home: HttpUrl
    size: int = 2

    @computed_field
    def double(self) -> int:
        return 2 * self.size


WHOLE: dict[str, Any] = {"fullName": "Ann", "sub": {"tags": ["b", "a"]}, "home": "http://x.com", "size": 2}
CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "answer", "truth", "is_right"),
    [
        (Whole, WHOLE, {**WHOLE, "double": 4, "sub": {"tags": ["a", "b"]}}, True),
        (Whole, WHOLE, json.dumps({name: one for name, one in WHOLE.items() if name != "size"}), True),
        (Whole, WHOLE, Whole(**WHOLE), True),
        (Whole, WHOLE, {**WHOLE, "fullName": "Bo"}, False),
        (list[Whole], {"items": [WHOLE]}, [WHOLE], True),
        ("a int, b", {"a": 1, "b": "x"}, {"a": 1, "b": "x", "note": "checked by Ann"}, True),
        (CLOSED, {"a": 1, "b": "x"}, {"a": "1", "b": "x", "note": "checked by Ann"}, True),
        ("a int, b", {"a": 1, "b": "x"}, {"a": 1, "note": "checked by Ann"}, False),
        (create_model("Login", a=(int, 1), b=(SecretStr, ...)), {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, False),
        (create_model("Defaults", a=(int, 1), b=(int, 2)), {"a": 1, "b": 2}, {"c": 3}, False),
        (set[str], {"items": ["a", "b"]}, ["b", "a"], True),
        ("list of text", {"items": ["b", "a"]}, {"a", "b"}, True),
        (create_model("Doc", names=(list[Sub], ...)), {"names": [{"tags": ["a"]}]}, [{"tags": ["A"]}], True),
        ("rows list[list[int]]", {"rows": [[1, 2], [3]]}, "[[1, 2], [3]]", True),
    ],
)
def test_the_truth_is_read_as_an_answer_is(
    api: ModuleType, service: Service, schema: Any, answer: Any, truth: Any, *, is_right: bool
) -> None:
    service.always = completion(json.dumps(answer))
    frame = pd.DataFrame({"text": ["a"], "truth": [truth]})
    found = evaluated(api, frame, models="test/x", truth="truth", schema=schema)
    assert found.summary.right.tolist() == [is_right]
    assert found.rows["truth"].tolist() == [truth], "as it was given"


def test_a_function_of_the_user_gets_the_truth_as_it_is(api: ModuleType, service: Service) -> None:
    service.always = completion(json.dumps(WHOLE))
    frame = pd.DataFrame({"text": ["a"], "truth": [json.dumps(WHOLE)]})
    given: list[Any] = []
    scorer = lambda answer, truth: given.append(truth) or 1.0  # noqa: E731
    evaluated(api, frame, models="test/x", truth="truth", schema=Whole, scorer=scorer)
    assert given == frame.truth.tolist()


@pytest.mark.parametrize(
    ("schema", "field", "answer", "truth"),
    [
        (
            {"type": "object", "properties": {"found": {"type": "array"}, "note": {"type": "string"}}},
            "found",
            '{"found": [{"text": "Oslo"}], "note": ""}',
            [{"text": "Oslo"}],
        ),
        ("m list, n int", "m", '{"m": ["a"], "n": 1}', ["a"]),
    ],
)
def test_a_truth_may_be_a_list_of_objects(
    api: ModuleType, service: Service, schema: Any, field: str, answer: str, truth: Any
) -> None:
    service.always = completion(answer)
    frame = pd.DataFrame({"text": ["x", "y"], "truth": [truth, [["another"]]]})
    found = evaluated(api, frame, models="test/x", truth="truth", schema=schema, field=field)
    assert found.candidates[0].right == [1.0, 0.0]


@dataclass
class Labelled:
    label: str
    why: str = ""


@pytest.mark.parametrize(
    "truths",
    [
        [{"label": "good"}, {"label": "bad"}],
        ['{"label": "good"}', "{'label': 'bad', 'why': 'x'}"],
        [Labelled("good"), Labelled("bad")],
        [Labelled("good"), "bad"],
    ],
)
@pytest.mark.parametrize("options", [{"schema": "label good|bad"}, {"schema": "label, why", "field": "label"}])
def test_one_field_is_compared_with_that_field_of_a_truth_that_is_a_whole_answer(
    api: ModuleType, service: Service, truths: list[Any], options: dict[str, Any]
) -> None:
    by_model(service, x="good good")
    frame = pd.DataFrame({"text": list("ab"), "truth": truths})
    found = evaluated(api, frame, models="test/x", truth="truth", **options)
    assert found.summary.right.tolist() == [1]
    assert found.rows["truth"].tolist() == truths, "as it was given"
    review = found.review()
    assert [(card.truth, card.answers) for card in review.cards] == [("bad", ["good"])]
    review.decide(1, "truth")
    assert found.reviewed().summary.right.tolist() == [1]
    assert "truth corrected on 0." in str(found.reviewed())


def test_a_struct_that_has_a_field_of_its_own_name_is_compared_as_a_whole(api: ModuleType, service: Service) -> None:
    class Tree(BaseModel):
        tree: int

    class Answered(BaseModel):
        tree: Tree

    frame = pd.DataFrame({"x": answers_in_turn(service, '{"tree": {"tree": 1}}'), "truth": [{"tree": 1}]})
    assert api.evaluate(frame, "{{ x }}", truth="truth", schema=Answered).summary.right.tolist() == [1]


def test_a_blank_truth_was_not_filled_in_unless_an_answer_may_be_blank(api: ModuleType, service: Service) -> None:
    rows = [{"text": "a", "label": "good"}, {"text": "b", "label": ""}, {"text": "c", "label": " "}]
    by_model(service, x="good good bad bad")
    assert "2 rows without a value in label left out." in str(evaluated(api, rows, models="test/x"))
    assert evaluated(api, rows, models="test/x", schema="label").summary["rows"].tolist() == [3]


def test_a_plot_draws_the_intervals_and_is_safe(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad")
    plot = evaluated(api, models="test/x", prompts={"<b>x": "{{ text }}?"}, prompt=None).plot()
    assert "test/x" in repr(plot)
    page = plot._repr_mimebundle_()["text/html"]
    # 51 to 100 % of 240 pixels.
    assert "margin-left:122px;width:118px;border-top:2px solid" in page
    two = evaluated(api, models="test/x", prompts={"<b>x": "{{ text }}?"}).plot()._repr_mimebundle_()["text/html"]
    assert "&lt;b&gt;x" in two
    assert "<b>" not in two


def test_null_is_an_answer_that_ends_a_row(api: ModuleType, service: Service) -> None:
    """Also with a stop, which waits for rows that have not ended."""
    service.always = completion('{"value": null}')
    found = api.evaluate(
        pd.DataFrame({"n": range(20), "label": 1}),
        "{{ n }}",
        truth="label",
        models=["test/x", "test/y"],
        schema=int | None,
        stop_when_clear=True,
    )
    assert found.summary["rows"].tolist() == [20, 20]
    assert found.summary["right"].tolist() == [0, 0]


def answers_in_turn(service: Service, *answers: str | None) -> list[str]:
    """Answer row n of the rows that are returned with the n-th text; None refuses it."""

    def answer(one: Answer) -> None:
        given = answers[int(one.received.body["messages"][-1]["content"])]
        (refused(400, "no") if given is None else completion(given))(one)

    service.always = answer
    return [str(number) for number in range(len(answers))]


def test_rows_hold_answers_as_the_columns_of_a_map_do(api: ModuleType, service: Service, tmp_path: Path) -> None:
    class Item(BaseModel):
        a: int

    class Answered(BaseModel):
        number: int
        items: list[Item]

    large = 2**53 + 1
    rows = answers_in_turn(service, json.dumps({"number": large, "items": [{"a": 1}]}), None)
    frame = pd.DataFrame({"x": rows, "truth": [large, 2]})
    numbers = api.evaluate(frame, "{{ x }}", truth="truth", field="number", schema=Answered).rows
    assert numbers["answer"].dtype == "Int64"
    assert numbers["answer"].tolist()[0] == large
    everything = {"scorer": lambda answer, truth: 1, "retry_failed": True}
    whole = api.evaluate(frame, "{{ x }}", truth="truth", schema=Answered, **everything).rows
    assert whole["answer"].tolist()[0] == {"number": large, "items": [{"a": 1}]}
    whole.to_parquet(tmp_path / "rows.parquet")


def test_a_field_that_the_type_computes_can_be_compared(api: ModuleType, service: Service) -> None:
    class Answered(BaseModel):
        number: int

        @computed_field
        def share(self) -> float:
            return 1 / self.number

    frame = pd.DataFrame({"x": answers_in_turn(service, '{"number": 2}', '{"number": 0}'), "truth": [0.5, 1]})
    found = api.evaluate(frame, "{{ x }}", truth="truth", field="share", schema=Answered)
    assert found.summary["right"].tolist() == [1]
    pairs = pd.DataFrame({"x": frame["x"], "truth": ['{"number": 2}', '{"number": 1}']})
    assert api.evaluate(pairs, "{{ x }}", truth="truth", schema=Answered).summary["right"].tolist() == [1]


def test_samples_of_which_some_fail_are_answers(api: ModuleType, service: Service) -> None:
    for _ in range(2):
        service.then(completion("a"), refused(400, "too odd"))
    found = api.evaluate(pd.DataFrame({"x": [1, 2], "truth": "a"}), "{{ x }}", truth="truth", samples=2, concurrency=1)
    assert found.summary[["rows", "answered", "right"]].values.tolist() == [[2, 2, 2]]
    assert "is right on 2 of 4 answers to 2 rows" in found.sentences


def test_an_allowed_null_is_an_answer(api: ModuleType, service: Service) -> None:
    rows = answers_in_turn(service, '{"d": null}', '{"d": "y"}', None)
    frame = pd.DataFrame({"x": rows, "truth": ["x", "y", "z"]})
    assert api.evaluate(frame, "{{ x }}", truth="truth", schema="d text?").summary["answered"].tolist() == [2]


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


def test_an_evaluation_without_a_score_shows_itself(api: ModuleType, service: Service) -> None:
    """The only truth that is a number belongs to a row that was not asked any more."""
    service.always = lambda one: (refused(401, "gone") if "last" in str(one.received.body) else completion("5"))(one)
    frame = pd.DataFrame({"x": ["first", "last"], "price": ["$5", "7"]})
    for models in (["test/m"], ["test/m", "test/n"]):
        with pytest.raises(InferenceError) as caught:
            evaluate(api, frame, "{{ x }}", truth="price", scorer="error", models=models, concurrency=1)
        found = caught.value.partial
        assert found.summary["score"].isna().all()
        assert len(found.comparisons) == len(models) - 1
        said = repr(found)
        assert said.startswith("No row has a number in price: nothing is known.")
        assert "unknown" in said
        assert "No answer is right" not in said
        assert "unknown" in repr(found.plot())


def test_nothing_is_said_of_candidates_without_an_answer(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, None, None), "truth": ["a", "b"]})
    found = api.evaluate(frame, "{{ x }}", truth="truth", models=["test/m", "test/n"])
    assert found.sentences == "No row has an answer: nothing is known."


def test_what_is_said_and_drawn_of_graded_answers_is_their_mean_score(api: ModuleType, service: Service) -> None:
    service.always = completion("good")
    found = evaluated(api, models="test/x", scorer=lambda answer, truth: 0.9 if truth == "good" else 0.7)
    assert found.sentences == "test/x has a mean <lambda> of 0.8 (0.616 to 0.984) on 4 rows."
    said = str(found)
    assert "mean <lambda> (95% interval)  0 to 1" in said
    assert "0.8 (0.616 to 0.984)          ············━━━━●━━━━" in said
    assert "No answer is right" not in said
    assert "0 to 100 %" not in said
    assert "0.8 (0.616 to 0.984)" in str(found.plot())
    assert "margin-left:190px" in found.plot().bundle()["text/html"], "0.79 of 240 pixels"
    assert "No answer is right" in str(evaluated(api, models="test/x", scorer=lambda answer, truth: 0))


def test_large_errors_are_written_out_and_drawn_to_scale(api: ModuleType, service: Service) -> None:
    rows = answers_in_turn(service, *(str(12345 + number) for number in range(4)))
    found = api.evaluate(pd.DataFrame({"x": rows, "truth": 0}), "{{ x }}", truth="truth", scorer="error")
    assert found.sentences == "test/model-a has a mean error of 12,346 (12,344 to 12,349) on 4 rows."
    assert "mean error (95% interval)  0 to 12,349 " in str(found)
    assert "e+" not in str(found)


def test_the_figures_of_many_rows_are_computed_once(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api, scorer=lambda answer, truth: 0.5)
    drawn: list[object] = []
    monkeypatch.setattr(result, "bootstrap", lambda scores: drawn.append(scores) or (0.4, 0.6))
    for _ in range(3):
        assert "0.4 to 0.6" in str(found)
        assert found.summary.score_low.tolist() == [0.4, 0.4]
        found.plot().bundle()
    assert len(drawn) == 2


def test_the_interval_of_a_mean_score_is_inside_what_is_possible(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, "a", "b"), "truth": ["a", "c"]})
    for scorer in ("f1", lambda answer, truth: answer == truth):
        facts = api.evaluate(frame, "{{ x }}", truth="truth", scorer=scorer).summary.iloc[0]
        assert (facts["score_low"], facts["score_high"]) == (0, 1)


def test_a_prompt_may_name_the_index(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad")
    # Also beside another column, which it does not name.
    for frame in (FRAME, FRAME.assign(other="o")):
        found = evaluated(api, frame.set_index("text"), models=["test/x"])
        assert (found.notices, found.summary.right.tolist()) == ((), [4])


@pytest.mark.parametrize("frame", [FRAME, FRAME[["label"]]])
def test_the_truth_is_not_advised_as_a_column_of_the_prompt(
    api: ModuleType, service: Service, frame: pd.DataFrame
) -> None:
    service.always = completion("good")
    advised = [
        one for one in evaluated(api, frame, prompt="Well?", models=["test/x"]).notices if "names no column" in one
    ]
    assert [re.sub(".*Columns: ", "", one) for one in advised] == (
        ["text. A column is written with doubled braces: {{ text }}."] if "text" in frame else []
    )


def test_row_is_without_the_right_answers(api: ModuleType, service: Service) -> None:
    found = evaluated(api, prompt="{{ row }}", models=["test/x"])
    sent = json.dumps([one.body["messages"] for one in service.chats])
    assert len(service.chats) == len(FRAME) and "text" in sent
    assert not re.search("label|good|bad", sent)
    assert not [one for one in found.notices if "right answers" in one]


@pytest.mark.parametrize("prompt", ["{{ text }}, {{ label }}", "{{ row.label }}", "{{ row['label'] }}"])
def test_a_prompt_that_names_the_right_answers_is_reported(api: ModuleType, service: Service, prompt: str) -> None:
    found = evaluated(api, prompt=prompt, models=["test/x"])
    assert "The model sees the right answers: the prompt names label." in found.notices


def test_a_scorer_that_says_right_or_wrong_is_described_by_shares(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad good")
    found = evaluated(api, models=["test/x"], scorer=lambda answer, truth: answer.lower().strip(".") == truth)
    assert found.sentences.startswith("test/x is right on 3 of 4 rows: 75% (30 to 95)")


def test_of_equally_good_candidates_the_first_is_named() -> None:
    third = 1 / 3
    first, same = [0.3, 0.1, third, 0.7, 0.1, 0.2], [0.7, 0.1, 0.1, 0.3, third, 0.2]
    worse = [max(0.0, one - 0.1) for one in first]
    found = compare_pairs(paired("ABC", [first, same, worse]), measure=ScoreMeasure("mean F1"))
    assert result._of_several(found).endswith("There is no clear difference between A and C either.")


def test_each_look_at_an_evaluation_that_may_stop_takes_only_the_new_rows(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    of_row = Scores.of_row

    def counted(self: Scores, number: int) -> Any:
        taken.append(number)
        return of_row(self, number)

    monkeypatch.setattr(Scores, "of_row", counted)
    service.always = completion("yes")
    rows = pd.DataFrame({"text": [f"row {number}" for number in range(64)], "label": ["yes"] * 64})
    api.evaluate(rows, "{{ text }}", truth="label", models=["m1", "m2"], stop_when_clear=True)
    # Once at a look, and once for each candidate of the result.
    assert max(taken.count(number) for number in range(64)) <= 3
