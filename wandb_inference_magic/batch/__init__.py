"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the limit on requests in flight, the cache of answers, Dask support and the evaluation against known
answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .dask_frames import is_dask as is_dask, map_lazily as map_lazily, share_key as share_key
    from .map import Mapped as Mapped, run_map as run_map
    from .progress import (
        MapProgress as MapProgress,
        answers_bundle as answers_bundle,
        cost_of as cost_of,
        first_answers as first_answers,
    )
    from .rows import read_rows as read_rows
    from .run import BatchRun as BatchRun
    from .spec import BatchSpec as BatchSpec

__getattr__ = lazy_exports(
    __name__,
    {
        "dask_frames": ("is_dask", "map_lazily", "share_key"),
        "map": ("Mapped", "run_map"),
        "progress": ("MapProgress", "answers_bundle", "cost_of", "first_answers"),
        "rows": ("read_rows",),
        "run": ("BatchRun",),
        "spec": ("BatchSpec",),
    },
)
