"""Texts of objects and tracebacks without what only this machine, or only this process, has.

The same prompt on another machine is found in a cassette and among the kept answers, and names no user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_REPR_CHARS: Final = 500
# Where an object is in the memory: of Python, hashlib, pyarrow, Mock, Jinja2; of ctypes, longer than an error's number.
_PLACE: Final = (
    r"(?:(?: at | @ | address=)0x[0-9a-fA-F]{6,}|(?<= object) at [0-9a-fA-F]{8,}"
    r"| (?:id='\d{6,}'|memory:[0-9a-f]{8,}|\(0x[0-9a-fA-F]{9,}\)|0x[0-9a-fA-F]{9,}(?=>)))"
)
_SAYS_NOTHING: Final = re.compile(rf"< ?[\w.<>, '=-]*{_PLACE}[^\n<]*>|<_io\.[^\n]*>|<(?:[\w<>]+\.)+\w+ object>")
_ADDRESS: Final = re.compile(_PLACE)
_FILE: Final = re.compile(r'File "([^"\n]+)"')
# Where an import that fails, or a module that has the name of another one, says what file it is.
_MODULE: Final = re.compile(
    r"(?:(?<= \()|(?<= \(consider renaming '))((?:/|[A-Za-z]:\\)[^()\n']+\.(?:py|pyc|pyd|so))(?='|\)(?:$|\. Did ))",
    re.MULTILINE,
)
_TRACE: Final = "Traceback (most recent call last)"
# What versions of Python write in other ways: the marks below a line of code, hints, the file of a module, and how
# often a line is left out.
_OF_VERSION: Final = re.compile(
    r"\n[ |]{4,}[~^][~^ ]*(?=\n)"
    r"|\.? (?:Did you mean:|Did you forget to import|Or did you forget to import) '[^'\n]*'\??"
    r"|(?<=\[Previous line repeated )\d+(?= more times\])"
    r"| \((?:consider renaming '[^()\n]+|[^()\n]+\.(?:py|pyc|pyd|so))\)(?=\n|\Z|\. Did )"
)
_PACKAGES: Final = re.compile(r".*[\\/](?:site|dist)-packages[\\/]")
# The files in which IPython, ipykernel and xeus keep the code of cells.
_CELL: Final = re.compile(r"^<ipython-input-|(ipykernel|xpython)_\d+")


def without_addresses(text: str) -> str:
    """Return a text without addresses of objects, which would make another prompt in each process."""
    return _ADDRESS.sub("", text)


def says_nothing(text: str) -> bool:
    """Return whether a repr names only a type, or a type and an address."""
    return _SAYS_NOTHING.fullmatch(text[:MAX_REPR_CHARS]) is not None


def is_cell(filename: str) -> bool:
    """Return whether a file is the one of a notebook's cell, by its name."""
    return _CELL.search(filename) is not None


def portable_trace(trace: str, is_cell: Callable[[str], bool] = is_cell) -> str:
    """Return a traceback without what is this machine's or this process's.

    Paths of libraries begin with the package, other paths at the working folder or the user's home. Cells have no
    numbers, which change when they are run again: the first one is the cell.

    Parameters
    ----------
    trace : str
    is_cell : callable
        Returns whether a file is the one of a cell, by its name.
    """
    cells: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        name = found[1]
        if not is_cell(name):
            return f'File "{_place(name)}"'
        others = "Another cell" if len(cells) < 2 else f"Another cell ({len(cells)})"
        return cells.setdefault(name, others if cells else "The cell")

    return without_addresses(_MODULE.sub(lambda found: _place(found[1]), _FILE.sub(named, trace)))


def without_version(text: str) -> str:
    """Return a text whose tracebacks lack what versions of Python write in other ways, so that they can be compared."""
    return _OF_VERSION.sub("", text) if _TRACE in text else text


def _place(name: str) -> str:
    from sysconfig import get_path

    if (in_package := _PACKAGES.sub("", name)) != name:
        return in_package
    for start, folder in (("", lambda: get_path("stdlib")), ("", Path.cwd), ("~/", Path.home)):
        # The folder may be deleted, and a user may have none.
        with suppress(OSError, RuntimeError, ValueError):
            return start + Path(name).relative_to(folder()).as_posix()
    return name
