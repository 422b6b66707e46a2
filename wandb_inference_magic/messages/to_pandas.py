"""Rows as a pandas DataFrame, if pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..concurrency import without_forks
from ..errors import InferenceError, describe_exception, quoted
from ..libraries import unusable_library
from ..text import without_surrogates


def data_frame(
    rows: Sequence[Mapping[str, Any]], columns: list[str] | None = None, types: Mapping[str, str] | None = None
) -> Any:
    """Return rows as a pandas DataFrame.

    Whole numbers that no float holds stay whole beside missing ones. Halves of characters are replaced: columns of text
    and messages to a front end are UTF-8.

    Parameters
    ----------
    rows : sequence of mapping
    columns : list of str, optional
        The names of the columns, for a frame that may have no rows.
    types : mapping, optional
        The types of columns, as pandas names them. Without one the values decide: a column without any is an object.

    Raises
    ------
    InferenceError
        When pandas is not installed, or cannot be imported.
    """
    try:
        # A child process that is forked while a job imports it would wait for ever for the import to end.
        with without_forks():
            import pandas as pd

        make = pd.DataFrame
    except Exception as error:  # noqa: BLE001 - an old pandas beside a new NumPy raises ValueError, for example
        is_missing = isinstance(error, ImportError | AttributeError)
        raise unusable_library(error) or InferenceError(
            f"A DataFrame needs pandas, which {'is not installed' if is_missing else 'cannot be imported'}.",
            why="" if is_missing else f"It says: {quoted(describe_exception(error))}.",
            remedy=f"Run: pip install {'' if is_missing else '--upgrade '}pandas",
            cause="missing",
        ) from None
    rows = [{_whole(name): _whole(one) for name, one in row.items()} for row in rows]
    frame = make(rows, columns=columns)
    for name in [name for name, kind in frame.dtypes.items() if kind.kind == "f"]:
        values = [row.get(name) for row in rows]
        if _are_whole(values):
            frame[name] = pd.array(values, dtype="Int64")
    return frame.astype(types or {})


def _whole(value: Any) -> Any:
    return without_surrogates(value) if isinstance(value, str) else value


def _are_whole(values: Sequence[Any]) -> bool:
    """Return whether values are whole numbers and missing ones, and a float would change one of the numbers."""
    numbers = [value for value in values if value is not None]
    is_whole = all(isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**63 for one in numbers)
    return is_whole and any(abs(one) > 2**53 for one in numbers)
