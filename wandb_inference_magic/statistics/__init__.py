"""What the scores of rows tell: shares, differences, intervals and tests, in plain Python.

An evaluation needs all modules, so they are not imported lazily.
"""

from __future__ import annotations

from .clusters import SEED, bootstrap, share_interval
from .intervals import ALPHA, cohen_kappa, mcnemar
from .verdict import BOOTSTRAP, SHARE, Comparison, ScoreMeasure, are_decided, compare_pairs, format_p, paired, whole
