"""Importing what others wrote, without what their modules warn of."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

# Warnings are switched off for all threads: two that did it side by side would leave them off.
_one_at_a_time: Final = RLock()


def import_quietly(name: str) -> ModuleType:
    """Import a module; what it and those behind it warn of meanwhile says nothing of the cell that is being run.

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
        When it is not there; whatever else the module itself raises.
    """
    if name in sys.modules:
        return import_module(name)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)
