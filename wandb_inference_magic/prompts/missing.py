"""What the filters and operators of templates make of a missing value: no text, no items, no number."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import wraps
from math import nan
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from .frames import in_order, is_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Filter = Callable[..., Any]

_TEXTS: Final = (
    *("capitalize", "center", "e", "escape", "indent", "lower", "replace", "string", "striptags", "title"),
    *("trim", "truncate", "upper", "urlize", "wordwrap"),
)
_LISTS: Final = (
    *("batch", "dictsort", "groupby", "items", "list", "map", "reject", "rejectattr", "reverse", "select"),
    *("selectattr", "slice", "sort", "unique"),
)
# Of nothing they give nothing: Jinja2 would raise, or write "None".
_ABSENT: Final = ("filesizeformat", "first", "last", "max", "min", "pprint", "random", "sum", "xmlattr")
# They give NaN: the number is not known, and neither is what is calculated from it.
_NUMBERS: Final = ("abs", "count", "float", "int", "length", "round", "wordcount")
_WITH_DEFAULT: Final = ("float", "int")
# The types of what a row may lack. `df.head()` with None in `df` is a mistake.
_OF_ROWS: Final = (str, list, dict, datetime, timedelta, float)
_CONVERSION: Final = re.compile(r"%(?P<name>\([^)]*\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?[hlL]?(?P<kind>[a-zA-Z%])")


def filters_for_missing(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """Return those filters of Jinja2 that need a rule for a missing value, with that rule."""
    texts = {name: _with_instead(filters[name], "") for name in _TEXTS}
    lists = {name: _with_items(filters[name]) for name in _LISTS}
    numbers = {name: _number_or_missing(filters[name], has_default=name in _WITH_DEFAULT) for name in _NUMBERS}
    absent = {name: _absent_of(filters[name]) for name in _ABSENT}
    return {**texts, **lists, **numbers, **absent, "join": _joined(filters["join"]), "format": _format}


def text_or_empty(value: Any) -> Any:
    """Return a value, or an empty text if it is missing."""
    return "" if is_missing(value) else value


def items_or_empty(value: Any) -> Any:
    """Return a value, or an empty tuple if it is missing."""
    return () if is_missing(value) else value


def ordered_items(value: Any) -> Any:
    """Return a value, an empty tuple if it is missing, or the items of a set in one order."""
    return in_order(value) if isinstance(value, set | frozenset) else items_or_empty(value)


def is_in(value: Any, values: Any) -> bool:
    """The test `is in`, with the rule of the operator: a missing value equals None, and has no items."""
    return (None if is_missing(value) else value) in items_or_empty(values)


def pattern_of(value: Any) -> Any:
    """Return the left side of `%`: a text formats what is missing as nothing."""
    return _Pattern(value) if type(value) is str else value


def method_of(value: Any, name: str) -> Filter | None:
    """Return the method `name` that comes before the value's own; None if it has no other."""
    if isinstance(value, str) and name in ("format", "format_map"):
        return _Braces(value).format_text if name == "format" else _Braces(value).format_map
    if not is_missing(value) or not any(hasattr(kind, name) for kind in _OF_ROWS):
        return None
    # The methods that NaT has raise, or give the text "NaT".
    return _nothing if type(value).__name__ == "NaTType" or not hasattr(value, name) else None


def _nothing(*_values: Any, **_options: Any) -> None:
    """Stand for any method of a missing value."""


def operand_of(value: Any) -> Any:
    """Return a value as an operand: one that is missing adds nothing to a text, and makes a number missing."""
    return _Absent() if is_missing(value) else value


class _Absent:
    """Stands for a missing value in a calculation."""

    def __add__(self, other: Any) -> Any:
        return other if isinstance(other, str | list | tuple) else nan

    def __sub__(self, _: Any) -> float:
        return nan

    def __neg__(self) -> float:
        return nan

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
    return _formatted(str(value), named or values)


def _formatted(pattern: str, values: Any) -> str:
    """Return `pattern % values`, where a missing value is written as nothing."""
    following = iter(values if isinstance(values, tuple) else (values,))

    def conversion(found: re.Match[str]) -> str:
        if found["kind"] == "%":
            return found[0]
        name = found["name"]
        stars = [next(following, 0) for _ in range(found[0].count("*"))]
        value = next(following, 0) if name is None else values[name[1:-1]]
        return f"%{name or ''}.0s" if is_missing(value) and not stars else found[0]

    return str(_CONVERSION.sub(conversion, pattern) % values)


class _Braces(Formatter):
    """A text with its method `format`, for which a missing value is written as nothing."""

    def __init__(self, text: str) -> None:
        self._text = text

    def format_text(self, *values: Any, **named: Any) -> str:
        return self.vformat(self._text, values, named)

    def format_map(self, named: Mapping[str, Any]) -> str:
        return self.vformat(self._text, (), named)

    @override
    def convert_field(self, value: Any, conversion: Any) -> Any:
        return value if is_missing(value) else super().convert_field(value, conversion)

    @override
    def format_field(self, value: Any, format_spec: str) -> str:
        return "" if is_missing(value) else str(super().format_field(value, format_spec))


def _place(run: Filter) -> int:
    """Return the place of a filter's value: Jinja2 passes its context or environment to some before it."""
    return int(hasattr(run, "jinja_pass_arg"))


def _with_instead(run: Filter, instead: Any) -> Filter:
    place = _place(run)

    @wraps(run)
    def run_instead(*values: Any, **options: Any) -> Any:
        given = [*values]
        if is_missing(given[place]):
            given[place] = instead
        return run(*given, **options)

    return run_instead


def _with_items(run: Filter) -> Filter:
    place = _place(run)

    @wraps(run)
    def run_with_items(*values: Any, **options: Any) -> Any:
        return run(*values[:place], ordered_items(values[place]), *values[place + 1 :], **options)

    return run_with_items


def _absent_of(run: Filter) -> Filter:
    place = _place(run)

    @wraps(run)
    def run_or_nothing(*values: Any, **options: Any) -> Any:
        return None if is_missing(values[place]) else run(*values, **options)

    return run_or_nothing


def _number_or_missing(run: Filter, *, has_default: bool) -> Filter:
    @wraps(run)
    def number(value: Any, *values: Any, **options: Any) -> Any:
        if not is_missing(value):
            return run(value, *values, **options)
        return options.get("default", values[0] if values else nan) if has_default else nan

    return number


def _joined(run: Filter) -> Filter:
    place = _place(run)

    @wraps(run)
    def join(*values: Any, **options: Any) -> Any:
        items: Iterable[Any] = ordered_items(values[place])
        return run(*values[:place], [text_or_empty(one) for one in items], *values[place + 1 :], **options)

    return join
