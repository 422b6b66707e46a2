"""An Evaluation: its rows, its plot, and its pickle."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from evaluations import FRAME, answers_in_turn, by_model, by_number, evaluate, evaluated
from pydantic import BaseModel
from service import Service, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.evaluation import result


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
