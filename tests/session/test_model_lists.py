"""The list of an endpoint's models is kept as long as it is true."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest
from service import Answer, Service, completion, listing, refused

from wandb_inference_magic.errors import InferenceError


def serves(service: Service, model: str) -> None:
    """Let a service list and answer one model, as one that was started again with it."""
    service.listing = listing(model)

    def answer(one: Answer) -> None:
        asked = one.received.body["model"]
        script = completion("Yes.") if asked == model else refused(404, f"The model `{asked}` does not exist.")
        script(one)

    service.always = answer


def without_model(service: Service) -> dict[str, str]:
    return service.environment | {"WANDB_INFERENCE_MODEL": ""}


@pytest.mark.parametrize("first", [{"data": []}, {"data": None}])
def test_a_list_that_was_empty_is_asked_for_again(
    start_api: Callable[..., ModuleType], service: Service, first: dict[str, object]
) -> None:
    """LM Studio and Ollama list nothing until a model is loaded."""
    service.listing = first
    api = start_api(**without_model(service))
    with pytest.raises(InferenceError, match="No model is chosen") as raised:
        api.chat("hi")
    assert "lists no models" in raised.value.why
    serves(service, "one/A")
    assert api.chat("hi").asked_model == "one/A"


def test_a_list_that_failed_is_asked_for_again(start_api: Callable[..., ModuleType], service: Service) -> None:
    api = start_api(**without_model(service))
    service.listing_script = refused(404, "Not Found")
    with pytest.raises(InferenceError, match="No model is chosen"):
        api.chat("hi")
    service.listing_script = None
    serves(service, "one/A")
    assert api.chat("hi").asked_model == "one/A"


def test_a_list_is_asked_for_again_when_the_service_no_longer_knows_its_model(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    """A local server was started again with another model."""
    api = start_api(**without_model(service))
    serves(service, "one/A")
    assert api.chat("hi").asked_model == "one/A"
    serves(service, "two/B")
    with pytest.raises(InferenceError, match="does not know the model 'one/A'"):
        api.chat("hi")
    assert [model.id for model in api.models().models] == ["two/B"]
    assert api.chat("hi").asked_model == "two/B"


def test_a_model_that_was_never_listed_does_not_make_the_list_old(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(**without_model(service))
    serves(service, "one/A")
    api.models()
    with pytest.raises(InferenceError, match="does not know the model"):
        api.chat("hi", model="an/alias")
    before = len(service.received)
    api.models()
    assert len(service.received) == before


def test_a_list_in_pages_is_read_to_its_end(api: ModuleType, service: Service) -> None:
    """Anthropic's list has 20 models a page."""
    ids = [f"x/{number}" for number in range(5)]

    def answer(one: Answer) -> None:
        asked = parse_qs(urlsplit(one.received.path).query).get("after_id", [""])[0]
        start = ids.index(asked) + 1 if asked else 0
        page = ids[start : start + 2]
        one.json({**listing(*page), "has_more": start + 2 < len(ids), "last_id": page[-1]})

    service.listing_script = answer
    assert [model.id for model in api.models().models] == ids
    assert len(service.received) == 3


def test_pages_that_do_not_go_on_are_not_asked_for_again(api: ModuleType, service: Service) -> None:
    service.listing = {**listing("x/a"), "has_more": True}
    assert [model.id for model in api.models().models] == ["x/a"]
    assert len(service.received) == 2


def test_a_list_belongs_to_the_key_with_which_it_was_asked_for(
    start_api: Callable[..., ModuleType], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway lists what a key may use."""
    api = start_api(**without_model(service))
    serves(service, "team-a/model")
    assert api.chat("hi").asked_model == "team-a/model"
    monkeypatch.setenv("WANDB_INFERENCE_API_KEY", "another-key-of-another-team")
    serves(service, "team-b/model")
    assert api.chat("hi").asked_model == "team-b/model"
    assert [one.id for one in api.models().models] == ["team-b/model"]
