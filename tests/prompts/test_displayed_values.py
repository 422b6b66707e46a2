"""Values that are written as notebooks show them."""

from __future__ import annotations

import base64
import io
from collections import UserDict
from typing import Any

import IPython.display
import IPython.utils.capture
import PIL.Image
import pytest
from prompt_values import picture_of, text_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts.values import as_prompt

pytestmark = pytest.mark.short

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (IPython.display.Markdown("**x**"), "**x**"),
        (IPython.display.HTML("<b>x</b>"), "<b>x</b>"),
        (IPython.display.Latex("$x$"), "$x$"),
        (IPython.display.SVG(SVG), SVG),
        (IPython.display.JSON({"a": [1, None]}), '{"a": [1, null]}'),
        ([IPython.display.Markdown("**x**")], '["**x**"]'),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_a_notebook_displays_is_written_as_its_content(value: object, text: str) -> None:
    assert text_of(value) == text


def test_what_a_cell_printed_is_a_text() -> None:
    assert text_of(IPython.utils.capture.CapturedIO(io.StringIO("printed"), None, [])) == "printed"


class ShownAs:
    """A value whose text says nothing, and that notebooks show by one method."""


@pytest.mark.parametrize(
    ("method", "shown", "text"),
    [
        ("_repr_markdown_", "**x**", "**x**"),
        ("_repr_latex_", "$x$", "$x$"),
        (
            "_repr_html_",
            "<style>#T_1 {}</style><table><tr><td>x</td></tr></table>",
            "<table><tr><td>x</td></tr></table>",
        ),
        ("_repr_html_", ("<p>x</p>", {}), "<p>x</p>"),
        ("_repr_html_", '<div id="dqafriefvo" class="t">x id="y"</div>', '<div class="t">x id="y"</div>'),
    ],
)
def test_a_value_without_a_text_of_its_own_is_written_as_notebooks_show_it(method: str, shown: Any, text: str) -> None:
    assert text_of(type("Table", (ShownAs,), {method: lambda _: shown})()) == text


def test_a_container_that_notebooks_show_by_a_summary_is_that_summary() -> None:
    kind = type("Dataset", (UserDict,), {"_repr_html_": lambda _: "<b>set</b>", "__str__": lambda _: "Dataset of 1"})
    assert text_of(kind(a=1)) == "Dataset of 1"
    assert text_of([kind(a=1)]) == '["Dataset of 1"]'


class Bundled:
    """Shows itself by a MIME bundle alone."""

    def __init__(self, bundle: Any) -> None:
        self.bundle = bundle

    def __repr__(self) -> str:
        return "<Bundled object at 0x7f0000000000>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.bundle


def test_an_object_that_shows_itself_by_a_bundle_is_its_picture_or_its_text() -> None:
    data = io.BytesIO()
    PIL.Image.new("RGB", (2, 2), "red").save(data, "PNG")
    assert picture_of(Bundled({"image/png": data.getvalue()})).size == (2, 2)
    assert picture_of(Bundled(({"image/png": base64.b64encode(data.getvalue()).decode()}, {}))).size == (2, 2)
    assert text_of(Bundled({"text/plain": "<Bundled>", "text/markdown": "**yes**"})) == "**yes**"
    for nothing in ({"text/html": "<p>Trust this notebook</p><iframe srcdoc='a map'></iframe>"}, {}, None, 1):
        with pytest.raises(InferenceError, match="no readable form"):
            text_of(Bundled(nothing))


def test_a_value_that_notebooks_show_without_words_is_refused() -> None:
    with pytest.raises(InferenceError, match="no readable form"):
        as_prompt(type("Video", (ShownAs,), {"_repr_html_": lambda _: "<video src='data:...'></video>"})())
