"""Read and write JSON text without unexpected exceptions."""

from __future__ import annotations

import json
from typing import Any, Final

DEEPEST: Final = 100
MANY_VALUES: Final = 4_000_000
# In digits.
LONGEST_INTEGER: Final = 1000


def json_bytes(document: Any, *, compact: bool = False) -> bytes:
    """Return a document as JSON in UTF-8; `compact` leaves out the spaces that make it easier to read."""
    separators = (",", ":") if compact else None
    try:
        return json.dumps(document, ensure_ascii=False, separators=separators).encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form, but it can be escaped in ASCII.
        return json.dumps(document, separators=separators).encode()


def read_json_text(text: str | bytes) -> Any:
    """Return the document in a JSON text.

    Raises
    ------
    ValueError
        If the text is not JSON, is nested too deeply, or has too many values.
    """
    brackets, commas = _count(text, "[") + _count(text, "{"), 0
    if len(text) > MANY_VALUES:
        commas = _count(text, ",")
    if brackets + commas > MANY_VALUES:
        # Each value becomes an object many times larger than its text.
        raise ValueError("too many values")
    try:
        document = _loaded(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if brackets > DEEPEST:
        _check_depth(document)
    return document


def _loaded(text: str | bytes) -> Any:
    if isinstance(text, str):
        # Some servers send a byte order mark.
        text = text.removeprefix("\ufeff")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to read an integer of thousands of digits. One such number, for example a nonsensical token
        # count, must not lose the whole reply.
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < LONGEST_INTEGER else float(digits)


def _count(text: str | bytes, character: str) -> int:
    return text.count(character) if isinstance(text, str) else text.count(character.encode())


def _check_depth(document: Any) -> None:
    """Raise ValueError for a document that is nested too deeply for recursive functions."""
    level, depth = [document] if isinstance(document, dict | list) else [], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        inner = (value for one in level for value in (one.values() if isinstance(one, dict) else one))
        level = [value for value in inner if isinstance(value, dict | list)]
