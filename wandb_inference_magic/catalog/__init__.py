"""What is known about the models: the endpoint's list, the public feeds, prices, parameters.

A dated snapshot is the last resort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .feeds import read_listing as read_listing, read_modelsdev as read_modelsdev, snapshot as snapshot
    from .ids import check_model_id as check_model_id
    from .models import (
        Catalog as Catalog,
        Model as Model,
        Price as Price,
        describe_reasoning as describe_reasoning,
        format_context as format_context,
        format_price as format_price,
        join as join,
        rows as rows,
        usd as usd,
    )
    from .parameters import SAMPLING as SAMPLING, check_parameter as check_parameter
    from .thinking import THINK as THINK, thinking_parameters as thinking_parameters

__getattr__ = lazy_exports(
    __name__,
    {
        "feeds": ("read_listing", "read_modelsdev", "snapshot"),
        "ids": ("check_model_id",),
        "models": (
            "Catalog",
            "Model",
            "Price",
            "format_context",
            "join",
            "format_price",
            "describe_reasoning",
            "rows",
            "usd",
        ),
        "parameters": ("SAMPLING", "check_parameter"),
        "thinking": ("THINK", "thinking_parameters"),
    },
)
