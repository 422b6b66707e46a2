"""Finds the values of an answer that would be read as something else: another kind, or the default of a field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..errors import shortened_repr
from ..messages import inner_json
from ..text import DoubledKeys, is_number, number_in
from .json_schema import COMBINING, NAMES, VALIDATED, referenced

# The formats of texts that pydantic also reads from numbers.
TIMES: Final = ("date", "date-time", "time")
# A whole number with a full stop for thousands, as it is written in German and Spanish.
THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2}\.000")
# The keywords that say which other names an object may have.
_OTHERS: Final = ("additionalProperties", "patternProperties", "unevaluatedProperties")
MAX_NAMES: Final = 5
# Lists in lists. A type may be a list of itself.
MAX_LISTS: Final = 5
WHOLE: Final = "the answer"
_SCALARS: Final = ("string", "number", "integer", "boolean")
_ANY: Final[Mapping[str, Any]] = {}
# Yields the problems of a value at one place, by its schema, where the place is, and the whole schema.
Finder = Callable[[Mapping[str, Any], Any, str, Any], Iterable[str]]


def misfits(schema: Any, value: Any, *finders: Finder) -> list[str]:
    """Return the problems of a value, and of all that is in it with the schema that it has there.

    Of alternatives that all have problems, the first counts. A text in place of an object or a list is what is in it.

    Parameters
    ----------
    schema : mapping
        The JSON schema as it was made, with its marks.
    value : object
        The JSON value of the answer, with its objects as `json_object` makes them.
    finders : callable
        `doubled_keys`, `misread_values` and `lost_fields`.
    """
    return _Walk(schema, finders).problems(schema, value, WHOLE)


class _Walk:
    """A walk through a value. What is found in an object or a list is kept: each alternative above it asks for it."""

    def __init__(self, root: Any, finders: Sequence[Finder]) -> None:
        self._root, self._finders = root, finders
        # With the schema and the value, so that no others have their ids.
        self._found: dict[tuple[int, int, str], tuple[Any, Any, list[str]]] = {}

    def problems(self, schema: Any, value: Any, where: str) -> list[str]:
        """Return the problems of a value with this schema at this place."""
        if not isinstance(value, dict | list):
            return list(self._problems(schema, value, where))
        key = id(schema), id(value), where
        if key not in self._found:
            self._found[key] = schema, value, list(self._problems(schema, value, where))
        return self._found[key][-1]

    def _problems(self, schema: Any, value: Any, where: str) -> Iterator[str]:
        root = self._root
        schema = referenced(schema, root)
        # A validator reads all that is there, and what is combined with properties may name more of them.
        if VALIDATED in schema or ("properties" in schema and not schema.keys().isdisjoint(COMBINING)):
            schema = _ANY
        is_other = isinstance(value, str) and ("contentSchema" in schema or not _may_be(("string",), schema, root))
        if is_other and (inner := inner_json(value)) is not None:
            yield from self.problems(schema.get("contentSchema", schema), inner, where)
            return
        found = [self.problems(one, value, where) for one in _fitting(schema, value, root)]
        yield from found[0] if found and all(found) else ()
        if found and "properties" not in schema:
            # The alternatives name what is read.
            return
        for find in self._finders:
            yield from find(schema, value, where, root)
        for name, part, one in _inner(schema, value, root):
            yield from self.problems(part, one, _path(where, name))


def misread_values(schema: Mapping[str, Any], value: Any, where: str, _: Any) -> Iterator[str]:
    """Yield the problem of a value that pydantic would read as another kind.

    It reads the number 2024 as a time, in seconds of 1970, a boolean as the number 0 or 1, and "12.000" as 12.
    """
    kind, form = schema.get("type"), schema.get("format")
    if form in TIMES and is_number(value) and value == value:
        yield f"{where}: Input should be a {form} in ISO form, not {value!r}"
    if kind == "integer" and isinstance(value, str) and THOUSANDS.fullmatch(number_in(value)):
        yield f"{where}: Input should be a number without a full stop for thousands, not {value!r}"
    if isinstance(value, bool) and kind in ("integer", "number"):
        yield f"{where}: Input should be a number, not {json.dumps(value)}"


def lost_fields(schema: Mapping[str, Any], value: Any, where: str, root: Any) -> Iterator[str]:
    """Yield the problem of an object that has other names in place of fields: these would be read as their defaults.

    All fields are asked for, and no others. An object that lacks one and has another name may have its value there. One
    that only lacks fields, or only has more, is complete. If it should have no fields, all that it has is lost.
    """
    if not isinstance(value, dict) or not _is_closed(schema):
        return
    names = _names_of(schema, root)
    others = [name for name in value if all(name not in known for known in names.values())]
    lacking = [field for field, known in names.items() if value.keys().isdisjoint(known)]
    if others and (lacking or not names):
        has, lacks = (", ".join(map(shortened_repr, ones[:MAX_NAMES])) for ones in (others, lacking))
        yield f"{where}: it has {has} in place of {lacks}" if lacks else f"{where}: it has {has}, but no fields"


def doubled_keys(schema: Mapping[str, Any], value: Any, where: str, root: Any) -> Iterator[str]:
    """Yield the problems of names that have two different values in an object, and are read."""
    earlier = value.earlier if isinstance(value, DoubledKeys) else ()
    fields = set().union(*_names_of(schema, root).values()) if earlier else ()
    for name, one in earlier:
        if name in fields or not _is_closed(schema):
            values = f"{shortened_repr(one)} and {shortened_repr(value[name])}"
            yield f"{_path(where, name)}: it is given twice, as {values}"


def doubled_names(value: Any) -> set[str]:
    """Return the names that have two different values in an object."""
    return {name for name, _ in value.earlier} if isinstance(value, DoubledKeys) else set()


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema names all properties of an object."""
    return "properties" in schema and schema.keys().isdisjoint(_OTHERS)


def _path(where: str, name: Any) -> str:
    return str(name) if where == WHOLE else f"{where}.{name}"


def _names_of(schema: Mapping[str, Any], root: Any) -> dict[str, tuple[str, ...]]:
    """Return the names under which each property is read."""
    properties = schema.get("properties", {})
    return {field: (field, *referenced(one, root).get(NAMES, ())) for field, one in properties.items()}


def _inner(schema: Mapping[str, Any], value: Any, root: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield what is read of an object or a list: its name or number, its schema and its value."""
    if isinstance(value, dict):
        known = {
            name: schema["properties"][field] for field, names in _names_of(schema, root).items() for name in names
        }
        others = schema.get("additionalProperties", None if _is_closed(schema) else _ANY)
        for name, one in value.items():
            if (part := known.get(name, others)) is not None:
                yield name, part, one
    elif isinstance(value, list):
        first, items = schema.get("prefixItems", ()), schema.get("items")
        for number, one in enumerate(value):
            yield number, first[number] if number < len(first) else items, one


def without_fields(schema: Any, root: Any = None, depth: int = MAX_LISTS) -> str:
    """Return the title of the object without fields that a schema asks for, alone or in lists; else nothing."""
    root = schema if root is None else root
    schema = referenced(schema, root)
    if schema.get("properties") == {} and schema.keys().isdisjoint((*_OTHERS, *COMBINING)):
        return str(schema.get("title") or "The object")
    alternatives = [one for one in _choices(schema) if referenced(one, root).get("type") != "null"]
    inner = alternatives or [schema.get("items", schema.get("additionalProperties"))]
    titles = [without_fields(one, root, depth - 1) for one in inner if depth]
    return titles[0] if titles and all(titles) else ""


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _may_be(kinds: Sequence[str], schema: Any, root: Any) -> bool:
    """Return whether a value of one of some types of JSON may fit a schema or one of its alternatives."""
    schema = referenced(schema, root)
    if ones := _choices(schema):
        return any(_may_be(kinds, one, root) for one in ones)
    return any(kind in schema.get("type", kind) for kind in kinds)


def _fitting(schema: Mapping[str, Any], value: Any, root: Any) -> list[Any]:
    """Return the alternatives of a schema that a value may be, by their types and by its choices."""
    kinds = ("object",) if isinstance(value, dict) else ("array",) if isinstance(value, list) else _SCALARS
    of_kind = [one for one in _choices(schema) if _may_be(kinds, one, root)]
    return [one for one in of_kind if not _is_other_choice(referenced(one, root), value)] or of_kind


def _is_other_choice(schema: Mapping[str, Any], value: Any) -> bool:
    """Return whether a field of an object is none of the values that a schema allows there: it is a tag, as `kind`."""
    for name, one in schema.get("properties", {}).items():
        allowed = one.get("enum", [one["const"]] if "const" in one else None) if isinstance(one, Mapping) else None
        if allowed is not None and isinstance(value, dict) and name in value and value[name] not in allowed:
            return True
    return False
