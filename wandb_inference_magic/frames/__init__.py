"""A user's rows in, columns of answers out: pandas, polars, pyarrow and plain Python.

This includes whether two values mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .agreement import NO_VALUE as NO_VALUE, means_same as means_same, read_nested as read_nested
    from .columns import (
        ONLY as ONLY,
        Names as Names,
        TypedColumn as TypedColumn,
        column_of as column_of,
        json_text as json_text,
        plain as plain,
        plain_fields as plain_fields,
        reasons_column as reasons_column,
        result_columns as result_columns,
        schema_kinds as schema_kinds,
        typed_column as typed_column,
    )
    from .kinds import ANY as ANY, STRUCT as STRUCT, Kind as Kind
    from .names import WrittenColumns as WrittenColumns, name_columns as name_columns
    from .native_columns import pandas_array as pandas_array
    from .rows import (
        ListRows as ListRows,
        Row as Row,
        Rows as Rows,
        hidden_columns as hidden_columns,
        read_rows as read_rows,
        with_index as with_index,
        with_label as with_label,
        with_pandas_columns as with_pandas_columns,
        with_values as with_values,
        without_columns as without_columns,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "agreement": ("NO_VALUE", "means_same", "read_nested"),
        "columns": (
            "ONLY",
            "Names",
            "TypedColumn",
            "column_of",
            "json_text",
            "plain",
            "plain_fields",
            "reasons_column",
            "result_columns",
            "schema_kinds",
            "typed_column",
        ),
        "kinds": ("ANY", "STRUCT", "Kind"),
        "names": ("WrittenColumns", "name_columns"),
        "native_columns": ("pandas_array",),
        "rows": (
            "ListRows",
            "Row",
            "Rows",
            "hidden_columns",
            "read_rows",
            "with_index",
            "with_label",
            "with_pandas_columns",
            "with_values",
            "without_columns",
        ),
    },
)
