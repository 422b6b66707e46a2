"""A user's rows in, columns of answers out: pandas, polars, pyarrow and plain Python.

This includes whether two values mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .agreement import NO_VALUE, are_yes_and_no, can_mean, means_same, number_of, read_nested
    from .columns import (
        ONLY,
        ColumnNames,
        TypedColumn,
        column_of,
        column_of_texts,
        json_text,
        plain,
        plain_fields,
        result_columns,
        schema_kinds,
        typed_column,
        without_failures,
    )
    from .kinds import ANY, BOOLEAN, STRUCT, Kind, choices_of
    from .names import WrittenColumns, name_columns
    from .native_columns import pandas_array
    from .origins import Origin, state_of
    from .records import Row, part_of, private_columns, with_index, with_label, with_values, without_columns
    from .rows import ListRows, Rows, read_rows, with_pandas_columns

__getattr__ = lazy_exports(__name__)
