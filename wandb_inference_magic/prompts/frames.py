"""Describe a DataFrame or a Series to a model: shape, types and a limited number of rows."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from ..text import safe_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD_ROWS: Final = 20
TAIL_ROWS: Final = 5
MOST_COLUMNS: Final = 50
MOST_NAMES: Final = 200
LONGEST_CELL: Final = 200
# Counting missing values reads every cell.
MOST_COUNTED: Final = 5_000_000
# The number of values read to decide whether an object column holds strings.
MOST_INFERRED: Final = 100_000
_TIME_UNIT: Final = re.compile(r"((?:datetime|timedelta)64)\[\w+(?:, (.*))?\]")


@dataclass(frozen=True, slots=True)
class _Table:
    """What is reported of a frame. `length` is None if unknown. Rows start with their index if `index_name` is set."""

    kind: str
    length: int | None
    names: Sequence[str]
    types: Sequence[str]
    head: Iterable[Sequence[Any]]
    tail: Iterable[Sequence[Any]] = ()
    missing: Sequence[int] = field(default=())
    index_name: str | None = None
    width: int = 0


def describe_pandas(frame: Any) -> str:
    """Describe a pandas DataFrame. Column names may be duplicates or tuples, and any kind of index is allowed."""
    width = min(frame.shape[1], MOST_COLUMNS)
    # Select rows first: before pandas 3, selecting columns copies all of their rows.
    head, tail = (rows.iloc[:, :width] for rows in _ends(frame))
    has_index = _tells(frame.index)
    counted = len(frame) * width <= MOST_COUNTED
    return _words(
        _Table(
            kind="DataFrame",
            length=len(frame),
            names=[_name(name) for name in frame.columns],
            types=[_pandas_type(frame.iloc[:, number]) for number in range(width)],
            head=head.itertuples(index=has_index, name=None),
            tail=tail.itertuples(index=has_index, name=None),
            missing=[int(count) for count in frame.iloc[:, :width].isna().sum()] if counted else (),
            index_name=_index_name(frame.index) if has_index else None,
            width=frame.shape[1],
        )
    )


def describe_pandas_series(series: Any) -> str:
    """Describe a pandas Series."""
    head, tail = _ends(series)
    has_index = _tells(series.index)
    rows = [list(part.items()) if has_index else [(value,) for value in part] for part in (head, tail)]
    return _words(
        _Table(
            kind="Series",
            length=len(series),
            names=["values" if series.name is None else _name(series.name)],
            types=[_pandas_type(series)],
            head=rows[0],
            tail=rows[1],
            missing=[int(series.isna().sum())] if len(series) <= MOST_COUNTED else (),
            index_name=_index_name(series.index) if has_index else None,
            width=1,
        )
    )


def _pandas_type(series: Any) -> str:
    """Return a column's type, named alike in every pandas. Before 3, strings were objects and time units differed."""
    from pandas.api.types import infer_dtype

    if series.dtype == object and infer_dtype(series.iloc[:MOST_INFERRED], skipna=True) == "string":
        return "str"
    return _TIME_UNIT.sub(lambda found: f"{found[1]}[{found[2]}]" if found[2] else found[1], str(series.dtype))


def describe_frame(value: Any) -> str:
    """Describe any frame or series that narwhals supports. Anything else is described by its `str`."""
    import narwhals as nw

    try:
        frame = nw.from_native(value, allow_series=True)
    except TypeError:
        return str(value)
    if isinstance(frame, nw.Series):
        return _describe_eager(frame.to_frame(), "Series")
    if isinstance(frame, nw.LazyFrame):
        schema = frame.collect_schema()
        head = frame.head(HEAD_ROWS).collect().rows()
        kinds = [str(kind) for kind in schema.dtypes()]
        return _words(_Table("lazy DataFrame", None, schema.names(), kinds, head, width=len(kinds)))
    return _describe_eager(frame, "DataFrame")


def _describe_eager(frame: Any, kind: str) -> str:
    part = frame.select(frame.columns[:MOST_COLUMNS])
    length = len(part)
    is_whole = length <= HEAD_ROWS + TAIL_ROWS
    counted = length * len(part.columns) <= MOST_COUNTED
    return _words(
        _Table(
            kind=kind,
            length=length,
            names=frame.columns,
            types=[str(one) for one in part.schema.dtypes()],
            head=(part if is_whole else part.head(HEAD_ROWS)).rows(),
            tail=() if is_whole else part.tail(TAIL_ROWS).rows(),
            missing=[part[name].null_count() for name in part.columns] if counted else (),
            width=len(frame.columns),
        )
    )


def _ends(part: Any) -> tuple[Any, Any]:
    if len(part) <= HEAD_ROWS + TAIL_ROWS:
        return part, part.iloc[:0]
    return part.iloc[:HEAD_ROWS], part.iloc[-TAIL_ROWS:]


def _tells(index: Any) -> bool:
    """Return whether a pandas index holds more than the row numbers."""
    is_counting = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
    return not is_counting


def _index_name(index: Any) -> str:
    names = [str(name) for name in index.names if name is not None]
    return ", ".join(names) or "index"


def _name(name: Any) -> str:
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _words(table: _Table) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    index = [] if table.index_name is None else [table.index_name]
    writer.writerow([*index, *table.names[:MOST_COLUMNS]])
    writer.writerows([_cell(one) for one in row] for row in table.head)
    tail = [[_cell(one) for one in row] for row in table.tail]
    if tail:
        text.write("...\n")
        writer.writerows(tail)
    return "\n".join([_heading(table), _columns(table), "", text.getvalue().rstrip("\n")])


def _heading(table: _Table) -> str:
    columns = f"{table.width:,} column{'s' * (table.width != 1)}"
    if table.length is None:
        return f"{table.kind}, {columns}; its first rows, at most {HEAD_ROWS}:"
    size = f"{table.length:,} row{'s' * (table.length != 1)}"
    if table.kind != "Series":
        size = f"{size} x {columns}"
    is_cut = table.length > HEAD_ROWS + TAIL_ROWS
    return f"{table.kind}, {size}" + (f"; the first {HEAD_ROWS} and last {TAIL_ROWS} rows:" if is_cut else ":")


def _columns(table: _Table) -> str:
    missing = [*table.missing, *[0] * len(table.types)]
    told = [
        f"{name} ({kind}, {count:,} missing)" if count else f"{name} ({kind})"
        for name, kind, count in zip(table.names, table.types, missing, strict=False)
    ]
    others = [safe_plain(name) for name in table.names[MOST_COLUMNS:]]
    if others:
        named = ", ".join(others[:MOST_NAMES]) + (", ..." if len(others) > MOST_NAMES else "")
        told.append(f"and {len(others):,} columns that are left out: {named}")
    return f"Columns: {', '.join(told)}"


def _cell(value: Any) -> str:
    text = str(value)
    if value is None or text in ("nan", "NaT", "<NA>"):
        return ""
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}[...]"
