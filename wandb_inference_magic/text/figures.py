"""How numbers are written and read: counts, durations, numbers in texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from enum import Enum
from functools import lru_cache
from math import isfinite
from struct import pack, unpack
from typing import Any, Final, TypeVar, cast
from unicodedata import decimal

from .invisible import without_invisible

# Python refuses to convert much larger integers to text.
MAX_INTEGER: Final = 10**1000
Number = TypeVar("Number", int, float)

# How `struct` packs them, by their names in a type, and more than the decimals that a float of 32 bits needs.
_SHORT_FLOATS: Final = {"float32": "f", "float": "f", "float16": "e", "halffloat": "e"}
_IN_TYPE: Final = re.compile(rf"\b({'|'.join(_SHORT_FLOATS)}|float64|double)\b")
_DIGITS: Final = 10
# The long floats and complex numbers of NumPy, and those that Python has too.
_LONG: Final = {"g": "d", "G": "D"}


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 row`, `1,234 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def str_of(value: object) -> str:
    """Return the text of a value. Of an integer that Python does not convert to text it is the number of digits."""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return f"an integer of about {value.bit_length() * 3 // 10:,} digits"
    return str(member_value(value))


def member_value(value: Any) -> Any:
    """Return the text or the number of a member of an enumeration that has such a type. Return any other value itself.

    The `str` of a member of `class Label(str, Enum)` is its name: `Label.GOOD`.
    """
    if isinstance(value, Enum):
        if isinstance(value, str):
            return str.__str__(value)
        # A method of the user says what a number means. Python's own differ between its versions.
        if isinstance(value, int | float) and getattr(type(value).__str__, "__module__", "") == "enum":
            return int(value) if isinstance(value, int) else float(value)
    return value


def three_digits(number: float) -> str:
    """Return a number in three digits, a large one as a whole one: `0.123`, `12,346`."""
    return f"{number:,.0f}" if 999.5 <= abs(number) < 1e15 else f"{number or 0.0:.3g}"


def sum_or_none(numbers: Sequence[Number | None]) -> Number | None:
    """Return a sum, or None if one of the numbers is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


# 2,102,650 is a number. 1,5 does not match: the comma can be a decimal comma. Nor does 2 102: it may be two
# numbers. 0,123 has a decimal comma. In 1.234,5 the comma can be nothing else.
_GROUPED: Final = re.compile(
    r"[+-]?[1-9]\d{0,2}(?:([,\u00a0\u2009\u202f])\d{3}(?:\1\d{3})*(?:\.\d+)?|([.\u00a0\u2009\u202f])\d{3}(?:\2\d{3})*,\d+)"
)
_MINUS: Final = re.compile(r"^[\u2010-\u2013\u2212\uff0d](?=[\d.])")
_DIGIT: Final = re.compile(r"[^\D0-9]")
# What separates the parts of numbers in full width, and in Arabic.
_SEPARATORS: Final = str.maketrans("\uff0e\uff0c\uff0b\u066b\u066c", ".,+.,")


def with_plain_digits(text: str) -> str:
    """Return a text with the decimal digits of all scripts as 0 to 9."""
    return text if text.isascii() else _DIGIT.sub(lambda one: str(decimal(one[0])), text)


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number, or a text that consists of one."""
    if isinstance(value, str):
        with suppress(ValueError):
            return isfinite(float(value))
        return False
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain_number(number: str) -> str:
    """Return the text of a number as Python writes it: without commas or narrow spaces between groups of three digits.

    Its digits may be those of any script, and its sign a typographic minus, hyphen or dash. With groups apart, a comma
    can be before its decimals: `1.234,5`. Any other text stays as it is, but for digits.
    """
    number = with_plain_digits(number)
    plain = _MINUS.sub("-", without_invisible(number).translate(_SEPARATORS))
    if groups := _GROUPED.fullmatch(plain):
        plain = plain.replace(groups[1] or groups[2], "").replace(",", ".")
    return plain if is_number(plain) else number


def shortest_float(value: Any, kind: str) -> Any:
    """Return a float of 32 or 16 bits as the float with its shortest decimals: 19.99, not 19.989999771118164.

    `kind` is its type, as `float32` or `Float16`, or that of a list or a dict of such floats, as `List(Float32)`. A
    value of another type is returned as it is.
    """
    code = _code_of(kind)
    return value if code is None else _shortest(value, code)


@lru_cache(maxsize=1000)
def _code_of(kind: str) -> str | None:
    """Return how `struct` packs the floats in a type; None if there are none of 32 or 16 bits, or of several sizes."""
    codes = {_SHORT_FLOATS.get(name) for name in _IN_TYPE.findall(kind.lower())}
    return codes.pop() if len(codes) == 1 else None


def _shortest(value: Any, code: str) -> Any:
    if isinstance(value, list):
        return [_shortest(one, code) for one in value]
    if isinstance(value, dict):
        return {name: _shortest(one, code) for name, one in value.items()}
    if not isinstance(value, float) or not isfinite(value):
        return value
    for digits in range(1, _DIGITS):
        found = float(f"{value:.{digits}g}")
        with suppress(OverflowError):
            if unpack(code, pack(code, found)) == unpack(code, pack(code, value)):
                return found
    return value


def python_values(value: Any) -> Any:
    """Return an array or a scalar of NumPy as values of Python: lists, and dicts by the names of fields.

    Its own `tolist` gives integers for times in nanoseconds, and floats of 32 bits with digits that were not written.
    It works for other types with a `tolist` or an `item` too, such as arrays of pandas and tensors. A value without
    is returned as it is.
    """
    dtype, is_scalar = getattr(value, "dtype", None), getattr(value, "shape", None) == ()
    if not hasattr(value, "item" if is_scalar else "tolist"):
        return value
    if names := getattr(dtype, "names", None):
        return {name: python_values(value[name]) for name in names} if is_scalar else [*map(python_values, value)]
    if narrower := _LONG.get(getattr(dtype, "char", "")):
        value = value.astype(narrower)
    found = value.item() if is_scalar else _items(value)
    return _times(value, found) if getattr(dtype, "kind", "") in ("M", "m") else shortest_float(found, str(dtype))


def _items(array: Any) -> list[Any]:
    with suppress(NotImplementedError):
        return cast("list[Any]", array.tolist())
    # Quantities of Astropy: each has its unit.
    return [*array]


def _times(value: Any, found: Any) -> Any:
    """Return times of NumPy without the integers that `tolist` gives where `datetime` has no such unit or year."""
    if isinstance(found, list):
        return [_times(*pair) for pair in zip(value, found, strict=True)]
    if not isinstance(found, int):
        return found
    # Months have no length in microseconds.
    with suppress(TypeError):
        if (short := value.astype(f"{value.dtype.kind}8[us]")) == value:
            found = short.item()
    return str(value) if isinstance(found, int) else found


def duration(seconds: float) -> str:
    """Return a duration: `3.2 s`, `42 s`, `2 min 5 s`, `1 h`. A short one has a decimal, unless it is an int."""
    if isinstance(seconds, float) and seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"


def moment(seconds: object) -> str:
    """Return a stored time, in seconds since 1970, as the local date and minute. It is `unknown` if it is no time."""
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"  # type: ignore[arg-type]
    except (OverflowError, OSError, TypeError, ValueError):
        return "unknown"
