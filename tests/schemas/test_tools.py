"""Functions as tools: their definitions, the arguments that they receive, the results that are sent back."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import json
import operator
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pandas as pd
import pytest
from hypothesis import example, given, strategies as st
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import Self, TypedDict

from wandb_inference_magic.concurrency import coroutines
from wandb_inference_magic.engine import format_result
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import ToolCall, ToolStep
from wandb_inference_magic.prompts import Image
from wandb_inference_magic.schemas import tools
from wandb_inference_magic.schemas.tool_schema import describe
from wandb_inference_magic.schemas.tools import MAX_RESULT_CHARS, Toolbox, read_tools, toolbox_of

pytestmark = pytest.mark.short


def step(function: Callable[..., Any], arguments: str = "", **options: Any) -> ToolStep:
    box = toolbox_of([function], **options)
    return box.run(ToolCall("call_1", box.names[0], arguments))


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return toolbox_of([function]).definitions[0]["function"]["parameters"]


def test_a_method_without_its_object_is_no_tool() -> None:
    class Table:
        def search(self, word: str) -> str:
            return word

    with pytest.raises(InferenceError, match="search cannot be a tool") as refused:
        toolbox_of([Table.search])
    assert refused.value.why == "It is a method without its object."
    assert list(parameters(Table().search)["properties"]) == ["word"]


def test_a_text_in_annotated_describes_a_parameter() -> None:
    def weather(city: Annotated[str, "The city."], day: Annotated[str, "Not this."] = "") -> str:
        """Return the weather.

        Args:
            day: The day.
        """
        return city + day

    properties = parameters(weather)["properties"]
    assert [properties[name]["description"] for name in ("city", "day")] == ["The city.", "The day."]


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


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


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


# --- definitions


def test_a_definition_contains_name_description_and_parameters() -> None:
    def weather(city: str, days: int = 3, exact: bool = False) -> str:
        """Tell the weather."""
        return city

    assert toolbox_of([weather]).definitions == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tell the weather.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string"},
                        "days": {"type": "integer", "default": 3},
                        "exact": {"type": "boolean", "default": False},
                    },
                    "required": ["city"],
                    "additionalProperties": False,
                },
            },
        }
    ]


def test_a_function_without_parameters_and_docstring_has_a_definition() -> None:
    def now() -> str:
        return "now"

    definition = toolbox_of([now]).definitions[0]["function"]
    assert definition["parameters"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert "now" in definition["description"]


def numpydoc(city, days=1, *, unit="C"):
    """Tell the weather.

    Of a city, for some days.

    Parameters
    ----------
    city : str
        The city,
        in English.
    days, unit : int or str, optional
        What it says.

    Returns
    -------
    str
        city : not this
    """


def google(city, days=1, *, unit="C"):
    """Tell the weather.

    Of a city, for some days.

    Args:
        city (str): The city,
            in English.
        days: What it says.
        unit (Literal["C", "F"], optional): What it says.

    Returns:
        city: not this
    """


def sphinx(city, days=1, *, unit="C"):
    """Tell the weather.

    Of a city, for some days.

    :param str city: The city,
        in English.
    :param days: What it says.
    :param unit: What it says.
    :returns: city: not this
    """


def epydoc(city, days=1, *, unit="C"):
    """Tell the weather.

    Of a city, for some days.

    @param city: The city,
        in English.
    @type city: str
    @param days: What it says.
    @param unit: What it says.
    @return: city: not this
    """


@pytest.mark.parametrize("function", [numpydoc, google, sphinx, epydoc], ids=lambda function: function.__name__)
def test_docstrings_describe_the_function_and_its_parameters(function: Callable[..., Any]) -> None:
    description, _, returns = description_of(function).partition("\n\nReturns: ")
    assert description == "Tell the weather.\n\nOf a city, for some days."
    assert re.sub("^city ?: ", "", returns) == ("" if function is epydoc else "not this")
    definition = {name: of["description"] for name, of in parameters(function)["properties"].items()}
    assert definition == {"city": "The city, in English.", "days": "What it says.", "unit": "What it says."}


def test_a_docstring_can_have_notes_for_the_model() -> None:
    def tool(a, b):
        """Do it.

        Args:
            `a`: one
            b: two

        Returns:
            float: The temperature in kelvin.
        """

    def noted(a):
        """Do it.

        Parameters
        ----------
        a : int
            one

        Attributes
        ----------
        a : int
            not this

        Notes
        -----
        Call it once.

        Examples
        --------
        >>> noted(1)
        """

    assert description_of(tool) == "Do it.\n\nReturns: The temperature in kelvin."
    assert {name: of["description"] for name, of in parameters(tool)["properties"].items()} == {"a": "one", "b": "two"}
    assert description_of(noted) == "Do it.\n\nNotes: Call it once."
    assert parameters(noted)["properties"]["a"]["description"] == "one"


def test_a_partial_that_has_the_name_of_its_function_keeps_what_is_bound() -> None:
    def tool(prefix: str, text: str, ending: str = "!") -> str:
        """Join."""
        return f"{prefix}{text}{ending}"

    bound = functools.update_wrapper(functools.partial(tool, "Hello "), tool)
    assert list(parameters(bound)["properties"]) == ["text", "ending"]
    assert step(bound, '{"text": "Ann"}').result == "Hello Ann!"


def test_a_decorator_that_takes_names_only_gets_them() -> None:
    def tool(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @functools.wraps(tool)
    def wrapped(**given: int) -> int:
        return tool(**given)

    assert step(wrapped, '{"a": 1}').result == "3"


def test_a_docstring_that_cannot_be_parsed_is_the_description() -> None:
    def tool(a, b):
        """Do it.

        Args:
            a: one
            here is no colon
            b: two
        """

    assert description_of(tool) == "Do it.\n\nArgs:\n    a: one\n    here is no colon\n    b: two"
    assert parameters(tool)["properties"]["a"] == {"description": "Any JSON value."}


def test_keyword_arguments_have_a_separate_section() -> None:
    def tool(a, *, c=1):
        """Do it.

        Args:
            a: one

        Keyword Args:
            c: three
        """

    descriptions = {name: of["description"] for name, of in parameters(tool)["properties"].items()}
    assert (description_of(tool), descriptions) == ("Do it.", {"a": "one", "c": "three"})


def test_a_long_docstring_is_cut() -> None:
    def long() -> None: ...

    long.__doc__ = "word " * 1_000
    assert len(description_of(long)) == 1_000
    assert description_of(long).endswith("…")


@given(st.text(alphabet=st.sampled_from(" \n\t-:()*ax,ArgsParameters")) | st.text())
@example("Args:\n")
@example("Parameters\n----\n")
@example("---\n---")
def test_any_docstring_gives_a_definition(docstring: str) -> None:
    def documented(a: int) -> None: ...

    documented.__doc__ = docstring
    assert json.dumps(toolbox_of([documented]).definitions)
    assert parameters(documented)["properties"]["a"]["type"] == "integer"


def test_the_annotation_overrides_the_docstring() -> None:
    def search(text: Annotated[str, Field(description="words to find", min_length=2)], most: int) -> None:
        """Search.

        Args:
            text: not this
            most: How many at most.
        """

    schema = parameters(search)["properties"]
    assert schema["text"] == {"type": "string", "minLength": 2, "description": "words to find"}
    assert schema["most"] == {"type": "integer", "description": "How many at most."}


def test_generated_titles_are_removed() -> None:
    def add(title: str, who: Person, size: Size) -> None: ...

    schema = parameters(add)
    assert schema["properties"]["title"] == {"type": "string"}
    assert schema["$defs"]["Person"]["properties"]["title"] == {"type": "string"}
    assert not {"title", "description"} & set(schema)
    assert "title" not in schema["$defs"]["Person"]
    assert "title" not in schema["$defs"]["Size"]["properties"]["width"]


class title(BaseModel):
    order: dict[str, str] = {"title": "up"}
    key: Any = len


def test_fields_and_values_named_title_are_kept() -> None:
    def sort(by: title) -> None: ...

    schema = parameters(sort)
    assert schema["properties"]["by"]["$ref"] == "#/$defs/title"
    assert schema["$defs"]["title"]["properties"]["order"]["default"] == {"title": "up"}
    assert schema["$defs"]["title"]["properties"]["key"] == {}


@pytest.mark.parametrize("default", [object(), float("nan"), pd.DataFrame({"a": [1]}), "x" * 5_000, {1, object()}])
def test_a_default_that_is_not_json_is_used_but_not_sent(default: object) -> None:
    def plain(a=default, b=1):
        return [a]

    schema = parameters(plain)
    assert "default" not in schema["properties"]["a"]
    assert schema["properties"]["b"]["default"] == 1
    assert "required" not in schema
    assert received(plain, {})[0] is default


# --- arguments


@pytest.mark.parametrize(
    ("annotation", "sent", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, 4, 4),
        (int | str, "4", "4"),
        (Literal["a", "b"], "b", "b"),
        (Colour, "blue", Colour.BLUE),
        (Literal[Colour.RED], "red", Colour.RED),
        (list[Point], [{"x": 1}, {"x": 2, "y": 3}], [Point(1), Point(2, 3)]),
        (dict[str, date], {"a": "2026-10-07"}, {"a": date(2026, 10, 7)}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (Point, {"x": 1, "y": 2}, Point(1, 2)),
        (Person, {"title": "Dr", "born": "1990-01-02"}, Person(title="Dr", born=date(1990, 1, 2))),
        (Size, {"width": 3}, {"width": 3}),
        (datetime, "2026-10-07T12:00:00", datetime(2026, 10, 7, 12)),
        (Annotated[int, Field(ge=1, alias="other", title="T")], 1, 1),
        (Any, {"a": [None]}, {"a": [None]}),
        (object, [1], [1]),
        ("Point", {"x": 1}, Point(1)),
        ("list[Point | None]", [None, {"x": 1}], [None, Point(1)]),
    ],
    ids=str,
)
def test_arguments_are_converted_to_their_annotated_types(annotation: Any, sent: object, expected: object) -> None:
    def tool(value):
        return [value]

    tool.__annotations__ = {"value": annotation}
    (value_received,) = received(tool, {"value": sent})
    assert value_received == expected
    assert type(value_received) is type(expected)


@given(st.integers(-(10**30), 10**30), st.text())
def test_any_number_and_any_text_are_passed_unchanged(a: int, b: str) -> None:
    assert received(both, {"a": a, "b": b}) == (a, b)
    assert received(both, {"a": a}) == (a, "x")


@given(st.text() | st.text(alphabet='{}[]":,ab0123.-\\u \n'))
@example("")
@example("[" * 100_000)
@example('{"a": ' + "9" * 10_000 + "}")
@example('{"a": NaN}')
@example("\ud800")
@example('{"a": 1, "b": "\\ud800"}')
@example('{"argument_0": 1}')
def test_any_arguments_give_a_result(arguments: str) -> None:
    done = step(both, arguments, show=repr)
    assert done.ok == done.result.startswith("(")
    assert json.dumps(done.message, ensure_ascii=False).encode()


def test_half_a_surrogate_pair_in_the_arguments_is_replaced() -> None:
    assert step(both, '{"a": 1, "b": "\ud800"}', show=repr).result == "(1, '\ufffd')"


def test_annotations_are_resolved_through_a_decorator_of_another_module() -> None:
    namespace: dict[str, Any] = {"functools": functools}
    code = "def same(f):\n    @functools.wraps(f)\n    def g(*a, **k): return f(*a, **k)\n    return g"
    exec(code, namespace)

    def tool(p: Point):
        return [p]

    assert tool.__annotations__ == {"p": "Point"}
    assert received(namespace["same"](tool), {"p": {"x": 1}}) == [Point(1)]


def test_the_reason_why_an_object_cannot_be_a_tool_ends_in_one_full_stop() -> None:
    class Strange:
        @classmethod
        def __get_pydantic_core_schema__(cls, *_: object) -> None:
            raise TypeError("It is strange.")

    def tool(value) -> None: ...

    tool.__annotations__["value"] = Strange
    with pytest.raises(InferenceError) as refused:
        toolbox_of([tool])
    assert "It is strange. Annotate" in str(refused.value)


def test_parameters_may_have_names_that_pydantic_uses_itself() -> None:
    def tool(schema, copy, json, model_config, _private, model_fields, validate, /, cls=0, *, __len__=1, argument_0=2):
        return [schema, copy, json, model_config, _private, model_fields, validate, cls, __len__, argument_0]

    names = ["schema", "copy", "json", "model_config", "_private", "model_fields", "validate", "cls", "__len__"]
    sent = {name: position for position, name in enumerate([*names, "argument_0"])}
    assert list(parameters(tool)["properties"]) == [*names, "argument_0"]
    assert received(tool, sent) == list(range(10))


def test_positional_only_parameters_may_have_defaults() -> None:
    def tool(a, b=2, c=3, /, d=4, *, e=5):
        return [a, b, c, d, e]

    assert received(tool, {"a": 1, "c": 30}) == [1, 2, 30, 4, 5]
    assert received(tool, {"a": 1, "e": 50, "d": 40}) == [1, 2, 3, 40, 50]


def test_extra_arguments_are_not_offered() -> None:
    def tool(a: int, **others: date):
        return [a, others]

    assert list(parameters(tool)["properties"]) == ["a"]
    assert received(tool, {"a": 1}) == [1, {}]
    assert "z: Extra inputs are not permitted" in step(tool, '{"a": 1, "z": "soon"}').result


def test_a_field_that_a_dataclass_sets_itself_is_no_parameter() -> None:
    @dataclass
    class Sum:
        a: int
        twice: int = field(init=False, default=0)

    def tool(value: object) -> None: ...

    tool.__annotations__["value"] = Sum
    assert list(parameters(tool)["$defs"]["Sum"]["properties"]) == ["a"]


def test_a_default_of_none_allows_null() -> None:
    def tool(a: int = None):  # noqa: RUF013
        return [a]

    assert received(tool, {"a": None}) == [None]
    assert received(tool, {"a": 1}) == [1]
    assert received(tool, {}) == [None]


def test_a_default_of_the_annotation_is_used() -> None:
    def tool(a: Annotated[int, Field(default=7)]):
        return [a]

    assert received(tool, {}) == [7]


def test_a_field_as_the_default_describes_its_parameter() -> None:
    def tool(
        city: str = Field(description="English name"),
        days: int = Field(default=3, ge=1, le=7),
        tags: list[str] = Field(default_factory=list),  # noqa: B008
        note: str = Field(None),
        other=Field(4),  # noqa: B008
    ):
        return [city, days, tags, note, other]

    schema = parameters(tool)
    assert schema["required"] == ["city"]
    assert schema["properties"]["city"] == {"type": "string", "description": "English name"}
    assert schema["properties"]["days"] == {"type": "integer", "default": 3, "minimum": 1, "maximum": 7}
    assert received(tool, {"city": "Oslo"}) == ["Oslo", 3, [], None, 4]
    assert received(tool, {"city": "Oslo", "days": 5, "note": None}) == ["Oslo", 5, [], None, 4]
    assert "days" in step(tool, '{"city": "Oslo", "days": 8}').result


def test_the_default_of_the_function_overrides_that_of_the_annotation() -> None:
    def tool(a: Annotated[int, Field(default=7)] = 3):
        return [a]

    assert parameters(tool)["properties"]["a"]["default"] == 3
    assert received(tool, {}) == [3]


def test_methods_partials_objects_and_decorated_functions_are_tools() -> None:
    class Shop:
        """A shop."""

        def __init__(self, stock: int) -> None:
            self.stock = stock

        def count(self, more: int = 0) -> list[int]:
            """Count what is there."""
            return [self.stock + more]

        def __call__(self, less: int) -> list[int]:
            return [self.stock - less]

        @classmethod
        def open(cls, day: date) -> list[object]:
            return [cls, day]

        @staticmethod
        def close(day: date) -> list[object]:
            return [day]

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return [*function(*args, **kwargs), "logged"]

        return wrapper

    shop = Shop(5)
    assert toolbox_of([shop.count, shop, Shop.open]).names == ("count", "Shop", "open")
    assert description_of(shop.count) == "Count what is there."
    assert description_of(shop) == "A shop."
    assert received(shop.count, {"more": 2}) == [7]
    assert received(shop, {"less": 2}) == [3]
    assert received(Shop.open, {"day": "2026-10-07"}) == [Shop, date(2026, 10, 7)]
    assert received(Shop.close, {"day": "2026-10-07"}) == [date(2026, 10, 7)]
    assert received(logged(both), {"a": 1}) == [1, "x", "logged"]
    assert received(functools.lru_cache(both), {"a": 1}) == (1, "x")
    assert received(functools.partial(both, 4), {"b": "y"}) == (4, "y")
    assert toolbox_of([functools.partial(both, 4)]).names == ("both",)
    assert received(Point, {"x": 1}) == Point(1)
    assert received(operator.add, {"a": [1], "b": [2]}) == [1, 2]


def test_arguments_bound_by_the_user_cannot_be_set_by_the_model() -> None:
    def select(frame: pd.DataFrame, column: str, **options: Any) -> list[object]:
        return [len(frame), column, options]

    bound = functools.partial(select, frame=pd.DataFrame({"a": [1, 2]}), safe=True)
    assert list(parameters(bound)["properties"]) == ["column"]
    assert received(bound, {"column": "a"}) == [2, "a", {"safe": True}]
    for sent in ('{"column": "a", "safe": false}', '{"column": "a", "frame": []}'):
        refused = step(bound, sent)
        assert not refused.ok
        assert "not permitted" in refused.result


# --- functions that cannot be tools


def with_frame(text: str, frame: pd.DataFrame) -> None: ...


def with_callback(text: str, callback: Callable[[], None]) -> None: ...


def with_args(*words: str) -> None: ...


def with_unknown(where: "NotDefined") -> None: ...  # noqa: F821, UP037


def with_self(where: Self) -> None: ...


def with_text_annotation(where: "the city") -> None: ...  # noqa: F722


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (with_frame, ["with_frame", "parameter frame", "DataFrame", "functools.partial"]),
        (with_callback, ["with_callback", "parameter callback"]),
        (with_args, ["with_args", "parameter *words"]),
        (with_unknown, ["with_unknown", "parameter where", "'NotDefined' is not defined"]),
        (with_text_annotation, ["with_text_annotation", "parameter where"]),
        (with_self, ["with_self", "parameter where"]),
        (lambda: 1, ["<lambda>", "Give it a name"]),
        (iter, ["iter", "Write a small function"]),
        (print, ["print"]),
        (5, ["type int"]),
        ("both", ["type str"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_object_that_cannot_be_a_tool_is_refused(function: Any, expected: list[str]) -> None:
    with pytest.raises(InferenceError) as refused:
        toolbox_of([both, function])
    assert refused.value.cause == "option"
    assert refused.value.remedy
    for fragment in expected:
        assert fragment in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "größe", "x" * 65, "a.b", "f\n"])
def test_an_invalid_tool_name_is_refused(name: str) -> None:
    def tool() -> None: ...

    tool.__name__ = name
    with pytest.raises(InferenceError, match="cannot be a tool"):
        toolbox_of([tool])


def test_two_tools_with_the_same_name_are_refused() -> None:
    def other() -> None: ...

    other.__name__ = "both"
    with pytest.raises(InferenceError, match="Two tools are called both"):
        toolbox_of([both, other])


# --- names in --tools


class Table:
    def search(self, text: str) -> str:
        return f"found {text}"

    @property
    def broken(self) -> str:
        raise RuntimeError("no connection")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("both", ("both",)),
        ("both,table.search", ("both", "table_search")),
        (" short , both ", ("short", "both")),
    ],
)
def test_tools_are_looked_up_by_their_names_in_the_notebook(text: str, names: tuple[str, ...]) -> None:
    box = read_tools(text, {"both": both, "table": Table(), "short": lambda: 1, "other": print})
    assert box.names == names
    assert [each["function"]["name"] for each in box.definitions] == list(names)


def test_only_a_named_tool_can_be_run() -> None:
    box = read_tools("table.search", {"table": Table(), "both": both})
    assert box.run(ToolCall("1", "table_search", '{"text": "x"}')).result == "found x"
    refused = box.run(ToolCall("1", "both", '{"a": 1}'))
    assert (refused.ok, refused.result) == (False, "There is no tool both. There are: table_search.")


@pytest.mark.parametrize(
    "name",
    ["weather", "functions.weather", "functions.weather:0", "default_api.weather", "weather<|channel|>commentary"],
)
def test_a_tool_is_found_under_the_names_that_models_write(name: str) -> None:
    def weather() -> str:
        return "sunny"

    def forecast() -> str:
        return "rain"

    box = toolbox_of([weather, forecast])
    assert box.run(ToolCall("1", name, "{}")).result == "sunny"
    assert not box.run(ToolCall("1", "weather.forecast", "{}")).ok
    assert not box.run(ToolCall("1", "weathers", "{}")).ok


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "No tool is named"),
        (" , ", "No tool is named"),
        ("both,,x", "name is missing"),
        ("both,both", "Two tools are called both"),
        ("bth", "Did you mean both?"),
        ("nothing_like_it", "nothing called"),
        ("frame", "type DataFrame"),
        ("table.serch", "Did you mean search?"),
        ("table.broken", "no connection"),
        ("both()", "expressions are not evaluated"),
        ("both both", "expressions are not evaluated"),
        ("table.", "expressions are not evaluated"),
        ("__import__('os')", "expressions are not evaluated"),
        ("len", "nothing called"),
        ("größe", "cannot be a tool"),
    ],
)
def test_an_invalid_tool_list_is_refused(text: str, expected: str) -> None:
    namespace = {"both": both, "frame": pd.DataFrame(), "table": Table(), "größe": both}
    with pytest.raises(InferenceError) as refused:
        read_tools(text, namespace)
    assert expected in str(refused.value)
    assert refused.value.cause == "option"
    assert refused.value.remedy


def test_only_callables_are_suggested() -> None:
    with pytest.raises(InferenceError) as refused:
        read_tools("fit", {"fit_": 3, "_fit": both})
    assert "Did you mean" not in str(refused.value)


# --- results


def test_a_step_contains_the_message_that_answers_its_call() -> None:
    done = toolbox_of([both], show=repr).run(ToolCall("call_7", "both", '{"a": 1}'))
    assert done.message == {"role": "tool", "tool_call_id": "call_7", "content": "(1, 'x')"}
    assert done.call == ToolCall("call_7", "both", '{"a": 1}')
    assert done.ok
    assert 0 <= done.seconds < 10


def test_the_seconds_of_a_step_measure_the_tool() -> None:
    def slow() -> None:
        time.sleep(0.05)

    assert step(slow).seconds >= 0.05


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ('{"xs": "[1, 2]", "o": "{\\"a\\": 1}"}', ([1, 2], {"a": 1}, "x", None)),
        ('{"xs": ["1", 2], "text": 5}', ([1, 2], {}, "5", None)),
        ('{"xs": [1], "o": null, "text": null}', ([1], {}, "x", None)),
        ('{"xs": "[1]", "o": null, "day": "2024-01-05"}', ([1], {}, "x", date(2024, 1, 5))),
    ],
)
def test_arguments_in_other_forms_are_read_as_answers_are(arguments: str, received: tuple[Any, ...]) -> None:
    called: list[Any] = []

    def tool(xs: list[int], o: dict[str, int] = {}, text: str = "x", day: date | None = None) -> None:  # noqa: B006
        called.append((xs, o, text, day))

    assert step(tool, arguments).ok
    assert called == [received]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{", "The arguments are not JSON: "),
        ("nonsense", "The arguments are not JSON: "),
        ("[1]", "The arguments are not a JSON object."),
        ("null", "The arguments are not a JSON object."),
        ('{"a": "many"}', "- a: Input should be a valid integer"),
        ("{}", "- a: Field required"),
        ("", "- a: Field required"),
        ('{"a": 1, "c": 2}', "- c: Extra inputs are not permitted"),
        ('{"a": 1, "b": [2]}', "- b: Input should be a valid string"),
    ],
)
def test_wrong_arguments_are_reported_to_the_model(arguments: str, expected: str) -> None:
    called: list[int] = []

    def tool(a: int, b: str = "x") -> None:
        called.append(a)

    refused = step(tool, arguments)
    assert not refused.ok
    assert expected in refused.result
    assert "pydantic" not in refused.result
    assert not called


def test_only_the_first_of_many_problems_are_reported() -> None:
    refused = step(both, json.dumps({f"z{number}": 1 for number in range(100)}))
    assert len(refused.result.splitlines()) == 12
    assert refused.result.endswith("and 91 more")


def test_an_empty_toolbox_has_no_tool() -> None:
    box = Toolbox([])
    assert (box.names, box.definitions) == ((), [])
    assert box.run(ToolCall("1", "f", "{}")).result == "There is no tool f. There are none."


@pytest.mark.parametrize("arguments", ["", "  \n", "{}"])
def test_empty_arguments_call_the_tool_without_arguments(arguments: str) -> None:
    def tool() -> str:
        return "called"

    assert step(tool, arguments).result == "called"


def test_a_text_result_is_unchanged_and_any_other_is_formatted() -> None:
    def identity(value):
        return value

    assert step(identity, '{"value": "a"}', show=repr).result == "a"
    assert step(identity, '{"value": null}').result == "None"
    assert step(identity, '{"value": [1]}', show=lambda value: f"<{value}>").result == "<[1]>"


def test_a_long_result_is_cut_visibly() -> None:
    def long() -> str:
        return "x" * 53_210

    done = step(long)
    assert done.ok
    assert done.result.startswith("x" * MAX_RESULT_CHARS + "\n…")
    assert "20,000 of 53,210" in done.result
    assert len(done.result) < MAX_RESULT_CHARS + 100
    assert done.notices == (
        "The result of the tool long was cut: the model got the first 20,000 of 53,210 characters.",
    )


def test_half_a_surrogate_pair_in_a_result_is_replaced() -> None:
    def half_a_pair() -> str:
        return "a\ud800b"

    assert step(half_a_pair).result == "a\ufffdb"


def test_the_error_of_a_tool_is_reported_with_the_lines_of_the_users_code() -> None:
    def inner(text: str) -> None:
        json.loads(text)

    def outer(text: str) -> None:
        inner(text)

    failed = step(outer, '{"text": "{"}')
    assert not failed.ok
    first, *lines = failed.result.splitlines()
    assert "JSONDecodeError: Expecting property name" in first
    assert [line.split(", line ")[0] for line in lines] == ["  in outer", "  in inner"]
    assert lines[1].endswith(": json.loads(text)")
    assert ".py" not in failed.result


class ErrorWithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TypeError("a message"), "TypeError: a message\n"),
        (SystemExit(3), "SystemExit: 3\n"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit\n"),
        (RecursionError("deep"), "RecursionError: deep\n"),
        (InferenceError("What.", why="Why.", cause="busy"), "InferenceError: What. Why.\n"),
        (ErrorWithoutText(), "ErrorWithoutText: "),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_any_exception_of_a_tool_is_reported(error: BaseException, expected: str, asynchronous: bool) -> None:
    def tool() -> None:
        raise error

    async def asynchronous_tool() -> None:
        raise error

    failed = step(asynchronous_tool if asynchronous else tool)
    assert not failed.ok
    assert expected in failed.result
    assert len(failed.result.splitlines()) <= 4


def test_infinite_recursion_is_reported_in_a_short_message() -> None:
    def tool() -> None:
        tool()

    failed = step(tool)
    assert failed.result.startswith("RecursionError")
    assert len(failed.result) < 1_000


def test_a_result_that_cannot_be_formatted_is_reported() -> None:
    def tool() -> object:
        return object()

    def show(value: object) -> str:
        raise ValueError("not this one")

    done = step(tool, show=show)
    assert done.ok
    assert done.result == "The tool tool ran, and its result, of type object, has no text form."
    (notice,) = done.notices
    assert notice.startswith("The result of the tool tool was not sent to the model: ValueError: not this one")


class Text(str):
    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        raise ValueError("not this one")


def test_a_subclass_of_str_is_sent_as_str() -> None:
    def tool() -> str:
        return Text("abc")

    assert type(step(tool).result) is str
    assert step(tool).result == "abc"


@pytest.mark.parametrize("make", [lambda: (one for one in "ab"), object, lambda: Path("no_such_file.txt")])
def test_a_result_without_text_form_is_reported_in_one_sentence_and_to_the_user(make: Callable[[], object]) -> None:
    def tool() -> object:
        return make()

    done = step(tool, show=format_result)
    kind = type(make()).__name__
    assert (done.ok, done.result) == (True, f"The tool tool ran, and its result, of type {kind}, has no text form.")
    (notice,) = done.notices
    assert notice.startswith("The result of the tool tool was not sent to the model: ")
    assert notice.endswith("Let the tool return a text, numbers, a list or a dict.")


@pytest.mark.parametrize(
    ("wrap", "images", "text"),
    [
        (lambda one: one, "1 image", ""),
        (lambda one: [one, one], "2 images", '["[image]", "[image]"]\n\n('),
        (lambda one: {"mean": 3, "plot": one}, "1 image", '{"mean": 3, "plot": "[image]"}\n\n('),
    ],
)
def test_images_in_a_result_are_reported(wrap: Callable[[object], object], images: str, text: str) -> None:
    def tool() -> object:
        return wrap(Image("https://ok.example/a.png"))

    done = step(tool, show=format_result)
    said = f"The tool tool ran. Its result has {images}, which cannot be sent to you."
    assert (done.ok, done.result.rstrip(")")) == (True, f"{text}{said}")
    (notice,) = done.notices
    assert notice.startswith(f"The result of the tool tool has {images}. A tool's result is sent as text")


def test_a_formatter_that_returns_no_text_is_reported() -> None:
    done = step(both, '{"a": 1}', show=lambda value: value)
    assert done.result == "The tool both ran, and its result, of type tuple, has no text form."
    assert "TypeError" in done.notices[0]


def undocumented(a: int) -> int:
    return a


class Undocumented:
    def __call__(self, a: int) -> int:
        return a


class Documented(Undocumented):
    """Gives it back."""


class Child(Documented):
    pass


class Model(BaseModel):
    a: int


class DocumentedCall(Documented):
    def __call__(self, a: int) -> int:
        """Return it."""
        return a


class InheritedCall(DocumentedCall):
    def __call__(self, a: int) -> int:
        return a


def documented_partial() -> Callable[..., Any]:
    made = functools.partial(both, b="y")
    made.__doc__ = "Of its own."
    return made


@pytest.mark.parametrize(
    ("function", "description"),
    [
        (functools.partial(undocumented), "The function undocumented of the user's notebook."),
        (functools.partial(functools.partial(numpydoc), days=1), description_of(numpydoc)),
        (documented_partial(), "Of its own."),
        (Undocumented(), "The function Undocumented of the user's notebook."),
        (functools.partial(Undocumented()), "The function Undocumented of the user's notebook."),
        (Documented(), "Gives it back."),
        (functools.partial(Documented()), "Gives it back."),
        (Child(), "The function Child of the user's notebook."),
        (DocumentedCall(), "Return it."),
        (InheritedCall(), "Return it."),
        (Model, "The function Model of the user's notebook."),
        (functools.partial(Model, a=1), "The function Model of the user's notebook."),
        (Child, "The function Child of the user's notebook."),
        (Documented, "Gives it back."),
    ],
)
def test_only_what_the_user_wrote_describes_a_function(function: Callable[..., Any], description: str) -> None:
    assert description_of(function) == description


def test_a_docstring_of_a_partial_keeps_the_descriptions_of_the_parameters() -> None:
    made = functools.partial(numpydoc, days=1)
    made.__doc__ = "Of its own."
    assert (
        parameters(made)["properties"]["city"]["description"]
        == (parameters(numpydoc)["properties"]["city"]["description"])
    )


def test_the_docstring_of_an_instance_is_its_description() -> None:
    class Doubling:
        def __init__(self) -> None:
            self.__doc__ = "Double a number."

        def __call__(self, number: int) -> int:
            return 2 * number

    assert "Double a number." in description_of(Doubling())


def test_a_validator_that_fails_is_reported() -> None:
    def fail(value: int) -> int:
        raise KeyError("no such number")

    def tool(a: int) -> None: ...

    tool.__annotations__["a"] = Annotated[int, AfterValidator(fail)]
    failed = step(tool, '{"a": 1}')
    assert not failed.ok
    assert failed.result.startswith("KeyError: 'no such number'")


def test_an_interrupt_in_a_tool_is_raised() -> None:
    def tool() -> None:
        raise KeyboardInterrupt

    async def asynchronous_tool() -> None:
        raise KeyboardInterrupt

    for function in (tool, asynchronous_tool):
        with pytest.raises(KeyboardInterrupt):
            step(function)


def test_the_output_and_warnings_of_a_tool_are_not_captured(capsys: pytest.CaptureFixture[str]) -> None:
    def tool() -> str:
        print("printed")
        warnings.warn("warned", UserWarning, stacklevel=1)
        return "returned"

    with pytest.warns(UserWarning, match="warned"):
        assert step(tool).result == "returned"
    assert capsys.readouterr().out == "printed\n"


# --- asynchronous tools


where = contextvars.ContextVar("where", default="nowhere")


async def triple(a: int) -> list[object]:
    await asyncio.sleep(0)
    return [3 * a, where.get(), threading.current_thread() is threading.main_thread()]


@pytest.mark.parametrize(
    ("written", "given"),
    [('{"text": "a\\ud83d"}', "a\ufffd"), ('{"text": "\\ud83d\\ude00 \\uDe00"}', "\U0001f600 \ufffd")],
)
def test_half_of_a_character_in_the_arguments_is_replaced(written: str, given: str) -> None:
    def echo(text: str) -> str:
        return text

    assert step(echo, written).result == given


def test_an_iterable_of_a_tool_is_a_list() -> None:
    def twice(numbers: Iterable[int]) -> list[int]:
        return [sum(numbers), sum(numbers)]

    assert received(twice, {"numbers": [1, 2]}) == [3, 3]
    assert "valid integer" in step(twice, '{"numbers": [1, "x"]}').result


def test_an_asynchronous_tool_is_awaited() -> None:
    where.set("in the cell")
    assert received(triple, {"a": 2}) == [6, "in the cell", True]


def test_an_asynchronous_tool_runs_inside_a_running_loop() -> None:
    async def main() -> Any:
        return received(triple, {"a": 2})[0]

    # In a separate thread: the browser of other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, main()).result() == 6


def test_asynchronous_tools_share_what_belongs_to_a_loop_or_a_thread() -> None:
    """As a client, a lock or a connection of a database that the notebook has made once."""
    lock, database = asyncio.Lock(), sqlite3.connect(":memory:")

    async def tool() -> str:
        # It is bound to a loop as soon as one waits for it.
        async with lock:
            waiting = asyncio.ensure_future(lock.acquire())
            await asyncio.sleep(0)
        await waiting
        lock.release()
        return str(database.execute("select 1").fetchone())

    with closing(database):
        assert [step(tool).result for _ in range(3)] == ["(1,)"] * 3


def test_a_task_of_an_asynchronous_tool_goes_on_with_the_next_one_and_ends_with_the_session() -> None:
    steps: list[str] = []

    async def task() -> None:
        try:
            while True:
                steps.append("step")
                await asyncio.sleep(0)
        finally:
            steps.append("ended")

    kept: list[Any] = []

    async def tool() -> str:
        kept[:] = kept or [asyncio.create_task(task())]
        await asyncio.sleep(0)
        return "done"

    for number in range(1, 3):
        assert step(tool).result == "done"
        assert len(steps) >= number
    before = len(steps)
    coroutines.close()
    assert steps[before:].count("ended") == 1
    assert step(tool).result == "done"
    coroutines.close()


def test_an_asynchronous_tool_can_call_what_runs_another_one() -> None:
    async def outer() -> object:
        await asyncio.sleep(0)
        return [received(triple, {"a": 1})[0], received(triple, {"a": 2})[0]]

    assert received(outer, {}) == [3, 6]


def run_and_interrupt(body: str) -> list[str]:
    """Run an asynchronous tool in another process, interrupt it after its start, and return what it prints then."""
    code = (
        "import asyncio, threading\n"
        # As at the start of Python: child processes of these tests may inherit ignored or blocked interrupts.
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})\n"
        "from wandb_inference_magic.messages.reply import ToolCall\n"
        "from wandb_inference_magic.schemas.tools import toolbox_of\n"
        "async def tool():\n"
        "    'Wait.'\n"
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "try:\n"
        "    toolbox_of([tool]).run(ToolCall('call_1', 'tool', ''))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            return process.communicate(timeout=30)[0].splitlines()
        finally:
            process.kill()


def test_an_interrupt_cancels_an_asynchronous_tool() -> None:
    # It has begun to wait when the loop calls this.
    body = """
        asyncio.get_running_loop().call_soon(lambda: print('begun', flush=True))
        try:
            await asyncio.sleep(200)
        except asyncio.CancelledError:
            print("cancelled")
            raise
    """
    assert run_and_interrupt(body) == ["cancelled", "interrupted"]


def test_an_interrupt_does_not_wait_for_a_tool_that_cannot_be_cancelled() -> None:
    assert run_and_interrupt("print('begun', flush=True)\nthreading.Event().wait(200)") == ["interrupted"]


# --- the module itself


def test_the_module_imports_no_heavy_packages() -> None:
    code = (
        "import sys, wandb_inference_magic.schemas.tools as tools; print(tools.__file__)\n"
        "loaded = {'pydantic', 'pydantic_core', 'pandas', 'openai'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == tools.__file__


def test_a_number_is_no_date_of_a_tool() -> None:
    def remind(at: datetime) -> str:
        """Remind."""
        return str(at)

    tool = describe(remind, "remind")
    assert tool.read({"at": "2024-01-05T10:00"}) == ([], {"at": datetime(2024, 1, 5, 10)})
    with pytest.raises(ValueError, match="in ISO form, not '2024'"):
        tool.read({"at": "2024"})
