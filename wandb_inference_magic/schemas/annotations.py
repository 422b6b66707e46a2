"""What an annotation of a notebook is, and what pydantic would make of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, ForwardRef, Literal, get_args, get_origin

from ..errors import quoted
from ..libraries import is_of_user

if TYPE_CHECKING:
    from pydantic import TypeAdapter


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


def without_qualifiers(annotation: Any) -> Any:
    """Return an annotation without what says nothing of its values: `Final[int]` and `NotRequired[int]` are int."""
    from typing_extensions import NotRequired, ReadOnly, Required

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        make: Any = Annotated
        inner = (without_qualifiers(arguments[0]), *arguments[1:])
        return make[inner]
    if origin in (Final, NotRequired, ReadOnly, Required):
        return without_qualifiers(arguments[0])
    return Any if annotation is Final else annotation


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """Return pydantic's adapter for a type. Raise an error of pydantic, or NameError, if it makes none.

    Names that a class of a function does not find in its module are looked up in the functions that run.
    """
    from pydantic import PydanticUserError, TypeAdapter

    try:
        adapter = TypeAdapter(annotation)
        # Newer versions look up names on first use.
        len(adapter.core_schema)
    except (NameError, PydanticUserError):
        # Pydantic looks into the function that calls it. Code of the name <module> does not count.
        code = compile("__adapter__(__annotation__)", "<types>", "eval").replace(co_name="types")
        adapter = eval(code, {"__adapter__": TypeAdapter, "__annotation__": annotation}, local_types())
        if hasattr(adapter, "rebuild"):
            adapter.rebuild(raise_errors=True)
    return adapter


def local_types() -> dict[str, Any]:
    """Return the types that functions of the user that are running have, by their names. The innermost come first."""
    found: dict[str, Any] = {}
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_name != "<module>" and is_of_user(frame):
            found = {name: one for name, one in frame.f_locals.items() if is_annotation(one)} | found
        frame = frame.f_back
    return found


def why_no_schema(error: Exception) -> str:
    """Return why pydantic makes no schema of a type, or nothing if it does not know the type.

    What it says itself is then for authors of models.
    """
    code = getattr(error, "code", "")
    if code in ("schema-for-unknown-type", "invalid-for-json-schema"):
        return ""
    if isinstance(error, NameError) or code == "class-not-fully-defined":
        which = f"the type {error.name} in it" if isinstance(error, NameError) and error.name else "a type in it"
        return f"{which} is not defined. Define it at the top level of the notebook or module, before what uses it"
    text = (str(error) or type(error).__name__).splitlines()[0]
    # Not an annotation that was made for the schema.
    return "" if "FieldInfo(" in text else quoted(text).rstrip(".")
