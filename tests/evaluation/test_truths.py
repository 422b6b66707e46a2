"""The truth: how it is read, and what of an answer is compared with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from enum import Enum
from io import StringIO
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from evaluations import FRAME, WHOLE, Sub, Whole, answers_in_turn, by_model, evaluated
from pydantic import AfterValidator, BaseModel, SecretStr, computed_field, create_model
from service import Answer, Service, completion

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.evaluation import spec

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


@pytest.mark.parametrize("kind", [list, np.array, set])
@pytest.mark.parametrize("scorer", ["equal", "f1"])
def test_lists_that_went_through_csv_are_read(api: ModuleType, service: Service, scorer: str, kind: Any) -> None:
    service.always = completion('{"tags": ["refund", "it\'s, odd"]}')
    frame = pd.DataFrame({"text": ["p"], "tags": [kind(["refund", "it's, odd"])]})
    again = pd.read_csv(StringIO(frame.to_csv(index=False)))
    found = evaluated(api, again, models="test/x", truth="tags", schema="tags list", scorer=scorer)
    assert found.summary.right.tolist() == [1]


def test_columns_are_found_in_another_form_of_unicode(api: ModuleType, service: Service) -> None:
    service.always = completion('{"sche\u0301ma": "good"}')
    frame = pd.DataFrame({"cafe\u0301": ["tea"], "sche\u0301ma": ["good"]})
    options = {"truth": "sch\u00e9ma", "models": "test/x", "schema": "sch\u00e9ma good|bad"}
    found = evaluated(api, frame, prompt="{{ caf\u00e9 }} {{ row }}", **options)
    assert found.summary.right.tolist() == [1]
    # The truth stays hidden.
    assert "tea" in (sent := service.last.body["messages"][-1]["content"])
    assert "good" not in sent
    assert "names sche\u0301ma" in str(evaluated(api, frame, prompt="{{ sch\u00e9ma }}", **options))
    assert service.last.body["messages"][-1]["content"] == "good"


def test_an_allowed_null_is_an_answer(api: ModuleType, service: Service) -> None:
    rows = answers_in_turn(service, '{"d": null}', '{"d": "y"}', None)
    frame = pd.DataFrame({"x": rows, "truth": ["x", "y", "z"]})
    assert api.evaluate(frame, "{{ x }}", truth="truth", schema="d text?").summary["answered"].tolist() == [2]


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


def test_a_blank_truth_was_not_filled_in_unless_an_answer_may_be_blank(api: ModuleType, service: Service) -> None:
    rows = [{"text": "a", "label": "good"}, {"text": "b", "label": ""}, {"text": "c", "label": " "}]
    by_model(service, x="good good bad bad")
    assert "2 rows without a value in label left out." in str(evaluated(api, rows, models="test/x"))
    assert evaluated(api, rows, models="test/x", schema="label").summary["rows"].tolist() == [3]


def test_a_whole_answer_is_not_compared_with_a_value(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match=r"does not say which one it holds[\s\S]*--field label"):
        evaluated(api, FRAME.rename(columns={"label": "truth"}), truth="truth", schema="label good|bad, why")
    assert service.chats == []


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


def test_a_field_of_which_a_json_schema_says_nothing_is_compared(api: ModuleType, service: Service) -> None:
    service.always = completion('{"good": "yes"}')
    schema = {"type": "object", "properties": {"good": True}}
    found = evaluated(api, FRAME.assign(good="Yes."), models="test/x", truth="good", schema=schema)
    assert found.summary["right"].tolist() == [4]


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


class Mark(Enum):
    A = 1
    B = 2


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


def test_equal_truths_are_judged_once(api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging 30,000 labels one by one, twice, took seconds in which nothing was shown."""
    judged = []
    monkeypatch.setattr(spec, "can_mean", lambda value, *_: judged.append(value) or value != "c")
    service.always = completion('{"label": "a"}')
    schema = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
    frame = pd.DataFrame({"text": range(9), "label": ["a", "b", "c"] * 3})
    found = evaluated(api, frame, models="test/x", truth="label", schema=schema)
    assert len(judged) == 6, "each before the run is checked, and for its notices"
    assert any("In 3 rows, label has a value that the schema does not allow" in one for one in found.notices)
