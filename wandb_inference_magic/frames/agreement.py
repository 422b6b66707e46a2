"""Whether two values mean the same: an answer and a known one, or the answers of two models."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Sequence, Set as AnySet
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from functools import cache
from math import isfinite
from struct import pack, unpack
from typing import TYPE_CHECKING, Any, Final

from ..text import boolean_of, folded, is_missing, is_number, number_in, read_json_text, shortest_float
from .columns import json_text, plain
from .kinds import ANY, BOOLEAN, DATE, DECIMAL, DURATION, FLOAT, INT53, INT64, LIST, TIME, TIMESTAMP_ANY, Kind

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Numbers that were read with missing ones, and written again: 1 became 1.0.
_WHOLE: Final = re.compile(r"(-?\d+)\.0+")
_TEXT: Final = r"""(?:'(?:[^'\\\n]|\\[\\'"nrtxuU])*'|"(?:[^"\\\n]|\\[\\'"nrtxuU])*")"""
# What Python writes of lists, sets and dicts of texts, numbers, booleans and None.
_PYTHON: Final = re.compile(_TEXT + r"""(?!['"])|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?|True|False|None|[\[\](){},:\s]""")
# NumPy writes no commas between the items of an array, and types around values in a list or a dict.
_GAP: Final = re.compile(_TEXT + r"|(?<=[^\s\[({,:])(?P<gap>\s+)(?=[^\s\])},:])")
_NUMPY: Final = re.compile(r"\b(?:array|np\.\w+)\(([^()]*?)(?:,\s*dtype=[\w<>']+)?\)")
MAX_PYTHON_CHARS: Final = 100_000
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# So many digits of a float are what was meant: 0.1 + 0.2 is 0.30000000000000004.
_FLOAT: Final = Context(prec=15, traps=[])
# Stands for an answer or a known value that there is not.
NO_VALUE: Final = object()
_Time = date | time | timedelta
# A value of each type that a text may be read as.
_EXAMPLES: Final = {
    **dict.fromkeys((INT53, INT64, FLOAT, DECIMAL), 0),
    DATE: date.min,
    TIME: time.min,
    TIMESTAMP_ANY: datetime.min,
    DURATION: timedelta(0),
    LIST: [],
}


def means_same(one: Any, other: Any, kind: Kind | None = None) -> bool:
    """Return whether two values mean the same.

    Numbers are the same if they are equal, in any type, or in 15 digits if one is a float with a fraction; a text is
    compared as what the other value is: a number, a date in ISO form, a list or an object in JSON or as Python writes
    it. A float of 32 bits is the same as its shortest decimals. Texts are compared without regard to case, outer
    blanks, final full stops, quotation marks or Markdown's marks around the whole, zeros after a whole number (1.0),
    commas or narrow spaces between groups of three digits, hyphens, dashes, spaces and quotation marks that do not
    break or are typographic, line ends, the way in which accents, wide characters and digits are written, and
    characters that are not seen. Lists are compared
    item by item, sets without their order, objects field by field; a field that is missing is the same as one without a
    value. A time without a zone is in UTC, and a date is midnight in the zone of a time. 0, 1 and words such as "yes"
    are booleans where `kind` is boolean, and beside a boolean.

    Parameters
    ----------
    one, other : object
        Values of any type, also those of a frame.
    kind : Kind, optional
        What the schema says of them.
    """
    kind = kind or Kind(ANY)
    if is_missing(one) or is_missing(other):
        return is_missing(one) and is_missing(other)
    one, other = (each if isinstance(each, AnySet) else plain(each, computed=False) for each in (one, other))
    if isinstance(one, str) != isinstance(other, str):
        # A text is read as what the other value is.
        one, other = (_read(one, other), other) if isinstance(one, str) else (one, _read(other, one))
    if isinstance(one, AnySet) or isinstance(other, AnySet):
        return _same_sets(plain(one, computed=False), plain(other, computed=False), kind.item)
    if kind.name == BOOLEAN or isinstance(one, bool) or isinstance(other, bool):
        return _same_booleans(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        names = {**one, **other}
        fields = ((one.get(name), other.get(name), kind.fields.get(name) or kind.item) for name in names)
        return all(means_same(*field) for field in fields)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(means_same(*pair, kind.item) for pair in pairs)
    if isinstance(one, _Time) and isinstance(other, _Time):
        return bool(_moment(one, other) == _moment(other, one))
    # Two texts are compared as texts.
    ours, theirs = (None if isinstance(each, str) else number_of(each) for each in (one, other))
    if ours is None or theirs is None:
        return _folded(one) == _folded(other)
    if ours == theirs or ours == _shortest(other) or theirs == _shortest(one):
        return True
    return (_is_fraction(one) or _is_fraction(other)) and _FLOAT.plus(ours) == _FLOAT.plus(theirs)


def can_mean(value: Any, kind: Kind, choices: Sequence[Any] | None) -> bool:
    """Return whether some value of a type can mean the same as a known value, or one of the choices if there are any.

    It is true if that cannot be told.
    """
    if choices is not None or kind.name == BOOLEAN:
        return any(means_same(one, value, kind) for one in (choices or (True, False)))
    text, example = plain(value), _EXAMPLES.get(kind.name)
    if example is None:
        return True
    if not isinstance(text, str):
        return not isinstance(text, dict) and isinstance(text, list) == (kind.name == LIST)
    return not all(isinstance(_read(one, example), str) for one in (text, _folded(text)))


def _same_sets(ours: Any, theirs: Any, kind: Kind | None) -> bool:
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return False
    pairs = ((ours, theirs), (theirs, ours))
    return all(any(means_same(a, b, kind) for b in those) for these, those in pairs for a in these)


def are_yes_and_no(values: Any) -> bool:
    """Return whether values are two words of which one means true and the other false, such as "yes" and "no"."""
    return isinstance(values, list) and len(values) == 2 and {_boolean(one) for one in values} == {True, False}


def _same_booleans(one: Any, other: Any) -> bool:
    ours, theirs = _boolean(one), _boolean(other)
    return ours == theirs if ours is not None and theirs is not None else _folded(one) == _folded(other)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return boolean_of(_folded(value))
    return bool(value) if isinstance(value, int | float | Decimal) and value in (0, 1) else None


def number_of(value: Any) -> Decimal | None:
    """Return a number, or that of a text, in the digits in which it is written: 0.1 is the same as Decimal("0.1")."""
    value = _read(value, 0) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _is_fraction(value: Any) -> bool:
    # The floats of whole numbers may be long ids.
    return isinstance(value, float) and isfinite(value) and not value.is_integer()


def _shortest(value: Any) -> Decimal | None:
    """Return the shortest decimals of a float that comes from one of 32 bits, as numbers in a frame may; else None."""
    with suppress(OverflowError):
        if isinstance(value, float) and isfinite(value) and unpack("f", pack("f", value))[0] == value:
            return Decimal(repr(shortest_float(value, "float32")))
    return None


def _read(text: str, beside: Any) -> Any:
    """Return a text as a value of the type of another one, or the text itself if it is none."""
    with suppress(ValueError, InvalidOperation):
        if isinstance(beside, dict | list | AnySet):
            return read_nested(text)
        if isinstance(beside, _Time):
            kind = next(one for one in (datetime, date, time, timedelta) if isinstance(beside, one))
            if kind is not timedelta and is_number(text):
                # A year, which would be read as seconds of 1970.
                return text
            # A day without a time is in no zone.
            moment = folded(text).upper()
            kind = date if kind is datetime and _DAY.fullmatch(moment) else kind
            return _adapter(kind).validate_python(moment)
        if isinstance(beside, int | float | Decimal) and not isinstance(beside, bool):
            number = Decimal(number_in(text))
            return text if number.is_nan() else number
    return text


def read_nested(text: str) -> Any:
    """Return the document in a JSON text, or the list, set or dict in a text as Python, pandas and NumPy write it.

    Raises
    ------
    ValueError
        If the text is neither, is nested too deeply, or is too long.
    """
    try:
        return read_json_text(text)
    except ValueError:
        if len(text) > MAX_PYTHON_CHARS:
            raise
        written = _GAP.sub(lambda found: ", " if found["gap"] else found[0], _NUMPY.sub(r"\1", text.strip()))
        if written[:1] not in ("[", "{", "(") or _PYTHON.sub("", written):
            raise
    try:
        value = literal_eval(written)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("neither JSON nor Python") from error
    if not isinstance(value, list | tuple | dict | set):
        raise ValueError("neither a list, a set nor a dict")
    return value if isinstance(value, set) else plain(value)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _moment(value: _Time, beside: _Time) -> Any:
    """Return a time with its zone, or UTC. A date begins in the zone of the time that it is compared with."""
    if isinstance(value, datetime | time):
        return value.replace(tzinfo=value.tzinfo or timezone.utc)
    if isinstance(value, date):
        zone = beside.tzinfo if isinstance(beside, datetime) else None
        return datetime(value.year, value.month, value.day, tzinfo=zone or timezone.utc)
    return value


def _folded(value: Any) -> str:
    text = value if isinstance(value, str) else json_text(value)
    number = folded(number_in(text))
    whole = _WHOLE.fullmatch(number)
    return whole[1] if whole else number
