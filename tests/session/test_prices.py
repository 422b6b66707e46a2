"""Prices come from W&B's public feed once: before the first call if its price is not known, else after its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import ModuleType

import pytest
from kernels import Kernel
from known_models import known_model_environment
from service import Answer, Endless, Service, Wandb, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

# The path of W&B's public feed.
FEED = "/inference/modelsdev/models"


def feeds(wandb: Wandb) -> int:
    return len(wandb.feed.received)


def test_the_first_reply_of_a_model_whose_price_is_not_known_has_its_cost(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    first = api.chat("hi")
    # 12 prompt tokens at 1 USD per million, 3 of the reply at half of it.
    expected = pytest.approx((12 * 1.0 + 3 * 0.5) / 1e6)
    assert first.cost == expected
    (_, _, total), *_ = current_session().usage.by_model()
    assert (total.cost, total.unpriced) == (expected, 0)
    assert api.chat("again").cost == expected
    assert feeds(wandb) == 1
    assert wandb.feed.received[0].headers.get("authorization") is None
    # The endpoint's list is not taken as known.
    assert [model.id for model in api.models().models] == ["test/eyes", "test/small", "test/thinker"]


def test_a_feed_that_fails_is_asked_for_once_and_disturbs_nothing(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    wandb.feed.documents[FEED] = refused(500, "down")
    assert api.chat("hi").cost is None
    assert api.chat("hi").cost is None
    assert current_session().usage.total().unpriced == 2
    assert feeds(wandb) == 1


def test_a_feed_that_failed_is_asked_for_again_after_a_time(
    start_api: Callable[..., ModuleType], wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb_inference_magic.session.models.SECONDS_BETWEEN_FEEDS", 0.0)
    api = start_api(**known_model_environment(wandb))
    document, wandb.feed.documents[FEED] = wandb.feed.documents[FEED], refused(500, "down")
    assert api.chat("hi").cost is None
    wandb.feed.documents[FEED] = document
    # It is asked for in the background now.
    api.chat("hi")
    *_, fetching = current_session().models._fetching
    current_session().loop.run(asyncio.wait_for(fetching, 60))
    assert api.chat("hi").cost is not None


def test_a_session_that_was_closed_while_the_feed_was_fetched_answers_when_it_is_used_again(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    begun, interrupted = Event(), []

    def feed(answer: Answer) -> None:
        begun.set()
        Endless()(answer)

    def chat() -> None:
        with pytest.raises(KeyboardInterrupt) as raised:
            api.chat("hi")
        interrupted.append(raised.value)

    wandb.feed.documents[FEED] = feed
    chatting = Thread(target=chat)
    chatting.start()
    assert begun.wait(60)
    current_session().close()
    chatting.join(60)
    assert interrupted
    assert api.chat("hi").text == "Hello there."


def test_a_list_that_was_fetched_without_the_feed_gets_its_facts(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    documents = dict(wandb.feed.documents)
    wandb.feed.documents.clear()
    assert {model.price for model in api.models().models} == {None}
    wandb.feed.documents.update(documents)
    api.chat("hi")
    assert None not in {model.price for model in api.models().models}


@pytest.mark.parametrize("why", ["another endpoint", "catalog off", "a cassette", "already known"])
def test_nothing_is_fetched(
    start_api: Callable[..., ModuleType], wandb: Wandb, service: Service, tmp_path: Path, why: str
) -> None:
    environment = known_model_environment(wandb)
    if why == "another endpoint":
        environment |= service.environment
    api = start_api(**environment)
    settings = current_session().settings
    if why == "catalog off":
        settings.catalog = False
    if why == "a cassette":
        settings.cassette = str(tmp_path / "class.jsonl")
        api.chat("hi")
        settings.cassette_mode = "replay"
    if why == "already known":
        api.models()
    before = feeds(wandb)
    api.chat("hi")
    assert not current_session().models._fetching
    assert feeds(wandb) == before


# With a budget, the price is needed before the call --------------------------------------------------------------


@pytest.mark.parametrize("budget", [1.0, None])
def test_a_replay_knows_of_the_models_what_the_recording_knew(
    start_api: Callable[..., ModuleType], wandb: Wandb, budget: float | None
) -> None:
    """What is known of them decides what is sent. The models of this test are newer than the list in the package."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    environment = known_model_environment(wandb)
    wandb.api.always = completion("Yes.")
    costs = []
    for mode in ("record", "replay"):
        api = start_api(**environment, WANDB_INFERENCE_CASSETTE="class.jsonl", WANDB_INFERENCE_CASSETTE_MODE=mode)
        current_session().settings.budget = budget
        asked = len(wandb.api.chats), feeds(wandb)
        api.chat("See", model="test/eyes", thread="main")
        turn = current_session().threads["main"].turns[0]
        current_session().threads["main"].turns[0] = turn._replace(prompt=[image])
        costs.append(api.chat("And?", model="test/thinker", thread="main").cost)
    assert (len(wandb.api.chats), feeds(wandb)) == asked
    assert costs[0] == costs[1]
    assert (costs[0] is None) == (budget is None)


@pytest.mark.parametrize("how", ["chat", "map", "client"])
def test_an_unknown_price_is_fetched_before_a_budget_refuses(
    start_api: Callable[..., ModuleType], wandb: Wandb, how: str
) -> None:
    """The models of this test are newer than the list in the package."""
    api = start_api(**known_model_environment(wandb))
    wandb.api.always = completion("Yes.")
    client = api.client()
    current_session().settings.budget = 1.0
    if how == "chat":
        assert api.chat("hi", max_tokens=5).cost
    if how == "map":
        assert list(api.map_prompts(["a"], "{{ text }}", max_tokens=5).reply) == ["Yes."]
    if how == "client":
        client.chat.completions.create(model="test/eyes", messages=[{"role": "user", "content": "hi"}], max_tokens=5)
    assert (feeds(wandb), current_session().usage.total().unpriced) == (1, 0)


@pytest.mark.parametrize(
    ("feed", "says"),
    [
        ("without the model", ""),
        ("down", "W&B's public list of prices could not be fetched."),
        ("off", "The setting catalog is off"),
    ],
)
def test_a_budget_refuses_a_price_that_cannot_be_fetched_and_says_why(
    start_api: Callable[..., ModuleType], wandb: Wandb, feed: str, says: str
) -> None:
    api = start_api(**known_model_environment(wandb))
    settings = current_session().settings
    settings.budget, settings.catalog = 1.0, feed != "off"
    if feed == "down":
        wandb.feed.documents[FEED] = refused(500, "down")
    model = "test/unpriced" if feed == "without the model" else "test/eyes"
    for _ in range(2):
        with pytest.raises(InferenceError, match=f"the price of {model} is not known") as raised:
            api.chat("hi", model=model)
        assert says in raised.value.why
        assert raised.value.cause == "budget"
    assert feeds(wandb) == {"without the model": 1, "down": 2, "off": 0}[feed]
    assert not wandb.api.chats


def test_an_interrupt_while_the_price_is_fetched_sends_nothing_and_the_next_cell_asks_again(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    kernel = start_kernel(**known_model_environment(wandb))
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.budget = 1.0")
    documents, feed = dict(wandb.feed.documents), Endless()
    wandb.feed.documents[FEED] = feed
    interrupted = kernel.interrupt_at("%wbchat -m test/eyes hi", "asking for the price of test/eyes")
    assert interrupted.error.startswith("Interrupted")
    assert feed.gone.wait(60)
    assert not wandb.api.chats
    wandb.feed.documents.update(documents)
    assert kernel.run("%wbchat -m test/eyes hi").ok
    assert len(wandb.api.chats) == 1


def test_prices_are_fetched_in_the_background_for_a_model_of_the_list_in_the_package(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**{**known_model_environment(wandb), "WANDB_INFERENCE_MODEL": "openai/gpt-oss-20b"})
    assert api.chat("hi").cost == pytest.approx((12 * 0.03 + 3 * 0.13) / 1e6)
    *_, fetching = current_session().models._fetching
    current_session().loop.run(asyncio.wait_for(fetching, 60))
    api.chat("hi")
    assert feeds(wandb) == 1


def test_the_rows_of_a_map_have_their_cost(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_api(**known_model_environment(wandb))
    assert len(api.map_prompts([str(number) for number in range(12)], "{{ text }}", concurrency=1)) == 12
    (_, _, total), *_ = current_session().usage.by_model()
    assert (total.calls, total.unpriced) == (12, 0)
    assert total.cost == pytest.approx(12 * (12 * 1.0 + 3 * 0.5) / 1e6)
    assert feeds(wandb) == 1


def test_the_first_call_of_the_users_client_has_its_cost(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    client = start_api(**known_model_environment(wandb)).client()
    for _ in range(2):
        client.chat.completions.create(model="test/eyes", messages=[{"role": "user", "content": "hi"}])
    assert current_session().usage.total().unpriced == 0
    assert feeds(wandb) == 1


def test_the_figures_of_an_evaluation_have_a_price_that_is_fetched_before_its_first_row(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    found = api.evaluate([{"text": str(number), "truth": "x"} for number in range(4)], "{{ text }}", truth="truth")
    assert found.summary.cost_usd.tolist() == [pytest.approx(4 * (12 * 1.0 + 3 * 0.5) / 1e6)]
