"""The results of tools, and their errors."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tool_calls import both, step

from wandb_inference_magic.engine import format_result
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.reply import ToolCall
from wandb_inference_magic.prompts import Image
from wandb_inference_magic.schemas.tools import MAX_RESULT_CHARS, toolbox_of

pytestmark = pytest.mark.short


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


def test_a_text_result_is_unchanged_and_any_other_is_formatted() -> None:
    def identity(value):
        return value

    assert step(identity, '{"value": "a"}', show=repr).result == "a"
    assert step(identity, '{"value": null}').result == "None"
    assert step(identity, '{"value": [1]}', show=lambda value: f"<{value}>").result == "<[1]>"


class Text(str):
    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        raise ValueError("not this one")


def test_a_subclass_of_str_is_sent_as_str() -> None:
    def tool() -> str:
        return Text("abc")

    assert type(step(tool).result) is str
    assert step(tool).result == "abc"


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


def test_a_formatter_that_returns_no_text_is_reported() -> None:
    done = step(both, '{"a": 1}', show=lambda value: value)
    assert done.result == "The tool both ran, and its result, of type tuple, has no text form."
    assert "TypeError" in done.notices[0]


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


class PanicException(BaseException):
    """As PyO3 makes one for the panics of each library."""


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
        (PanicException("of a Rust library"), "PanicException: of a Rust library\n"),
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


def test_the_output_and_warnings_of_a_tool_are_not_captured(capsys: pytest.CaptureFixture[str]) -> None:
    def tool() -> str:
        print("printed")
        warnings.warn("warned", UserWarning, stacklevel=1)
        return "returned"

    with pytest.warns(UserWarning, match="warned"):
        assert step(tool).result == "returned"
    assert capsys.readouterr().out == "printed\n"


@pytest.mark.parametrize("limit", [0, 1, None])
def test_the_error_of_a_tool_is_reported_where_tracebacks_are_limited(
    monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    names: dict[str, Any] = {}
    # As a tool is defined that another program has written.
    exec("def divide(a: int) -> float:\n    return a / 0\n", names)
    if limit is not None:
        monkeypatch.setattr(sys, "tracebacklimit", limit, raising=False)
    first, *lines = step(names["divide"], '{"a": 1}').result.splitlines()
    assert first == "ZeroDivisionError: division by zero"
    assert limit is not None or lines == ["  in divide, line 2: "]
