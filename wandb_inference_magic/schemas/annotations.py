"""What an annotation of a notebook is, and whether pydantic would evaluate a part of it."""

from __future__ import annotations

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
