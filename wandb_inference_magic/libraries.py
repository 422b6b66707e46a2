"""Libraries that cannot be used: a file of the user hides them, they are too old, or they cannot be imported.

A notebook's folder comes first where Python looks.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Final

from .errors import InferenceError, Interrupted, beyond_limits, causes_of, describe_exception, quoted
from .imports import is_instance
from .text import library_message

# What every call needs, whatever its options. Each is a package: a copy of one is known by its modules.
ALWAYS_NEEDED: Final = ("openai", "anyio", "pydantic", "markdown_it")
_INSTALLED: Final = frozenset(("site-packages", "dist-packages"))
# The variables that name OpenSSL's configuration and its modules.
_OF_OPENSSL: Final = ("OPENSSL_CONF", "OPENSSL_MODULES")


def check_libraries(*names: str) -> None:
    """Check that the user has no file that hides a library. Nothing is imported.

    Parameters
    ----------
    *names : str
        The packages. Without any, those that every call needs.

    Raises
    ------
    InferenceError
        When there is such a file, or it was imported in place of the library.
    """
    for name in names or ALWAYS_NEEDED:
        if (own := _own_file(name)) is not None:
            raise _hidden(name, own)


def unusable_library(failure: BaseException) -> InferenceError | None:
    """Return the error for a failure that comes from a library that cannot be used, or None for any other.

    A file of the user in its place lacks what is imported from it, or raises an error itself. A library that is too old
    or too new for another one may raise anything, such as pydantic a SystemError.

    Raises
    ------
    BaseException
        What the user's code has raised during an import: an interrupt, an exit, or a time limit by a signal.
    """
    for name in dict.fromkeys(_modules_of(failure)):
        if (own := _own_file(name)) is not None:
            return _hidden(name, own)
    broken = [name for name, path in _imported_in(failure) if _is_installed(path)]
    # Python raises its own error from some that end an import.
    for one in causes_of(failure) if broken else ():
        if isinstance(one, KeyboardInterrupt):
            raise Interrupted from None
        if isinstance(one, SystemExit) or _is_raised_by_user(one):
            raise one
        if is_instance(one, "ssl.SSLError"):
            # Some libraries, such as aiohttp, prepare encrypted connections when they are imported.
            return unusable_openssl(one)
    if (outdated := outdated_library()) is not None:
        return outdated
    if isinstance(failure, ImportError) and failure.name:
        return None
    if not broken:
        return None
    # The innermost: one library imports the other.
    name = broken[-1]
    return InferenceError(
        f"The package {name} cannot be imported.",
        why=f"It says: {quoted(describe_exception(failure))}.",
        remedy=f"Run: pip install --upgrade {name}. Then restart the kernel.",
        cause="missing",
    )


def unusable_openssl(failure: BaseException) -> InferenceError:
    """Return the error for an OpenSSL that makes no encrypted connection."""
    named = ", ".join(f"{name}={os.environ[name]}" for name in _OF_OPENSSL if os.environ.get(name))
    source = f"what {named} names" if named else "its configuration, openssl.cnf"
    return InferenceError(
        "The OpenSSL of this Python cannot make an encrypted connection; nothing was sent.",
        why=f"{quoted(str(failure))}.",
        remedy=f"Correct {source}{', or unset it' if named else ''}. Then restart the kernel.",
    )


def missing_library(failure: ImportError) -> InferenceError:
    """Return the error for an import that failed, and for which `unusable_library` has no reason."""
    name = (failure.name or "a package").partition(".")[0]
    why, remedy = quoted(library_message(str(failure))), f"Run: pip install --upgrade {name}."
    if name in sys.stdlib_module_names:
        name = name.lstrip("_")
        why = f"This Python was built without it, so pip cannot install it. {why}"
        remedy = "Use another Python, or build this one with the libraries that it needs."
    return InferenceError(
        f"The package {name} cannot be imported; nothing was sent.",
        why=why,
        remedy=f"{remedy} Then restart the kernel.",
        cause="missing",
    )


def unexpected_failure(failure: Exception) -> InferenceError | None:
    """Return the error for a failure that nothing expected, if the machine or a library is the reason, else None."""
    # First: what looks for libraries needs free files too.
    if (error := beyond_limits(failure) or unusable_library(failure)) is not None:
        return error
    return missing_library(failure) if isinstance(failure, ImportError) else None


def outdated_library() -> InferenceError | None:
    """Return the error for the first library that is older than this package needs, or None if there is none.

    Another `pip install` has replaced it: pip warns, and goes on.
    """
    # Imported here, because loading the extension imports this module.
    from importlib.metadata import PackageNotFoundError, requires, version

    # Without the package's own metadata, nothing is known of them.
    with suppress(PackageNotFoundError):
        for requirement in requires("wandb-inference-magic") or ():
            # An optional one has its condition after it.
            if needed := re.fullmatch(r"([\w.-]+)\s*>=\s*([\d.]+)", requirement):
                name, least = needed.groups()
                installed = version(name)
                if _numbers(installed) < _numbers(least):
                    return InferenceError(
                        f"The package {name} is too old: {installed} is installed, and {least} or newer is needed.",
                        remedy=f'Run: pip install --upgrade "{name}>={least}". Then restart the kernel.',
                        cause="missing",
                    )
    return None


def _numbers(release: str) -> list[int]:
    return list(map(int, re.findall(r"\d+", release)))


def _hidden(name: str, own: Path) -> InferenceError:
    kind = "folder" if own.suffix == "" else "file"
    return InferenceError(
        f"The package {name} cannot be used: your own {kind} {own} hides it.",
        why=f"It has the package's name, and Python finds the {kind} first.",
        remedy=f"Rename the {kind}, then restart the kernel.",
        cause="missing",
    )


def _modules_of(failure: BaseException) -> Iterator[str]:
    """Yield the modules, without those that contain them, that a failure names or ended the import of."""
    if isinstance(failure, ImportError) and failure.name:
        yield failure.name.partition(".")[0]
    if isinstance(failure, AttributeError) and isinstance(name := getattr(failure.obj, "__name__", None), str):
        yield name.partition(".")[0]
    yield from (name for name, _ in _imported_in(failure))


def _imported_in(failure: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the names of the packages that were being imported, and the files."""
    for frame, _ in walk_tb(failure.__traceback__):
        if frame.f_code.co_name == "<module>":
            yield _package_of(frame), frame.f_code.co_filename


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_installed(path: str) -> bool:
    return not _INSTALLED.isdisjoint(Path(path).parts)


def _is_raised_by_user(failure: BaseException) -> bool:
    """Whether what failed in the import of a library is the handler of a signal, or other code of the user's."""
    handlers = {getattr(signal.getsignal(one), "__code__", None) for one in signal.valid_signals()}
    is_in_library = False
    for frame, _ in walk_tb(failure.__traceback__):
        # Packages that limit the time of a function have handlers too.
        if is_in_library and (is_of_user(frame) or frame.f_code in handlers):
            return True
        is_in_library |= frame.f_code.co_name == "<module>" and _is_installed(frame.f_code.co_filename)
    return False


def is_of_user(frame: FrameType) -> bool:
    """Return whether a frame runs the user's code: neither Python's, nor this package's, nor an installed one's."""
    name = _package_of(frame)
    # Generated code may have neither a name nor a file.
    file = "" if name == "__main__" else frame.f_globals.get("__file__")
    return name not in {*sys.stdlib_module_names, __package__} and file is not None and not _is_installed(file)


def _own_file(name: str) -> Path | None:
    """Return the file, or the folder with `__init__.py`, that hides the package of this name; None if nothing does."""
    found = _found(name)
    folder = None if found is None else found.parent
    # The usual case, and the only one that is quick.
    if found is None or folder is None or folder.name in _INSTALLED:
        return None
    if any(folder.glob("*.dist-info")):
        # Packages are installed in this folder too: a layer of a cloud service, or `pip install --target`.
        return None
    elsewhere = [entry for entry in sys.path if not _is_same(entry, folder)]
    spec = PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.origin is None or not spec.has_location:
        # The only one of this name, for example the clone of a package that is being worked on.
        return None
    return None if _is_copy(found, _top(Path(spec.origin))) else found


def _found(name: str) -> Path | None:
    """Return the file or the folder that is, or would be, imported under this name."""
    if (module := sys.modules.get(name)) is not None:
        origin = getattr(module, "__file__", None)
    else:
        spec = PathFinder.find_spec(name)
        origin = spec.origin if spec is not None and spec.has_location else None
    return _top(Path(origin)) if isinstance(origin, str) else None


def _top(origin: Path) -> Path:
    # A compiled one has its platform in its name.
    return origin.parent if origin.name.partition(".")[0] == "__init__" else origin


def _is_same(entry: str, folder: Path) -> bool:
    with suppress(OSError):
        # An empty entry is the working folder, which may be gone.
        return os.path.realpath(entry) == os.path.realpath(folder)
    return False


def _is_copy(found: Path, package: Path) -> bool:
    """Whether what was found is the package too, perhaps in another version: it has most of the package's modules."""
    theirs = {one.name for one in package.glob("*.py")}
    mine = {one.name for one in found.glob("*.py")}
    return bool(theirs) and 2 * len(theirs & mine) >= len(theirs)
