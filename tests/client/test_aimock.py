"""aimock, a third-party server, breaks calls in its own ways. Its journal shows what was sent, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from aimock_server import KEY, Aimock, running_aimock

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import Reply
from wandb_inference_magic.session import current_session

# All tests share one server.
pytestmark = pytest.mark.xdist_group("aimock")

Fixture = dict[str, Any]

WAYS = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
HALF = "Half an answer that goes on for a while"
FINE: Fixture = {"response": {"content": "All is well."}}
# Chunks of a few characters, each some time after the one before.
SLOWLY: Fixture = {"response": {"content": HALF}, "chunkSize": 5, "latency": 20}


def refusing(status: int, message: str, **more: Any) -> Fixture:
    return {"response": {"error": {"message": message, "type": "a_type", "code": "a_code"}, "status": status, **more}}


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with running_aimock(tmp_path_factory.mktemp("aimock")) as running:
        yield running
        # The server checks the messages and the tools of each request before it looks for a fixture.
        statuses = [one["response"]["status"] for one in running.call("journal") if one["response"]["fixture"] is None]
        assert set(statuses) <= {404}


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """A prompt of this test alone, by which the server finds the test's fixtures."""
    return f"Prompt of {request.node.name}."


@pytest.fixture
def api(start_api: Callable[..., ModuleType], aimock: Aimock) -> ModuleType:
    return started(start_api, f"{aimock.url}/v1")


def started(start_api: Callable[..., ModuleType], url: str, key: str = KEY) -> ModuleType:
    variables = {"WANDB_INFERENCE_MODEL": "gpt-4o", "WANDB_INFERENCE_API_KEY": key}
    return start_api(WANDB_INFERENCE_BASE_URL=url, **variables)


def failed(api: ModuleType, prompt: str, **how: Any) -> InferenceError:
    with pytest.raises(InferenceError) as caught:
        api.chat(prompt, **how)
    return caught.value


def last_reply() -> Reply:
    reply = current_session().last_reply
    assert reply is not None
    return reply


def never_retry() -> None:
    current_session().settings.set(max_retries=0)


# Replies


@WAYS
def test_a_reply_is_read_with_its_reasoning_and_its_tokens(
    api: ModuleType, aimock: Aimock, prompt: str, stream: bool
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    aimock.answer(prompt, {"response": {"content": "It is 4.", "reasoning": "Let me see.", "usage": usage}})
    # This server sends the reasoning of models that have it.
    reply = api.chat(prompt, stream=stream, model="o3")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("It is 4.", "Let me see.", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 5)
    assert len(aimock.requests(prompt)) == 1


@WAYS
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_the_reason_of_the_end_is_kept(api: ModuleType, aimock: Aimock, prompt: str, stream: bool, reason: str) -> None:
    aimock.answer(prompt, {"response": {"content": "It is", "finishReason": reason}})
    assert api.chat(prompt, stream=stream).finish_reason == reason


@pytest.mark.parametrize(
    "timing", [{"chaos": {"latencyMs": 400}}, {"streamingProfile": {"ttft": 400}}], ids=["headers", "first token"]
)
def test_a_slow_start_is_waited_for(api: ModuleType, aimock: Aimock, prompt: str, timing: Fixture) -> None:
    aimock.answer(prompt, FINE | timing)
    reply = api.chat(prompt)
    assert reply.text == "All is well."
    assert reply.seconds >= 0.4
    assert len(aimock.requests(prompt)) == 1


# Errors instead of a reply


@WAYS
@pytest.mark.parametrize(
    ("status", "cause"),
    [(400, "request"), (401, "key"), (402, "quota"), (403, "refused"), (413, "request"), (422, "request")],
)
def test_an_error_that_cannot_pass_is_reported_at_once(
    api: ModuleType, aimock: Aimock, prompt: str, stream: bool, status: int, cause: str
) -> None:
    aimock.answer(prompt, refusing(status, "These are my words."))
    error = failed(api, prompt, stream=stream)
    assert (error.status, error.cause, error.retryable) == (status, cause, False)
    assert "These are my words." in str(error)
    assert [one["response"]["status"] for one in aimock.requests(prompt)] == [status]


@WAYS
def test_the_words_of_a_404_are_shown(api: ModuleType, aimock: Aimock, prompt: str, stream: bool) -> None:
    aimock.answer(prompt, refusing(404, "The model gpt-4o was retired."))
    error = failed(api, prompt, stream=stream)
    assert (error.status, error.cause) == (404, "model")
    assert "The model gpt-4o was retired." in str(error)
    assert "No fixture matched" in str(failed(api, "A prompt without a fixture.", stream=stream))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_an_error_that_may_pass_is_reported_with_its_words(
    api: ModuleType, aimock: Aimock, prompt: str, status: int
) -> None:
    never_retry()
    aimock.answer(prompt, refusing(status, "These are my words."))
    error = failed(api, prompt)
    assert (error.status, error.cause, error.retryable) == (status, "busy", True)
    assert "These are my words." in str(error)
    assert len(aimock.requests(prompt)) == 1


@WAYS
def test_a_rate_limit_is_waited_for_as_long_as_the_server_wants(
    api: ModuleType, aimock: Aimock, prompt: str, stream: bool
) -> None:
    aimock.answer(prompt, refusing(429, "Slow down.", retryAfter=1), FINE)
    assert api.chat(prompt, stream=stream).text == "All is well."
    first, second = aimock.requests(prompt)
    assert [first["response"]["status"], second["response"]["status"]] == [429, 200]
    assert second["timestamp"] - first["timestamp"] >= 1000


def test_a_wrong_key_is_refused_and_not_shown(start_api: Callable[..., ModuleType], aimock: Aimock) -> None:
    error = failed(started(start_api, f"{aimock.url}/v1", key="another-key"), "hi")
    assert (error.status, error.cause) == (401, "key")
    assert "another-key" not in str(error)


@WAYS
@pytest.mark.parametrize(
    ("chaos", "words"),
    [
        ({"dropRate": 1}, "Chaos: request dropped"),
        ({"rateLimitRate": 1}, "Chaos: rate limit exceeded"),
        ({"malformedRate": 1}, "{malformed json"),
        ({"disconnectRate": 1}, "the connection broke"),
    ],
    ids=["dropped", "rate limit", "malformed", "disconnected"],
)
def test_chaos_is_reported_with_the_servers_words(
    api: ModuleType, aimock: Aimock, prompt: str, stream: bool, chaos: Fixture, words: str
) -> None:
    never_retry()
    aimock.answer(prompt, FINE | {"chaos": chaos})
    error = failed(api, prompt, stream=stream)
    assert words in str(error)
    assert len(aimock.requests(prompt)) == 1


# Streams that break


@pytest.mark.parametrize("cut", [{"truncateAfterChunks": 4}, {"disconnectAfterMs": 150}], ids=["truncated", "timed"])
def test_half_a_reply_is_kept_and_marked(api: ModuleType, aimock: Aimock, prompt: str, cut: Fixture) -> None:
    aimock.answer(prompt, SLOWLY | cut)
    error = failed(api, prompt, thread="talk")
    assert error.cause in ("network", "reply")
    reply = last_reply()
    assert reply.incomplete
    assert HALF.startswith(reply.text)
    assert len(reply.text) >= 5
    assert "talk" not in current_session().threads
    (request,) = aimock.requests(prompt)
    assert request["response"]["interrupted"]


def test_a_stream_that_stalls_ends_after_the_timeout(api: ModuleType, aimock: Aimock, prompt: str) -> None:
    current_session().settings.set(timeout=1)
    timings = {"ttftMs": 20, "interChunkDelaysMs": [20, 20, 20_000], "totalDurationMs": 20_060}
    aimock.answer(prompt, {"response": {"content": HALF}, "chunkSize": 5, "recordedTimings": timings})
    error = failed(api, prompt)
    assert error.cause == "network"
    reply = last_reply()
    assert reply.incomplete
    assert reply.text == "Half an an"
    assert len(aimock.requests(prompt)) == 1


def test_a_stream_that_breaks_before_its_first_words_is_tried_again(
    api: ModuleType, aimock: Aimock, prompt: str
) -> None:
    aimock.answer(prompt, {**FINE, "truncateAfterChunks": 1}, FINE)
    assert api.chat(prompt).text == "All is well."
    assert len(aimock.requests(prompt)) == 2


# Tools


def temperature(city: str) -> float:
    """The temperature in a city."""
    return {"Paris": 21.5, "Oslo": 12.0}[city]


def with_tools(aimock: Aimock, prompt: str, response: dict[str, Any]) -> None:
    """Answer a prompt by `response`, which calls tools, and their results by a text."""
    first = {"match": {"userMessage": prompt, "hasToolResult": False}, "response": response}
    then = {"match": {"userMessage": prompt, "hasToolResult": True}, "response": {"content": "As you see."}}
    aimock.add(first, then)


@WAYS
@pytest.mark.parametrize(
    ("calls", "results"),
    [
        ([("temperature", {"city": "Paris"})], [(True, "21.5")]),
        ([("temperature", {"city": "Paris"}), ("temperature", {"city": "Oslo"})], [(True, "21.5"), (True, "12.0")]),
        ([("temperature", '["Paris"]')], [(False, "")]),
        ([("temperature", {"town": "Paris"})], [(False, "")]),
        ([("wind", {"city": "Paris"})], [(False, "")]),
        ([("temperature", {"city": "Rome"})], [(False, "Rome")]),
    ],
    ids=["one", "two", "arguments that are no object", "wrong arguments", "unknown tool", "failing tool"],
)
def test_tools_are_called_and_their_results_sent(
    api: ModuleType, aimock: Aimock, prompt: str, stream: bool, calls: list[Any], results: list[tuple[bool, str]]
) -> None:
    with_tools(aimock, prompt, {"toolCalls": [{"name": name, "arguments": arguments} for name, arguments in calls]})
    reply = api.chat(prompt, stream=stream, tools=temperature)
    assert reply.text == "As you see."
    assert [step.ok for step in reply.steps] == [ok for ok, _ in results]
    assert all(result in step.result for step, (_, result) in zip(reply.steps, results, strict=True))
    sent = aimock.requests(prompt)[-1]["body"]["messages"]
    assert [one["content"] for one in sent if one["role"] == "tool"] == [step.result for step in reply.steps]


def test_text_after_a_tool_call_is_kept(api: ModuleType, aimock: Aimock, prompt: str) -> None:
    blocks = [
        {"type": "toolCall", "name": "temperature", "arguments": {"city": "Paris"}},
        {"type": "text", "text": "I look it up."},
    ]
    with_tools(aimock, prompt, {"blocks": blocks})
    reply = api.chat(prompt, tools=temperature)
    assert [(step.said, step.result) for step in reply.steps] == [("I look it up.", "21.5")]
    assert reply.text == "As you see."


# Structured answers


@WAYS
def test_an_answer_is_parsed_by_its_schema(api: ModuleType, aimock: Aimock, prompt: str, stream: bool) -> None:
    aimock.answer(prompt, {"match": {"responseFormat": "json_schema"}, "response": {"content": '{"city": "Paris"}'}})
    assert api.chat(prompt, stream=stream, schema="city").parsed == {"city": "Paris"}


@WAYS
def test_a_server_without_schemas_is_asked_for_json(api: ModuleType, aimock: Aimock, prompt: str, stream: bool) -> None:
    refused = refusing(400, "response_format of type json_schema is not supported")
    aimock.add(
        refused | {"match": {"userMessage": prompt, "responseFormat": "json_schema"}},
        {"match": {"userMessage": prompt}, "response": {"content": '{"city": "Paris"}'}},
    )
    assert api.chat(prompt, stream=stream, schema="city").parsed == {"city": "Paris"}


# Rows


def test_a_row_that_is_refused_leaves_the_others(api: ModuleType, aimock: Aimock, prompt: str) -> None:
    aimock.answer(f"{prompt} odd", refusing(400, "Too odd."))
    aimock.answer(prompt, FINE)
    out = api.map_prompts(["even", "odd", "prime"], f"{prompt} {{{{ text }}}}", cache=False)
    assert out["reply"].fillna("").tolist() == ["All is well.", "", "All is well."]
    assert "Too odd." in out["reply_error"][1]
    assert len(aimock.requests(prompt)) == 3


def test_rows_wait_for_a_rate_limit(api: ModuleType, aimock: Aimock, prompt: str) -> None:
    aimock.answer(prompt, refusing(429, "Slow down.", retryAfter=1), FINE)
    out = api.map_prompts([f"row {one}" for one in range(8)], f"{prompt} {{{{ text }}}}", cache=False)
    assert out["reply"].tolist() == ["All is well."] * 8
    assert [one["response"]["status"] for one in aimock.requests(prompt)].count(429) == 1


# OpenRouter's dialect


@WAYS
def test_a_reply_of_openrouter_is_read(
    start_api: Callable[..., ModuleType], aimock: Aimock, prompt: str, stream: bool
) -> None:
    response = {"content": "All is well.", "provider": "Anthropic", "usage": {"cost": 0.002}}
    aimock.answer(prompt, {"response": response, "openRouterProcessing": True})
    reply = started(start_api, f"{aimock.url}/api/v1").chat(prompt, stream=stream)
    assert (reply.text, reply.finish_reason) == ("All is well.", "stop")
    assert reply.usage.completion_tokens


@WAYS
def test_an_error_of_openrouter_is_reported_with_its_words(
    start_api: Callable[..., ModuleType], aimock: Aimock, prompt: str, stream: bool
) -> None:
    metadata = {"reasons": ["violence"], "flagged_input": "hit"}
    aimock.answer(
        prompt, {"response": {"error": {"message": "Your input was flagged.", "metadata": metadata}, "status": 403}}
    )
    error = failed(started(start_api, f"{aimock.url}/api/v1"), prompt, stream=stream)
    assert (error.status, error.cause) == (403, "refused")
    assert "Your input was flagged." in str(error)


# Azure's dialect


@WAYS
def test_a_deployment_of_azure_is_an_endpoint(
    start_api: Callable[..., ModuleType], aimock: Aimock, prompt: str, stream: bool
) -> None:
    aimock.answer(prompt, FINE)
    api = started(start_api, f"{aimock.url}/openai/deployments/gpt-4o")
    assert api.chat(prompt, stream=stream).text == "All is well."
