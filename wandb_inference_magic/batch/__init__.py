"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the cache of answers, and what is said while they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .cache import open_cache as open_cache
    from .map import (
        BatchResult as BatchResult,
        PreparedBatch as PreparedBatch,
        PreparedMap as PreparedMap,
        PreparedRuns as PreparedRuns,
        Ran as Ran,
    )
    from .progress import (
        Counts as Counts,
        JobView as JobView,
        MapProgress as MapProgress,
        Progress as Progress,
        answers_bundle as answers_bundle,
        cost_of as cost_of,
        first_answers as first_answers,
        longest_wait as longest_wait,
    )
    from .run import BatchRun as BatchRun
    from .run_results import RunTotals as RunTotals
    from .spec import BatchSpec as BatchSpec, Permits as Permits, RunPart as RunPart
    from .start import (
        Estimate as Estimate,
        estimate_calls as estimate_calls,
        likely_mistakes as likely_mistakes,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "cache": ("open_cache",),
        "map": ("BatchResult", "PreparedBatch", "PreparedMap", "PreparedRuns", "Ran"),
        "progress": (
            "Counts",
            "JobView",
            "MapProgress",
            "Progress",
            "answers_bundle",
            "cost_of",
            "first_answers",
            "longest_wait",
        ),
        "run": ("BatchRun",),
        "run_results": ("RunTotals",),
        "spec": ("BatchSpec", "Permits", "RunPart"),
        "start": ("Estimate", "estimate_calls", "likely_mistakes"),
    },
)
