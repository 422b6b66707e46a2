"""Reads values in the forms that models give them, and says how a value does not fit."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import shortened_repr, users_failures
from ..messages import inner_json, property_names
from ..text import boolean_of, changed_object, folded, is_number, json_or_none, number_in, same_name, without_surrogates
from .json_schema import PATTERN, compiled, is_entry, metaschema, not_finite, not_finite_in, pattern_of
from .misread import THOUSANDS, TIMES

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
# The values in pydantic's list of those that are allowed, as Python writes them.
_ALLOWED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,'"]+""")
# What pydantic wants, by the types of its errors about values that can be written in another form.
_WANTED: Final = {
    **dict.fromkeys(("literal_error", "enum", "union_tag_invalid"), "enum"),
    **dict.fromkeys(("int_parsing", "float_parsing", "decimal_parsing", "finite_number"), "number"),
    **dict.fromkeys(("date_parsing", "date_from_datetime_parsing"), "date"),
    **dict.fromkeys(("datetime_parsing", "datetime_from_date_parsing"), "date-time"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), "array"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type", "arguments_type"), "object"),
    "time_parsing": "time",
    "bool_parsing": "boolean",
    "string_type": "string",
}
# The kinds of values that are no texts, and the texts that say that there is none.
_OF_VALUES: Final = ("number", "date", "date-time", "time", "boolean", "null")
_NO_VALUE: Final = ("", "null", "none", "n/a", "nan")
# The rules of a JSON schema that such a value breaks.
_RULES: Final = ("type", "enum", "const", "format", "anyOf", "oneOf")
# A list in a text may have numbers in texts. An alternative could change back what another one has changed.
ROUNDS: Final = 3
# Stands for a null where another value is wanted: the field may be one that is not required.
_LEFT_OUT: Final = object()
_SHARED: Final = ("$schema", "$id", "$defs", "definitions")


@dataclass(frozen=True)
class _NotFinite:
    """Stands for NaN or Infinity in a check: a value of no type of JSON. A check takes each float for a number."""

    text: str

    def __repr__(self) -> str:
        return self.text


def problems_in_schema(schema: Mapping[str, Any]) -> list[str]:
    """Return what makes a JSON schema unusable, by its keywords."""
    errors = compiled(json.dumps(metaschema(schema)))(schema)
    return [line for error in errors for line in _described(error, {}, ())]


def compile_reader(schema: Mapping[str, Any]) -> Callable[[Any], tuple[Any, list[str]]]:
    """Return a function that returns a value as the schema has it, and how it does not fit.

    A part in another form that means the same is read. If the value does not fit then either, it is returned as it is.
    NaN is read as null. Infinity fits no type.

    Raises
    ------
    ValueError
        If it is not a schema, or refers to another document.
    """
    errors_in = compiled(json.dumps(schema))
    shared = {keyword: schema[keyword] for keyword in _SHARED if keyword in schema}

    def read(value: Any) -> tuple[Any, list[str]]:
        held = _marked(value)
        errors = problems = errors_in(held)
        for _ in range(ROUNDS):
            if not errors or (changed := _replaced(held, map(partial(_form_of, shared), errors), schema)) is None:
                break
            [held] = changed
            errors = errors_in(held)
        if not errors:
            return _unmarked(held), []
        left = [error.path for error in errors]
        kept = [error for error in problems if _is_within(error.path, left)] or problems
        return value, [line for error in kept for line in _described(error, shared, ())]

    return read


def _marked(value: Any) -> Any:
    """Copy a JSON value with each number that is not finite marked as one."""
    if isinstance(value, list):
        return [_marked(one) for one in value]
    if isinstance(value, dict):
        return {name: _marked(one) for name, one in value.items()}
    return _NotFinite(repr(value)) if isinstance(value, float) and not isfinite(value) else value


def _unmarked(value: Any) -> Any:
    """Copy a JSON value with null for NaN, and with Infinity where the schema says nothing of its type."""
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if isinstance(value, dict):
        return {name: _unmarked(one) for name, one in value.items()}
    if isinstance(value, _NotFinite):
        return None if _is_nan(value) else float(value.text)
    return value


def _is_nan(value: Any) -> bool:
    return value == _NotFinite("nan") or (isinstance(value, float) and value != value)


def _described(error: JsonSchemaValueException, shared: Mapping[str, Any], within: tuple[str, ...]) -> list[str]:
    path = (*within, *error.path[1:])
    value, rule, wanted = error.value, error.rule, error.rule_definition
    if rule is None:
        return [f"the answer: {error.message}"]
    if rule == "required":
        return [f"{'.'.join((*path, str(name)))}: it is missing" for name in wanted if name not in value]
    if rule == "additionalProperties":
        known, patterns = (error.definition.get(keyword, ()) for keyword in ("properties", "patternProperties"))
        others = [name for name in value if name not in known and not any(re.search(one, name) for one in patterns)]
        return [f"{'.'.join((*path, name))}: nothing is allowed here" for name in others]
    if rule in ("anyOf", "oneOf") and (found := _of_alternatives(error, shared, path)):
        return found
    expected = "must fit anyOf" if rule == "anyOf" else error.message.removeprefix(f"{error.name} ")
    if rule == "format" and wanted.startswith(PATTERN):
        expected = f"must match pattern {pattern_of(wanted)}"
    elif rule in ("type", "enum", "format"):
        expected = f"{expected.removeprefix('must be ')} is expected"
    return [f"{'.'.join(path) or 'the answer'}: {expected}, not {shortened_repr(value)}"]


def _of_alternatives(error: JsonSchemaValueException, shared: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the first problem of the closest alternative, or nothing if one fits or cannot be checked."""
    with suppress(TypeError, ValueError):
        found = [compiled(json.dumps(shared | one))(error.value) for one in error.rule_definition]
        return min(([line for each in one for line in _described(each, shared, path)] for one in found), key=len)[:1]
    return []


def read_in_any_form(adapter: TypeAdapter[T], value: Any, schema: Mapping[str, Any], rounds: int = ROUNDS) -> T:
    """Return what a JSON value stands for: as it is, with parts in other forms, or with nulls for missing fields.

    Models write `Positive.` for `positive`, `2,100,000` and `**5**` for numbers, 4 for a text and a list as JSON in a
    text, and pydantic does not read `"3"` as one of `Literal[1, 2, 3]`. A null where a field wants another value counts
    as left out: defaults are not sent, and all fields are asked for.

    Parameters
    ----------
    adapter : TypeAdapter
    value : object
        What the model wrote, parsed.
    schema : mapping
        The JSON schema of the value.

    Raises
    ------
    ValidationError
        About the parts of the value that fit in no form, as they are.
    """
    from pydantic import ValidationError

    try:
        # Validate as JSON: in JSON a date is a string, but as a Python value a string is not a date.
        return adapter.validate_json(without_surrogates(json.dumps(value, ensure_ascii=False)).encode())
    except ValidationError as error:
        reported, forms = error, list(map(_form_in, error.errors(include_url=False)))
        if rounds and (changed := _replaced(value, forms, schema)) is not None:
            try:
                return read_in_any_form(adapter, changed[0], schema, rounds - 1)
            except ValidationError as other:
                reported = _without_read(error, [one["loc"] for one in other.errors(include_url=False)])
            except users_failures():
                # A validator of the user's need not take a null that the model did not write.
                if [None] not in [meant for *_, meant in forms]:
                    raise
        if (filled := with_missing_nulls(value, error, property_names(schema))) is not None:
            try:
                return read_in_any_form(adapter, filled, schema, 0)
            except users_failures():
                pass
        raise reported from None


def read_as_written(finite: TypeAdapter[T], adapter: TypeAdapter[T], value: Any, schema: Mapping[str, Any]) -> T:
    """Return what a JSON value stands for. A number that is not finite is refused where the model wrote it.

    One that a validator of the user's makes of another value is a value.

    Parameters
    ----------
    finite : TypeAdapter
        The one that refuses all such numbers where the type does not allow them.
    adapter, value, schema
        See `read_in_any_form`.
    """
    from pydantic import ValidationError

    if any(not_finite_in(value)):
        try:
            return read_in_any_form(finite, value, schema)
        except ValidationError as error:
            if of_model := [one["loc"] for one in error.errors(include_url=False) if not _is_made(one, value)]:
                raise _without_read(error, of_model) from None
    return read_in_any_form(adapter, value, schema)


def _is_made(error: Any, value: Any) -> bool:
    """Return whether an error of pydantic is about a number that a validator has made of what the model wrote."""
    path, number = error["loc"], error["input"]
    place, keys = _place([value], path)
    written = keys[-1] if path[-2:] == (keys[-1], "[key]") else place[keys[-1]]
    found = list(not_finite_in(written))
    is_written = not_finite(number) in found if isinstance(written, dict | list) else bool(found)
    return error["type"] == "finite_number" and not is_written


def _without_read(error: ValidationError, left: Sequence[Sequence[Any]]) -> ValidationError:
    """Return an error without its parts that are at none of the places that are left."""
    from pydantic_core import PydanticCustomError

    kept = [one for one in error.errors(include_url=False) if _is_within(one["loc"], left)]
    details: Any = [{**one, "type": PydanticCustomError(one["type"], one["msg"])} for one in kept]
    return type(error).from_exception_data(error.title, details) if kept else error


def _is_within(path: Sequence[Any], places: Sequence[Sequence[Any]]) -> bool:
    return any(path[: len(place)] == place for place in places)


def _form_in(error: Any) -> tuple[Sequence[Any], Any, list[Any]]:
    """Return the path of an error of pydantic, the value there, and the values that it can stand for."""
    path, given, wanted, context = error["loc"], error["input"], _WANTED.get(error["type"], ""), error.get("ctx", {})
    if error["type"] == "union_tag_invalid" and isinstance(given, dict):
        # The choice is in a field of the object. A function that picks it does not say in which.
        by, tag = context["discriminator"], context["tag"]
        names = [name for name, one in given.items() if str(one) == tag and (repr(name) in by or by.endswith("()"))]
        path, given = ((*path, names[0]), given[names[0]]) if len(names) == 1 else (path, given)
    if given is None and (wanted == "enum" or error["type"].endswith("_type")):
        # Not where a validator of the user's refuses null.
        return path, given, [_LEFT_OUT]
    if wanted != "enum":
        return path, given, _meant(given, wanted)
    literals = _ALLOWED.findall(context.get("expected") or context["expected_tags"])
    allowed = [literal_eval(word) if word[0] in "'\"" else json_or_none(word.lower()) for word in literals]
    names = json.loads(context.get("names", "{}"))
    named = [form for name, form in names.items() if isinstance(given, str) and folded(name) == folded(given)]
    return path, given, named or _meant_of(given, allowed)


def _form_of(shared: Mapping[str, Any], error: JsonSchemaValueException) -> tuple[Sequence[Any], Any, list[Any]]:
    """Return the path of an error of a JSON schema, the value there, and the values that it can stand for."""
    meant: list[Any] = []
    if error.rule in _RULES:
        meant = [_LEFT_OUT] if error.value is None else list(_meant_by(error.value, error.definition, shared))
    return error.path[1:], error.value, meant


def _meant_by(value: Any, schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the values of a JSON schema that a value can stand for: those of an alternative, as this one reads it."""
    if "enum" in schema or "const" in schema:
        yield from _meant_of(value, [schema["const"]] if "const" in schema else list(schema["enum"]))
        return
    types, form = schema.get("type"), schema.get("format")
    for one in types if isinstance(types, list) else [types]:
        read = {"boolean": boolean_of, "integer": json_or_none, "number": json_or_none}.get(str(one))
        for meant in _meant(value, form if form in TIMES else "number" if one == "integer" else str(one)):
            found = read(meant) if read and meant is not None else meant
            is_other = one == "integer" and THOUSANDS.fullmatch(str(meant))
            if meant is None or (found is not None and isinstance(found, bool) == (one == "boolean") and not is_other):
                yield _marked(found)
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        with suppress(TypeError, ValueError):
            held, problems = compile_reader(shared | one)(value)
            if not problems:
                yield held


def _replaced(
    value: Any, forms: Iterable[tuple[Sequence[Any], Any, list[Any]]], schema: Mapping[str, Any]
) -> list[Any] | None:
    """Return a list of a copy of a value with the parts that can stand for one value as that one. None if none can.

    Only a property that the schema names is left out: an entry of an object that may have any names is asked for.
    """
    held, is_changed = [deepcopy(value)], False
    for path, given, meant in forms:
        place, keys = _place(held, path)
        key, new = keys[-1], meant[0] if meant else given
        if any(one != new for one in meant) or not _are_equal(place[key], given) or _are_equal(given, new):
            continue
        if new is not _LEFT_OUT:
            place[key], is_changed = new, True
        elif isinstance(place, dict) and not is_entry(schema, keys[1:]):
            del place[key]
            is_changed = True
    return held if is_changed else None


def _place(held: list[Any], path: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what holds the part at a path in the only item of a list, and the keys that lead to it, after that item's.

    Names of alternatives in a path are no parts of the value.
    """
    place: Any = held
    keys: list[Any] = [0]
    for part in path:
        inner = place[keys[-1]]
        if isinstance(inner, dict) and part in inner:
            place = inner
            keys.append(part)
        elif isinstance(inner, list) and str(part).isdecimal() and int(part) < len(inner):
            place = inner
            keys.append(int(part))
    return place, keys


def _are_equal(one: Any, other: Any) -> bool:
    return (type(one) is type(other) and bool(one == other)) or (_is_nan(one) and _is_nan(other))


def _meant(value: Any, wanted: str) -> list[Any]:
    """Return the values of a type or format that a value in another form can stand for: none or one.

    Numbers and booleans are still texts. Null fits where the field allows it.
    """
    if _is_nan(value):
        return [None]
    if wanted == "string":
        return [json.dumps(value)] if isinstance(value, int | float) else []
    if not isinstance(value, str):
        return []
    if wanted in ("array", "object"):
        return [inner] if (inner := inner_json(value)) is not None else []
    if wanted in _OF_VALUES and folded(value) in _NO_VALUE:
        return [None]
    if wanted == "number":
        return [number_in(value)]
    if wanted == "boolean":
        return [folded(value)]
    # Pydantic would read a number as seconds of 1970.
    return [moment] if wanted in TIMES and not is_number(moment := folded(value).upper()) else []


def _meant_of(value: Any, allowed: Sequence[Any]) -> list[Any]:
    """Return those of the allowed values that a value can stand for, or null. This fits where the field allows it."""
    text = value if isinstance(value, str) else json.dumps(value, default=repr).strip('"')
    found = json_or_none(number_in(text).lower())
    if isinstance(found, int | float):
        numbers = [one for one in allowed if one == found and isinstance(one, bool) == isinstance(found, bool)]
        if numbers:
            return numbers
    if texts := [one for one in allowed if isinstance(one, str) and folded(one) == folded(text)]:
        return texts
    if folded(text) in _NO_VALUE:
        return [None]
    # JSON has true and false for `yes|no`, and models write such words for true and false.
    truths = [one if isinstance(one, bool) else boolean_of(one) if isinstance(one, str) else None for one in allowed]
    said = boolean_of(text) if {True, False} <= {*truths} else None
    return [one for one, truth in zip(allowed, truths, strict=True) if truth is said is not None]


def with_missing_nulls(value: Any, error: ValidationError, names: frozenset[str]) -> Any:
    """Return a copy of a value with null for each field that is missing. None if something else is wrong with it.

    Models leave out fields for which they would answer null. In an object with other names than `names`, those of all
    fields, the fields may be at another place, or have another name.
    """
    held = deepcopy(value)
    for one in error.errors(include_url=False):
        *path, name = one["loc"] or (0,)
        outer, keys = _place([held], path)
        place = outer[keys[-1]] if keys[1:] == path else None
        if one["type"] != "missing" or not isinstance(place, dict) or not place or not place.keys() <= names:
            return None
        place[name] = None
    return held


def with_names(value: Any, names: Collection[str]) -> Any:
    """Return a JSON value with the keys that are one of these names in another form of Unicode under that name."""
    if isinstance(value, list):
        return [with_names(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return changed_object(value, lambda name, one: (same_name(name, names) or name, with_names(one, names)))
