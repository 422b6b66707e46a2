"""What is known about the models: the endpoint's list, the public feeds, prices, parameters.

A dated snapshot is the last resort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .feeds import read_listing as read_listing, read_modelsdev as read_modelsdev, snapshot as snapshot
    from .ids import SORTS as SORTS, check_model_id as check_model_id, read_tokens as read_tokens
    from .models import (
        ROW_TYPES as ROW_TYPES,
        Catalog as Catalog,
        Model as Model,
        Price as Price,
        describe_cost as describe_cost,
        describe_flag as describe_flag,
        describe_reasoning as describe_reasoning,
        format_context as format_context,
        format_price as format_price,
        format_short as format_short,
        join as join,
        price_to_sort_by as price_to_sort_by,
        rows as rows,
        searched_texts as searched_texts,
        usd as usd,
    )
    from .parameters import SAMPLING as SAMPLING, check_parameter as check_parameter
    from .thinking import THINK as THINK, thinking_parameters as thinking_parameters

__getattr__ = lazy_exports(
    __name__,
    {
        "feeds": ("read_listing", "read_modelsdev", "snapshot"),
        "ids": ("SORTS", "check_model_id", "read_tokens"),
        "models": (
            "ROW_TYPES",
            "Catalog",
            "Model",
            "Price",
            "describe_cost",
            "format_context",
            "join",
            "format_price",
            "describe_flag",
            "describe_reasoning",
            "format_short",
            "price_to_sort_by",
            "searched_texts",
            "rows",
            "usd",
        ),
        "parameters": ("SAMPLING", "check_parameter"),
        "thinking": ("THINK", "thinking_parameters"),
    },
)
