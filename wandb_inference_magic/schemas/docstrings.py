"""Reads the descriptions of a function and of its parameters from its docstring."""

from __future__ import annotations

import functools
import inspect
import re
from types import WrapperDescriptorType
from typing import Any, Final

LONGEST_DESCRIPTION: Final = 1_000


def read_docstring(function: object) -> tuple[str, dict[str, str]]:
    """Return the description of a function and those of its parameters.

    The docstring is in numpydoc, Google, Sphinx or epydoc style. One that is in none of them is the description.
    """
    from docstring_parser import ParseError, parse

    target = target_of(function)
    docstring = inspect.getdoc(target)
    if isinstance(target, WrapperDescriptorType) or (not docstring and not hasattr(function, "__name__")):
        docstring = inspect.getdoc(function)
    # The parser does not know this heading of Google style.
    docstring = re.sub(r"^Keyword Arg(ument)?s:", "Params:", docstring or "", flags=re.MULTILINE)
    try:
        parsed = parse(docstring)
    except (ParseError, LookupError):
        return _cut(docstring), {}
    # One entry can describe several parameters.
    texts = {
        name.strip(" *"): _cut(" ".join(one.description.split()))
        for one in parsed.params
        if one.description
        for name in one.arg_name.split(",")
    }
    return _cut(parsed.description or ""), texts


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[: LONGEST_DESCRIPTION - 1]}…"


def target_of(function: Any) -> object:
    """Return the function that the user wrote, behind partials, wrappers, methods and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, type) and not inspect.isroutine(function) and not hasattr(function, "__wrapped__"):
        function = type(function).__call__
    return inspect.unwrap(getattr(function, "__func__", function))
