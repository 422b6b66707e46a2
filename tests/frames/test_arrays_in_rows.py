"""Arrays in rows: they are lists in prompts, whatever the rows are made of, and arrays in the result."""

from __future__ import annotations

import json
import pickle
import re
from collections import ChainMap, OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pydantic import create_model
from service import Answer, Service, completion

from wandb_inference_magic.frames import read_rows

SCORES = list(range(12, 312))


class Named(NamedTuple):
    scores: Any


@dataclass
class Held:
    scores: Any


class Described(dict[str, Any]):
    def label(self) -> str:
        return f"scores of {len(self['scores'])}"

    def _ai_repr_(self) -> str:
        return self.label()


class Shared(MutableMapping[str, Any]):
    """A mapping whose copies share what it holds."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held = held

    def __getitem__(self, name: str) -> Any:
        return self.held[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.held[name] = value

    def __delitem__(self, name: str) -> None:
        del self.held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def label(self) -> str:
        return "shared"


def echo(one: Answer) -> None:
    completion(one.received.body["messages"][-1]["content"])(one)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda scores: pd.DataFrame({"scores": [scores]}), id="frame"),
        pytest.param(lambda scores: [{"scores": scores}], id="dicts"),
        pytest.param(lambda scores: ({"scores": scores} for _ in "a"), id="generator of dicts"),
        pytest.param(lambda scores: [OrderedDict(scores=scores)], id="dicts of a class"),
        pytest.param(lambda scores: [MappingProxyType({"scores": scores})], id="mappings"),
        pytest.param(lambda scores: [Named(scores)], id="named tuples"),
        pytest.param(lambda scores: [Held(scores)], id="dataclasses"),
        pytest.param(lambda scores: [SimpleNamespace(scores=scores)], id="namespaces"),
        pytest.param(lambda scores: [pd.Series({"scores": scores})], id="Series"),
    ],
)
@pytest.mark.parametrize(
    "values", [SCORES, [0.5, 2.0], ["a", "b"], [True, False]], ids=["many", "few", "texts", "truths"]
)
def test_an_array_is_the_same_list_in_every_kind_of_row(
    api: ModuleType, service: Service, make: Callable[[Any], Any], values: list[Any]
) -> None:
    service.always = echo
    prompt = "{{ scores }}|{{ row.scores }}|{% if scores == same %}same{% endif %}|{{ scores.shape }}"
    given = [make(np.array(values)), pd.DataFrame({"scores": [np.array(values)]})]
    same = {"same": values}
    outs = [api.map_prompts(one, prompt, names=same) for one in given]
    assert outs[0].reply[0] == outs[1].reply[0]
    assert "|same|" in outs[0].reply[0]
    assert not outs[0].reply[0].startswith("array of shape")
    assert json.dumps(values[150:] or values)[1:-1] in re.sub(r"\s+", " ", outs[0].reply[0])
    # The result has what was given.
    (kept,) = outs[0].scores
    assert type(kept) is np.ndarray


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(np.array([1, 2]), "a")], "[1, 2]"),
        ([[np.array([1, 2]), "a"]], "[1, 2]"),
        ([{"0": {"deep": {"er": np.array([1, 2])}}}], '{"deep": {"er": [1, 2]}}'),
        ([{"0": np.array([np.array([1]), np.array([2, 3])], dtype=object)}], "[[1], [2, 3]]"),
        ([{"0": np.array(["2024-01-01"], dtype="datetime64[D]")}], '["2024-01-01"]'),
        (np.array([[1, 2], [3, 4]]), "1"),
        (np.array([[[1, 2]], [[3, 4]]]), "[1, 2]"),
    ],
)
def test_an_array_is_a_list_at_each_place_of_a_row(api: ModuleType, service: Service, rows: Any, text: str) -> None:
    service.always = echo
    name = "row['0']" if isinstance(rows[0], dict) else "row[0]"
    assert api.map_prompts(rows, f"{{{{ {name} }}}}").reply[0] == text


@pytest.mark.parametrize(
    ("make", "prompt", "text"),
    [
        (Described, "{{ row.label() }}: {{ row.scores }}", "scores of 2: [1, 2]"),
        (Described, "{{ row }}", "scores of 2"),
        (partial(defaultdict, str), "{{ row.scores }}{{ row['other'] }}", "[1, 2]"),
        (lambda row: ChainMap({"a": 1}, row), "{{ row.maps | length }} {{ row.scores }}", "2 [1, 2]"),
        (type("Labelled", (UserDict,), {"label": lambda _: "b"}), "{{ row.label() }} {{ scores }}", "b [1, 2]"),
        (Shared, "{{ row.label() }} {{ row }}", 'shared {"scores": [1, 2]}'),
    ],
)
def test_a_row_with_an_array_keeps_what_its_class_has(
    api: ModuleType, service: Service, make: Callable[[Any], Any], prompt: str, text: str
) -> None:
    service.always = echo
    row = make({"scores": (array := np.array([1, 2]))})
    assert re.sub(r"\s+", " ", api.map_prompts([row], prompt).reply[0]) == text
    assert row["scores"] is array


@pytest.mark.parametrize(
    "value",
    [
        Held(np.array(SCORES)),
        Described(scores=np.array(SCORES)),
        OrderedDict(scores=np.array(SCORES)),
        create_model("Model", scores=(Any, ...))(scores=np.array(SCORES)),
    ],
)
def test_an_array_in_a_value_of_a_row_is_a_list(api: ModuleType, service: Service, value: Any) -> None:
    service.always = echo
    rows = [{"one": value, "deep": 0}, {"one": Held(value), "deep": 1}]
    out = api.map_prompts(rows, "{{ one.scores.scores if deep else one.scores }}")
    assert [json.loads(reply) for reply in out.reply] == [SCORES, SCORES]
    kept = value["scores"] if isinstance(value, dict) else value.scores
    assert type(kept) is np.ndarray


def test_rows_of_the_user_are_unchanged() -> None:
    array = np.array([1, 2])
    given: list[dict[str, Any]] = [{"a": array, "b": {"c": array}}, {"a": 1, "b": {"c": 2}}]
    first, second = read_rows(given)
    assert (given[0]["a"] is array, given[0]["b"]["c"] is array) == (True, True)
    assert first["a"].is_list
    # A row without arrays is given as it is.
    assert second is given[1]


def test_a_row_with_values_that_contain_themselves_or_fail_is_read() -> None:
    held = Held(np.array([1]))
    row: dict[str, Any] = {"a": {"b": 1, "c": np.array([1])}, "held": held, "n": np.array([1])}
    row["a"] |= {"self": row["a"], "again": row["a"]}
    row["failing"] = type("Failing", (dict,), {"items": lambda _: 1 / 0})(a=1)
    held.next = held.other = held  # type: ignore[attr-defined]
    (read,) = read_rows([row])
    assert read["a"]["b"] == 1
    assert read["held"] is held
    assert read["failing"] is row["failing"]
    # The other values are as in any row.
    assert read["n"].is_list


@pytest.mark.parametrize("make", [list, pd.DataFrame], ids=["dicts", "frame"])
def test_an_evaluation_of_rows_with_arrays_is_pickled(
    api: ModuleType, service: Service, make: Callable[[Any], Any]
) -> None:
    service.always = completion("good")
    rows = [{"scores": np.array([1, 2]), "label": "good"}, {"scores": np.array([3]), "label": "bad"}]
    evaluation = api.evaluate(make(rows), "{{ scores }}", truth="label")
    for frame in (
        evaluation.rows,
        pickle.loads(pickle.dumps(evaluation)).rows,
        pickle.loads(pickle.dumps(evaluation.rows)),
    ):
        assert [list(one) for one in frame["scores"]] == [[1, 2], [3]]
        frame.to_parquet(BytesIO())
    assert sorted(one.body["messages"][-1]["content"] for one in service.chats) == ["[1, 2]", "[3]"]
