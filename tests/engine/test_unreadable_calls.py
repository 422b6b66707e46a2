"""Calls of tools whose arguments are cut, or are no JSON: what is paid, what is sent back, and what the user reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from service import Answer, Service, Streamed, calling, usage

from wandb_inference_magic.engine.chat import CALL_IS_CUT
from wandb_inference_magic.errors import InferenceError

CUT = [
    '{"city": "Par',
    '{"city": ',
    '{"city": "Oslo"',
    '{"city": "Oslo", "days": [1, 2',
    '{"city": "a \\"quoted',
    '{"city": "}]}',
    '{"city": tr',
    "",
]


@pytest.fixture
def weather() -> Callable[..., str]:
    """A tool whose attribute `cities` lists what it was called with."""

    def weather(city: str = "", at: float = 0) -> str:
        """Return the weather."""
        cities.append(city)
        return "Rain."

    cities: list[str] = []
    weather.cities = cities  # type: ignore[attr-defined]
    return weather


@pytest.mark.parametrize("arguments", CUT)
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_call_that_is_cut_at_the_limit_ends_the_chat_whatever_its_end_is_said_to_be(
    api: ModuleType, service: Service, weather: Any, arguments: str, name: str
) -> None:
    service.always = calling(("weather", arguments), counted=usage(50, 16))
    reply = api.chat("Umbrella?", tools=[weather], **{name: 16})
    assert (len(service.chats), weather.cities) == (1, [])
    assert (reply.finish_reason, reply.notices) == ("length", (CALL_IS_CUT,))


def test_a_call_that_the_service_says_was_cut_names_the_option(api: ModuleType, service: Service, weather: Any) -> None:
    def cut(one: Answer) -> None:
        call = {"id": "a", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        one.json({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "length"}]})

    service.then(cut)
    assert CALL_IS_CUT in api.chat("Umbrella?", tools=[weather]).notices
    assert (len(service.chats), weather.cities) == (1, [])


@pytest.mark.parametrize(
    ("arguments", "written"), [('{"city": "Oslo"}', 16), ('{"city": "{ [ \\" "}', 16), ('{"city": "Par', 15)]
)
def test_a_call_that_is_complete_or_below_the_limit_is_answered(
    api: ModuleType, service: Service, weather: Any, arguments: str, written: int
) -> None:
    service.then(calling(("weather", arguments), counted=usage(50, written)), Streamed(["Rain."]))
    reply = api.chat("Umbrella?", tools=[weather], max_tokens=16)
    assert (reply.text, reply.notices, len(service.chats)) == ("Rain.", (), 2)


@pytest.mark.parametrize(
    ("calls", "remedy"),
    [
        (['{"city": "Par', '{"city": "Par'], "raise --max-tokens"),
        (['{"city": "Par', '{"city": "Paris, in Fra'], "raise --max-tokens"),
        (['{"city": "Par"', '{"city": '], "raise --max-tokens"),
        (["{'city': 'Paris'} x", "{'city': 'Paris'} x"], "Ask another model"),
    ],
)
def test_a_call_that_cannot_be_read_twice_ends_the_chat(
    api: ModuleType, service: Service, weather: Any, calls: list[str], remedy: str
) -> None:
    service.then(*(calling(("weather", one)) for one in calls))
    with pytest.raises(
        InferenceError, match="called the tool weather twice with arguments that are not JSON"
    ) as caught:
        api.chat("Umbrella?", tools=[weather])
    assert remedy in caught.value.remedy
    assert "The arguments are not JSON" in caught.value.why
    assert (len(service.chats), weather.cities) == (2, [])
    assert [step.ok for step in caught.value.partial.steps] == [False]


@pytest.mark.parametrize(
    "calls",
    [
        [("weather", '{"city": "Par'), ("weather", '{"city": "Paris"}'), ("weather", '{"city": "Par')],
        [("weather", "{city} x"), ("weather", "{town} x")],
        [("weather", '{"city": "Par'), ("another", '{"city": "Par')],
    ],
)
def test_a_model_that_calls_otherwise_may_go_on(
    api: ModuleType, service: Service, weather: Any, calls: list[tuple[str, str]]
) -> None:
    service.then(*map(calling, calls), Streamed(["Rain."]))
    assert api.chat("Umbrella?", tools=[weather]).text == "Rain."
    assert len(service.chats) == len(calls) + 1


def test_too_many_rounds_name_the_last_result(api: ModuleType, service: Service, weather: Any) -> None:
    service.always = calling(("weather", '{"city": "Paris"}'))
    with pytest.raises(InferenceError, match=r'The last result that it got: "Rain\."'):
        api.chat("Umbrella?", tools=[weather])


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"at": NaN}', {"at": "NaN"}),
        ('{"at": -Infinity, "city": "\\ud83d"}', {"at": "-Infinity", "city": "\ud83d"}),
        ('{"city": {"a": [Infinity, 1.5]}}', {"city": {"a": ["Infinity", 1.5]}}),
        ('{"at": 1e999}', {"at": "1e999"}),
        ('{"at": 1.50, "at": 2}', {"at": 2}),
    ],
)
def test_a_number_that_json_has_not_is_sent_back_as_text(
    api: ModuleType, service: Service, weather: Any, arguments: str, sent: dict[str, Any]
) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    service.then(calling(("weather", arguments)), Streamed(["Rain."]))
    api.chat("Umbrella?", tools=[weather])
    (call,) = service.last.body["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"], parse_constant=refuse) == sent
