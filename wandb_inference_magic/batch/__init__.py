"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the limit on requests in flight, the cache of answers, Dask support and whether two values mean the same.
"""

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
    from .cache import open_cache as open_cache
    from .dask_frames import dask_job as dask_job, is_dask as is_dask, map_lazily as map_lazily, share_key as share_key
    from .job import Job as Job, Outcome as Outcome
    from .map import (
        BatchResult as BatchResult,
        PreparedBatch as PreparedBatch,
        PreparedMap as PreparedMap,
        PreparedRuns as PreparedRuns,
        Ran as Ran,
        report_names as report_names,
    )
    from .progress import (
        Counts as Counts,
        MapProgress as MapProgress,
        Progress as Progress,
        answers_bundle as answers_bundle,
        cost_of as cost_of,
        first_answers as first_answers,
    )
    from .run import BatchRun as BatchRun
    from .spec import BatchSpec as BatchSpec, check_count as check_count
    from .start import estimate as estimate, start_dry as start_dry

__getattr__ = lazy_exports(
    __name__,
    {
        "background": ("HERE", "batch_job", "can_run_beside", "check_rows"),
        "cache": ("open_cache",),
        "dask_frames": ("dask_job", "is_dask", "map_lazily", "share_key"),
        "job": ("Job", "Outcome"),
        "map": ("BatchResult", "PreparedBatch", "PreparedMap", "PreparedRuns", "Ran", "report_names"),
        "progress": ("Counts", "MapProgress", "Progress", "answers_bundle", "cost_of", "first_answers"),
        "run": ("BatchRun",),
        "spec": ("BatchSpec", "check_count"),
        "start": ("estimate", "start_dry"),
    },
)
