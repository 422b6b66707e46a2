"""Prepares annotations from a notebook for pydantic: finds what it would evaluate and replaces what it refuses."""

from __future__ import annotations

import sys
import typing
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Literal, get_args, get_origin

if TYPE_CHECKING:
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
def object_schema_generator() -> type[GenerateJsonSchema]:
    """Return the class by which pydantic describes the validated object, not the JSON that it is validated from."""
    from pydantic.json_schema import GenerateJsonSchema

    class ObjectSchemaGenerator(GenerateJsonSchema):
        def decimal_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002
            return {"type": "string", "format": "decimal"}

        def named_tuple_schema(self, schema: Any) -> dict[str, Any]:
            fields = {one["name"]: self.generate_inner(one["schema"]) for one in schema["fields"]}
            return {"type": "object", "properties": fields}

        def p_arguments_schema(self, arguments: Any, var_args_schema: Any) -> dict[str, Any]:  # noqa: ARG002
            # The fields of a named tuple in older versions of pydantic.
            return self.kw_arguments_schema(arguments, None)

    return ObjectSchemaGenerator


def with_known_typed_dicts(annotation: Any) -> Any:
    """Replace each TypedDict of `typing`, which pydantic refuses before Python 3.12, with a copy that it accepts.

    The user's own classes are not changed. Remove this function and the code below it when Python 3.12 is the oldest
    supported version.

    Raises
    ------
    TypeError
        If a TypedDict contains itself: it cannot be copied.
    """
    return annotation if sys.version_info >= (3, 12) else _renewed(annotation, ())


def _renewed(annotation: Any, within: tuple[Any, ...]) -> Any:
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        return _twin(annotation, within)
    origin: Any = get_origin(annotation)
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


def _twin(annotation: Any, within: tuple[Any, ...]) -> Any:
    from typing_extensions import NotRequired, Required, TypedDict, get_type_hints

    if annotation in within:
        raise TypeError(f"{annotation.__name__} contains itself: make it with the TypedDict of typing_extensions.")
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(annotation, include_extras=True).items():
        origin: Any = get_origin(hint)
        if origin not in (Required, NotRequired):
            hint = Required[hint] if name in annotation.__required_keys__ else NotRequired[hint]
        fields[name] = _renewed(hint, (*within, annotation))
    make: Any = TypedDict
    twin = make(annotation.__name__, fields)
    twin.__doc__ = annotation.__doc__
    return twin
