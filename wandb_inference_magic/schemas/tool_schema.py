"""Describes a function to the model: its name, what it does, and a JSON schema of its parameters."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional, get_args, get_origin, get_type_hints

from ..errors import InferenceError, quoted
from ..imports import is_instance
from ..text import as_json, in_order
from .annotations import adapter_of, local_types, why_no_schema, without_qualifiers
from .docstrings import read_docstring, target_of
from .json_schema import MARKS, copy_without
from .misread import doubled_keys, lost_fields, misfits, misread_values
from .schema import Mismatch, problems_of
from .validation import read_in_any_form

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_DEFAULT_CHARS: Final = 1_000
LEFT_OUT: Final = inspect.Parameter.empty
# Stands for the default of a parameter that has none and may be left out.
_NO_DEFAULT: Final = object()
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def name_of(function: object) -> str:
    """Return the name of a callable. A partial has the name of its function, an object that of its class."""
    name = getattr(function, "__name__", None)
    if isinstance(name, str):
        return name
    return name_of(function.func) if isinstance(function, functools.partial) else type(function).__name__


@dataclass(frozen=True, slots=True)
class Tool:
    """One function, its definition for the model, and how its arguments are read: by their schema, with its marks."""

    name: str
    function: Callable[..., Any]
    definition: dict[str, Any]
    arguments: TypeAdapter[dict[str, Any]]
    schema: Mapping[str, Any]
    parameters: Sequence[inspect.Parameter]

    def read(self, given: Any) -> tuple[list[object], dict[str, object]]:
        """Read the arguments that the model wrote. Raise Mismatch if they do not fit."""
        from pydantic import ValidationError

        try:
            validated = read_in_any_form(self.arguments, given, self.schema)
        except ValidationError as error:
            raise Mismatch(problems_of(error)) from None
        if problems := misfits(self.schema, given, doubled_keys, misread_values, lost_fields):
            raise Mismatch(problems)
        read = {name: value for name, value in validated.items() if value is not LEFT_OUT}
        positional: list[object] = []
        is_passed_on = _takes_any_positions(self.function)
        for parameter in self.parameters:
            is_given = is_passed_on and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name in read
            if parameter.kind is not parameter.POSITIONAL_ONLY and not is_given:
                break
            positional.append(read.pop(parameter.name, parameter.default))
        return positional, read


def _takes_any_positions(function: Callable[..., Any]) -> bool:
    """Return whether a function wraps another one, and may look at its positions, as `functools.singledispatch`."""
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (ValueError, TypeError, NameError):
        return False
    return any(one.kind is one.VAR_POSITIONAL for one in parameters)


def describe(function: object, name: str) -> Tool:
    """Return the Tool of a function. Raise InferenceError if the function cannot be a tool."""
    if not callable(function):
        raise _no_tool(
            quoted(name), f"It is not a function, but a value of type {type(function).__name__}.", "Name a function."
        )
    if not TOOL_NAME.fullmatch(name):
        raise _no_tool(
            f"A function called {quoted(name)}",
            "A tool's name is 1 to 64 ASCII letters, digits, _ and -.",
            "Give it a name: def name(...), with a docstring that says what it does.",
        )
    parameters = [_annotated(name, function, _without_field(one)) for one in _parameters(name, function)]
    arguments = _arguments(parameters)
    description, texts = read_docstring(function)
    schema = _schema(arguments, parameters, texts)
    return Tool(
        name=name,
        function=function,
        definition={
            "type": "function",
            "function": {
                "name": name,
                "description": description or f"The function {name} of the user's notebook.",
                "parameters": copy_without(MARKS, schema),
            },
        },
        arguments=arguments,
        schema=schema,
        parameters=parameters,
    )


def _no_tool(who: str, why: str, remedy: str, *, parameter: str = "") -> InferenceError:
    because = f" because of its parameter {parameter}" if parameter else ""
    return InferenceError(f"{who} cannot be a tool{because}.", why=why, remedy=remedy)


def _parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that the model may set: those with a name that the user has not bound."""
    bound: Mapping[str, Any] = {}
    if isinstance(function, functools.partial):
        # Python allows other values for bound keywords. What `functools.update_wrapper` has noted has those bound too.
        bound, function = function.keywords, functools.partial(function.func, *function.args, **function.keywords)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError, NameError) as error:
        raise _no_tool(
            name,
            f"Python does not say which parameters it takes: {quoted(str(error))}",
            "Write a small function that calls it, and use that.",
        ) from error
    if any(parameter.name == "self" for parameter in parameters) and _is_unbound(function):
        raise _no_tool(name, "It is a method without its object.", "Name the method of an object: --tools table.search")
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise _no_tool(
                name,
                "A model gives arguments by name.",
                "Write a function with named parameters (a decorator needs functools.wraps).",
                parameter=f"*{parameter.name}",
            )
    named = (_keywords(name, function, one) if one.kind is one.VAR_KEYWORD else [one] for one in parameters)
    return [one for some in named for one in some if one.name not in bound]


def _keywords(name: str, function: object, parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the parameters that `**options: Unpack[a TypedDict]` names; none for keywords that may have any name."""
    from typing_extensions import NotRequired, Required

    try:
        hint = _hint(function, parameter)
        if "Unpack" not in str(get_origin(hint)):
            return []
        (kind,) = get_args(hint)
        kind = get_origin(kind) or kind
        return [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=without_qualifiers(one),
                # With postponed annotations, a TypedDict does not know which of its keys are required.
                default=LEFT_OUT
                if get_origin(one) is Required or (key in kind.__required_keys__ and get_origin(one) is not NotRequired)
                else _NO_DEFAULT,
            )
            for key, one in _hints(kind).items()
        ]
    except Exception as error:
        if "Unpack" not in _written(parameter.annotation):
            return []
        why = why_no_schema(error)
        raise _no_tool(
            name,
            f"Its keywords cannot be read{why and f': {why}'}.",
            "Write a function with named parameters.",
            parameter=f"**{parameter.name}",
        ) from error


def _is_unbound(function: object) -> bool:
    """Return whether a function is a method that was taken from its class."""
    within = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return inspect.isfunction(function) and "." in within


def _without_field(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter with the `Field(...)` of pydantic that is its default in its annotation instead."""
    if not is_instance(parameter.default, "pydantic.fields.FieldInfo"):
        return parameter
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    if parameter.default.default is None:
        annotation = Optional[annotation]  # noqa: UP045 - it can be a text
    return parameter.replace(annotation=Annotated[annotation, parameter.default], default=parameter.empty)


def _annotated(name: str, function: Callable[..., Any], parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter with its annotation as a type. Raise InferenceError if JSON or a schema cannot express it."""
    if parameter.annotation is parameter.empty:
        return parameter.replace(annotation=Any)

    try:
        # Check one parameter at a time, so that the message can name the wrong one.
        hint = without_qualifiers(_hint(function, parameter))
        alone = [parameter.replace(annotation=hint)]
        _schema(_arguments(alone), alone, {})
    except Exception as error:
        why = why_no_schema(error)
        raise _no_tool(
            name,
            f"JSON cannot be read as {quoted(_written(parameter.annotation))}{why and f': {why}'}.",
            "Annotate it with a type that JSON has (str, int, list, a dataclass), or bind it: "
            "functools.partial(f, name=value).",
            parameter=parameter.name,
        ) from error
    # `x: int = None` is a common way to write `x: int | None = None`.
    is_optional = parameter.default is None and get_origin(hint) is not Annotated
    return parameter.replace(annotation=Optional[hint] if is_optional else hint)  # noqa: UP045


def _hint(function: object, parameter: inspect.Parameter) -> Any:
    """Return the annotation of a parameter as a type."""
    # A class: only an attribute may be written as "Final[int]".
    holder = type("holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    return _hints(holder, _globals_of(function))[parameter.name]


def _hints(kind: type, names: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return get_type_hints(kind, names, include_extras=True)
    except NameError:
        return get_type_hints(kind, names, local_types(), include_extras=True)


def _written(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _globals_of(function: object) -> dict[str, Any]:
    target = target_of(function)
    if isinstance(target, type):
        return vars(sys.modules[target.__module__])
    return getattr(target, "__globals__", {})


def _arguments(parameters: Iterable[inspect.Parameter]) -> TypeAdapter[dict[str, Any]]:
    from pydantic import ConfigDict, Field
    from typing_extensions import NotRequired, TypedDict

    from .generators import for_json

    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.default is parameter.empty:
            fields[parameter.name] = Annotated[parameter.annotation, Field(alias=parameter.name)]
        else:
            # The default of the function is used when it is called.
            left_out = Field(default=LEFT_OUT, alias=parameter.name)
            fields[parameter.name] = NotRequired[Annotated[parameter.annotation, left_out]]
    # Not a model: a model has attributes of its own, and a parameter can have the same name.
    make: Any = TypedDict
    arguments = make("Arguments", fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    return for_json(adapter_of(arguments))


def _schema(
    arguments: TypeAdapter[dict[str, Any]], parameters: Iterable[inspect.Parameter], described: Mapping[str, str]
) -> dict[str, Any]:
    """Return the JSON schema of the arguments, with the defaults and descriptions of the function."""
    from .generators import SentSchemaGenerator

    schema: dict[str, Any] = copy_without(("title",), arguments.json_schema(schema_generator=SentSchemaGenerator))
    properties = schema.setdefault("properties", {})
    for parameter in parameters:
        entry = properties[parameter.name]
        if parameter.default is not parameter.empty:
            entry.pop("default", None)
            entry.update(_default_in_schema(parameter.default))
        noted = " ".join(one for one in getattr(parameter.annotation, "__metadata__", ()) if isinstance(one, str))
        # With older versions of pydantic, the generator does not see a text in `Annotated`.
        description = described.get(parameter.name) or noted
        description = description or ("Any JSON value." if parameter.annotation is Any else "")
        # The docstring goes before a text in `Annotated`, and a `Field` before both.
        if description and entry.get("description", noted) == noted:
            entry["description"] = description
    return schema


def _default_in_schema(default: object) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    try:
        value = to_jsonable_python(_in_order(default), fallback=as_json)
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return {}  # JSON cannot express it; the schema still shows that there is a default
    return {"default": value} if len(text) <= MAX_DEFAULT_CHARS else {}


def _in_order(value: object) -> object:
    """Return a default with the items of its sets in one order: Python's own differs in each process."""
    if isinstance(value, set | frozenset):
        return in_order(value)
    if type(value) is dict:
        return {name: _in_order(one) for name, one in value.items()}
    return [_in_order(one) for one in value] if type(value) in (list, tuple) else value  # type: ignore[attr-defined]
