"""Schemas of answers, checks of answers against them, and functions as tools.

A type, a short form or a JSON schema becomes a schema. An answer that fits it becomes an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .json_schema import VALIDATED, target
    from .plain import plain_schema
    from .schema import Mismatch, Schema, ValidatorError, read_schema, schema_of
    from .tools import ResultText, Toolbox, read_tools, toolbox_of

__getattr__ = lazy_exports(__name__)
