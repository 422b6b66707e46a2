"""Evaluations that ask several times, and those that may stop early."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from evaluations import by_number, evaluated
from service import Service, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.evaluation.run import Scores


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


def test_samples_of_which_some_fail_are_answers(api: ModuleType, service: Service) -> None:
    for _ in range(2):
        service.then(completion("a"), refused(400, "too odd"))
    found = api.evaluate(pd.DataFrame({"x": [1, 2], "truth": "a"}), "{{ x }}", truth="truth", samples=2, concurrency=1)
    assert found.summary[["rows", "answered", "right"]].values.tolist() == [[2, 2, 2]]
    assert "is right on 2 of 4 answers to 2 rows" in found.sentences


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
