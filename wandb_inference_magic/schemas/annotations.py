"""Prepares annotations from a notebook for pydantic: finds what it would evaluate and replaces what it refuses."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache, reduce
from inspect import iscoroutinefunction
from operator import or_
from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, get_args, get_origin

from ..text import as_json
from .docstrings import target_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from dataclasses import Field

    from pydantic.json_schema import GenerateJsonSchema


def has_quoted_name(annotation: Any) -> bool:
    """Return whether an annotation contains a quoted type. Pydantic would evaluate the quoted text as code."""
    if isinstance(annotation, str | ForwardRef):
        return True
    if get_origin(annotation) is Literal:
        return False
    arguments = get_args(annotation)
    return any(map(has_quoted_name, arguments[:1] if get_origin(annotation) is Annotated else arguments))


@cache
def _json_generator() -> Any:
    """Return pydantic's schema generator, for numbers of NumPy too, without its warnings about defaults."""
    from pydantic.json_schema import GenerateJsonSchema

    class JsonGenerator(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

        def generate(self, schema: Any, mode: Any = "validation") -> Any:
            return json.loads(json.dumps(super().generate(schema, mode), default=as_json))

        def literal_schema(self, schema: Any) -> Any:
            changed: Any = {**schema, "expected": [*map(_as_python, schema["expected"])]}
            return super().literal_schema(changed)

        def enum_schema(self, schema: Any) -> Any:
            members = [SimpleNamespace(value=_as_python(one.value)) for one in schema["members"]]
            changed: Any = {**schema, "members": members}
            return super().enum_schema(changed)

    return JsonGenerator


def _as_python(value: Any) -> Any:
    """Return a number of NumPy as that of Python, and any other value as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


@cache
def sent_schema_generator() -> type[GenerateJsonSchema]:
    """Return the class by which pydantic describes what the model writes."""

    class SentSchemaGenerator(_json_generator()):  # type: ignore[misc]
        def generate(self, schema: Any, mode: Any = "validation") -> Any:
            if name := next(_async_validators(schema), ""):
                raise ValueError(f"The validator {name} is async, and never awaited: write it with def, without async.")
            return super().generate(schema, mode)

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

    return SentSchemaGenerator


def _async_validators(schema: Any) -> Iterator[str]:
    """Yield the names of the async validators in a schema of pydantic's core: their values would be coroutines."""
    for node in _nodes(schema):
        if iscoroutinefunction(function := node.get("function")):
            yield getattr(target_of(function), "__name__", "of a field")


def reads_values_itself(schema: Any) -> bool:
    """Return whether a validator of the user's sees values before pydantic does, in a schema of pydantic's core."""
    return any(node.get("type") in ("function-before", "function-wrap", "function-plain") for node in _nodes(schema))


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a schema of pydantic's core, with all that are in them."""
    if isinstance(schema, list | tuple):
        for one in schema:
            yield from _nodes(one)
    elif isinstance(schema, Mapping):
        yield schema
        for name, one in schema.items():
            if name not in ("default", "metadata", "serialization"):
                yield from _nodes(one)


@cache
def object_schema_generator() -> type[GenerateJsonSchema]:
    """Return the class by which pydantic describes the validated object, not the JSON that it is validated from."""
    from pydantic import PydanticUserError

    class ObjectSchemaGenerator(_json_generator()):  # type: ignore[misc]
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

    return ObjectSchemaGenerator


def with_known_typed_dicts(annotation: Any) -> Any:
    """Replace each TypedDict of `typing`, which pydantic refuses before Python 3.12, with a copy that it accepts.

    A dataclass or TypedDict with such a field is replaced as well. The values of a dataclass are still of the user's
    class. The user's own classes are not changed. Remove this function and the code below it when Python 3.12 is the
    oldest supported version.

    Raises
    ------
    TypeError
        If a TypedDict contains itself: it cannot be copied.
    """
    return annotation if sys.version_info >= (3, 12) else _renewed(annotation, ())


def _renewed(annotation: Any, within: tuple[Any, ...]) -> Any:
    from typing_extensions import is_typeddict

    if is_typeddict(annotation):
        return _renewed_typed_dict(annotation, within)
    origin: Any = get_origin(annotation)
    if isinstance(annotation, type) and origin is None and is_dataclass(annotation):
        return _renewed_dataclass(annotation, within)
    if origin in (None, Literal):
        return annotation
    if origin is Annotated:
        parts = (_renewed(annotation.__origin__, within), *annotation.__metadata__)
        return origin[parts]
    arguments = get_args(annotation)
    renewed = tuple(_renewed(one, within) for one in arguments)
    if renewed == arguments:
        return annotation
    return reduce(or_, renewed) if origin is UnionType else origin[renewed if len(renewed) > 1 else renewed[0]]


def _renewed_typed_dict(annotation: Any, within: tuple[Any, ...]) -> Any:
    from typing_extensions import NotRequired, Required, TypedDict, get_type_hints

    is_refused = type(annotation).__module__ == "typing"
    if annotation in within:
        if is_refused:
            raise TypeError(f"{annotation.__name__} contains itself: make it with the TypedDict of typing_extensions.")
        return annotation
    hints = get_type_hints(annotation, include_extras=True)
    renewed = {name: _renewed(hint, (*within, annotation)) for name, hint in hints.items()}
    if not is_refused and renewed == hints:
        return annotation
    wanted: dict[str, Any] = {}
    for name, hint in renewed.items():
        origin: Any = get_origin(hint)
        if origin not in (Required, NotRequired):
            hint = Required[hint] if name in annotation.__required_keys__ else NotRequired[hint]
        wanted[name] = hint
    make: Any = TypedDict
    twin = make(annotation.__name__, wanted)
    twin.__doc__ = annotation.__doc__
    for name in ("__pydantic_config__", "__closed__", "__extra_items__"):
        if hasattr(annotation, name):
            setattr(twin, name, getattr(annotation, name))
    return twin


def _renewed_dataclass(annotation: type[Any], within: tuple[Any, ...]) -> Any:
    from pydantic import AfterValidator

    if annotation in within:
        return annotation
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except (NameError, TypeError):
        return annotation  # pydantic reports it
    renewed = {one.name: _renewed(hints[one.name], (*within, annotation)) for one in fields(annotation)}
    changed = [one for one in fields(annotation) if renewed[one.name] != hints[one.name]]
    if not changed:
        return annotation
    made: Any = annotation
    twin = make_dataclass(
        annotation.__name__,
        [(one.name, renewed[one.name], _like(one)) for one in changed],
        bases=(annotation,),
        namespace={"__doc__": annotation.__doc__, "__module__": annotation.__module__},
        frozen=made.__dataclass_params__.frozen,
    )

    def as_users_own(value: Any) -> Any:
        own = object.__new__(annotation)
        names = dict.fromkeys((*(one.name for one in fields(annotation)), *vars(value)))
        for name in names:
            if hasattr(value, name):
                object.__setattr__(own, name, getattr(value, name))
        return own

    return Annotated[twin, AfterValidator(as_users_own)]


def _like(one: Field[Any]) -> Any:
    """Return a field for another dataclass."""
    names = ("default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only")
    return field(**{name: getattr(one, name) for name in names})
