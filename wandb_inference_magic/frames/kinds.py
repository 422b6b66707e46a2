"""The types of columns of answers: what the schema says of them, widened by values that it did not foresee."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from functools import reduce
from typing import Any, Final

from ..schemas import target
from ..text import without_surrogates

# The names of the types, as Arrow has them. Of its 64-bit integers, `int53` are those that every float holds.
ANY: Final = "any"
BOOLEAN: Final = "boolean"
INT53: Final = "int53"
INT64: Final = "int64"
FLOAT: Final = "float"
DECIMAL: Final = "decimal"
STRING: Final = "string"
DATE: Final = "date"
TIME: Final = "time"
TIMESTAMP: Final = "timestamp"
TIMESTAMP_UTC: Final = "timestamp_utc"
# A timestamp in a schema: only the values tell whether they have a time zone.
TIMESTAMP_ANY: Final = "timestamp_any"
DURATION: Final = "duration"
LIST: Final = "list"
STRUCT: Final = "struct"
# Text, for scalars that no other type holds together, and JSON text, for other values that none does.
TEXT: Final = "text"
JSON: Final = "JSON"

# A decimal column has 38 digits, this many of them after the point.
SCALE: Final = 10
EXACT_IN_FLOAT: Final = 2**53
MAX_DEPTH: Final = 30
MAX_FIELDS: Final = 1000
MIXED: Final = "values of several types"
# What a type becomes of which no values decide more.
_USUAL: Final = {ANY: STRING, TIMESTAMP_ANY: TIMESTAMP}

_JSON_TYPES: Final = {"boolean": BOOLEAN, "integer": INT53, "number": FLOAT, "string": STRING, "null": ANY}
_FORMATS: Final = {"date": DATE, "time": TIME, "date-time": TIMESTAMP_ANY, "duration": DURATION, "decimal": DECIMAL}
_WIDER: Final = {
    frozenset((INT53, INT64)): INT64,
    frozenset((INT53, FLOAT)): FLOAT,
    frozenset((INT53, DECIMAL)): DECIMAL,
    frozenset((TIMESTAMP_ANY, TIMESTAMP)): TIMESTAMP,
    frozenset((TIMESTAMP_ANY, TIMESTAMP_UTC)): TIMESTAMP_UTC,
    # A time without a zone is read as UTC.
    frozenset((TIMESTAMP, TIMESTAMP_UTC)): TIMESTAMP_UTC,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a column, or of the values inside one.

    Attributes
    ----------
    name : str
    fields : mapping
        The fields of a struct.
    item : Kind or None
        The type of a list's items, or of the fields of a struct that are not known in advance.
    why : str
        What makes it text or JSON text.
    """

    name: str
    fields: Mapping[str, Kind] = field(default_factory=dict)
    item: Kind | None = None
    why: str = ""


_ANY: Final = Kind(ANY)


def _json(why: str) -> Kind:
    return Kind(JSON, why=why)


def _text(why: str) -> Kind:
    return Kind(TEXT, why=why)


def _list(item: Kind) -> Kind:
    """Return the type of a list. A list of values of several types is JSON text as a whole."""
    return _json(item.why) if item.name in (TEXT, JSON) else Kind(LIST, item=item)


# Types from a schema ------------------------------------------------------------------------------------------------


def kind_of_schema(schema: Any, root: Any = None, within: tuple[str, ...] = ()) -> Kind:
    """Return the type of the values that a JSON schema describes; `any` where it says nothing.

    Parameters
    ----------
    schema : object
        The JSON schema, whose formats are those of Python values (see `Schema.object_schema`).
    root : object
        The schema that references refer to. Defaults to `schema`.
    within : tuple of str
        The references that this schema is a part of: a type that contains itself ends there.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return _ANY
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _ANY if reference in within else kind_of_schema(target(reference, root), root, (*within, reference))

    def of(one: Any) -> Kind:
        return kind_of_schema(one, root, within)

    keywords = ("anyOf", "oneOf", "allOf")
    found = reduce(_joined, (of(one) for word in keywords for one in _listed(schema.get(word))), _ANY)
    types = schema.get("type")
    if types == "object" or "properties" in schema:
        return _joined(_struct(schema, of), found)
    if found.name != ANY:
        return found
    if isinstance(types, list):
        return reduce(_joined, (of({**schema, "type": one}) for one in types), _ANY)
    if types == "array":
        return _list(reduce(_joined, map(of, [*_listed(schema.get("prefixItems")), schema.get("items")])))
    if "contentSchema" in schema:
        return of(schema["contentSchema"])
    if types == "string" and schema.get("format") in _FORMATS:
        return Kind(_FORMATS[schema["format"]])
    if types in _JSON_TYPES:
        return Kind(_JSON_TYPES[types])
    allowed = [schema["const"]] if "const" in schema else _listed(schema.get("enum"))
    return reduce(widened, allowed, _ANY)


def choices_of(schema: Any, root: Any, within: tuple[str, ...] = ()) -> list[Any] | None:
    """Return the values other than null that a JSON schema allows, if it lists them; else None.

    Parameters
    ----------
    schema, root, within
        See `kind_of_schema`.
    """
    if not isinstance(schema, Mapping):
        return None
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return None if reference in within else choices_of(target(reference, root), root, (*within, reference))
    if "const" in schema or "enum" in schema:
        allowed = [schema["const"]] if "const" in schema else _listed(schema["enum"])
        return [one for one in allowed if one is not None]
    if schema.get("type") == "null":
        return []
    found = [choices_of(one, root, within) for one in _listed(schema.get("anyOf")) + _listed(schema.get("oneOf"))]
    return None if not found or None in found else [one for choices in found for one in choices or ()]


def _struct(schema: Mapping[str, Any], of: Callable[[Any], Kind]) -> Kind:
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    patterns = schema.get("patternProperties")
    others = [schema.get("additionalProperties"), *(patterns.values() if isinstance(patterns, Mapping) else ())]
    return Kind(STRUCT, {name: of(one) for name, one in known.items()}, reduce(_joined, map(of, others)))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _joined(one: Kind, other: Kind) -> Kind:
    """Return the type that holds the values of both."""
    if one == other or other.name == ANY or one.name == JSON:
        return one
    if one.name == ANY or other.name == JSON:
        return other
    if one.name == other.name == STRUCT:
        names = dict.fromkeys((*one.fields, *other.fields))
        both = {name: _joined(one.fields.get(name, _ANY), other.fields.get(name, _ANY)) for name in names}
        return Kind(STRUCT, both, _joined(one.item or _ANY, other.item or _ANY))
    if one.name == other.name == LIST:
        return _list(_joined(one.item or _ANY, other.item or _ANY))
    if wider := _WIDER.get(frozenset((one.name, other.name))):
        return Kind(wider)
    if not {one.name, other.name}.isdisjoint((LIST, STRUCT)):
        return _json(MIXED)
    return next((kind for kind in (one, other) if kind.name == TEXT), _text(MIXED))


# Types from values --------------------------------------------------------------------------------------------------


def widened(kind: Kind, value: Any, depth: int = 0) -> Kind:
    """Return the type that holds a plain value besides the values of `kind`; `kind` itself if it does."""
    if value is None or kind.name == JSON:
        return kind
    if depth == MAX_DEPTH and isinstance(value, dict | list):
        return _json("objects that are nested too deeply")
    if isinstance(value, dict):
        base = Kind(STRUCT, item=_ANY) if kind.name == ANY else kind
        return _with_fields(base, value, depth) if base.name == STRUCT else _json(MIXED)
    if isinstance(value, list):
        base = Kind(LIST, item=_ANY) if kind.name == ANY else kind
        if base.name != LIST:
            return _json(MIXED)
        old = base.item or _ANY
        item = reduce(lambda known, one: widened(known, one, depth + 1), value, old)
        return base if item is old else _list(item)
    found = _scalar(kind, value)
    return kind if found == kind.name else _joined(kind, found if isinstance(found, Kind) else Kind(found))


def _with_fields(kind: Kind, value: Mapping[str, Any], depth: int) -> Kind:
    new: dict[str, Kind] = {}
    for name, one in value.items():
        known = kind.fields.get(name)
        if known is None and (without_surrogates(name) != name or "\0" in name):
            return _json("names of fields that no column can have")
        old = known or kind.item or _ANY
        if (found := widened(old, one, depth + 1)) is not known:
            new[name] = found
    if not new:
        return kind
    merged = {**kind.fields, **new}
    return _json("objects with too many different fields") if len(merged) > MAX_FIELDS else replace(kind, fields=merged)


def _scalar(kind: Kind, value: Any) -> str | Kind:
    """Return the type of a value that is no object and no list, as near to `kind` as possible."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            return _text("whole numbers beyond 64 bits")
        is_exact = -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT or (kind.name == FLOAT and int(float(value)) == value)
        if is_exact and kind.name in (FLOAT, DECIMAL, INT64):
            return kind.name
        return INT53 if is_exact else INT64
    if isinstance(value, float):
        # A JSON schema's integer may be written as 1.0.
        is_whole = kind.name in (INT53, INT64) and value.is_integer()
        return _scalar(kind, int(value)) if is_whole else FLOAT
    if isinstance(value, Decimal):
        is_held = value.is_finite() and value.adjusted() < 38 - SCALE and _rounded(value) == value
        return DECIMAL if is_held else _text("decimals with too many digits")
    if isinstance(value, datetime):
        return _of_datetime(value)
    if isinstance(value, time):
        return TIME if value.tzinfo is None else _text("times with a time zone")
    if isinstance(value, timedelta):
        return DURATION if abs(value // timedelta(microseconds=1)) < 2**63 else _text("durations that are too long")
    return DATE if isinstance(value, date) else STRING


def _rounded(value: Decimal) -> Decimal:
    return Context(prec=60).quantize(value, Decimal(1).scaleb(-SCALE))


def _of_datetime(value: datetime) -> str | Kind:
    if value.tzinfo is None:
        return TIMESTAMP
    try:
        value.astimezone(timezone.utc)
    except OverflowError:
        return _text("dates beyond the calendar")
    return TIMESTAMP_UTC


def finalized(kind: Kind) -> Kind:
    """Return a type that a column can have: one of texts where nothing is known of the values."""
    if kind.name == STRUCT and not kind.fields:
        return _json("objects without a field")
    if kind.name == STRUCT:
        return replace(kind, fields={name: finalized(one) for name, one in kind.fields.items()})
    if kind.name == LIST:
        return _list(finalized(kind.item or _ANY))
    return Kind(_USUAL[kind.name]) if kind.name in _USUAL else kind
