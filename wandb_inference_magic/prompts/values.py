"""Convert a notebook value for a prompt, by its type. `as_prompt` is the one function to extend.

Types of other packages are looked up among the modules that are loaded, so that no package is imported without need.
A function that the user registered for a type comes before ours.
"""

from __future__ import annotations

import codecs
import inspect
import json
import sys
import textwrap
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import singledispatch
from itertools import islice
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, quoted
from ..messages import Reply, estimate
from ..text import safe_plain
from . import frames, images
from .arrays import describe_array
from .images import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    if form := _form_of(type(value)):
        return form(value)
    if is_dataclass(value) or hasattr(type(value), "model_dump"):
        return _json(value)
    if hasattr(type(value), "__arrow_c_stream__") or hasattr(type(value), "__dataframe__"):
        return frames.describe_frame(value)
    return images.image_from_png(value) or _words(value)


def image_of(value: object) -> Image | None:
    """Return the image of a value, or of a str (a file's path, an http(s) or data URL). Return None otherwise."""
    if isinstance(value, str):
        if value.startswith(("https://", "http://", "data:image/")):
            return Image(value)
        path = _home_resolved(Path(value))
        return images.image_at(path) if images.is_image_file(path) else None
    shown = as_prompt(value)
    return shown if isinstance(shown, Image) else None


def cut(text: str, tokens: int) -> str:
    """Return a text cut in the middle to about `tokens` tokens. A note there says how much is left out."""
    whole = estimate(text)
    if whole <= tokens or len(text) <= len(LEFT_OUT):
        return text
    room = int(len(text) * tokens / whole)
    while True:
        head, tail = text[: int(room * HEAD_SHARE)], text[len(text) - room + int(room * HEAD_SHARE) :]
        # Cut between lines where one ends nearby.
        if (end := head.rfind("\n", len(head) * 4 // 5)) >= 0:
            head = head[:end]
        tail = tail[tail.find("\n", 0, len(tail) // 5) + 1 :]
        if estimate(head + tail) <= tokens or not room:
            break
        # The ends have more tokens per character than the rest.
        room = room * 3 // 4
    gap = LEFT_OUT.format(f"{len(text) - len(head) - len(tail):,} characters")
    return f"{head.rstrip()}\n{gap}\n{tail.lstrip()}"


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
    return safe_plain("".join(traceback.format_exception(value))).strip()


def _json(value: object) -> str:
    plain = _Plain().of(value)
    line = json.dumps(plain, ensure_ascii=False)
    return line if len(line) <= ONE_LINE else json.dumps(plain, ensure_ascii=False, indent=2)


for _container in (dict, list, tuple, set, frozenset, deque):
    as_prompt.register(_container, _json)


def _source(value: Any) -> str:
    with suppress(OSError, TypeError):
        return textwrap.dedent(inspect.getsource(value)).rstrip()
    signature = "(...)"
    with suppress(ValueError, TypeError):
        signature = str(inspect.signature(value))
    return f"{value.__qualname__}{signature}\n\n{inspect.getdoc(value) or ''}".rstrip()


for _definition in (FunctionType, MethodType, BuiltinFunctionType, type):
    as_prompt.register(_definition, _source)


@as_prompt.register
def _(value: ModuleType) -> str:
    return f"module {value.__name__}\n\n{inspect.getdoc(value) or ''}".rstrip()


@as_prompt.register
def _(value: Path) -> str | Image:
    path = _home_resolved(value)
    try:
        if path.is_dir():
            return "\n".join(_entries(path))
        if images.is_image_file(path):
            return images.image_at(path)
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
        if value is None or isinstance(value, int | float | str):
            is_huge = isinstance(value, int) and abs(value) >= LARGEST_INTEGER
            return _words(value) if is_huge else value
        if id(value) in self._above or len(self._above) > DEEPEST or self._nodes > MOST_NODES:
            return "..."
        self._above.append(id(value))
        try:
            return self._of_container(value)
        finally:
            self._above.pop()

    def _of_container(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._of_dict(value)
        if isinstance(value, list | tuple | set | frozenset | deque):
            kept = [self.of(one) for one in islice(value, MOST_ITEMS)]
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
        if form := _form_of(type(value)):
            shown = form(value)
            return "[image]" if isinstance(shown, Image) else shown
        return safe_plain(_words(value))

    def _of_dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, one in islice(value.items(), MOST_ITEMS):
            name = _words(key)
            # JSON keys are strings only. Where two keys collide, such as 1 and "1", use the repr of the second.
            kept[name if name not in kept else repr(key)] = self.of(one)
        return kept if len(value) <= MOST_ITEMS else {**kept, "...": _more(len(value))}


def _words(value: object) -> str:
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return f"an integer of about {value.bit_length() * 3 // 10:,} digits"
    return str(value)


def _more(length: int) -> str:
    return LEFT_OUT.format(f"{length - MOST_ITEMS:,} more")


# Other packages' types ---------------------------------------------------------------------------------------

_FORMS: Final[dict[str, Callable[[Any], str | Image]]] = {
    "pandas.DataFrame": frames.describe_pandas,
    "pandas.Series": frames.describe_pandas_series,
    "polars.DataFrame": frames.describe_frame,
    "polars.LazyFrame": frames.describe_frame,
    "polars.Series": frames.describe_frame,
    "pyarrow.Table": frames.describe_frame,
    "numpy.ndarray": describe_array,
    "matplotlib.figure.Figure": images.image_from_figure,
    "matplotlib.axes.Axes": images.image_from_axes,
    "PIL.Image.Image": images.image_from_pillow,
    "IPython.core.display.Image": images.image_from_ipython,
}


def _form_of(kind: type) -> Callable[[Any], str | Image] | None:
    """Return the function for a type: registered with `as_prompt`, or for a type of `_FORMS`. None for any other."""
    registered = as_prompt.dispatch(kind)
    if registered is not as_prompt.dispatch(object):
        return registered
    for name, form in _FORMS.items():
        module, _, attribute = name.rpartition(".")
        known = getattr(sys.modules.get(module), attribute, None)
        if isinstance(known, type) and issubclass(kind, known):
            return form
    return None
