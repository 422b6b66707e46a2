"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the limit on requests in flight, the cache of answers, Dask support and whether two values mean the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .agreement import NO_VALUE as NO_VALUE, means_same as means_same
    from .background import (
        HERE as HERE,
        batch_job as batch_job,
        can_run_beside as can_run_beside,
        check_rows as check_rows,
    )
    from .cache import open_cache as open_cache
    from .columns import (
        ONLY as ONLY,
        TypedColumn as TypedColumn,
        column_of as column_of,
        json_text as json_text,
        plain as plain,
        schema_kinds as schema_kinds,
    )
    from .dask_frames import dask_job as dask_job, is_dask as is_dask, map_lazily as map_lazily, share_key as share_key
    from .job import Job as Job, Outcome as Outcome
    from .kinds import ANY as ANY, STRUCT as STRUCT, Kind as Kind
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
    from .rows import (
        ListRows as ListRows,
        Row as Row,
        Rows as Rows,
        read_rows as read_rows,
        with_label as with_label,
        with_pandas_columns as with_pandas_columns,
        with_value as with_value,
    )
    from .run import BatchRun as BatchRun
    from .spec import BatchSpec as BatchSpec, check_count as check_count
    from .start import estimate as estimate, start_dry as start_dry

__getattr__ = lazy_exports(
    __name__,
    {
        "agreement": ("NO_VALUE", "means_same"),
        "background": ("HERE", "batch_job", "can_run_beside", "check_rows"),
        "cache": ("open_cache",),
        "columns": ("ONLY", "TypedColumn", "column_of", "json_text", "plain", "schema_kinds"),
        "dask_frames": ("dask_job", "is_dask", "map_lazily", "share_key"),
        "job": ("Job", "Outcome"),
        "kinds": ("ANY", "STRUCT", "Kind"),
        "map": ("BatchResult", "PreparedBatch", "PreparedMap", "PreparedRuns", "Ran", "report_names"),
        "progress": ("Counts", "MapProgress", "Progress", "answers_bundle", "cost_of", "first_answers"),
        "rows": ("ListRows", "Row", "Rows", "read_rows", "with_label", "with_pandas_columns", "with_value"),
        "run": ("BatchRun",),
        "spec": ("BatchSpec", "check_count"),
        "start": ("estimate", "start_dry"),
    },
)
