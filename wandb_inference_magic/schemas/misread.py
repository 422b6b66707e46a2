"""Finds the values of an answer that would be read as something else: another kind, or the default of a field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..errors import shortened_repr
from ..text import is_number, number_in
from .json_schema import COMBINING, NAMES, VALIDATED

# The formats of texts that pydantic also reads from numbers.
TIMES: Final = ("date", "date-time", "time")
# A whole number with a full stop for thousands, as it is written in German and Spanish.
THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2}\.000")
# The keywords that say which other names an object may have.
_OTHERS: Final = ("additionalProperties", "patternProperties", "unevaluatedProperties")
MAX_NAMES: Final = 5
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
# Lists in lists. A type may be a list of itself.
MAX_LISTS: Final = 5
_BRACKET: Final = re.compile(r"[\[{]")
# Each bracket in a text that begins no value is a try.
MAX_TRIES: Final = 100


def misread_values(schema: Any, value: Any, where: str = "", root: Any = None) -> Iterator[str]:
    """Yield the problems of values that pydantic would read as another kind.

    It reads the number 2024 as a time, in seconds of 1970, a boolean as the number 0 or 1, and "12.000" as 12.

    Parameters
    ----------
    schema : mapping or object
        The JSON schema that was sent. There are no problems without one.
    value : object
        The JSON value of the answer.
    where : str
        Its place in the answer.
    root : mapping, optional
        The whole schema, for references.
    """
    if not isinstance(schema, Mapping):
        return
    root, where = schema if root is None else root, where.lstrip(".")
    if isinstance(reference := schema.get("$ref"), str):
        schema = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
    if schema.get("format") in TIMES and is_number(value) and value == value:
        yield f"{where or 'the answer'}: Input should be a {schema['format']} in ISO form, not {value!r}"
    if schema.get("type") == "integer" and isinstance(value, str) and THOUSANDS.fullmatch(number_in(value)):
        yield f"{where or 'the answer'}: Input should be a number without a full stop for thousands, not {value!r}"
    if isinstance(value, bool) and schema.get("type") in ("integer", "number"):
        yield f"{where or 'the answer'}: Input should be a number, not {json.dumps(value)}"
    alternatives = [one for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if one.get("type") != "null"]
    found = [list(misread_values(one, value, where, root)) for one in alternatives]
    if found and all(found):
        yield from found[0]
    for name, part, one in _inner(schema, value):
        yield from misread_values(part, one, f"{where}.{name}", root)


def lost_fields(schema: Any, value: Any, where: str = "", root: Any = None) -> Iterator[str]:
    """Yield the problems of objects that have other names in place of fields: these would be read as their defaults.

    All fields are asked for, and no others. An object that lacks one and has another name may have its value there. One
    that only lacks fields, or only has more, is complete.

    Parameters
    ----------
    schema : mapping or object
        The JSON schema as it was made, with its marks. Nothing is said of an object that may have other names, and of
        what a validator of the user's reads first.
    value : object
        The JSON value of the answer.
    where : str
        Its place in the answer.
    root : mapping, optional
        The whole schema, for references.
    """
    root = schema if root is None else root
    schema = _referenced(schema, root)
    properties = schema.get("properties", {})
    # What is combined with properties may name more of them.
    if VALIDATED in schema or (properties and not schema.keys().isdisjoint(COMBINING)):
        return
    found = [list(lost_fields(one, value, where, root)) for one in _alternatives(schema, value, root)]
    if found and all(found):
        yield from found[0]
    fields: dict[str, str] = {}
    if isinstance(value, dict):
        names = {field: (field, *_referenced(one, root).get(NAMES, ())) for field, one in properties.items()}
        fields = {name: field for field, known in names.items() for name in known}
        others = [name for name in value if name not in fields]
        lacking = [field for field, known in names.items() if value.keys().isdisjoint(known)]
        if others and lacking and schema.keys().isdisjoint(_OTHERS):
            has, lacks = (", ".join(map(shortened_repr, ones[:MAX_NAMES])) for ones in (others, lacking))
            yield f"{where or 'the answer'}: it has {has} in place of {lacks}"
    for name, part, one in _inner(schema, value, fields):
        yield from lost_fields(part, one, f"{where}.{name}".lstrip("."), root)


def _inner(schema: Mapping[str, Any], value: Any, fields: Mapping[str, str] = _NONE) -> Iterator[tuple[Any, Any, Any]]:
    """Yield what is in an object or a list: its name or number, its schema and its value.

    `fields` are the names of properties by other names under which they are read.
    """
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, one in value.items():
            yield name, known.get(fields.get(name, name), others), one
    elif isinstance(value, list):
        first, items = schema.get("prefixItems", ()), schema.get("items")
        for number, one in enumerate(value):
            yield number, first[number] if number < len(first) else items, one


def without_fields(schema: Mapping[str, Any]) -> str:
    """Return the title of the object without fields that a schema asks for, alone or in lists; else nothing."""
    inner: Any = schema
    for _ in range(MAX_LISTS):
        inner = _referenced(inner, schema)
        if inner.get("properties") == {} and inner.keys().isdisjoint((*_OTHERS, *COMBINING)):
            return str(inner.get("title") or "The object")
        inner = inner.get("items", inner.get("additionalProperties"))
    return ""


def doubled_key(text: str) -> str:
    """Return the problem of a key that has two different values in one object of the last JSON value in a text."""
    problems: list[str] = []

    def noting(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for name, one in pairs:
            if name in held and held[name] != one:
                problems.append(f"{name}: it is given twice, as {shortened_repr(held[name])} and {shortened_repr(one)}")
            held[name] = one
        return held

    decoder = json.JSONDecoder(object_pairs_hook=noting, strict=False)
    problem, end, tries = "", 0, 0
    while tries < MAX_TRIES and (start := _BRACKET.search(text, end)):
        problems.clear()
        try:
            _, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            end, tries = start.end(), tries + 1
        else:
            problem = problems[0] if problems else ""
    return problem


def _referenced(schema: Any, root: Any) -> Mapping[str, Any]:
    """Return a schema with what its reference leads to, beside what it says itself. It is empty if that is nothing."""
    if not isinstance(schema, Mapping):
        return {}
    # Pydantic before 2.8 puts the reference into `allOf`.
    only = schema.get("allOf")
    held = only[0] if isinstance(only, list) and len(only) == 1 and isinstance(only[0], Mapping) else schema
    reference = held.get("$ref")
    if not isinstance(reference, str) or "properties" in schema:
        return schema
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    rest = {keyword: one for keyword, one in schema.items() if keyword not in ("$ref", "allOf")}
    return {**_referenced(found, root), **rest}


def _alternatives(schema: Mapping[str, Any], value: Any, root: Any) -> list[Mapping[str, Any]]:
    """Return the alternatives of a schema that an object or a list may be, by their types and by its choices."""
    kind = "object" if isinstance(value, dict) else "array"
    ones = [_referenced(one, root) for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    of_kind = [one for one in ones if kind in one.get("type", kind)]
    return [one for one in of_kind if not _is_other_choice(one, value)] or of_kind


def _is_other_choice(schema: Mapping[str, Any], value: Any) -> bool:
    """Return whether a field of an object is none of the values that a schema allows there: it is a tag, as `kind`."""
    for name, one in schema.get("properties", {}).items():
        allowed = one.get("enum", [one["const"]] if "const" in one else None) if isinstance(one, Mapping) else None
        if allowed is not None and isinstance(value, dict) and name in value and value[name] not in allowed:
            return True
    return False
