"""Run a prompt over many rows: one prompt per row, with the answers returned as columns.

This includes the limit on requests in flight, the cache of answers, Dask support and the evaluation against known
answers.
"""

from .cache import open_cache as open_cache
from .dask_frames import is_dask as is_dask, map_lazily as map_lazily, share_key as share_key
from .map import Mapped as Mapped, report_names as report_names, run_map as run_map
from .progress import (
    MapProgress as MapProgress,
    answers_bundle as answers_bundle,
    cost_of as cost_of,
    first_answers as first_answers,
)
from .rows import read_rows as read_rows
from .run import BatchRun as BatchRun
from .spec import BatchSpec as BatchSpec, check_count as check_count
from .start import estimate as estimate, start_dry as start_dry
