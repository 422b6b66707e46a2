"""The IPython side: loading and unloading, the magics, Tab completion.

Each magic parses its line and calls its module in `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .extension import load as load, unload as unload

__getattr__ = lazy_exports(
    __name__,
    {
        "extension": ("load", "unload"),
    },
)
