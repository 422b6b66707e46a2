"""The schemas of tools, written for services that refuse keywords in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import Field
from service import Answer, Script, Service, Streamed, calling, refused

from wandb_inference_magic.errors import InferenceError


class Kind(Enum):
    CITY = "city"
    TOWN = "town"


@dataclass
class Place:
    name: str
    kind: Kind = Kind.CITY
    within: Optional[Place] = None  # noqa: UP045 - a string to Python 3.10


def weather(
    place: Place,
    days: Annotated[int, Field(ge=1, le=7)] = 1,
    unit: Literal["C"] = "C",
    tags: dict[str, int] | None = None,
) -> str:
    """Return the weather."""
    return f"Rain in {place.name} for {days} days."


def keywords(schema: Any) -> Iterator[str]:
    """Yield the keywords of a schema, not the names of properties."""
    if isinstance(schema, list):
        for one in schema:
            yield from keywords(one)
    elif isinstance(schema, dict):
        yield from schema
        for name, one in schema.items():
            yield from keywords([*one.values()] if name in ("properties", "$defs") else one)


def unless(*refused_words: str, status: int, said: str) -> Script:
    """A script: a call of the tool, or a refusal of keywords in its schema."""

    def answer(one: Answer) -> None:
        schema = one.received.body["tools"][0]["function"]["parameters"]
        if not set(refused_words).isdisjoint(keywords(schema)):
            refused(status, said)(one)
        elif one.received.body["messages"][-1]["role"] == "tool":
            Streamed(["Fine."])(one)
        else:
            calling(("weather", '{"place": {"name": "Oslo"}, "days": 2}'))(one)

    return answer


_AT = "at 'tools[0].function_declarations[0].parameters': Cannot find field."
UNKNOWN = f'Invalid JSON payload received. Unknown name "{{}}" {_AT}'
_WHAT = "Invalid request: tools.function.parameters is not a valid moonshot flavored json schema"
MOONSHOT = f"{_WHAT}, details: <At path {{}}>"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["additionalProperties"], 400, UNKNOWN.format("additionalProperties")),
        (["$defs", "$ref"], 400, UNKNOWN.format("$defs")),
        (["const", "default"], 400, UNKNOWN.format("const")),
        (["$ref"], 400, MOONSHOT.format("'properties.p': when using $ref, other keywords are not allowed")),
        (["$ref"], 400, MOONSHOT.format("'properties.p.$ref': $defs not found for reference: #/$defs/Place")),
        (["default"], 400, "Invalid schema for function 'weather': 'default' is not permitted"),
        (
            ["minimum", "maximum"],
            422,
            "tools.0.function.parameters.properties.days.minimum: Extra inputs",
        ),
        (["minimum"], 400, "tools.0.custom.input_schema: property 'minimum' is not supported"),
    ],
)
def test_keywords_that_a_service_refuses_are_left_out_of_the_schemas_of_tools(
    api: ModuleType, service: Service, words: list[str], status: int, said: str
) -> None:
    service.always = unless(*words, status=status, said=said)
    for _ in range(2):
        reply = api.chat("Umbrella?", tools=[weather])
        assert (reply.text, reply.steps[0].result) == ("Fine.", "Rain in Oslo for 2 days.")
    # Refused, a call and its result; then it is known.
    assert len(service.chats) == 5
    schema = service.last.body["tools"][0]["function"]["parameters"]
    assert set(keywords(schema)) <= {"type", "properties", "required", "items", "enum", "anyOf", "description"}
    place = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "kind": {"type": "string", "enum": ["city", "town"]},
            "within": {"anyOf": [{"type": "object"}, {"type": "null"}]},
        },
    }
    assert schema["properties"]["place"] == place
    assert schema["properties"]["unit"] == {"type": "string", "enum": ["C"]}
    assert schema["required"] == ["place"]


def test_a_refusal_that_remains_is_reported_after_one_more_request(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "Invalid schema for function 'weather': too many properties")
    with pytest.raises(InferenceError, match="too many properties"):
        api.chat("Umbrella?", tools=[weather])
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    "said",
    [
        "test/model-a does not support tools",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.",
    ],
)
def test_other_refusals_of_tools_change_nothing(api: ModuleType, service: Service, said: str) -> None:
    service.always = refused(400, said)
    with pytest.raises(InferenceError):
        api.chat("Umbrella?", tools=[weather])
    assert len(service.chats) == 1
