"""Schemas of answers, checks of answers against them, and functions as tools.

A type, a short form or a JSON schema becomes a schema. An answer that fits it becomes an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .schema import (
        Mismatch as Mismatch,
        Schema as Schema,
        ValidatorError as ValidatorError,
        read_schema as read_schema,
        schema_of as schema_of,
    )
    from .tools import ResultText as ResultText, Toolbox as Toolbox, read_tools as read_tools, toolbox_of as toolbox_of

__getattr__ = lazy_exports(
    __name__,
    {
        "schema": ("Mismatch", "Schema", "ValidatorError", "read_schema", "schema_of"),
        "tools": ("ResultText", "Toolbox", "read_tools", "toolbox_of"),
    },
)
