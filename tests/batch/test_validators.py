"""Validators of the user's in a run, and the answers on disk that they refuse."""

from __future__ import annotations

import json
from asyncio import CancelledError
from contextlib import nullcontext
from types import ModuleType

import pytest
from answered_rows import numbers
from pydantic import BaseModel, field_validator
from service import Answer, Service, completion

from wandb_inference_magic import InferenceWarning


def test_a_validator_that_leaves_ends_one_row(api: ModuleType, service: Service) -> None:

    class Label(BaseModel):
        label: str

        @field_validator("label")
        @classmethod
        def check(cls, value: str) -> str:
            if value == "b":
                raise SystemExit(2)
            return value

    def echo(one: Answer) -> None:
        completion(json.dumps({"label": one.received.body["messages"][-1]["content"][0]}))(one)

    service.always = echo
    out = api.map_prompts(list("abc"), "{{ text }}", schema=Label)
    assert out["label"].tolist()[0] == "a"
    assert out["label"].tolist()[2] == "c"
    assert "A validator of the schema failed. It raised SystemExit: 2." in out["reply_error"].tolist()[1]


@pytest.mark.parametrize("error", [KeyError, ZeroDivisionError, SystemExit, CancelledError])
def test_a_validator_that_fails_on_one_answer_loses_none(
    api: ModuleType, service: Service, error: type[BaseException]
) -> None:
    service.always = lambda one: completion(json.dumps({"n": int(one.received.body["messages"][-1]["content"])}))(one)

    def fails(value: int) -> int:
        if value == 2:
            raise error
        return value

    for _ in range(2):
        out = api.map_prompts([1, 2, 3], "{{ text }}", schema=numbers(fails))
        assert out["n"].fillna(0).tolist() == [1, 0, 3]
        assert f"It raised {error.__name__}" in out["reply_error"].tolist()[1]
    # What was answered is kept: with the validator corrected, nothing is asked again.
    assert api.map_prompts([1, 2, 3], "{{ text }}", schema=numbers(lambda value: value))["n"].tolist() == [1, 2, 3]
    assert len(service.chats) == 3


def test_a_cut_answer_on_which_a_validator_fails_is_not_kept(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": '{"n": 5}'}
        one.json({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    service.always = cut

    def fails(value: int) -> int:
        raise KeyError(value)

    api.map_prompts(["a"], "{{ text }}", schema=numbers(fails))
    service.always = completion('{"n": 50}')
    assert api.map_prompts(["a"], "{{ text }}", schema=numbers(lambda value: value))["n"].tolist() == [50]
    assert len(service.chats) == 2


def test_answers_that_a_stricter_validator_refuses_are_asked_for_once(api: ModuleType, service: Service) -> None:
    service.always = completion('{"n": 5}')

    def small(value: int) -> int:
        if value > 1:
            raise ValueError("too big")
        return value

    asked = []
    for number, check in enumerate((lambda value: value, small, small, lambda value: value, small)):
        has_failed_before = check is small and number > 1
        with pytest.warns(InferenceWarning, match="not asked again") if has_failed_before else nullcontext():
            out = api.map_prompts(["a", "b"], "{{ text }}", schema=numbers(check), repair=False)
        assert ("reply_error" in out) == (check is small)
        asked.append(len(service.chats))
    assert asked == [2, 4, 4, 4, 4]


def test_an_answer_that_did_not_fit_is_kept_and_read_by_the_corrected_schema(api: ModuleType, service: Service) -> None:
    service.always = completion('{"n": 5}')

    def large(value: int) -> int:
        if value < 1000:
            raise ValueError("too small")
        return value

    def odd(value: int) -> int:
        raise ValueError("of another kind")

    for check, error in ((large, "too small"), (odd, "of another kind"), (lambda value: value, "")):
        with pytest.warns(InferenceWarning, match="not asked again") if check is odd else nullcontext():
            out = api.map_prompts(["a"], "{{ text }}", schema=numbers(check), repair=False)
        assert error in out.get("reply_error", [""])[0]
        assert ("reply_text" in out) == bool(error)
        assert out.get("reply_text", ['{"n": 5}'])[0] == '{"n": 5}'
    assert out["n"].tolist() == [5]
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    ("options", "last"),
    [
        # The answer on disk is repaired: it is not asked for a second time.
        ({}, "This does not fit"),
        ({"retry_failed": True}, "a"),
    ],
)
def test_a_repair_that_was_off_is_made_of_the_answer_on_disk(
    api: ModuleType, service: Service, options: dict[str, bool], last: str
) -> None:
    service.then(completion("five"), completion('{"n": 5}'))
    out = api.map_prompts(["a"], "{{ text }}", schema="n int", repair=False)
    assert (out["n"].isna()[0], out["reply_text"][0]) == (True, "five")
    out = api.map_prompts(["a"], "{{ text }}", schema="n int", **options)
    assert out.columns.tolist() == ["text", "n"]
    assert out["n"].tolist() == [5]
    assert last in service.chats[1].body["messages"][-1]["content"]
    assert len(service.chats) == 2
