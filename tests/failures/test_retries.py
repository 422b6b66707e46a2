"""Retries: only of failures that can succeed later, visible to the user, and never after text has been shown."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import formatdate
from time import perf_counter, time, tzset
from types import ModuleType
from typing import Any

import openai
import pytest
from clocks import FastClock
from hypothesis import given, strategies as st
from kernels import Kernel
from service import Answer, Script, Service, Streamed, calling, chunk, completion, refused

from wandb_inference_magic.engine import run_chat, spec_from_python
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures.retries import read_retry_after, requested_delay, retry_delay
from wandb_inference_magic.replies import CallProgress, Listener
from wandb_inference_magic.schemas import toolbox_of
from wandb_inference_magic.session import Command, current_session
from wandb_inference_magic.session.limiter import Limiters


def busy(retry_after: float | None = None) -> InferenceError:
    return InferenceError("Busy.", cause="busy", retryable=True, retry_after=retry_after)


@pytest.mark.parametrize(("tries", "low", "high"), [(1, 1.5, 2.5), (2, 4.5, 7.5), (3, 13.5, 22.5), (9, 40, 60)])
def test_pauses_grow_and_are_random(tries: int, low: float, high: float) -> None:
    pauses = {retry_delay(busy(), tries, 10) for _ in range(20)}
    assert len(pauses) > 1
    assert all(one is not None and low <= one <= high for one in pauses)


def test_the_pause_that_the_service_requests_is_used() -> None:
    assert retry_delay(busy(retry_after=600), 1, 3) is None


@pytest.mark.parametrize(("asked", "low", "high"), [(7, 7, 8.75), (0, 1, 2), (0.001, 1, 2), (60, 60, 75)])
def test_many_clients_do_not_return_at_the_same_moment_nor_at_once(asked: float, low: float, high: float) -> None:
    pauses = {retry_delay(busy(retry_after=asked), tries, 9) for tries in range(1, 9)}
    assert len(pauses) > 1
    assert all(one is not None and low <= one <= high for one in pauses)


def test_retries_are_limited_in_number_and_to_retryable_errors() -> None:
    assert retry_delay(busy(), 4, 3) is None
    assert retry_delay(busy(), 1, 0) is None
    assert retry_delay(InferenceError("Wrong key.", cause="key"), 1, 3) is None


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert read_retry_after("3") == 3
    assert read_retry_after("0.5") == 0.5
    assert read_retry_after("-1") == 0
    later = read_retry_after(formatdate(time() + 30, usegmt=True))
    assert later is not None
    assert 25 < later <= 31
    assert read_retry_after("30, 5") == 30
    assert read_retry_after("1m 30s") == 90
    assert read_retry_after("5 minutes") == 300
    for text in (None, "soon", "nan, 1e300", "1_0"):
        assert read_retry_after(text) is None


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    tzset()
    now = datetime(2026, 11, 29, 12, tzinfo=timezone.utc).timestamp()
    for text in ("2026-11-29T12:00:30", "Sun, 29 Nov 2026 12:00:30 -0000", "2026-11-29T12:00:30Z"):
        assert read_retry_after(text, now=now) == 30
    monkeypatch.undo()
    tzset()


@pytest.mark.parametrize("text", ["15 March 2026", "5 Dec", "1 request", "9" * 190 + " days", "1" * 40_000 + "x"])
def test_a_text_that_is_no_time_asks_for_no_wait(text: str) -> None:
    started = perf_counter()
    assert read_retry_after(text) is requested_delay({"retry-after": text}) is None
    assert perf_counter() - started < 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "30"}, 1.5),
        ({"retry-after-ms": "300 ms"}, 0.3),
        ({"retry-after-ms": "0", "retry-after": "20"}, 20),
        ({"retry-after-ms": "-1", "retry-after": "20"}, 20),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after": "1e300"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0.5s"}, 360.5),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "30s"}, None),
        ({"x-ratelimit-remaining-tokens-minute": "0.0", "x-ratelimit-reset-tokens-minute": "11.38"}, 11.38),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "20"}, 20),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "7"}, 7),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "-5", "x-ratelimit-reset-tokens": "7"}, 7),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "7"}, 7),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"x-retry-after": "3"}, 3),
        # The server's clock, not that of this machine.
        ({"date": "Tue, 01 Jan 2030 10:00:00 GMT", "retry-after": "Tue, 01 Jan 2030 10:00:02 GMT"}, 2),
    ],
)
def test_limits_that_are_used_up_ask_to_wait_until_they_are_reset(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert requested_delay(headers) == seconds


def test_a_limit_is_reset_at_a_moment() -> None:
    moment = time() + 100
    date = datetime.fromtimestamp(moment, timezone.utc).isoformat().replace("+00:00", "Z")
    for reset in (str(moment), str(round(moment * 1000)), date):
        headers = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": reset}
        seconds = requested_delay(headers)
        assert seconds is not None
        assert 50 < seconds <= 100.001


@given(st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]), st.text()))
def test_any_headers_are_read(headers: dict[str, str]) -> None:
    requested_delay(headers)


@given(st.text())
def test_any_retry_after_header_is_read(header: str) -> None:
    read_retry_after(header)


@pytest.fixture
def clock(api: ModuleType) -> FastClock:
    """The session's clock: waiting takes no time."""
    clock = current_session().clock = FastClock()
    return clock


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 524, 529])
def test_a_busy_service_is_retried(api: ModuleType, clock: FastClock, service: Service, status: int) -> None:
    service.then(refused(status, "busy", Retry_After="0"), refused(status, "busy", Retry_After="0"))
    assert api.chat("hi").text == "Hello there."
    assert len(service.chats) == 3
    assert len({json.dumps(one.body) for one in service.chats}) == 1
    assert 2 <= sum(clock.slept) <= 4


def test_the_countdown_is_shown(kernel: Kernel, service: Service) -> None:
    service.then(refused(503, "busy", Retry_After="2"))
    run = kernel.run("%wbchat hi")
    lines = [one.content["data"]["text/markdown"] for one in run.of("display_data", "update_display_data")]
    assert any("Trying again (1 of 3) in 2 s" in line for line in lines)
    assert any("Trying again (1 of 3) in 1 s" in line for line in lines)
    assert "Trying again" not in run.text
    assert len(run.outputs) == 1


class RetriesSeen(Listener):
    """Keeps what is said of tries while the clock goes ahead."""

    def start(self, progress: CallProgress, *others: CallProgress) -> None:
        self.progress = progress

    def note(self, seen: list[str]) -> None:
        if self.progress.retry is not None:
            seen.append(self.progress.retry[0].partition("Trying again ")[2])


def test_tries_during_an_outage_do_not_count(
    api: ModuleType, service: Service, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of an earlier request of the same chat."""
    outage = [refused(503, "busy")] * 6
    service.then(*outage, refused(408, "late"), calling(("repr", "{}")), *[refused(408, "late")] * 4)
    command, listener, seen = Command(current_session()), RetriesSeen(), list[str]()
    sleep = clock.sleep

    async def sleep_and_look(seconds: float) -> None:
        listener.note(seen)
        await sleep(seconds)

    monkeypatch.setattr(clock, "sleep", sleep_and_look)

    def now() -> str:
        """Return the time."""
        return "noon"

    spec = spec_from_python("hi", parameters={}, schema=None, tools=toolbox_of([now], show=repr))
    share = Limiters(clock).share(command.endpoint.url, command.model, 1)
    with pytest.raises(InferenceError, match="It was tried 4 times"):
        run_chat(command, spec, listener=listener, share=share)
    assert [one for one in seen if "(0" not in one] == [f"({number} of 3)" for number in (1, 1, 2, 3)]


@pytest.mark.usefixtures("clock")
def test_a_connection_that_breaks_before_any_text_is_retried(api: ModuleType, service: Service) -> None:
    service.then(lambda answer: answer.cut())
    assert api.chat("hi").text == "Hello there."
    assert len(service.chats) == 2


@pytest.mark.usefixtures("clock")
def test_a_stream_that_ends_before_any_text_is_retried(api: ModuleType, service: Service) -> None:
    service.then(Streamed([], finish=None, counted=None, done=False))
    assert api.chat("hi").text == "Hello there."
    assert len(service.chats) == 2


def test_nothing_is_retried_after_text_has_been_shown(kernel: Kernel, service: Service) -> None:
    def cut(answer: Answer) -> None:
        answer.start()
        answer.event(chunk({"content": "Half"}))
        answer.cut()

    service.then(cut)
    assert not kernel.run("%wbchat hi").ok
    assert len(service.chats) == 1


def with_json(body: Any, status: int = 200, **headers: str) -> Script:
    return lambda answer: answer.json(body, status, **headers)


MAY_PASS = {
    "408": refused(408, "Request timed out", Retry_After="0"),
    "a rate limit with status 200": with_json({"error": {"message": "Rate limit exceeded", "code": 429}}),
    "a quota that comes back": refused(429, "Resource has been exhausted (e.g. check quota).", Retry_After="1"),
}


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("name", MAY_PASS)
def test_what_may_pass_is_tried_again_by_a_chat_and_a_map(api: ModuleType, service: Service, name: str) -> None:
    service.always = completion("Yes.")
    for call in (
        lambda: api.chat("hi", stream=False).text,
        lambda: api.map_prompts(["a"], "{{ text }}", cache=False)["reply"][0],
    ):
        service.then(MAY_PASS[name])
        assert call() == "Yes."
    assert len(service.chats) == 4


@pytest.mark.usefixtures("clock")
def test_an_error_whose_words_stop_coming_is_tried_again_by_its_status(api: ModuleType, service: Service) -> None:
    def stalls(answer: Answer) -> None:
        answer.start(503, "application/json")
        answer.raw(b'{"error": "busy"')
        # Returns when the client has closed the connection.
        answer.connection.recv(1)
        answer.cut()

    current_session().settings.set(timeout=2)
    service.then(stalls)
    assert api.chat("hi").text == "Hello there."
    assert len(service.chats) == 2


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_whose_words_are_cut_has_its_status_in_the_users_client(
    api: ModuleType, service: Service, stream: bool
) -> None:
    def cut(answer: Answer) -> None:
        answer.start(401, "application/json")
        answer.raw(b'{"error": "No such k')
        answer.cut()

    service.then(cut)
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.AuthenticationError) as caught:
        api.client().chat.completions.create(model="m", messages=messages, stream=stream)
    assert "No such k" in str(caught.value.body)


def context_too_small(answer: Answer) -> None:
    answer.start()
    words = "the request exceeds the available context size"
    answer.event({"error": {"code": 400, "type": "exceed_context_size_error", "message": words}})
    answer.end()


CANNOT_PASS = {
    "exceeds the available context size": context_too_small,
    "image input is not supported": refused(500, "image input is not supported"),
}


@pytest.mark.parametrize("words", CANNOT_PASS)
def test_an_error_that_cannot_pass_is_reported_at_once_whatever_its_status(
    api: ModuleType, service: Service, words: str
) -> None:
    service.always = CANNOT_PASS[words]
    with pytest.raises(InferenceError, match=words):
        api.chat("hi")
    assert words in api.map_prompts(["a"], "{{ text }}", cache=False)["reply_error"][0]
    assert len(service.chats) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_request_that_cannot_succeed_is_not_retried(api: ModuleType, service: Service, status: int) -> None:
    service.then(refused(status, "no", Retry_After="0"))
    with pytest.raises(InferenceError):
        api.chat("hi")
    assert len(service.chats) == 1


@pytest.mark.usefixtures("clock")
def test_max_retries_limits_the_tries_and_the_error_counts_them(api: ModuleType, service: Service) -> None:
    service.always = refused(503, "busy", Retry_After="0")
    current_session().settings.set(max_retries=2)
    with pytest.raises(InferenceError, match="tried 3 times"):
        api.chat("hi")
    assert len(service.chats) == 3
    current_session().settings.set(max_retries=0)
    with pytest.raises(InferenceError):
        api.chat("hi")
    assert len(service.chats) == 4


def test_the_pause_can_be_interrupted(kernel: Kernel, service: Service) -> None:
    service.then(refused(503, "busy", Retry_After="100"))
    run = kernel.interrupt_at("%wbchat hi", "Trying again")
    assert "Interrupted." in run.error
    # The countdown was shown once, and possibly once more on its way when the signal arrived.
    assert len([one for one in run.messages if "Trying again" in json.dumps(one.content)]) <= 2
    assert len(service.chats) == 1
    assert kernel.run("%wbchat hi").ok


def refused_as_text(one: Answer) -> None:
    one.start(400, "text/plain")
    one.raw(b"stream_options is not supported")
    one.end()


def refused_as_list(one: Answer) -> None:
    one.json({"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]}, 422)


@pytest.mark.parametrize(
    "refusal",
    [
        refused(400, "Unknown argument: stream_options"),
        refused(422, "Unknown argument: stream_options"),
        refused_as_text,
        refused_as_list,
    ],
)
def test_a_service_that_refuses_streamed_counts_is_asked_without_them(
    api: ModuleType, service: Service, refusal: Script
) -> None:
    def answer(one: Answer) -> None:
        script = refusal if "stream_options" in one.received.body else Streamed(["Four it is."])
        script(one)

    service.always = answer
    assert [api.chat("hi").text for _ in range(2)] == ["Four it is."] * 2
    # Once for the endpoint.
    assert ["stream_options" in one.body for one in service.chats] == [True, False, False]


# Pydantic's error as vLLM sends it: a text that quotes the request, and with it whatever the user wrote.
QUOTING = (
    "[{'type': 'value_error', 'loc': ('body', 'top_logprobs'), 'msg': 'Value error, when using `top_logprobs`, "
    "`logprobs` must be true.', 'input': {'messages': [{'role': 'user', 'content': 'Invalid API key'}], "
    "'stream_options': {'include_usage': True}, 'response_format': {}}, 'ctx': {'error': ValueError('x')}}]"
)


def test_what_an_error_quotes_of_the_request_is_not_what_it_says(api: ModuleType, service: Service) -> None:
    service.then(refused(400, QUOTING))
    with pytest.raises(InferenceError, match=r'said: "top_logprobs: Value .* be true\."') as raised:
        api.chat("hi", schema="a int")
    assert raised.value.cause == "request"
    assert len(service.chats) == 1
    api.chat("hi")
    assert all("stream_options" in one.body for one in service.chats)


def test_a_change_of_a_request_that_does_not_help_is_not_kept(api: ModuleType, service: Service) -> None:
    service.then(*[refused(400, "Unknown argument: stream_options, top_k")] * 2)
    with pytest.raises(InferenceError, match="top_k"):
        api.chat("hi")
    api.chat("hi")
    assert ["stream_options" in one.body for one in service.chats] == [True, False, True]


def lookup(city: str) -> str:
    """Return the weather."""
    return "sunny"


@pytest.mark.parametrize(
    "said",
    [
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index {}",
        "Missing `reasoning_content` field in the assistant message at message index {}.",
        "assistant message {} with tool_calls must include reasoning_content",
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
    ],
)
@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_service_that_misses_the_reasoning_gets_it_in_each_message_with_calls(
    api: ModuleType, service: Service, said: str, name: str
) -> None:
    """A model may call a tool without a thought. The field that is missing then is not left out everywhere."""
    thoughts = iter(["I look.", ""])

    def answer(one: Answer) -> None:
        called = [message for message in one.received.body["messages"] if message.get("tool_calls")]
        if any("reasoning_content" not in message for message in called):
            refused(400, said.format(1))(one)
            return
        one.start()
        if (thought := next(thoughts, None)) is not None:
            call = {"index": 0, "id": "a", "function": {"name": "lookup", "arguments": '{"city": "Oslo"}'}}
            one.event(chunk({name: thought, "tool_calls": [call]}, "tool_calls"))
        else:
            one.event(chunk({"content": "Sunny."}, "stop"))
        one.end()

    service.always = answer
    assert api.chat("Oslo?", tools=[lookup]).text == "Sunny."
    sent = [message for message in service.last.body["messages"] if message.get("tool_calls")]
    assert [message["reasoning_content"] for message in sent] == ["I look.", ""]
    tries = len(service.chats)
    thoughts = iter([""])
    assert api.chat("Oslo?", tools=[lookup]).text == "Sunny."
    # Once for the endpoint.
    assert len(service.chats) == tries + 2


@pytest.mark.parametrize(
    "said",
    [
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "Corrupted thought signature.",
        "The encrypted content rRZE could not be verified.",
    ],
)
def test_reasoning_that_has_become_invalid_is_left_out(api: ModuleType, service: Service, said: str) -> None:
    def thinking(one: Answer) -> None:
        one.start()
        thought = [{"type": "reasoning.text", "text": "I look.", "signature": "a", "index": 0}]
        call = {"index": 0, "id": "a", "function": {"name": "lookup", "arguments": '{"city": "Oslo"}'}}
        one.event(chunk({"reasoning_details": thought, "tool_calls": [call]}, "tool_calls"))
        one.end()

    service.then(thinking, refused(400, said), completion("Sunny."))
    assert api.chat("Oslo?", tools=[lookup]).text == "Sunny."
    assert ["reasoning_details" in one.body["messages"][1] for one in service.chats[1:]] == [True, False]


@pytest.mark.parametrize(
    "said",
    [
        "messages: text content blocks must be non-empty",
        "The text field in the ContentBlock object at messages.1.content.0 is blank. Add text to the text field.",
        "messages: text content blocks must contain non-whitespace text",
        "messages.1: all messages must have non-empty content",
    ],
)
@pytest.mark.parametrize("beside", ["", "\n\n", " "])
def test_a_service_that_refuses_an_empty_text_beside_calls_or_as_a_result_gets_none(
    api: ModuleType, service: Service, said: str, beside: str
) -> None:
    def silent(city: str) -> str:
        return ""

    service.then(calling(("silent", '{"city": "Oslo"}'), said=beside), refused(400, said), completion("Sunny."))
    assert api.chat("Oslo?", tools=[silent]).text == "Sunny."
    first, second = [one.body["messages"][1:] for one in service.chats[1:]]
    assert [message["content"].strip() for message in first] == ["", ""]
    assert [message["content"] for message in second] == [None, "(no result)"]
