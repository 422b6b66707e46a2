"""Reads the short form of a schema on a magic's line: `name, age int, tags list`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

from ..errors import InferenceError, did_you_mean, shortened
from ..text import (
    BARS,
    COLONS,
    COMMAS,
    IN_QUOTES,
    QUESTION_MARKS,
    QUOTES,
    bare,
    leading_name,
    python_name,
    same_name,
    visible_only,
)

EXAMPLE: Final = 'Fields look like "name, age int, tags list, mood good|bad, note text?" or "list of name, age int".'
_BLANKS: Final = " \t\n\xa0\u3000"
_AFTER_NAME: Final = re.compile(
    rf"(?P<early>[{QUESTION_MARKS}]?)(?:\s*[{COLONS}])?\s*(?P<kind>.*?)(?P<late>[{QUESTION_MARKS}]?)", re.DOTALL
)
# What separates and encloses names, types and allowed values, besides blanks.
_MARKS: Final = "".join((COMMAS, BARS, COLONS, QUESTION_MARKS, "[]", *map("".join, QUOTES)))
# What may follow a name without a blank.
_ENDS_OF_NAME: Final = (*QUESTION_MARKS, *COLONS, "[")
# An allowed value in quotes can contain what separates others.
_QUOTED: Final = re.compile(
    rf"(?<![^\s{COMMAS}{BARS}{COLONS}\[])(?:{IN_QUOTES})"
    rf"(?=\s*(?:[{QUESTION_MARKS}{COMMAS}{BARS}\]]|\Z))"
)
_LIST_OF: Final = re.compile(r"list of\s+", re.IGNORECASE)
# In these two the rest of the words describes the items.
_LIST_OF_REST: Final = re.compile(rf"list\s+(?:of\s+)?(?P<items>[^\s{BARS}\[].*)", re.IGNORECASE | re.DOTALL)
_LIST_IN_BRACKETS: Final = re.compile(r"list\s*(?:\[(?P<items>.*)\])?", re.IGNORECASE | re.DOTALL)
_VALUE: Final = re.compile(r"true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.IGNORECASE)
_NULL: Final = ("null", "none")
_NAMED: Final[dict[str, Any]] = {
    "text": str, "string": str, "str": str, "int": int, "integer": int, "float": float,
    "number": float, "bool": bool, "boolean": bool, "date": date, "datetime": datetime,
}  # fmt: skip


def annotation_of(text: str, types: Mapping[str, Any] | None) -> Any:
    """Return the type that a short form describes: a TypedDict, or after `list of` a list.

    Parameters
    ----------
    text : str
        Fields separated by commas. Each is a name and a type: text (the default), int, float, bool, date,
        datetime, list (of texts), list[int], a type of the notebook, or alternatives separated by `|`. If all
        alternatives are types, the value has one of these types; otherwise they are the allowed values. A `?` at the
        end of the name or the type allows null. `list of` is followed by such fields, or by one type. At the edges of
        words, characters that are not seen do not count.
    types : mapping or None
        The types of the notebook by their names; None if there is no notebook.

    Raises
    ------
    InferenceError
        If a type is unknown, a name is given twice, a part is not a field, or there are no fields.
    """
    from typing_extensions import TypedDict

    body = bare(text, _MARKS).strip()
    known = types or {}
    is_list = _LIST_OF.match(body)
    parts = [part for part in _split(body[is_list.end() :] if is_list else body, COMMAS) if part]
    if is_list and len(parts) == 1:
        item = _item(parts[0], known, is_notebook=types is not None)
        if item is not None:
            return list[item]  # type: ignore[valid-type]
    fields: dict[str, Any] = {}
    for part in parts:
        name, kind = _field(part, known)
        if same_name(name, fields):
            raise _refused(f"The field {name!r} is given twice.")
        fields[name] = kind
    if not fields:
        raise _refused("This schema has no fields.")
    record: Any = TypedDict("Answer", fields)  # type: ignore[misc]
    return list[record] if is_list else record


def _split(text: str, at: str) -> list[str]:
    """Split at each of the characters `at` that is not inside brackets or quotes."""
    parts, depth, end = [""], 0, 0
    for place, character in enumerate(text):
        if place >= end and (quoted := _QUOTED.match(text, place)):
            end = quoted.end()
        is_quoted = place < end
        depth = depth if is_quoted else max(0, depth + {"[": 1, "]": -1}.get(character, 0))
        if character in at and not depth and not is_quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _item(part: str, known: Mapping[str, Any], *, is_notebook: bool) -> Any:
    """Return the type of the items, if that is all that follows `list of`, or None if it is a field."""
    bare = part.rstrip(QUESTION_MARKS).strip()
    choices = _split(bare, BARS)
    is_type = _named(bare, known) is not None or len(choices) > 1 or _LIST_IN_BRACKETS.fullmatch(bare)
    # A field has a space before its type.
    if _LIST_OF.match(bare) or (is_type and all(len(_split(one, _BLANKS)) == 1 for one in choices)):
        kind = _kind(bare, known)
        return kind | None if part.endswith((*QUESTION_MARKS,)) else kind
    # As for one name that stands alone: with a capital it is meant as a type.
    if bare.isidentifier() and bare != bare.lower():
        where = "in the notebook" if is_notebook else "here: in Python, a text cannot name types of the program"
        as_type = "" if is_notebook else f"Give the type itself: schema=list[{bare}]. "
        remedy = (
            did_you_mean(bare, [*known, *_NAMED]) or f"{as_type}For a field of that name, write list of {bare} text."
        )
        raise _refused(f"There is no type {bare!r} {where}.", remedy)
    return None


def _field(part: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    name = leading_name(part)
    if not name:
        quotes = "Put a JSON schema in single quotes, or give the name of a variable that holds it." * ("{" in part)
        raise _refused(f"{shortened(part)!r} is not a field: it does not begin with a name.", quotes)
    found = _AFTER_NAME.fullmatch(part, len(name))
    if found is None or not (part == name or part[len(name)].isspace() or part[len(name)] in _ENDS_OF_NAME):
        raise _no_name(part)
    kind = _kind(found["kind"].strip(), known)
    return name, kind | None if found["early"] or found["late"] else kind


def _no_name(part: str) -> InferenceError:
    """Return the error for a part that begins with a name and, without a blank, with what is in no name."""
    word = re.split(rf"[\s{COLONS}]", part)[0]
    if {*BARS} & {*word}:
        return _refused(f"The choices {shortened(word)} need the name of a field before them.", "Write label yes|no.")
    name = "".join(one if leading_name(f"_{one}") != "_" else "_" for one in visible_only(word)).strip("_")
    return _refused(f"{shortened(word)!r} is not a name.", f"Use {shortened(name)}.")


def _kind(text: str, known: Mapping[str, Any]) -> Any:
    if not text:
        return str
    if (kind := _type(text, known)) is not None:
        return kind
    alternatives = _split(text, BARS)
    if len(alternatives) > 1 and all(alternatives):
        return _one_of(alternatives, known)
    raise _refused(f"{shortened(text)!r} is not a type of a short form.", did_you_mean(text, [*known, *_NAMED, "list"]))


def _type(text: str, known: Mapping[str, Any]) -> Any:
    """Return the type that the words name, or None if they name none."""
    if (kind := _named(text, known)) is not None:
        return kind
    found = _LIST_OF_REST.fullmatch(text)
    if found is None and len(_split(text, BARS)) == 1:
        found = _LIST_IN_BRACKETS.fullmatch(text)
    return list[_kind((found["items"] or "").strip(), known)] if found else None  # type: ignore[misc]


def _named(word: str, known: Mapping[str, Any]) -> Any:
    return _NAMED.get(word.lower(), known.get(python_name(word)))


def _one_of(alternatives: list[str], known: Mapping[str, Any]) -> Any:
    """Return the type of alternatives: types, numbers, true and false, or else texts. Each can be beside null."""
    others = [word for word in alternatives if word.lower() not in _NULL]
    kinds = [_type(word, known) for word in others]
    values = [_value(word) for word in others]
    if not others:
        raise _refused(f"{'|'.join(alternatives)} allows null only.")
    if None not in kinds:
        kind = reduce(or_, kinds)
    elif None not in values and len({isinstance(value, bool) for value in values}) == 1:
        kind = bool if {True, False} == set(values) and isinstance(values[0], bool) else Literal[tuple(values)]
    else:
        # Beside texts "none" can be one of them, and says so more often than that there is no answer.
        others = [word for word in alternatives if word != "null"]
        kind = Literal[tuple(word[1:-1] if (word[:1], word[1:][-1:]) in QUOTES else word for word in others)]
    return kind if len(others) == len(alternatives) else kind | None


def _value(word: str) -> float | bool | None:
    """Return the number, or true or false, that a word is, or None for another word.

    A number that JSON writes in another way is a text, as the version 3.10 is: it is not 3.1.
    """
    value = json.loads(word.lower()) if _VALUE.fullmatch(word) else None
    return value if json.dumps(value) == word.lower() else None


def _refused(what: str, remedy: str = "") -> InferenceError:
    return InferenceError(f"{what} Nothing was sent.", remedy=f"{remedy} {EXAMPLE}".strip())
