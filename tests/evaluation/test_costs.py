"""What candidates cost: all their answers count, also those that an earlier run has paid for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from evaluations import evaluated
from known_models import feed_entry, known_model_environment
from service import Answer, Service, Wandb, completion, refused

from wandb_inference_magic import InferenceError

FRAME = pd.DataFrame({"n": range(20), "label": ["yes", "no"] * 10})
# In USD, of 12 tokens in and 3 out.
CHEAP, DEAR = 13.5e-6, 135e-6


def right(one: Answer) -> None:
    number = int(one.received.body["messages"][0]["content"].rstrip("?"))
    completion(json.dumps({"label": FRAME.label[number]}))(one)


def start_priced(start_api: Callable[..., ModuleType], wandb: Wandb) -> ModuleType:
    variables = known_model_environment(wandb)
    wandb.feed.documents["/inference/modelsdev/models"]["wandb"]["models"]["test/dear"] = feed_entry(
        "test/dear", 100_000, price=10.0
    )
    wandb.api.always = right
    return start_api(**variables)


def costs(api: ModuleType, *models: str, rows: int = 20, **options: object) -> pd.DataFrame:
    found = evaluated(
        api, FRAME.head(rows), prompt="{{ n }}?", schema="label yes|no", models=list(models), concurrency=1, **options
    )
    assert "free" not in str(found)
    return found.summary


def test_a_model_that_was_asked_before_costs_what_it_did(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_priced(start_api, wandb)
    costs(api, "test/dear")
    # In a new session, as after a restart of the kernel.
    api = start_priced(start_api, wandb)
    both = costs(api, "test/dear", "test/eyes")
    assert both.cost_usd.tolist() == [pytest.approx(20 * DEAR), pytest.approx(20 * CHEAP)]
    assert both.tokens.tolist() == [300, 300]
    asked = len(wandb.api.chats)
    again = costs(api, "test/dear", "test/eyes")
    assert again[["cost_usd", "tokens"]].equals(both[["cost_usd", "tokens"]])
    assert len(wandb.api.chats) == asked


@pytest.mark.parametrize("first", [1, 19])
def test_a_model_that_was_asked_about_some_rows_costs_what_all_take(
    start_api: Callable[..., ModuleType], wandb: Wandb, first: int
) -> None:
    api = start_priced(start_api, wandb)
    costs(api, "test/dear", rows=first)
    both = costs(api, "test/dear", "test/eyes")
    assert both.cost_usd.tolist() == [pytest.approx(20 * DEAR), pytest.approx(20 * CHEAP)]


def test_answers_that_a_map_has_paid_for_have_their_cost(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_priced(start_api, wandb)
    api.map_prompts(FRAME[["n"]], "{{ n }}?", schema="label yes|no", model="test/dear")
    assert costs(api, "test/dear").cost_usd.tolist() == [pytest.approx(20 * DEAR)]


def test_repairs_count_also_those_of_a_later_run(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_priced(start_api, wandb)

    def repaired(one: Answer) -> None:
        number = int(one.received.body["messages"][0]["content"].rstrip("?"))
        is_bad = number >= 10 and (number >= 18 or len(one.received.body["messages"]) == 1)
        completion("It depends.")(one) if is_bad else right(one)

    wandb.api.always = repaired
    costs(api, "test/dear", repair=False)
    for _ in range(2):
        assert costs(api, "test/dear").cost_usd.tolist() == [pytest.approx(30 * DEAR)]
    assert len(wandb.api.chats) == 30


def test_the_cost_in_all_is_that_of_the_run(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_priced(start_api, wandb)
    assert "Cost in all: $0.0027." in str(evaluated(api, FRAME, prompt="{{ n }}?", models="test/dear"))
    again = str(evaluated(api, FRAME, prompt="{{ n }}?", models="test/dear"))
    assert "Cost in all: nothing · 20 answers kept from before." in again
    assert "$0.0027" in again


def test_the_cost_of_answers_of_an_earlier_version_is_unknown(
    start_api: Callable[..., ModuleType], wandb: Wandb, environment: dict[str, str]
) -> None:
    api = start_priced(start_api, wandb)
    costs(api, "test/dear", rows=5)
    (path,) = Path(environment["HOME"]).rglob("answers.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("update answers set answer = json_remove(answer, '$.tokens', '$.cost')")
    both = costs(api, "test/dear", "test/eyes")
    assert both.cost_usd.isna().tolist() == both.tokens.isna().tolist() == [True, False]
    assert len(wandb.api.chats) == 40


def test_a_price_that_is_not_known_is_unknown_also_of_kept_answers(api: ModuleType, service: Service) -> None:
    service.always = right
    costs(api, "test/x")
    both = costs(api, "test/x", "test/y")
    assert both.cost_usd.isna().all()
    assert both.tokens.tolist() == [300, 300]


def test_a_candidate_that_was_not_sent_is_not_free(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_priced(start_api, wandb)
    wandb.api.always = refused(401, "no key")
    with pytest.raises(InferenceError) as raised:
        evaluated(api, FRAME, prompt="{{ n }}?", models="test/dear")
    assert "Cost in all: nothing" in str(raised.value.partial)  # type: ignore[attr-defined]
