"""Answers of rows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, field_validator
from service import Answer, completion, refused


class Numbered:
    """A script: each answer is another number. The requests with the numbers in `refused` are refused."""

    def __init__(self, *refused_numbers: int) -> None:
        self._numbers = itertools.count()
        self._refused = refused_numbers
        self._lock = threading.Lock()

    def __call__(self, one: Answer) -> None:
        with self._lock:
            number = next(self._numbers)
        (refused(400, "not this one") if number in self._refused else completion(f"answer {number}"))(one)


def answers(frame: Any) -> list[Any]:
    return [None if one is None or one != one else one for one in frame["reply"].tolist()]


def numbers(check: Callable[[int], int]) -> type[BaseModel]:
    """Return a model whose field `n` is checked by a function."""

    class Number(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def checked(cls, value: int) -> int:
            return check(value)

    return Number
