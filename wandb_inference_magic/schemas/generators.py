"""How pydantic describes a type as a JSON schema: as what the model writes, and as the object made of that.

This module imports pydantic, so it is imported where a schema is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from enum import Enum
from inspect import iscoroutinefunction
from operator import attrgetter
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import (
    PydanticKnownError,
    SchemaError,
    SchemaSerializer,
    SchemaValidator,
    core_schema,
    to_jsonable_python,
)
from typing_extensions import NotRequired, Required, get_type_hints

from ..errors import users_failures
from ..text import as_json
from .docstrings import target_of
from .json_schema import is_finite, not_finite, not_finite_in, with_finite_numbers
from .validation import VALIDATED

T = TypeVar("T")

# Parts of a schema of pydantic's core that are none themselves, or only of what is written.
_NO_SCHEMAS: Final = ("default", "metadata", "serialization")
# In a configuration: whether it is known of each number that is not finite if the model wrote it.
_IS_FOLLOWED: Final = "x-is-followed"
# The numbers that are not finite that the model wrote, within a validator of the user's. Elsewhere, it wrote all.
_WRITTEN: Final[ContextVar[frozenset[tuple[bool, str]] | None]] = ContextVar("written", default=None)


class _JsonGenerator(GenerateJsonSchema):
    """Describes defaults and bounds that are numbers of NumPy too, and a named tuple as an object.

    It does not warn about defaults.
    """

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def generate(self, schema: Any, mode: Any = "validation") -> Any:
        return json.loads(json.dumps(super().generate(schema, mode), default=as_json))

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
        if name := next(_async_validators(schema), ""):
            raise ValueError(f"The validator {name} is async, and never awaited: write it with def, without async.")
        return with_finite_numbers(super().generate(schema, mode))

    def encode_default(self, dft: Any) -> Any:
        # Pydantic writes null for a number in a dataclass that is not finite, though the schema allows no null.
        with suppress(ValueError):
            if not is_finite(found := to_jsonable_python(dft)):
                return found
        return super().encode_default(dft)

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


def _async_validators(schema: Any) -> Iterator[str]:
    """Yield the names of the async validators in a schema of pydantic's core: their values would be coroutines."""
    for node in _nodes(schema):
        if iscoroutinefunction(function := node.get("function")):
            yield getattr(target_of(function), "__name__", "of a field")


def reads_values_itself(schema: Any) -> bool:
    """Return whether a validator of the user's sees values before pydantic does, in a schema of pydantic's core."""
    return any(node.get("type") in ("function-before", "function-wrap", "function-plain") for node in _nodes(schema))


def for_json(adapter: TypeAdapter[T], *, only_finite: bool = False) -> TypeAdapter[T]:
    """Return an adapter that reads all JSON that its schema describes. Its schema is the same.

    It makes a list of each `Iterable`, whose items pydantic checks only when they are used. It reads the members of an
    enum or a `Literal` as the schema has them: pydantic reads no date, tuple or plain `Literal[Mood.GOOD]` from JSON.

    Parameters
    ----------
    adapter : TypeAdapter
    only_finite : bool
        Whether it refuses the NaN and Infinity that the model wrote, which JSON has not, where neither a type nor a
        default of it says that they are allowed. Those that a validator of the user's makes are its values.
    """
    own = adapter.validator
    # What pickle gives to a new one: the configuration of an adapter is not in its schema.
    config: Any = own.__reduce__()[1][1] if isinstance(own, SchemaValidator) else None
    is_followed = only_finite and any(map(_decides_on_numbers, _nodes(adapter.core_schema)))
    given = {"allow_inf_nan": not only_finite, _IS_FOLLOWED: is_followed, **(config or {})}
    changed = _for_json(adapter.core_schema, given)
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
    if "default" in schema and not _has_finite_default(schema):
        inner["allow_inf_nan"] = True
    kept = {
        name: one if name in _NO_SCHEMAS else _for_json(one, inner, is_key=is_key or name == "keys_schema")
        for name, one in schema.items()
    }
    kind = kept.get("type")
    if kind == "generator":
        return {**kept, "type": "list"}
    if kind == "tagged-union":
        return {**kept, "choices": {_value_of(tag): one for tag, one in kept["choices"].items()}}
    if kind == "union":
        return {**kept, "choices": list(map(_with_name, kept["choices"], schema["choices"]))}
    if kind == "float" and not config["allow_inf_nan"]:
        return _finite(kept, config, is_key=is_key)
    if config[_IS_FOLLOWED] and _decides_on_numbers(schema):
        return _followed(kept, inner)
    return _of_members(kept, is_key=is_key) if kind in ("enum", "literal") else kept


def _with_name(choice: Any, own: Any) -> Any:
    """Return a changed choice of a union with the name that its own schema has in messages."""
    if choice == own or isinstance(own, tuple):
        return choice
    with suppress(SchemaError):
        return choice, SchemaValidator(own).title
    return choice  # It refers to a definition.


def _around(node: Mapping[str, Any], make: Callable[..., Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Return a part of a schema of pydantic's core within a function that `make` puts around it."""
    held = {name: one for name, one in node.items() if name != "ref"}
    return {**make(function, held), **({"ref": node["ref"]} if "ref" in node else {})}


# Numbers that are not finite -----------------------------------------------------------------------------------


def _finite(node: dict[str, Any], config: Mapping[str, Any], *, is_key: bool) -> dict[str, Any]:
    """Return a float of pydantic's core that refuses numbers that are not finite, if the model wrote them."""
    # In strict mode, a key is only read as a number if no function has seen it.
    if not config[_IS_FOLLOWED] or (is_key and config.get("strict")):
        return {"allow_inf_nan": False, **node}
    if "allow_inf_nan" in node:
        return node
    return _around(node, core_schema.no_info_before_validator_function, _refuse_written)


def _refuse_written(value: Any) -> Any:
    found, written = not_finite(value), _WRITTEN.get()
    if found is not None and (written is None or found in written):
        raise PydanticKnownError("finite_number")
    return value


def _decides_on_numbers(node: Mapping[str, Any]) -> bool:
    """Return whether a part of a schema of pydantic's core has numbers in it that need not be finite ones."""
    kind = node.get("type")
    if kind not in ("chain", "default", "function-before", "function-wrap"):
        return False
    has_numbers = any(one.get("type") in ("float", "definition-ref") for one in _nodes(node))
    return has_numbers and (kind != "default" or "default_factory" in node or not _has_finite_default(node))


def _followed(node: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return such a part that says which numbers in it the model wrote."""
    wrap = core_schema.no_info_wrap_validator_function
    if node["type"] == "chain":
        # What a function returns is given to the next steps.
        steps, made = node["steps"], [any("function" in one for one in _nodes(step)) for step in node["steps"]]
        later = [_around(one, wrap, _with_any) if any(made[:number]) else one for number, one in enumerate(steps)]
        return {**node, "steps": later}
    if node["type"] != "default":
        return _around(node, wrap, _with_written)

    def as_default(value: Any, read: Callable[[Any], Any]) -> Any:
        # A factory is only called for a value that needs it.
        is_any = any(not_finite_in(value)) and not _has_finite_default(node)
        return _with_any(value, read) if is_any else read(value)

    # In strict mode, less is read from what a function has seen than from JSON.
    is_strict = config.get("strict") or any(one.get("strict") for one in _nodes(node["schema"]))
    return node if is_strict else {**node, "schema": _around(node["schema"], wrap, as_default)}


def _has_finite_default(node: Mapping[str, Any]) -> bool:
    """Return whether all numbers in a default are finite. One that needs other fields is not known."""
    try:
        default = node["default_factory"]() if "default_factory" in node else node["default"]
        plain = SchemaSerializer(core_schema.any_schema()).to_python(default, warnings=False)
    except users_failures():
        return True
    return all(is_text for is_text, _ in not_finite_in(plain))


def _with_written(value: Any, read: Callable[[Any], Any]) -> Any:
    """Read a value that a validator of the user's gets: the numbers in it are those that the model wrote."""
    outer, found = _WRITTEN.get(), frozenset(not_finite_in(value))
    return _read_with(found if outer is None else outer & found, value, read)


def _with_any(value: Any, read: Callable[[Any], Any]) -> Any:
    """Read a value in which all numbers are allowed."""
    return _read_with(frozenset(), value, read)


def _read_with(written: frozenset[tuple[bool, str]], value: Any, read: Callable[[Any], Any]) -> Any:
    token = _WRITTEN.set(written)
    try:
        return read(value)
    finally:
        _WRITTEN.reset(token)


# Members of enums and literals ---------------------------------------------------------------------------------


def _of_members(node: dict[str, Any], *, is_key: bool) -> dict[str, Any]:
    """Return an enum or literal of pydantic's core as one that reads the JSON of its members, also as a key's text."""
    held: Any = {name: one for name, one in node.items() if name != "ref"}
    members: list[Any] = node["members"] if node["type"] == "enum" else node["expected"]
    try:
        forms = [to_jsonable_python(_value_of(one)) for one in members]
    except ValueError:
        return node  # JSON has no such values: the JSON schema cannot be made either
    if is_key:
        forms = [form if isinstance(form, str) else json.dumps(form) for form in forms]
    own = SchemaValidator(held)
    if all(_reads(own, form, one) for form, one in zip(forms, members, strict=True)):
        return node

    def member_of(value: Any) -> Any:
        found = (one for form, one in zip(forms, members, strict=True) if type(form) is type(value) and form == value)
        return next(found, value)

    expected = " or ".join(json.dumps(form, ensure_ascii=False) for form in forms)
    return {
        "type": "custom-error",
        "schema": core_schema.no_info_before_validator_function(member_of, held),
        "custom_error_type": "enum",
        "custom_error_context": {"expected": expected},
        **({"ref": node["ref"]} if "ref" in node else {}),
    }


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
