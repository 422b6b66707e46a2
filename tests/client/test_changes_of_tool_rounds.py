"""What is changed of a request with the results of tools after a service refused its form: the tools have run."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from clocks import FastClock
from service import Answer, Script, Service, Streamed, calling, chunk, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

Messages = list[dict[str, Any]]
OSLO, ROME = ("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}')


@pytest.fixture
def weather() -> Callable[[str], str]:
    """A tool whose attribute `cities` lists what it was called with."""

    def weather(city: str) -> str:
        """Return the weather."""
        cities.append(city)
        return f"Rain in {city}." if city != "Nowhere" else ""

    cities: list[str] = []
    weather.cities = cities  # type: ignore[attr-defined]
    return weather


def unless(fits: Callable[[Messages], bool], status: int, said: str) -> Script:
    """A script: a reply to messages that fit, and a refusal of others."""
    return lambda one: (Streamed(["Fine."]) if fits(one.received.body["messages"]) else refused(status, said))(one)


def asking(messages: Messages) -> Messages:
    return [one for one in messages if one.get("tool_calls")]


def thinking(one: Answer) -> None:
    one.start()
    one.event(chunk({"reasoning_content": "The user wants the weather."}))
    one.event(chunk({"content": "Let me look."}))
    call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    one.event(chunk({"tool_calls": [call]}, "tool_calls"))
    one.event("[DONE]")
    one.end()


def check(api: ModuleType, service: Service, weather: Any, call: Script, always: Script) -> list[Messages]:
    """Chat twice, and return the messages of the second rounds: a refused one, and one of each chat.

    What has helped is made at once in the next chat, and no tool runs again.
    """
    for number in (1, 2):
        service.then(call)
        service.always = always
        assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
        assert len(service.chats) == 1 + 2 * number
    assert len(set(weather.cities)) == len(weather.cities) / 2
    return [service.chats[at].body["messages"] for at in (1, 2, 4)]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty."),
        (400, "contents[2].parts[0].function_response.name: [REQUIRED_FIELD_MISSING]"),
        (400, "Request contains an invalid argument."),
        (500, "Tool message must have a 'name' field. The 'name' field is required to match the tool call."),
        (422, "messages.2.tool.name: Field required"),
        (400, "'name' is required in message of role tool"),
    ],
)
def test_a_result_names_its_tool_where_a_service_wants_that(
    api: ModuleType, service: Service, weather: Any, status: int, said: str
) -> None:
    def is_named(messages: Messages) -> bool:
        return all(one.get("name") == "weather" for one in messages if one["role"] == "tool")

    refused_one, *others = check(api, service, weather, calling(OSLO, ROME), unless(is_named, status, said))
    assert "name" not in refused_one[-1]
    for messages in others:
        assert [one["content"] for one in messages if one.get("name")] == ["Rain in Oslo.", "Rain in Rome."]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Assistant message must have either content or tool_calls, but not both."),
        (422, "Value error, Assistant message must have either content or tool_calls, but not both."),
        (500, "{'message': 'Assistant message must have either content or tool_calls, but not both.', 'param': None}"),
        (400, "content and tool_calls are mutually exclusive"),
        (400, "An assistant message can't have text and function calls at the same time"),
    ],
)
def test_what_a_model_said_before_its_calls_is_left_out_where_a_service_refuses_both(
    api: ModuleType, service: Service, weather: Any, status: int, said: str
) -> None:
    always = unless(lambda messages: not any(one["content"] for one in asking(messages)), status, said)
    sent = check(api, service, weather, calling(OSLO, said="Let me look."), always)
    assert [asking(messages)[0]["content"] for messages in sent] == ["Let me look.", None, None]
    assert all(messages[-1]["content"] == "Rain in Oslo." for messages in sent)


BOTH = (
    "Cannot pass both content and thinking in an assistant message with tool calls! Put the analysis message in one or "
    "the other, but not both."
)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, BOTH),
        (500, BOTH),
        (500, f"Jinja Exception: {BOTH} at row 290, column 178"),
        (400, f"Error code: 500 - {BOTH}"),
    ],
)
@pytest.mark.parametrize("takes_reasoning", [True, False])
def test_a_message_has_its_text_or_its_reasoning_where_a_service_refuses_both(
    api: ModuleType, service: Service, weather: Any, status: int, said: str, takes_reasoning: bool
) -> None:
    def fits(messages: Messages) -> bool:
        one = asking(messages)[0]
        return not one["content"] and (takes_reasoning or "reasoning_content" not in one)

    service.then(thinking)
    service.always = unless(fits, status, said)
    reply = api.chat("Umbrella?", tools=[weather])
    # The change concerns what is sent, not what is kept.
    assert (reply.text, reply.reasoning) == ("Fine.", "The user wants the weather.")
    assert reply.steps[0].said == "Let me look."
    assert len(service.chats) == (3 if takes_reasoning else 4)
    assert weather.cities == ["Oslo"]
    assert asking(service.last.body["messages"])[0].get("reasoning_content", "") == (reply.reasoning * takes_reasoning)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model only supports single tool-calls at once!"),
        (500, "This model only supports single tool-calls at once!"),
        (400, "Only one tool call per assistant message is allowed"),
        (400, "The model does not support multiple tool calls in a single message"),
        (422, "Parallel tool calls are not supported by this model."),
    ],
)
def test_each_call_is_in_a_message_of_its_own_where_a_service_takes_one_only(
    api: ModuleType, service: Service, weather: Any, status: int, said: str
) -> None:
    always = unless(lambda messages: all(len(one["tool_calls"]) == 1 for one in asking(messages)), status, said)
    for messages in check(api, service, weather, calling(OSLO, ROME, said="Let me look."), always)[1:]:
        _, first, rain, second, sun = messages
        assert (first["content"], second["content"]) == ("Let me look.", "")
        for one, result, city in ((first, rain, "Oslo"), (second, sun, "Rome")):
            assert result["tool_call_id"] == one["tool_calls"][0]["id"]
            assert result["content"] == f"Rain in {city}."


EMPTY = [
    "bedrock error: The content field in the Message object at messages.1 is empty. Add a ContentBlock object to the "
    "content field and try again.",
    "The text field in the ContentBlock object at messages.1.content.0 is blank. Add text to the text field.",
    "Invalid request: the message at position 2 with role 'assistant' must not be empty",
    "messages.1.content: content must not be empty",
    "all messages must have non-empty content except for the optional final assistant message",
]


@pytest.mark.parametrize("said", EMPTY)
def test_an_empty_text_beside_calls_is_left_out(api: ModuleType, service: Service, weather: Any, said: str) -> None:
    always = unless(lambda messages: asking(messages)[0]["content"] != "", 400, said)
    sent = check(api, service, weather, calling(OSLO), always)
    assert [asking(messages)[0]["content"] for messages in sent] == ["", None, None]


@pytest.mark.parametrize("said", EMPTY)
def test_a_text_is_put_beside_calls_and_in_results_where_a_service_needs_one(
    api: ModuleType, service: Service, weather: Any, said: str
) -> None:
    service.then(calling(("weather", '{"city": "Nowhere"}')))
    service.always = unless(lambda messages: all(one["content"] for one in messages), 400, said)
    assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
    assert [one["content"] for one in service.last.body["messages"][1:]] == ["(no text)", "(no result)"]
    assert len(weather.cities) == 1


def test_a_service_that_refuses_several_forms_gets_each_change_once(
    api: ModuleType, service: Service, weather: Any
) -> None:
    def answer(one: Answer) -> None:
        messages = one.received.body["messages"]
        if any("name" not in message for message in messages if message["role"] == "tool"):
            refused(400, "function_response.name: Name cannot be empty.")(one)
        elif any(len(message["tool_calls"]) > 1 for message in asking(messages)):
            refused(500, "This model only supports single tool-calls at once!")(one)
        elif any(message["content"] for message in asking(messages)):
            refused(400, "Assistant message must have either content or tool_calls, but not both.")(one)
        else:
            Streamed(["Fine."])(one)

    service.then(calling(OSLO, ROME, said="Let me look."))
    service.always = answer
    assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
    assert len(service.chats) == 5
    assert weather.cities == ["Oslo", "Rome"]


@pytest.mark.parametrize(
    "said",
    [
        "Assistant message must have either content or tool_calls, but not none.",
        "Both content and tool_calls must not be empty",
        "Unknown parameter: parallel_tool_calls is not supported",
        "Invalid 'messages[1].tool_calls[0].function.name': string does not match pattern",
        "Tools and text.format cannot be used together",
    ],
)
def test_words_about_other_matters_change_nothing(api: ModuleType, service: Service, weather: Any, said: str) -> None:
    current_session().settings.set(max_retries=0)
    service.then(calling(OSLO, ROME, said="Let me look."))
    service.always = refused(400, said)
    with pytest.raises(InferenceError, match="did not accept"):
        api.chat("Umbrella?", tools=[weather])
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (502, "Provider returned empty content"),
        (500, "upstream response content is empty"),
        (500, "Received empty content from the provider"),
        (503, "The tool parameters service is temporarily unavailable"),
        (500, "Error processing tool parameters: worker lost"),
        (502, "Parallel tool calls worker could not be reached"),
        (503, "The system role handler is overloaded, single tool calls only"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_failure_that_passes_is_waited_for_and_changes_nothing(
    api: ModuleType, service: Service, weather: Any, status: int, said: str, times: int
) -> None:
    clock = current_session().clock = FastClock()
    service.then(calling(OSLO, ROME), *[refused(status, said)] * times)
    service.always = Streamed(["Fine."])
    assert api.chat("Umbrella?", tools=[weather], system="Be brief.").text == "Fine."
    assert len(clock.slept) == times
    first, *others = (one.body for one in service.chats[1:])
    assert others == [first] * times
    # Nothing was learned of it.
    service.then(calling(OSLO, ROME))
    assert api.chat("Umbrella?", tools=[weather], system="Be brief.").text == "Fine."
    assert service.last.body == first


def test_a_change_is_learned_of_a_refusal_and_not_of_a_failure_before_it(
    api: ModuleType, service: Service, weather: Any
) -> None:
    def is_named(messages: Messages) -> bool:
        return all(one.get("name") == "weather" for one in messages if one["role"] == "tool")

    current_session().clock = FastClock()
    always = unless(is_named, 400, "'name' is required in message of role tool")
    service.then(calling(OSLO), refused(502, "Provider returned empty content"))
    service.always = always
    assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
    assert [is_named(one.body["messages"]) for one in service.chats[1:]] == [False, False, True]
    service.then(calling(OSLO))
    assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
    assert asking(service.last.body["messages"])[0]["content"] == ""
    assert is_named(service.last.body["messages"])
    assert len(service.chats) == 6


def test_what_the_model_has_written_is_no_form_of_a_request(api: ModuleType, service: Service, weather: Any) -> None:
    error = {"message": "Failed to parse the parameters of the tool call", "failed_generation": "<weather(Oslo"}
    service.then(calling(OSLO), *[lambda one: one.json({"error": error}, 400)] * 2)
    with pytest.raises(InferenceError, match="call of a tool was not valid"):
        api.chat("Umbrella?", tools=[weather])
    assert len(service.chats) == 3
