"""NaN and Infinity: those that the model writes are refused, those that a validator of the user's makes are values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from math import inf, nan
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema
from typing_extensions import TypeAliasType, TypedDict

from wandb_inference_magic.frames.columns import plain
from wandb_inference_magic.schemas.schema import Mismatch, ValidatorError, schema_of

pytestmark = pytest.mark.short


def _number(value: Any) -> Any:
    return {"n/a": nan, "unlimited": inf}.get(value, value) if isinstance(value, str) else value


def _around(value: Any, read: Callable[[Any], Any]) -> Any:
    return read(_number(value))


def _with_x(kind: Any, **more: Any) -> Any:
    return create_model("WithX", x=(kind, ...), **more)


Made = Annotated[float, BeforeValidator(_number)]
Price = TypeAliasType("Price", Made)


class OfField(BaseModel):
    x: float

    @field_validator("x", mode="before")
    @classmethod
    def number(cls, value: Any) -> Any:
        return _number(value)


class OfModel(BaseModel):
    name: str = "a"
    x: float

    @model_validator(mode="before")
    @classmethod
    def numbers(cls, values: Any) -> Any:
        return {name: value if name == "name" else _number(value) for name, value in values.items()}


class Inner(BaseModel):
    v: float


class OfShared(BaseModel):
    """The inner model is a definition, to which both fields refer."""

    x: Annotated[Inner, BeforeValidator(lambda value: {"v": _number(value)} if isinstance(value, str) else value)]
    y: Inner = Inner(v=1)


class OfChain:
    """A function makes a value, which pydantic then reads as a number."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        made = core_schema.no_info_plain_validator_function(_number)
        return core_schema.chain_schema([made, core_schema.float_schema()])

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        return {"type": ["number", "string"]}


KINDS = [
    OfField,
    OfModel,
    OfShared,
    _with_x(Made),
    _with_x(Price, y=(Price, 0)),
    _with_x(Made | None),
    _with_x(Made | list[int]),
    _with_x(Annotated[float, WrapValidator(_around)]),
    TypedDict("Typed", {"x": Made}),
]


@pytest.mark.parametrize(("written", "made"), [("n/a", nan), ("unlimited", inf)])
@pytest.mark.parametrize("kind", [*KINDS, TypedDict("Chained", {"x": OfChain})])
def test_a_number_that_a_validator_makes_is_a_value(kind: Any, written: str, made: float) -> None:
    read = plain(schema_of(kind).read(f'{{"x": "{written}"}}'))["x"]
    assert repr(read["v"] if isinstance(read, dict) else read) == repr(made)


@pytest.mark.parametrize("written", ["-Infinity", "1e999", '"inf"', "1" + 400 * "0"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_a_validator_only_passes_on_is_the_models(kind: Any, written: str) -> None:
    text = f'{{"x": {{"v": {written}}}}}' if kind is OfShared else f'{{"x": {written}}}'
    with pytest.raises(Mismatch, match=r"^x.*: Input should be a (finite|valid) number, not "):
        schema_of(kind).read(text)


class Named(BaseModel):
    name: str
    x: float
    ids: list[str | int] = []

    @model_validator(mode="before")
    @classmethod
    def numbers(cls, values: Any) -> Any:
        return {name.lower(): value if name == "name" else _number(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("answer", "made"),
    [
        ('{"name": "Nan", "x": "n/a"}', nan),
        ('{"name": "7e99999", "x": "unlimited"}', inf),
        ('{"name": "a", "x": "n/a", "ids": ["Infinity", 1]}', nan),
        # Of a name that the validator changes.
        ('{"name": "Nan", "X": "n/a"}', nan),
    ],
)
def test_a_text_such_as_nan_elsewhere_does_not_make_a_number_the_models(answer: str, made: float) -> None:
    assert repr(schema_of(Named).read(answer).x) == repr(made)


@pytest.mark.parametrize(
    ("kind", "answer", "problem"),
    [
        (Named, '{"name": "a", "X": Infinity}', "x: Input should be a finite number, not inf"),
        # Only what the model can correct is said.
        (_with_x(Made, y=(float, ...)), '{"x": "n/a", "y": 1e999}', "y: Input should be a finite number, not inf"),
        (_with_x(Made, y=(int, ...), z=(str, "")), '{"x": "n/a", "y": "b", "z": "Nan"}', "y: Input should be a valid"),
        (_with_x(dict[float, int], y=(Made, 0)), '{"x": {"inf": 1}, "y": "n/a"}', "x.inf.[key]: Input should be a fin"),
    ],
)
def test_a_number_that_the_model_wrote_is_refused_beside_one_that_is_made(kind: Any, answer: str, problem: str) -> None:
    with pytest.raises(Mismatch) as refused:
        schema_of(kind).read(answer)
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(problem)


@pytest.mark.parametrize("written", ["NaN", '"NaN"'])
def test_nan_that_a_validator_passes_on_is_null_where_null_is_allowed(written: str) -> None:
    kind = _with_x(Made | None, y=(list[Made], []))
    assert schema_of(kind).read(f'{{"x": {written}}}').x is None


def test_a_key_that_a_validator_makes_is_a_value() -> None:
    def bounds(value: Any) -> Any:
        return {inf if name == "more" else float(name): one for name, one in value.items()}

    schema = schema_of(_with_x(Annotated[dict[float, int], BeforeValidator(bounds)]))
    assert schema.read('{"x": {"10": 1, "more": 2}}').x == {10.0: 1, inf: 2}


def test_a_validator_sees_all_that_it_would_see_elsewhere() -> None:
    seen: list[Any] = []

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        day: date
        x: float
        pair: tuple[int, float] = (0, inf)
        weights: dict[float, str] = Field(default_factory=dict)

        @field_validator("x", mode="before")
        @classmethod
        def number(cls, value: Any, info: ValidationInfo) -> Any:
            seen.append((value, info.field_name, {**info.data}, info.mode, info.context))
            return _number(value)

    read = schema_of(Strict).read('{"day": "2024-01-02", "x": "unlimited", "pair": [1, 2.5], "weights": {"1.5": "a"}}')
    assert read == Strict(day=date(2024, 1, 2), x=inf, pair=(1, 2.5), weights={1.5: "a"})
    assert seen[0] == ("unlimited", "x", {"day": date(2024, 1, 2)}, "json", None)


def test_an_alternative_has_its_own_name_in_a_message() -> None:
    kind = _with_x(int | float | list[float], y=(Annotated[str, BeforeValidator(str)], ""))
    with pytest.raises(Mismatch) as refused:
        schema_of(kind).read('{"x": [Infinity]}')
    assert [one.partition(":")[0] for one in refused.value.problems] == ["x.int", "x.float", "x.list[float].0"]
    assert "x.float: Input should be a valid number" in refused.value.problems[1]


@pytest.mark.parametrize(
    ("kind", "answer", "problem"),
    [
        # What such a validator gets beside what the model wrote is only tried.
        (
            _with_x(Annotated[float, BeforeValidator(partial(round, ndigits=2))], y=(int, 0)),
            '{"x": NaN, "y": 1}',
            "finite number",
        ),
        (_with_x(Annotated[float, BeforeValidator(float)]), '{"x": -Infinity}', "finite number"),
        (_with_x(Annotated[str, BeforeValidator(str.strip)], y=(int, ...)), '{"y": 1}', "Field required"),
        (OfModel, '{"x": "many"}', "valid number"),
        (OfModel, '{"x": ["many"]}', "valid number"),
    ],
)
def test_a_validator_that_fails_on_another_form_is_not_blamed(kind: Any, answer: str, problem: str) -> None:
    with pytest.raises(Mismatch, match=rf"^x: .*{problem}"):
        schema_of(kind).read(answer)


def test_a_validator_that_fails_on_a_wrapped_answer_is_named() -> None:
    class Wrong(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def fails(cls, value: int) -> int:
            return value + len(value)  # type: ignore[arg-type]

    with pytest.raises(ValidatorError, match="validator of the schema failed"):
        schema_of(Wrong).read('{"answer": {"x": "2,100"}}')


# Defaults ------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    low: float
    high: float = inf


class Node(BaseModel):
    weight: float
    nodes: list[Node] = Field(default_factory=list)


def _default(kind: Any, value: Any) -> Any:
    return create_model("WithA", a=(kind, value))


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        (_default(list[float], [inf]), "[1, Infinity]", [1, inf]),
        (_default(tuple[float, float], (-inf, inf)), "[0, Infinity]", (0, inf)),
        (_default(Sequence[float], (inf,)), "[Infinity]", [inf]),
        (_default(dict[str, float], {"b": inf}), '{"b": Infinity}', {"b": inf}),
        (_default(dict[float, str], {inf: "all"}), '{"inf": "all"}', {inf: "all"}),
        (_default(list[float] | None, [nan]), "[Infinity]", [inf]),
        (_default(Limits, Limits(0)), "[1, Infinity]", Limits(1, inf)),
        (_default(Made, inf), "Infinity", inf),
        (_default(Annotated[list[Made], BeforeValidator(list)], [inf]), "[Infinity]", [inf]),
    ],
)
def test_infinity_is_read_within_a_value_whose_default_has_it(kind: Any, written: str, read: Any) -> None:
    assert schema_of(kind).read(f'{{"a": {written}}}').a == read


@pytest.mark.parametrize(
    ("kind", "answer", "where"),
    [
        (Node, '{"weight": 1, "nodes": [{"weight": 2, "nodes": [{"weight": Infinity}]}]}', "nodes.0.nodes.0.weight"),
        (_default(list[float], [1.0]), '{"a": [Infinity]}', "a.0"),
    ],
)
def test_infinity_is_refused_where_the_default_has_only_finite_numbers(kind: Any, answer: str, where: str) -> None:
    with pytest.raises(Mismatch) as refused:
        schema_of(kind).read(answer)
    assert refused.value.problems == (f"{where}: Input should be a finite number, not inf",)


@pytest.mark.parametrize("config", [ConfigDict(allow_inf_nan=True), ConfigDict(allow_inf_nan=False)])
def test_a_configuration_counts_beside_a_validator(config: ConfigDict) -> None:
    schema = schema_of(TypeAdapter(list[Made], config=config))
    if config["allow_inf_nan"]:
        assert schema.read("[Infinity]") == [inf]
    else:
        with pytest.raises(Mismatch, match="finite number"):
            schema.read('["unlimited"]')
