"""The names of the columns of answers, beside those of the frame and of an earlier run."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from framed_answers import frame_of, framed, values_of
from service import Service, completion

from wandb_inference_magic.errors import InferenceWarning
from wandb_inference_magic.frames.columns import ColumnNames
from wandb_inference_magic.frames.names import WrittenColumns, name_columns
from wandb_inference_magic.frames.rows import read_rows
from wandb_inference_magic.schemas import schema_of


def written(frame: Any, *names: ColumnNames) -> WrittenColumns:
    """Return the columns of a session in which runs have written those of these names."""
    found = WrittenColumns()
    found.add(read_rows(frame), names)
    return found


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "list"])
def test_a_column_of_the_frame_is_kept_beside_a_field_of_its_name(library: str) -> None:
    schema = schema_of("label good|bad, n int, n_reply int")
    frame = frame_of(library, {"label": ["mine"], "n": [7]})
    out, notices = framed(frame, [{"label": "good", "n": 1, "n_reply": 2}], schema)
    found = {name: values_of(out, name)[0] for name in ("label", "label_reply", "n", "n_reply", "n_2")}
    assert found == {"label": "mine", "label_reply": "good", "n": 7, "n_reply": 2, "n_2": 1}
    assert notices == (
        "The frame has a column 'label', which is kept: the answers are in 'label_reply'.",
        "The frame has a column 'n', which is kept: the answers are in 'n_2'.",
    )


def test_a_column_that_looks_the_same_is_kept_too() -> None:
    out, notices = framed(pd.DataFrame({"cafe\u0301": ["mine"]}), [{"caf\u00e9": "good"}], schema_of("caf\u00e9"))
    assert [*out] == ["cafe\u0301", "caf\u00e9_reply"]
    assert len(notices) == 1


def test_a_column_that_only_a_later_row_has_is_kept_too() -> None:
    out, notices = framed([{"text": "a"}, {"text": "b", "label": "mine"}], [{"label": "x"}, {"label": "y"}], "label")
    assert out.label.tolist()[1] == "mine"
    assert out.label_reply.tolist() == ["x", "y"]
    assert len(notices) == 1


def test_the_index_of_the_result_can_be_named_without_the_frame() -> None:
    frame = pd.DataFrame({"text": ["a"]}, index=["x"])
    out, _ = framed(frame, [{"label": "good"}], schema_of("label"))
    out.index.name = "id"
    assert (frame.index.name, list(out.index)) == (None, ["x"])


def test_the_column_of_answers_and_that_of_errors_do_not_replace_others_either() -> None:
    rows = read_rows(pd.DataFrame({"reply": ["mine"], "reply_2_error": [0.5], "reply_a": [1], "reply_error": [2]}))
    names, replaced, notices = name_columns(rows, None, "reply", [], WrittenColumns())
    assert [(dict(one.answers), one.error) for one in names] == [({"": "reply_2"}, "reply_2_error_2")]
    assert replaced == ()
    assert len(notices) == 2
    names, _, _ = name_columns(rows, None, "reply", ["x/a", "x/b"], WrittenColumns())
    assert [next(iter(one.answers.values())) for one in names] == ["reply_a_2", "reply_b"]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("values", [["x", None], ["x", "cut"], [[{"y": 1}], None]])
def test_only_the_columns_that_a_run_has_written_are_replaced(library: str, values: list[Any]) -> None:
    ours = {"label": [*values, None], "reply_error": [None, "too odd", "Not answered yet."]}
    frame = frame_of(library, {"text": ["a", "b", "c"], "note": ["mine", None, None]} | ours)
    before = written(frame, ColumnNames({"label": "label"}, "reply_error", "reply_text"))
    schema = schema_of("label, note")
    names, replaced, notices = name_columns(read_rows(frame), schema, "reply", [], before)
    assert (names, replaced) == (
        [ColumnNames({"label": "label", "note": "note_reply"}, "reply_error", "reply_text")],
        tuple(ours),
    )
    assert notices == (
        "These columns equal those of an earlier run, and are replaced: label, reply_error.",
        "The frame has a column 'note', which is kept: the answers are in 'note_reply'.",
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    "changed",
    [
        {"label": ["x", "by hand"]},
        {"label": ["by hand", None]},
        {"reply_error": [None, "my note"]},
        {"reply_error": [None, None]},
    ],
)
def test_columns_that_the_user_has_changed_are_kept(library: str, changed: dict[str, list[Any]]) -> None:
    ours = {"label": ["x", None], "reply_error": [None, "too odd"]}
    before = written(frame_of(library, ours), ColumnNames({"label": "label"}, "reply_error", "reply_text"))
    _, replaced, _ = name_columns(read_rows(frame_of(library, ours | changed)), schema_of("label"), "reply", [], before)
    assert "label" not in replaced
    assert not {*changed} & {*replaced}


def test_the_columns_of_a_user_with_an_empty_column_of_errors_are_kept(api: ModuleType, service: Service) -> None:
    service.always = completion("answer")
    frame = pd.DataFrame({"x": ["a", "b"], "reply": ["human", "words"], "reply_error": [None, None]})
    with pytest.warns(InferenceWarning, match="'reply', which is kept"):
        out = api.map_prompts(frame, "{{ x }}")
    assert out["reply"].tolist() == ["human", "words"]
    assert out["reply_2"].tolist() == ["answer", "answer"]


def test_the_replaced_columns_of_several_models_are_each_named_once() -> None:
    models = ["x/a", "x/b"]
    answers, reasons = ["yes", None], [None, "odd"]
    earlier = {"text": ["x", "y"], "reply_a": answers, "reply_b": answers}
    frame = pd.DataFrame(earlier | {"reply_a_error": reasons, "reply_b_error": reasons})
    before = written(
        frame, *(ColumnNames({"": f"reply_{one}"}, f"reply_{one}_error", f"reply_{one}_text") for one in "ab")
    )
    _, replaced, notices = name_columns(read_rows(frame), None, "reply", models, before)
    assert sorted(replaced) == ["reply_a", "reply_a_error", "reply_b", "reply_b_error"]
    assert len(notices) == 1
