"""Work beside the notebook: a map or an evaluation in the background, and on a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .background import (
        HERE as HERE,
        batch_job as batch_job,
        can_run_beside as can_run_beside,
        check_rows as check_rows,
    )
    from .cluster import dask_job as dask_job
    from .dask_frames import is_dask as is_dask, map_lazily as map_lazily, share_key as share_key
    from .job import Job as Job, Outcome as Outcome

__getattr__ = lazy_exports(
    __name__,
    {
        "background": ("HERE", "batch_job", "can_run_beside", "check_rows"),
        "cluster": ("dask_job",),
        "dask_frames": ("is_dask", "map_lazily", "share_key"),
        "job": ("Job", "Outcome"),
    },
)
