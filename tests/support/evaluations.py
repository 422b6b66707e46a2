"""Evaluations from Python."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field, HttpUrl, computed_field
from service import Answer, Service, completion, refused, usage


def evaluate(api: ModuleType, *given: Any, **options: Any) -> Any:
    """Return an Evaluation, whose notices have all been warnings, each once."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = api.evaluate(*given, **options)
    assert sorted(str(one.message) for one in warned) == sorted(found.notices)
    return found


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


def evaluated(api: ModuleType, frame: object = FRAME, **options: Any) -> Any:
    options = {"models": ["test/x", "test/y"], "truth": "label"} | options
    return evaluate(api, frame, options.pop("prompt", "{{ text }}?"), **options)


def by_number(service: Service, right: Callable[[str, int], bool]) -> pd.DataFrame:
    """Answer `yes` to row n of the frame that is returned, where the model is right, by its name and n; else `no`."""

    def answer(one: Answer) -> None:
        number = int(re.findall(r"\d+", one.received.body["messages"][-1]["content"])[0])
        completion("yes" if right(one.received.body["model"].partition("/")[2], number) else "no")(one)

    service.always = answer
    return pd.DataFrame({"n": range(40), "label": "yes"})


class Sub(BaseModel):
    tags: set[str]


class Whole(BaseModel):
    full_name: str = Field(alias="fullName")
    sub: Sub
    home: HttpUrl
    size: int = 2

    @computed_field
    def double(self) -> int:
        return 2 * self.size


WHOLE: dict[str, Any] = {"fullName": "Ann", "sub": {"tags": ["b", "a"]}, "home": "http://x.com", "size": 2}


def answers_in_turn(service: Service, *answers: str | None) -> list[str]:
    """Answer row n of the rows that are returned with the n-th text; None refuses it."""

    def answer(one: Answer) -> None:
        given = answers[int(one.received.body["messages"][-1]["content"])]
        (refused(400, "no") if given is None else completion(given))(one)

    service.always = answer
    return [str(number) for number in range(len(answers))]
