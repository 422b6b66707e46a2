"""A call of a tool that the service itself could not read: what is sent again, what it costs, what the user reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel
from service import Answer, Script, Service, Streamed, Wandb, calling, chunk, completion, usage

from wandb_inference_magic.engine.relax import ASKED_AGAIN, NO_CALL
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

GROQ = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
WRITTEN = '<function=weather{"city": "Rome"}</function>'
FAILED: dict[str, Any] = {"message": GROQ, "code": "tool_use_failed", "failed_generation": WRITTEN}
# What services say, with their status.
SAID: list[tuple[int, dict[str, Any]]] = [
    (400, FAILED),
    (400, {"message": "tool call validation failed: parameters for tool weather did not match schema", "code": "x"}),
    (400, {"message": "attempted to call tool 'brave_search' which was not in request.tools"}),
    (400, {"message": "Tool choice is required, but model did not call a tool", "code": "tool_use_failed"}),
    (400, {"message": "Parsing failed. The model generated output that could not be parsed."}),
    (400, {"message": "1 validation error for list[function-wrap[__log_extra_fields__()]]\n  Invalid JSON: EOF while"}),
    (400, {"message": "Failed to parse tool call arguments as JSON", "failed_generation": {"city": "Rome"}}),
    (400, {"message": "unexpected tokens remaining in message header: Some(\"to=functions.weather\")"}),
    (422, {"message": "Failed to generate tool_calls. Exception: Tool is not present in the tools list."}),
    (424, {"message": "Model produced invalid sequence as part of ToolUse. Please refer to the guide."}),
    (500, {"message": "error parsing tool call: raw='{\"city\": }', err=invalid character '}'", "type": "api_error"}),
    (500, {"message": "Failed to parse input at pos 12: <tool_call>", "type": "server_error"}),
    (500, {"message": "litellm.InternalServerError: Failed to parse tool call arguments as JSON: [json.exception]"}),
    (502, {"message": "Upstream error", "upstream_error": {"message": GROQ}}),
]  # fmt: skip


@pytest.fixture
def weather() -> Any:
    """A tool whose attribute `cities` lists what it was called with."""

    def weather(city: str) -> str:
        """Return the weather."""
        cities.append(city)
        return "Rain."

    cities: list[str] = []
    weather.cities = cities  # type: ignore[attr-defined]
    return weather


def refusing(status: int, error: dict[str, Any]) -> Script:
    return lambda one: one.json({"error": error}, status)


def in_stream(*deltas: dict[str, Any], error: dict[str, Any] = FAILED) -> Script:
    """A script: a stream that breaks off with an error after some chunks."""

    def answer(one: Answer) -> None:
        one.start()
        for delta in deltas:
            one.event(chunk(delta))
        one.raw(b"event: error\n")
        one.event({"error": {**error, "status_code": 400}})
        one.end()

    return answer


def finished(reason: str) -> Script:
    """A script: a stream whose end is a word for an error."""

    def answer(one: Answer) -> None:
        one.start()
        one.event(chunk({"content": "Let me look."}))
        one.event(chunk({}, reason))
        one.event("[DONE]")
        one.end()

    return answer


OSLO = calling(("weather", '{"city": "Oslo"}'))
ROME = calling(("weather", '{"city": "Rome"}'))


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize(("status", "error"), SAID, ids=lambda value: str(value)[:60])
def test_the_model_is_asked_once_more_and_tools_that_have_run_do_not_run_again(
    api: ModuleType, service: Service, weather: Any, status: int, error: dict[str, Any], rounds: int
) -> None:
    service.then(*[OSLO] * rounds, refusing(status, error), ROME, Streamed(["Rain."]))
    reply = api.chat("Oslo, then Rome?", tools=[weather])
    assert (reply.text, weather.cities) == ("Rain.", [*["Oslo"] * rounds, "Rome"])
    assert ASKED_AGAIN in reply.notices
    first, second = (one.body["messages"] for one in service.chats[rounds : rounds + 2])
    written = error.get("failed_generation")
    assert second[:-2] == first
    shown = written if isinstance(written, str) else json.dumps(written)
    assert second[-2]["content"] == (shown if written else NO_CALL)
    said = error["message"] if status != 502 else GROQ
    assert said[:50].strip() in second[-1]["content"]
    assert len(service.chats) == rounds + 3


@pytest.mark.parametrize(
    "failing",
    [
        in_stream(),
        in_stream({"reasoning": "I must look."}),
        in_stream({"content": "Let me look."}),
        in_stream({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"ci'}}]}),
        finished("MALFORMED_FUNCTION_CALL"),
        finished("malformed_tool_use"),
        finished("UNEXPECTED_TOOL_CALL"),
    ],
)
def test_a_reply_that_breaks_off_at_a_call_is_asked_for_once_more(
    api: ModuleType, service: Service, weather: Any, failing: Script
) -> None:
    service.then(OSLO, failing, Streamed(["Rain."]))
    reply = api.chat("Oslo, then Rome?", tools=[weather])
    assert (reply.text, weather.cities, len(service.chats)) == ("Rain.", ["Oslo"], 3)
    service.then(failing, failing, Streamed(["Rain."]))
    with pytest.raises(InferenceError, match="The model's call of a tool was not valid"):
        api.chat("Oslo, then Rome?", tools=[weather])
    assert len(service.chats) == 5


@pytest.mark.parametrize(("status", "error"), [SAID[0], SAID[2], SAID[9]], ids=str)
def test_a_call_that_is_refused_twice_says_what_to_do(
    api: ModuleType, service: Service, weather: Any, status: int, error: dict[str, Any]
) -> None:
    service.then(OSLO, *[refusing(status, error)] * 2, Streamed(["Too late."]))
    with pytest.raises(InferenceError) as caught:
        api.chat("Oslo, then Rome?", tools=[weather])
    failed = caught.value
    assert failed.what.startswith("The model's call of a tool was not valid")
    assert error["message"][:30] in failed.why
    assert failed.why.endswith("The model was asked twice.")
    assert failed.why.count("twice") == 1
    assert "Ask another model" in failed.remedy
    assert "simpler parameters" in failed.remedy
    assert (failed.retryable, failed.is_lasting, weather.cities, len(service.chats)) == (False, False, ["Oslo"], 3)
    assert [step.result for step in failed.partial.steps] == ["Rain."]


def test_each_round_is_asked_once_more(api: ModuleType, service: Service, weather: Any) -> None:
    bad = refusing(400, FAILED)
    service.then(bad, OSLO, bad, ROME, bad, Streamed(["Rain."]))
    assert api.chat("Oslo, then Rome?", tools=[weather]).text == "Rain."
    assert weather.cities == ["Oslo", "Rome"]


def test_words_about_the_request_are_not_taken_for_a_call(api: ModuleType, service: Service, weather: Any) -> None:
    for said in (
        "No tool call found for function call output with call_id a.",
        "invalid tool call arguments",
        "messages.1.tool_calls.0.function.arguments must be valid JSON",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "Tool calls are not supported by this model",
    ):
        service.reset()
        service.then(refusing(400, {"message": said}))
        with pytest.raises(InferenceError, match="did not accept the request as it is"):
            api.chat("Go", tools=[weather])
        assert len(service.chats) == 1


def test_what_the_model_wrote_does_not_decide_what_an_error_means(
    api: ModuleType, service: Service, weather: Any
) -> None:
    written = "<function=weather{rate limit, moderation, api key expired, context length}>"
    service.always = refusing(400, {**FAILED, "failed_generation": written})
    with pytest.raises(InferenceError, match="The model's call of a tool was not valid"):
        api.chat("Go", tools=[weather])
    assert len(service.chats) == 2


def test_a_row_whose_model_calls_a_tool_is_asked_once_more_and_is_not_kept_as_failed(
    api: ModuleType, service: Service
) -> None:
    bad = refusing(400, {**FAILED, "message": "Tool choice is none, but model called a tool"})
    service.then(bad, completion("One."), bad, bad)
    rows = api.map_prompts(["a", "b"], "{{ text }}", concurrency=1)
    assert rows.reply.tolist()[0] == "One."
    assert "could not read what the model wrote" in rows.reply_error[1]
    assert "asked twice" in rows.reply_error[1]
    assert len(service.chats) == 4
    # The same request: there is nothing to correct.
    assert service.chats[0].body == service.chats[1].body
    service.always = completion("Two.")
    assert api.map_prompts(["a", "b"], "{{ text }}", concurrency=1).reply.tolist() == ["One.", "Two."]
    assert len(service.chats) == 5


def test_the_key_is_not_in_what_is_said_of_a_call(
    start_api: Callable[..., ModuleType], service: Service, weather: Any
) -> None:
    api = start_api(**service.environment, WANDB_INFERENCE_API_KEY="secret-0123")
    error = {"message": f"{GROQ[:32]} secret-0123", "details": "It is secret-0123", "failed_generation": "secret-0123"}
    service.always = refusing(400, error)
    with pytest.raises(InferenceError) as caught:
        api.chat("Go", tools=[weather])
    assert "It is" in caught.value.why
    assert "secret-0123" not in f"{caught.value} {caught.value.partial.notices}"


@pytest.mark.parametrize("failing", [refusing(400, FAILED), in_stream(), in_stream({"content": "Let me look."})])
@pytest.mark.parametrize("mode", ["record", "auto"])
def test_a_call_that_was_refused_once_is_replayed(
    api: ModuleType, service: Service, weather: Any, failing: Script, mode: str
) -> None:
    def use(mode: str) -> None:
        current_session().close()
        current_session().settings.set(cassette="class.jsonl", cassette_mode=mode, cassette_pace="at-once")

    def ask(prompt: str) -> tuple[str, list[str]]:
        weather.cities.clear()
        return api.chat(prompt, tools=[weather]).text, list(weather.cities)

    use(mode)
    service.then(OSLO, failing, ROME, Streamed(["Rain."]), failing, Streamed(["Sun."]))
    recorded = [ask("Oslo, then Rome?"), ask("Sun?")]
    assert recorded == [("Rain.", ["Oslo", "Rome"]), ("Sun.", [])]
    for again in ("replay", "auto", "replay"):
        use(again)
        assert [ask("Oslo, then Rome?"), ask("Sun?")] == recorded
    assert len(service.chats) == 6


def test_a_call_that_was_refused_twice_is_replayed(api: ModuleType, service: Service, weather: Any) -> None:
    settings = current_session().settings
    settings.set(cassette="class.jsonl", cassette_mode="record")
    service.always = refusing(400, FAILED)
    for mode in ("record", "replay"):
        settings.set(cassette_mode=mode)
        with pytest.raises(InferenceError, match="The model's call of a tool was not valid"):
            api.chat("Go", tools=[weather])
    assert len(service.chats) == 2


def test_the_budget_holds_for_the_second_try(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    kernel.run("def weather(city: str) -> str:\n    'Weather.'\n    print('ran'); return 'Rain.'")
    kernel.run("%wbconfig --budget 0.001 --model test/thinker")
    # What it has cost comes with the part that was sent.

    def paid(one: Answer) -> None:
        one.start()
        one.event(chunk({"content": "Let me look."}))
        one.event(chunk(None, usage=usage(50, 100_000)))
        one.event({"error": {**FAILED, "status_code": 400}})
        one.end()

    wandb.api.then(paid, Streamed(["Too late."]))
    run = kernel.run("%%wbchat --tools weather --once\nOslo?")
    assert "The budget is used up after 1 call" in run.error
    assert len(wandb.api.chats) == 1


def test_a_cell_shows_that_the_model_is_asked_once_more(kernel: Kernel, service: Service) -> None:
    kernel.run("def weather(city: str) -> str:\n    'Weather.'\n    print('ran ' + city); return 'Rain.'")
    service.then(OSLO, in_stream({"content": "Let me look."}), Streamed(["It rains."]))
    run = kernel.run("%%wbchat --tools weather\nOslo, then Rome?")
    assert run.ok, run.error
    assert run.text.count("ran Oslo") == 1
    assert "It rains." in run.text
    assert ASKED_AGAIN in run.text
    service.then(refusing(400, FAILED), refusing(400, FAILED))
    assert "The model's call of a tool was not valid" in kernel.run("%%wbchat --tools weather\nAgain?").error
    # The turn of the first cell is in the thread, and nothing of the tries.
    kernel.run("%wbchat And now?")
    assert [one["content"] for one in service.last.body["messages"]] == ["Oslo, then Rome?", "It rains.", "And now?"]
