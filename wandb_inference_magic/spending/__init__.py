"""What calls have cost, and what they still may: counts, prices, reservations, and the budget that kernels share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .budget import Budget, Reservation, unknown_price
    from .shared_spending import SharedSpending
    from .usage import NOTHING, USAGE_TYPES, Total, UsageTracker, usage_rows

__getattr__ = lazy_exports(__name__)
