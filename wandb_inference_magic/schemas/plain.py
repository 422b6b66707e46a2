"""Writes the schema of a tool's arguments in the form that all services take.

A schema of Gemini's has one type. It has no references and no null, values only of texts, a schema of the items of each
list, and nothing beside `anyOf`. Nova takes three keywords at the top, and llama.cpp no schema without a type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .json_schema import target

Form = dict[str, Any]
# A schema that is nested more deeply, or in itself, has its type only.
MAX_NESTING: Final = 5
_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    list: "array",
    dict: "object",
}
# The forms of any value. The items of a list need a type too.
_ANY: Final[tuple[Form, ...]] = (
    {"type": "string"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "object"},
    {"type": "array", "items": {"type": "string"}},
)


def plain_schema(schema: Mapping[str, Any]) -> Form:
    """Return the schema of a tool's arguments without what only some services take.

    The arguments that come are checked by the schema that was meant. So limits are left out, and what the model must
    know is put into descriptions.

    Parameters
    ----------
    schema : mapping
        The JSON schema of an object.
    """
    plain = _plain(dict(schema), schema)
    required = {"required": plain["required"]} if "required" in plain else {}
    return {"type": "object", "properties": plain.get("properties", {}), **required}


def _plain(schema: object, root: Mapping[str, Any], within: tuple[str, ...] = ()) -> Form:
    """Return a part of the schema `root` with others in place of references. It is within those of some references."""
    if not isinstance(schema, dict):
        return _joined(_ANY)
    if isinstance(parts := schema.get("allOf"), list):
        # Older versions of pydantic put a reference there, if something is beside it.
        merged = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
        return _plain(merged | {name: value for name, value in schema.items() if name != "allOf"}, root, within)
    if isinstance(reference := schema.get("$ref"), str):
        beside = {one: value for one, value in schema.items() if one != "$ref"}
        found = target(reference, root)
        named = found if isinstance(found, dict) else {"type": "object"}
        if reference in within or len(within) >= MAX_NESTING:
            return _plain({"type": named.get("type")} | beside, root, within)
        return _plain(named | beside, root, (*within, reference))
    forms = _forms(schema, root, within)
    notes = [schema.get("description")]
    is_nullable = any(one == {"type": "null"} for one in forms) and len(forms) > 1
    if is_nullable and "default" not in schema:
        notes.append("It may be null.")
    return _joined(forms, " ".join(one for one in notes if isinstance(one, str)))


def _joined(forms: Sequence[Form], note: str = "") -> Form:
    """Return the schema of a value that has one of these forms, with a description."""
    each = [one for form in forms for one in form.get("anyOf", [form])]
    forms = [one for n, one in enumerate(each) if one not in each[:n]]
    # It is left out, or said.
    forms = [one for one in forms if one != {"type": "null"}] or forms
    if note:
        forms = [one | {"description": " ".join(filter(None, (note, one.get("description"))))} for one in forms]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _forms(schema: Form, root: Mapping[str, Any], within: tuple[str, ...]) -> Sequence[Form]:
    """Return the forms of a value, of which each has one type."""
    if "const" in schema or isinstance(schema.get("enum"), list):
        return _forms_of_values([schema["const"]] if "const" in schema else schema["enum"])
    forms = schema.get("anyOf", schema.get("oneOf"))
    # Beside properties, these only limit them.
    if isinstance(forms, list) and forms and "properties" not in schema:
        return [_plain(one, root, within) for one in forms]
    kind = schema.get("type")
    bare = {name: value for name, value in schema.items() if name != "description"}
    if isinstance(kind, list) and kind:
        return [_plain(bare | {"type": one}, root, within) for one in kind]
    if kind == "object" or "properties" in schema:
        return [_object(schema, root, within)]
    if kind == "array" or "items" in schema or "prefixItems" in schema:
        return [_array(schema, root, within)]
    return [{"type": kind}] if kind in _TYPES.values() else _ANY


def _forms_of_values(values: Sequence[object]) -> Sequence[Form]:
    """Return the forms of some values. Only texts that are not empty can be listed; others are described."""
    forms: list[Form] = []
    for kind in dict.fromkeys(_TYPES.get(type(value), "string") for value in values):
        same = [value for value in values if _TYPES.get(type(value), "string") == kind]
        if kind == "null":
            forms.append({"type": kind})
        elif kind == "string" and all(same):
            forms.append({"type": kind, "enum": same})
        else:
            written = ", ".join(json.dumps(value, ensure_ascii=False) for value in same)
            items = {"items": _joined(_ANY)} if kind == "array" else {}
            forms.append({"type": kind, **items, "description": f"One of: {written}."})
    return forms


def _object(schema: Form, root: Mapping[str, Any], within: tuple[str, ...]) -> Form:
    plain: Form = {"type": "object"}
    if isinstance(fields := schema.get("properties"), dict) and fields:
        plain["properties"] = {name: _plain(one, root, within) for name, one in fields.items()}
        if required := [name for name in schema.get("required") or () if name in fields]:
            plain["required"] = required
    return plain


def _array(schema: Form, root: Mapping[str, Any], within: tuple[str, ...]) -> Form:
    items = schema.get("prefixItems", schema.get("items"))
    if not isinstance(items, list):
        return {"type": "array", "items": _plain(items, root, within)}
    forms = [_plain(one, root, within) for one in items]
    kinds = [one.get("type", "any") for one in forms]
    order = f", in this order: {', '.join(kinds)}" if len(set(kinds)) > 1 else ""
    return {"type": "array", "items": _joined(forms or _ANY), "description": f"{len(items)} items{order}."}
