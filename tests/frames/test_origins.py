"""Whether a map is known again: the state of the values in its prompt."""

from __future__ import annotations

import collections
import functools
import re
import threading
import tracemalloc
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from wandb_inference_magic.frames.origins import state_of

# What a cell defines. Each test runs it again, maybe with a change.
CELL = """
import functools, math, re, threading
from abc import ABCMeta
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
import attrs
import pandas as pd
from pydantic import BaseModel, computed_field, field_validator

question = "why"

class Mood(Enum):
    GOOD = "good"
    BAD = "bad"

class Codes:
    first = 1

@dataclass
class Part:
    size: int = 1
    inner: object = None

@attrs.define
class Piece:
    size: int

class Sized(NamedTuple):
    size: int

class Model(BaseModel):
    size: int

    @field_validator("size")
    @classmethod
    def checked(cls, value):
        return value

    @computed_field
    @property
    def double(self) -> int:
        return self.size * 2

class Plain:
    def __init__(self):
        self.size = 1

    def text(self):
        return super().__repr__()

    def __call__(self):
        return "called"

class Above(ABCMeta):
    def made(cls):
        return "above"

class Base(metaclass=Above):
    def text(self):
        return "base"

class Child(Base):
    __slots__ = ("size",)
    lock = threading.Lock()
    part = Part(5)

    class Inner:
        word = "inner"

    @functools.cached_property
    def long(self):
        return "long"

    @functools.lru_cache
    def short(self):
        return "short"

def recursive(number):
    return recursive(number - 1) if number else question

def closing(held=("a", 1)):
    kept = [1]
    return lambda: (kept, held)

def framed(text):
    return pd.DataFrame([text]).to_string() + str(math.sqrt(3))

def modelled(size):
    return [Model(size=one).double for one in range(size)]

@functools.lru_cache
def remembered(text):
    return text

@functools.wraps(recursive)
def wrapped(number):
    return recursive(number)

values = {
    "enum": Mood.GOOD,
    "dataclass": [Part(), Part(2, Part())],
    "attrs": Piece(1),
    "named": (Sized(1), namedtuple("Pair", "a b")(1, 2)),
    "model": Model(size=1),
    "plain": Plain(),
    "class": Model,
    "codes": Codes,
    "child": Child(),
    "recursive": recursive,
    "lambda": lambda text: text.upper(),
    "closing": closing(),
    "framed": framed,
    "modelled": modelled,
    "remembered": remembered,
    "wrapped": wrapped,
    "partial": functools.partial(recursive, 1),
    "method": Plain().text,
    "in a dict": {"a": [recursive]},
    "built-in": [len, math.sqrt, math, str.upper],
}
"""


def states(cell: str = CELL) -> dict[str, str | None]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(cell, namespace)
    return {name: state_of(value) for name, value in namespace["values"].items()}


def test_what_a_cell_defines_is_the_same_when_the_cell_is_run_again() -> None:
    first = states()
    assert None not in first.values()
    assert len(set(first.values())) == len(first)
    assert states() == first


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('"why"', '"how"', {"recursive", "wrapped", "partial", "in a dict"}),
        ("* 2", "* 3", {"model", "modelled", "class"}),
        ("super().__repr__()", "super().__str__()", {"plain", "method"}),
        ('"called"', '"asked"', {"plain", "method"}),
        ("kept = [1]", "kept = [2]", {"closing"}),
        ('("a", 1)', '("a", 2)', {"closing"}),
        ("return text\n", "return 2 * text\n", {"remembered"}),
        ("first = 1", "first = 2", {"codes"}),
        ('BAD = "bad"', 'BAD = "worse"', {"enum"}),
        ("text.upper()", "text.lower()", {"lambda"}),
        ("sqrt(3)", "sqrt(4)", {"framed"}),
        ("partial(recursive, 1)", "partial(recursive, 2)", {"partial"}),
        ("Part(2,", "Part(3,", {"dataclass"}),
        ("Model(size=1)", "Model(size=2)", {"model"}),
        # Of a class above, and what is no method in a class.
        ('"base"', '"bass"', {"child"}),
        ('"above"', '"below"', {"child"}),
        ("Part(5)", "Part(6)", {"child"}),
        ('"inner"', '"outer"', {"child"}),
        ('"long"', '"longer"', {"child"}),
        ('"short"', '"shorter"', {"child"}),
    ],
)
def test_a_value_is_another_one_if_what_it_does_has_changed(old: str, new: str, changed: set[str]) -> None:
    assert CELL.count(old) == 1
    first, second = states(), states(CELL.replace(old, new))
    assert {name for name in first if first[name] != second[name]} == changed


def made() -> Mapping[str, Any]:
    """Make values of Python and of libraries."""
    frame = pd.DataFrame({"a": range(100), "b": ["x", "y"] * 50})
    frame["c"] = 1.5
    return {
        "plain": ["".join(["w", "hy"]), "why", 1, 1.5, None, True, {"a": {"b": [1]}}],
        "date": date(2024, 1, 1),
        "time": datetime(2024, 1, 1, tzinfo=timezone.utc),
        "scalars": [Decimal("1.20"), UUID(int=1), re.compile("x"), b"x", range(3), float("nan"), "\ud800"],
        "sets": [{"a", "b", "c"}, frozenset((1, 2))],
        "path": Path("a") / "b",
        "namespace": SimpleNamespace(a=1),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "partial": functools.partial(int, base=2),
        "iterator": iter([1, 2]),
        "numpy": [np.int64(3), np.arange(2000), np.array([{"a": 1}], dtype=object), np.datetime64("2024-01-01")],
        "timestamp": pd.Timestamp("2024-01-01", tz="Europe/Berlin"),
        "frame": frame,
        "series": pd.Series(["a", None], dtype="category"),
        "index": pd.MultiIndex.from_tuples([(1, "a")]),
        "in a dict": {"codes": [frame]},
        "polars": pl.DataFrame({"a": range(100)}),
        "lazy": pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 0),
        "arrow": pa.table({"a": [1], "b": ["x"]}),
        "image": Image.new("RGB", (2, 2)),
    }


def test_equal_values_of_libraries_have_the_same_state() -> None:
    first, second = ({name: state_of(value) for name, value in made().items()} for _ in range(2))
    assert None not in first.values()
    assert first == second
    assert len(set(first.values())) == len(first)


def test_the_state_of_a_frame_is_that_of_its_values() -> None:
    """How pandas holds them can change while they are read."""
    frame = made()["frame"]
    before = state_of(frame)
    assert frame.values.shape == (100, 3)
    assert state_of(frame.copy()) == before
    frame.loc[50, "c"] = 2.5
    assert state_of(frame) != before
    renamed = made()["frame"].rename(columns={"a": "z"})
    reindexed = made()["frame"].rename(index={0: 100})
    assert len({before, state_of(renamed), state_of(reindexed)}) == 3


class Held:
    def __reduce__(self) -> Any:
        raise SystemExit


def test_a_value_that_is_open_or_of_a_library_of_no_data_is_not_known() -> None:
    """A library's object may be large, such as a model."""
    from matplotlib.figure import Figure

    endless: list[Any] = []
    endless.append(endless)
    unknown = [threading.Lock(), (one for one in "a"), Figure(), endless, Held()]
    assert [state_of([one]) for one in unknown] == [None] * len(unknown)
    namespace = {"__name__": "__main__", "client": threading.Lock()}
    exec("def asks(): return client", namespace)
    assert state_of(namespace["asks"]) is None


OPEN = """
import collections, contextvars, io, logging, queue, random, sqlite3, threading, weakref
from concurrent.futures import ThreadPoolExecutor

class Lookup:
    size = {size}
    words = collections.Counter("ab")
    {attribute}

    def text(self):
        return str(self.size)

Lookup.one = Lookup()
Lookup.one.above = Lookup.one
value = Lookup()
"""


@pytest.mark.parametrize(
    "attribute",
    [
        "x = sqlite3.connect(':memory:')",
        "x = [sqlite3.connect(':memory:')]",
        "x = {'pool': ThreadPoolExecutor(1)}",
        "x = threading.Condition()",
        "x = threading.Event()",
        "x = queue.Queue()",
        "x = weakref.WeakValueDictionary()",
        "x = weakref.ref(threading.main_thread())",
        "x = contextvars.ContextVar('x')",
        "x = (one for one in 'ab')",
        "x = memoryview(b'a')",
        "x = threading.Thread(target=print)",
        "x = random.Random()",
        "x = logging.getLogger('a')",
        "x = open(__import__('os').devnull)",
    ],
)
def test_what_is_open_in_a_class_does_not_say_what_it_is(attribute: str) -> None:
    def state(**parts: Any) -> str | None:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(OPEN.format(**{"attribute": attribute, "size": 1, **parts}), namespace)
        known = state_of(namespace["value"])
        for close in ("close", "shutdown"):
            getattr(getattr(namespace["Lookup"], "x", None), close, lambda: None)()
        return known

    assert state() is not None
    assert state() == state()
    assert state(size=2) != state()
    assert state(attribute="x = 1") != state(attribute="x = 2")


@pytest.mark.parametrize(
    "value",
    [
        "{{'db': db, 'style': {0!r}}}",
        "[[db], {0!r}]",
        "(db, Part({0!r}))",
        "Part(db, {0!r})",
        "{{'client': threading.Lock(), 'ask': lambda: {0!r}}}",
        "SimpleNamespace(db=db, style={0!r})",
        "MappingProxyType({{'lock': threading.Lock(), 'style': {0!r}}})",
        "deque([threading.Lock(), {0!r}])",
        "partial(print, threading.Lock(), {0!r})",
        "defaultdict(list, lock=[threading.Lock()], style={0!r})",
        "Slots(threading.Lock(), {0!r})",
        "Pair(threading.Lock(), {0!r})",
        "Prompter(threading.Lock(), {0!r})",
        "Prompter(threading.Lock(), {0!r}).asks",
        "Prompters([threading.Lock(), {0!r}])",
        "partialmethod(print, threading.Lock(), {0!r})",
    ],
)
def test_what_is_beside_something_open_counts(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_prompters.py").write_text(
        "class Prompter:\n def __init__(self, lock, style): self.lock, self.style = lock, style\n"
        " def asks(self): return self.style\nclass Prompters(list): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cell = (
        "import sqlite3, threading\nfrom collections import defaultdict, deque\n"
        "from functools import partial, partialmethod\n"
        "from types import MappingProxyType, SimpleNamespace\nfrom typing import Any, NamedTuple\n"
        "from own_prompters import Prompter, Prompters\n"
        "class Pair(NamedTuple):\n lock: Any\n style: str\n"
        "class Slots:\n __slots__ = ('lock', 'style')\n"
        " def __init__(self, lock, style): self.lock, self.style = lock, style\n"
        "class Part:\n def __init__(self, *all): self.all = all\n"
        # A connection that is closed cannot be compared either.
        "db = sqlite3.connect(':memory:')\ndb.close()\nclass Held:\n x = " + value
    )
    found = []
    for style in ("formal", "formal", "rude"):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(cell.format(style), namespace)
        found.append(state_of(namespace["Held"]))
    assert None not in found
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "grown",
    ["[x]", "(x, [x])", "{'next': x}", "Node(x)"],
)
def test_what_is_open_deep_in_values_takes_little_memory(grown: str) -> None:
    """The state of each level was once twice that of the level in it."""
    cell = (
        "import threading\nclass Node:\n def __init__(self, next): self.next, self.lock = next, threading.Lock()\n"
        "x = [threading.Lock(), {0!r}]\n"
        f"for _ in range(16): x = {grown.replace('{', '{{').replace('}', '}}')}\n"
        "class Held: y = x"
    )
    found = []
    tracemalloc.start()
    for style in ("formal", "formal", "rude"):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(cell.format(style), namespace)
        found.append(state_of(namespace["Held"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[0] == found[1] != found[2]
    assert peak < 1_000_000


def test_a_class_counts_though_a_value_that_is_open_has_one_of_it() -> None:
    cell = "class Part:\n size = {0}\nclass Held:\n a = [Part(), (one for one in 'ab')]\n b = Part()"
    found = []
    for size in (1, 1, 2):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(cell.format(size), namespace)
        found.append(state_of(namespace["Held"]))
    assert found[0] == found[1] != found[2]


def test_an_iterator_has_another_state_once_it_was_read() -> None:
    numbers = iter([1, 2])
    before = state_of(numbers)
    assert state_of(numbers) == before
    assert next(numbers) == 1
    assert state_of(numbers) != before
