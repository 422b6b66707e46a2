"""Functions that tests call as tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from wandb_inference_magic.messages.reply import ToolCall, ToolStep
from wandb_inference_magic.schemas.tools import toolbox_of


def step(function: Callable[..., Any], arguments: str = "", **options: Any) -> ToolStep:
    box = toolbox_of([function], **options)
    return box.run(ToolCall("call_1", box.names[0], arguments))


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return toolbox_of([function]).definitions[0]["function"]["parameters"]


def description_of(function: Callable[..., Any]) -> str:
    return toolbox_of([function]).definitions[0]["function"]["description"]


def received(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Return the arguments that a function received, if it returns them, as the objects that they were."""
    kept: list[Any] = []

    def keep(value: object) -> str:
        kept.append(value)
        return "kept"

    done = step(function, json.dumps(arguments), show=keep)
    assert (done.ok, done.result) == (True, "kept"), done.result
    return kept[0]


@dataclass
class Point:
    x: int
    y: int = 0


class Person(BaseModel):
    title: str
    born: date


class Size(TypedDict):
    width: int


def both(a: int, b: str = "x") -> tuple[int, str]:
    return a, b


def weather(city: str, days: int = 1) -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "celsius": 21.5}
