"""Imports that are lazy or quick, types and versions of what may not be imported, and libraries that are quiet."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dis import get_instructions
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any, Final, cast


def lazy_exports(package: str) -> Callable[[str], object]:
    """Return a `__getattr__` for a package that imports each public name on first use.

    The names are those that its `__init__.py` imports from its modules under `if TYPE_CHECKING`: each is written once,
    for type checkers and for this.

    Parameters
    ----------
    package : str
        The package's full name.
    """

    loader: Any = cast("ModuleSpec", sys.modules[package].__spec__).loader

    @cache
    def homes() -> dict[str, str]:
        # They are read from the compiled code: an installation may have no source. Each import is three instructions:
        # how many packages up, the names, the module.
        steps = list(get_instructions(loader.get_code(package)))
        found: dict[str, str] = {}
        for level, names, module in zip(steps, steps[1:], steps[2:], strict=False):
            if module.opname == "IMPORT_NAME" and level.argval == 1:
                found.update(dict.fromkeys(names.argval, module.argval))
        return found

    def get(name: str) -> object:
        if name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes()[name]}"), name)
        # The next access does not call `__getattr__`.
        setattr(sys.modules[package], name, value)
        return value

    return get


def installed_version(name: str) -> str:
    """Return the version of an installed package; empty if it is not installed. The package is not imported."""
    # Imported on first use: the import would slow down `%load_ext`.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


class LazyModule:
    """A module that is imported when one of its names is used, for annotations that others evaluate.

    Parameters
    ----------
    name : str
        The module's full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


def loaded(name: str) -> Any:
    """Return what a full name such as `pandas.Series` means; None if its module is not imported or does not have it."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def is_instance(value: object, name: str) -> bool:
    """Return whether a value is of the class with that full name, without importing the class's module."""
    kind = loaded(name)
    return isinstance(kind, type) and isinstance(value, kind)


# Warnings are disabled for all threads: two threads that did so at the same time would leave them disabled.
_one_at_a_time: Final = RLock()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Disable warnings, in all threads: those of an import do not concern the cell that is being run."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Disable what libraries log below the level of a warning, while they do a short piece of our work.

    With `logging.basicConfig(level=DEBUG)`, which users call for their own code, some log each step of what they do.
    The user's levels are in force again afterwards.

    Parameters
    ----------
    *names : str
        The loggers of the libraries. What is logged in other threads meanwhile is disabled too.
    """
    if not any(logging.getLogger(name).isEnabledFor(logging.INFO) for name in names):
        yield
        return
    with _one_at_a_time:
        loggers = [logging.getLogger(name) for name in names]
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def import_quietly(name: str) -> ModuleType:
    """Import a module without warnings.

    Parameters
    ----------
    name : str
        The module's full name.

    Returns
    -------
    ModuleType

    Raises
    ------
    ImportError
        When the module is not found. Any other error that the module itself raises is not caught.
    """
    with no_warnings():
        return import_module(name)
