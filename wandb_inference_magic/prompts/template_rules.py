"""What operators, filters, `%` and `format` of templates make of a value. A missing one is no text, item or number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial, wraps
from inspect import signature
from math import nan
from pathlib import PurePath
from string import Formatter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import Undefined
from jinja2.filters import make_attrgetter
from typing_extensions import override

from ..errors import InferenceError
from ..imports import is_instance, loaded
from ..messages import is_container, shows_private_fields
from ..text import (
    in_order,
    is_missing,
    member_value,
    python_of,
    python_values,
    says_nothing,
    unwrapped,
    without_addresses,
)
from .images import Image, TextOfImages, image_inside
from .value_spans import MarkedText, Whole, check_images
from .values import converter_of, in_place_of_str, json_of, to_prompt

if TYPE_CHECKING:
    Filter = Callable[..., Any]

_TEXTS: Final = (
    *("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "replace", "safe", "string"),
    *("striptags", "title", "trim", "truncate", "upper", "urlize", "wordwrap"),
)
_LISTS: Final = (
    *("batch", "items", "list", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "unique"),
)
# They leave missing items out, as pandas does, or put them last.
_SKIPPING: Final = ("max", "min", "sum")
# Of nothing they give nothing: Jinja2 would raise, or write "None".
_ABSENT: Final = ("dictsort", "filesizeformat", "pprint", "random", "xmlattr")
# They give NaN: the number is not known, and neither is what is calculated from it.
_NUMBERS: Final = ("abs", "count", "float", "int", "length", "round", "wordcount")
# The types of what a row may lack. `df.head()` with None in `df` is a mistake.
_OF_ROWS: Final = (str, list, dict, datetime, timedelta, float)
# What Python's own functions give of nothing, and those to which it has no items.
_OF_NOTHING: Final = ((bool, False), *((one, nan) for one in (int, float, round, abs, len)))
_OF_ITEMS: Final = (all, any, enumerate, frozenset, list, reversed, set, sorted, tuple, zip)
_CONVERSION: Final = re.compile(r"%(?P<name>\([^)]*\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?[hlL]?(?P<kind>[a-zA-Z%])")


class Group(NamedTuple):
    """A group of items as the filter `groupby` gives it."""

    grouper: Any
    list: list[Any]


# What comes of the missing items, after the others.
_SORTING: Final[dict[str, Callable[[list[Any]], list[Any]]]] = {
    "groupby": lambda items: [Group(None, items)] if items else [],
    "sort": list,
}


def filters_for_missing(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """Return those filters of Jinja2 that need a rule for a missing value, with that rule."""
    texts = {name: _of_changed(filters[name], text_or_empty) for name in _TEXTS}
    lists = {name: _of_changed(filters[name], ordered_items) for name in _LISTS}
    numbers = {name: _of_changed(_absent_of(filters[name], nan), value_or_none) for name in _NUMBERS}
    numbers |= {name: _of_one(numbers[name]) for name in ("float", "int")}
    absent = {name: _absent_of(filters[name]) for name in _ABSENT}
    skipping = {name: _absent_of(_with_missing_apart(filters[name])) for name in _SKIPPING}
    sorting = {name: _with_missing_apart(filters[name], last) for name, last in _SORTING.items()}
    others = {"join": _of_changed(filters["join"], _texts_of), "format": _format}
    others["urlencode"] = _of_changed(filters["urlencode"], _query_of)
    others |= {name: _absent_of(_of_changed(filters[name], ordered_items)) for name in ("first", "last")}
    others["pprint"] = _of_changed(absent["pprint"], _printable)
    return {**texts, **lists, **numbers, **absent, **skipping, **sorting, **others}


def text_or_empty(value: Any) -> Any:
    """Return what stands for a value in a text: nothing if it is missing, its form if its `str` says nothing of it.

    A container is JSON: Python's own text has its sets in another order in each process, and words for what is missing.

    Raises
    ------
    InferenceError
        For an image, and for a value that has no readable form.
    """
    if (value := value_or_none(value)) is None:
        return ""
    value = unwrapped(value)
    if type(value) in (str, int, float) or isinstance(value, MarkedText | Undefined):
        return value
    shown = in_place_of_str(value)
    if shown is None and isinstance(value, (str, int, float)):
        return member_value(value)
    if shown is None and is_container(value):
        shown = json_of(value)
    # A path and an exception are often parts of a sentence: their own texts are.
    has_own = converter_of(type(value)) is None or isinstance(value, PurePath | BaseException)
    if shown is None and has_own:
        text = str(value)
        if not says_nothing(text) and without_addresses(text) == text:
            return value
    shown = to_prompt(value) if shown is None else shown
    if isinstance(shown, Image | TextOfImages):
        raise image_inside(value.value if isinstance(value, Whole) else value)
    return shown


def _of_one(run: Filter) -> Filter:
    """Return a filter that refuses a container or an array, unless it has a default: Jinja2 would make 0 of it."""

    @wraps(run)
    def run_of_one(value: Any, *others: Any, **options: Any) -> Any:
        is_array = _items_of_array(value) is not None or getattr(value, "shape", ()) != ()
        if (is_array or is_container(value)) and not (others or options):
            what = f"A value of type {type(value).__name__} is not one number."
            raise InferenceError(what, remedy="Name an item of it, such as value[0], or convert each with map('int').")
        return run(value, *others, **options)

    return run_of_one


def _printable(value: Any) -> Any:
    """Return a value, or what may be sent of it if its repr shows what it hides."""
    return json.loads(json_of(value)) if shows_private_fields(value, "__repr__") else value


def function_of(function: Any) -> Any:
    """Return a function that is called, with the rule of the filter of its name if it is one of Python's own."""
    if function is str:
        return lambda *values, **options: str(*map(text_or_empty, values[:1]), *values[1:], **options)
    if any(one is function for one in _OF_ITEMS):
        return lambda *values, **options: function(*map(ordered_items, values), **options)
    absent = next((absent for one, absent in _OF_NOTHING if one is function), None)
    if absent is None:
        return function

    def run(*values: Any, **options: Any) -> Any:
        return absent if values and is_missing(values[0]) else function(*values, **options)

    return run


def value_or_none(value: Any) -> Any:
    """Return a value, None if it is missing, and Python's for a scalar of pyarrow or an array without dimensions."""
    if type(value) is str:
        return value
    if is_missing(value):
        return None
    if is_instance(value, "pyarrow.Scalar"):
        return python_of(value)
    return python_values(value) if is_instance(value, "numpy.ndarray") and not value.ndim else value


def items_or_value(value: Any) -> Any:
    """Return the items of an array or a series with one axis, None if a value is missing, else the value."""
    return value_or_none(value) if (items := _items_of_array(value)) is None else items


def _items_of_array(value: Any) -> list[Any] | None:
    if hasattr(type(value), "to_pylist") and hasattr(value, "type"):
        items: list[Any] = value.to_pylist()
        return items
    is_array = hasattr(type(value), "tolist") and len(getattr(value, "shape", ())) == 1
    return value.tolist() if is_array else None


def truth_of(value: Any) -> Any:
    """Return what is true in place of a value: nothing if it is missing, the items of an array or a series.

    Raises
    ------
    InferenceError
        If these items are truths, as of a comparison. Only an array that was a list, and no result of a function,
        may have such items.
    """
    if (items := _items_of_array(value)) is None:
        return value_or_none(value)
    first = next((one for one in items if not is_missing(one)), None)
    if isinstance(first, bool) and getattr(value, "is_computed", True):
        raise InferenceError(
            f"The truth value of a value of type {type(value).__name__} is ambiguous: it has one for each item.",
            remedy="Write (...).any() or (...).all().",
        )
    return items


def items_or_empty(value: Any) -> Any:
    """Return a value, or an empty tuple if it is missing."""
    return () if (found := value_or_none(value)) is None else found


def ordered_items(value: Any) -> Any:
    """Return a value, an empty tuple if it is missing, or the items of a set, in one order, or of an array.

    Jinja2 asks a value whether it is true, which an array or a series is not to be asked.
    """
    if isinstance(value, set | frozenset):
        return in_order(value)
    if hasattr(type(value), "to_pylist"):
        return value.to_pylist()
    is_array = hasattr(type(value), "__array__") and getattr(value, "ndim", True) and not isinstance(value, str)
    return list(value) if is_array else items_or_empty(value)


def _texts_of(value: Any) -> list[Any]:
    return [text_or_empty(one) for one in ordered_items(value)]


def _query_of(value: Any) -> Any:
    """Return what the filter `urlencode` reads: a mapping or pairs are the parameters of a query, all else a text."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    is_query = isinstance(pairs, list | tuple) and all(isinstance(one, list | tuple) and len(one) == 2 for one in pairs)
    return [(text_or_empty(name), text_or_empty(one)) for name, one in pairs] if is_query else text_or_empty(value)


def pattern_of(value: Any) -> Any:
    """Return the left side of `%`, an operand: a text formats what is missing as nothing."""
    value = operand_of(value)
    return _Pattern(value) if type(value) is str else value


def method_of(value: Any, name: str) -> Filter | None:
    """Return the method `name` that comes before the value's own; None if it has no other."""
    if isinstance(value, str) and name == "format":
        return partial(_Braces().format, value)
    if isinstance(value, str) and name == "format_map":
        return partial(_Braces().vformat, value, ())
    if not is_missing(value) or not any(hasattr(kind, name) for kind in _OF_ROWS):
        return None
    # The methods that NaT has raise, or give the text "NaT".
    return _nothing if value is loaded("pandas.NaT") or not hasattr(value, name) else None


def _nothing(*_values: Any, **_options: Any) -> None:
    """Stand for any method of a missing value."""


def operand_of(value: Any) -> Any:
    """Return a value as an operand: one that is missing adds nothing to a text, and makes a number missing."""
    return _Absent() if (found := value_or_none(value)) is None else found


class _Absent:
    """Stands for a missing value in a calculation."""

    def __add__(self, other: Any) -> Any:
        return other if isinstance(other, str | list | tuple) else nan

    def __sub__(self, _: Any) -> float:
        return nan

    def __neg__(self) -> float:
        return nan

    def __getitem__(self, _: Any) -> None:
        """A part of a missing value is missing."""

    __radd__ = __add__
    __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __sub__
    __mod__ = __rmod__ = __pow__ = __rpow__ = __sub__
    __pos__ = __neg__


class _Pattern(str):
    __slots__ = ()

    @override
    def __mod__(self, values: Any) -> str:
        return _formatted(str(self), values)


def _format(value: Any, *values: Any, **named: Any) -> str:
    return _formatted(str(text_or_empty(value)), named or values)


def _formatted(pattern: str, values: Any) -> str:
    """Return `pattern % values`, where a missing value is written as nothing."""
    if isinstance(values, Mapping):
        used = {found["name"][1:-1] for found in _CONVERSION.finditer(pattern) if found["name"]}
        values = {**values, **{name: _part(values[name]) for name in used if name in values}}
    else:
        values = tuple(map(_part, values if isinstance(values, tuple) else (values,)))
    following = iter(values if isinstance(values, tuple) else (values,))

    def conversion(found: re.Match[str]) -> str:
        if found["kind"] == "%":
            return found[0]
        name = found["name"]
        stars = [next(following, 0) for _ in range(found[0].count("*"))]
        value = next(following, 0) if name is None else values[name[1:-1]]
        return f"%{name or ''}.0s" if is_missing(value) and not stars else found[0]

    return str(_CONVERSION.sub(conversion, pattern) % values)


def _part(value: Any) -> Any:
    return value if is_missing(value) else text_or_empty(value)


class _Braces(Formatter):
    """Formats a text as its method `format` does, and writes a missing value as nothing."""

    @override
    def convert_field(self, value: Any, conversion: Any) -> Any:
        if is_missing(value) or not conversion:
            return value
        return super().convert_field(text_or_empty(value) if conversion == "s" else _printable(value), conversion)

    @override
    def format_field(self, value: Any, format_spec: str) -> str:
        return "" if is_missing(value) else str(super().format_field(text_or_empty(value), format_spec))


def _place(run: Filter) -> int:
    """Return the place of a filter's value: Jinja2 passes its context or environment to some before it."""
    return int(hasattr(run, "jinja_pass_arg"))


def _of_changed(run: Filter, change: Callable[[Any], Any]) -> Filter:
    """Return a filter that sees its value changed."""
    place = _place(run)

    @wraps(run)
    def run_of_changed(*values: Any, **options: Any) -> Any:
        value = change(values[place])
        result = run(*values[:place], value, *values[place + 1 :], **options)
        if isinstance(value, MarkedText) and isinstance(result, str):
            check_images(value, result)
        return result

    return run_of_changed


def _with_missing_apart(run: Filter, last: Callable[[list[Any]], list[Any]] | None = None) -> Filter:
    """Return a filter that does not see items whose value, or attribute, is missing.

    `last` takes them, and returns what comes after the other items; without it they are left out.
    """
    place, parameters = _place(run), signature(run)

    @wraps(run)
    def run_apart(*values: Any, **options: Any) -> Any:
        has_none = _missing_test(parameters.bind(*values, **options).arguments)
        items = list(ordered_items(values[place]))
        present = [one for one in items if not has_none(one)]
        found = run(*values[:place], present, *values[place + 1 :], **options)
        if isinstance(found, Undefined) and items:
            # Of nothing but missing items the largest is missing.
            return None
        return found if last is None else [*found, *last([one for one in items if has_none(one)])]

    return run_apart


def _missing_test(options: Mapping[str, Any]) -> Callable[[Any], bool]:
    """Return whether what a filter looks at is missing in an item: the item, or its attribute."""
    if options.get("attribute") is None:
        return is_missing
    names = str(options["attribute"]).split(",")
    getters = [make_attrgetter(options["environment"], name, default=options.get("default")) for name in names]
    return lambda item: any(is_missing(get(item)) for get in getters)


def _absent_of(run: Filter, absent: Any = None) -> Filter:
    """Return a filter that gives `absent` for a missing value, or the argument `default` that some filters have."""
    place = _place(run)

    @wraps(run)
    def run_or_absent(*values: Any, **options: Any) -> Any:
        if is_missing(values[place]):
            return signature(run).bind(*values, **options).arguments.get("default", absent)
        return run(*values, **options)

    return run_or_absent
