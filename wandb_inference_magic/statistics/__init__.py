"""What the scores of rows tell: shares, differences, intervals and tests, in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .clusters import SEED as SEED, bootstrap as bootstrap, share_interval as share_interval
    from .intervals import ALPHA as ALPHA, cohen_kappa as cohen_kappa, mcnemar as mcnemar
    from .verdict import (
        BOOTSTRAP as BOOTSTRAP,
        SHARE as SHARE,
        Comparison as Comparison,
        ScoreMeasure as ScoreMeasure,
        are_decided as are_decided,
        compare_all as compare_all,
        compare_pairs as compare_pairs,
        format_p as format_p,
        whole as whole,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "clusters": ("SEED", "bootstrap", "share_interval"),
        "intervals": ("ALPHA", "cohen_kappa", "mcnemar"),
        "verdict": (
            "BOOTSTRAP",
            "SHARE",
            "Comparison",
            "ScoreMeasure",
            "are_decided",
            "compare_all",
            "compare_pairs",
            "format_p",
            "whole",
        ),
    },
)
