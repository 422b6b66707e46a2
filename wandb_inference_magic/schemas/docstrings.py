"""Reads the descriptions of a function and of its parameters from its docstring."""

from __future__ import annotations

import functools
import inspect
import re
from textwrap import indent
from types import WrapperDescriptorType
from typing import Any, Final

MAX_DESCRIPTION_CHARS: Final = 1_000
# The sections of a docstring that are about the whole function, and of use to a model.
_SECTIONS: Final = ("returns", "note", "notes", "warning", "warnings")
# A heading of Google style as the first line, from which the other lines have no indentation left.
_HEADING: Final = re.compile(r"((?:Arg(?:ument)?|Param(?:eter)?)s:[ \t]*\n)(?=\S)")


def read_docstring(function: object) -> tuple[str, dict[str, str]]:
    """Return the description of a function and those of its parameters.

    The docstring is in numpydoc, Google, Sphinx or epydoc style. One that is in none of them is the description.
    """
    # What is set for a partial or an object does not always describe the parameters.
    description, texts = _parsed(_own_docstring(function))
    others_description, others_texts = _parsed(_docstring_of(function))
    return description or others_description, others_texts | texts


def _parsed(docstring: str) -> tuple[str, dict[str, str]]:
    from docstring_parser import ParseError, parse

    # The parser does not know this heading of Google style.
    docstring = re.sub(r"^Keyword Arg(ument)?s:", "Params:", docstring, flags=re.MULTILINE)
    if heading := _HEADING.match(docstring):
        docstring = heading[0] + indent(docstring[heading.end() :], " ")
    try:
        # The parser removes the indentation that all lines but the first have.
        parsed = parse(f"\n{docstring}")
    except (ParseError, LookupError):
        return _cut(docstring), {}
    # One entry can describe several parameters.
    texts = {
        name.strip(" *`"): _cut(" ".join(one.description.split()))
        for one in parsed.params
        if one.description and one.args[0] != "attribute"
        for name in one.arg_name.split(",")
    }
    sections = [(parsed.description or "").strip()]
    sections += [
        f"{one.args[0].capitalize()}: {' '.join(one.description.split())}"
        for one in parsed.meta
        if one.args[0] in _SECTIONS and one.description
    ]
    return _cut("\n\n".join(filter(None, sections))), texts


def _docstring_of(function: Any) -> str:
    """Return what the user wrote about a function. What Python says about partials and base classes is left out."""
    while isinstance(function, functools.partial):
        function = function.func
    target = target_of(function)
    if isinstance(target, type):
        return _own_docstring(target)
    docstring = inspect.getdoc(function if isinstance(target, WrapperDescriptorType) else target)
    # A method without docstring has that of the method of its base class, and every class has a `__call__`.
    if docstring and docstring != inspect.getdoc(type.__call__):
        return docstring
    return "" if hasattr(function, "__name__") else _own_docstring(function) or _own_docstring(type(function))


def _own_docstring(value: Any) -> str:
    """Return the docstring of a class without that of its base class, or one that was set for this object."""
    docstring = getattr(value, "__dict__", {}).get("__doc__")
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else ""


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_DESCRIPTION_CHARS else f"{text[: MAX_DESCRIPTION_CHARS - 1]}…"


def target_of(function: Any) -> object:
    """Return the function that the user wrote, behind partials, wrappers, methods and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, type) and not inspect.isroutine(function) and not hasattr(function, "__wrapped__"):
        function = type(function).__call__
    return inspect.unwrap(getattr(function, "__func__", function))
