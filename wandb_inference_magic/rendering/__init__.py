"""Render replies, tables, comparisons, charts and threads as MIME bundles and files.

This package does not depend on a front end. All its output is made safe by `markup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .chart import Measure as Measure, chart_bundle as chart_bundle
    from .reply import (
        BLANK as BLANK,
        MARKDOWN as MARKDOWN,
        PLAIN as PLAIN,
        ending as ending,
        format_tool_call as format_tool_call,
        lines_below as lines_below,
        reply_bundle as reply_bundle,
        reply_parts as reply_parts,
        reply_plain as reply_plain,
        reply_text as reply_text,
        status_markdown as status_markdown,
        step_markdown as step_markdown,
        thinking_markdown as thinking_markdown,
        thought as thought,
        thought_parts as thought_parts,
        why_empty as why_empty,
        why_flawed as why_flawed,
    )
    from .side_by_side import Column as Column, side_by_side_bundle as side_by_side_bundle
    from .tables import line_bundle as line_bundle, table_bundle as table_bundle
    from .turn_parts import thread_parts as thread_parts

__getattr__ = lazy_exports(
    __name__,
    {
        "chart": ("Measure", "chart_bundle"),
        "reply": (
            "BLANK",
            "MARKDOWN",
            "PLAIN",
            "ending",
            "format_tool_call",
            "lines_below",
            "reply_bundle",
            "reply_parts",
            "reply_plain",
            "reply_text",
            "status_markdown",
            "step_markdown",
            "thinking_markdown",
            "thought",
            "thought_parts",
            "why_empty",
            "why_flawed",
        ),
        "side_by_side": ("Column", "side_by_side_bundle"),
        "tables": ("line_bundle", "table_bundle"),
        "turn_parts": ("thread_parts",),
    },
)
