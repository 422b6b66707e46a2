"""Which cell runs, where to draw, and drawing: notebooks, terminals, widgets.

The only layer below the commands that knows IPython and ipywidgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .canvas import Canvas as Canvas, is_notebook as is_notebook
    from .comparison import ComparisonView as ComparisonView
    from .context import Scene as Scene
    from .execution import Cell as Cell
    from .last_error import LastError as LastError
    from .live import Painter as Painter, Progress as Progress, WaitingLine as WaitingLine
    from .picker import show_models as show_models

__getattr__ = lazy_exports(
    __name__,
    {
        "canvas": ("Canvas", "is_notebook"),
        "comparison": ("ComparisonView",),
        "context": ("Scene",),
        "execution": ("Cell",),
        "last_error": ("LastError",),
        "live": ("Painter", "Progress", "WaitingLine"),
        "picker": ("show_models",),
    },
)
