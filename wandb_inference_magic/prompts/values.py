"""Convert a notebook value for a prompt, by its type. `as_prompt` is the one function to extend.

Types of other packages are registered when the first value of such a package is seen, so that no package is imported
without need. A function that the user registered for a type is never replaced.
"""

from __future__ import annotations

import codecs
import inspect
import json
import textwrap
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import singledispatch
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from ..errors import InferenceError, quoted
from ..messages import Reply, estimate
from ..text import safe_plain
from .images import Image, image_at, image_from_png, is_image_file, learn_ipython, learn_matplotlib, learn_pillow

__all__ = ["Image", "as_prompt", "cut", "exception_text", "image_of"]

MOST_ITEMS: Final = 1000
MOST_NODES: Final = 20_000
DEEPEST: Final = 20
# Python refuses to convert much larger integers to text.
LARGEST_INTEGER: Final = 10**1000
ONE_LINE: Final = 100
LONGEST_FILE: Final = 10_000_000
MOST_ENTRIES: Final = 200
LEFT_OUT: Final = "[... {} left out ...]"
# The start of a cut value is more informative than its end.
HEAD_SHARE: Final = 2 / 3


@singledispatch
def as_prompt(value: object) -> str | Image:
    """Return the form of a value in a prompt: a text or an image.

    Register a custom type with `@as_prompt.register`.

    Raises
    ------
    InferenceError
        For a path that cannot be read or is not a text file.
    """
    if _learn(type(value)):
        return as_prompt(value)
    if is_dataclass(value) or hasattr(type(value), "model_dump"):
        return _json(value)
    if hasattr(type(value), "__arrow_c_stream__") or hasattr(type(value), "__dataframe__"):
        from .frames import describe_frame

        return describe_frame(value) or str(value)
    return image_from_png(value) or _words(value)


def image_of(value: object) -> Image | None:
    """Return the image of a value, or of a str (a file's path, an http(s) or data URL). Return None otherwise."""
    if isinstance(value, str):
        if value.startswith(("https://", "http://", "data:image/")):
            return Image(value)
        path = _home_resolved(Path(value))
        return image_at(path) if is_image_file(path) else None
    shown = as_prompt(value)
    return shown if isinstance(shown, Image) else None


def cut(text: str, tokens: int) -> str:
    """Return a text cut in the middle to about `tokens` tokens. A note there says how much is left out."""
    whole = estimate(text)
    if whole <= tokens or len(text) <= len(LEFT_OUT):
        return text
    room = int(len(text) * tokens / whole)
    while True:
        head = _to_line_end(text[: int(room * HEAD_SHARE)])
        tail = _from_line_start(text[len(text) - room + int(room * HEAD_SHARE) :]) if room else ""
        if estimate(head + tail) <= tokens or not room:
            break
        # The ends have more tokens per character than the rest.
        room = room * 3 // 4
    gap = LEFT_OUT.format(f"{len(text) - len(head) - len(tail):,} characters")
    return f"{head.rstrip()}\n{gap}\n{tail.lstrip()}"


def _to_line_end(head: str) -> str:
    end = head.rfind("\n", len(head) * 4 // 5)
    return head if end < 0 else head[:end]


def _from_line_start(tail: str) -> str:
    start = tail.find("\n", 0, len(tail) // 5)
    return tail if start < 0 else tail[start + 1 :]


def exception_text(error: BaseException) -> str:
    """Return an exception with its traceback, without colours."""
    return safe_plain("".join(traceback.format_exception(error))).strip()


# Python's own types ------------------------------------------------------------------------------------------


@as_prompt.register
def _(value: str) -> str:
    # A subclass of str may override `__str__`. Use its text.
    return str.__str__(value)


@as_prompt.register
def _(value: Image) -> Image:
    return value


@as_prompt.register
def _(value: Reply) -> str:
    return value.text


@as_prompt.register
def _(value: BaseException) -> str:
    return exception_text(value)


@as_prompt.register(dict)
@as_prompt.register(list)
@as_prompt.register(tuple)
@as_prompt.register(set)
@as_prompt.register(frozenset)
@as_prompt.register(deque)
def _json(value: object) -> str:
    plain = _Plain().of(value)
    line = json.dumps(plain, ensure_ascii=False)
    return line if len(line) <= ONE_LINE else json.dumps(plain, ensure_ascii=False, indent=2)


@as_prompt.register(FunctionType)
@as_prompt.register(MethodType)
@as_prompt.register(BuiltinFunctionType)
@as_prompt.register(type)
def _source(value: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(value)).rstrip()
    except (OSError, TypeError):
        return _signature(value)


def _signature(value: Any) -> str:
    try:
        signature = str(inspect.signature(value))
    except (ValueError, TypeError):
        signature = "(...)"
    return f"{value.__qualname__}{signature}\n\n{inspect.getdoc(value) or ''}".rstrip()


@as_prompt.register
def _(value: ModuleType) -> str:
    return f"module {value.__name__}\n\n{inspect.getdoc(value) or ''}".rstrip()


@as_prompt.register
def _(value: Path) -> str | Image:
    path = _home_resolved(value)
    try:
        if path.is_dir():
            return "\n".join(_entries(path))
        if is_image_file(path):
            return image_at(path)
        with path.open("rb") as file:
            start = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "Check its name and folder.") from None
    is_whole = len(start) <= LONGEST_FILE
    encoding = _encoding(start, is_whole=is_whole)
    if b"\x00" in start[:4096] and encoding != "utf-16":
        raise _unreadable(path, "It holds no text.", "Read it yourself and put what matters into the prompt.")
    # The cut may be inside a character.
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start[:LONGEST_FILE], final=is_whole)
    return text if is_whole else f"{text}\n{LEFT_OUT.format('the rest of the file')}"


def _encoding(start: bytes, *, is_whole: bool) -> str:
    """Return the encoding of a file from its start: UTF-16, UTF-8, or else cp1252, used by older Windows programs."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=is_whole)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _home_resolved(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        # There is no such user, so the name is taken literally.
        return path


def _entries(folder: Path) -> Iterator[str]:
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    yield from names[:MOST_ENTRIES]
    if len(names) > MOST_ENTRIES:
        yield LEFT_OUT.format(f"{len(names) - MOST_ENTRIES:,} entries")


def _unreadable(path: Path, why: str, remedy: str) -> InferenceError:
    return InferenceError(f"{path} cannot be put into a prompt.", why=quoted(why), remedy=remedy, cause="option")


class _Plain:
    """Convert containers to JSON types, limited to a readable size."""

    def __init__(self) -> None:
        self._nodes = 0
        self._above: list[int] = []

    def of(self, value: Any) -> Any:
        self._nodes += 1
        if isinstance(value, int) and not isinstance(value, bool):
            return value if abs(value) < LARGEST_INTEGER else _words(value)
        if value is None or isinstance(value, bool | float | str):
            return value
        if id(value) in self._above or len(self._above) > DEEPEST or self._nodes > MOST_NODES:
            return "..."
        self._above.append(id(value))
        try:
            return self._of_container(value)
        finally:
            self._above.pop()

    def _of_container(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._of_items(value.items(), len(value))
        if isinstance(value, list | tuple | set | frozenset | deque):
            kept = [self.of(one) for _, one in zip(range(MOST_ITEMS), value, strict=False)]
            return kept if len(value) <= MOST_ITEMS else [*kept, _more(len(value))]
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.of(getattr(value, field.name)) for field in fields(value)}
        if hasattr(type(value), "model_dump"):
            return value.model_dump(mode="json")
        if hasattr(type(value), "isoformat"):
            return value.isoformat()
        if hasattr(type(value), "item") and not getattr(value, "shape", None):
            return self.of(value.item())
        if isinstance(value, PurePath):
            # A path in a container stands for its name. Only a path that is itself the value is read.
            return str(value)
        if as_prompt.dispatch(type(value)) is not as_prompt.dispatch(object):
            shown = as_prompt(value)
            return "[image]" if isinstance(shown, Image) else shown
        return safe_plain(_words(value))

    def _of_items(self, items: Any, length: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for _, (key, one) in zip(range(MOST_ITEMS), items, strict=False):
            name = _words(key)
            # JSON keys are strings only. Where two keys collide, such as 1 and "1", use the repr of the second.
            kept[name if name not in kept else repr(key)] = self.of(one)
        return kept if length <= MOST_ITEMS else {**kept, "...": _more(length)}


def _words(value: object) -> str:
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return f"an integer of about {value.bit_length() * 3 // 10:,} digits"
    return str(value)


def _more(length: int) -> str:
    return LEFT_OUT.format(f"{length - MOST_ITEMS:,} more")


# Other packages' types ---------------------------------------------------------------------------------------

Learn = Callable[[Callable[[type, Callable[[Any], str | Image]], None]], None]


def _learn_pandas(register: Callable[..., None]) -> None:
    import pandas as pd

    from .frames import describe_pandas, describe_pandas_series

    register(pd.DataFrame, describe_pandas)
    register(pd.Series, describe_pandas_series)


def _learn_numpy(register: Callable[..., None]) -> None:
    import numpy as np

    from .arrays import describe_array

    register(np.ndarray, describe_array)


def _learn_polars(register: Callable[..., None]) -> None:
    import polars as pl

    from .frames import describe_frame

    for kind in (pl.DataFrame, pl.LazyFrame, pl.Series):
        register(kind, describe_frame)


def _learn_pyarrow(register: Callable[..., None]) -> None:
    import pyarrow as pa

    from .frames import describe_frame

    register(pa.Table, describe_frame)


_LEARN: Final[dict[str, Learn]] = {
    "pandas": _learn_pandas,
    "polars": _learn_polars,
    "pyarrow": _learn_pyarrow,
    "numpy": _learn_numpy,
    "matplotlib": learn_matplotlib,
    "PIL": learn_pillow,
    "IPython": learn_ipython,
}
_learnt: set[str] = set()


def _learn(kind: type) -> bool:
    """Register the types of the packages that a type comes from. Return whether there were any to register."""
    roots = {one.__module__.partition(".")[0] for one in kind.__mro__}
    new = [root for root in roots if root in _LEARN and root not in _learnt]
    for root in new:
        _learnt.add(root)
        _LEARN[root](_register)
    return bool(new)


def _register(kind: type, describe: Callable[[Any], str | Image]) -> None:
    if kind not in as_prompt.registry:
        as_prompt.register(kind, describe)
