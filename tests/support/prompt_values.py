"""Values for prompts, and what they become in one."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import PIL.Image
from matplotlib.figure import Figure

from wandb_inference_magic.messages.reply import Reply
from wandb_inference_magic.prompts.values import Image, as_prompt


def text_of(value: object) -> str:
    shown = as_prompt(value)
    assert isinstance(shown, str)
    return shown


def picture_of(value: object) -> PIL.Image.Image:
    """Open the image that the value is converted to."""
    shown = as_prompt(value)
    assert isinstance(shown, Image)
    head, _, data = shown.url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


class Plain:
    def __str__(self) -> str:
        return "plainly"


def halve(x: float) -> float:
    """Halve it."""
    return x / 2


REPLY = Reply(text="the answer", asked_model="m", model="m", endpoint="wandb")


def text_and_peak_of(value: object, make: Callable[[Any], str] = text_of) -> tuple[str, int]:
    """Return the text of a value in a prompt, and the peak of the memory in use while it was made."""
    tracemalloc.start()
    try:
        return make(value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Url(NamedTuple):
    user: str = "bo"
    key: str = "secret"

    def __repr__(self) -> str:
        return f"{self.user}:***"


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(data, "PNG")
    return data.getvalue()


def run_alone(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Described:
    def _ai_repr_(self, **kwargs: Any) -> dict[str, Any]:
        return {"image/png": base64.b64encode(png()).decode(), "text/plain": "described for models"}


class Nothing:
    """An object with Python's own repr."""


def axes_with_line() -> Any:
    axes = Figure().add_subplot()
    axes.plot([1, 2])
    return axes
