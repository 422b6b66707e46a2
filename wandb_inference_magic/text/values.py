"""Values of libraries as Python's own: which are missing, what a proxy or a scalar stands for, sets in one order."""

from __future__ import annotations

from collections.abc import Set as AnySet
from contextlib import suppress
from decimal import Decimal
from numbers import Number
from typing import Any, Final

from ..imports import is_instance
from .figures import shortest_float

# The packages and the types of `pd.NA`, `pd.NaT` and `np.ma.masked`.
_MISSING: Final = frozenset((("pandas", "NAType"), ("pandas", "NaTType"), ("numpy", "MaskedConstant")))


def is_missing(value: object) -> bool:
    """Return whether a value says that there is none: None, NaN, NaT, `pd.NA` or a null of another library."""
    if value is None:
        return True
    kind = type(value)
    # These are asked most, in loops and in JSON.
    if kind in (str, int, bool, dict, list, tuple):
        return False
    if kind is float:
        return value != value
    if (kind.__module__.partition(".")[0], kind.__name__) in _MISSING:
        return True
    if kind.__name__.endswith("Scalar") and is_instance(value, "pyarrow.Scalar"):
        return not value.is_valid  # type: ignore[attr-defined]
    if isinstance(value, Decimal):
        return value.is_nan()
    is_scalar = hasattr(kind, "tolist") and getattr(value, "shape", None) == ()
    if is_scalar or isinstance(value, Number):
        # NaN and NaT differ from themselves.
        with suppress(Exception):
            return bool(value != value)
    return False


def python_of(scalar: Any) -> Any:
    """Return a scalar of pyarrow as a value of Python."""
    return shortest_float(scalar.as_py(), str(scalar.type))


def unwrapped(value: Any) -> Any:
    """Return the value that a proxy, as of wrapt, stands for: it has the class of that. Any other value is returned."""
    with suppress(Exception):
        return value.__wrapped__ if value.__class__ is not type(value) else value
    return value


def in_order(items: AnySet[Any]) -> list[Any]:
    """Return the items of a set in one order: Python's own differs in each process, and with it the prompt."""
    # `<` between sets says which is a part of the other, and a NaN is in no order.
    if not any(isinstance(one, AnySet) or is_missing(one) for one in items):
        with suppress(TypeError):
            return sorted(items)
    return sorted(items, key=_order)


def _order(item: Any) -> tuple[str, str]:
    return type(item).__name__, repr(in_order(item) if isinstance(item, AnySet) else item)
