"""Functions as tools: what can be one, and the names in `--tools`."""

from __future__ import annotations

import functools
import operator
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import pytest
from tool_calls import Point, both, description_of, parameters, received
from typing_extensions import Self

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import ToolCall
from wandb_inference_magic.schemas import tools
from wandb_inference_magic.schemas.tools import Toolbox, read_tools, toolbox_of

pytestmark = pytest.mark.short


class Table:
    def search(self, text: str) -> str:
        return f"found {text}"

    @property
    def broken(self) -> str:
        raise RuntimeError("no connection")


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


def test_a_method_without_its_object_is_no_tool() -> None:
    class Table:
        def search(self, word: str) -> str:
            return word

    with pytest.raises(InferenceError, match="search cannot be a tool") as refused:
        toolbox_of([Table.search])
    assert refused.value.why == "It is a method without its object."
    assert list(parameters(Table().search)["properties"]) == ["word"]


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
        (with_unknown, ["with_unknown", "parameter where", "the type NotDefined in it is not defined"]),
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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("both", ("both",)),
        ("both,table.search", ("both", "table_search")),
        (" short , both ", ("short", "both")),
        ("ｓhort,table.ｓearch", ("short", "table_search")),
    ],
)
def test_tools_are_looked_up_by_their_names_in_the_notebook(text: str, names: tuple[str, ...]) -> None:
    box = read_tools(text, {"both": both, "table": Table(), "short": lambda: 1, "other": print})
    assert box.names == names
    assert [each["function"]["name"] for each in box.definitions] == list(names)


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


def test_an_empty_toolbox_has_no_tool() -> None:
    box = Toolbox([])
    assert (box.names, box.definitions) == ((), [])
    assert box.run(ToolCall("1", "f", "{}")).result == "There is no tool f. There are none."


def test_the_module_imports_no_heavy_packages() -> None:
    code = (
        "import sys, wandb_inference_magic.schemas.tools as tools; print(tools.__file__)\n"
        "loaded = {'pydantic', 'pydantic_core', 'pandas', 'openai'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == tools.__file__
