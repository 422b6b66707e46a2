"""How values of the notebook are written in a prompt."""

from __future__ import annotations

import enum
import json
from array import array
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from plotly import graph_objects
from prompt_values import REPLY, Plain, Url, halve, run_alone, text_of
from pydantic import BaseModel

from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import as_prompt, json_of

pytestmark = pytest.mark.short

MASKED = attrs.field(repr=lambda _: "*")


@dataclass
class Point:
    x: int
    when: date


class Movie(BaseModel):
    title: str
    year: int = 1979


class Found(tuple[float, float]):
    """As the results of SciPy: its dict has more than the tuple, and private parts."""

    _fields = ("statistic", "_1")

    def _asdict(self) -> dict[str, Any]:
        return {"statistic": self[0], "_1": self[1], "df": 4, "_xp": "a module"}


class Pay(NamedTuple):
    name: str
    pay: float


class Measured(BaseModel):
    low: float


class Mood(enum.Enum):
    GOOD = "good"


SIMPLE: list[tuple[Any, str]] = [
    ("text {{ x }} $y$", "text {{ x }} $y$"),
    (None, ""),
    (UserString("a"), "a"),
    (pd.NaT, ""),
    (1.5, "1.5"),
    (True, "True"),
    (np.float64(2.5), "2.5"),
    (Plain(), "plainly"),
    (Mood.GOOD, "Mood.GOOD"),
    ({"a": 1, "b": [None, True]}, '{"a": 1, "b": [null, true]}'),
    ([1, "é"], '[1, "é"]'),
    ((1, 2), "[1, 2]"),
    (OrderedDict(a=1), '{"a": 1}'),
    ({1: date(2026, 1, 2), "n": np.int64(3)}, '{"1": "2026-01-02", "n": 3}'),
    (Point(1, date(2026, 1, 2)), '{"x": 1, "when": "2026-01-02"}'),
    (Movie(title="Alien"), '{"title": "Alien", "year": 1979}'),
    ([Movie(title="Alien")], '[{"title": "Alien", "year": 1979}]'),
    (Measured(low=float("-inf")), '{"low": "-inf"}'),
    (Pay("Bo", float("inf")), '{"name": "Bo", "pay": "inf"}'),
    (Found((1.5, 2.5)), '{"statistic": 1.5, "_1": 2.5, "df": 4}'),
    ([Pay("Bo", 3)], '[{"name": "Bo", "pay": 3}]'),
    (next(pd.DataFrame({"name": ["Bo"], "pay": [3]}).itertuples()), '{"Index": 0, "name": "Bo", "pay": 3}'),
    (halve, 'def halve(x: float) -> float:\n    """Halve it."""\n    return x / 2'),
    (Plain, 'class Plain:\n    def __str__(self) -> str:\n        return "plainly"'),
    (REPLY, "the answer"),
    ([REPLY], '["the answer"]'),
    ({"a": REPLY}, '{"a": "the answer"}'),
]


@pytest.mark.parametrize(("value", "text"), SIMPLE, ids=[type(one[0]).__name__ for one in SIMPLE])
def test_a_simple_value_is_written_as_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_reply_as_json_is_its_text() -> None:
    assert json_of({"a": [REPLY]}) == '{"a": ["the answer"]}'


def test_a_class_of_the_user_is_not_missing_because_of_its_name() -> None:
    for name in ("PriceScalar", "NAType", "NaTType", "MaskedConstant"):
        value = type(name, (), {"is_valid": False, "__str__": lambda _: "3 EUR"})()
        assert text_of(value) == "3 EUR"
        assert render("{{ 'x' ~ v }}{{ v or 'nothing' }}", {"v": value}) == "x3 EUR3 EUR"


def test_a_subclass_is_shown_as_its_base() -> None:
    class Frame(pd.DataFrame):
        pass

    assert text_of(Frame({"a": [1]})).endswith("a\n1")


class Proxy:
    """A proxy as wrapt makes it."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


@pytest.mark.parametrize("template", ["{{ x }}", "{{ [x] }}", "{{ 'a' ~ x }}", "{{ x | tojson }}"])
@pytest.mark.parametrize("value", [pd.DataFrame({"a": range(100)}), pl.Series([1, 2]), Point(1, date(2026, 1, 2))],
                         ids=lambda one: type(one).__name__)  # fmt: skip
def test_a_proxy_is_what_it_stands_for(template: str, value: Any) -> None:
    assert render(template, {"x": Proxy(value)}) == render(template, {"x": value})


def test_an_address_in_a_text_is_left_out() -> None:
    """It is another one in each process, and so would be the prompt."""
    assert (
        text_of(type("Own", (), {"__str__": lambda _: "f(<a.B object at 0x7f12ab3456>, 1)"})()) == "f(<a.B object>, 1)"
    )


@pytest.mark.parametrize("template", ["{{ 'x' ~ value }}", "{{ ['x', value] | join }}", "{{ 'x%s' | format(value) }}"])
def test_a_value_has_its_own_form_in_a_text(template: str) -> None:
    kind = type("Word", (str,), {})
    as_prompt.register(kind, lambda value: f"word {str.__str__(value)}")
    assert render(template, {"value": kind("a")}) == "xword a"
    frame = pd.DataFrame({"a": [1, Url()]})
    assert render(template, {"value": frame}) == f"x{text_of(frame)}"
    framed = type("Framed", (), {})
    as_prompt.register(framed, lambda _: frame)  # type: ignore[arg-type]
    assert render(template, {"value": framed()}) == f"x{text_of(frame)}"


def test_an_exception_shows_its_traceback() -> None:
    try:
        halve("x")  # type: ignore[arg-type]
    except TypeError as error:
        text = text_of(error)
    assert text.startswith("Traceback (most recent call last):")
    assert "return x / 2" in text
    assert text.splitlines()[-1].startswith("TypeError: unsupported operand")


def test_a_traceback_does_not_say_where_packages_are_installed() -> None:
    try:
        pd.DataFrame()["x"]
    except KeyError as error:
        text = text_of(error)
    assert 'File "pandas/core/' in text
    assert "site-packages" not in text


@pytest.mark.parametrize("value", [pd.Timedelta("1h30min"), timedelta(hours=1), np.timedelta64(3, "D")])
def test_a_duration_is_the_same_text_in_a_list(value: Any) -> None:
    assert text_of([value]) == f'["{text_of(value)}"]'


def test_numbers_of_numpy_are_written_shortly_in_json() -> None:
    values = {
        "f": np.float32(0.1), "l": np.longdouble(1.5), "i": np.int8(3), "b": np.bool_(True), "s": np.str_("s"),
        "n": np.float32("nan"), "d": np.datetime64("2026-01-02T00:00:00.000000000"), "z": np.array(2.5),
    }  # fmt: skip
    assert json.loads(text_of(values)) == {
        "f": 0.1, "l": 1.5, "i": 3, "b": True, "s": "s", "n": None, "d": "2026-01-02T00:00:00.000000000", "z": 2.5,
    }  # fmt: skip


def test_values_that_json_does_not_have_are_described() -> None:
    class Own:
        """A type that the user has registered."""

    as_prompt.register(Own, lambda value: "an Own")
    assert text_of({"a": Own()}) == '{"a": "an Own"}'
    assert text_of({1: "i", "1": "s"}) == '{"1": "i", "\'1\'": "s"}'
    assert text_of([10**5000]) == '["an integer of about 4,983 digits"]'
    assert text_of(10**5000) == "an integer of about 4,983 digits"
    assert text_of(deque([1, 2])) == "[1, 2]"


class Quantity:
    """A number with a unit, as of Astropy: its item has the unit too."""

    shape = ()

    def item(self) -> Quantity:
        return Quantity()

    def __str__(self) -> str:
        return "3 m"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # A list that was written to parquet and read again.
        (np.array(["a", None], dtype=object), '["a", null]'),
        ({"tags": np.array(["a", "b"], dtype=object)}, '{"tags": ["a", "b"]}'),
        (pd.Series(["x", "y", "x"], dtype="category").unique(), '["x", "y"]'),
        (pd.Index(["x", "y"]), '["x", "y"]'),
        (pd.MultiIndex.from_tuples([("a", 1)]), '[["a", 1]]'),
        (pd.array([1, None], dtype="Int64"), "[1, null]"),
        (pa.array([1, None]), "[1, null]"),
        (pa.chunked_array([["a"], ["b"]]), '["a", "b"]'),
        ({"index": pd.Index([3, 4])}, '{"index": [3, 4]}'),
        # The order of a set differs in each process.
        ({"good", "bad", "mixed"}, '["bad", "good", "mixed"]'),
        # Containers of other classes, whose own texts are those of Python.
        ({"b": np.nan, "a": 1}.values(), "[null, 1]"),
        ({"b": 2, "a": 1}.keys(), '["b", "a"]'),
        ({"a": 1}.items(), '[["a", 1]]'),
        (UserList([1, None]), "[1, null]"),
        ([UserString("a")], '["a"]'),
        (graph_objects.Figure().layout, "{}"),
        (array("i", [1, 2]), "[1, 2]"),
        (UserDict(a=pd.NA), '{"a": null}'),
        (ChainMap({"a": 1}), '{"a": 1}'),
        (MappingProxyType({"a": {2, 1}}), '{"a": [1, 2]}'),
        (SimpleNamespace(a=None), '{"a": null}'),
        (attrs.make_class("Row", ["a"])(pd.NaT), '{"a": null}'),
        (graph_objects.Figure(graph_objects.Bar(x=[1])).data, '[{"x": [1], "type": "bar"}]'),
        (frozenset({2, 1}), "[1, 2]"),
        ({"labels": {"b", "a"}}, '{"labels": ["a", "b"]}'),
        ({"a", 1}, '[1, "a"]'),
        ([Quantity()], '["3 m"]'),
    ],
)
def test_a_list_in_another_form_is_its_items(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_groups_of_jinja_are_json() -> None:
    rows = [{"x": 1, "n": "a"}]
    assert render("{% for one in rows|groupby('n') %}{{ one }}{% endfor %}", {"rows": rows}) == (
        '{"grouper": "a", "list": [{"x": 1, "n": "a"}]}'
    )


class Pairs(UserDict[str, int]):
    """A mapping that may have a key several times, as of multidict."""

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "a", "a", "b"])

    def getall(self, key: str) -> tuple[int, ...]:
        return (1, 2, 3) if key == "a" else (4,)


@pytest.mark.parametrize("value", [Pairs(a=1, b=4), httpx.QueryParams("a=1&a=2&a=3&b=4")])
def test_a_key_that_a_mapping_has_several_times_has_all_its_values(value: Any) -> None:
    for text in (text_of(value), json_of(value), str(render("{{ x }}", {"x": value}))):
        assert text.replace('"', "") == "{a: [1, 2, 3], b: 4}"


def test_items_that_are_left_out_are_counted() -> None:
    assert "999 more" in text_of(pd.Index([f"name {number}" for number in range(1999)]))


def test_a_range_longer_than_any_list_is_shown_by_its_start() -> None:
    shown = json.loads(text_of(pd.RangeIndex(10**12)))
    assert shown[:3] == [0, 1, 2]
    assert shown[-1] == "[... 999,999,999,000 more left out ...]"


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_the_text_of_long_and_recursive_containers_is_bounded() -> None:
    text = text_of(list(range(5000)))
    assert "4,000 more left out" in text
    assert len(text) < 20_000
    loop: list[Any] = [1]
    loop.append(loop)
    assert text_of(loop) == '[1, "..."]'
    assert '"..."' in text_of(_nested(100))
    assert json.loads(text_of({str(number): number for number in range(50)}))["49"] == 49


# The start of an image without its end is refused.
binary = st.binary().filter(lambda data: not data.startswith((b"\x89PNG", b"\xff\xd8\xff")))
json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.dates(),
    lambda inner: (
        st.lists(inner | binary) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(json_like)
def test_any_container_becomes_text(value: object) -> None:
    assert isinstance(as_prompt(value), str)


def test_the_module_imports_none_of_the_packages_whose_types_it_knows() -> None:
    packages = ["pandas", "polars", "narwhals", "numpy", "matplotlib", "PIL", "IPython", "pydantic", "jinja2"]
    code = f"import sys, wandb_inference_magic.prompts.values; print([one for one in {packages} if one in sys.modules])"
    assert run_alone(code) in ("[]", "['IPython']")
