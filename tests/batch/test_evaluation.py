"""`compare_frame`: models compared with each other over the same rows."""

from __future__ import annotations

import json
from types import ModuleType

import pandas as pd
import pytest
from kernels import Kernel
from service import Answer, Service, completion, refused, usage

from wandb_inference_magic.errors import InferenceError, InferenceWarning

FRAME = pd.DataFrame({"text": list("abcd"), "label": ["good", "good", "bad", "bad"]})


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


def test_models_are_compared_with_the_right_answers(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad -")
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x", "test/y"], truth="label")
    assert table.agreement.round(4).to_dict() == {"test/x": 1.0, "test/y": 0.6667}
    assert table.failed.to_dict() == {"test/x": 0, "test/y": 1}
    assert table[["prompt_tokens", "completion_tokens"]].values.tolist() == [[40, 20], [30, 15]]
    assert (table.seconds_median > 0).tolist() == [True, True]
    assert table.cost_usd.isna().tolist() == [True, True], "no price is known"


def test_models_are_compared_with_each_other(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad bad", y="good bad bad bad", z="bad bad bad bad")
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x", "test/y", "test/z"])
    assert table.agreement.tolist() == [0.625, 0.75, 0.625]


def test_with_a_schema_the_field_with_the_name_of_the_truth_column_is_compared(
    api: ModuleType, service: Service
) -> None:
    by_model(service, x="good good bad bad", y="good good bad good")
    schema = "label good|bad, why text"
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x", "test/y"], truth="label", schema=schema)
    assert table.agreement.tolist() == [1.0, 0.75]
    # The frame is not returned, so that a column of it with the name of a field is no news.
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x"], truth="label", schema=schema)
    assert table.agreement.tolist() == [1.0]


def test_a_missing_column_or_field_is_refused(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match=r"There is no column 'lable'.*label"):
        api.compare_frame(FRAME, "{{ text }}?", models=["test/x"], truth="lable")
    with pytest.raises(InferenceError, match="no field 'why'"):
        api.compare_frame(FRAME, "{{ text }}?", models=["test/x"], schema="label", field="why")
    assert service.chats == []


def test_the_keys_of_a_list_of_dicts_are_columns(api: ModuleType, service: Service) -> None:
    by_model(service, x="good good bad good")
    records = FRAME.to_dict("records")
    table = api.compare_frame(records, "{{ text }}?", models=["test/x"], truth="label")
    assert table.agreement.tolist() == [0.75]
    with pytest.warns(InferenceWarning, match="'label', which is kept: the answers are in 'label_2'"):
        out = api.map_prompts(records, "{{ text }}{{ label }}", model="test/x", into="label")
    assert out.label.tolist() == FRAME.label.tolist()
    assert out.label_2.tolist() == ["Good.", "Good.", "Bad.", "Good."]


def test_labels_stored_as_floats_and_missing_labels_are_compared_by_meaning(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        completion("2" if one.received.body["messages"][-1]["content"] == "c?" else "1")(one)

    service.always = answer
    frame = pd.DataFrame({"text": list("abcd"), "label": [1, 2, None, None]})
    frame["whole"] = frame.label.astype("Int64")
    for truth in ("label", "whole"):
        table = api.compare_frame(frame, "{{ text }}?", models=["test/x"], truth=truth)
        assert table.agreement.tolist() == [0.5]
    assert table.from_cache.tolist() == [4]


def test_a_truth_of_zeros_and_ones_is_compared_with_booleans(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(
        json.dumps({"good": one.received.body["messages"][-1]["content"][0] in "ab", "tags": ["x"]})
    )(one)
    frame = FRAME.assign(as_number=[1, 1, 0, 0], as_float=[1.0, None, 0.0, 1.0], as_text=["yes", "Yes", "no", "False"])
    for truth, agreement, no_truth in [("as_number", 1.0, 0), ("as_float", 2 / 3, 1), ("as_text", 1.0, 0)]:
        table = api.compare_frame(
            frame, "{{ text }}?", models=["test/x"], truth=truth, field="good", schema="good bool, tags list"
        )
        assert table.agreement.tolist() == [agreement]
        assert table[["no_truth", "compared", "failed"]].values.tolist() == [[no_truth, 4 - no_truth, 0]]


def test_rows_that_failed_are_counted_and_not_compared(api: ModuleType, service: Service) -> None:
    by_model(service, x="good - bad bad", y="- - - -")
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x", "test/y"], truth="label")
    assert table[["failed", "no_truth", "compared"]].values.tolist() == [[1, 0, 3], [4, 0, 0]]
    assert table.agreement.isna().tolist() == [False, True]


def test_whole_answers_are_compared_part_by_part(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion('{"when": "2024-01-05", "price": 2.50, "tags": ["a", "B"]}')(one)
    truth = [
        {"when": pd.Timestamp("2024-01-05"), "price": 2.5, "tags": ["a", "b"]},
        '{"tags": ["a", "b"], "when": "2024-01-05", "price": "2.5"}',
        {"when": "2024-01-05", "price": 2.5, "tags": ["b", "a"]},
        {"when": "2024-01-06", "price": 2.5, "tags": ["a", "b"]},
    ]
    table = api.compare_frame(
        FRAME.assign(truth=truth),
        "{{ text }}?",
        models=["test/x"],
        truth="truth",
        schema="when date, price float, tags list",
    )
    assert table.agreement.tolist() == [0.5]


def test_a_comparison_over_no_rows_has_typed_columns(api: ModuleType, service: Service) -> None:
    table = api.compare_frame(FRAME, "{{ text }}?", models=["test/x"], truth="label", limit=0)
    whole = api.compare_frame(FRAME.head(0), "{{ text }}?", models=["test/x"])
    assert table.shape == whole.shape == (0, 12)
    assert table.dtypes.astype(str)[["rows", "cost_usd", "agreement"]].tolist() == ["int64", "float64", "float64"]
    assert service.chats == []


def test_the_95th_percentile_is_not_above_the_slowest_row(kernel: Kernel, service: Service) -> None:
    by_model(service, x="good good bad bad")
    run = kernel.run(
        "from wandb_inference_magic.batch.evaluation import evaluated\n"
        "from wandb_inference_magic.batch.spec import BatchSpec\n"
        "from wandb_inference_magic.session import Command, current_session\n"
        "from wandb_inference_magic.engine.request import ChatSpec\n"
        "from wandb_inference_magic.batch.rows import read_rows\n"
        "from wandb_inference_magic.batch.map import run_map\n"
        "rows, asked = read_rows(['a', 'b']), BatchSpec('{{ text }}?', ChatSpec('', stream=False), {}, 100)\n"
        "mapped = run_map(Command(current_session()), rows, asked, models=['test/x'])\n"
        "table = evaluated(mapped, rows, None, truth=None, field=None)"
    )
    assert run.ok, run.error
    assert kernel.value("bool(table.seconds_median.iloc[0] < table.seconds_p95.iloc[0])") is True
    assert kernel.value("bool(table.seconds_p95.iloc[0] <= max(mapped.runs[0].seconds))") is True
