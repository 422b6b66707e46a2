"""Convert containers, whatever their class, to JSON types: dicts, lists, records, models and arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import isinf
from pathlib import PurePath
from typing import Any, Final

from ..imports import is_instance
from ..messages import dumped_model, is_container, items_by_name, items_in, record_fields
from ..text import MAX_INTEGER, is_missing, python_of, python_values, shortest_float, str_of, unwrapped
from . import charts, images
from .files import describe_object, no_readable_form, text_or_size
from .images import IN_TEXT, Image, TextOfImages
from .value_spans import LEFT_OUT, CutText

MAX_ITEMS: Final = 1000
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 20
# Each level takes some of Python's limit of 1,000 calls.
MAX_DEPTH_OF_WHOLE: Final = 120
# Arrays whose own text leaves out most of what they hold.
ARRAYS: Final = (
    "pandas.core.arrays.base.ExtensionArray",
    "pandas.Index",
    "pyarrow.Array",
    "pyarrow.ChunkedArray",
)


@dataclass(frozen=True, slots=True)
class Made:
    """A value that the user's function made of another one. The function is not used for it again."""

    value: Any


@dataclass(frozen=True, slots=True)
class Forms:
    """What becomes of the values in a container, by `values.py`, which converts containers too.

    Attributes
    ----------
    is_plain : callable
        Whether the values of a class have the form that JSON has for them.
    custom : callable
        Returns what `custom_prompt` returns, or a Made.
    converter : callable
        Returns our function for the values of a class; None for any other class.
    whole : callable
        Returns what our function returns, uncut.
    """

    is_plain: Callable[[type], bool]
    custom: Callable[..., str | Image | Made | None]
    converter: Callable[[type], Callable[..., str | Image] | None]
    whole: Callable[[Any], str | Image]


def _scalar(value: float | str) -> Any:
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return str_of(value)
    # JSON has no number for infinity.
    return str(value) if isinstance(value, float) and isinf(value) else value


def is_list(array: Any) -> bool:
    """Return whether an array is written as a list: one of objects, or one that was a list."""
    return array.ndim == 1 and (array.dtype == object or was_list(array))


def was_list(value: Any) -> bool:
    """Return whether a value is an array in a cell of a frame, which was a list before it was written to a file."""
    return is_instance(value, "numpy.ndarray") and value.ndim == 1 and hasattr(value, "is_list")


def record_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a record that may be shown; None for any other value."""
    if is_instance(value, "plotly.basedatatypes.BasePlotlyType"):
        return charts.without(value.to_plotly_json(), "template")
    if (fields := record_fields(value, private=False)) == {} and (hasattr(value, "__dict__") and vars(value)):
        # Its fields are hidden, or not declared.
        raise no_readable_form(value, repr(value))
    return fields


class JsonValues:
    """Converts containers to JSON types.

    Parameters
    ----------
    forms : Forms
        What becomes of the values in them.
    is_limited : bool
        Whether only so much is converted as can be read.
    is_data : bool
        Whether it is data for a program.

    Attributes
    ----------
    has_left_out : bool
        Whether anything was left out.
    images : list of Image
        The images that were found. Each is written as `[image]`.
    """

    def __init__(self, forms: Forms, *, is_limited: bool, is_data: bool = False) -> None:
        self._forms, self._is_limited, self._is_data = forms, is_limited, is_data
        self._most_items, self._most_nodes = (MAX_ITEMS, MAX_NODES) if is_limited else (sys.maxsize, sys.maxsize)
        self.has_left_out = False
        self._nodes = 0
        self.images: list[Image] = []
        self._above: list[int] = []

    def of(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        self._nodes += 1
        if is_missing(value):
            return None
        if isinstance(value, (int, float, str)) and self._forms.is_plain(type(value)):
            return _scalar(value)
        if id(value) in self._above:
            return "..."
        if len(self._above) > (MAX_DEPTH if self._is_limited else MAX_DEPTH_OF_WHOLE) or self._nodes > self._most_nodes:
            self.has_left_out = True
            return "..."
        self._above.append(id(value))
        try:
            return self._of_container(unwrapped(value))
        finally:
            self._above.pop()

    def of_itself(self, value: Any) -> Any:
        """Return a value as JSON has it, also if the user has registered a form for its class."""
        self._above.append(id(value))
        try:
            return self._of_itself(value)
        finally:
            self._above.pop()

    def _of_itself(self, value: Any) -> Any:
        if is_missing(value):
            return None
        if getattr(value, "shape", None) == ():
            value = python_values(value)
        if isinstance(value, (int, float, str)):
            return _scalar(value)
        return self.text_of(value) if isinstance(value, Image) else self._by_its_kind(value)

    def _of_container(self, value: Any) -> Any:
        if type(value) is list and self._forms.is_plain(list):  # most are
            return self._of_items(value)
        shown = value if isinstance(value, Image) else self._forms.custom(value, is_data=self._is_data)
        if isinstance(shown, Made):
            return self._of_itself(shown.value)
        if shown is not None or (shown := images.image_from_record(value)) is not None:
            return self.text_of(shown)
        return self._by_its_kind(value)

    def _by_its_kind(self, value: Any) -> Any:
        if is_instance(value, "pyarrow.Scalar"):
            return self.of(python_of(value))
        if is_container(value) and isinstance(value, Mapping):
            return self._of_dict(value)
        if (record := record_of(value)) is not None:
            return {name: self.of(one) for name, one in record.items()}
        if is_container(value):
            return self._of_items(items_in(value))
        if hasattr(type(value), "model_dump"):
            return self.of(dumped_model(value))
        if any(is_instance(value, name) for name in ("pandas.Timedelta", "numpy.datetime64", "numpy.timedelta64")):
            return str(value)
        if hasattr(type(value), "isoformat"):
            return value.isoformat()
        if hasattr(type(value), "item") and not getattr(value, "shape", None):
            # A quantity of Astropy stays one, with its unit.
            item = python_values(value)
            return describe_object(value) if type(item) is type(value) else self.of(item)
        if isinstance(value, bytes | bytearray | memoryview):
            image = images.image_from_bytes(bytes(value))
            return self.text_of(text_or_size(value) if image is None else image)
        if self._has_items(value):
            return self._of_array(value)
        if isinstance(value, PurePath):
            # A path in a container stands for its name. Only a path that is itself the value is read.
            return str(value)
        known = self._forms.converter(type(value))
        return (
            self.text_of((known if self._is_limited else self._forms.whole)(value)) if known else describe_object(value)
        )

    def _has_items(self, value: Any) -> bool:
        """Return whether a value is an array of one dimension; of any number of them, if it is data."""
        if is_instance(value, "numpy.ndarray"):
            return value.ndim == 1 or (self._is_data and value.ndim > 1)
        return any(is_instance(value, name) for name in ARRAYS)

    def _of_array(self, value: Any) -> list[Any]:
        # A range of pandas may be longer than any list.
        part = value[: self._most_items]
        is_arrow = hasattr(part, "to_pylist")
        items = shortest_float(part.to_pylist(), str(part.type)) if is_arrow else python_values(part)
        kept = [self.of(one) for one in items]
        return kept if len(value) <= self._most_items else [*kept, self._more(len(value))]

    def text_of(self, shown: str | Image) -> str:
        """Return what stands for a text or an image in JSON."""
        self.has_left_out |= isinstance(shown, CutText)
        if isinstance(shown, TextOfImages):
            self.images += shown.images
        elif isinstance(shown, Image):
            self.images.append(shown)
        return IN_TEXT if isinstance(shown, Image) else shown

    def _of_items(self, value: Any) -> list[Any]:
        kept = [self.of(one) for one in islice(value, self._most_items)]
        return kept if len(value) <= self._most_items else [*kept, self._more(len(value))]

    def _of_dict(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        kept = {name: self.of(one) for name, one in items_by_name(value, self._most_items).items()}
        return kept if len(value) <= self._most_items else {**kept, "...": self._more(len(value))}

    def _more(self, length: int) -> str:
        self.has_left_out = True
        return LEFT_OUT.format(f"{length - self._most_items:,} more")
