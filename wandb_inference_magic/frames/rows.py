"""Rows to run a prompt over, read one by one from a frame or an iterable, which is returned with added columns."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice, repeat
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, describe_exception, quoted, shortened_repr, users_failures
from ..imports import import_quietly, is_instance
from ..libraries import unexpected_failure
from ..messages import data_frame, level_names, name_of
from ..text import python_values, shortest_float, without_surrogates
from .columns import HALVES, described
from .native_columns import arrow_array, built, pandas_array, polars_series
from .records import TEXT, FrameRow, Row, as_list, as_row, as_table, column_names, storable, with_lists

if TYPE_CHECKING:
    from .columns import TypedColumn

ROWS_AT_ONCE: Final = 1000


def read_rows(value: Any, limit: int | None = None, *, copy: bool = False) -> Rows:
    """Return the rows of a value.

    Parameters
    ----------
    value : object
        A frame or Series of pandas, polars, pyarrow or anything narwhals reads, batches of pyarrow, or an iterable of
        texts, of dicts or of records (see `as_row`).
    limit : int, optional
        Take only the first `limit` rows.
    copy : bool
        Whether to copy a frame, or the dicts of a list, so that they may be changed before the result is made.

    Raises
    ------
    InferenceError
        For any other value, such as a frame of Dask, if two columns have the same name, and if the value raises
        anything: a lazy frame is computed here. A type of ours that has rows elsewhere says so in `where_rows_are`.
    """
    # Several threads may map at once, and its modules import each other: two threads that both import it first fail.
    import_quietly("narwhals")
    if is_instance(value, "dask.dataframe.DataFrame"):
        raise InferenceError(
            "Only a map takes a Dask DataFrame. Nothing was sent.", remedy="Take some of its rows: df.head(100)."
        )
    try:
        rows = _rows_of(value, limit, copy=copy)
    except InferenceError:
        raise
    except users_failures() as error:
        # Reading it may need a library, or a file where no more can be opened.
        unusable = unexpected_failure(error) if isinstance(error, Exception) else None
        raise unusable or InferenceError(
            f"The rows of a value of type {type(value).__name__} cannot be read. Nothing was sent.",
            why=quoted(describe_exception(error)),
            remedy="Open it again, or give a list.",
        ) from None
    if rows is None:
        raise InferenceError(f"A value of type {type(value).__name__} has no rows.", remedy=_where_rows_are(value))
    return rows


def _rows_of(value: Any, limit: int | None, *, copy: bool) -> Rows | None:
    """Return the rows of a value, or None if it has none. The value may raise anything."""
    import narwhals as nw

    if is_instance(value, "dask.dataframe.Series"):
        # Its rows are read here in any case. As a Series of pandas it keeps its name.
        value = value.compute()
    if is_instance(value, "datasets.Dataset") and value.format["type"] in ("pandas", "polars", "arrow"):
        # In these formats each of its items is a frame with one row.
        value = value.with_format(None, columns=value.format["columns"])
    value = as_table(value, limit)
    try:
        # A list is no frame, and with a file of the user in place of pandas, narwhals cannot say so.
        is_list = isinstance(value, list | tuple)
        frame = value if is_list else nw.from_native(value, pass_through=True, allow_series=True)
    except nw.exceptions.DuplicateError:
        _check_names(getattr(value, "column_names", value.columns))
        raise
    if isinstance(frame, nw.LazyFrame):
        frame = (frame if limit is None else frame.head(limit)).collect()
    if isinstance(frame, nw.DataFrame | nw.Series):
        return FrameRows(_copied(frame, limit, is_deep=copy))
    # Some values have `__iter__` only to say that they cannot be iterated, as a Delayed of Dask.
    with suppress(TypeError, NotImplementedError):
        return ListRows(value, limit, copies=copy) if _has_rows(value) else None
    return None


def _has_rows(value: Any) -> bool:
    """Return whether a value that is no frame has rows: it is iterable, or gives them by their places.

    Of the latter kind are the datasets of PyTorch.
    """
    if isinstance(value, str | bytes | Mapping):
        return False
    kind = type(value)
    is_by_place = hasattr(kind, "__len__") and hasattr(kind, "__getitem__") and not hasattr(kind, "keys")
    return isinstance(value, Iterable) or is_by_place


def _where_rows_are(value: Any) -> str:
    # As a DatasetDict of Hugging Face does, or the sheets of a workbook.
    names = ("columns", "column_names")
    if isinstance(value, dict) and any(hasattr(type(one), name) for one in value.values() for name in names):
        keys = [shortened_repr(key) for key in islice(value, 6)]
        return f"It holds tables. Give one of them, by its key: {', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}."
    return getattr(type(value), "where_rows_are", "Give a DataFrame, a Series, or a list of texts or of dicts.")


def _copied(frame: Any, limit: int | None, *, is_deep: bool) -> Any:
    """Return a copy of a frame or a series of narwhals as a frame. If it is not deep, it copies no values.

    Another cell may add, remove or sort rows meanwhile.
    """
    import narwhals as nw

    if isinstance(frame, nw.Series):
        frame = (frame.alias(TEXT) if frame.name in (None, "") else frame).to_frame()
    frame = frame if limit is None else frame.head(limit)
    if is_deep:
        return frame.clone()
    return nw.from_native(frame.to_native().copy(deep=False)) if frame.implementation.is_pandas() else frame


def _check_names(columns: Iterable[Any]) -> None:
    """Raise if two columns have the same name, because a prompt could not distinguish them."""
    counted = Counter(map(name_of, columns))
    for name in [name for name, times in counted.items() if times > 1]:
        raise InferenceError(
            f"{'Two' if counted[name] == 2 else counted[name]} columns are called {name!r}. Nothing was sent.",
            remedy="Rename one.",
        )


def _length(value: Any, limit: int | None) -> int | None:
    try:
        length = len(value)
    except (TypeError, NotImplementedError):
        return None
    return length if limit is None else min(length, limit)


class FrameRows:
    """The rows of a data frame. They can be iterated in order, repeatedly. A row that cannot be read raises.

    Attributes
    ----------
    length : int or None
        The number of rows.
    columns : sequence of str
        The names of the columns, as far as they are known in advance.
    """

    is_used_up = False

    def __init__(self, frame: Any) -> None:
        import narwhals as nw

        self._frame = frame
        self.length: int | None = len(frame)
        self.columns: Sequence[str] = [*map(name_of, frame.columns)]
        _check_names(self.columns)
        # By their names: how the frame itself names its columns.
        self._labels = dict(zip(self.columns, frame.columns, strict=True))
        kinds = [str(kind) for kind in frame.schema.dtypes()]
        self._objects = [place for place, kind in enumerate(kinds) if kind == "Object"]
        # Also those within lists and structs.
        self._short_floats = [(place, kind) for place, kind in enumerate(kinds) if re.search(r"Float(32|16)", kind)]
        index = nw.maybe_get_index(frame)
        self._index = () if index is None else index
        # By the names of the levels, so far as they have names of their own: the place of each.
        self._levels = {
            name_of(name): place
            for place, name in enumerate(getattr(index, "names", ()))
            if name is not None and name_of(name) not in self.columns
        }
        self._label_names = _label_names(self._index, self.columns)

    @property
    def types(self) -> Mapping[str, Any]:
        """The types of the columns of a frame of pandas, except object, for another frame of its rows."""
        native = self._frame.to_native()
        dtypes = native.dtypes if is_instance(native, "pandas.DataFrame") else ()
        return {name: one for name, one in zip(self.columns, dtypes, strict=False) if str(one) != "object"}

    @property
    def index_names(self) -> Sequence[str]:
        return list(self._levels)

    def __iter__(self) -> Iterator[Row]:
        return _each(self._rows())

    def _rows(self) -> Iterator[Row]:
        rows = self._frame.iter_rows(named=False, buffer_size=ROWS_AT_ONCE)
        labels_of_rows = python_values(self._index) if self._label_names else repeat(None)
        for values, label in zip(rows, labels_of_rows, strict=False):
            row = FrameRow(zip(self.columns, values, strict=True))
            for place, kind in self._short_floats:
                row[self.columns[place]] = shortest_float(values[place], kind)
            for place in self._objects:
                row[self.columns[place]] = as_list(values[place])
            if self._label_names:
                labels = label if len(self._label_names) > 1 else (label,)
                row._index = {name: labels[place] for name, place in self._levels.items()}
                row._label = dict(zip(self._label_names, labels, strict=True))
            yield row

    def read_rest(self) -> int | None:
        """Return the number of rows: all are there."""
        return self.length

    def values(self, name: str) -> Sequence[Any] | None:
        """Return the values of a column, or None if there is no such column."""
        return self._frame.get_column(self._labels[name]).to_list() if name in self._labels else None

    def with_columns(self, columns: Mapping[str, TypedColumn], dropped: Sequence[str] = ()) -> tuple[Any, list[str]]:
        """Return the frame with columns added and those in `dropped` left out, and notices."""
        import narwhals as nw

        frame = nw.to_native(self._frame.drop([self._labels[name] for name in dropped if name in self._labels]))
        if nw.dependencies.is_pandas_like_dataframe(frame):
            return with_pandas_columns(frame, columns)
        made, notices = built(columns, polars_series if nw.dependencies.is_polars_dataframe(frame) else arrow_array)
        added = [nw.from_native(one, series_only=True).alias(name) for name, one in made.items()]
        return nw.to_native(nw.from_native(frame).with_columns(added)), notices


def _each(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows. To read one runs the code of their source, or of the user.

    Raises
    ------
    InferenceError
        If a row cannot be read.
    """
    for number in count(1):
        try:
            row = next(rows, None)
        except users_failures() as error:
            raise InferenceError(
                f"Row {number} cannot be read: the source of the rows raised {quoted(describe_exception(error))}.",
                remedy="Fix it and run the cell again.",
            ) from None
        if row is None:
            return
        yield row


def _label_names(index: Any, columns: Sequence[str]) -> list[str]:
    """Return the names of an index's levels as columns, as in pandas; none if it only counts the rows."""
    names = list(getattr(index, "names", ()))
    counts = getattr(index, "start", None) == 0 and index.step == 1
    if names == [None] and (counts or all(isinstance(one, Integral) and one == at for at, one in enumerate(index))):
        return []
    return level_names(index, columns) if names else []


def with_pandas_columns(frame: Any, columns: Mapping[str, TypedColumn]) -> tuple[Any, list[str]]:
    """Return a frame of pandas with columns added or replaced, and notices."""
    frame = frame.copy(deep=False)
    # Before pandas 3, a copy that is not deep shares its index: a name for it would be that of the user's frame too.
    frame.index = frame.index.copy()
    made, notices = built(columns, pandas_array)
    # A name in several levels has a part for each: pandas warns of a shorter one.
    rest = ("",) * (frame.columns.nlevels - 1)
    for name, one in made.items():
        frame[(name, *rest) if rest else name] = one
    return frame, notices


class ListRows:
    """The rows of an iterable of texts, of dicts or of records. Rows that were read are kept for the result.

    A row that cannot be read raises. Arrays are lists in the rows that are given, and arrays in the result.

    Parameters
    ----------
    source : iterable
    limit : int, optional
        Take only the first `limit` rows.
    copies : bool
        Whether dicts are copied when they are read.
    index_names : sequence of str
        The names of the levels of the index that the rows had.

    Attributes
    ----------
    length, columns
        As those of `FrameRows`. Without a length, it is known only after iteration.
    is_used_up : bool
        Whether rows were taken from an iterator of the user, which cannot give them again.
    """

    types: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        source: Iterable[Any],
        limit: int | None = None,
        *,
        copies: bool = False,
        index_names: Sequence[str] = (),
    ) -> None:
        self.index_names = index_names
        self.length = _length(source, limit)
        self._is_made = isinstance(source, list | tuple)
        self._is_once = isinstance(source, Iterator)
        # The names of the items of tuples, where they are known.
        self._names = column_names(source)
        _check_names(self._names)
        # One that is read by places need not say where it ends.
        rows = source if isinstance(source, Iterable) else map(source.__getitem__, range(len(source)))
        self._source = islice(rows, limit)
        self._copies = copies
        # The rows, and with their arrays as lists.
        self._drawn: list[Row] = []
        self._given: list[Row] = []
        self._failure: BaseException | None = None

    @property
    def is_used_up(self) -> bool:
        return self._is_once and bool(self._drawn)

    @property
    def columns(self) -> Sequence[str]:
        self._read_ahead(None if self._is_made else 1)
        return tuple(dict.fromkeys(name_of(name) for row in self._drawn for name in row)) or tuple(self._names)

    def __iter__(self) -> Iterator[Row]:
        return _each(self._rows())

    def _rows(self) -> Iterator[Row]:
        for number in count():
            if number == len(self._drawn):
                # After a generator has raised once, it only raises StopIteration.
                if self._failure is not None:
                    raise self._failure
                try:
                    value = next(self._source)
                    row = as_row(value, self._names)
                    row = dict(row) if self._copies and row is value else row
                    # A mapping may read its values only now.
                    given = with_lists(row)
                except StopIteration:
                    return
                except users_failures() as error:
                    self._failure = error
                    raise
                self._drawn.append(row)
                self._given.append(given)
            yield self._given[number]

    def _read_ahead(self, most: int | None = None) -> None:
        """Read rows. An error is stored, and raised again where the row is asked: here if that is the first one."""
        try:
            deque(islice(self, most), maxlen=0)
        except InferenceError:
            if not self._drawn:
                raise

    def read_rest(self) -> int | None:
        """Read the rows of a list that were not read. Then `columns` are all columns of the result.

        Any other source, such as a dataset on disk, may fail, be slow, or hold fewer rows than it says: of that, only
        the rows that were read are in the result.

        Returns
        -------
        int or None
            The number of rows of the result; None if it is that of the answers.
        """
        if self._is_made:
            self._read_ahead()
        return None if self.length is None else len(self._drawn)

    def values(self, name: str) -> None:
        """Return None: rows would have to be read for the values of a column."""

    def with_columns(self, columns: Mapping[str, TypedColumn], dropped: Sequence[str] = ()) -> tuple[Any, list[str]]:
        """Return a pandas DataFrame if pandas is installed, else a list of dicts."""
        # Some rows may have been read for an estimate without a request being sent for them.
        size = len(self._drawn)
        added = {name: column.padded(size) for name, column in columns.items()}
        of_rows: list[dict[str, dict[str, None]]] = [{} for _ in self._drawn]
        rows = [storable(row, reports) for row, reports in zip(self._drawn, of_rows, strict=True)]
        said = [
            f"{name!r} holds {report}."
            for name in dict.fromkeys(name for row in rows for name in row)
            for report in described(reports.get(name, ()) for reports in of_rows)
        ]
        try:
            # Of no rows, the source may say which columns they would have.
            frame = data_frame(rows, None if self._drawn else [*self._names])
        except InferenceError:
            return [_merged(row, number, added, dropped) for number, row in enumerate(rows)], said
        cut = dict.fromkeys(
            without_surrogates(name_of(name)) for row in rows for name, one in row.items() if _is_cut(name, one)
        )
        frame, notices = with_pandas_columns(frame.drop(columns=[name for name in dropped if name in frame]), added)
        return frame, [*said, *(f"{name!r} holds {HALVES}." for name in cut), *notices]


Rows = FrameRows | ListRows


def _is_cut(*values: Any) -> bool:
    return any(isinstance(value, str) and without_surrogates(value) != value for value in values)


def _merged(row: Row, number: int, columns: Mapping[str, TypedColumn], dropped: Sequence[str]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in dropped}
    return kept | {name: column.values[number] for name, column in columns.items()}
