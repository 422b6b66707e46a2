"""Reads the short form of a schema on a magic's line: `name, age int, tags list`."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from ..errors import InferenceError, did_you_mean, shortened

EXAMPLE: Final = 'It looks like "name, age int, tags list, mood good|bad, note text?" or "list of name, age int".'
_LIST_OF: Final = re.compile(r"list of\s+", re.IGNORECASE)
_FIELD: Final = re.compile(r"(?P<name>[^\W\d]\w*)(?P<early>\??)\s*:?\s*(?P<kind>.*?)(?P<late>\??)", re.DOTALL)
_LIST: Final = re.compile(r"list\s*(?:\[\s*(?P<bracketed>.*?)\s*\]|(?:of\s+)?(?P<bare>\S.*)?)", re.IGNORECASE)


def annotation_of(words: str) -> Any:
    """Return the type that a short form describes: a TypedDict, or after `list of` a list of a TypedDict.

    Parameters
    ----------
    words : str
        Fields separated by commas. Each is a name and a type: text (the default), int, float, bool, date,
        datetime, list (of texts), list[int], or the allowed values separated by `|`. A `?` at the end
        of the name or the type allows null.

    Raises
    ------
    InferenceError
        If a type is unknown, a name is given twice, a part is not a field, or there are no fields.
    """
    from typing_extensions import TypedDict

    body = words.strip()
    is_list = _LIST_OF.match(body)
    fields: dict[str, Any] = {}
    for part in _split(body[is_list.end() :] if is_list else body):
        name, kind = _field(part)
        if name in fields:
            raise _refused(f"The field {name!r} is given twice.")
        fields[name] = kind
    if not fields:
        raise _refused("This schema has no fields.")
    record: Any = TypedDict("Answer", fields)  # type: ignore[misc]
    return list[record] if is_list else record


def _split(text: str) -> list[str]:
    """Split at commas that are not inside brackets."""
    parts = [part.strip() for part in re.split(r",(?![^\[]*\])", text)]
    return [part for part in parts if part]


def _field(part: str) -> tuple[str, Any]:
    found = _FIELD.fullmatch(part)
    if found is None:
        quotes = "Put a JSON schema in single quotes, or give the name of a variable that holds it." * ("{" in part)
        raise _refused(f"{shortened(part)!r} is not a field: it begins with no name.", quotes)
    kind = _kind(found["kind"].strip())
    return found["name"], kind | None if found["early"] or found["late"] else kind


def _kind(words: str) -> Any:
    from datetime import date, datetime

    named: dict[str, Any] = {
        "": str, "text": str, "string": str, "str": str, "int": int, "integer": int, "float": float,
        "number": float, "bool": bool, "boolean": bool, "date": date, "datetime": datetime,
    }  # fmt: skip
    if words.lower() in named:
        return named[words.lower()]
    if found := _LIST.fullmatch(words):
        return list[_kind((found["bracketed"] or found["bare"] or "").strip())]  # type: ignore[misc]
    if "|" in words:
        choices = tuple(word.strip().strip("'\"") for word in words.split("|"))
        if all(choices):
            return Literal[choices]
    raise _refused(f"{shortened(words)!r} is not a type of a short form.", did_you_mean(words, [*named, "list"]))


def _refused(what: str, remedy: str = "") -> InferenceError:
    return InferenceError(f"{what} Nothing was sent.", remedy=f"{remedy} {EXAMPLE}".strip(), cause="option")
