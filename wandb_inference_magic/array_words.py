"""A numpy array as a model reads it: shape, type, a summary of its numbers, and a bounded number of values."""

from __future__ import annotations

from typing import Any, Final

MOST_VALUES: Final = 100
WIDTH: Final = 120


def describe_array(array: Any) -> str:
    """Describe a numpy array of any shape and type."""
    import numpy as np

    if array.ndim == 0:
        return str(array)
    with np.printoptions(threshold=MOST_VALUES, edgeitems=3, linewidth=WIDTH):
        return f"array of shape {array.shape}, {array.dtype}{_summary(array)}\n{array}"


def _summary(array: Any) -> str:
    import numpy as np

    if not array.size or array.dtype.kind not in "biuf":
        return ""
    values = np.ma.masked_invalid(array) if array.dtype.kind == "f" else np.ma.asarray(array)
    left_out = int(array.size - values.count())
    if left_out == array.size:
        return "; no number in it"
    parts = f"; min {values.min():.6g}, mean {values.mean(dtype=float):.6g}, max {values.max():.6g}"
    return f"{parts}; {left_out:,} not finite or masked" if left_out else parts
