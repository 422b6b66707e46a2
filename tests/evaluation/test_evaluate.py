"""`evaluate`: models and prompts held against known answers."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from evaluations import FRAME, answers_in_turn, by_model, by_number, evaluated
from service import Answer, Script, Service, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.evaluation import result
from wandb_inference_magic.statistics import ScoreMeasure, compare_pairs, paired


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


def test_the_comparison_says_what_four_rows_do_not_tell(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    found = evaluated(api)
    (comparison,) = found.comparisons.to_dict("records")
    assert (comparison["a"], comparison["b"], comparison["rows"]) == ("test/x", "test/y", 4)
    assert (comparison["difference"], comparison["p_value"], comparison["verdict"]) == (0.5, 0.5, "not clear")
    assert "These 4 rows show no clear difference between test/x and test/y (difference 50 points, " in str(found)
    assert "more rows would show one, 4 times in 5, if the difference really is 50 points." in str(found)


def test_several_candidates_are_summed_up_around_the_best(api: ModuleType, service: Service) -> None:
    frame = by_number(service, lambda model, number: number > {"x": 2, "y": 4, "z": 30}[model])
    said = str(evaluated(api, frame, prompt="{{ n }}?", models=["test/x", "test/y", "test/z"]))
    assert said.startswith(
        "test/x is better than test/z. "
        "These 40 rows show no clear difference between test/x and test/y (difference 5 points, "
    )


def test_of_equally_good_candidates_the_first_is_named() -> None:
    third = 1 / 3
    first, same = [0.3, 0.1, third, 0.7, 0.1, 0.2], [0.7, 0.1, 0.1, 0.3, third, 0.2]
    worse = [max(0.0, one - 0.1) for one in first]
    found = compare_pairs(paired("ABC", [first, same, worse]), measure=ScoreMeasure("mean F1"))
    assert result._of_several(found).endswith("There is no clear difference between A and C either.")


def test_among_several_a_verdict_at_the_edge_says_so(api: ModuleType, service: Service) -> None:
    right = {"a": lambda n: n not in (38, 39), "b": lambda n: n >= 10, "c": lambda n: n % 8 == 0}
    frame = by_number(service, lambda model, number: right[model](number))
    found = evaluated(api, frame, prompt="{{ n }}?", models=["x/a", "x/b", "x/c"])
    assert found.comparisons.verdict.tolist()[0] == "a is better, at the edge"
    assert found.sentences.startswith("x/a is better than x/c. x/a is better than x/b: its share")
    assert "at the edge, the test finds a difference" in found.sentences


def test_answers_of_which_none_is_right_are_to_be_compared_with_the_truth(api: ModuleType, service: Service) -> None:
    service.always = completion("I like it.")
    hint = "No answer is right: compare the answers in .rows with label."
    assert hint in str(evaluated(api))
    by_model(service, x="good bad bad bad", y="bad bad good good")
    assert hint not in str(evaluated(api, prompt="{{ text }} now?"))


def test_nothing_is_said_of_candidates_without_an_answer(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"x": answers_in_turn(service, None, None), "truth": ["a", "b"]})
    found = api.evaluate(frame, "{{ x }}", truth="truth", models=["test/m", "test/n"])
    assert found.sentences == "No row has an answer: nothing is known."


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


def test_a_prompt_may_name_the_index(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad")
    # Also beside another column, which it does not name.
    for frame in (FRAME, FRAME.assign(other="o")):
        found = evaluated(api, frame.set_index("text"), models=["test/x"])
        assert (found.notices, found.summary.right.tolist()) == ((), [4])


def test_row_is_without_the_right_answers(api: ModuleType, service: Service) -> None:
    found = evaluated(api, prompt="{{ row }}", models=["test/x"])
    sent = json.dumps([one.body["messages"] for one in service.chats])
    assert len(service.chats) == len(FRAME) and "text" in sent
    assert not re.search("label|good|bad", sent)
    assert not [one for one in found.notices if "right answers" in one]


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


@pytest.mark.parametrize("prompt", ["{{ text }}, {{ label }}", "{{ row.label }}", "{{ row['label'] }}"])
def test_a_prompt_that_names_the_right_answers_is_reported(api: ModuleType, service: Service, prompt: str) -> None:
    found = evaluated(api, prompt=prompt, models=["test/x"])
    assert "The model sees the right answers: the prompt names label." in found.notices


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


YES_NO = "label yes|no"


def labels_by_model(service: Service, **good_until: int) -> pd.DataFrame:
    """Label the rows of the frame that is returned rightly, up to a number for each model. Later answers do not fit."""

    def answer(one: Answer) -> None:
        number = int(one.received.body["messages"][0]["content"])
        fits = number < good_until[one.received.body["model"].partition("/")[2]]
        completion('{"label": "yes"}' if fits else "I think it is yes!")(one)

    service.always = answer
    return pd.DataFrame({"n": range(60), "label": "yes"})


@pytest.mark.parametrize("good", [0, 10, 45])
def test_answers_that_do_not_fit_are_wrong_ones(api: ModuleType, service: Service, good: int) -> None:
    frame = labels_by_model(service, x=60, y=good)
    for _ in range(2):
        found = evaluated(api, frame, prompt="{{ n }}", schema=YES_NO)
        assert found.summary[["rows", "answered", "right"]].values.tolist() == [[60, 60, 60], [60, good, good]]
        assert len(service.chats) == 60 + good + 2 * (60 - good)
    assert found.left == 0


@pytest.mark.parametrize("models", [["test/x"], ["test/x", "test/y"]])
def test_an_evaluation_in_which_no_answer_fits_ends_and_counts_its_rows(
    api: ModuleType, service: Service, models: list[str]
) -> None:
    frame = labels_by_model(service, x=0, y=0)
    with pytest.raises(InferenceError, match="16 consecutive rows") as caught:
        evaluated(api, frame, prompt="{{ n }}", schema=YES_NO, models=models)
    found = caught.value.partial  # type: ignore[attr-defined]
    assert all(16 <= rows < 60 for rows in found.summary.rows)
    assert found.summary.right.tolist() == [0] * len(models)


def requests_to(service: Service, model: str) -> int:
    return sum(one.body["model"] == model for one in service.chats)


UNFIT = completion("I think it is yes!")
# How a candidate can have no good answer although its answers are none that do not fit.
WITHOUT_ANSWERS = {
    "unknown model": refused(404, "model not found"),
    "no credit": refused(402, "insufficient credits"),
    "each row is forbidden": refused(403, "no"),
    "each row is refused": refused(400, "no"),
    "each prompt is too long": refused(400, "This model's maximum context length is 10 tokens"),
    "empty": completion(""),
}


@pytest.mark.parametrize(
    ("how", "models"),
    [
        *((how, ["test/x", "test/y"]) for how in WITHOUT_ANSWERS),
        ("no credit", ["test/y", "test/z", "test/x"]),
        ("empty", ["test/y", "test/z", "test/x"]),
    ],
)
def test_a_candidate_without_answers_does_not_keep_one_going_whose_answers_never_fit(
    api: ModuleType, service: Service, how: str, models: list[str]
) -> None:
    service.always = lambda one: (UNFIT if one.received.body["model"] == "test/x" else WITHOUT_ANSWERS[how])(one)
    with pytest.raises(InferenceError):
        evaluated(api, pd.DataFrame({"n": range(120), "label": "yes"}), prompt="{{ n }}", schema=YES_NO, models=models)
    assert requests_to(service, "test/x") < 100


def test_the_kept_failures_of_a_candidate_do_not_keep_one_going_whose_answers_never_fit(
    api: ModuleType, service: Service
) -> None:
    service.always = UNFIT
    frame = pd.DataFrame({"n": range(200), "label": "yes"})
    options: dict[str, Any] = {"prompt": "{{ n }}", "schema": YES_NO}
    # In parts that are too small to end a run.
    for start in range(0, 200, 10):
        evaluated(api, frame[start : start + 10], **options, models="test/y")
    before = len(service.chats)
    with pytest.raises(InferenceError, match="16 consecutive rows of test/x failed"):
        evaluated(api, frame, **options)
    assert len(service.chats) - before < 100
    assert requests_to(service, "test/y") == before


@pytest.mark.parametrize("then", [refused(404, "model not found"), UNFIT], ids=["gone", "unfit"])
def test_a_candidate_with_good_answers_keeps_one_going_whose_answers_never_fit(
    api: ModuleType, service: Service, then: Script
) -> None:
    """Also if they are those of an earlier run."""
    good = completion('{"label": "yes"}')
    service.always = lambda one: (UNFIT if one.received.body["model"] == "test/x" else good)(one)
    frame = pd.DataFrame({"n": range(60), "label": "yes"})
    options: dict[str, Any] = {"prompt": "{{ n }}", "schema": YES_NO, "repair": False}
    evaluated(api, frame[:3], **options, models="test/y")
    service.always = lambda one: (UNFIT if one.received.body["model"] == "test/x" else then)(one)
    with suppress(InferenceError):
        evaluated(api, frame, **options)
    assert requests_to(service, "test/x") == 60


def test_an_answer_whose_repair_a_stop_prevents_is_no_wrong_one(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        body = one.received.body
        is_first = body["messages"][0]["content"] == "0"
        prose = completion("I think it is yes!")
        (completion('{"label": "yes"}') if is_first else refused(401, "gone") if len(body["messages"]) > 1 else prose)(
            one
        )

    service.always = answer
    frame = pd.DataFrame({"n": range(30), "label": "yes"})
    with pytest.raises(InferenceError, match="every other row would fail as well") as caught:
        evaluated(api, frame, prompt="{{ n }}", schema=YES_NO, models="test/x")
    assert "test/x is right on 1 of 1 row" in str(caught.value.partial)  # type: ignore[attr-defined]
