"""Describe a numpy array to a model: shape, type, a summary of its numbers, and a limited number of values."""

from __future__ import annotations

from typing import Any, Final

from .frames import MOST_COUNTED

MOST_VALUES: Final = 100
WIDTH: Final = 120
MOST_DIMENSIONS: Final = 3
LONGEST: Final = 5000


def describe_array(array: Any) -> str:
    """Describe a numpy array of any shape and type."""
    import numpy as np

    if array.ndim == 0:
        return str(array)
    # With many dimensions, three values at each end of each dimension are still too many.
    ends = 3 if array.ndim <= MOST_DIMENSIONS else 1
    with np.printoptions(threshold=MOST_VALUES, edgeitems=ends, linewidth=WIDTH):
        shown = str(array if array.ndim <= 2 * MOST_DIMENSIONS else array.reshape(-1))
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]} [...]"
    return f"array of shape {array.shape}, {array.dtype}{_summary(array)}\n{shown}"


def _summary(array: Any) -> str:
    import numpy as np

    # The summary copies the array.
    if not 0 < array.size <= MOST_COUNTED or array.dtype.kind not in "biuf":
        return ""
    values = np.ma.masked_invalid(array) if array.dtype.kind == "f" else np.ma.asarray(array)
    left_out = int(array.size - values.count())
    if left_out == array.size:
        return "; no number in it"
    parts = f"; min {values.min():.6g}, mean {values.mean(dtype=float):.6g}, max {values.max():.6g}"
    return f"{parts}; {left_out:,} not finite or masked" if left_out else parts
