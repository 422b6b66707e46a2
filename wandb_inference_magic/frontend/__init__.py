"""Find the running cell and draw in notebooks, terminals and widgets.

This is the only layer below the commands that uses IPython and ipywidgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .canvas import Canvas as Canvas, is_notebook as is_notebook
    from .comparison import ComparisonView as ComparisonView
    from .context import MagicContext as MagicContext
    from .execution import ExecutionInfo as ExecutionInfo
    from .last_error import LastError as LastError
    from .live import LiveUpdater as LiveUpdater, Spinner as Spinner, describe_wait as describe_wait
    from .picker import show_models as show_models

__getattr__ = lazy_exports(
    __name__,
    {
        "canvas": ("Canvas", "is_notebook"),
        "comparison": ("ComparisonView",),
        "context": ("MagicContext",),
        "execution": ("ExecutionInfo",),
        "last_error": ("LastError",),
        "live": ("LiveUpdater", "Spinner", "describe_wait"),
        "picker": ("show_models",),
    },
)
