"""What docstrings say of tools and of their parameters."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import example, given, strategies as st
from pydantic import BaseModel, Field
from tool_calls import both, description_of, parameters

from wandb_inference_magic.schemas.docstrings import read_docstring
from wandb_inference_magic.schemas.tools import toolbox_of

pytestmark = pytest.mark.short


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


@pytest.mark.parametrize(
    "docstring",
    [
        "\n    Args:\n        city: The city,\n            in English.\n        days (int): What it says.\n    ",
        "Args:\n        city: The city,\n            in English.\n        days (int): What it says.\n    ",
        "Parameters:\n        city: The city, in English.\n        days: What it says.\n\n    Returns:\n        str: A",
        "Keyword Arguments:\n    city: The city, in English.\n\nArgs:\n    days: What it says.",
        "Parameters\n    ----------\n    city : str\n        The city, in English.\n    days\n        What it says.",
        ":param city: The city,\n    in English.\n:param days: What it says.",
    ],
)
def test_a_docstring_may_begin_with_the_parameters(docstring: str) -> None:
    def tell(city: str, days: int) -> str: ...  # type: ignore[empty-body]

    tell.__doc__ = docstring
    description, texts = read_docstring(tell)
    assert texts == {"city": "The city, in English.", "days": "What it says."}
    assert "city" not in description


def test_a_long_docstring_is_cut() -> None:
    def long() -> None: ...

    long.__doc__ = "word " * 1_000
    assert len(description_of(long)) == 1_000
    assert description_of(long).endswith("…")


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


@given(st.text(alphabet=st.sampled_from(" \n\t-:()*ax,ArgsParameters")) | st.text())
@example("Args:\n")
@example("Parameters\n----\n")
@example("---\n---")
def test_any_docstring_gives_a_definition(docstring: str) -> None:
    def documented(a: int) -> None: ...

    documented.__doc__ = docstring
    assert json.dumps(toolbox_of([documented]).definitions)
    assert parameters(documented)["properties"]["a"]["type"] == "integer"
