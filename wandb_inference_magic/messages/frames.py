"""Rows as a pandas DataFrame, if pandas is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame.

    Raises
    ------
    InferenceError
        When pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise InferenceError(
            "A DataFrame needs pandas, which is not installed.",
            remedy="Run: pip install pandas",
            cause="missing",
        ) from None
    return pd.DataFrame(rows)
