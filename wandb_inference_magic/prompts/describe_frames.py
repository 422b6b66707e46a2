"""Describe a DataFrame, a Series or an array to a model: shape, types and a limited number of rows or values."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from itertools import islice
from typing import Any, Final

from ..errors import InferenceError, describe_exception, quoted
from ..imports import is_instance, loaded
from ..messages import (
    is_container,
    items_by_name,
    items_in,
    level_names,
    name_of,
    public_items,
    record_fields,
)
from ..text import (
    MAX_INTEGER,
    counted,
    is_missing,
    python_of,
    python_values,
    safe_plain,
    says_nothing,
    shortest_float,
    str_of,
    without_addresses,
)
from .charts import has_no_data
from .files import text_or_size

HEAD_ROWS: Final = 20
TAIL_ROWS: Final = 5
MAX_COLUMNS: Final = 50
MAX_NAMES: Final = 200
MAX_CELL_CHARS: Final = 200
# Counting missing values reads every cell.
MAX_COUNTED: Final = 5_000_000
# The number of values read to decide whether an object column holds strings.
MAX_INFERRED: Final = 100_000
# Of an array.
MAX_VALUES: Final = 100
MAX_DIMENSIONS: Final = 3
LINE_WIDTH: Final = 120
MAX_ARRAY_CHARS: Final = 5000
# Those of NumPy itself: the user's `np.set_printoptions` are for what is shown.
_OF_NUMBERS: Final[dict[str, Any]] = {"precision": 8, "suppress": False, "sign": "-", "floatmode": "maxprec"}
_PRINT_OPTIONS: Final = _OF_NUMBERS | {"nanstr": "nan", "infstr": "inf", "legacy": False}
STYLER: Final = "pandas.io.formats.style.Styler"
DASK: Final = ("dask.dataframe.DataFrame", "dask.dataframe.Series")
_ARRAYS: Final = ("numpy.ndarray", "pandas.core.arrays.base.ExtensionArray")
_TIME_UNIT: Final = re.compile(r"((?:datetime|timedelta)64)\[\w+(?:, (.*))?\]")


def _no_text(_: object) -> None:
    return None


# Return the text that takes the place of `str(value)`, or None, and what takes the place of a value within a container.
# `values` sets both when it is imported: an import of `values` here would be a circle.
own_text: Callable[[object], str | None] = _no_text
in_cell: Callable[[Any], Any] = _no_text


def is_labelled(value: object) -> bool:
    """Return whether a value is looked up by keys, as a dict and a row of pandas are."""
    return isinstance(value, (dict, Mapping)) or is_instance(value, "pandas.Series")


def columns_of(value: object) -> list[str]:
    """Return the names of a frame's columns. Empty for any other value, of which nothing is read, and a lazy frame."""
    # Not DataFrameGroupBy, which has no columns, and not LazyFrame, which would compute them.
    if not any(is_instance(value, name) for name in ("pandas.DataFrame", "polars.DataFrame", DASK[0])):
        return []
    return [one for one in value.columns if isinstance(one, str)]  # type: ignore[attr-defined]


def records_of(value: Any) -> Any:
    """Return a frame as the list of its rows, each a dict, and a series as its values; a mapping as a dict.

    Any other value is returned as it is.
    """
    if is_instance(value, "pyarrow.Scalar"):
        return python_of(value)
    if isinstance(value, Mapping):
        return dict(public_items(value))
    if is_instance(value, "pandas.Series"):
        if not value.index.is_unique:
            return records_of(value.to_frame(value.name or "values"))
        labels = shortest_float([*value.index], str(value.index.dtype))
        return dict(zip(labels, python_values(value), strict=True))
    frame = _loaded_frame(value)
    if frame is None:
        return value
    if not hasattr(frame, "iter_rows"):
        return shortest_float(frame.to_list(), str(frame.dtype))
    kinds = [*map(str, frame.schema.dtypes())]
    return [dict(zip(frame.columns, map(shortest_float, row, kinds), strict=True)) for row in frame.iter_rows()]


def _loaded_frame(value: Any) -> Any:
    """Return a frame, with what its index says as columns, or a series, as narwhals has them; None for other values."""
    if any(is_instance(value, name) for name in DASK):
        value = value.compute()
    if is_instance(value, STYLER):
        value = styled(value)
    if is_instance(value, "pandas.DataFrame") and _has_labels(value.index):
        names = level_names(value.index, map(name_of, value.columns))
        value = value.reset_index(names=names, allow_duplicates=True)
    if not (_is_of_known_library(value) or has_arrow_data(value)):
        return None
    import narwhals as nw

    with suppress(InferenceError):
        value = as_known_frame(value)
    frame = _narwhals(value, pass_through=True)
    frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    return frame if isinstance(frame, nw.DataFrame | nw.Series) else None


def describe_styled(value: Any) -> str:
    """Describe a `df.style` as its frame, under its caption."""
    caption = value.caption[0] if isinstance(value.caption, tuple) else value.caption
    return "\n".join((*([caption] if caption else []), describe_pandas(styled(value))))


def styled(value: Any, columns: Any = None) -> Any:
    """Return the frame of a `df.style` without what it hides, with appended rows, which show the same `columns`."""
    places = [
        [place for place in range(length) if place not in hidden] if len(hidden) else slice(None)
        for length, hidden in zip(value.data.shape, (value.hidden_rows, value.hidden_columns), strict=True)
    ]
    rows, shown = places[0], places[1] if columns is None else columns
    frame = value.data.iloc[rows, shown]
    appended = [styled(one, shown) for one in value.concatenated]
    return loaded("pandas.concat")([frame, *appended]) if appended else frame


def _has_labels(index: Any) -> bool:
    """Return whether an index of pandas has more than the numbers of rows."""
    return any(name is not None for name in index.names) or index.dtype.kind not in "iu"


def labels_of(value: object) -> list[str]:
    """Return the columns of a frame, or the keys of a dict or of a row."""
    keys = islice(value.keys(), MAX_NAMES) if is_labelled(value) else ()  # type: ignore[attr-defined]
    return [key for key in keys if isinstance(key, str)] or columns_of(value)


def _narwhals(value: Any, *, pass_through: bool = False) -> Any:
    import narwhals as nw

    try:
        return nw.from_native(value, pass_through=pass_through, allow_series=True)
    except nw.exceptions.DuplicateError as error:
        raise InferenceError(
            "A frame has two columns with the same name.",
            why=quoted(str(error)),
            remedy="Rename one of them.",
        ) from None


def _is_of_known_library(value: object) -> bool:
    packages = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
    return bool(packages & {"pandas", "polars", "pyarrow"})


def has_arrow_data(value: object) -> bool:
    """Return whether a value offers its data by Arrow's interface, again and again. A stream is used up by reading.

    The data of a container are its items.
    """
    kind = type(value)
    if is_container(value):
        return False
    return hasattr(kind, "__arrow_c_array__") or (hasattr(kind, "__arrow_c_stream__") and not hasattr(kind, "read_all"))


def as_known_frame(value: Any) -> Any:
    """Return a frame or an array that narwhals does not read, but Arrow does, as one of pyarrow. Others stay.

    Raises
    ------
    InferenceError
        If pyarrow is not installed, or cannot read it.
    """
    if is_instance(value, "pyarrow.RecordBatch"):
        return loaded("pyarrow.Table").from_batches([value])
    import narwhals as nw

    known = (nw.DataFrame, nw.LazyFrame, nw.Series)
    if not has_arrow_data(value) or isinstance(value, known) or _is_of_known_library(value):
        return value
    if isinstance(nw.from_native(value, pass_through=True, allow_series=True), known):
        return value
    kind = type(value).__name__
    try:
        import pyarrow as pa

        is_array = hasattr(type(value), "__arrow_c_array__")
        found = pa.array(value) if is_array else pa.chunked_array(value)
        # The rows of a table are structs.
        return pa.Table.from_struct_array(found) if pa.types.is_struct(found.type) else pa.chunked_array(found)
    except ImportError:
        remedy = "Install pyarrow, or make a frame of pandas or polars of it."
        raise InferenceError(f"A value of type {kind} cannot be read.", remedy=remedy) from None
    except Exception as error:  # noqa: BLE001 - whatever its own library raises
        why = quoted(describe_exception(error))
        remedy = "Make a frame of pandas or polars of it."
        raise InferenceError(f"A value of type {kind} cannot be read.", why=why, remedy=remedy) from None


def describe_pandas(value: Any, *, is_head: bool = False) -> str:
    """Describe a DataFrame or a Series of pandas. Names may be duplicates or tuples, and any kind of index is allowed.

    `is_head` is whether it has only the first rows of a lazy one, which is what is described.
    """
    is_series = value.ndim == 1
    frame = value.to_frame("values" if value.name is None else value.name) if is_series else value
    kind = "Series" if is_series else "DataFrame"
    width = min(frame.shape[1], MAX_COLUMNS)
    index = frame.index
    # An index that only counts the rows is left out.
    has_index = not (type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1)
    levels = [f"level_{place}" if name is None else name_of(name) for place, name in enumerate(index.names)]
    index_name = ", ".join(levels) if any(name is not None for name in index.names) else "index"
    return _described(
        kind,
        None if is_head else len(frame),
        names=[*map(name_of, frame.columns)],
        types=[_pandas_type(frame.iloc[:, number]) for number in range(width)],
        count_missing=lambda: [int(count) for count in frame.iloc[:, :width].isna().sum()],
        # Select rows first: before pandas 3, selecting columns copies all of their rows.
        rows=lambda some: frame.iloc[some].iloc[:, :width].itertuples(index=has_index, name=None),
        index=(index_name, str(index.dtype)) if has_index else None,
        axis=", ".join(_cut(name_of(name)) for name in frame.columns.names if name is not None),
    )


def describe_dask(value: Any) -> str:
    """Describe a DataFrame or a Series of Dask by its first rows. Only these are computed."""
    return describe_pandas(value.head(HEAD_ROWS, npartitions=-1), is_head=True)


def _pandas_type(series: Any) -> str:
    """Return a column's type, named alike in every pandas. Before 3, strings were objects and time units differed."""
    from pandas.api.types import infer_dtype

    if series.dtype == object and infer_dtype(series.iloc[:MAX_INFERRED], skipna=True) == "string":
        return "str"
    return _TIME_UNIT.sub(lambda found: f"{found[1]}[{found[2]}]" if found[2] else found[1], str(series.dtype))


def describe_frame(value: Any) -> str:
    """Describe any frame or series that narwhals supports. Raise TypeError for anything else."""
    import narwhals as nw

    frame = _narwhals(value)
    kind = "DataFrame"
    if isinstance(frame, nw.Series):
        frame, kind = (frame if frame.name else frame.alias("values")).to_frame(), "Series"
    names = frame.collect_schema().names()
    part = frame.select(names[:MAX_COLUMNS])
    is_lazy = isinstance(part, nw.LazyFrame)
    if isinstance(part, nw.LazyFrame):
        part = part.head(HEAD_ROWS).collect()
    return _described(
        kind,
        None if is_lazy else len(part),
        names=names,
        types=[str(one) for one in part.schema.dtypes()],
        count_missing=lambda: [part[name].null_count() for name in part.columns],
        rows=lambda some: part[some].rows(),
    )


def describe_array(array: Any) -> str:
    """Describe a numpy array of any shape and type."""
    import numpy as np

    if isinstance(array, np.matrix):
        array = np.asarray(array)
    if array.ndim == 0:
        return str(array)
    # With many dimensions, three values at each end of each dimension are still too many.
    ends = 3 if array.ndim <= MAX_DIMENSIONS else 1
    of_objects: Any = {"object": _item}
    limits: Any = {"threshold": MAX_VALUES, "edgeitems": ends, "linewidth": LINE_WIDTH, "formatter": of_objects}
    with np.printoptions(**_PRINT_OPTIONS, **limits):
        # NumPy writes the times of a masked array as integers.
        written = array.astype(str) if np.ma.isMA(array) and array.dtype.kind in "mM" else array
        shown = without_addresses(str(written if array.ndim <= 2 * MAX_DIMENSIONS else written.reshape(-1)))
    if len(shown) > MAX_ARRAY_CHARS:
        shown = f"{shown[:MAX_ARRAY_CHARS]} [...]"
    return f"array of shape {array.shape}, {array.dtype}{_array_summary(array)}\n{shown}"


def _item(value: Any) -> str:
    """Return an item of an array of objects."""
    if (text := own_text(value)) is not None:
        return text
    return _cell(value) if is_container(value) else repr(value)


def _array_summary(array: Any) -> str:
    import numpy as np

    # The summary copies the array.
    if not 0 < array.size <= MAX_COUNTED or array.dtype.kind not in "biuf":
        return ""
    values = np.ma.masked_invalid(array) if array.dtype.kind == "f" else np.ma.asarray(array)
    left_out = int(array.size - values.count())
    if left_out == array.size:
        return "; no number in it"
    parts = f"; min {values.min():.6g}, mean {values.mean(dtype=float):.6g}, max {values.max():.6g}"
    return f"{parts}; {left_out:,} not finite or masked" if left_out else parts


def _described(
    kind: str,
    length: int | None,
    *,
    names: Sequence[str],
    types: Sequence[str],
    count_missing: Callable[[], Sequence[int]],
    rows: Callable[[slice], Iterable[Sequence[Any]]],
    index: tuple[str, str] | None = None,
    axis: str = "",
) -> str:
    """Return the text about a frame.

    `length` is None for a lazy frame, of which there are only the first rows: its missing values are not counted.
    `rows` returns the rows of a slice; if `index` is set, its name and its type, each row starts with its index. `axis`
    is what the names of the columns are values of.
    """
    is_whole = length is None or length <= HEAD_ROWS + TAIL_ROWS
    has_counts = length is not None and length * len(types) <= MAX_COUNTED
    missing = count_missing() if has_counts else [0] * len(types)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [*map(_cut, names)]
    writer.writerow([*(index or ())[:1], *names[:MAX_COLUMNS]])
    kinds = [*(index or ())[1:], *types]
    writer.writerows(_cells(row, kinds) for row in rows(slice(None if is_whole else HEAD_ROWS)))
    if length is not None and not is_whole:
        text.write("...\n")
        writer.writerows(_cells(row, kinds) for row in rows(slice(length - TAIL_ROWS, length)))
    columns = _columns(names, [*map(_cut, types)], missing, axis)
    return "\n".join([_heading(kind, length, len(names)), columns, "", text.getvalue().rstrip("\n")])


def _heading(kind: str, length: int | None, width: int) -> str:
    columns = counted(width, "column")
    if length is None:
        return f"lazy {kind}, {columns}; its first rows, at most {HEAD_ROWS}:"
    size = counted(length, "row")
    if kind != "Series":
        size = f"{size} x {columns}"
    is_cut = length > HEAD_ROWS + TAIL_ROWS
    return f"{kind}, {size}" + (f"; the first {HEAD_ROWS} and last {TAIL_ROWS} rows:" if is_cut else ":")


def _columns(names: Sequence[str], types: Sequence[str], missing: Sequence[int], axis: str) -> str:
    described = [
        f"{name} ({kind}, {count:,} missing)" if count else f"{name} ({kind})"
        for name, kind, count in zip(names, types, missing, strict=False)
    ]
    others = [safe_plain(name) for name in names[MAX_COLUMNS:]]
    if others:
        named = ", ".join(others[:MAX_NAMES]) + (", ..." if len(others) > MAX_NAMES else "")
        described.append(f"and {counted(len(others), 'column')} left out: {named}")
    return f"Columns{f' by {axis}' if axis else ''}: {', '.join(described)}"


def _cells(row: Sequence[Any], kinds: Sequence[str]) -> list[str]:
    return [_cell(shortest_float(value, kind)) for value, kind in zip(row, kinds, strict=True)]


def _cell(value: Any) -> str:
    if is_missing(value):
        return ""
    if (text := own_text(value)) is None:
        if is_instance(value, "pyarrow.Scalar"):
            return _cell(python_of(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return _cut(text_or_size(value))
        if has_items(value):
            with suppress(ValueError, RecursionError):
                value = json.dumps(_Cell().of(value), ensure_ascii=False)
        text = _text(value)
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}[...]"


def has_items(value: Any) -> bool:
    """Return whether a value is a container or an array, which in a cell is JSON."""
    return is_container(value) or (any(is_instance(value, name) for name in _ARRAYS) and value.ndim > 0)


class _Cell:
    """Converts a container in a cell to JSON types, and any other value to text, as far as a cell shows it."""

    def __init__(self) -> None:
        self._left = MAX_CELL_CHARS

    def of(self, value: Any, above: tuple[int, ...] = ()) -> Any:
        # Each part is at least one character of the text.
        self._left -= 1
        if self._left < 0 or is_missing(value) or is_missing(value := in_cell(value)):
            return None
        if is_instance(value, "pyarrow.Scalar"):
            return self.of(python_of(value), above)
        if id(value) in above:
            return "..."
        if has_items(value):
            above = (*above, id(value))
            is_mapping = isinstance(value, Mapping)
            named = items_by_name(value, MAX_CELL_CHARS) if is_mapping else record_fields(value, private=False)
            if named is not None:
                return {name: self.of(one, above) for name, one in islice(named.items(), MAX_CELL_CHARS)}
            return [self.of(one, above) for one in islice(items_in(value), MAX_CELL_CHARS)]
        if is_instance(value, "numpy.generic") and value.dtype.kind in "biuf":
            value = python_values(value)
        # JSON has no number for infinity.
        if isinstance(value, str) or (isinstance(value, int | float) and abs(value) < MAX_INTEGER):
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return text_or_size(value)
        return _text(value)


def _text(value: Any) -> str:
    """Return the text of a value in a cell: its own, or its type where that says nothing."""
    if hasattr(type(value), "columns") and hasattr(type(value), "shape"):
        return f"[{type(value).__name__}, {counted(len(value), 'row')}]"
    text = "" if (is_empty := has_no_data(value)) else str_of(value)
    return f"[{type(value).__name__}]" if is_empty or says_nothing(text) else without_addresses(text)
