"""Find the running cell, and draw in notebooks and terminals.

With `widgets`, the only layer below the commands that uses IPython.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .canvas import Canvas as Canvas, is_notebook as is_notebook
    from .comparison import ComparisonView as ComparisonView, describe_progress as describe_progress
    from .context import MagicContext as MagicContext, names_in_scope as names_in_scope
    from .execution import ExecutionInfo as ExecutionInfo
    from .last_error import LastError as LastError
    from .live import (
        LiveUpdater as LiveUpdater,
        Spinner as Spinner,
        cleared_on_error as cleared_on_error,
        describe_wait as describe_wait,
        shown_whole as shown_whole,
    )
    from .output_widget import (
        WIDGET as WIDGET,
        RedrawnOutput as RedrawnOutput,
        takes_output as takes_output,
        widget_view as widget_view,
    )
    from .user_output import UserOutput as UserOutput

__getattr__ = lazy_exports(
    __name__,
    {
        "canvas": ("Canvas", "is_notebook"),
        "comparison": ("ComparisonView", "describe_progress"),
        "context": ("MagicContext", "names_in_scope"),
        "execution": ("ExecutionInfo",),
        "last_error": ("LastError",),
        "live": ("LiveUpdater", "Spinner", "cleared_on_error", "describe_wait", "shown_whole"),
        "output_widget": ("WIDGET", "RedrawnOutput", "takes_output", "widget_view"),
        "user_output": ("UserOutput",),
    },
)
