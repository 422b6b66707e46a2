"""What is known about the models: the endpoint's list, the public feeds, prices, parameters.

A dated snapshot is the last resort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .feeds import read_listing as read_listing, read_modelsdev as read_modelsdev, snapshot as snapshot
    from .models import (
        Catalog as Catalog,
        Model as Model,
        Price as Price,
        check_model_id as check_model_id,
        context_words as context_words,
        join as join,
        price_words as price_words,
        reasoning_words as reasoning_words,
        rows as rows,
        usd as usd,
        usd_words as usd_words,
    )
    from .parameters import SAMPLING as SAMPLING, check_parameter as check_parameter
    from .thinking import THINK as THINK, thinking_parameters as thinking_parameters

__getattr__ = lazy_exports(
    __name__,
    {
        "feeds": ("read_listing", "read_modelsdev", "snapshot"),
        "models": (
            "Catalog",
            "Model",
            "Price",
            "check_model_id",
            "context_words",
            "join",
            "price_words",
            "reasoning_words",
            "rows",
            "usd",
            "usd_words",
        ),
        "parameters": ("SAMPLING", "check_parameter"),
        "thinking": ("THINK", "thinking_parameters"),
    },
)
