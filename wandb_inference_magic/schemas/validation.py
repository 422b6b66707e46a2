"""Checks whether a JSON value fits a JSON schema: with fastjsonschema, but with our own messages.

Drafts 4, 6, 7 and 2019-09 are supported. A schema that names no draft, or another one, is read as 2019-09.
These values of `format` are checked: date, time, date-time (with its time zone), duration, email, hostname, ipv4, ipv6,
uri, uri-reference, uri-template, uuid, json-pointer, relative-json-pointer and regex, and iri, iri-reference, idn-email
and idn-hostname. An older draft has fewer: `duration` and `uuid` are new in 2019-09. Any other `format`, and any
keyword of a later draft, counts as valid. A `pattern` is a Python regular expression, and its search has no time limit.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from ..errors import shortened
from ..text import folded, is_number, json_or_none, ungrouped

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException
    from pydantic import ValidationError

# The formats of texts that pydantic also reads from numbers.
TIMES: Final = ("date", "date-time", "time")
# The values in pydantic's list of those that are allowed, as Python writes them.
_ALLOWED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,'"]+""")
# The types of pydantic's errors about a text that is none of the choices, or no number.
_CHOICES: Final = ("literal_error", "enum")
_NUMBERS: Final = ("int_parsing", "float_parsing", "decimal_parsing")
_SHARED: Final = ("$schema", "$id", "$defs", "definitions")


class _NoDocuments(dict[str, Any]):
    """Handlers for all URI schemes that refuse to fetch a document. They also disable fastjsonschema's own fetching."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Any:
        raise ValueError("it refers to another document, which is not fetched")


def compile_check(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Callable[[Any], list[str]]:
    """Return a function that lists how a value does not fit a schema, one line with the path for each problem.

    Raises
    ------
    ValueError
        If it is not a schema, or refers to another document.
    """
    import fastjsonschema

    try:
        fits = fastjsonschema.compile(
            _with_distinct_references(schema), handlers=_NoDocuments(), use_default=False, fast_fail=False
        )
    except Exception as error:  # noqa: BLE001 - a keyword's value of the wrong type makes it fail in any way
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None

    def check(value: Any) -> list[str]:
        try:
            fits(value)
        except fastjsonschema.JsonSchemaValuesException as found:
            return [line for error in found.errors for line in _described(error, schema, path)]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A number is too large, or a keyword has a wrong value that the compilation did not refuse.
            return [f"the answer: it cannot be checked ({error})"]
        return []

    return check


def _with_distinct_references(schema: Mapping[str, Any]) -> Any:
    """Return a copy of a schema in which fastjsonschema does not confuse `#/$defs/A` and `#/$defs/a`.

    It names a function after each reference, without capital letters and punctuation. It ignores extra slashes at the
    beginning, so each reference gets a different number of them.
    """
    numbers: dict[str, int] = {}

    def distinct(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            number = numbers.setdefault(reference, len(numbers) + 1)
            node["$ref"] = f"#{'/' * number}{reference[2:]}"
        return node

    return json.loads(json.dumps(schema), object_hook=distinct)


def _described(error: JsonSchemaValueException, root: Mapping[str, Any], within: tuple[str, ...]) -> list[str]:
    path = (*within, *error.path[1:])
    value, rule, wanted = error.value, error.rule, error.rule_definition
    if rule == "required":
        return [f"{'.'.join((*path, str(name)))}: it is missing" for name in wanted if name not in value]
    if rule == "additionalProperties":
        known, patterns = (error.definition.get(keyword, ()) for keyword in ("properties", "patternProperties"))
        others = [name for name in value if name not in known and not any(re.search(one, name) for one in patterns)]
        return [f"{'.'.join((*path, name))}: nothing is allowed here" for name in others]
    if rule in ("anyOf", "oneOf") and (found := _of_alternatives(error, root, path)):
        return found
    said = "must fit anyOf" if rule == "anyOf" else error.message.removeprefix(f"{error.name} ")
    if rule in ("type", "enum", "format"):
        said = f"{said.removeprefix('must be ')} is expected"
    return [f"{'.'.join(path) or 'the answer'}: {said}, not {shortened(repr(value))}"]


def _of_alternatives(error: JsonSchemaValueException, root: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the first problem of the closest alternative, or nothing if one fits or cannot be checked."""
    shared = {keyword: root[keyword] for keyword in _SHARED if keyword in root}
    try:
        found = [compile_check(shared | one, path)(error.value) for one in error.rule_definition]
    except (ValueError, TypeError):
        return []
    return min(found, key=len, default=[])[:1]


def with_allowed_values(value: Any, error: ValidationError) -> Any:
    """Return a copy of a value in which each text that is an allowed value in another form is that one.

    Models write `Positive.` for `positive` and `2,100,000` for a number, and pydantic does not read `"3"` as one of
    `Literal[1, 2, 3]`. `error` is what it said of the value. None if there is no such text, or it could be several.
    """
    held, is_changed = [deepcopy(value)], False
    for one in error.errors(include_url=False):
        if one["type"] not in (*_CHOICES, *_NUMBERS) or not isinstance(text := one["input"], str):
            continue
        place: Any = held
        key: Any = 0
        # Names of alternatives in a path are no parts of the value.
        for part in one["loc"]:
            inner = place[key]
            if (isinstance(inner, dict) and part in inner) or (isinstance(inner, list) and isinstance(part, int)):
                place, key = inner, part
        meant = _meant(text, one["ctx"]["expected"]) if one["type"] in _CHOICES else [ungrouped(text.strip())]
        if place[key] == text and len(meant) == 1 and meant[0] != text:
            place[key], is_changed = meant[0], True
    return held[0] if is_changed else None


def property_names(schema: Any) -> frozenset[str]:
    """Return the names of all properties in a JSON schema, at any depth."""
    inner = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    own = schema.get("properties") if isinstance(schema, Mapping) else None
    return frozenset(own if isinstance(own, Mapping) else ()).union(*map(property_names, inner))


def with_missing_nulls(value: Any, error: ValidationError, names: frozenset[str]) -> Any:
    """Return a copy of a value with null for each field that is missing. None if something else is wrong with it.

    Models leave out fields for which they would answer null. In an object with other names than `names`, those of all
    fields, the fields may be at another place.
    """
    held = deepcopy(value)
    for one in error.errors(include_url=False):
        *path, name = one["loc"] or (0,)
        place = held
        for part in path:
            is_there = part in place if isinstance(place, dict) else isinstance(place, list) and isinstance(part, int)
            place = place[part] if is_there else None
        if one["type"] != "missing" or not isinstance(place, dict) or not place or not place.keys() <= names:
            return None
        place[name] = None
    return held


def _meant(text: str, expected: str) -> list[Any]:
    """Return the allowed values that a text can stand for, of those that pydantic names: `'a', 'b' or 3`."""
    words = _ALLOWED.findall(expected)
    found = json_or_none(text.lower())
    if isinstance(found, int | float):
        allowed = [json_or_none(word.lower()) for word in words]
        return [one for one in allowed if one == found and isinstance(one, bool) == isinstance(found, bool)]
    texts = [literal_eval(word) for word in words if word[0] in "'\""]
    return [one for one in texts if folded(one) == folded(text)]


def misread_values(schema: Mapping[str, Any], value: Any, where: str = "", root: Any = None) -> Iterator[str]:
    """Yield the problems of values that pydantic would read as another kind.

    It reads the number 2024 as a time, in seconds of 1970, and a boolean as the number 0 or 1.

    Parameters
    ----------
    schema : mapping
        The JSON schema that was sent.
    value : object
        The JSON value of the answer.
    where : str
        Its place in the answer.
    root : mapping, optional
        The whole schema, for references.
    """
    root = schema if root is None else root
    if isinstance(reference := schema.get("$ref"), str):
        schema = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
    if schema.get("format") in TIMES and is_number(value):
        yield f"{where or 'the answer'}: Input should be a {schema['format']} in ISO form, not {value!r}"
    if isinstance(value, bool) and schema.get("type") in ("integer", "number"):
        yield f"{where or 'the answer'}: Input should be a number, not {json.dumps(value)}"
    alternatives = [one for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if one.get("type") != "null"]
    found = [list(misread_values(one, value, where, root)) for one in alternatives]
    if found and all(found):
        yield from found[0]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, one in value.items():
            yield from _misread_in_part(known.get(name, others), one, f"{where}.{name}", root)
    if isinstance(value, list):
        first, items = schema.get("prefixItems", ()), schema.get("items")
        for number, one in enumerate(value):
            part = first[number] if number < len(first) else items
            yield from _misread_in_part(part, one, f"{where}.{number}", root)


def _misread_in_part(schema: Any, value: Any, where: str, root: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from misread_values(schema, value, where.lstrip("."), root)
