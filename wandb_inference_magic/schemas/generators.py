"""How pydantic describes a type as a JSON schema: as what the model writes, and as the object made of that.

This module imports pydantic, so it is imported where a schema is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from enum import Enum
from inspect import iscoroutinefunction
from operator import attrgetter
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaValidator, core_schema, to_jsonable_python
from typing_extensions import NotRequired, Required, get_type_hints

from ..errors import users_failures
from ..text import as_json
from .docstrings import target_of
from .json_schema import NAMES, VALIDATED, copy_without, is_finite, not_finite_in, with_finite_numbers

T = TypeVar("T")

# Parts of a schema of pydantic's core that are none themselves, or only of what is written.
_NO_SCHEMAS: Final = ("default", "metadata", "serialization")
_READ_FIRST: Final = ("function-before", "function-wrap", "function-plain")
# The keyword for the names of an enum's members, while the schema is made.
_MEMBERS: Final = "x-members"


class _JsonGenerator(GenerateJsonSchema):
    """Describes defaults and bounds that are numbers of NumPy too, and a named tuple as an object.

    It does not warn about defaults.
    """

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def generate(self, schema: Any, mode: Any = "validation") -> Any:
        return json.loads(json.dumps(super().generate(schema, mode), default=as_json))

    def enum_schema(self, schema: Any) -> Any:
        return super().enum_schema(schema | {"members": _once(schema["members"])})

    def literal_schema(self, schema: Any) -> Any:
        made = super().literal_schema(schema)
        # Before 2.9, pydantic has a wrong name for the type of floats.
        return made | {"type": "number"} if made.get("type") == "numeric" else made

    def named_tuple_schema(self, schema: Any) -> dict[str, Any]:
        fields = {one["name"]: self.generate_inner(one["schema"]) for one in schema["fields"]}
        required = [one["name"] for one in schema["fields"] if one["schema"]["type"] != "default"]
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}

    def p_arguments_schema(self, arguments: Any, var_args_schema: Any) -> Any:  # noqa: ARG002
        # The fields of a named tuple in older versions of pydantic.
        return self.kw_arguments_schema(arguments, None)


class SentSchemaGenerator(_JsonGenerator):
    """Describes what the model writes."""

    def generate(self, schema: Any, mode: Any = "validation") -> Any:
        for node in _nodes(schema):
            if iscoroutinefunction(function := node.get("function")):
                name = getattr(target_of(function), "__name__", "of a field")
                raise ValueError(f"The validator {name} is async, and never awaited: write it with def, without async.")
        return copy_without((), with_finite_numbers(super().generate(schema, mode)), _describe_members)

    def generate_inner(self, schema: Any) -> Any:
        # Beside a validator that reads the values, a type may have a JSON schema of its own.
        first = schema.get("steps", [schema])[0]["type"]
        return {**super().generate_inner(schema), **({VALIDATED: True} if first in _READ_FIRST else {})}

    def encode_default(self, dft: Any) -> Any:
        # Pydantic writes null for a number in a dataclass that is not finite, though the schema allows no null.
        with suppress(ValueError):
            if not is_finite(found := to_jsonable_python(dft)):
                return found
        return super().encode_default(dft)

    def enum_schema(self, schema: Any) -> Any:
        return _with_names(super().enum_schema(schema), _once(schema["members"]))

    def literal_schema(self, schema: Any) -> Any:
        return _with_names(super().literal_schema(schema), [one for one in schema["expected"] if isinstance(one, Enum)])

    def model_schema(self, schema: Any) -> Any:
        return _with_notes(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> Any:
        return _with_notes(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> Any:
        return _with_notes(super().typed_dict_schema(schema), schema.get("cls"))

    def named_tuple_schema(self, schema: Any) -> Any:
        return _with_notes(super().named_tuple_schema(schema), schema["cls"])

    def call_schema(self, schema: Any) -> Any:
        # A named tuple in older versions of pydantic, or a function.
        made, kind = super().call_schema(schema), schema["function"]
        return _with_notes(made, kind) if isinstance(kind, type) else made

    # In older versions of pydantic, what `generate_inner` writes beside a reference is lost.
    def function_before_schema(self, schema: Any) -> Any:
        return super().function_before_schema(schema) | {VALIDATED: True}

    def function_wrap_schema(self, schema: Any) -> Any:
        return super().function_wrap_schema(schema) | {VALIDATED: True}

    def function_plain_schema(self, schema: Any) -> Any:
        return super().function_plain_schema(schema) | {VALIDATED: True}

    def _named_required_fields_schema(self, named_required_fields: Any) -> Any:
        made = super()._named_required_fields_schema(named_required_fields)
        for name, _, field in named_required_fields:
            names = self._names_of(name, field)
            for one in names & made["properties"].keys() if len(names) > 1 else ():
                made["properties"][one][NAMES] = sorted(names)
        return made

    def _names_of(self, name: str, field: Any) -> set[str]:
        """Return the names under which pydantic reads a field, and those with which the paths of its aliases begin."""
        alias = field.get("validation_alias", name)
        paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
        return {str(path[0]) for path in paths} | ({name} if self._is_by_name else set())

    @property
    def _is_by_name(self) -> bool:
        config = self._config.config_dict
        return bool(config.get("populate_by_name") or config.get("validate_by_name"))

    def field_is_present(self, field: Any) -> bool:
        # A dataclass sets a field with init=False itself: what is written there is not used.
        if not super().field_is_present(field) or field.get("init") is False:
            return False
        alias = field.get("validation_alias")
        paths = alias if not isinstance(alias, list) or isinstance(alias[0], list) else [alias]
        if isinstance(paths, list) and all(len(path) > 1 for path in paths) and not self._is_by_name:
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


def _with_names(made: dict[str, Any], members: list[Enum]) -> dict[str, Any]:
    """Note the names of the members of an enum, unless their values are texts, which say what they mean."""
    if all(isinstance(one.value, str) for one in members):
        return made
    return made | {_MEMBERS: ", ".join(f"{json.dumps(to_jsonable_python(one.value))}: {one.name}" for one in members)}


def _describe_members(node: dict[str, Any]) -> None:
    """Add the names of members to the description, which pydantic sets after it has made the schema of an enum."""
    if names := node.pop(_MEMBERS, ""):
        node["description"] = "\n\n".join(filter(None, (node.get("description"), names)))


class ObjectSchemaGenerator(_JsonGenerator):
    """Describes the validated object, not the JSON that it is validated from."""

    def field_is_present(self, field: Any) -> bool:
        # A dataclass gives an `InitVar` to its `__post_init__`, and has no field of it.
        return super().field_is_present(field) and not field.get("init_only")

    def decimal_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"type": "string", "format": "decimal"}

    def model_fields_schema(self, schema: Any) -> dict[str, Any]:
        return self._with_computed(super().model_fields_schema(schema), schema)

    def dataclass_args_schema(self, schema: Any) -> dict[str, Any]:
        return self._with_computed(super().dataclass_args_schema(schema), schema)

    def function_after_schema(self, schema: Any) -> dict[str, Any]:
        # Pydantic's own function takes the `value` of an enum.
        is_own = isinstance(schema["function"]["function"], attrgetter)
        return super().function_after_schema(schema) | ({} if is_own else {VALIDATED: True})

    def function_before_schema(self, schema: Any) -> dict[str, Any]:
        # Not the `json_schema_input_type`, which is what the model may write.
        return self.generate_inner(schema["schema"])

    def function_wrap_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"]) | {VALIDATED: True}

    def function_plain_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def _with_computed(self, made: dict[str, Any], schema: Any) -> dict[str, Any]:
        """Add the computed fields, which pydantic lists only in what it writes."""
        for one in schema.get("computed_fields", ()):
            try:
                made["properties"][one["property_name"]] = self.generate_inner(one)
            except PydanticUserError:
                # JSON has no such values: they are text.
                made["properties"][one["property_name"]] = {}
        return made


def for_json(adapter: TypeAdapter[T], *, only_finite: bool = False) -> TypeAdapter[T]:
    """Return an adapter that reads all JSON that its schema describes. Its schema is the same.

    It makes a list of each `Iterable`, whose items pydantic checks only when they are used. It reads the members of an
    enum or a `Literal` as the schema has them: pydantic reads no date, tuple or plain `Literal[Mood.GOOD]` from JSON.
    Where none has a text as its value, its error has their names.

    Parameters
    ----------
    adapter : TypeAdapter
    only_finite : bool
        Whether it refuses NaN and Infinity, which JSON has not, where neither a type nor a default of it says that
        they are allowed. It refuses those that a validator of the user's makes as well.
    """
    own = adapter.validator
    # What pickle gives to a new one: the configuration of an adapter is not in its schema.
    config: Any = own.__reduce__()[1][1] if isinstance(own, SchemaValidator) else None
    changed = _for_json(adapter.core_schema, {"allow_inf_nan": not only_finite, **(config or {})})
    if changed == adapter.core_schema:
        return adapter
    adapter = copy(adapter)
    try:
        # Newer versions would use the validators that the models inside have already.
        adapter.validator = SchemaValidator(changed, config, _use_prebuilt=False)
    except TypeError:
        adapter.validator = SchemaValidator(changed, config)
    return adapter


def _for_json(schema: Any, config: Mapping[str, Any], *, is_key: bool = False) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_for_json(one, config, is_key=is_key) for one in schema)
    if not isinstance(schema, Mapping):
        return schema
    inner = {**config, **(schema.get("config") or {})}
    if any(not is_text for is_text, _ in not_finite_in(schema.get("default"))):
        inner["allow_inf_nan"] = True
    kept = {
        name: one if name in _NO_SCHEMAS else _for_json(one, inner, is_key=is_key or name == "keys_schema")
        for name, one in schema.items()
    }
    kind = kept.get("type")
    if kind == "float" and not config["allow_inf_nan"]:
        return {"allow_inf_nan": False, **kept}
    if kind == "generator":
        return {**kept, "type": "list"}
    if kind == "tagged-union":
        return {**kept, "choices": {_value_of(tag): one for tag, one in kept["choices"].items()}}
    return _of_members(kept, is_key=is_key) if kind in ("enum", "literal") else kept


def _of_members(node: dict[str, Any], *, is_key: bool) -> dict[str, Any]:
    """Return an enum or literal of pydantic's core as one that reads the JSON of its members, also as a key's text.

    Where no value is a text, its error has the names of the members too, each with its JSON.
    """
    keyword = "members" if node["type"] == "enum" else "expected"
    members = _once(node[keyword])
    node = {**node, keyword: members}
    held: Any = {name: one for name, one in node.items() if name != "ref"}
    try:
        forms = [to_jsonable_python(_value_of(one)) for one in members]
    except ValueError:
        return node  # JSON has no such values: the JSON schema cannot be made either
    if is_key:
        forms = [form if isinstance(form, str) else json.dumps(form) for form in forms]
    own = SchemaValidator(held)
    names = {} if any(isinstance(_value_of(one), str) for one in members) else _names_of(members, forms)
    is_read = all(_reads(own, form, one) for form, one in zip(forms, members, strict=True))
    if is_read and not names:
        return node

    def member_of(value: Any) -> Any:
        found = (one for form, one in zip(forms, members, strict=True) if type(form) is type(value) and form == value)
        return next(found, value)

    expected = " or ".join(json.dumps(form, ensure_ascii=False) for form in forms)
    return {
        "type": "custom-error",
        "schema": held if is_read else core_schema.no_info_before_validator_function(member_of, held),
        "custom_error_type": "enum",
        "custom_error_context": {"expected": expected, "names": json.dumps(names)},
        **({"ref": node["ref"]} if "ref" in node else {}),
    }


def _names_of(members: list[Any], forms: list[Any]) -> dict[str, Any]:
    """Return the JSON of the members of an enum by their names, alone and after that of their class."""
    of_enum = [(type(one), one, form) for one, form in zip(members, forms, strict=True) if isinstance(one, Enum)]
    named = [(kind, name, form) for kind, one, form in of_enum for name in kind.__members__ if kind[name] is one]
    return {written: form for kind, name, form in named for written in (name, f"{kind.__name__}.{name}")}


def _once(members: Iterable[Any]) -> list[Any]:
    """Return members without repeats: pydantic lists one for each of its names."""
    return [*{id(one): one for one in members}.values()]


def _reads(validator: Any, form: Any, member: Any) -> bool:
    try:
        return bool(validator.validate_json(json.dumps(form)) == member)
    except users_failures():  # Of `_missing_` of the user's class.
        return False


def _value_of(member: Any) -> Any:
    return member.value if isinstance(member, Enum) else member


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
