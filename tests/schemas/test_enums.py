"""Enums whose values are no texts: the model gets the names of their members, and may answer with them."""

from __future__ import annotations

import enum
import json
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from schema_types import Mood
from tool_calls import parameters, received, step

from wandb_inference_magic.schemas.schema import Mismatch, schema_of

pytestmark = pytest.mark.short


class Priority(enum.Enum):
    """How urgent it is."""

    LOW = enum.auto()
    HIGH = enum.auto()


class Level(enum.IntEnum):
    NONE = 0
    SOME = 1


class Answer(enum.Enum):
    YES = True
    NO = False


class Colour(enum.Enum):
    RED = (255, 0, 0)
    BLUE = (0, 0, 255)


class Feast(enum.Enum):
    EASTER = date(2024, 3, 31)
    CHRISTMAS = date(2024, 12, 25)


class Mixed(enum.Enum):
    A = "a"
    N = 1


class Alike(enum.Enum):
    low = 1
    LOW = 2


class Aliased(enum.Enum):
    LOW = 1
    HIGH = 2
    LOWEST = 1  # noqa: PIE796
    lowest = 1  # noqa: PIE796


class State(enum.Enum):
    OPEN = "open"
    NEW = "open"  # noqa: PIE796
    DONE = "done"


class Task(BaseModel):
    model_config = ConfigDict(strict=True)

    first: Priority = Field(description="The first one")
    second: Literal[Priority.HIGH, None] = Field(None, description="The second one")
    others: list[Level] = []


@pytest.mark.parametrize(
    ("kind", "described"),
    [
        (Priority, "How urgent it is.\n\n1: LOW, 2: HIGH"),
        (Level, "0: NONE, 1: SOME"),
        (Answer, "true: YES, false: NO"),
        (Feast, '"2024-03-31": EASTER, "2024-12-25": CHRISTMAS'),
        (Mixed, '"a": A, 1: N'),
        (Aliased, "1: LOW, 2: HIGH"),
        (Literal[Priority.HIGH], "2: HIGH"),
        (Mood, None),
        (Literal[1, 2], None),
    ],
)
def test_the_names_of_members_whose_values_are_no_texts_are_sent(kind: Any, described: str | None) -> None:
    assert schema_of(kind).json_schema["properties"]["value"].get("description") == described


def test_the_names_are_sent_beside_the_description_of_a_field_and_with_tools() -> None:
    schema = schema_of(Task).json_schema
    assert schema["properties"]["second"]["description"] == "The second one\n\n2: HIGH"
    assert schema["$defs"]["Priority"]["description"] == "How urgent it is.\n\n1: LOW, 2: HIGH"
    assert schema["properties"]["first"]["description"] == "The first one"

    def route(level: Level) -> list[Any]:
        return [level.name]

    assert parameters(route)["$defs"]["Level"]["description"] == "0: NONE, 1: SOME"
    assert received(route, {"level": "some"}) == ["SOME"]
    assert "level: Input should be 0 or 1, not 'MANY'" in step(route, '{"level": "MANY"}').result


@pytest.mark.parametrize(
    ("kind", "answer", "read"),
    [
        (Priority, '"HIGH"', Priority.HIGH),
        (Priority, "**High**.", Priority.HIGH),
        (Priority, '{"value": "Priority.LOW"}', Priority.LOW),
        (Priority, '"2"', Priority.HIGH),
        # This word says that there is no value, where it is no name.
        (Level | None, '{"value": "none"}', Level.NONE),
        (Priority | None, '{"value": "none"}', None),
        (Answer, "No.", Answer.NO),
        (Colour, '{"value": "blue"}', Colour.BLUE),
        (Feast, '"easter"', Feast.EASTER),
        (Feast, '"2024-12-25"', Feast.CHRISTMAS),
        (Task, '{"first": "low", "second": "HIGH", "others": ["some", 0]}',
         Task(first=Priority.LOW, second=Priority.HIGH, others=[Level.SOME, Level.NONE])),
        (dict[str, list[Priority]], '{"a": ["LOW", 2]}', {"a": [Priority.LOW, Priority.HIGH]}),
        (Aliased, '"1"', Aliased.LOW),
        (Aliased, "Lowest.", Aliased.LOW),
        (Literal[Aliased.LOWEST], '"Aliased.LOWEST"', Aliased.LOW),
        (State, "Open", State.OPEN),
        (list[State], '["**Open**", "Done."]', [State.OPEN, State.DONE]),
        (Alike, '"Alike.low"', None),
        (Alike, '"low"', None),
        (Mixed, '"N"', None),
        (Mood, '"Mood.GOOD"', None),
        (Literal[Priority.LOW], '"HIGH"', None),
        # What fits as it is stays as it is.
        (str | Priority, '{"value": "HIGH"}', "HIGH"),
        (Priority | int, '{"value": 7}', 7),
    ],
)  # fmt: skip
def test_the_name_of_one_member_is_read_where_no_value_is_a_text(kind: Any, answer: str, read: Any) -> None:
    if read is not None or "none" in answer:
        found = schema_of(kind).read(answer)
        assert (found, type(found)) == (read, type(read))
        return
    with pytest.raises(Mismatch, match="Input should be"):
        schema_of(kind).read(answer)


@pytest.mark.parametrize(("kind", "values"), [(Aliased, [1, 2]), (State, ["open", "done"])])
def test_a_value_with_several_names_is_one_value(kind: Any, values: list[Any]) -> None:
    schema = schema_of(kind)
    assert schema.json_schema["properties"]["value"]["enum"] == schema.object_schema["enum"] == values
    with pytest.raises(Mismatch) as refused:
        schema.read('"Other"')
    assert all(refused.value.problems[0].count(str(value)) == 1 for value in values)


def test_no_mark_of_an_enum_is_sent() -> None:
    assert "x-" not in json.dumps(schema_of(Task).response_format)
