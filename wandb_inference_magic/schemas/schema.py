"""The schema of an answer: built from a type, short form or JSON schema, sent as strict JSON schema, then checked."""

from __future__ import annotations

import ast
import json
import re
import typing
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, describe_exception, did_you_mean, quoted, shortened_repr, users_failures
from ..libraries import check_libraries
from ..messages import inner_json, json_in, json_lines, property_names
from ..text import as_json, json_or_none, json_values, read_json_text, with_backslashes
from .annotations import adapter_of, has_quoted_name, is_annotation, why_no_schema
from .json_schema import copy_without, in_strict_form, referenced, with_finite_numbers
from .misread import WHOLE, doubled_keys, doubled_names, lost_fields, misfits, misread_values, without_fields
from .short_form import annotation_of
from .validation import compile_reader, problems_in_schema, read_as_written, with_names

if TYPE_CHECKING:
    from pydantic import ValidationError

EXAMPLE: Final = 'Give a type of the notebook, or fields with their types: --schema "name, age int, tags list".'
_SAYS_NOTHING: Final = "does not say what an answer must look like."
MAX_PROBLEMS: Final = 10
# At most this many of the last values in an answer are checked.
MAX_VALUES: Final = 100
# What holds the answer beside other fields: calls of functions in several forms, and a schema.
_HOLDERS: Final = ("arguments", "parameters", "function", "properties")
# The names that an annotation can use without the notebook.
_KNOWN: Final[dict[str, Any]] = {
    **{name: getattr(typing, name) for name in ("Any", "Dict", "List", "Literal", "Optional", "Union")},
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)},
}
_ANNOTATION: Final = (
    ast.Expression, ast.Name, ast.Load, ast.Attribute, ast.Subscript, ast.Tuple, ast.Constant, ast.BinOp, ast.BitOr
)  # fmt: skip


class Mismatch(Exception):  # noqa: N818 - it is no error of the program, and its users name it
    """An answer that does not fit its schema; `problems` describes each problem in one line."""

    def __init__(self, problems: Iterable[str]) -> None:
        found = list(problems)
        more = [f"and {len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else []
        self.problems = (*found[:MAX_PROBLEMS], *more)
        super().__init__("; ".join(self.problems))


class ValidatorError(InferenceError):
    """A validator of the user's failed on an answer. The answer itself may be right."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "A validator of the schema failed.",
            why=f"It raised {message}.",
            remedy="Correct it, and run the cell again. A validator refuses an answer with ValueError.",
        )


@dataclass(frozen=True)
class Schema:
    """The schema of an answer.

    Attributes
    ----------
    name : str
        The name of the schema in the request.
    json_schema : mapping
        The JSON schema that is sent: an object whose properties are all required, with no others allowed.
    is_strict : bool
        Whether it can be sent as strict. A schema that allows any keys cannot.
    check : callable
        Converts the JSON value to the object that it describes; raises Mismatch if it does not fit.
    wrapped : str
        The property that contains the value, if the value is not an object (a list or a string); else empty.
    object_schema : mapping
        The JSON schema of what `check` returns. It differs from what is sent: fields have the names of the attributes,
        named tuples are objects, decimals have the format `decimal`, and a text has a format only if it becomes a
        Python value of that kind, such as a date. VALIDATED marks what a validator may have changed.
    made : mapping
        The JSON schema as it was made, with which `lost_fields` reads answers: `check` also reads truths, and these may
        have other names.
    """

    name: str
    json_schema: Mapping[str, Any]
    is_strict: bool
    check: Callable[[Any], Any]
    wrapped: str
    object_schema: Mapping[str, Any]
    made: Mapping[str, Any]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the answer's fields, as the attributes of the object have them. Empty if it is one value."""
        return () if self.wrapped else tuple(self.object_schema.get("properties", ()))

    @property
    def response_format(self) -> dict[str, Any]:
        """The request's `response_format`."""
        described = {"name": self.name, "strict": self.is_strict, "schema": self.json_schema}
        return {"type": "json_schema", "json_schema": described}

    @property
    def instructions(self) -> str:
        """The schema as text for the prompt, for a model that does not accept a schema."""
        schema = json.dumps(self.json_schema, ensure_ascii=False)
        return f"Answer with JSON only, without any words around it. It must fit this JSON schema: {schema}"

    def read(self, text: str) -> Any:
        """Return the object that an answer describes: the last JSON value in it that fits.

        Raises
        ------
        Mismatch
            If the answer contains no JSON, or no value that fits. It describes the last value of the right kind.
        """
        try:
            found = [json_in(text), *deque(json_values(with_backslashes(text)), maxlen=MAX_VALUES)]
            found += [inner for inner in [inner_json(found[0])] if inner is not None]
        except ValueError as error:
            # A model that ignores the response format answers one value as it is: 2024-01-05, or Good.
            if text.strip() and not {"{", "["} & set(text):
                with suppress(Mismatch):
                    return self._of_bare(text.strip(), is_json=False)
            # A text without JSON breaks off at its first character: that explains nothing.
            where = "" if getattr(error, "pos", None) == 0 else f": {error}"
            raise Mismatch([f"the answer is not JSON{where}"]) from None
        values = [self._unwrapped(value) for value in found]
        if self.wrapped == "items" and (lines := json_lines(text)):
            values.insert(0, lines)
        kind = {"": dict, "items": list}.get(self.wrapped, object)
        unfit: list[Mismatch] = []
        for value in reversed([one for one in values if isinstance(one, kind)] or values):
            try:
                return self._checked(value)
            except RecursionError:
                unfit.append(Mismatch(["the answer is nested too deeply"]))
            except Mismatch as error:
                unfit.append(error)
        # Models put the answer into a list, under one key, beside a name as the arguments of a call, or in the schema.
        # The schema itself, repeated, is no answer.
        own = self._own_names
        tried: list[Any] = [self.json_schema.get("properties")] if own else []
        fitting: list[Any] = []
        inner = [_held_in(one, own) for one in values]
        for held in (*inner, *(_held_in(one, own) for one in inner)):
            # One without any of the fields could only fit by their defaults.
            is_other = isinstance(held, dict) and own and held.keys().isdisjoint(own)
            if held is not None and held not in tried and not is_other:
                tried.append(held)
                # A validator of the user's need not take a value of another kind.
                others = () if isinstance(held, kind) else (ValidatorError,)
                with suppress(RecursionError, Mismatch, *others):
                    fitting.append(self._checked(held))
        if len(fitting) == 1:
            return fitting[0]
        # A list among words may be the number of a source.
        if not isinstance(found[0], dict | list) or isinstance(json_or_none(text), list):
            with suppress(RecursionError, Mismatch):
                return self._of_bare(found[0])
        raise unfit[0]

    def _checked(self, value: Any) -> Any:
        """Return the object that a JSON value describes. Raise Mismatch if it does not fit, or loses values."""
        if self._is_wrapper(value) and (problems := list(doubled_keys({}, value, WHOLE, {}))):
            raise Mismatch(problems)
        named = with_names(value, _other_than_ascii(self.made))
        if problems := misfits(self.made, named, doubled_keys, lost_fields):
            # What else does not fit says more. A validator that fails may have had the default of a field.
            with suppress(ValidatorError):
                self.check(value)
            raise Mismatch(problems)
        return self.check(value)

    def _of_bare(self, value: Any, *, is_json: bool = True) -> Any:
        """Return what a value that is in no object describes. Raise Mismatch if it is not the one that is asked for."""
        names = list(self.json_schema.get("properties", ()))
        if self.wrapped == "value":
            return self._checked(value)
        if self.wrapped or len(names) != 1:
            raise Mismatch(["the answer is not an object"])
        read = self._checked({names[0]: value})
        if is_json:
            return read
        try:
            self.check({names[0]: _other_words(value)})
        except (Mismatch, ValidatorError):
            return read
        # A field that takes other words would take words about the value, too.
        raise Mismatch(["the answer is not JSON"])

    @property
    def _own_names(self) -> frozenset[str]:
        """The names of the fields of an answer that is an object, as they are sent and as the object has them."""
        if self.wrapped:
            # It may be one of several objects.
            return property_names(self.json_schema) - {self.wrapped}
        return frozenset((*self.json_schema.get("properties", ()), *self.object_schema.get("properties", ())))

    def _unwrapped(self, value: Any) -> Any:
        return value[self.wrapped] if self._is_wrapper(value) and not doubled_names(value) else value

    def _is_wrapper(self, value: Any) -> bool:
        return bool(self.wrapped) and isinstance(value, dict) and set(value) == {self.wrapped}


def _other_words(text: str) -> str:
    """Return words that look like a text but are no number, date or address.

    They are as long and as many as those of the text, since a field may limit both. One word becomes two. Capitals and
    punctuation stay: a field may require them.
    """
    other = re.sub(r"[\w@]", lambda one: "X" if one[0].isupper() else "x", text)
    return other if len(text.split()) > 1 else f"{other[0]} {other[2:] or 'x'}"


def _held_in(value: Any, own: Collection[str]) -> Any:
    """Return the one value that another one holds, if that is only a wrapping, no field of its `own`; else None."""
    if isinstance(value, dict):
        holders = list(value) if len(value) == 1 else [one for one in _HOLDERS if one in value and one not in own]
        held = value[holders[0]] if holders and holders[0] not in doubled_names(value) else None
    else:
        held = value[0] if isinstance(value, list) and len(value) == 1 else None
    inner = inner_json(held)
    return held if inner is None else inner


def read_schema(text: str, names: Mapping[str, Any] | None) -> Schema:
    """Return the schema that a text names: a type, a short form, or a JSON schema.

    Parameters
    ----------
    text : str
        A name, an annotation such as `list[Person]`, or fields such as `name, age int, tags list`. Only names,
        attributes, subscripts and `|` are evaluated.
    names : mapping or None
        The notebook's names; None if there is no notebook.

    Raises
    ------
    InferenceError
        If it does not name anything that can be a schema.
    """
    tree = _annotation(text)
    types = None
    if names is not None:
        types = {name: value for name, value in names.items() if is_annotation(value)}
    names = names or {}
    if tree is None:
        return _of_text(text, types)
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    unknown = [name for name in used if name not in names and name not in _KNOWN]
    if not unknown:
        return schema_of(_evaluated(tree, names), types)
    if isinstance(tree.body, ast.Name) and text == text.lower():
        return _of_text(text, types)
    if isinstance(tree.body, ast.BinOp) and unknown == used and text == text.lower():
        raise _no_schema(f"The choices {text} need the name of a field before them: label {text}.")
    if types is None:
        raise _no_schema(f"A text cannot name the type {unknown[0]}: give the type itself, schema={unknown[0]}.")
    raise InferenceError(
        f"There is no type {unknown[0]!r} in the notebook. Nothing was sent.",
        remedy=did_you_mean(unknown[0], types) or EXAMPLE,
    )


def schema_of(value: Any, types: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema that a value describes.

    Parameters
    ----------
    value : object
        A pydantic model, a dataclass, a TypedDict, an Enum, `list[...]` of these or another annotation, a JSON
        schema as a dict, or a short form as a str.
    types : mapping, optional
        The types of the notebook by their names, which a short form can use; None if there is no notebook.

    Raises
    ------
    InferenceError
        If it is none of these.
    """
    if isinstance(value, str):
        return read_schema(value, types)
    if isinstance(value, Mapping):
        return _of_json_schema(value)
    # Python 3.14 calls the form `A | B` "Union".
    return _of_annotation(value, "answer" if isinstance(value, UnionType) else getattr(value, "__name__", "answer"))


def _of_text(text: str, types: Mapping[str, Any] | None) -> Schema:
    """Return the schema of a short form, or of a JSON schema that is given as text."""
    with suppress(ValueError):
        if text.lstrip().startswith("{") and isinstance(found := read_json_text(text), Mapping):
            return _of_json_schema(found)
    return _of_annotation(annotation_of(text, types), "answer")


# Annotations -------------------------------------------------------------------------------------------------


def _annotation(text: str) -> ast.Expression | None:
    """Return the text parsed as an annotation, or None if it is a short form."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    is_annotation = all(isinstance(node, _ANNOTATION) for node in ast.walk(tree))
    return tree if is_annotation and not isinstance(tree.body, ast.Tuple | ast.Constant) else None


def _evaluated(tree: ast.Expression, names: Mapping[str, Any]) -> Any:
    """Return the value of an annotation. Raise InferenceError for a missing attribute, or `a | b` of non-types."""
    known = {"__builtins__": {}, **_KNOWN, **names}
    try:
        return eval(compile(tree, "<schema>", "eval"), known)
    except users_failures() as error:
        raise _no_schema(quoted(describe_exception(error))) from None


def _of_annotation(annotation: Any, name: str) -> Schema:
    check_libraries("pydantic")
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    from .generators import ObjectSchemaGenerator, SentSchemaGenerator, for_json

    is_adapter = isinstance(annotation, TypeAdapter)
    if not (is_adapter or annotation is Any or is_annotation(annotation)):
        raise _no_schema(f"A value of type {type(annotation).__name__} {_SAYS_NOTHING}")
    if has_quoted_name(annotation):
        raise _no_schema("It has a type in quotes: define the type first, and write its name without quotes.")
    try:
        adapter = for_json(annotation if is_adapter else adapter_of(annotation))
        only_finite = for_json(adapter, only_finite=True)
        json_schema = adapter.json_schema(schema_generator=SentSchemaGenerator)
        described = adapter.json_schema(by_alias=False, schema_generator=ObjectSchemaGenerator)
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        if why := why_no_schema(error):
            raise _no_schema(f"{why[0].upper()}{why[1:]}.") from None
        remedy = "Make it a dataclass or a pydantic model (of pydantic 2, not of pydantic.v1)."
        raise _no_schema(f"A type in it {_SAYS_NOTHING} {remedy}") from None

    def check(value: Any) -> Any:
        if problems := misfits(json_schema, value, misread_values):
            raise Mismatch(problems)
        try:
            return read_as_written(only_finite, adapter, value, json_schema)
        except ValidationError as error:
            raise Mismatch(problems_of(error)) from None
        except RecursionError:
            raise
        except users_failures() as error:
            raise ValidatorError(quoted(describe_exception(error))) from error

    return _schema(json_schema, name, check, described)


def problems_of(error: ValidationError) -> Iterator[str]:
    """Yield the problems of a value that pydantic refuses, each on one line."""
    for one in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in one["loc"]) or "the answer"
        given = "" if one["type"] == "missing" else f", not {shortened_repr(one['input'])}"
        yield f"{where}: {one['msg'].rstrip('.')}{given}"


# JSON schemas --------------------------------------------------------------------------------------------------


def _of_json_schema(schema: Mapping[str, Any]) -> Schema:
    # As in the `response_format` of a request.
    for name in ("json_schema", "schema"):
        if schema.get("type") in (None, "json_schema") and isinstance(inner := schema.get(name), Mapping):
            schema = {"title": schema.get("name"), **inner} if name == "schema" else inner
    try:
        if any(isinstance(value, type) for value in schema.values()):
            raise ValueError("its values are types. Write the fields as a text, or as a dataclass.")
        copied = with_finite_numbers(json.loads(json.dumps(dict(schema), default=as_json)))
        if not copied.keys() & {"type", "properties", "$ref", "allOf", "anyOf", "oneOf", "enum", "const", "items"}:
            raise ValueError("it has neither a type nor properties.")
        if problems := problems_in_schema(copied):
            raise ValueError(f"{problems[0]}.")
        read = compile_reader(copied)
    except (TypeError, ValueError) as error:
        raise _no_schema(f"This dict is not a JSON schema: {quoted(str(error))}") from None

    def check(value: Any) -> Any:
        held, problems = read(value)
        if problems:
            raise Mismatch(problems)
        return held

    made = _schema(copied, str(copied.get("title") or "answer"), check, copy_without(("format",), copied))
    return replace(made, made=copy_without((), copied, _open_if_said))


def _open_if_said(node: dict[str, Any]) -> None:
    """Allow other names in an object without fields, and where a JSON schema says what is required: that counts."""
    if "required" in node or node.get("properties") == {}:
        node.setdefault("additionalProperties", {})


def _schema(
    json_schema: Mapping[str, Any], name: str, check: Callable[[Any], Any], object_schema: Mapping[str, Any]
) -> Schema:
    """Return the Schema of a JSON schema. `object_schema` is that of the object."""
    if title := without_fields(json_schema):
        raise _no_schema(f"{title} has no fields: it {_SAYS_NOTHING}")
    strict, is_strict = in_strict_form(referenced(json_schema, json_schema))
    wrapped = "" if strict.get("type") == "object" else "items" if strict.get("type") == "array" else "value"
    if wrapped:
        definitions = {"$defs": strict.pop("$defs")} if "$defs" in strict else {}
        properties = {wrapped: strict}
        strict = {"type": "object", "properties": properties, "required": [wrapped], "additionalProperties": False}
        strict |= definitions
    schema_name = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64] or "answer"
    if names := _other_than_ascii(json_schema):
        own_check = check

        def check(value: Any) -> Any:
            return own_check(with_names(value, names))

    described = referenced(object_schema, object_schema)
    return Schema(schema_name, strict, is_strict, check, wrapped, described, json_schema)


def _other_than_ascii(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of properties that can be written in several forms of Unicode."""
    return [one for one in property_names(schema) if not one.isascii()]


def _no_schema(why: str) -> InferenceError:
    return InferenceError("This is not a schema. Nothing was sent.", why=why, remedy=EXAMPLE)
