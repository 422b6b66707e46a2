"""Importing what others wrote, without what their modules warn of."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


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
        # Warnings are switched off for all threads, and calls that are made side by side would leave them off.
        return import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)
