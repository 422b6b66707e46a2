"""What calls have cost, and what they still may: counts, prices, reservations, and the budget that kernels share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .budget import (
        Budget as Budget,
        BudgetPart as BudgetPart,
        Reservation as Reservation,
        unknown_price as unknown_price,
    )
    from .shared_spending import SharedSpending as SharedSpending
    from .usage import (
        NOTHING as NOTHING,
        USAGE_TYPES as USAGE_TYPES,
        Total as Total,
        UsageTracker as UsageTracker,
        usage_rows as usage_rows,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "budget": ("Budget", "BudgetPart", "Reservation", "unknown_price"),
        "shared_spending": ("SharedSpending",),
        "usage": ("NOTHING", "USAGE_TYPES", "Total", "UsageTracker", "usage_rows"),
    },
)
