"""Find the running cell and draw in notebooks, terminals and widgets.

This is the only layer below the commands that uses IPython and ipywidgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .canvas import Canvas as Canvas, is_notebook as is_notebook
    from .comparison import ComparisonView as ComparisonView, describe_progress as describe_progress
    from .context import MagicContext as MagicContext, names_in_scope as names_in_scope
    from .execution import ExecutionInfo as ExecutionInfo
    from .job_view import ShownJob as ShownJob, show_job as show_job
    from .last_error import LastError as LastError
    from .live import (
        LiveUpdater as LiveUpdater,
        Spinner as Spinner,
        cleared_on_error as cleared_on_error,
        describe_wait as describe_wait,
        shown_whole as shown_whole,
    )
    from .picker import show_models as show_models
    from .review import review_bundle as review_bundle
    from .user_output import UserOutput as UserOutput

__getattr__ = lazy_exports(
    __name__,
    {
        "canvas": ("Canvas", "is_notebook"),
        "comparison": ("ComparisonView", "describe_progress"),
        "context": ("MagicContext", "names_in_scope"),
        "execution": ("ExecutionInfo",),
        "job_view": ("ShownJob", "show_job"),
        "last_error": ("LastError",),
        "live": ("LiveUpdater", "Spinner", "cleared_on_error", "describe_wait", "shown_whole"),
        "picker": ("show_models",),
        "review": ("review_bundle",),
        "user_output": ("UserOutput",),
    },
)
