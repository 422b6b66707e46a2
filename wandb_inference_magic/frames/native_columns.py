"""Columns of answers as pandas, polars and pyarrow have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import quoted
from .kinds import (
    BOOLEAN,
    DATE,
    DATETIME,
    DECIMAL,
    DURATION,
    FLOAT,
    INTEGER,
    JSON,
    LIST,
    LONG,
    SCALE,
    STRING,
    STRUCT,
    TEXT,
    TIME,
    ZONED,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .columns import TypedColumn
    from .kinds import Kind

# The constructors of the types, with their arguments: those of polars and those of pyarrow.
_POLARS: Final[dict[str, tuple[Any, ...]]] = {
    BOOLEAN: ("Boolean",),
    INTEGER: ("Int64",),
    LONG: ("Int64",),
    FLOAT: ("Float64",),
    DECIMAL: ("Decimal", 38, SCALE),
    STRING: ("String",),
    TEXT: ("String",),
    JSON: ("String",),
    DATE: ("Date",),
    TIME: ("Time",),
    DATETIME: ("Datetime", "us"),
    ZONED: ("Datetime", "us", "UTC"),
    DURATION: ("Duration", "us"),
}
_ARROW: Final[dict[str, tuple[Any, ...]]] = {
    BOOLEAN: ("bool_",),
    INTEGER: ("int64",),
    LONG: ("int64",),
    FLOAT: ("float64",),
    DECIMAL: ("decimal128", 38, SCALE),
    STRING: ("string",),
    TEXT: ("string",),
    JSON: ("string",),
    DATE: ("date32",),
    TIME: ("time64", "us"),
    DATETIME: ("timestamp", "us"),
    ZONED: ("timestamp", "us", "UTC"),
    DURATION: ("duration", "us"),
}
# The arrays of pandas that hold missing values beside numbers, and the types of NumPy in them.
_ARRAYS: Final = {
    BOOLEAN: ("BooleanArray", "bool"),
    INTEGER: ("IntegerArray", "int64"),
    LONG: ("IntegerArray", "int64"),
    FLOAT: ("FloatingArray", "float64"),
}
_PANDAS: Final = {DATETIME: "datetime64[us]", ZONED: "datetime64[us, UTC]", DURATION: "timedelta64[us]"}


def built(columns: Mapping[str, TypedColumn], build: Callable[[TypedColumn], Any]) -> tuple[dict[str, Any], list[str]]:
    """Return columns built by a function, and notices about those that the library takes only as JSON text."""
    made: dict[str, Any] = {}
    notices = []
    for name, column in columns.items():
        try:
            made[name] = build(column)
        except Exception as error:  # noqa: BLE001 - answers that are paid for are not lost to a library's limits
            made[name] = build(column.in_json())
            notices.append(f"The column {name!r} is JSON text, because it cannot be built: {quoted(str(error))}.")
    return made, notices


def polars_type(kind: Kind) -> Any:
    """Return the type of polars for the values of a column."""
    import polars as pl

    if kind.name == STRUCT:
        return pl.Struct({name: polars_type(one) for name, one in kind.fields.items()})
    if kind.name == LIST and kind.item is not None:
        return pl.List(polars_type(kind.item))
    name, *arguments = _POLARS[kind.name]
    return getattr(pl, name)(*arguments)


def arrow_type(kind: Kind) -> Any:
    """Return the type of pyarrow for the values of a column."""
    import pyarrow as pa

    if kind.name == STRUCT:
        return pa.struct([(name, arrow_type(one)) for name, one in kind.fields.items()])
    if kind.name == LIST and kind.item is not None:
        return pa.list_(arrow_type(kind.item))
    name, *arguments = _ARROW[kind.name]
    return getattr(pa, name)(*arguments)


def polars_series(column: TypedColumn) -> Any:
    """Return a column as a Series of polars."""
    import polars as pl

    return pl.Series(column.values, dtype=polars_type(column.kind))


def arrow_array(column: TypedColumn) -> Any:
    """Return a column as an array of pyarrow."""
    import pyarrow as pa

    return pa.array(column.values, type=arrow_type(column.kind))


def pandas_array(column: TypedColumn) -> Any:
    """Return a column as an array of pandas; dates, decimals, structs and lists are objects in it."""
    import numpy as np
    import pandas as pd

    values = column.values
    if column.kind.name not in _ARRAYS:
        dtype = (
            pd.Series(["a"]).dtype
            if column.kind.name in (STRING, TEXT, JSON)
            else _PANDAS.get(column.kind.name, object)
        )
        return pd.Series(values, dtype=dtype).array
    array, numpy_type = _ARRAYS[column.kind.name]
    is_missing = np.array([value is None for value in values], dtype=bool)
    held = np.array([0 if value is None else value for value in values], dtype=numpy_type)
    # The class keeps a NaN that was answered apart from a missing answer.
    return getattr(pd.arrays, array)(held, is_missing)
