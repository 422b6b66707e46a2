"""`review()`: what a person decides about doubtful rows, with a widget and without one."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kernels import Kernel
from service import Answer, Service, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import as_prompt

WIDGET = "application/vnd.jupyter.widget-view+json"
FRAME = pd.DataFrame({"text": list("abcd"), "label": ["good", "good", "bad", "bad"]})
ANSWERS = {"test/x": ["good", "bad", "bad", "odd"], "test/y": ["Good.", "Bad", "good", "odd"]}


def answer(one: Answer) -> None:
    body = one.received.body
    completion(ANSWERS[body["model"]]["abcd".index(body["messages"][-1]["content"][0])])(one)


@pytest.fixture
def found(api: ModuleType, service: Service) -> Any:
    service.always = answer
    return api.evaluate(FRAME, "{{ text }}?", truth="label", models=["test/x", "test/y"])


def test_rows_with_a_wrong_answer_are_shown_without_the_names_of_the_candidates(found: Any) -> None:
    said = str(found.review())
    assert said.splitlines()[0] == "3 rows with an answer that is not label."
    rows = [line.split() for line in said.splitlines()[3:6]]
    # Answers that mean the same are one, and those that are as the truth are not repeated.
    assert rows == [["1", "b", "good", "bad"], ["2", "c", "bad", "good"], ["3", "d", "bad", "odd"]]
    assert "test/" not in said
    assert "review.decide(1, 1) says that answer 1 is right, review.decide(1, 'truth') that label is." in said


@pytest.mark.parametrize("index", ["text", "id"])
def test_the_index_of_a_frame_is_shown(api: ModuleType, service: Service, index: str) -> None:
    service.always = completion("odd")
    frame = FRAME.assign(id=["r1", "r2", "r3", "r4"]).set_index(index)
    review = api.evaluate(frame, "{{ text }}?", truth="label", models=["test/x"]).review()
    assert {"r1", "a", "odd"} < set(str(review).splitlines()[3].split())
    assert review.shown_cards()[0]["columns"][0][0] == index


def test_in_a_prompt_an_evaluation_its_review_and_its_plot_are_what_they_show(found: Any) -> None:
    for one in (found, found.review(), found.plot()):
        assert as_prompt(one) == repr(one)
        assert as_prompt([one]) == json.dumps([repr(one)], ensure_ascii=False, indent=2)


def test_what_is_decided_is_a_column_and_changes_the_scores_without_a_request(found: Any, service: Service) -> None:
    sent = len(service.chats)
    assert "label reviewed" not in found.rows
    review = found.review()
    review.decide(1, 1)
    review.decide(2, "truth")
    review.decide(3, "skip")
    assert found.rows["label reviewed"].fillna("-").tolist() == ["-", "bad", "bad", "-"]
    assert found.disagreements["label reviewed"].fillna("-").tolist() == ["bad", "bad", "-"]
    assert found.summary.right.tolist() == [2, 1], "what was found stays"
    again = found.reviewed()
    assert again.summary.right.tolist() == [3, 2]
    assert again.rows["label"].tolist() == ["good", "bad", "bad", "bad"]
    assert again.comparisons.difference.tolist() == [0.25]
    assert "2 rows reviewed by hand, label corrected on 1. The reviewer saw the answers, and only" in str(again)
    # A new review goes on where this one ended, and a decision can be taken back.
    review = found.review()
    assert review.choices == {1: 1, 2: "truth"}
    review.decide(1, "skip")
    assert found.reviewed().summary.right.tolist() == [2, 1]
    assert len(service.chats) == sent


def test_a_second_review_starts_from_the_truth_as_it_was(found: Any) -> None:
    found.notices = (*found.notices, "Published: https://wandb.ai/team/project")
    found.review().decide(2, 1)
    again = found.reviewed()
    assert again.rows["label"].tolist() == ["good", "good", "good", "bad"]
    assert "Published" not in str(again)
    again.review().decide(2, "skip")
    third = again.reviewed()
    assert third.rows["label"].tolist() == FRAME.label.tolist()
    assert third.corrected == 0


def test_a_truth_that_is_an_array_can_be_reviewed_again(api: ModuleType, service: Service) -> None:
    service.always = completion('{"value": ["a"]}')
    frame = pd.DataFrame({"text": ["x"], "tags": [np.array(["a", "b"])]})
    found = api.evaluate(frame, "{{ text }}", truth="tags", models=["test/x"], schema="value list", scorer="f1")
    found.review().decide(0, "truth")
    assert found.review().choices == {0: "truth"}


@pytest.mark.parametrize(
    ("truths", "options", "answer", "reviewed"),
    [
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), {"schema": "d date"}, {"d": "2024-01-03"},
         ["2024-01-01T00:00:00", "2024-01-03"]),
        ([{"a": 1, "b": "x"}, {"a": 2, "b": "x"}], {"schema": "a int, b", "field": "a"}, {"a": 3, "b": "x"},
         ['{"a": 1, "b": "x"}', "3"]),
        ([Decimal("1.5"), Decimal("2.5")], {}, "3", ["1.5", "3"]),
    ],
)  # fmt: skip
def test_a_reviewed_truth_of_several_types_can_be_saved(
    api: ModuleType, service: Service, tmp_path: Path, truths: Any, options: Any, answer: Any, reviewed: list[str]
) -> None:
    service.always = completion(answer if isinstance(answer, str) else json.dumps(answer))
    frame = pd.DataFrame({"text": ["x", "y"], "truth": truths})
    found = api.evaluate(frame, "{{ text }}", truth="truth", models="test/x", **options)
    review = found.review()
    review.decide(0, "truth")
    review.decide(1, 1)
    again = found.reviewed()
    assert again.summary.right.tolist() == [1]
    for number, one in enumerate((found, again)):
        one.rows.to_parquet(tmp_path / str(number))
    assert again.rows["truth"].tolist() == reviewed
    assert again.source[0]["truth"] is found.source[0]["truth"], "as it was given"


def test_what_cannot_be_decided_is_refused(found: Any) -> None:
    review = found.review()
    with pytest.raises(InferenceError, match="Row 0 is not in this review"):
        review.decide(0, "truth")
    for choice in (2, 0, True, "good"):
        with pytest.raises(InferenceError, match=r"Row 1 has no choice .*Choose one of 1, truth, skip"):
            review.decide(1, choice)
    assert found.by_hand == {}


def test_a_long_value_is_cut_visibly_on_its_card(api: ModuleType, service: Service) -> None:
    service.then(completion("bad"))
    service.then(refused(400, "no"))
    frame = pd.DataFrame({"text": ["long " * 3000, "b"], "label": ["good", "good"]})
    (card,) = api.evaluate(frame, "{{ text }}?", truth="label", models="test/x", concurrency=1).review().shown_cards()
    assert card["columns"][0][1].endswith(" [... 5,000 more characters]")
    assert card["answers"] == ["bad"]


def test_nothing_is_left_to_review_when_all_is_right(api: ModuleType, service: Service) -> None:
    service.always = answer
    found = api.evaluate(FRAME.head(1), "{{ text }}?", truth="label", models="test/x")
    assert str(found.review()) == "Nothing to review: every answer is right."


def test_case_is_a_difference_where_the_scorer_heeds_it(api: ModuleType, service: Service) -> None:
    service.always = answer
    models = ["test/x", "test/y"]
    found = api.evaluate(FRAME.head(1), "{{ text }}?", truth="label", models=models, scorer="exact")
    (card,) = found.review().cards
    assert (card.agree, card.answers) == (1, ["Good."])


def test_a_truth_that_people_add_is_what_a_judge_is_held_against(api: ModuleType, service: Service) -> None:
    def judged(one: Answer) -> None:
        if one.received.body["model"] == "test/judge":
            text = one.received.body["messages"][-1]["content"]
            completion('{"better": "first"}' if "first answer:\nbad" in text else '{"better": "second"}')(one)
        else:
            answer(one)

    service.always = judged
    frame = FRAME.assign(label=["good", "good", None, "bad"])
    found = api.evaluate(frame, "{{ text }}?", truth="label", models=["test/x", "test/y"], judge="test/judge")
    review = found.review()
    assert [card.truth for card in review.cards] == ["good", None, "bad"]
    with pytest.raises(InferenceError, match="Choose one of 1, 2, skip"):
        review.decide(2, "truth")
    review.decide(2, 1)
    assert "It agreed with label" not in str(found)
    assert "It agreed with label on 1 of 1 pair." in str(found.reviewed())


PREPARE = """
import pandas as pd
from wandb_inference_magic import evaluate
df = pd.DataFrame({"text": ["a", "b<script>alert(1)</script>"], "label": ["good", "bad"]})
found = evaluate(df, "{{ text }}?", truth="label", models="test/x")
"""


def test_a_widget_stores_what_is_decided_and_the_table_stays_beside_it(kernel: Kernel, service: Service) -> None:
    service.always = completion("odd <img src=x onerror=alert(2)>")
    assert kernel.run(PREPARE).ok
    shown = kernel.finish(kernel.start("found.review()", allow_stdin=True)).output["data"]
    assert shown[WIDGET]["model_id"]
    assert "2 rows with an answer that is not label." in shown["text/markdown"]
    assert "<img" not in shown["text/markdown"]
    assert "<script" not in shown["text/markdown"]
    run = kernel.run(
        "import gc\nfrom wandb_inference_magic.widgets.anywidgets import ReviewCards\n"
        "(cards,) = [one for one in gc.get_objects() if isinstance(one, ReviewCards)]\n"
        "sent = []\ncards.send = sent.append\n"
        "for choice in ('truth', 1, 7, {}):\n    cards._handle_custom_msg({'decide': [1, choice]}, [])"
    )
    assert run.ok, run.error
    assert kernel.value("cards.choices") == {"1": "1"}
    assert kernel.value("found.by_hand") == {1: "odd <img src=x onerror=alert(2)>"}
    errors = kernel.value("[one['error'] for one in sent]")
    assert errors[:2] == ["", ""]
    assert all("Row 1 has no choice" in one for one in errors[2:])
    # Without an interactive front end, or without anywidget, there is the table alone.
    assert set(kernel.run("found.review()").output["data"]) == {"text/plain", "text/markdown"}
    assert kernel.run("import sys\nsys.modules['anywidget'] = None").ok
    assert kernel.run("del sys.modules['wandb_inference_magic.widgets.anywidgets']").ok
    shown = kernel.finish(kernel.start("found.review()", allow_stdin=True)).output["data"]
    assert set(shown) == {"text/plain", "text/markdown"}


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.errors.InferenceWarning")
def test_what_is_said_of_the_scores_follows_the_review(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(
        {"a": "1", "b": "many", "c": "3"}[one.received.body["messages"][-1]["content"]]
    )(one)
    frame = pd.DataFrame({"text": list("abc"), "label": ["1", "2", "odd"]})

    def score(answer: str, truth: str) -> float:
        if truth == "worse":
            raise ValueError("not this one")
        return float(answer == truth)

    found = api.evaluate(frame, "{{ text }}", truth="label", models="test/x", scorer="error")
    stale = "The truth odd is not a number: such rows are left out of the score."
    assert stale in found.notices
    assert any("gave no number on 1 row" in one for one in found.notices)
    found.by_hand = {2: "3"}
    again = found.reviewed()
    assert stale not in again.notices
    # However many other notices there are.
    found = api.evaluate(frame, "{{ text }}", truth="label", models="test/x", scorer=score)
    found.notices = tuple(f"Notice {number}." for number in range(7))
    found.by_hand = {1: "worse"}
    assert "not this one" in str(found.reviewed().notices)
