"""What is drawn while replies arrive, on a canvas that records it."""

from __future__ import annotations

from typing import Any

import pytest
from service import chunk

from wandb_inference_magic.frontend import LiveUpdater
from wandb_inference_magic.frontend.terminal import PlainCanvas
from wandb_inference_magic.replies import CallProgress, ReplyBuilder


class Recorded(PlainCanvas):
    """A canvas that keeps what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[str] = []
        self.whole: list[str] = []

    def _print(self, text: str) -> None:
        self.drawn.append(text.strip())
        self.whole.append(text)


def followed(*texts: str) -> tuple[Recorded, LiveUpdater, CallProgress]:
    """Return the canvas on which the first of the texts is drawn, what draws it, and the call that received them."""
    canvas, progress = Recorded(), CallProgress("m")
    updater = LiveUpdater(canvas, per_second=10)
    updater.start(progress)
    for number, text in enumerate(texts):
        progress.builder.add(chunk({"content": text}))
        if number == 0:
            updater.redraw()
    return canvas, updater, progress


def test_an_answer_that_is_asked_for_again_is_no_reasoning_and_is_drawn_to_its_end() -> None:
    canvas, updater, progress = followed("not ", "json")
    progress.builder = ReplyBuilder()
    updater.step("*asking once more*")
    assert canvas.drawn == ["not", "json", "*asking once more*"]


@pytest.mark.parametrize("draw", ["redraw", "finish"])
def test_text_that_turns_out_to_be_reasoning_is_called_so(draw: str) -> None:
    canvas, updater, progress = followed("It rains.\n", "</think>\n\nYes.")
    reply: Any = progress.builder.build(asked_model="m", endpoint="e", price=None, messages=())
    updater.redraw() if draw == "redraw" else updater.finish(reply)
    assert canvas.drawn[:3] == ["It rains.", "*The text above is the model's reasoning.*", "Yes."]


def test_the_reply_of_a_later_try_is_drawn() -> None:
    canvas, updater, progress = followed()
    progress.builder = ReplyBuilder()
    progress.builder.add(chunk({"content": "Yes."}))
    updater.redraw()
    assert canvas.drawn == ["Yes."]


KEY = "0123456789abcdef-of-the-service"


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize(
    "text", [f"The key is {KEY}. It is 0123 more.", f"The key is {KEY}", f"\n<think>{KEY}</think>No."]
)
def test_no_drawing_of_a_reply_has_a_key_and_all_else_is_drawn(text: str, size: int) -> None:
    canvas, updater, progress = followed()
    progress.builder.secrets = (KEY,)
    for start in range(0, len(text), size):
        progress.builder.add(chunk({"content": text[start : start + size]}))
        updater.redraw()
    reply: Any = progress.builder.build(asked_model="m", endpoint="e", price=None, messages=())
    updater.finish(reply)
    shown = "".join(canvas.whole)
    assert KEY[:5] not in shown
    assert shown.strip().startswith(reply.text)
    assert reply.text == text.replace(KEY, "(hidden)").partition("</think>")[2] or "(hidden)" in reply.text


@pytest.mark.parametrize("before", ["\n", "\n\n\n"])
def test_a_reply_after_blank_lines_and_reasoning_is_drawn_to_its_last_character(before: str) -> None:
    canvas, updater, progress = followed(f"{before}<think>Because.</think>Hello wor", "ld, again")
    reply: Any = progress.builder.build(asked_model="m", endpoint="e", price=None, messages=())
    updater.finish(reply)
    assert "".join(canvas.whole).strip().startswith("Hello world, again[")
