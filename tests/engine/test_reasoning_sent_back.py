"""Which reasoning goes back to the model with the results of tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from service import Answer, Script, Service, Streamed, calling, chunk, completion, pieces, refused
from tool_calls import weather

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "reasoning_details", "content"])
def test_the_reasoning_goes_back_with_the_results_of_tools_and_nowhere_else(
    api: ModuleType, service: Service, name: str
) -> None:
    thought: Any = "The user wants it warm."
    if name == "reasoning_details":
        thought = [{"type": "reasoning.text", "text": thought, "index": 0}]
    if name == "content":
        thought = f"<think>{thought}</think>\n\nLet me look."

    def call(answer: Answer) -> None:
        answer.start()
        for piece in [thought] if isinstance(thought, list) else pieces(thought):
            answer.event(chunk({name: piece}))
        function = {"name": "weather", "arguments": '{"city": "Paris"}'}
        answer.event(chunk({"tool_calls": [{"index": 0, "id": "a", "function": function}]}, "tool_calls"))
        answer.event("[DONE]")
        answer.end()

    service.then(call, call, Streamed(["Warm."]))
    reply = api.chat("How is Paris?", tools=[weather], thread="talk")
    assert reply.text == "Warm."
    assert "warm" in reply.reasoning
    for request, count in zip(service.chats, (0, 1, 2), strict=True):
        asking = [one for one in request.body["messages"] if one["role"] == "assistant"]
        assert [one[name] for one in asking] == [thought] * count
    api.chat("And Rome?", thread="talk")
    assert "wants it warm" not in json.dumps(service.last.body)


def test_reasoning_that_came_as_parts_goes_back_as_parts_or_is_left_out(api: ModuleType, service: Service) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}

    def thinking(one: Answer) -> None:
        one.start()
        for part in ({"thinking": "The user "}, {"thinking": "wants it warm."}, {"signature": "s"}):
            one.event(chunk({"content": [{"type": "thinking", **part}]}))
        one.event(chunk({"content": [{"type": "text", "text": "Let me look."}], "tool_calls": [call]}, "tool_calls"))
        one.event("[DONE]")
        one.end()

    service.then(thinking, refused(400, "messages.1.content: a string is expected"), Streamed(["Warm."]))
    assert api.chat("How is Paris?", tools=[weather]).text == "Warm."
    thought = {"type": "thinking", "thinking": "The user wants it warm.", "signature": "s"}
    sent = [one.body["messages"][1]["content"] for one in service.chats[1:]]
    assert sent == [[thought, {"type": "text", "text": "Let me look."}], "Let me look."]


@pytest.mark.parametrize(
    ("name", "streamed", "blocks"),
    [
        (
            "reasoning_details",
            [
                {"type": "reasoning.text", "text": "The user ", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.text", "text": "wants it", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.encrypted", "data": "a", "format": "anthropic-claude-v1", "index": 1},
                {"type": "reasoning.encrypted", "data": "b", "format": "anthropic-claude-v1", "index": 1},
            ],
            [
                {
                    "type": "reasoning.text",
                    "text": "The user wants it",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                    "signature": "s",
                },
                {"type": "reasoning.encrypted", "data": "a", "format": "anthropic-claude-v1", "index": 1},
                {"type": "reasoning.encrypted", "data": "b", "format": "anthropic-claude-v1", "index": 1},
            ],
        ),
        (
            "thinking_blocks",
            [
                {"type": "thinking", "thinking": "The user ", "signature": ""},
                {"type": "thinking", "thinking": "wants it", "signature": ""},
                {"type": "thinking", "thinking": "", "signature": "s"},
                {"type": "thinking", "thinking": "Warm.", "signature": "t"},
            ],
            [
                {"type": "thinking", "thinking": "The user wants it", "signature": "s"},
                {"type": "thinking", "thinking": "Warm.", "signature": "t"},
            ],
        ),
    ],
    ids=["OpenRouter", "LiteLLM"],
)
def test_a_block_of_reasoning_that_came_in_pieces_goes_back_as_one(
    api: ModuleType, service: Service, name: str, streamed: list[Any], blocks: list[Any]
) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}

    def thinking(one: Answer) -> None:
        one.start()
        for piece in streamed:
            one.event(chunk({name: [piece]}))
        one.event(chunk({"tool_calls": [call]}, "tool_calls"))
        one.event("[DONE]")
        one.end()

    service.then(thinking, Streamed(["Warm."]))
    reply = api.chat("How is Paris?", tools=[weather])
    assert (reply.text, reply.notices) == ("Warm.", ())
    assert service.last.body["messages"][1][name] == blocks


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            400,
            "'messages.1' : for 'role:assistant' the following must be satisfied: property 'reasoning' is unsupported",
        ),
        (422, "messages.1.assistant.reasoning: Extra inputs are not permitted"),
    ],
)
def test_reasoning_that_a_service_does_not_take_back_is_left_out(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    """Groq, Cerebras and Mistral: the tool has run, and the same request works without the field."""

    def thinking(one: Answer) -> None:
        one.start()
        one.event(chunk({"reasoning": "The tool knows."}))
        call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        one.event(chunk({"tool_calls": [call]}, "tool_calls"))
        one.event("[DONE]")
        one.end()

    service.then(thinking, refused(status, said), completion("Sunny."), thinking, completion("Rain."))
    assert api.chat("Oslo?", tools=[weather]).text == "Sunny."
    assert api.chat("Oslo?", tools=[weather]).text == "Rain."
    sent = [[message for message in one.body["messages"] if message["role"] == "assistant"] for one in service.chats]
    assert ["reasoning" in message for messages in sent for message in messages] == [True, False, False]


def test_a_refused_parameter_is_not_taken_for_reasoning(api: ModuleType, service: Service) -> None:
    def thinking(one: Answer) -> None:
        one.start()
        call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        one.event(chunk({"reasoning": "Hm.", "tool_calls": [call]}, "tool_calls"))
        one.event("[DONE]")
        one.end()

    service.then(thinking, refused(400, "Unknown parameter: reasoning_effort"))
    with pytest.raises(InferenceError, match="reasoning_effort"):
        api.chat("Oslo?", tools=[weather], reasoning_effort="high")
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    "thought", ['"reasoning": "Let me see."', '"content": "<think>Let me see.</think>\\n\\n"'], ids=["field", "tags"]
)
def test_a_cassette_without_the_reasoning_that_goes_back_is_replayed(
    api: ModuleType, service: Service, thought: str
) -> None:
    service.then(calling(("weather", '{"city": "Paris"}')), Streamed(["Warm."]))
    current_session().settings.set(cassette="talk.jsonl", cassette_mode="record", cassette_pace="at-once")
    api.chat("How is Paris?", tools=[weather])
    recorded = Path("talk.jsonl")
    # Now with reasoning in the reply, which the recorded second request does not have.
    lines = recorded.read_text().replace('{"tool_calls":', f'{{{thought}, "tool_calls":')
    assert "Let me see." in lines
    recorded.write_text(lines)
    current_session().close()
    current_session().settings.set(cassette_mode="replay")
    assert api.chat("How is Paris?", tools=[weather]).text == "Warm."
    assert len(service.chats) == 2


def _said_by(status: int, said: str) -> Script:
    return lambda one: one.json({"error": {"message": said, "code": 400}}, status)


def _said_in_a_stream(said: str) -> Script:
    def script(one: Answer) -> None:
        one.start()
        one.raw(b": OPENROUTER PROCESSING\n\n")
        one.event({"error": {"message": said, "code": 400}})
        one.end()

    return script


@pytest.mark.parametrize(
    "refusal",
    [
        partial(refused, 400),
        partial(refused, 404),
        partial(_said_by, 500),
        partial(_said_by, 200),
        _said_in_a_stream,
    ],
    ids=["400", "404", "500 for 400", "body", "event"],
)
@pytest.mark.parametrize("said", ["reasoning_content must be passed back", "stream_options is not supported"])
def test_what_a_service_wants_otherwise_is_changed_in_whatever_form_it_says_it(
    api: ModuleType, service: Service, refusal: Callable[[str], Script], said: str
) -> None:
    service.then(calling(("weather", '{"city": "Oslo"}')), refusal(said), completion("Sunny."))
    assert api.chat("Oslo?", tools=[weather]).text == "Sunny."
    assert len(service.chats) == 3
    changed = service.last.body
    assert (
        "stream_options" not in changed if "stream_options" in said else "reasoning_content" in changed["messages"][1]
    )


class _Gateway:
    """Two services behind one address: one refuses reasoning in a request, and one wants it."""

    def __call__(self, one: Answer) -> None:
        asking = [message for message in one.received.body["messages"] if message.get("tool_calls")]
        has_reasoning = any("reasoning_content" in message for message in asking)
        if asking and one.received.body["model"] == "test/refuses" and has_reasoning:
            refused(400, "property 'reasoning_content' is unsupported")(one)
        elif asking and one.received.body["model"] == "test/wants" and not has_reasoning:
            refused(400, "The reasoning_content in the thinking mode must be passed back to the API.")(one)
        elif asking:
            completion("Sunny.")(one)
        else:
            calling(("weather", '{"city": "Oslo"}'))(one)


@pytest.mark.parametrize("order", [["wants", "refuses", "wants"], ["refuses", "wants", "refuses"]])
def test_what_one_model_of_a_gateway_refuses_changes_no_request_to_another(
    api: ModuleType, service: Service, order: list[str]
) -> None:
    service.always = _Gateway()
    for name in order:
        assert api.chat("Oslo?", tools=[weather], model=f"test/{name}").text == "Sunny."


def test_the_next_service_of_a_model_may_want_the_reasoning_that_the_one_before_refused(
    api: ModuleType, service: Service
) -> None:
    said = ("The reasoning_content must be passed back to the API.", "property 'reasoning_content' is unsupported")
    call = calling(("weather", '{"city": "Oslo"}'))
    for number in (0, 1, 0):
        service.then(call, refused(400, said[number]), completion("Sunny."))
        assert api.chat("Oslo?", tools=[weather]).text == "Sunny."
    service.then(call, refused(400, said[1]), refused(400, said[0]), refused(400, said[1]))
    with pytest.raises(InferenceError, match="unsupported"):
        api.chat("Oslo?", tools=[weather])


def test_a_model_is_asked_for_token_counts_where_another_model_of_the_endpoint_refuses_it(
    api: ModuleType, service: Service
) -> None:
    service.then(refused(422, "stream_options: Extra inputs are not permitted"), completion("One."))
    assert api.chat("a", model="test/old").text == "One."
    service.then(completion("Two."), completion("Three."))
    api.chat("a", model="test/new")
    assert "stream_options" in service.last.body
    api.chat("a", model="test/old")
    assert "stream_options" not in service.last.body
