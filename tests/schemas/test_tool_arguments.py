"""The arguments that a tool receives."""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import example, given, strategies as st
from pydantic import AfterValidator, Field
from tool_calls import Person, Point, Size, both, parameters, received, step

from wandb_inference_magic.schemas.schema import Mismatch
from wandb_inference_magic.schemas.tool_schema import describe

pytestmark = pytest.mark.short


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


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


def test_a_number_is_no_date_of_a_tool() -> None:
    def remind(at: datetime) -> str:
        """Remind."""
        return str(at)

    tool = describe(remind, "remind")
    assert tool.read({"at": "2024-01-05T10:00"}) == ([], {"at": datetime(2024, 1, 5, 10)})
    with pytest.raises(Mismatch, match="in ISO form, not '2024'"):
        tool.read({"at": "2024"})


def test_an_iterable_of_a_tool_is_a_list() -> None:
    def twice(numbers: Iterable[int]) -> list[int]:
        return [sum(numbers), sum(numbers)]

    assert received(twice, {"numbers": [1, 2]}) == [3, 3]
    assert "valid integer" in step(twice, '{"numbers": [1, "x"]}').result


def test_annotations_are_resolved_through_a_decorator_of_another_module() -> None:
    namespace: dict[str, Any] = {"functools": functools}
    code = "def same(f):\n    @functools.wraps(f)\n    def g(*a, **k): return f(*a, **k)\n    return g"
    exec(code, namespace)

    def tool(p: Point):
        return [p]

    assert tool.__annotations__ == {"p": "Point"}
    assert received(namespace["same"](tool), {"p": {"x": 1}}) == [Point(1)]


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


def test_parameters_may_have_names_that_pydantic_uses_itself() -> None:
    def tool(schema, copy, json, model_config, _private, model_fields, validate, /, cls=0, *, __len__=1, argument_0=2):
        return [schema, copy, json, model_config, _private, model_fields, validate, cls, __len__, argument_0]

    names = ["schema", "copy", "json", "model_config", "_private", "model_fields", "validate", "cls", "__len__"]
    sent = {name: position for position, name in enumerate([*names, "argument_0"])}
    assert list(parameters(tool)["properties"]) == [*names, "argument_0"]
    assert received(tool, sent) == list(range(10))


def test_a_function_that_looks_at_its_first_argument_gets_it_by_position() -> None:
    @functools.singledispatch
    def show(value: int | str, width: int = 3, height: int = 4) -> object:
        return [value, width, height]

    @show.register
    def _(value: str, width: int = 3, height: int = 4) -> object:
        return ["text", value, width, height]

    assert received(show, {"value": 1}) == [1, 3, 4]
    assert received(show, {"value": "a", "width": 5}) == ["text", "a", 5, 4]
    # The one that is left out keeps its default.
    assert received(functools.partial(show), {"value": "a", "height": 5}) == ["text", "a", 3, 5]


def test_a_decorator_that_takes_names_only_gets_them() -> None:
    def tool(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @functools.wraps(tool)
    def wrapped(**given: int) -> int:
        return tool(**given)

    assert step(wrapped, '{"a": 1}').result == "3"


@pytest.mark.parametrize("arguments", ["", "  \n", "{}"])
def test_empty_arguments_call_the_tool_without_arguments(arguments: str) -> None:
    def tool() -> str:
        return "called"

    assert step(tool, arguments).result == "called"


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


def test_half_a_surrogate_pair_in_the_arguments_is_replaced() -> None:
    assert step(both, '{"a": 1, "b": "\ud800"}', show=repr).result == "(1, '\ufffd')"


@pytest.mark.parametrize(
    ("written", "given"),
    [('{"text": "a\\ud83d"}', "a\ufffd"), ('{"text": "\\ud83d\\ude00 \\uDe00"}', "\U0001f600 \ufffd")],
)
def test_half_of_a_character_in_the_arguments_is_replaced(written: str, given: str) -> None:
    def echo(text: str) -> str:
        return text

    assert step(echo, written).result == given


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
        ('{"a": 1, "a": 2}', "- a: it is given twice, as 1 and 2"),
        ('{"a": true}', "- a: Input should be a number, not true"),
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


def test_null_in_an_object_of_any_names_is_reported_to_the_model() -> None:
    called: list[dict[str, float]] = []

    def tool(scores: dict[str, float], a: int = 1) -> None:
        called.append(scores)

    refused = step(tool, '{"scores": {"a": null}, "a": 1}')
    assert (refused.ok, called) == (False, [])
    assert "- scores.a: Input should be a valid number" in refused.result
    assert step(tool, '{"scores": {"a": 2}, "a": null}').ok
    assert called == [{"a": 2.0}]


def test_only_the_first_of_many_problems_are_reported() -> None:
    refused = step(both, json.dumps({f"z{number}": 1 for number in range(100)}))
    assert len(refused.result.splitlines()) == 12
    assert refused.result.endswith("and 91 more")


def test_a_validator_that_fails_is_reported() -> None:
    def fail(value: int) -> int:
        raise KeyError("no such number")

    def tool(a: int) -> None: ...

    tool.__annotations__["a"] = Annotated[int, AfterValidator(fail)]
    failed = step(tool, '{"a": 1}')
    assert not failed.ok
    assert failed.result.startswith("KeyError: 'no such number'")


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
