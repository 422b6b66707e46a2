"""What of a request is changed after a service refused it, or sent nothing for too long."""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from clocks import FastClock
from service import Answer, Script, Service, Streamed, chunk, completion, refused
from tool_calls import weather

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session


def unless(accepts: Callable[[dict[str, Any]], object], refusal: Script, text: str = "Fine.") -> Script:
    """A script: a reply to the requests that a service accepts, and a refusal of any other."""

    def answer(one: Answer) -> None:
        body = one.received.body
        if not accepts(body):
            refusal(one)
        elif body.get("stream"):
            Streamed([text])(one)
        else:
            completion(text)(one)

    return answer


def streams(service: Service) -> list[bool]:
    """Return which requests asked for a stream. Those for which none is wanted have none of its options."""
    assert all("stream" in one.body or "stream_options" not in one.body for one in service.chats)
    return [one.body.get("stream", False) for one in service.chats]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model only support stream mode, please enable the stream parameter to access the model. "),
        (400, "parameter.enable_thinking must be set to false for non-streaming calls"),
        (400, "Streaming is required for operations that may take longer than 10 minutes."),
        (422, "Stream must be set to true"),
        (500, "Non-streaming is not supported"),
        (400, "该模型仅支持流式输出"),
    ],
)
def test_a_model_that_only_streams_is_asked_for_streams(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.always = unless(lambda body: body.get("stream"), refused(status, said))
    frame = api.map_prompts([{"a": 1}], "{{ a }}", cache=False)
    assert list(frame["reply"]) == ["Fine."]
    assert api.chat("hi", stream=False).text == "Fine."
    assert streams(service) == [False, True, True]


@pytest.mark.parametrize(
    "said",
    [
        "This model doesn't support tool use in streaming mode.",
        "Cannot use tools with stream",
        "Your organization must be verified to stream this model.",
        "Unsupported value: 'stream' does not support true with this model.",
    ],
)
def test_a_model_that_streams_no_calls_of_tools_still_streams_other_replies(
    api: ModuleType, service: Service, said: str
) -> None:
    service.always = unless(lambda body: "tools" not in body or not body.get("stream"), refused(400, said))
    assert [api.chat("hi", tools=tools).text for tools in ([weather], [weather], None)] == ["Fine."] * 3
    assert streams(service) == [True, False, False, True]


@pytest.mark.parametrize("stream", [True, False])
def test_a_service_that_refuses_both_forms_is_not_asked_on_and_on(
    api: ModuleType, service: Service, stream: bool
) -> None:
    service.always = refused(400, "This kind of stream is not supported.")
    with pytest.raises(InferenceError, match="This kind of stream"):
        api.chat("hi", stream=stream)
    assert len(service.chats) == 3
    service.always = completion("Fine.")
    api.chat("hi", stream=stream)
    assert streams(service)[-1] == stream


def test_words_like_those_of_a_stream_change_nothing(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "The upstream service does not support the option top_k.")
    with pytest.raises(InferenceError, match="upstream"):
        api.chat("hi", system="Be kind.")
    assert len(service.chats) == 1


OF_OPENAI = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
OF_OTHERS = "Unknown parameter max_completion_tokens: use max_tokens."


@pytest.mark.parametrize(
    ("given", "known", "said"),
    [
        ("max_tokens", "max_completion_tokens", OF_OPENAI),
        ("max_completion_tokens", "max_tokens", OF_OTHERS),
    ],
)
def test_the_limit_on_the_reply_is_sent_under_the_name_that_a_service_knows(
    api: ModuleType, service: Service, given: str, known: str, said: str
) -> None:
    service.always = unless(lambda body: given not in body, refused(400, said))
    assert api.chat("hi", **{given: 9}).text == "Fine."
    assert list(api.map_prompts([{"a": 1}], "{{ a }}", cache=False, **{given: 9})["reply"]) == ["Fine."]
    assert api.chat("hi").text == "Fine."
    limits = [{name: one.body[name] for name in (given, known) if name in one.body} for one in service.chats]
    assert limits == [{given: 9}, {known: 9}, {known: 9}, {}]


def test_a_limit_on_the_reply_that_is_refused_for_itself_keeps_its_name(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "Unsupported value: max_tokens does not support 9 with this model.")
    with pytest.raises(InferenceError, match="Unsupported value: max_tokens"):
        api.chat("hi", max_tokens=9)
    service.always = refused(400, OF_OPENAI)
    with pytest.raises(InferenceError, match="Use 'max_completion_tokens' instead"):
        api.chat("hi", max_tokens=9, max_completion_tokens=9)
    assert len(service.chats) == 2


def _page(status: int) -> Script:
    def answer(one: Answer) -> None:
        one.start(status, "text/html")
        one.raw(f"<html><head><title>{status}: A timeout occurred</title></head></html>".encode())
        one.end()

    return answer


@pytest.mark.parametrize(
    "failure",
    [
        _page(524),
        _page(504),
        refused(408, "Request timed out."),
        refused(500, "litellm.Timeout: Connection timed out"),
        lambda one: one.json({"error": {"message": "Upstream is slow", "code": 504}}),
    ],
    ids=["524", "504", "408", "500", "body"],
)
def test_a_row_that_a_gateway_has_not_waited_for_is_streamed(
    api: ModuleType, service: Service, failure: Script
) -> None:
    current_session().clock = FastClock()
    service.always = unless(lambda body: body.get("stream"), failure)
    for rows in ([{"a": 1}], [{"a": 2}]):
        assert list(api.map_prompts(rows, "{{ a }}", cache=False)["reply"]) == ["Fine."]
    assert streams(service) == [False, True, True]
    # The service may bill what it has written for the gateway.
    assert current_session().usage.total().calls == 3


def test_a_row_that_sent_nothing_in_time_is_streamed(api: ModuleType, service: Service) -> None:
    current_session().clock = FastClock()
    current_session().settings.set(timeout=0.3)
    gate = Event()
    service.always = unless(lambda body: body.get("stream"), lambda one: gate.wait(60) and one.cut())
    assert list(api.map_prompts([{"a": 1}], "{{ a }}", cache=False)["reply"]) == ["Fine."]
    assert streams(service) == [False, True]
    total = current_session().usage.total()
    assert (total.calls, total.estimates) == (2, 1)
    gate.set()


@pytest.mark.parametrize(
    "refusal",
    [
        refused(500, "Internal server error"),
        refused(400, "stream: Extra inputs are not permitted"),
        refused(400, "Bad Request"),
        refused(503, "Service unavailable"),
        lambda one: (one.start(), one.end()),
        lambda one: one.cut(),
    ],
    ids=["500", "400", "vague", "503", "empty", "cut"],
)
def test_where_streams_do_not_work_a_time_out_changes_one_try(
    api: ModuleType, service: Service, refusal: Script
) -> None:
    current_session().clock = FastClock()
    service.then(refused(504, "Endpoint request timed out"))
    service.always = unless(lambda body: not body.get("stream"), refusal)
    frame = api.map_prompts([{"a": 1}, {"a": 2}], "{{ a }}", cache=False, concurrency=1)
    assert list(frame["reply"]) == ["Fine."] * 2
    assert api.chat("hi", stream=False).text == "Fine."
    assert streams(service) == [False, True, False, False, False]


def half(one: Answer) -> None:
    """Stream half a reply, and end the connection."""
    one.start()
    one.event(chunk({"content": "Half "}))
    one.cut()


def test_a_row_whose_stream_is_cut_is_sent_again(api: ModuleType, service: Service) -> None:
    current_session().clock = FastClock()

    service.then(refused(400, "This model only supports streaming"), half)
    service.always = unless(lambda body: body.get("stream"), refused(400, "This model only supports streaming"))
    assert list(api.map_prompts([{"a": 1}], "{{ a }}", cache=False)["reply"]) == ["Fine."]
    assert streams(service) == [False, True, False, True]


def test_rows_that_wait_behind_a_time_out_are_streamed_too(api: ModuleType, service: Service) -> None:
    current_session().clock = FastClock()
    service.always = unless(lambda body: body.get("stream"), refused(504, "Endpoint request timed out"))
    frame = api.map_prompts([str(n) for n in range(40)], "{{ text }}", cache=False, concurrency=8)
    assert list(frame["reply"]) == ["Fine."] * 40
    # Those that were on their way before the first one failed.
    assert streams(service).count(False) <= 8


def test_a_row_whose_stream_is_always_cut_is_sent_twice_and_keeps_its_text(api: ModuleType, service: Service) -> None:
    current_session().clock = FastClock()

    only_streams = refused(400, "This model only supports streaming")
    service.always = unless(lambda body: body["messages"][-1]["content"] != "bad", half)
    frame = api.map_prompts(["a", "bad", "c"], "{{ text }}", cache=False, concurrency=1)
    assert [str(one).strip() for one in frame["reply_text"]][1] == "Half"
    assert [one.body["messages"][-1]["content"] for one in service.chats].count("bad") == 2
    # The text of the first try is kept where the second one has none.
    service.then(only_streams, half)
    service.always = refused(500, "Internal server error")
    frame = api.map_prompts(["x"], "{{ text }}", cache=False)
    assert [str(one).strip() for one in frame["reply_text"]] == ["Half"]


def test_without_retries_the_next_request_after_a_time_out_is_streamed(api: ModuleType, service: Service) -> None:
    current_session().settings.set(max_retries=0)
    service.always = unless(lambda body: body.get("stream"), refused(504, "Endpoint request timed out"))
    with pytest.raises(InferenceError, match="timed out"):
        api.chat("hi", stream=False)
    assert api.chat("hi", stream=False).text == "Fine."
    assert streams(service) == [False, True]


def test_what_is_refused_with_one_field_is_sent_without_it(api: ModuleType, service: Service) -> None:
    def has(body: dict[str, Any]) -> bool:
        return "response_format" in body and body.get("stream", False)

    said = "response_format is not supported with streaming. Set stream to false."
    service.always = unless(lambda body: not has(body), refused(400, said), '{"a": 1}')
    assert api.chat("hi", schema="a int").parsed == {"a": 1}
    api.chat("plain")
    assert streams(service) == [True, False, True]
    assert "response_format" in service.chats[1].body


def test_a_system_prompt_that_is_refused_beside_a_picture_is_sent_without_one(
    api: ModuleType, service: Service
) -> None:
    def fits(body: dict[str, Any]) -> bool:
        return has_no_system(body) or not any(isinstance(one["content"], list) for one in body["messages"])

    service.always = unless(fits, refused(400, "Image input is not supported with system messages"))
    api.chat("hi", system="Be kind.", images=["https://ok.example/a.png"])
    api.chat("plain", system="Be kind.")
    assert [has_no_system(one.body) for one in service.chats] == [False, True, False]


@pytest.mark.parametrize(
    "said",
    [
        "The system prompt was blocked: it is not allowed by the content policy",
        "System prompt not allowed: blocked as unsafe.",
        "System prompt is too long: not allowed to have more than 1000 characters",
        "The system message cannot have more than 1000 characters.",
        "maximum context length is 100 tokens. Streaming requests must be shorter",
        "Prompt was flagged: 'Why is streaming required 0'",
        "Invalid prompt: 'Why is streaming required 0'",
        "Invalid prompt: 'is streaming required 0'",
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_of_what_a_prompt_says_or_of_its_length_changes_nothing(
    api: ModuleType, service: Service, said: str, stream: bool
) -> None:
    service.always = refused(400, said)
    with pytest.raises(InferenceError, match=re.escape(said[:20])):
        api.chat("Why is streaming required 0", system="Be kind.", stream=stream)
    assert len(service.chats) == 1


NO_SYSTEM = [
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    (400, "System role not supported"),
    (500, "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."),
    (400, "Only user and assistant roles are supported!"),
    (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    (400, "This model doesn't support system messages. Try again without a system message."),
    (422, "messages.0.role: Input should be 'user' or 'assistant'"),
    (400, "Invalid role: system"),
]


def has_no_options(body: dict[str, Any]) -> bool:
    return "stream_options" not in body


def has_no_system(body: dict[str, Any]) -> bool:
    return all(one["role"] != "system" for one in body["messages"])


@pytest.mark.parametrize(("status", "said"), NO_SYSTEM)
def test_a_model_without_a_system_role_gets_the_system_prompt_with_the_first_prompt(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.always = unless(has_no_system, refused(status, said))
    for prompt in ("one", "two"):
        assert api.chat(prompt, thread="talk", system="Be kind.").text == "Fine."
    sent = [[(message["role"], message["content"]) for message in one.body["messages"]] for one in service.chats]
    asking = ("user", "Be kind.\n\none")
    assert sent[1:] == [[asking], [asking, ("assistant", "Fine."), ("user", "two")]]
    # The next model may have the role.
    service.always = Streamed()
    api.chat("three", thread="talk", model="test/model-b")
    assert service.last.body["messages"][0] == {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize("status", [200, 500, 502, 503])
@pytest.mark.parametrize(
    ("said", "accepts"),
    [
        ("Completions.create() got an unexpected keyword argument 'stream_options'", has_no_options),
        ("Unknown field: stream_options", has_no_options),
        ("unknown role: system", has_no_system),
        ("Streaming is disabled", lambda body: not body.get("stream")),
    ],
)
def test_a_refused_part_is_left_out_at_once_whatever_the_status(
    api: ModuleType, service: Service, status: int, said: str, accepts: Callable[[dict[str, Any]], object]
) -> None:
    """Gateways report a Python exception of theirs, and what their provider refused, as a failure."""
    clock = current_session().clock = FastClock()
    service.always = unless(accepts, lambda one: one.json({"error": {"message": said}}, status))
    for _ in range(2):
        assert api.chat("hi", system="Be kind.").text == "Fine."
    assert clock.slept == []
    assert [bool(accepts(one.body)) for one in service.chats] == [False, True, True]


def test_a_model_without_a_system_role_gets_a_schema_and_a_picture(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        script = unless(has_no_system, refused(400, NO_SYSTEM[0][1]), '{"city": "Paris"}')
        (refused(400, "JSON mode is not enabled") if "response_format" in one.received.body else script)(one)

    service.always = answer
    reply = api.chat("Where?", schema="city", images=["https://ok.example/a.png"])
    assert reply.parsed == {"city": "Paris"}
    (message,) = service.last.body["messages"]
    kinds = [part["type"] for part in message["content"]]
    assert (kinds[0], kinds[-1]) == ("text", "image_url")
    assert "city" in message["content"][0]["text"]


def test_words_about_the_system_of_a_machine_change_nothing(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "model requires more system memory (5 GiB) than is available")
    with pytest.raises(InferenceError, match="too little memory"):
        api.chat("hi", system="Be kind.")
    assert len(service.chats) == 1


def called_as(id_: str) -> Script:
    call = {"id": id_, "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    return lambda one: one.json({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})


def ids_in(body: dict[str, Any]) -> list[str]:
    """Return the ids of the calls in a request, which are those of their results."""
    calls = [call["id"] for one in body["messages"] for call in one.get("tool_calls", ())]
    assert calls == [one["tool_call_id"] for one in body["messages"] if one["role"] == "tool"]
    return calls


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Tool call id was {} but must be a-z, A-Z, 0-9, with a length of 9."),
        (500, "Tool call id was {} but must be a-z, A-Z, 0-9, with a length of 9."),
        (400, "Tool call IDs should be alphanumeric strings with length 9!"),
        (400, "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a maximum length of 64."),
        (400, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    ],
)
def test_the_ids_of_calls_are_rewritten_for_a_service_that_refuses_its_own(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    given = "call_49c89af0"

    def fits(body: dict[str, Any]) -> bool:
        return all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in ids_in(body))

    service.then(called_as(given), called_as("functions.weather:1"))
    service.always = unless(fits, refused(status, said.format(given)))
    assert api.chat("Oslo?", tools=[weather]).text == "Fine."
    assert len(set(ids_in(service.last.body))) == 2
    assert len(service.chats) == 4


def test_a_call_without_an_id_gets_one_that_all_services_take(api: ModuleType, service: Service) -> None:
    service.then(called_as(""), completion("Fine."))
    api.chat("Oslo?", tools=[weather])
    assert ids_in(service.last.body) == ["call00001"]
