"""Read and write JSON text without unexpected exceptions."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import starmap
from typing import Any, Final

from .figures import python_values, with_plain_digits
from .names import leading_name

MAX_DEPTH: Final = 100
MANY_VALUES: Final = 4_000_000
# In digits.
MAX_INTEGER_DIGITS: Final = 1000
_BRACKET: Final = re.compile(r"[\[{]")
# The escapes of JSON, and any other backslash. A backspace or form feed before a letter is never meant, nor is a tab or
# line end before the rest of a command of LaTeX.
_ESCAPE: Final = re.compile(
    r'(\\(?:["\\/]|u[0-9a-fA-F]{4}|[bf](?![a-zA-Z])|t(?!imes|heta|frac|ext(?:bf|it|rm|tt)?\{)|n(?!abla|(?:[gl]?eq|otin)(?![a-zA-Z]))|r(?!ight|ho(?![a-z]))))|\\'
)
# Formulas in a line of a string, and the commands in them that JSON reads as a tab or line end before letters.
_FORMULA: Final = re.compile(r'(?<![\\$])(?:\$[^$"]+\$(?!\$)|\\\((?:(?!\\[()])[^"])+\\\))')
_COMMAND: Final = re.compile(
    r"(?<!\\)\\(?=(?:n[eiu]|neg|not|nmid|nexists|nsubseteq|tanh?|tau|top?|tilde|triangle|rangle|rceil|rfloor|rm)"
    r"(?![a-zA-Z]))"
)
_BACKSPACE: Final = re.compile(r"(\\[^b])|\\b", re.DOTALL)

# What models mix into JSON: strings in other quotes, comments, Python's words, names without quotes as keys, and the
# marks, digits and blanks that input methods write.
_LOOSE: Final = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<comment>//[^\n]*|/\*.*?\*/)"""
    r"""|(?P<curly>[\u201c-\u201e](?:[^\u201c-\u201e\\\n]|\\.)*[\u201c\u201d]|[\u2018\u2019](?:[^\u2018\u2019\\\n]|\\.)*\u2019)"""
    r"""|(?P<word>\b(?:true|false|null|True|False|None)\b)|(?P<key>\b[^\W\d][^\s{}\[\],:\uff0c\uff1a"'/]*(?=\s*[:\uff1a]))"""
    r"""|(?P<rest>[\s{}\[\],:\uff0c\uff1a]+|[+-]?(?:\b\d|\.\d)[\d.eE+-]*)""",
    re.DOTALL,
)
_PLAIN: Final = str.maketrans("\uff0c\uff1a\u3000\xa0", ",:  ")
# JSON may escape a slash, after any number of escaped backslashes.
_ESCAPED_SLASH: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\/")
# Escapes of Python that JSON does not have, and one that both have.
_PYTHON_ESCAPE: Final = re.compile(r"\\(?:\\|'|x([0-9a-f]{2})|U([0-9a-f]{8}))")
_PYTHON_WORDS: Final = {"true": "True", "false": "False", "null": "None"}
# In characters.
MAX_LOOSE_CHARS: Final = 200_000


class DoubledKeys(dict[str, Any]):
    """An object of JSON in which keys have several values. It has the last ones; `earlier` are the others."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        # In lists, NaN is the same as itself.
        self.earlier = [(name, one) for name, one in pairs if [one] != [self[name]]]


def json_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of JSON that has these names and values: one of DoubledKeys if two under a name differ."""
    held = dict(pairs)
    if len(held) == len(pairs):
        return held
    doubled = DoubledKeys(pairs)
    return doubled if doubled.earlier else held


def changed_object(document: dict[str, Any], change: Callable[[Any, Any], tuple[Any, Any]]) -> dict[str, Any]:
    """Return an object of JSON with its names and values changed. Two values under one name are kept."""
    return json_object([*starmap(change, _pairs_of(document))])


def _pairs_of(document: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*getattr(document, "earlier", ()), *document.items()]


def json_as_read(document: Any, *, ensure_ascii: bool = False) -> str:
    """Return a document as JSON, with all values of DoubledKeys."""
    write = partial(json_as_read, ensure_ascii=ensure_ascii)
    if isinstance(document, dict):
        names = [json.dumps({name: 0}, ensure_ascii=ensure_ascii)[1:-2] for name, _ in _pairs_of(document)]
        values = [write(one) for _, one in _pairs_of(document)]
        return f"{{{', '.join(map(str.__add__, names, values))}}}"
    if isinstance(document, list):
        return f"[{', '.join(map(write, document))}]"
    return json.dumps(document, ensure_ascii=ensure_ascii)


def json_bytes(document: Any) -> bytes:
    """Return a document as JSON in UTF-8."""
    try:
        return json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form, but it can be escaped in ASCII.
        return json.dumps(document).encode()


def as_json(value: Any) -> Any:
    """Return what JSON has in place of a value of another type, for `json.dumps`.

    It is known for numbers and arrays of NumPy, decimals, times, and pydantic's models.

    Raises
    ------
    TypeError
        For a value of any other type.
    """
    if isinstance(value, Decimal):
        return float(value)
    if not isinstance(value, type):
        if hasattr(value, "tolist"):
            return python_values(value)
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if hasattr(value, "model_dump"):
            return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def json_or_none(data: str | bytes) -> Any:
    """Return a JSON document, or None if the data is not JSON."""
    try:
        return read_json_text(data)
    except ValueError:
        return None


def with_backslashes(text: str) -> str:
    """Return the JSON of a model with the backslashes doubled that are no escapes: `"$\\frac{1}{2} \\alpha$"`."""
    if "\\" not in text:
        return text
    with_commands = _FORMULA.sub(lambda found: _COMMAND.sub(r"\\\\", found[0]), text)
    doubled = _ESCAPE.sub(lambda found: found[1] or r"\\", with_commands)
    # Where others were not escaped, a backspace is that of a regular expression: `\\w+\\b`.
    return text if doubled == text else _BACKSPACE.sub(lambda found: found[1] or r"\\b", doubled)


def with_whole_numbers(body: Any) -> Any:
    """Return a request's body with parameters such as 0.0 as 0: a magic's options give one, Python the other."""
    if not isinstance(body, Mapping):
        return body
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in body.items()
    }


def read_json_text(text: str | bytes) -> Any:
    """Return the document in a JSON text.

    Raises
    ------
    ValueError
        If the text is not JSON, is nested too deeply, or has too many values.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    brackets = _brackets(text)
    try:
        document = _loaded(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if brackets > MAX_DEPTH:
        _check_depth(document)
    return document


def read_loose_json(text: str) -> Any:
    """Return the object or list in a text that is JSON but for quotes, comments, words or a comma after the last value.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    if text[:1] not in ("{", "[") or len(text) > MAX_LOOSE_CHARS:
        raise ValueError("not JSON")
    text = with_backslashes(_PYTHON_ESCAPE.sub(_as_json_escape, text))
    pieces: list[str] = []
    end, is_after_string = 0, False
    while found := _LOOSE.match(text, end):
        kind, piece = found.lastgroup, found[0]
        if kind == "curly":
            kind, piece = "string", '"{}"'.format(re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', piece[1:-1]))
        # Python would join two strings between which a comma is missing.
        if (kind == "string" and is_after_string) or (kind == "key" and leading_name(piece) != piece):
            break
        end = found.end()
        is_after_string = kind == "string" or (is_after_string and (kind == "comment" or not piece.strip()))
        if kind == "key":
            pieces.append(f'"{piece}"')
        elif kind == "string":
            pieces.append(_ESCAPED_SLASH.sub(r"\1/", piece))
        elif kind != "comment":
            pieces.append(_PYTHON_WORDS.get(piece, with_plain_digits(piece.translate(_PLAIN))))
    written = ""
    # A TypeError is of literals that JSON has not, such as sets.
    with suppress(SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        document = _value_of(ast.parse("".join(pieces), mode="eval").body) if end == len(text) else None
        written = json_as_read(document, ensure_ascii=True) if isinstance(document, dict | list) else ""
    if not written:
        raise ValueError("not JSON")
    return read_json_text(written)


def _value_of(node: Any) -> Any:
    """Return the value of a literal of Python."""
    if isinstance(node, ast.Dict):
        keys = map(ast.literal_eval, node.keys)  # type: ignore[arg-type]
        return json_object([*zip(keys, map(_value_of, node.values), strict=True)])
    return [*map(_value_of, node.elts)] if isinstance(node, ast.List) else ast.literal_eval(node)


def _as_json_escape(found: re.Match[str]) -> str:
    if found[2] and (code := int(found[2], 16)) <= sys.maxunicode:
        return json.dumps(chr(code))[1:-1]
    return rf"\u00{found[1] or 27}" if found[1] or found[0] == r"\'" else found[0]


class _Uncounted(str):
    """A text in which errors of the decoder count no lines: each would count them from the beginning of the text."""

    __slots__ = ()

    def count(self, *_: Any) -> int:
        return 0

    def rfind(self, *_: Any) -> int:
        return 0


def json_values(text: str) -> Iterator[Any]:
    """Yield the complete JSON objects and lists in a text, in order. The time is linear in the length of the text.

    A value inside another one is not yielded, also if the other one breaks off: it is a part of an answer. A value that
    is nested too deeply is passed over; if its end cannot be found, it is the end of the search.

    Raises
    ------
    ValueError
        If the text has too many values.
    """
    _brackets(text)
    uncounted, end = _Uncounted(text), 0
    while start := _BRACKET.search(text, end):
        try:
            value, end = _DECODER.raw_decode(uncounted, start.start())
            _check_depth(value)
        except json.JSONDecodeError as error:
            end = _after_error(text, start.end(), error.pos)
        except RecursionError:
            return
        except ValueError:
            continue
        else:
            yield value


def _after_error(text: str, begin: int, error: int) -> int:
    """Return where to search on after a value that broke off. `begin` is the index of its second character."""
    close = text.rfind('"', begin, error)
    if close >= 0 and not text[close + 1 : error].strip():
        # A string that broke off includes the beginning of the next value: `{"a": "b{"a": "bc"}`.
        opening = text.rfind('"', begin, close)
        if swallowed := _BRACKET.search(text, max(opening, begin), close):
            return swallowed.start()
    return max(error, begin)


def _brackets(text: str) -> int:
    """Return the number of opening brackets.

    Raises
    ------
    ValueError
        If the text has too many values. Each becomes an object many times larger than its text.
    """
    brackets = text.count("[") + text.count("{")
    if len(text) > MANY_VALUES and brackets + text.count(",") > MANY_VALUES:
        raise ValueError("too many values")
    return brackets


def _loaded(text: str) -> Any:
    # Some servers send a byte order mark.
    text = text.removeprefix("\ufeff")
    try:
        return _LENIENT.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to read an integer of thousands of digits. One such number, for example a nonsensical token
        # count, must not lose the whole reply.
        return _LENIENT_LONG.decode(text)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_INTEGER_DIGITS else float(digits)


# Some servers do not escape a tab or a line end in a string.
_LENIENT: Final = json.JSONDecoder(strict=False, object_pairs_hook=json_object)
_LENIENT_LONG: Final = json.JSONDecoder(strict=False, parse_int=_integer, object_pairs_hook=json_object)
_DECODER: Final = json.JSONDecoder(parse_int=_integer, object_pairs_hook=json_object)


def _check_depth(document: Any) -> None:
    """Raise ValueError for a document that is nested too deeply for recursive functions."""
    level, depth = [document] if isinstance(document, dict | list) else [], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        inner = [[value for _, value in _pairs_of(one)] if isinstance(one, dict) else one for one in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
