"""What each magic does, in one module per magic.

These modules connect the engine, which reports progress, to the front end, which draws it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .config import configure as configure
    from .map import run_map_magic as run_map_magic
    from .threads import manage as manage
    from .usage import show_usage as show_usage

__getattr__ = lazy_exports(
    __name__,
    {
        "config": ("configure",),
        "map": ("run_map_magic",),
        "threads": ("manage",),
        "usage": ("show_usage",),
    },
)
