"""Render replies, tables, comparisons, charts and threads as MIME bundles and files.

This package does not depend on a front end. All its output is made safe by `markup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .chart import Measure, chart_bundle
    from .reply import (
        BLANK,
        MARKDOWN,
        PLAIN,
        ending,
        format_tool_call,
        lines_below,
        name_of_model,
        reply_bundle,
        reply_parts,
        reply_text,
        status_markdown,
        step_markdown,
        thinking_markdown,
        thought,
        thought_parts,
        why_empty,
        why_flawed,
    )
    from .side_by_side import Column, side_by_side_bundle
    from .tables import line_bundle, table_bundle
    from .turn_parts import thread_parts

__getattr__ = lazy_exports(__name__)
