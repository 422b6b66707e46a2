"""Each row of a run has an answer of its own: equal rows, sources that are read row by row, columns."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from answered_rows import Numbered, answers
from pydantic import BaseModel, Field
from service import Answer, Service, completion, refused

from wandb_inference_magic import InferenceWarning


def test_dicts_without_a_name_that_others_have_lack_its_value(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion(one.received.body["messages"][-1]["content"])(one)
    frame = api.map_prompts([{"a": 1}, {"a": 2, "b": 5}, {"a": 3}], "{{ a }} {{ b or 'none' }} {{ row }}")
    assert frame["reply"].tolist() == ['1 none {"a": 1}', '2 5 {"a": 2, "b": 5}', '3 none {"a": 3}']
    found = api.evaluate([{"q": "a"}, {"q": "b", "t": "b"}], "{{ q }}", truth="t")
    assert (found.summary["right"].tolist(), found.rows["q"].tolist()) == ([1], ["b"])


def test_columns_that_are_called_like_a_function_of_python_are_columns(api: ModuleType, service: Service) -> None:
    rows = [{"id": 7, "input": "hello", "type": "cat", "max": 3, "range": "far"}]
    api.map_prompts(rows, "{{ id }} {{ input }} {{ type }} {{ max }} {{ range }}")
    assert service.last.body["messages"][-1]["content"] == "7 hello cat 3 far"


@dataclass
class Account:
    name: str
    password: str = field(repr=False)


class Member(BaseModel):
    name: str
    password: str = Field(repr=False)


@pytest.mark.parametrize("kind", [Account, Member])
def test_a_field_that_a_class_hides_is_sent_only_if_the_prompt_names_it(
    api: ModuleType, service: Service, kind: Any
) -> None:
    rows = [kind(name="Ann", password="s3cret")]
    service.always = completion("yes")
    frame = api.map_prompts(rows, "{{ row }} {{ name }}")
    assert frame["password"].tolist() == ["s3cret"]
    assert service.last.body["messages"][-1]["content"] == '{"name": "Ann"} Ann'
    api.map_prompts(rows, "{{ row[0] }}!")
    assert service.last.body["messages"][-1]["content"] == "Ann!"
    api.map_prompts(rows, "{{ password }}")
    assert service.last.body["messages"][-1]["content"] == "s3cret"


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_answer_of_blanks_is_none(api: ModuleType, service: Service, blank: str) -> None:
    service.then(completion(blank))
    found = api.map_prompts(["a"], "{{ text }}")
    assert list(found.reply.isna()) == [True]
    assert found.reply_error[0].startswith("The reply has no text")


def test_equal_rows_are_asked_one_by_one_and_a_new_run_gives_each_its_own_answer(
    api: ModuleType, service: Service
) -> None:
    service.always = Numbered(17)
    rows = ["Throw a die."] * 60
    first = api.map_prompts(rows, "{{ text }}", temperature=1)
    assert len(service.chats) == 60
    assert len({one for one in answers(first) if one}) == 59
    assert first["reply_error"].notna().sum() == 1
    with pytest.warns(InferenceWarning, match="1 row was not asked again"):
        again = api.map_prompts(rows, "{{ text }}", temperature=1)
    assert len(service.chats) == 60
    assert answers(again) == answers(first)
    assert again["reply_error"].tolist() == first["reply_error"].tolist()


def test_more_equal_rows_than_before_keep_the_answers_there_are(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    first = api.map_prompts(["a", "b", "a"], "{{ text }}")
    again = api.map_prompts(["a", "b", "a", "a"], "{{ text }}")
    assert answers(again)[:3] == answers(first)
    assert len(service.chats) == 4


def test_a_schema_with_equal_rows_gives_each_row_its_own_values(api: ModuleType, service: Service) -> None:
    numbers = itertools.count()
    service.always = lambda one: completion(json.dumps({"n": f"{next(numbers)}"}))(one)
    first = api.map_prompts(["a"] * 6, "{{ text }}", schema="n", concurrency=1)
    assert sorted(first["n"]) == list("012345")
    assert api.map_prompts(["a"] * 6, "{{ text }}", schema="n")["n"].tolist() == first["n"].tolist()
    assert len(service.chats) == 6


def test_retrying_failed_equal_rows_asks_for_those_alone(api: ModuleType, service: Service) -> None:
    service.always = Numbered(1, 3)
    first = api.map_prompts(["a"] * 5, "{{ text }}", concurrency=1)
    again = api.map_prompts(["a"] * 5, "{{ text }}", concurrency=1, retry_failed=True)
    assert len(service.chats) == 7
    assert [new for old, new in zip(answers(first), answers(again), strict=True) if old] == [
        one for one in answers(first) if one
    ]
    assert None not in answers(again)


def test_distinct_asks_each_different_prompt_once(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    found = answers(api.map_prompts(["a", "b", "a", "b", "a"], "{{ text }}", distinct=True, cache=False))
    assert len(service.chats) == 2
    assert found == [found[0], found[1]] * 2 + [found[0]]
    assert found[0] != found[1]


def test_distinct_rows_share_failures_and_answers_on_disk_too(api: ModuleType, service: Service) -> None:
    service.always = Numbered(0)
    for again in (nullcontext(), pytest.warns(InferenceWarning, match="2 rows were not asked again")):
        with again:
            frame = api.map_prompts(["a", "a", "b", "b"], "{{ text }}", distinct=True, concurrency=1)
        assert answers(frame) == [None, None, "answer 1", "answer 1"]
        assert "not this one" in frame["reply_error"][0]
        assert frame["reply_error"][0] == frame["reply_error"][1]
    assert len(service.chats) == 2


def test_distinct_uses_the_answers_of_runs_without_it(api: ModuleType, service: Service) -> None:
    service.always = Numbered()
    first = answers(api.map_prompts(["a"], "{{ text }}"))
    assert answers(api.map_prompts(["a", "a"], "{{ text }}", distinct=True)) == first * 2
    assert len(service.chats) == 1


def test_the_summary_counts_shared_answers_apart(api: ModuleType, service: Service) -> None:
    from wandb_inference_magic.batch import PreparedMap
    from wandb_inference_magic.batch.spec import BatchSpec
    from wandb_inference_magic.commands.map import summary_bundle
    from wandb_inference_magic.engine import ChatSpec
    from wandb_inference_magic.frames import read_rows
    from wandb_inference_magic.session import Command, current_session

    service.always = Numbered()
    spec = BatchSpec("{{ text }}", ChatSpec("", stream=False, thread=None), {}, 4000, distinct=True)
    mapped = PreparedMap(Command(current_session()), read_rows(["a", "a", "a", "b"]), spec).run()
    text = summary_bundle(mapped.outcome, "out")["text/plain"]
    assert "4 of 4 rows answered" in text
    assert "2 shared with equal rows" in text


def test_a_row_that_failed_with_two_models_is_one_row(api: ModuleType, service: Service) -> None:
    by_prompt = {"a": completion("fine"), "b": refused(400, "not this one")}
    service.always = lambda one: by_prompt[one.received.body["messages"][-1]["content"]](one)
    for again in (nullcontext(), pytest.warns(InferenceWarning, match="1 row was not asked again")):
        with again:
            api.map_prompts(["a", "b"], "{{ text }}", model=["test/a", "test/b"], concurrency=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda df: df.drop(index=[0, 1], inplace=True),
        lambda df: df.sort_values("t", ascending=False, inplace=True),
        lambda df: df.loc.__setitem__(len(df), "new"),
    ],
    ids=["drop", "sort", "add"],
)
def test_a_frame_may_be_changed_while_its_rows_are_answered(
    api: ModuleType, service: Service, change: Callable[[pd.DataFrame], None]
) -> None:
    """A map may run in a thread, and the next cell works on the frame."""
    df = pd.DataFrame({"t": [f"row {number}" for number in range(6)]})

    def answer(one: Answer) -> None:
        if len(service.chats) == 1:
            # Newer versions of pandas advise against `inplace`.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change(df)
        completion(one.received.body["messages"][-1]["content"])(one)

    service.always = answer
    out = api.map_prompts(df, "{{ t }}", cache=False, concurrency=1)
    assert out.t.tolist() == answers(out) == [f"row {number}" for number in range(6)]
