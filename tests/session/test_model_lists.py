"""The list of an endpoint's models is kept as long as it is true."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest
from clocks import FastClock
from kernels import Kernel
from service import Answer, Script, Service, completion, listing, page, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session


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


PASSING: dict[str, Script] = {
    "408": refused(408, "Timeout"),
    "429": refused(429, "slow down", Retry_After="1"),
    "500": refused(500, "Internal error"),
    "503": page("<html>Starting</html>", 503),
    "status 200": lambda answer: answer.json({"error": {"message": "Rate limit exceeded", "code": 429}}),
    "cut": lambda answer: answer.cut(),
}


@pytest.mark.parametrize("script", PASSING.values(), ids=PASSING)
def test_a_failure_of_the_list_that_passes_is_waited_for(
    start_api: Callable[..., ModuleType], service: Service, script: Script
) -> None:
    api = start_api(**without_model(service))
    clock = current_session().clock = FastClock()
    scripts = [script, script]
    serves(service, "one/A")
    service.listing_script = lambda one: (scripts.pop() if scripts else lambda it: it.json(service.listing))(one)
    assert api.chat("hi").asked_model == "one/A"
    assert len(clock.slept) == 2


@pytest.mark.parametrize(("max_retries", "tries"), [(0, 1), (2, 3)])
def test_a_list_that_goes_on_failing_is_reported(
    start_api: Callable[..., ModuleType], service: Service, max_retries: int, tries: int
) -> None:
    api = start_api(**without_model(service))
    current_session().clock = FastClock()
    current_session().settings.set(max_retries=max_retries)
    service.listing_script = refused(503, "Loading")
    with pytest.raises(InferenceError, match="overloaded or failing") as raised:
        api.models()
    assert len(service.received) == tries
    assert ("It was tried 3 times." in raised.value.why) is (tries == 3)


@pytest.mark.parametrize("cell", ["%wbconfig --check", "%wbmodels --refresh"])
def test_a_list_that_is_asked_for_now_is_not_waited_for(kernel: Kernel, service: Service, cell: str) -> None:
    service.listing_script = refused(503, "Loading")
    run = kernel.run(cell)
    assert "overloaded or failing" in f"{run.text} {run.error}"
    assert [one.path for one in service.received].count("/v1/models") == 1


def test_the_countdown_to_the_next_try_is_shown(kernel: Kernel, service: Service) -> None:
    scripts = [refused(503, "Loading", Retry_After="2")]
    service.listing_script = lambda one: (scripts.pop() if scripts else lambda it: it.json(service.listing))(one)
    run = kernel.run("%wbmodels --table")
    lines = [one.content["data"]["text/markdown"] for one in run.of("display_data", "update_display_data")]
    assert any("Trying again (1 of 3) in 2 s" in line for line in lines)
    assert "Trying again" not in run.text
    assert run.ok


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
