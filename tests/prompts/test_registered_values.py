"""Values whose text the user has registered."""

from __future__ import annotations

import csv
import os
from collections import UserDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure
from prompt_values import REPLY, Described, axes_with_line, picture_of, png, run_alone, text_of
from python_forks import printed_by_fork
from service import Service, completion

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import Image, render
from wandb_inference_magic.prompts.values import as_prompt

pytestmark = pytest.mark.short

matplotlib.use("agg")


def test_the_users_own_registrations_are_used() -> None:
    code = """
import pandas as pd
from wandb_inference_magic import as_prompt
class Mine: pass
class Frame(pd.DataFrame): pass
@as_prompt.register
def _(value: Mine) -> str: return "mine"
@as_prompt.register
def _(value: pd.DataFrame) -> str: return "my frame"
series = as_prompt(pd.Series([1])).splitlines()[0]
print(as_prompt(Mine()), series, as_prompt(pd.DataFrame()), as_prompt(Frame()), sep="; ")
"""
    assert run_alone(code) == "mine; Series, 1 row:; my frame; my frame"


class DescribedDict(dict[str, int]):
    def _ai_repr_(self, **kwargs: Any) -> str:
        return "a dict described for models"


class Pictured:
    def _ai_repr_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": png()}, {}


class DescribedLater:
    async def _ai_repr_(self, **kwargs: Any) -> dict[str, Any]:
        raise AssertionError("a coroutine is not run")

    def __str__(self) -> str:
        return "as text"


class BadlyDescribed(DescribedLater):
    def _ai_repr_(self, **kwargs: Any) -> Any:  # type: ignore[override]
        raise ValueError("no")


def test_the_form_for_models_that_jupyter_proposes_is_used_after_registrations() -> None:
    assert text_of(Described()) == "described for models"
    assert text_of(DescribedDict(a=1)) == "a dict described for models"
    assert text_of([Described(), DescribedDict(a=1)]) == '["described for models", "a dict described for models"]'
    assert picture_of(Pictured()).size == (4, 3)
    assert text_of(DescribedLater()) == "as text"

    class Registered(Described):
        pass

    as_prompt.register(Registered, lambda value: "registered")
    assert text_of(Registered()) == "registered"


@pytest.mark.parametrize("spelling", ["{{ v }}", "{{ [v] }}", "{{ {'a': v} }}", "{{ v ~ '' }}", "{{ frame }}"])
def test_an_object_whose_own_form_fails_is_refused_and_not_sent_as_it_is(spelling: str) -> None:
    """The form may keep something out of prompts."""
    with pytest.raises(InferenceError, match="The method _ai_repr_ of a BadlyDescribed failed") as refused:
        render(spelling, {"v": BadlyDescribed(), "frame": pd.DataFrame({"p": [BadlyDescribed()]})})
    assert "ValueError: no" in str(refused.value)


@pytest.mark.parametrize("kind", [dict, list, tuple, set, frozenset, deque])
def test_a_container_with_a_form_of_its_own_has_it_as_json_too(kind: type) -> None:
    described = type("DescribedContainer", (kind,), {"_ai_repr_": lambda self, **_: "described"})
    value = described({"a": 1} if kind is dict else ["secret"])
    assert [render(text, {"v": value}) for text in ("{{ v | tojson }}", "{{ [v] | tojson }}")] == [
        '"described"',
        '["described"]',
    ]


def test_an_own_form_that_cannot_be_made_of_a_part_says_what_is_wrong_with_the_part() -> None:
    class Wrapping:
        def _ai_repr_(self, **kwargs: Any) -> Any:
            return as_prompt(Path("/nowhere/at all.txt"))

    with pytest.raises(InferenceError, match=r"at all\.txt") as refused:
        text_of(Wrapping())
    assert "_ai_repr_" not in str(refused.value)


@dataclass
class Own:
    name: str
    key: str = "secret"

    def _ai_repr_(self, **kwargs: Any) -> str:
        return f"owned by {self.name}"


def test_a_record_with_a_form_of_its_own_is_a_row_of_its_fields(api: ModuleType, service: Service) -> None:
    service.always = completion("ok")
    api.map_prompts([Own("Bo"), Patient("Bo")], "{{ name }}: {{ row }}")
    sent = {one.body["messages"][-1]["content"] for one in service.chats}
    assert sent == {"Bo: owned by Bo", "Bo: patient Bo"}
    api.map_prompts([Own("Bo")], "{{ row | tojson }}")
    assert service.last.body["messages"][-1]["content"] == '"owned by Bo"'
    # A Reply is a text.
    api.map_prompts([REPLY], "{{ text }}")
    assert service.last.body["messages"][-1]["content"] == "the answer"


USES = ("{{ v }}", "{{ v | tojson }}", "{{ [v] }}", "{{ [v] | tojson }}", "{{ v | whole }}", "{{ frame }}")


@pytest.mark.parametrize(
    ("kind", "less", "value", "json"),
    [
        (
            "dict",
            "{k: v for k, v in value.items() if k != 'pin'}",
            "{'pin': 2, 'a': {'pin': 1}}",
            {"a": {}},
        ),
        ("dict", "{k: v for k, v in value.items() if k != 'pin'}", "Counter(a=1, pin=2)", {"a": 1}),
        ("UserDict", "value | {'pin': 0}", "UserDict(a=1, pin=2)", {"a": 1, "pin": 0}),
        ("list", "sorted(value)[:2]", "[3, 1, 2]", [1, 2]),
        ("tuple", "value[:1]", "namedtuple('Pair', 'a pin')(1, 2)", [1]),
        ("float", "round(value, 1)", "1.234", 1.2),
        ("float", "round(value, 1)", "np.float64(1.234)", 1.2),
        ("float", "round(value, 1)", "[1.234, np.float64(2.345)]", [1.2, 2.3]),
        ("int", "value + 1", "3", 4),
        ("Number", "value + 1", "np.float32(0.5)", 1.5),
        ("date", "value.year", "date(2026, 1, 2)", 2026),
        ("np.ndarray", "value[:1]", "np.array([1, 'pin'], dtype=object)", [1]),
        ("pd.Index", "value[:1]", "pd.Index([1, 2])", [1]),
        ("ExtensionArray", "value[:1]", "pd.array([1, None])", [1]),
        ("pa.Array", "value[:1]", "pa.array([1, 2])", [1]),
        ("Record", "replace(value, pin='-')", "Record('Bo')", {"name": "Bo", "pin": "-"}),
        ("Pair", "value._replace(pin='-')", "Pair('Bo', 'a secret')", {"name": "Bo", "pin": "-"}),
        ("Model", "value.model_copy(update={'pin': '-'})", "Model(name='Bo')", {"name": "Bo", "pin": "-"}),
    ],
)
def test_a_registered_function_is_used_once_and_may_return_less_of_the_same_kind(
    kind: str, less: str, value: str, json: Any
) -> None:
    code = f"""
import json, warnings
warnings.simplefilter("error")
from collections import Counter, UserDict, namedtuple
from dataclasses import dataclass, replace
from datetime import date
from numbers import Number
import numpy as np, pandas as pd, pyarrow as pa, pydantic
from pandas.api.extensions import ExtensionArray
from wandb_inference_magic import as_prompt
from wandb_inference_magic.prompts import render
Pair = namedtuple("Pair", "name pin")
@dataclass
class Record:
    name: str
    pin: str = "a secret"
class Model(pydantic.BaseModel):
    name: str
    pin: str = "a secret"
as_prompt.register({kind}, lambda value: {less})
value = {value}
frame = pd.DataFrame({{"p": pd.Series([[value]], dtype=object)}})
print(json.dumps([str(render(use, {{"v": value, "frame": frame}})) for use in {USES!r}]))
"""
    *shown, frame = loads("".join(printed_by_fork(code, os.environ)))
    assert [loads(one) for one in shown] == [json, json, [json], [json], json]
    cell = next(csv.reader([frame.splitlines()[-1]]))[0]
    # In a list of a cell, a record or an index is its text.
    assert loads(cell)[0] in (json, dumps(json))


def test_a_registered_function_may_return_less_of_a_frame() -> None:
    code = f"""
import pandas as pd
from wandb_inference_magic import as_prompt
from wandb_inference_magic.prompts import render
as_prompt.register(pd.DataFrame, lambda value: value.drop(columns="pin", errors="ignore").head(1))
value = pd.DataFrame({{"a": [1, 2], "pin": [3, 4]}})
for use in {USES!r}:
    print(render(use, {{"v": value, "frame": pd.DataFrame({{"p": [value]}})}}))
"""
    shown = run_alone(code)
    assert shown.startswith("DataFrame, 1 row x 1 column")
    assert '\n[{"a": 1}]\n' in shown
    assert "pin" not in shown


def test_less_of_a_long_container_is_whole_without_what_was_left_out() -> None:
    code = """
from wandb_inference_magic import as_prompt
from wandb_inference_magic.prompts import render
as_prompt.register(dict, lambda value: {k: v for k, v in value.items() if k != "pin"})
long = {"pin": "a secret", **dict.fromkeys(range(2000), 1)}
deep = {}
for _ in range(115):
    deep = {"a": deep}
print("a secret" in render("{{ x | whole }}", {"x": long}), "..." in render("{{ x | tojson }}", {"x": deep}))
"""
    assert run_alone(code) == "False False"


def test_functions_that_return_each_others_types_are_each_used_once() -> None:
    first, second = type("First", (), {}), type("Second", (), {"__str__": lambda self: "a text"})
    as_prompt.register(first, lambda value: second())
    as_prompt.register(second, lambda value: first())
    with pytest.raises(InferenceError, match="returned a value of type First"):
        text_of([first()])
    assert text_of([second()]) == '["a text"]'


def test_what_a_registered_function_returns_may_have_a_form_for_models() -> None:
    kind = type("Registered", (DescribedDict,), {})
    as_prompt.register(kind, lambda value: value)
    shown = render("{{ v }}; {{ [v] }}; {{ v | tojson }}", {"v": kind(a=1)})
    assert shown == 'a dict described for models; ["a dict described for models"]; "a dict described for models"'


def test_what_the_code_of_a_value_raises_is_one_error_from_python(api: ModuleType) -> None:
    figure = Figure()
    figure.add_subplot().set_title(r"$\badcmd{x$")
    for use in (lambda: as_prompt(figure), lambda: api.chat("See", images=[figure])):
        with pytest.raises(InferenceError, match="A value of type Figure cannot be put into a prompt"):
            use()


@dataclass
class Patient:
    name: str
    diagnosis: str = "a secret"


@as_prompt.register
def _of_patient(patient: Patient) -> str:
    return f"patient {patient.name}"


@pytest.mark.parametrize(
    "spelling",
    [
        *("{{ v }}", "{{ [v] }}", "{{ {'a': v} }}", "{{ v ~ '' }}", "{{ v | string }}", "{{ [v] | join }}"),
        *("{{ '%s' % v }}", "{{ '{}'.format(v) }}", "{{ [v] | tojson }}", "{{ v | whole }}", "{{ frame }}"),
    ],
)
def test_a_registered_class_has_its_own_form_in_every_spelling(spelling: str) -> None:
    shown = render(spelling, {"v": Patient("Bo"), "frame": pd.DataFrame({"p": [Patient("Bo")]})})
    assert "patient Bo" in shown
    assert "secret" not in shown


def test_a_registered_class_has_its_own_form_in_a_container_whatever_it_is_made_of() -> None:
    @dataclass
    class Recipe:
        name: str

    as_prompt.register(Recipe, lambda value: value.name)
    kind = type("Registered", (UserDict,), {})
    as_prompt.register(kind, lambda value: "registered")
    assert text_of([Recipe("soup"), kind(a=1)]) == '["soup", "registered"]'
    assert text_of([Recipe("")]) == '[""]'


@pytest.mark.parametrize(
    "of",
    [
        lambda one: pd.DataFrame({"p": [one]}),
        lambda one: pd.Series([one], index=[one]),
        lambda one: pd.DataFrame({"p": [[one, {"a": one}]]}),
        lambda one: pl.DataFrame({"p": pl.Series([one], dtype=pl.Object)}),
        lambda one: pd.DataFrame({"p": [one]}).values,
        lambda one: np.array([[one, None], [1, [one]]], dtype=object),
        lambda one: [pd.DataFrame({"p": [one]})],
    ],
)
def test_a_registered_class_has_its_own_form_in_a_frame_and_in_an_array(of: Callable[[Any], Any]) -> None:
    shown = text_of(of(Patient("Bo")))
    assert "patient Bo" in shown
    assert "secret" not in shown
    shown = text_of(of(REPLY))
    assert "the answer" in shown
    assert "asked_model" not in shown


class Account(dict[str, Any]):
    def total(self) -> int:
        return sum(one for one in self.values() if isinstance(one, int))


@as_prompt.register
def _of_account(account: Account) -> str:
    return f"account {account['name']}"


ACCOUNT = Account(name="Bo", a=1, b=2, pin="a secret")


@pytest.mark.parametrize("text", ["{{ v }}", "{{ row }}", "{{ row.v }}", "{{ v | tojson }}", "{{ [v] | tojson }}"])
@pytest.mark.parametrize(
    "rows",
    [pd.DataFrame({"v": [ACCOUNT]}), pd.DataFrame({"v": [{"k": ACCOUNT}]}), [{"v": ACCOUNT}]],
    ids=["cell", "within a cell", "list"],
)
def test_a_registered_class_of_dict_has_its_own_form_in_each_row(
    api: ModuleType, service: Service, text: str, rows: Any
) -> None:
    service.always = completion("ok")
    api.map_prompts(rows, text)
    sent = service.last.body["messages"][-1]["content"]
    assert "account Bo" in sent
    assert "secret" not in sent


def test_a_class_of_dict_keeps_its_methods_in_a_row_of_a_frame(api: ModuleType, service: Service) -> None:
    service.always = completion("ok")
    api.map_prompts(pd.DataFrame({"v": [ACCOUNT]}), "{{ v.total() }}")
    assert service.last.body["messages"][-1]["content"] == "3"


def test_as_prompt_returns_a_text_or_an_image_whatever_the_registered_function_returns() -> None:
    frame = pd.DataFrame({"a": [1]})
    for returned, expected in ((frame, text_of(frame)), ([1, 2], "[1, 2]"), (3, "3")):
        kind = type("Kind", (), {})
        as_prompt.register(kind, lambda _, returned=returned: returned)
        assert as_prompt(kind()) == expected
    kind = type("Kind", (), {})
    as_prompt.register(kind, lambda _: axes_with_line())
    assert isinstance(as_prompt(kind()), Image)


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, None),
        ((one for one in "a"), None),
        (pd.DataFrame({"a": [1]}), "DataFrame, 1 row x 1 column:\nColumns: a (int64)\n\na\n1"),
        ({"a": 1}, '{"a": 1}'),
        (3, "3"),
    ],
    ids=["none", "generator", "frame", "dict", "number"],
)
def test_what_a_registered_function_returns_is_a_value_of_its_own(returned: Any, text: str | None) -> None:
    kind = type("Kind", (), {})

    def form(value: Any) -> Any:
        return returned

    as_prompt.register(kind, form)
    for value in (kind(), [kind()], pd.DataFrame({"a": [kind()]})):
        if text is None:
            with pytest.raises(InferenceError, match="The function form, registered with as_prompt, returned"):
                render("{{ x }}", {"x": value})
        else:
            render("{{ x }}", {"x": value})
    assert text is None or render("{{ x }}", {"x": kind()}) == text


def test_a_registered_function_may_return_a_figure_and_is_used_for_numbers_in_lists() -> None:
    kind = type("Kind", (), {})
    as_prompt.register(kind, lambda value: axes_with_line().figure)
    for value in (kind(), [kind()]):
        (part,) = render("{{ x }}", {"x": value})
        assert part["type"] == "image_url"  # type: ignore[index]
    number = type("Money", (float,), {})
    as_prompt.register(number, lambda value: f"{value:.2f} EUR")
    assert render("{{ x }} {{ [x] }}", {"x": number(3)}) == '3.00 EUR ["3.00 EUR"]'
