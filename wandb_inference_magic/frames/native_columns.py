"""Columns of answers as pandas, polars and pyarrow have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ..errors import quoted, users_failures
from . import kinds

if TYPE_CHECKING:
    from .columns import TypedColumn
    from .kinds import Kind

_LIBRARIES: Final = ("polars", "pyarrow")
# The constructors of the types in these libraries, with their arguments; those of nested types have types in them.
_TYPES: Final[dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    kinds.BOOLEAN: (("Boolean",), ("bool_",)),
    **dict.fromkeys((kinds.INT53, kinds.INT64), (("Int64",), ("int64",))),
    kinds.FLOAT: (("Float64",), ("float64",)),
    kinds.DECIMAL: (("Decimal", 38, kinds.SCALE), ("decimal128", 38, kinds.SCALE)),
    **dict.fromkeys((kinds.STRING, kinds.TEXT, kinds.JSON), (("String",), ("string",))),
    kinds.DATE: (("Date",), ("date32",)),
    kinds.TIME: (("Time",), ("time64", "us")),
    kinds.TIMESTAMP: (("Datetime", "us"), ("timestamp", "us")),
    kinds.TIMESTAMP_UTC: (("Datetime", "us", "UTC"), ("timestamp", "us", "UTC")),
    kinds.DURATION: (("Duration", "us"), ("duration", "us")),
    kinds.STRUCT: (("Struct",), ("struct",)),
    kinds.LIST: (("List",), ("list_",)),
}
# The types that pandas has for them; all others are objects, besides numbers with a fraction and texts.
_PANDAS: Final = {
    kinds.BOOLEAN: "boolean",
    **dict.fromkeys((kinds.INT53, kinds.INT64), "Int64"),
    kinds.TIMESTAMP: "datetime64[us]",
    kinds.TIMESTAMP_UTC: "datetime64[us, UTC]",
    kinds.DURATION: "timedelta64[us]",
}


def built(columns: Mapping[str, TypedColumn], build: Callable[[TypedColumn], Any]) -> tuple[dict[str, Any], list[str]]:
    """Return columns built by a function, and notices about those that the library takes only as JSON text."""
    made: dict[str, Any] = {}
    notices = []
    for name, column in columns.items():
        try:
            made[name] = build(column)
        except users_failures() as error:  # Answers that are paid for are not lost to a library's limits.
            made[name] = build(column.in_json())
            notices.append(f"The column {name!r} is JSON text, because it cannot be built: {quoted(str(error))}.")
    return made, notices


def _native_type(kind: Kind, library: ModuleType) -> Any:
    """Return the type that polars or pyarrow has for the values of a column."""
    name, *arguments = _TYPES[kind.name][_LIBRARIES.index(library.__name__)]
    if kind.name == kinds.STRUCT:
        arguments = [{field: _native_type(one, library) for field, one in kind.fields.items()}]
    elif kind.name == kinds.LIST and kind.item is not None:
        arguments = [_native_type(kind.item, library)]
    return getattr(library, name)(*arguments)


def polars_series(column: TypedColumn) -> Any:
    """Return a column as a Series of polars."""
    import polars as pl

    return pl.Series(column.values, dtype=_native_type(column.kind, pl))


def arrow_array(column: TypedColumn) -> Any:
    """Return a column as an array of pyarrow, in one chunk."""
    import pyarrow as pa

    return pa.chunked_array([pa.array(column.values, type=_native_type(column.kind, pa))])


def pandas_array(column: TypedColumn) -> Any:
    """Return a column as an array of pandas; dates, decimals, structs and lists are objects in it."""
    import numpy as np
    import pandas as pd

    values = column.values
    if column.kind.name == kinds.FLOAT:
        is_missing = np.array([value is None for value in values], dtype=bool)
        held = np.array([0.0 if value is None else value for value in values], dtype="float64")
        # The class keeps a NaN that was answered apart from a missing answer.
        return pd.arrays.FloatingArray(held, is_missing)
    is_text = column.kind.name in (kinds.STRING, kinds.TEXT, kinds.JSON)
    dtype = pd.Series(["a"]).dtype if is_text else _PANDAS.get(column.kind.name, object)
    return pd.Series(values, dtype=dtype).array
