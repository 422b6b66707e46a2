"""Reads the descriptions of a function and of its parameters from its docstring."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from itertools import zip_longest
from types import WrapperDescriptorType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_DESCRIPTION: Final = 1_000

_UNDERLINE: Final = re.compile(r"\s*-{3,}\s*$")
_GOOGLE_HEADING: Final = re.compile(
    r"(args|arguments|parameters|keyword arg(ument)?s|returns?|yields?|raises|examples?|notes?|see also):\s*$",
    re.IGNORECASE,
)
# Sphinx fields begin with a colon, epydoc fields with an @.
_FIELD: Final = re.compile(r"[:@](param|parameter|arg|type|returns?|rtype|raises?)\b[^:]*:")
_FIELD_OF_PARAMETER: Final = re.compile(
    r"^[:@](?:param|parameter|arg)[ ]+(?:[^:\n]*[ ])?\*{0,2}(\w+):[ ]*(.*(?:\n(?![ ]*[:@]|[ ]*$).+)*)", re.MULTILINE
)
_NUMPY_ENTRY: Final = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_GOOGLE_ENTRY: Final = re.compile(r"(\*{0,2}\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*))?$")
_PARAMETER_SECTIONS: Final = frozenset(
    ["parameters", "other parameters", "args", "arguments", "keyword args", "keyword arguments"]
)


@dataclass(frozen=True, slots=True)
class Docstring:
    """The descriptions of a function and its parameters, from a numpydoc, Google, Sphinx or epydoc docstring."""

    text: str
    parameters: dict[str, str]

    @classmethod
    def of(cls, function: object) -> Docstring:
        target = target_of(function)
        documented = inspect.getdoc(target)
        if isinstance(target, WrapperDescriptorType) or (not documented and not hasattr(function, "__name__")):
            documented = inspect.getdoc(function)
        return cls.read(documented or "")

    @classmethod
    def read(cls, docstring: str) -> Docstring:
        text = ""
        parameters = {
            found[1]: _one_line(found[2]) for found in _FIELD_OF_PARAMETER.finditer(docstring) if found[2].strip()
        }
        for heading, body in _sections(docstring.splitlines()):
            if not heading:
                text = _cut("\n".join(body).strip())
            elif heading.rstrip(":") in _PARAMETER_SECTIONS:
                entry = _GOOGLE_ENTRY if heading.endswith(":") else _NUMPY_ENTRY
                parameters |= _entries(body, entry)
        return cls(text, parameters)


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading of a docstring (`""` for the first part, `x:` in Google style) and the lines below it."""
    heading, body = "", list[str]()
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        words = line.strip().lower()
        underlined = bool(words) and bool(_UNDERLINE.match(following))
        if underlined or _GOOGLE_HEADING.match(line) or _FIELD.match(line):
            yield heading, body
            heading, body = words, []
        elif not (heading and _UNDERLINE.match(line)):
            body.append(line)
    yield heading, body


def _entries(body: list[str], entry: re.Pattern[str]) -> dict[str, str]:
    """Read a section's entries. Each begins at the section's indentation and continues on lines indented further."""
    margin = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in body:
        words = line.strip()
        if words and len(line) - len(line.lstrip()) == margin:
            matched = entry.match(words)
            names = [name.strip(" *") for name in matched[1].split(",")] if matched else []
            words = (matched[2] or "") if matched and entry is _GOOGLE_ENTRY else ""
        for name in names:
            found.setdefault(name, []).append(words)
    texts = {name: _one_line(" ".join(lines)) for name, lines in found.items()}
    return {name: text for name, text in texts.items() if text}


def _one_line(text: str) -> str:
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 1]}…"


def target_of(function: Any) -> object:
    """Return the function that the user wrote, behind partials, wrappers, methods and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, type) and not inspect.isroutine(function) and not hasattr(function, "__wrapped__"):
        function = type(function).__call__
    return inspect.unwrap(getattr(function, "__func__", function))
