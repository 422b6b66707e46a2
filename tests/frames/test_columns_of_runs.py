"""The columns that whole runs make: a second run over the first one's result, gaps, empty frames, partitions."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from framed_answers import SCALAR_TYPES, SCALARS, Person, frame_of, framed, from_parquet, type_of, values_of
from python_processes import run_python
from service import Answer, Service, completion, refused

from wandb_inference_magic.errors import InferenceWarning


def label_or_refuse(one: Answer) -> None:
    is_odd = "ODD" in one.received.body["messages"][-1]["content"]
    (refused(400, "too odd") if is_odd else completion('{"label": "good", "topic": "film"}'))(one)


def test_a_kept_column_is_reported_before_anything_is_sent(api: ModuleType, service: Service) -> None:
    service.always = completion('{"label": "good"}')
    frame = pd.DataFrame({"label": ["mine"]})
    # Warnings are errors in tests.
    with pytest.raises(InferenceWarning, match="'label', which is kept: the answers are in 'label_reply'"):
        api.map_prompts(frame, "{{ label }}?", schema="label good|bad")
    assert service.chats == []
    with pytest.warns(InferenceWarning) as warned:
        out = api.map_prompts(frame, "{{ label }}?", schema="label good|bad")
    assert len(warned) == 1
    assert out.iloc[0].to_dict() == {"label": "mine", "label_reply": "good"}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_empty_frame_gets_the_typed_columns(api: ModuleType, service: Service, library: str) -> None:
    empty = frame_of("pyarrow", {"text": pa.array([], pa.string())})
    empty = {"pandas": empty.to_pandas, "polars": lambda: pl.from_arrow(empty), "pyarrow": lambda: empty}[library]()
    out = api.map_prompts(empty, "{{ text }}?", schema=SCALARS)
    assert [type_of(out, name) for name in ("price", "n", "sure", "when")] == SCALAR_TYPES[library]
    both = api.map_prompts(empty, "{{ text }}?", model=["x/a", "x/b"])
    assert type_of(both, "reply_a") == type_of(both, "reply_b") == type_of(empty, "text")
    assert service.chats == []


@pytest.mark.parametrize("kind", ["cursor", "csv"])
def test_a_source_without_rows_keeps_the_columns_that_it_names(api: ModuleType, service: Service, kind: str) -> None:
    if kind == "csv":
        out = api.map_prompts(csv.DictReader(io.StringIO("text,n\n")), "{{ text }}?")
    else:
        with closing(sqlite3.connect(":memory:")) as base:
            base.execute("create table t (text, n)")
            out = api.map_prompts(base.execute("select * from t"), "{{ text }}?")
    assert list(out.columns) == ["text", "n", "reply"]
    assert service.chats == []


@pytest.mark.parametrize(
    "source",
    [
        ["fine", "x\ud83d"],
        [{"text": "fine"}, {"text": "x\ud83d"}],
        [("fine",), ("x\ud83d",)],
        [{"text": 1, "x\ud83d": 2}, {"text": 2, "x\ud83d": 3}],
    ],
    ids=["texts", "dicts", "tuples", "names"],
)
def test_half_a_character_in_a_row_is_replaced_and_reported(source: list[Any]) -> None:
    out, notices = framed(source, ["yes", "no"], None)
    assert out["reply"].to_list() == ["yes", "no"]
    name = next((one for one in out if "\ufffd" in one), next(iter(out)))
    assert "x\ufffd" in [name, *out[name]]
    assert notices == (f"{name!r} holds halves of characters (lone surrogates): they are replaced.",)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_row_without_an_answer_does_not_lose_the_nested_answers_of_others(
    api: ModuleType, service: Service, library: str
) -> None:
    answer = {"name": "Ada", "address": {"city": "Oslo", "zip_code": 150}, "friends": []}

    def reply(one: Answer) -> None:
        is_odd = "b" in one.received.body["messages"][-1]["content"]
        (refused(400, "too odd") if is_odd else completion(json.dumps(answer)))(one)

    service.always = reply
    out = api.map_prompts(frame_of(library, {"text": ["a", "b"]}), "Who is {{ text }}?", schema=Person)
    assert values_of(out, "address") == [answer["address"], None]
    assert "too odd" in values_of(out, "reply_error")[1]
    assert values_of(from_parquet(out), "address") == [answer["address"], None]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_interrupt_does_not_lose_the_nested_answers_so_far(api: ModuleType, service: Service, library: str) -> None:
    answer = {"name": "Ada", "address": {"city": "Oslo", "zip_code": 150}, "friends": []}

    def reply(one: Answer) -> None:
        if "b" in one.received.body["messages"][-1]["content"]:
            os.kill(os.getpid(), signal.SIGINT)
        completion(json.dumps(answer))(one)

    service.always = reply
    frame = frame_of(library, {"text": ["a", "b", "c"]})
    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(frame, "Who is {{ text }}?", schema=Person, concurrency=1)
    partial = raised.value.partial  # type: ignore[attr-defined]
    assert values_of(partial, "address")[0] == answer["address"]
    assert values_of(partial, "address")[2] is None
    assert values_of(from_parquet(partial), "address") == values_of(partial, "address")


def without_nan(values: list[Any]) -> list[Any]:
    return [value if value == value else None for value in values]


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_second_run_over_its_own_result_replaces_what_it_wrote_and_nothing_of_the_user(
    api: ModuleType, service: Service, library: str
) -> None:
    service.always = label_or_refuse
    users = {"text": ["a", "ODD", "c"], "reply": ["S1", "S2", "S3"], "label": ["H1", None, "H3"]}
    frame = api.map_prompts(frame_of(library, users), "{{ text }}", schema="topic")
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ text }}", schema="label")
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ text }}")
    assert {name: without_nan(values_of(frame, name)) for name in users} == users
    names = list(frame.columns if library != "pyarrow" else frame.column_names)
    assert names == [*users, "topic", "label_reply", "reply_error", "reply_2", "reply_2_error"]
    assert without_nan(values_of(frame, "label_reply")) == ["good", None, "good"]
    assert len(service.chats) == 9


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_whole_row_in_a_prompt_is_without_the_columns_that_are_replaced(
    api: ModuleType, service: Service, library: str
) -> None:
    service.always = label_or_refuse
    frame = frame_of(library, {"text": ["a", "ODD", "c"]})
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ row }}", schema="label")
    assert len(service.chats) == 3, "nothing is asked twice"
    for named in ("label", "row.label", "row['label']", "row.get('label')"):
        api.map_prompts(frame, "{{ " + named + " }} {{ row }}", schema="label", concurrency=1)
        sent = [chat.body["messages"][-1]["content"] for chat in service.chats[-3:]]
        assert sorted(sent) == [
            ' {"text": "ODD", "label": null}',
            'good {"text": "a", "label": "good"}',
            'good {"text": "c", "label": "good"}',
        ]


def names_of(frame: Any) -> list[str]:
    return list(frame.column_names if hasattr(frame, "column_names") else frame.columns)


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("prompt", "schema"), [("{{ row }}", "label"), ("{{ text }}", None), ("{{ row }}", "a, b int")]
)
def test_a_complete_map_over_its_own_result_is_the_same_map(
    api: ModuleType, service: Service, library: str, prompt: str, schema: str | None
) -> None:
    service.always = completion('{"label": "good", "a": "x", "b": 1}')
    first = frame = api.map_prompts(frame_of(library, {"text": ["a", "b"]}), prompt, schema=schema)
    for _ in range(2):
        frame = api.map_prompts(frame, prompt, schema=schema)
    assert names_of(frame) == names_of(first)
    assert len(service.chats) == 2


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
def test_two_complete_maps_over_one_frame_are_run_again_in_turn(api: ModuleType, service: Service) -> None:
    service.always = completion('{"label": "good", "topic": "x"}')
    frame = pd.DataFrame({"text": ["a", "b"]})
    for number in range(3):
        for field in ("label", "topic"):
            frame = api.map_prompts(frame, f"The {field} of {{{{ text }}}}", schema=field, cache=number < 2)
    assert names_of(frame) == ["text", "label", "topic"]
    assert len(service.chats) == 8
    models = ["test/a", "test/b"]
    for _ in range(2):
        frame = api.map_prompts(frame, "{{ text }}!", model=models)
    assert names_of(frame) == ["text", "label", "topic", "reply_a", "reply_b"]


OTHER_MAPS: dict[str, Any] = {
    "another prompt": {"prompt": "Translate {{ reply }}"},
    "another model": {"model": "test/another"},
    "another system prompt": {"system": "Be short."},
    "another parameter": {"temperature": 1.0},
}


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("what", OTHER_MAPS)
def test_the_answers_of_a_complete_map_are_kept_by_another_one(api: ModuleType, service: Service, what: str) -> None:
    service.always = lambda one: completion(str(len(service.chats)))(one)
    options = {"prompt": "Sum up {{ text }}"}
    first = api.map_prompts(pd.DataFrame({"text": ["a", "b"]}), **options)
    second = api.map_prompts(first, **options | OTHER_MAPS[what])
    assert names_of(second) == ["text", "reply", "reply_2"]
    assert second.reply.tolist() == first.reply.tolist()


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize(
    "users", [{"text": ["c"], "reply": ["Because."]}, {"text": ["a"], "reply": ["Mine."]}, {"reply": ["Because."]}]
)
def test_a_column_of_the_user_is_none_of_a_complete_map(
    api: ModuleType, service: Service, users: dict[str, list[str]]
) -> None:
    """Other rows, other values, or no row to know it by."""
    service.always = completion("Because.")
    api.map_prompts(pd.DataFrame({"text": ["a"]}), "{{ row }}")
    out = api.map_prompts(pd.DataFrame(users), "{{ row }}")
    assert out.reply.tolist() == users["reply"]


@pytest.mark.filterwarnings("ignore::wandb_inference_magic.InferenceWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_an_interrupted_run_over_its_own_result_is_completed(api: ModuleType, service: Service, library: str) -> None:
    def reply(one: Answer) -> None:
        if len(service.chats) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        label_or_refuse(one)

    service.always = reply
    frame = frame_of(library, {"text": ["a", "b", "c", "d"]})
    with pytest.raises(KeyboardInterrupt) as raised:
        api.map_prompts(frame, "{{ row }}", schema="label", concurrency=1)
    partial = raised.value.partial  # type: ignore[attr-defined]
    assert without_nan(values_of(partial, "label"))[::3] == ["good", None]
    assert values_of(partial, "reply_error")[-1] == "Not answered yet."
    whole = api.map_prompts(partial, "{{ row }}", schema="label")
    assert list(whole.columns if library != "pyarrow" else whole.column_names) == ["text", "label"]
    assert values_of(whole, "label") == ["good"] * 4
    assert len({chat.body["messages"][-1]["content"] for chat in service.chats}) == 4


DASK = """
import dask, dask.dataframe as dd, os, pandas as pd, warnings
from pydantic import BaseModel
from wandb_inference_magic import map_prompts
dask.config.set(scheduler="synchronous")

class Place(BaseModel):
    city: str

class Found(BaseModel):
    n: int
    size: float
    place: Place
    scores: dict[str, float]
    text: str

frame = pd.DataFrame({"text": ["a", "b", "c"]})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    out = map_prompts(dd.from_pandas(frame, npartitions=2), "{{ text }}", schema=Found)
print([str(one.message) for one in caught if "column" in str(one.message)])
done = out.compute()
print(list(done), [str(done[name].dtype) for name in ("n", "size")], (done.dtypes == out.dtypes).all())
print(done.place.tolist(), done.scores.tolist(), done.n.isna().tolist())
print(done.reply_error.tolist())
done.to_parquet("whole.parquet")
print(pd.read_parquet("whole.parquet").place.tolist())
out[["text", "n", "size", "text_reply", "reply_error"]].to_parquet("parts")
print(dd.read_parquet("parts").compute()["size"].tolist(), flush=True)
# Threads of pyarrow can abort an interpreter that ends meanwhile.
os._exit(0)
"""


def test_partitions_of_dask_have_the_same_types_and_plain_values(
    service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    def reply(one: Answer) -> None:
        row = one.received.body["messages"][-1]["content"]
        found = {"n": 2**70 if row == "c" else 1, "size": 2, "place": {"city": row}, "scores": {row: 1}, "text": row}
        (refused(400, "too odd") if row == "b" else completion(json.dumps(found)))(one)

    service.always = reply
    process = run_python("-c", DASK, environment=environment | service.environment, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    warned, names, values, errors, whole, parts = process.stdout.splitlines()
    assert "'text', which is kept: the answers are in 'text_reply'" in warned
    assert names.startswith(
        "['text', 'n', 'size', 'place', 'scores', 'text_reply', 'reply_error'] ['Int64', 'Float64'] True"
    )
    assert values == "[{'city': 'a'}, None, {'city': 'c'}] [{'a': 1.0}, None, {'c': 1.0}] [False, True, True]"
    assert "too odd" in errors
    assert f"'n' cannot hold {2**70}." in errors
    assert whole == "[{'city': 'a'}, None, {'city': 'c'}]"
    assert parts == "[2.0, <NA>, 2.0]"
