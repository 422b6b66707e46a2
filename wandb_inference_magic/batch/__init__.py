"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the cache of answers, and what is said while they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .cache import open_cache
    from .kept import Paid
    from .map import BatchResult, PreparedBatch, PreparedMap, PreparedRuns, RunsOutcome
    from .progress import (
        Counts,
        JobView,
        MapProgress,
        Progress,
        answers_bundle,
        cost_of,
        first_answers,
        longest_wait,
        names_of,
    )
    from .run import BatchRun
    from .run_results import RunResults, RunTotals
    from .spec import BatchSpec, Permits, RunPart
    from .start import Estimate, estimate_calls, likely_mistakes

__getattr__ = lazy_exports(__name__)
