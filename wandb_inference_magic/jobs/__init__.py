"""Work beside the notebook: a map or an evaluation in the background, and on a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .background import batch_job, begun, check_rows, run_or_start, why_in_foreground
    from .cluster import dask_job
    from .dask_frames import is_dask, map_lazily, share_key
    from .job import Job, Outcome

__getattr__ = lazy_exports(__name__)
