"""What an annotation of a notebook is, and what pydantic would make of it."""

from __future__ import annotations

from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin

from ..errors import quoted


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


def why_no_schema(error: Exception) -> str:
    """Return why pydantic makes no schema of a type, or nothing if it does not know the type.

    What it says itself is then for authors of models.
    """
    code = getattr(error, "code", "")
    if code in ("schema-for-unknown-type", "invalid-for-json-schema"):
        return ""
    if code in ("class-not-fully-defined", "undefined-annotation"):
        return "a type in it is not defined. Define that type, and then run the cell of the class again"
    return quoted((str(error) or type(error).__name__).splitlines()[0]).rstrip(".")
