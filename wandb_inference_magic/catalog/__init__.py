"""What is known about the models: the endpoint's list, the public feeds, prices, parameters.

A dated snapshot is the last resort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .feeds import read_listing, read_modelsdev, snapshot
    from .ids import SORTS, check_model_id, names_several, read_tokens
    from .models import (
        ROW_TYPES,
        Catalog,
        Model,
        Price,
        describe_cost,
        describe_flag,
        describe_reasoning,
        format_context,
        format_price,
        format_short,
        join,
        price_to_sort_by,
        rows,
        searched_texts,
        usd,
        usd_apart,
    )
    from .parameters import SAMPLING, check_parameter
    from .thinking import THINK, thinking_parameters

__getattr__ = lazy_exports(__name__)
