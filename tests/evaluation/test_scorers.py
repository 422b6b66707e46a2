"""Scorers: functions of the user's, and errors of numbers."""

from __future__ import annotations

import json
import signal
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluations import WHOLE, Whole, answers_in_turn, by_model, by_number, evaluated
from service import Service, completion

from wandb_inference_magic.errors import InferenceError


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
    frame["tags"] = ["b、a", "a，c، d"]
    found = evaluated(api, frame, models="test/x", truth="tags", schema="tags list", scorer="f1")
    assert found.rows["score"].tolist() == [1.0, pytest.approx(0.4)]
    with pytest.raises(InferenceError, match=r"There is no scorer 'f2'.*precision, recall, f1"):
        evaluated(api, frame, models="test/x", truth="tags", scorer="f2")


def test_a_function_of_the_user_gets_the_truth_as_it_is(api: ModuleType, service: Service) -> None:
    service.always = completion(json.dumps(WHOLE))
    frame = pd.DataFrame({"text": ["a"], "truth": [json.dumps(WHOLE)]})
    given: list[Any] = []
    scorer = lambda answer, truth: given.append(truth) or 1.0  # noqa: E731
    evaluated(api, frame, models="test/x", truth="truth", schema=Whole, scorer=scorer)
    assert given == frame.truth.tolist()


def test_a_scorer_that_says_right_or_wrong_is_described_by_shares(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad good")
    found = evaluated(api, models=["test/x"], scorer=lambda answer, truth: answer.lower().strip(".") == truth)
    assert found.sentences.startswith("test/x is right on 3 of 4 rows: 75% (30 to 95)")


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


def test_the_interval_of_a_mean_score_is_inside_what_is_possible(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, "a", "b"), "truth": ["a", "c"]})
    for scorer in ("f1", lambda answer, truth: answer == truth):
        facts = api.evaluate(frame, "{{ x }}", truth="truth", scorer=scorer).summary.iloc[0]
        assert (facts["score_low"], facts["score_high"]) == (0, 1)


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


@pytest.mark.parametrize(
    ("returned", "said"), [(None, "None"), ("yes", "a value of type str"), ([1], "a value of type list")]
)
def test_what_a_scorer_returns_is_named(api: ModuleType, service: Service, returned: object, said: str) -> None:
    service.always = completion("good")
    found = evaluated(api, models="test/x", scorer=lambda answer, truth: returned)
    assert f"returned {said}: it must be a number from 0 to 1" in str(found)


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


def test_an_async_scorer_is_refused_before_anything_is_sent(api: ModuleType, service: Service) -> None:
    async def scorer(answer: str, truth: str) -> float:
        return 1.0

    with pytest.raises(InferenceError, match="The scorer scorer is async"):
        evaluated(api, scorer=scorer)
    assert service.chats == []


def test_a_scorer_is_called_once_for_an_answer(api: ModuleType, service: Service) -> None:
    scored: list[tuple[str, int]] = []

    def scorer(answer: str, truth: int) -> float:
        scored.append((answer, truth))
        return 1.0

    frame = by_number(service, lambda model, number: True).assign(label=range(40))
    evaluated(api, frame, prompt="{{ n }}?", scorer=scorer, stop_when_clear=True)
    assert sorted(scored) == [("yes", number) for number in range(40) for _ in range(2)]


def test_errors_of_a_scorer_that_differ_by_row_do_not_flood(api: ModuleType, service: Service) -> None:
    def scorer(answer: str, truth: int) -> float:
        raise ValueError(f"row {truth}")

    service.always = completion("good")
    frame = pd.DataFrame({"n": range(60), "label": range(60)})
    assert str(evaluated(api, frame, prompt="{{ n }}?", models="test/x", scorer=scorer)).count("raised") == 5


def panics(answer: str, truth: str) -> float:
    raise BaseException("no_such_attribute, in Rust")


@pytest.mark.parametrize("scorer", [lambda answer, truth: answer.no_such_attribute, panics], ids=["<lambda>", "panics"])
def test_a_scorer_that_fails_on_every_answer_says_nothing_of_the_candidates(
    api: ModuleType, service: Service, scorer: Any
) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api, scorer=scorer)
    assert found.sentences == f"No answer has a score by {scorer.__name__}: nothing is known."
    assert "no_such_attribute" in str(found)
    assert "A schema limits" not in str(found)


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
