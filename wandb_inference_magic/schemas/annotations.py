"""Prepares annotations from a notebook for pydantic: finds what it would evaluate and replaces what it refuses."""

from __future__ import annotations

import sys
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin


def is_annotation(value: object) -> bool:
    """Return whether a value is a class, or a type as an annotation writes it: `list[int]`, a NewType, a type alias."""
    # The alias of Python 3.12 has another class in typing_extensions.
    is_named = type(value).__name__ in ("NewType", "TypeAliasType")
    return is_named or isinstance(value, type) or get_origin(value) is not None


def has_quoted_name(annotation: Any) -> bool:
    """Return whether an annotation contains a quoted type. Pydantic would evaluate the quoted text as code."""
    if isinstance(annotation, str | ForwardRef):
        return True
    if get_origin(annotation) is Literal:
        return False
    arguments = get_args(annotation)
    return any(map(has_quoted_name, arguments[:1] if get_origin(annotation) is Annotated else arguments))


def with_known_typed_dicts(annotation: Any) -> Any:
    """Replace each TypedDict of `typing`, which pydantic refuses before Python 3.12, with a copy that it accepts.

    A TypedDict with such a field is replaced as well. The user's own classes are not changed. Remove this function and
    the code below it when Python 3.12 is the oldest supported version.

    Raises
    ------
    TypeError
        If a TypedDict contains itself: it cannot be copied.
    """
    return annotation if sys.version_info >= (3, 12) else _converted(annotation, ())


def _converted(annotation: Any, within: tuple[Any, ...]) -> Any:
    from typing_extensions import is_typeddict

    if is_typeddict(annotation):
        return _converted_typed_dict(annotation, within)
    origin: Any = get_origin(annotation)
    if origin in (None, Literal):
        return annotation
    if origin is Annotated:
        parts = (_converted(annotation.__origin__, within), *annotation.__metadata__)
        return origin[parts]
    arguments = get_args(annotation)
    converted = tuple(_converted(one, within) for one in arguments)
    if converted == arguments:
        return annotation
    return reduce(or_, converted) if origin is UnionType else origin[converted if len(converted) > 1 else converted[0]]


def _converted_typed_dict(annotation: Any, within: tuple[Any, ...]) -> Any:
    from typing_extensions import NotRequired, Required, TypedDict, get_type_hints

    is_refused = type(annotation).__module__ == "typing"
    if annotation in within:
        if is_refused:
            raise TypeError(f"{annotation.__name__} contains itself: make it with the TypedDict of typing_extensions.")
        return annotation
    hints = get_type_hints(annotation, include_extras=True)
    converted = {name: _converted(hint, (*within, annotation)) for name, hint in hints.items()}
    if not is_refused and converted == hints:
        return annotation
    wanted: dict[str, Any] = {}
    for name, hint in converted.items():
        origin: Any = get_origin(hint)
        if origin not in (Required, NotRequired):
            hint = Required[hint] if name in annotation.__required_keys__ else NotRequired[hint]
        wanted[name] = hint
    make: Any = TypedDict
    new_type = make(annotation.__name__, wanted)
    new_type.__doc__ = annotation.__doc__
    for name in ("__pydantic_config__", "__closed__", "__extra_items__"):
        if hasattr(annotation, name):
            setattr(new_type, name, getattr(annotation, name))
    return new_type
