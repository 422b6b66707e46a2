"""Makes a JSON schema a check of values, with fastjsonschema. What makes a schema unusable is found here, too.

Drafts 4, 6, 7, 2019-09 and 2020-12 are supported. A schema that names no draft is read by the rules of the last two.
These values of `format` are checked: date, time, date-time (with its time zone), duration, email, hostname, ipv4, ipv6,
uri, uri-reference, uri-template, uuid, json-pointer, relative-json-pointer and regex, and iri, iri-reference, idn-email
and idn-hostname. An older draft has fewer: `duration` and `uuid` are new in 2019-09. Not checked: other formats,
`minContains`, `maxContains`, `unevaluatedItems`, `$dynamicRef`, and `unevaluatedProperties` in a schema that combines
others, and a `pattern` that neither pydantic nor Python can read. Pydantic's search takes linear time. Python's, for
look-around and the names in `patternProperties`, has no time limit.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from ..text import without_surrogates

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException

# The keywords whose values are values, and those that have schemas by names of the user's.
_VALUES: Final = ("default", "const", "enum", "examples", "example")
_BY_NAME: Final = ("properties", "patternProperties", "$defs", "definitions", "dependencies", "dependentSchemas",
                   "dependentRequired")  # fmt: skip
# The keyword in an object's schema for a value of which a validator of the user's may make another one.
VALIDATED: Final = "x-validated"
# The keyword in a field's schema for all names under which pydantic reads it, where these are several.
NAMES: Final = "x-names"
MARKS: Final = (VALIDATED, NAMES)
# Strict schemas cannot contain defaults or discriminators. Titles only repeat the names.
DROPPED: Final = ("default", "discriminator", "title", *MARKS)
_DRAFT_7: Final = re.compile("draft-0[467]")
_ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# The format that stands for a pattern begins so.
PATTERN: Final = "x-pattern:"
# What ECMA 262 reads in another way than pydantic's engine does, and what it has that Python has not.
_OTHER_THAN_PYDANTIC: Final = re.compile(r"\\[<>]|&&|--|~~")
_DASH: Final = re.compile(r"(?<!\\)((?:\\\\)*\\[wWdDsS])-")
_ECMA_GROUP: Final = re.compile(r"\(\?<(?:[=!]|\w+>)")
_ECMA_CLASS: Final = re.compile(r"\\[pP]\{[^{}]*\}|\\k<\w+>|\[\^\]")
# `$`, an escape or a class. A `$` in an escape or a class is no end.
_END: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|\$", re.DOTALL)
# What says more about the properties of an object, and what is no rule beside a reference.
COMBINING: Final = frozenset(("$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"))
_BESIDE_REFERENCE: Final = frozenset(
    ("$ref", "$schema", "$id", "$defs", "definitions", "title", "description", "default", "examples")
)
_SCHEMA: Final = {"$ref": "#"}
_NAMES: Final = {"type": "array", "items": {"type": "string"}}
_TYPE: Final = {"enum": ["array", "boolean", "integer", "null", "number", "object", "string"]}


def _one_or_many(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"if": {"type": "array"}, "then": {"minItems": 1, "items": one}, "else": one}


def metaschema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the keywords of a schema must be, as a schema. In draft 4, an exclusive bound is true or false."""
    exclusive = "boolean" if "draft-04" in str(schema.get("$schema", "")) else "number"
    rules: dict[str, dict[str, Any]] = {
        "type": _one_or_many(_TYPE),
        "items": _one_or_many(_SCHEMA),
        "enum": {"type": "array", "minItems": 1},
        "required": _NAMES,
        "dependencies": {"type": "object"},
        "dependentRequired": {"type": "object", "additionalProperties": _NAMES},
        "pattern format $ref $anchor": {"type": "string"},
        "minimum maximum": {"type": "number"},
        "exclusiveMinimum exclusiveMaximum": {"type": exclusive},
        "multipleOf": {"type": "number", "exclusiveMinimum": 0},
        "minLength maxLength minItems maxItems minProperties maxProperties": {"type": "integer", "minimum": 0},
        "allOf anyOf oneOf prefixItems": {"type": "array", "minItems": 1, "items": _SCHEMA},
        "properties patternProperties $defs definitions dependentSchemas": {
            "type": "object",
            "additionalProperties": _SCHEMA,
        },
        "not if then else contains propertyNames": _SCHEMA,
        "additionalItems additionalProperties unevaluatedItems unevaluatedProperties": _SCHEMA,
    }
    keywords = {keyword: rule for names, rule in rules.items() for keyword in names.split()}
    return {"type": ["object", "boolean"], "properties": keywords}


class _NoDocuments(dict[str, Any]):
    """Handlers for all URI schemes that refuse to fetch a document. They also disable fastjsonschema's own fetching."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Any:
        raise ValueError("it refers to another document, which is not fetched")


class _Patterns(dict[str, Any]):
    """The searches for patterns, by the formats that stand for them."""

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        return str(name).startswith(PATTERN)

    def __missing__(self, name: str) -> Any:
        return _search_for(pattern_of(name))


@lru_cache(maxsize=200)
def compiled(schema: str) -> Callable[[Any], list[JsonSchemaValueException]]:
    """Return a function that returns the errors of a value.

    Raises
    ------
    ValueError
        If the schema cannot be checked, or refers to another document or to itself.
    """
    import fastjsonschema

    try:
        changed = _in_draft_7(json.loads(schema))
        fits = fastjsonschema.compile(changed, _NoDocuments(), _Patterns(), use_default=False, fast_fail=False)
    except re.error as error:
        raise ValueError(f"Python cannot read a pattern in patternProperties: {error}.") from None
    except Exception as error:  # noqa: BLE001 - a keyword's value of the wrong type makes it fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(reason.replace("Unresolvable ref: ", "a $ref in it leads to nothing: ")) from None

    def errors_in(value: Any, fits: Callable[..., Any] = fits) -> list[JsonSchemaValueException]:
        try:
            fits(value)
        except fastjsonschema.JsonSchemaValuesException as found:
            return list(found.errors)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A number is too large, or a keyword has a wrong value that the compilation did not refuse.
            return [fastjsonschema.JsonSchemaValueException(f"it cannot be checked ({error})")]
        return []

    # Each reference is a function. One that comes back to itself without going into the value never ends. A value of no
    # type of JSON fits no alternative before it.
    names = inspect.unwrap(fits).__globals__
    try:
        for one in list(names.values()):
            if inspect.isfunction(one) and one.__globals__ is names:
                errors_in(object(), one)
    except RecursionError:
        raise ValueError("a $ref in it leads back to itself.") from None
    return errors_in


def pattern_of(name: str) -> str:
    """Return the pattern for which a format stands."""
    return unquote(name.removeprefix(PATTERN))


@lru_cache(maxsize=200)
def _search_for(pattern: str) -> Callable[[str], object] | None:
    """Return a function that searches a text for a pattern; None if the pattern is one that only services can read.

    Pydantic's engine comes first: its time is linear, and it knows `\\p{L}` and `(?<name>...)`, as ECMA 262 does.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    # In ECMA 262 it is a dash: `[\\w-.]`.
    pattern = _DASH.sub(r"\1\-", pattern)
    if not _OTHER_THAN_PYDANTIC.search(pattern):
        with suppress(SchemaError):
            fits = SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python
            return lambda text: fits(without_surrogates(text))
    python = _with_ends(pattern)
    try:
        return re.compile(python).search
    except re.error as error:
        reason = error
    try:
        re.compile(_ECMA_CLASS.sub(r"\\w", _ECMA_GROUP.sub("(", python)))
    except re.error:
        raise ValueError(f"the pattern {pattern} is not a regular expression: {reason}.") from None
    return None


def _with_ends(pattern: str) -> str:
    """Return a pattern for Python's search. There, `$` fits before a line break at the end, too."""
    return _END.sub(lambda found: r"\Z" if found[0] == "$" else found[0], pattern)


def _in_draft_7(schema: Mapping[str, Any]) -> Any:
    """Return a copy of a schema as fastjsonschema reads it, which has the keywords of draft 7 only.

    A `$ref` of draft 7 overrides what is beside it. In later drafts both count.
    """
    is_later = not _DRAFT_7.search(str(schema.get("$schema", "")))
    numbers: dict[str, int] = {}

    def change(node: dict[str, Any]) -> None:
        if isinstance(reference := node.get("$ref"), str) and reference.startswith("#/"):
            # It names a function after each reference, without capital letters and punctuation. It ignores extra
            # slashes at the beginning, so each reference gets a different number of them.
            number = numbers.setdefault(reference, len(numbers) + 1)
            node["$ref"] = f"#{'/' * number}{reference[2:]}"
        pattern = node.pop("pattern", None)
        if isinstance(pattern, str) and _search_for(pattern):
            node["allOf"] = [*node.get("allOf", ()), {"format": PATTERN + quote(pattern)}]
        if isinstance(names := node.get("patternProperties"), dict):
            node["patternProperties"] = {_with_ends(name): one for name, one in names.items()}
        if is_later:
            _replace_later_keywords(node)

    return copy_without((), schema, change)


def _replace_later_keywords(node: dict[str, Any]) -> None:
    """Write the keywords of drafts 2019-09 and 2020-12 as those of draft 7, where these can say the same."""
    if anchor := node.pop("$anchor", ""):
        node.setdefault("$id", f"#{anchor}")
    names = {name: {"required": one} for name, one in node.pop("dependentRequired", {}).items()}
    for name, one in node.pop("dependentSchemas", {}).items():
        names[name] = {"allOf": [names[name], one]} if name in names else one
    if names:
        node["allOf"] = [*node.get("allOf", ()), {"dependencies": names}]
    if "prefixItems" in node:
        if "items" in node:
            node["additionalItems"] = node["items"]
        node["items"] = node.pop("prefixItems")
    if node.get("minContains") == 0:
        node.pop("contains", None)
    if "unevaluatedProperties" in node and node.keys().isdisjoint(COMBINING):
        node.setdefault("additionalProperties", node.pop("unevaluatedProperties"))
    if "$ref" in node and (beside := {name: node.pop(name) for name in node.keys() - _BESIDE_REFERENCE}):
        node["allOf"] = [{"$ref": node.pop("$ref")}, beside]


def copy_without(keywords: Collection[str], schema: Any, change: Callable[[dict[str, Any]], None] | None = None) -> Any:
    """Copy a JSON schema without some keywords and change each object in it. Names and values are not keywords."""
    copy = partial(copy_without, keywords, change=change)
    if isinstance(schema, list):
        return [copy(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _BY_NAME and isinstance(value, Mapping):
            kept[keyword] = {name: copy(one) for name, one in value.items()}
        elif keyword not in keywords:
            kept[keyword] = value if keyword in _VALUES else copy(value)
    if change is not None:
        change(kept)
    return kept


def referenced(schema: Any, root: Any) -> Mapping[str, Any]:
    """Return a part of the schema `root` with what its reference leads to, beside what it says itself."""
    if not isinstance(schema, Mapping):
        return {}
    # Pydantic before 2.8 puts the reference into `allOf`.
    only = schema.get("allOf")
    held = only[0] if isinstance(only, list) and len(only) == 1 and isinstance(only[0], Mapping) else schema
    found = target(held.get("$ref"), root)
    if not isinstance(found, Mapping) or "properties" in schema:
        return schema
    rest = {keyword: one for keyword, one in schema.items() if keyword not in ("$ref", "allOf")}
    return {**referenced(found, root), **rest}


def in_strict_form(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a JSON schema in the form for strict mode, and whether it can be strict.

    In each object all properties are required and no others are allowed. An object that allows any keys is left as it
    is, and the schema cannot be strict.
    """
    free: list[Any] = []

    def close(node: dict[str, Any]) -> None:
        # Strict mode refuses `oneOf`. The answer is checked against the schema as it was.
        if "anyOf" not in node and "oneOf" in node:
            node["anyOf"] = node.pop("oneOf")
        if node.get("type") != "object" and "properties" not in node:
            return
        if not isinstance(node.get("properties"), dict) or node.get("additionalProperties", False) is not False:
            free.append(node)
        else:
            node |= {"type": "object", "required": list(node["properties"]), "additionalProperties": False}

    return copy_without(DROPPED, schema, close), not free


def with_finite_numbers(schema: Any) -> Any:
    """Copy a JSON schema without defaults, examples and notes that have a number that is not finite: JSON has none.

    A bound that is infinite is no bound.

    Raises
    ------
    ValueError
        If such a number is a value that is allowed, or a bound is NaN.
    """

    def change(node: dict[str, Any]) -> None:
        for keyword, value in list(node.items()):
            if keyword in _BY_NAME or is_finite(value):
                continue
            if keyword in ("const", "enum") or (keyword in _BOUNDS and value != value):
                raise ValueError(f"{keyword} is {value}: JSON has only finite numbers.")
            is_list = keyword == "examples" and isinstance(value, list)
            kept = [one for one in value if is_finite(one)] if is_list else []
            if kept:
                node[keyword] = kept
            else:
                del node[keyword]

    return copy_without((), schema, change)


def is_finite(value: Any) -> bool:
    """Return whether a value of JSON, as Python reads it, has only finite numbers."""
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def not_finite(value: Any) -> tuple[bool, str] | None:
    """Return which number that is not finite pydantic reads from a value, and whether the value is a text."""
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    except OverflowError:
        number = inf
    return None if isfinite(number) else (isinstance(value, str), repr(number))


def not_finite_in(value: Any) -> Iterator[tuple[bool, str]]:
    """Yield the numbers within a value that are not finite, as `not_finite` returns them."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from not_finite_in(one)
    elif (found := not_finite(value)) is not None:
        yield found


def is_entry(schema: Mapping[str, Any], path: Sequence[str | int]) -> bool:
    """Return whether the value at a path is an entry of an object that may have any names, not a property by its name.

    Parameters
    ----------
    schema : mapping
        The JSON schema of the whole value.
    path : sequence of str or int
        The names and the numbers of items that lead to the entry or property.
    """
    *outer, name = path
    objects = list(_schemas_at(schema, outer, schema))
    is_named = any(name in one.get("properties", ()) for one in objects)
    return not is_named and any(isinstance(other, Mapping) for one in objects for other in _others_of(one))


def _schemas_at(schema: Any, path: Sequence[str | int], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of the value at a path: one or, in alternatives, several."""
    if not isinstance(schema, Mapping):
        return
    for one in (target(schema.get("$ref"), root), *(one for word in _ALTERNATIVES for one in schema.get(word, ()))):
        yield from _schemas_at(one, path, root)
    if not path:
        yield schema
        return
    first, *rest = path
    if isinstance(first, int):
        items = schema.get("prefixItems", ())
        parts = [items[first] if first < len(items) else schema.get("items")]
    else:
        named = schema.get("properties", {})
        parts = [named[first]] if first in named else _others_of(schema)
    for one in parts:
        yield from _schemas_at(one, rest, root)


def _others_of(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of the properties that an object may have beside those that are named."""
    others = [schema.get("additionalProperties"), schema.get("unevaluatedProperties")]
    return [*others, *schema.get("patternProperties", {}).values()]


def target(reference: Any, root: Any) -> Any:
    """Return the part of a schema that a reference within it names by its place. None if there is none."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return root if reference == "#" else None
    for part in reference[2:].split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        is_item = isinstance(root, list) and name.isdecimal() and int(name) < len(root)
        root = root[int(name)] if is_item else root.get(name) if isinstance(root, Mapping) else None
    return root
