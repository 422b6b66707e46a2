"""The definitions of tools: how a function and its parameters are described to a model."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

import pandas as pd
import pytest
from pydantic import BaseModel, Field
from tool_calls import Person, Size, parameters, received, step
from typing_extensions import NotRequired, Required, TypedDict, Unpack

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.schemas.tool_schema import describe
from wandb_inference_magic.schemas.tools import toolbox_of

pytestmark = pytest.mark.short


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


def test_a_text_in_annotated_describes_a_parameter() -> None:
    def weather(city: Annotated[str, "The city."], day: Annotated[str, "Not this."] = "") -> str:
        """Return the weather.

        Args:
            day: The day.
        """
        return city + day

    properties = parameters(weather)["properties"]
    assert [properties[name]["description"] for name in ("city", "day")] == ["The city.", "The day."]


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


def test_the_default_of_the_function_overrides_that_of_the_annotation() -> None:
    def tool(a: Annotated[int, Field(default=7)] = 3):
        return [a]

    assert parameters(tool)["properties"]["a"]["default"] == 3
    assert received(tool, {}) == [3]


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


@pytest.mark.parametrize("default", [object(), float("nan"), pd.DataFrame({"a": [1]}), "x" * 5_000, {1, object()}])
def test_a_default_that_is_not_json_is_used_but_not_sent(default: object) -> None:
    def plain(a=default, b=1):
        return [a]

    schema = parameters(plain)
    assert "default" not in schema["properties"]["a"]
    assert schema["properties"]["b"]["default"] == 1
    assert "required" not in schema
    assert received(plain, {})[0] is default


@dataclass(frozen=True)
class Range:
    low: float = -math.inf
    high: float = math.inf
    steps: list[float] = field(default_factory=lambda: [math.nan])


@dataclass
class Search:
    within: Range = Range()
    others: tuple[Range, ...] = (Range(1, 2, [3]),)


@pytest.mark.parametrize(
    "annotation", [Range, list[Range], Annotated[Range | None, Field(examples=[{"low": math.inf}])]]
)
def test_defaults_and_examples_that_are_not_finite_are_not_sent(annotation: Any) -> None:
    def count(within: Any) -> Any:
        return within

    count.__annotations__["within"] = annotation
    schema = parameters(count)
    json.dumps(schema, allow_nan=False)
    assert schema["$defs"]["Range"]["properties"]["high"] == {"type": "number"}
    given = {"low": 2}
    within = received(count, {"within": [given] if annotation == list[Range] else given})
    assert (within[0] if isinstance(within, list) else within).high == math.inf


def test_a_dataclass_as_a_default_is_sent_if_its_numbers_are_finite() -> None:
    def search(how: Any) -> Any:
        return how

    search.__annotations__["how"] = Search
    sent = parameters(search)["$defs"]["Search"]["properties"]
    assert "default" not in sent["within"]
    assert sent["others"]["default"] == [{"low": 1, "high": 2, "steps": [3]}]


def test_a_field_that_a_dataclass_sets_itself_is_no_parameter() -> None:
    @dataclass
    class Sum:
        a: int
        twice: int = field(init=False, default=0)

    def tool(value: object) -> None: ...

    tool.__annotations__["value"] = Sum
    assert list(parameters(tool)["$defs"]["Sum"]["properties"]) == ["a"]


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


def test_a_partial_that_has_the_name_of_its_function_keeps_what_is_bound() -> None:
    def tool(prefix: str, text: str, ending: str = "!") -> str:
        """Join."""
        return f"{prefix}{text}{ending}"

    bound = functools.update_wrapper(functools.partial(tool, "Hello "), tool)
    assert list(parameters(bound)["properties"]) == ["text", "ending"]
    assert step(bound, '{"text": "Ann"}').result == "Hello Ann!"


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


def test_the_items_of_a_set_that_is_a_default_are_in_one_order() -> None:
    words = ["alpha", "beta", "delta", "gamma"]

    def tool(x: set[str] = frozenset(words), y: dict[str, Any] = {"in": {*words}}) -> str:  # noqa: B006
        return ""

    found = parameters(tool)["properties"]
    assert (found["x"]["default"], found["y"]["default"]) == (words, {"in": words})


class Options(TypedDict, total=False):
    unit: Annotated[Literal["C", "F"], "Of the temperature."]
    days: Required[int]


class More(Options):
    note: NotRequired[str | None]


def with_options(city: str, **options: Unpack[Options]) -> str:
    return f"{city} {options}"


def with_more(**options: Unpack[More]) -> str:
    return str(options)


@pytest.mark.parametrize(
    ("function", "names", "required"),
    [
        (with_options, ["city", "unit", "days"], ["city", "days"]),
        (with_more, ["unit", "days", "note"], ["days"]),
        (functools.partial(with_options, "Oslo", unit="C"), ["days"], ["days"]),
    ],
)
def test_the_keys_of_a_typed_dict_of_keywords_are_parameters(
    function: Callable[..., Any], names: list[str], required: list[str]
) -> None:
    tool = describe(function, "tell")
    schema = tool.definition["function"]["parameters"]
    assert (list(schema["properties"]), schema["required"]) == (names, required)
    assert "default" not in str(schema)
    assert schema["properties"].get("unit", {}).get("description") in ("Of the temperature.", None)
    positional, named = tool.read({"days": 3, **dict.fromkeys({*required} - {"days"}, "Oslo")})
    assert "'days': 3" in function(*positional, **named)
    assert "unit" not in named


def test_keywords_of_a_type_that_is_not_known_are_refused_and_those_of_any_name_are_not_offered() -> None:
    def of_unknown(**options: Unpack[Unknown]) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def of_any(city: str, **options: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        InferenceError, match=r"because of its parameter \*\*options(?s:.*)the type Unknown in it is not"
    ):
        describe(of_unknown, "of_unknown")
    assert list(describe(of_any, "of_any").schema["properties"]) == ["city"]


def test_final_says_nothing_of_an_argument() -> None:
    def tell(a: Final[int] = 1, b: Final[str] = "", c: Annotated[Final[int], "C."] = 2, d: Final = 3) -> None: ...  # type: ignore[valid-type]

    properties = describe(tell, "tell").definition["function"]["parameters"]["properties"]
    assert [one.get("type") for one in properties.values()] == ["integer", "string", "integer", None]
    assert properties["c"]["description"] == "C."


@pytest.mark.parametrize("annotation", [ClassVar[int], Annotated[ClassVar[int], "a"], InitVar[int]])  # type: ignore[valid-type]
def test_what_is_said_of_an_annotation_shows_none_that_the_schema_is_made_of(annotation: Any) -> None:
    def tell(a: Any) -> None: ...

    tell.__annotations__["a"] = annotation
    with pytest.raises(InferenceError, match="because of its parameter a") as refused:
        describe(tell, "tell")
    assert "FieldInfo" not in str(refused.value)
