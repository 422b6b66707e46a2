"""Describe code and its failures to a model: the source of functions and classes, modules, tracebacks."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import textwrap
import traceback
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

from ..text import safe_plain

# The names of cells, in a terminal and in a kernel.
_CELL: Final = re.compile(r"^<ipython-input-|ipykernel_\d+")
# The folders of installed packages in the line of a frame.
_PACKAGES: Final = re.compile(r'File "[^"\n]*[\\/](?:site|dist)-packages[\\/]')


def describe_exception(value: BaseException) -> str:
    """Return the traceback of an exception."""
    return safe_plain(without_folders("".join(traceback.format_exception(value)))).strip()


def without_folders(trace: str) -> str:
    """Return a traceback whose paths of installed packages begin with the package: the rest is this machine's."""
    return _PACKAGES.sub('File "', trace)


def describe_source(value: Any) -> str:
    """Return the source of a function or a class, or its signature and documentation."""
    with suppress(OSError, TypeError):
        return textwrap.dedent(inspect.getsource(value)).rstrip()
    if isinstance(value, type) and (source := _source_in_cells(value)):
        return source
    signature = "(...)"
    with suppress(ValueError, TypeError):
        signature = str(inspect.signature(value))
    return f"{value.__qualname__}{signature}\n\n{inspect.getdoc(value) or ''}".rstrip()


def _source_in_cells(kind: type) -> str:
    """Return the source of a class of the notebook, for which `inspect` has no file; empty if it is not there."""
    if kind.__module__ != "__main__":
        return ""
    # The latest cell comes last.
    for name, entry in reversed(list(linecache.cache.items())):
        text = "".join(entry[2]) if len(entry) > 2 else ""
        if not _CELL.search(name) or f"class {kind.__name__}" not in text:
            continue
        with suppress(SyntaxError, ValueError):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                    lines = [node.lineno, *(one.lineno for one in node.decorator_list)]
                    return textwrap.dedent("\n".join(text.splitlines()[min(lines) - 1 : node.end_lineno])).rstrip()
    return ""


def describe_module(value: ModuleType) -> str:
    """Return a module's name and documentation."""
    return f"module {value.__name__}\n\n{inspect.getdoc(value) or ''}".rstrip()
