"""Dataclasses and models of pydantic in prompts, and what they keep out of their own text."""

from __future__ import annotations

import json
import os
import time
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import httpx
import numpy as np
import pandas as pd
import pydantic.dataclasses
import pytest
from prompt_values import Nothing, Url, text_of
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, model_serializer

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames import read_rows
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import json_of

pytestmark = pytest.mark.short


def test_a_dataclass_that_notebooks_show_is_sent_as_they_show_it() -> None:
    @dataclass
    class Table:
        body: Any = field(default_factory=Nothing)

        def _repr_html_(self) -> str:
            return "<b>shown</b>"

    assert text_of([Table()]) == f'["{text_of(Table())}"]' == '["<b>shown</b>"]'
    # As data it is its fields.
    assert json_of(Table(1)) == json_of([Table(1)])[1:-1] == '{"body": 1}'


class Account(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")
    data: Any = 1
    note: str = Field("private", exclude=True)
    key: str = Field("secret", repr=False)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    user: str = "bo"
    key: str = Field("secret", repr=False)


class Computing(BaseModel):
    first: Account = Account()

    @computed_field
    def again(self) -> Account:
        return self.first

    @computed_field(repr=False)
    def key(self) -> str:
        return "secret"


class Failing(BaseModel):
    a: int = 1

    @computed_field
    def b(self) -> int:
        raise ValueError("no")


class Wrapping(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    frame: pd.DataFrame = pd.DataFrame({"a": [1]})

    @model_serializer(mode="wrap")
    def _as_is(self, write: Any) -> Any:
        return write(self)


class Partly(BaseModel):
    held: Frozen
    missing: int


class Dumping:
    def model_dump(self, **_: Any) -> Any:
        return {"a": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Failing(), '{"a": 1}'),
        (Wrapping(), "DataFrame, 1 row x 1 column"),
        (Dumping(), '{"a": 1}'),
        (Computing.model_construct(), '{"first": {"data": 1}, "again": {"data": 1}}'),
        (Partly.model_construct(held=Frozen()), '{"held": {"user": "bo"}}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_is_sent_without_what_it_does_not_have(value: Any, text: str) -> None:
    assert text in text_of(value)


class Held(BaseModel, arbitrary_types_allowed=True):
    frame: pd.DataFrame
    size: int = 1


def test_a_model_with_a_field_that_has_no_json_form_is_its_fields() -> None:
    held = json.loads(text_of(Held(frame=pd.DataFrame({"a": [1]}))))
    assert held["size"] == 1
    assert held["frame"].startswith("DataFrame, 1 row x 1 column")


class Accounts(BaseModel):
    first: Account = Account()
    others: tuple[Account, ...] = (Account(),)
    by_name: dict[str, Account] = {"a": Account(more=2)}  # type: ignore[call-arg]


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class OnlyComputing(BaseModel):
    @computed_field
    def made(self) -> Account:
        return Account()


@pydantic.dataclasses.dataclass
class PydanticLogin:
    user: str = "bo"
    key: str = Field("private", exclude=True)


@dataclass
class Login:
    user: str = "bo"
    key: str = field(default="secret", repr=False)


class Listed(RootModel[list[Account]]):
    pass


@dataclass
class Holder:
    held: Account


TEXTS = [
    *("{{ x | tojson }}", "{{ 'a ' ~ x }}", "{{ [x] | join }}", "{{ 'a %s' % [x] }}", "{{ 'a %s' | format(x) }}"),
    *(
        "{{ x | string }}",
        "{{ [x] | string }}",
        "{{ x | upper | lower }}",
        "{{ x | pprint }}",
        "{{ {'a': x} | pprint }}",
    ),
    *("{{ 'a {}'.format(x) }}", "{{ '{!r}'.format(x) }}", "{{ '{a!s}'.format(a=[x]) }}"),
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Login(), '{"user": "bo"}'),
        (PydanticLogin(), '{"user": "bo"}'),
        (Loose(more=[Account()]), '{"more": [{"data": 1}]}'),  # type: ignore[call-arg]
        (OnlyComputing(), '{"made": {"data": 1}}'),
        (attrs.make_class("Login", {"user": attrs.field(), "key": attrs.field(repr=False)})("bo", "secret"), None),
        (
            attrs.make_class("Login", {"user": attrs.field(), "key": attrs.field(repr=lambda _: "*")})("bo", "secret"),
            None,
        ),
        (httpx.Headers({"Authorization": "secret", "Accept": "a"}), '{"accept": "a"}'),
        (Account(), '{"data": 1}'),
        (Account(data=pd.DataFrame({"a": [1]}), more=2), None),  # type: ignore[call-arg]
        (Accounts(), '{"first": {"data": 1}, "others": [{"data": 1}], "by_name": {"a": {"data": 1, "more": 2}}}'),
        (Accounts(first=Account(data=Login())), None),
        (Listed([Account()]), '[{"data": 1}]'),
        (Account(data=Listed([Account()])), '{"data": [{"data": 1}]}'),
        (Account(data=Holder(Account())), '{"data": {"held": {"data": 1}}}'),
        (Account(data=deque([Account()]), more=Login()), '{"data": [{"data": 1}], "more": {"user": "bo"}}'),  # type: ignore[call-arg]
        (Account(data={Frozen()}), '{"data": [{"user": "bo"}]}'),
        (Account(data={"at": timedelta(1), "url": Url()}, more=timedelta(1)), None),  # type: ignore[call-arg]
        (Computing(), '{"first": {"data": 1}, "again": {"data": 1}}'),
        (Url(), "bo:***"),
        (type("Sub", (Url,), {})(), "bo:***"),
    ],
    ids=str,
)
def test_what_a_value_keeps_out_of_its_own_text_is_not_sent(value: Any, text: str | None) -> None:
    assert text in (None, text_of(value))
    shown = text_of([value, {"a": value}]) + text_of(pd.DataFrame({"a": [value, [value]]}))
    made = [str(render(text, {"x": value})) for text in TEXTS]
    arrays = [text_of(np.array([[value, [value]], [value, None]], dtype=object)), text_of(pd.Series({"a": value}))]
    for found in (text_of(value), shown, *made, *arrays):
        assert "secret" not in found
        assert "private" not in found


@dataclass
class Written:
    account: Account = field(default_factory=Account)

    def __str__(self) -> str:
        return f"account of {self.account.data}"


def test_a_text_of_the_users_own_is_its_text_in_a_template() -> None:
    assert render("{{ 'the ' ~ x }}, {{ '%s' % x }}", {"x": Written()}) == "the account of 1, account of 1"
    assert "private" not in str(render("{{ [x] | string }} {{ x | pprint }}", {"x": Written()}))


class Serialized(BaseModel):
    first: Account | None = Account()

    @model_serializer
    def _as_list(self) -> Any:
        return [self.first]


def test_a_model_whose_serializer_may_show_what_is_hidden_is_refused() -> None:
    with pytest.raises(InferenceError, match="A Serialized has a serializer of its own") as caught:
        text_of(Serialized())
    assert "@as_prompt.register" in caught.value.remedy
    assert text_of(Serialized(first=None)) == "[null]"


class Struct:
    """As a `msgspec.Struct`, whose text may leave out what is at its default."""

    __struct_fields__ = ("name", "pay")

    def __init__(self) -> None:
        self.name, self.pay = "Bo", 3


def old_model() -> Any:
    with warnings.catch_warnings():
        # Of Python 3.14.
        warnings.simplefilter("ignore")
        from pydantic import v1

        class Old(v1.BaseModel):
            name: str
            key: str = v1.Field("secret", exclude=True)

            class Config:
                extra = "allow"

        return Old(name="Bo", pay=3)


class OwnText:
    def __repr__(self) -> str:
        return "hides all"

    __str__ = __repr__


class OwnStruct(OwnText, Struct):
    pass


class OwnSimpleNamespace(OwnText, SimpleNamespace):
    pass


class OwnNamespace(OwnText, Namespace):
    pass


@pytest.mark.parametrize("make", [lambda: Namespace(name="Bo", pay=3), Struct, old_model])
def test_other_kinds_of_records_have_their_fields(make: Callable[[], Any]) -> None:
    value = make()
    assert text_of(value) == '{"name": "Bo", "pay": 3}'
    assert text_of([value]) == '[{"name": "Bo", "pay": 3}]'
    assert render("{{ x.name }}: {{ x | tojson }}", {"x": value}) == 'Bo: {"name": "Bo", "pay": 3}'
    (row,) = read_rows([value])
    assert (row["name"], row["pay"]) == ("Bo", 3)


@pytest.mark.parametrize(
    "make", [OwnStruct, lambda: OwnNamespace(key="secret"), lambda: OwnSimpleNamespace(key="secret")]
)
def test_a_record_with_a_text_of_its_own_is_that_text(make: Callable[[], Any]) -> None:
    value = make()
    assert [render(text, {"x": value}) for text in ("{{ x }}", "{{ [x] }}", "{{ x | tojson }}")] == [
        "hides all",
        '["hides all"]',
        '"hides all"',
    ]


def test_a_result_of_the_system_has_the_names_of_its_fields() -> None:
    text = text_of(os.terminal_size((80, 24)))
    assert text == '{"columns": 80, "lines": 24}'
    assert json.loads(text_of(time.gmtime(0)))["tm_year"] == 1970
    assert {"st_size", "st_mtime"} <= json.loads(text_of(Path().stat())).keys()


class Record:
    """An object that is looked up by keys, and iterates over them."""

    def keys(self) -> list[str]:
        return ["city"]

    def __getitem__(self, key: str) -> str:
        return "Oslo"

    def __iter__(self) -> Any:
        return iter(["city"])


def test_a_row_is_read_by_its_keys() -> None:
    assert text_of(Record()) == '{"city": "Oslo"}'


def parted_old_model() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydantic import v1

        class Outer(v1.BaseModel):
            inner: Any

        return Outer(inner=old_model())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Namespace(part=Account()),
        lambda: SimpleNamespace(part=Account()),
        parted_old_model,
        lambda: type("Bag", (list,), {"__repr__": lambda one: f"Bag({list.__repr__(one)})"})([Account()]),
    ],
)
@pytest.mark.parametrize("template", ["{{ v }}", "{{ [v] }}", "{{ v | tojson }}", "{{ 'x ' ~ v }}", "{{ [v] | join }}"])
def test_what_a_part_of_any_record_hides_is_hidden_in_every_spelling(make: Callable[[], Any], template: str) -> None:
    shown = str(render(template, {"v": make()}))
    assert "secret" not in shown
    assert "private" not in shown
