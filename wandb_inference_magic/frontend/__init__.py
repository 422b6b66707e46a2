"""Find the running cell, and draw in notebooks and terminals.

With `widgets`, the only layer below the commands that uses IPython.
"""

from __future__ import annotations

from .canvas import Canvas as Canvas, is_notebook as is_notebook
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
