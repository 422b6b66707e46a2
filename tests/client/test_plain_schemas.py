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
            "within": {"type": "object"},
        },
    }
    assert schema["properties"]["place"] == place
    assert schema["properties"]["unit"] == {"type": "string", "enum": ["C"]}
    assert schema["required"] == ["place"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."),
        (400, "The json schema definition at toolConfig.tools.1.toolSpec.inputSchema is invalid. Fix the errors"),
        (400, "The model returned the following errors: tools.0.custom: Invalid schema: Reference to non-existent one"),
        (400, "Unable to submit request because `weather` functionDeclaration `parameters.a` schema specified others"),
        (400, "* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[p].items: missing"),
        (400, "tool 'weather': unsupported schema keyword minLength"),
        (400, "Failed to initialize samplers: failed to parse grammar"),
        (500, "Failed to initialize samplers: failed to parse grammar"),
        (400, "JSON schema conversion failed:\nUnrecognized schema: true"),
        (500, "JSON schema conversion failed:\nPattern must start with '^' and end with '$'"),
        (
            400,
            "Unable to generate parser for this template. Automatic parser generation failed: JSON schema conversion"
            " failed:\nPattern must start with '^' and end with '$'",
        ),
        (400, 'Grammar error: Unimplemented keys: ["pattern"]'),
        (400, "The provided JSON schema contains features not supported by xgrammar."),
    ],
)
def test_a_schema_that_a_service_cannot_convert_is_written_plainly(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.always = unless("additionalProperties", status=status, said=said)
    assert api.chat("Umbrella?", tools=[weather]).text == "Fine."
    assert len(service.chats) == 3


@pytest.mark.parametrize("parameter", ["response_format", "guided_json"])
def test_a_grammar_may_be_that_of_the_answer(api: ModuleType, service: Service, parameter: str) -> None:
    service.always = refused(400, "Failed to initialize samplers: failed to parse grammar")
    with pytest.raises(InferenceError, match="failed to parse grammar"):
        api.chat("Umbrella?", tools=[weather], **{parameter: {"type": "json_object"}})
    assert "additionalProperties" in str(service.last.body["tools"])


def test_a_tool_without_arguments_has_no_properties_where_they_must_not_be_empty(
    api: ModuleType, service: Service
) -> None:
    def now() -> str:
        """Return the time."""
        return "12:00"

    def answer(one: Answer) -> None:
        schema = one.received.body["tools"][0]["function"]["parameters"]
        at = "* GenerateContentRequest.tools[0].function_declarations[0].parameters"
        if "additionalProperties" in schema:
            refused(400, UNKNOWN.format("additionalProperties"))(one)
        elif schema.get("properties") == {}:
            refused(400, f"{at}.properties: should be non-empty for OBJECT type")(one)
        else:
            Streamed(["Fine."])(one)

    service.always = answer
    assert [api.chat("Umbrella?", tools=[now]).text for _ in range(2)] == ["Fine."] * 2
    assert service.last.body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert len(service.chats) == 4


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
        "The response_format schema is not supported with tools",
    ],
)
def test_other_refusals_of_tools_change_nothing(api: ModuleType, service: Service, said: str) -> None:
    service.always = refused(400, said)
    with pytest.raises(InferenceError):
        api.chat("Umbrella?", tools=[weather])
    assert len(service.chats) == 1
