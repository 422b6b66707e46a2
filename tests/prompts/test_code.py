"""Functions and classes in prompts: they are their source."""

from __future__ import annotations

import io
import json
import linecache
from functools import cache, update_wrapper
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
from prompt_values import Plain, halve, text_of

from wandb_inference_magic.prompts import render

pytestmark = pytest.mark.short

CLASSES = """
import dataclasses, enum

@dataclasses.dataclass
class Point:
    x: int = 1

class Cart:
    'A cart.'

    def total(self):
        return 1

class Mood(enum.Enum):
    GOOD = 1
"""


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Point", "@dataclasses.dataclass\nclass Point:\n    x: int = 1"),
        ("Cart", "class Cart:\n    'A cart.'\n\n    def total(self):\n        return 1"),
        ("Mood", "class Mood(enum.Enum):\n    GOOD = 1"),
    ],
)
def test_a_class_of_the_notebook_is_its_source(name: str, source: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = {
        f"<ipython-input-{number}-aa>": text for number, text in enumerate(("class Cart:\n    old = 1\n", CLASSES))
    }
    try:
        for cell, text in cells.items():
            linecache.cache[cell] = (len(text), None, text.splitlines(keepends=True), cell)
            exec(compile(text, cell, "exec"), namespace)
        assert text_of(namespace[name]) == source
    finally:
        for cell in cells:
            del linecache.cache[cell]


def test_an_object_without_source_shows_its_signature() -> None:
    assert text_of(len).startswith("len(obj, /)\n\nReturn the number of items")
    assert text_of(json).startswith("module json\n\nJSON (JavaScript Object Notation)")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pydantic.create_model("Made", a=(int, ...), b=(str, "c")), "Made(*, a: int, b: str = 'c') -> None"),
        (type("Made", (Plain,), {"__doc__": "Count it.", "__init__": lambda self, n: None}), "Made(n)\n\nCount it."),
    ],
)
def test_a_class_without_source_shows_nothing_of_the_one_that_it_is_made_from(kind: type, text: str) -> None:
    # Python 3.10 has this documentation for each enumeration.
    assert text_of(kind).removesuffix("\n\nAn enumeration.") == text


class Remembered:
    """A function as joblib, Numba and JAX wrap it."""

    def __init__(self) -> None:
        update_wrapper(self, halve)

    def __call__(self) -> None: ...

    def __repr__(self) -> str:
        return "Remembered(func=<function halve>)"


@pytest.mark.parametrize("template", ["{{ x }}", "{% for one in [x] %}{{ one }}{% endfor %}"])
def test_a_function_that_a_library_has_wrapped_is_its_source(template: str) -> None:
    assert str(render(template, {"x": Remembered()})).startswith("def halve(")
    assert "def mean(" in str(render(template, {"x": np.mean}))
    assert str(render(template, {"x": np.sin})).startswith("sin(")
    assert "def halve(" in text_of([Remembered()])


@cache
def slow() -> int:
    """A function that is remembered."""
    return 1


def test_a_cached_function_is_its_source_and_a_text_in_memory_is_its_text() -> None:
    assert "A function that is remembered." in text_of(slow)
    assert "return 1" in text_of(slow)
    buffer = io.StringIO()
    pd.DataFrame({"a": [1]}).info(buf=buffer)
    assert text_of(buffer) == buffer.getvalue()
