"""What the scores of rows tell: shares, differences, intervals and tests, in plain Python.

An evaluation needs all modules, so they are not imported lazily.
"""

from __future__ import annotations

from .clusters import SEED as SEED, bootstrap as bootstrap, share_interval as share_interval
from .intervals import ALPHA as ALPHA, cohen_kappa as cohen_kappa, mcnemar as mcnemar
from .verdict import (
    BOOTSTRAP as BOOTSTRAP,
    SHARE as SHARE,
    Comparison as Comparison,
    ScoreMeasure as ScoreMeasure,
    are_decided as are_decided,
    compare_pairs as compare_pairs,
    format_p as format_p,
    paired as paired,
    whole as whole,
)
