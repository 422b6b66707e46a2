"""Types that tests use as schemas."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    Field,
)
from typing_extensions import TypedDict


class Address(BaseModel):
    street: str
    number: int = 1


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="The full name", title="Name")
    age: int | None = None
    home: Address
    title: str = "Dr"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Movie(TypedDict):
    title: str
    year: int


class Actor(TypedDict):
    name: str
    films: list[Movie]


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


Id = typing.NewType("Id", int)


class Node(BaseModel):
    value: int
    children: list[Node] = []


NAMES: dict[str, Any] = {
    "Person": Person,
    "Point": Point,
    "Movie": Movie,
    "Id": Id,
    "fields": "name, age int",
    "shape": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "number": 3,
    "stars": np.int64(3),
}


class Good(BaseModel):
    mood: Literal[Mood.GOOD]
    why: str


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


FORMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "m": {"enum": ["good", "bad"]},
        "x": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "b": {"type": ["boolean", "null"]},
        "t": {"type": "array", "items": {"type": "string"}},
        "d": {"type": "string", "format": "date"},
        "e": {"enum": ["good", None]},
        "y": {"type": "string", "enum": ["yes", "no"]},
        "o": {"enum": [True, False]},
        "u": {"oneOf": [{"$ref": "#/$defs/A"}, {"properties": {"t": {"const": "b"}}, "required": ["t"]}]},
    },
    "required": ["n"],
    "$defs": {"A": {"properties": {"t": {"const": "a"}, "x": {"type": "integer"}}, "required": ["t", "x"]}},
}
