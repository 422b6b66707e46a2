"""Find the running cell and draw in notebooks, terminals and widgets.

This is the only layer below the commands that uses IPython and ipywidgets.
"""

from .canvas import Canvas as Canvas, is_notebook as is_notebook
from .comparison import ComparisonView as ComparisonView
from .context import MagicContext as MagicContext, names_in_scope as names_in_scope
from .execution import ExecutionInfo as ExecutionInfo
from .last_error import LastError as LastError
from .live import (
    LiveUpdater as LiveUpdater,
    Spinner as Spinner,
    cleared_on_error as cleared_on_error,
    describe_wait as describe_wait,
)
from .picker import show_models as show_models
