"""Input and output of `map_prompts`: names, numbers and texts of frames; and its budget with Dask."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest
from printing import printed_by
from service import Answer, Service, completion

from wandb_inference_magic import InferenceWarning
from wandb_inference_magic.client import practice_server as local

SCRIPT_START = """
import pandas as pd
from wandb_inference_magic import InferenceError, evaluate, map_prompts
from wandb_inference_magic.session import current_session

def result_or_error(ask):
    try:
        return ask()
    except InferenceError as error:
        return error.cause, str(error)
"""


def run(api: ModuleType, code: str) -> str:
    """Run code with the session that `api` has started, and return what it prints."""
    return "\n".join(printed_by(SCRIPT_START + code)).strip()


TYPES = {
    "alias": "class T(BaseModel):\n    full_name: str = Field(alias='fullName')\n    age: int",
    "validation alias": "class T(BaseModel):\n    full_name: str = Field(validation_alias='fullName')\n    age: int",
    "generator": (
        "from pydantic.alias_generators import to_camel\n"
        "class T(BaseModel):\n    model_config = {'alias_generator': to_camel}\n    full_name: str\n    age: int"
    ),
    "choices": (
        "names = AliasChoices('fullName', 'name')\n"
        "class T(BaseModel):\n    full_name: str = Field(validation_alias=names)\n    age: int"
    ),
    "dataclass": (
        "from pydantic.dataclasses import dataclass\n"
        "@dataclass\nclass T:\n    full_name: str = Field(alias='fullName')\n    age: int = 0"
    ),
    "typed dict": (
        "from typing import Annotated\nfrom typing_extensions import TypedDict\n"
        "class T(TypedDict):\n    full_name: Annotated[str, Field(alias='fullName')]\n    age: int"
    ),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_field_with_an_alias_is_a_column_with_the_name_of_the_field(
    api: ModuleType, service: Service, kind: str
) -> None:
    service.always = completion('{"fullName": "Ada", "age": 36}')
    code = (
        f"from pydantic import AliasChoices, BaseModel, Field\n{TYPES[kind]}\n"
        "frame = map_prompts(['a'], '{{ text }}?', schema=T)\n"
        "print(frame[['full_name', 'age']].values.tolist(), list(frame))"
    )
    assert run(api, code) == "[['Ada', 36]] ['text', 'full_name', 'age']"
    assert list(service.last.body["response_format"]["json_schema"]["schema"]["properties"]) == ["fullName", "age"]


def test_models_with_different_answers_in_an_aliased_field_are_not_both_right(
    api: ModuleType, service: Service
) -> None:
    service.always = lambda one: completion(json.dumps({"fullName": one.received.body["model"]}))(one)
    code = (
        "from pydantic import BaseModel, Field\n"
        "class T(BaseModel):\n    full_name: str = Field(alias='fullName')\n"
        "rows, models = [{'text': 'a', 'name': 'a'}], ['a', 'b']\n"
        "found = evaluate(rows, '{{ text }}?', truth='name', models=models, schema=T, field='full_name')\n"
        "print(found.summary.right.tolist())"
    )
    assert run(api, code) == "[1, 0]"


def test_half_a_surrogate_pair_in_an_answer_is_replaced(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        row = one.received.body["messages"][-1]["content"]
        completion('{"a": "x\\ud83d"}' if row == "c" else f"{row}\ud83d")(one)

    service.always = answer
    code = (
        "frame = map_prompts(['a', 'b'], '{{ text }}')\n"
        "print(ascii(frame.reply.tolist()), list(frame))\n"
        "shape = {'type': 'object', 'properties': {'a': {'type': 'string'}}}\n"
        "print(ascii(map_prompts(['c'], '{{ text }}', schema=shape).a.tolist()))\n"
    )
    with pytest.warns(InferenceWarning, match="holds halves of characters .*: they are replaced"):
        first, second = run(api, code + "map_prompts(['a', 'b'], '{{ text }}')").splitlines()
    assert first == "['a\\ufffd', 'b\\ufffd'] ['text', 'reply']"
    assert second == "['x\\ufffd']"
    assert len(service.chats) == 3, "they are in the cache"


def test_a_model_given_twice_is_called_once(api: ModuleType, service: Service) -> None:
    service.always = completion("Yes.")
    code = "print(list(map_prompts(['a'], '{{ text }}', model=['test/a', 'test/a'])))"
    assert run(api, code) == "['text', 'reply']"
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    "frame",
    [
        "pd.DataFrame([[1, 2]], columns=['a', 'a'])",
        "pd.DataFrame([[1, 2]], columns=[1, '1'])",
        "__import__('pyarrow').table([[1], [2]], names=['a', 'a'])",
    ],
)
def test_two_columns_with_the_same_name_are_refused(api: ModuleType, service: Service, frame: str) -> None:
    out = run(api, f"print(*result_or_error(lambda: map_prompts({frame}, '{{{{ a }}}}')))")
    assert out.startswith("option Two columns are called '")
    assert "Rename one." in out
    assert service.chats == []


def test_numpy_values_are_sent_as_json_values(api: ModuleType, service: Service) -> None:
    code = (
        "import numpy as np\n"
        "how = {'max_tokens': np.int64(5), 'temperature': np.float32(0.5), 'stop': np.array(['x'])}\n"
        "map_prompts(['a'], '{{ text }}', **how, top_k=np.int32(3))\n"
        "print(result_or_error(lambda: map_prompts(['a'], '{{ text }}', odd={1, 2}).reply_error[0]))"
    )
    assert "odd is {1, 2}: a parameter of the service must be a value of JSON" in run(api, code)
    (chat,) = service.chats
    sent = {"max_tokens": 5, "temperature": 0.5, "stop": ["x"], "top_k": 3}
    assert {name: chat.body[name] for name in sent} == sent


@pytest.mark.parametrize("settings", ["budget=1.0", "budget_file='spent.sqlite'"])
def test_a_budget_is_refused_for_a_dask_frame(api: ModuleType, service: Service, settings: str) -> None:
    code = (
        "import dask.dataframe as dd\n"
        "lazy = dd.from_pandas(pd.DataFrame({'text': ['a']}), npartitions=1)\n"
        f"current_session().settings.set({settings})\n"
        "print(result_or_error(lambda: map_prompts(lazy, '{{ text }}').compute()))"
    )
    out = run(api, code)
    assert "'budget'" in out
    assert "it cannot be enforced for a Dask DataFrame" in out
    assert service.chats == []


@pytest.mark.practice
def test_rows_for_the_practice_model_are_sent_as_fast_as_it_answers(start_api: Callable[..., ModuleType]) -> None:
    code = (
        "from time import perf_counter\n"
        "map_prompts(['start'], '{{ text }}', max_tokens=1, cache=False)\n"
        "rows, before = [{'n': str(n), 'end': str(n)} for n in range(24)], perf_counter()\n"
        f"model = '{local.PACKAGED_MODEL}'\n"
        "found = evaluate(rows, 'Count to {{ n }}.', truth='end', models=[model], max_tokens=8)\n"
        "print(found.summary.seconds.iloc[0] / (perf_counter() - before))"
    )
    # With two calls at once, one of the 24 rows takes about a twelfth of the time, with sixteen more than half.
    assert float(run(start_api(WANDB_INFERENCE_BASE_URL="local"), code)) < 1 / 4
