"""How pydantic describes a type as a JSON schema: as what the model writes, and as the object made of that.

This module imports pydantic, so it is imported where a schema is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaValidator
from typing_extensions import NotRequired, Required, get_type_hints

from ..text import as_json
from .docstrings import target_of

T = TypeVar("T")

# Parts of a schema of pydantic's core that are none themselves, or only of what is written.
_NO_SCHEMAS: Final = ("default", "metadata", "serialization")


class _JsonGenerator(GenerateJsonSchema):
    """Describes numbers of NumPy too, and does not warn about defaults."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def generate(self, schema: Any, mode: Any = "validation") -> Any:
        return json.loads(json.dumps(super().generate(schema, mode), default=as_json))

    def literal_schema(self, schema: Any) -> Any:
        changed: Any = {**schema, "expected": [*map(_as_python, schema["expected"])]}
        made = super().literal_schema(changed)
        # Before 2.9, pydantic has a wrong name for the type of floats.
        return made | {"type": "number"} if made.get("type") == "numeric" else made

    def enum_schema(self, schema: Any) -> Any:
        members = [SimpleNamespace(value=_as_python(one.value)) for one in schema["members"]]
        changed: Any = {**schema, "members": members}
        return super().enum_schema(changed)


def _as_python(value: Any) -> Any:
    """Return a number of NumPy as that of Python, and any other value as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


class SentSchemaGenerator(_JsonGenerator):
    """Describes what the model writes."""

    def generate(self, schema: Any, mode: Any = "validation") -> Any:
        if name := next(_async_validators(schema), ""):
            raise ValueError(f"The validator {name} is async, and never awaited: write it with def, without async.")
        return super().generate(schema, mode)

    def model_schema(self, schema: Any) -> Any:
        return _with_notes(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> Any:
        return _with_notes(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> Any:
        return _with_notes(super().typed_dict_schema(schema), schema.get("cls"))

    def field_is_present(self, field: Any) -> bool:
        # A dataclass sets a field with init=False itself: what is written there is not used.
        if not super().field_is_present(field) or field.get("init") is False:
            return False
        alias = field.get("validation_alias")
        paths = alias if not isinstance(alias, list) or isinstance(alias[0], list) else [alias]
        config = self._config.config_dict
        is_by_name = config.get("populate_by_name") or config.get("validate_by_name")
        if isinstance(paths, list) and all(len(path) > 1 for path in paths) and not is_by_name:
            # The schema would ask for the name of the field, and the check for the path.
            path = ".".join(map(str, paths[0]))
            raise ValueError(f"The alias {path} is a path, not a name: describe the objects on the path as types.")
        return True


def _with_notes(made: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Add the texts in the `Annotated` of fields as their descriptions: pydantic passes over them."""
    # Pydantic also finds types that are local to a function: such a field has no text.
    with suppress(NameError, TypeError, AttributeError):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            origin: Any = get_origin(hint)
            hint = get_args(hint)[0] if origin in (Required, NotRequired) else hint
            notes = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)]
            if notes and name in made.get("properties", {}):
                made["properties"][name].setdefault("description", " ".join(notes))
    return made


class ObjectSchemaGenerator(_JsonGenerator):
    """Describes the validated object, not the JSON that it is validated from."""

    def decimal_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"type": "string", "format": "decimal"}

    def named_tuple_schema(self, schema: Any) -> dict[str, Any]:
        fields = {one["name"]: self.generate_inner(one["schema"]) for one in schema["fields"]}
        return {"type": "object", "properties": fields}

    def model_fields_schema(self, schema: Any) -> dict[str, Any]:
        return self._with_computed(super().model_fields_schema(schema), schema)

    def dataclass_args_schema(self, schema: Any) -> dict[str, Any]:
        return self._with_computed(super().dataclass_args_schema(schema), schema)

    def _with_computed(self, made: dict[str, Any], schema: Any) -> dict[str, Any]:
        """Add the computed fields, which pydantic lists only in what it writes."""
        for one in schema.get("computed_fields", ()):
            try:
                made["properties"][one["property_name"]] = self.generate_inner(one)
            except PydanticUserError:
                # JSON has no such values: they are text.
                made["properties"][one["property_name"]] = {}
        return made

    def p_arguments_schema(self, arguments: Any, var_args_schema: Any) -> Any:  # noqa: ARG002
        # The fields of a named tuple in older versions of pydantic.
        return self.kw_arguments_schema(arguments, None)


def _async_validators(schema: Any) -> Iterator[str]:
    """Yield the names of the async validators in a schema of pydantic's core: their values would be coroutines."""
    for node in _nodes(schema):
        if iscoroutinefunction(function := node.get("function")):
            yield getattr(target_of(function), "__name__", "of a field")


def reads_values_itself(schema: Any) -> bool:
    """Return whether a validator of the user's sees values before pydantic does, in a schema of pydantic's core."""
    return any(node.get("type") in ("function-before", "function-wrap", "function-plain") for node in _nodes(schema))


def with_lists(adapter: TypeAdapter[T]) -> TypeAdapter[T]:
    """Return an adapter that makes a list of each `Iterable`: pydantic checks its items when they are used."""
    if all(node.get("type") != "generator" for node in _nodes(adapter.core_schema)):
        return adapter
    adapter.core_schema = _with_lists(adapter.core_schema)
    try:
        # Newer versions would use the validators that the models inside have already.
        adapter.validator = SchemaValidator(adapter.core_schema, _use_prebuilt=False)
    except TypeError:
        adapter.validator = SchemaValidator(adapter.core_schema)
    return adapter


def _with_lists(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(map(_with_lists, schema))
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: one if name in _NO_SCHEMAS else _with_lists(one) for name, one in schema.items()}
    return {**kept, "type": "list"} if kept.get("type") == "generator" else kept


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a schema of pydantic's core, with all that are in them."""
    if isinstance(schema, list | tuple):
        for one in schema:
            yield from _nodes(one)
    elif isinstance(schema, Mapping):
        yield schema
        for name, one in schema.items():
            if name not in _NO_SCHEMAS:
                yield from _nodes(one)
