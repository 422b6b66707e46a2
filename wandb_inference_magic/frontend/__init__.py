"""Find the running cell, and draw in notebooks and terminals.

With `widgets`, the only layer below the commands that uses IPython.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .canvas import Canvas, has_no_colours, is_notebook
    from .comparison import ComparisonView, describe_progress
    from .context import MagicContext, is_shown_by_ipython, names_in_scope
    from .execution import ExecutionInfo
    from .last_error import LastError
    from .live import LiveUpdater, Spinner
    from .output_widget import WIDGET, RedrawnOutput, takes_output, widget_view
    from .user_output import UserOutput

__getattr__ = lazy_exports(__name__)
