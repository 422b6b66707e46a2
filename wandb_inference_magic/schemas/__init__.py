"""What an answer must look like, and whether it does; functions as tools.

From a type, a short form or a JSON schema to the objects that answers stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .schema import Mismatch as Mismatch, Schema as Schema, read_schema as read_schema, schema_of as schema_of
    from .tools import Toolbox as Toolbox, read_tools as read_tools, toolbox_of as toolbox_of

__getattr__ = lazy_exports(
    __name__,
    {
        "schema": ("Mismatch", "Schema", "read_schema", "schema_of"),
        "tools": ("Toolbox", "read_tools", "toolbox_of"),
    },
)
