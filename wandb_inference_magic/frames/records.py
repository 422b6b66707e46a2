"""Values that have named fields, as rows: named tuples, models, rows of a database or of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AnySet
from contextlib import suppress
from copy import copy
from csv import DictReader
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from ..errors import InferenceError, users_failures
from ..imports import is_instance, loaded
from ..messages import Reply, name_of, private_fields
from ..prompts import Image, as_known_frame, custom_prompt, to_prompt
from ..text import python_values, says_nothing
from .columns import fields_of, plain, without_failures

Row = Mapping[str, Any]
# The name of the only column of a list of texts, or of a Series without a name.
TEXT: Final = "text"
# The name that pandas gives to the index in the tuples of `itertuples`.
INDEX: Final = "Index"
# What a class of named fields has: a dataclass, a class of attrs, a model.
_FIELDS: Final = ("__dataclass_fields__", "__attrs_attrs__", "model_fields")
# Frames have types for the scalars and arrays of these modules; PIL has images.
_STORED: Final = ("builtins", "datetime", "decimal", "numpy", "pandas", "PIL")


class FrameRow(dict[str, Any]):
    """The values of a row by the names of the columns, which are texts; `row[0]` finds the column `0` too, and
    `row["v", "mean"]` the column `v, mean`.

    `_index` has the values of the index by the names of its levels, so far as they have names of their own. `_label`
    has all of them, under the names that pandas gives them as columns; it is empty if the index only counts the rows.
    A template that names a column must not find them in its place. `_private` has the names of the fields that the
    class of the row keeps out of its own text: they may be secrets.
    """

    _index: Mapping[str, Any] = MappingProxyType({})
    _label: Mapping[str, Any] = MappingProxyType({})
    _private: AnySet[str] = frozenset()

    def __missing__(self, name: object) -> Any:
        if isinstance(name, str) or name_of(name) not in self:
            raise KeyError(name)
        return self[name_of(name)]


class Record(FrameRow):
    """A row made of a value that is no mapping. `row[0]` is its first value, as of a tuple.

    `_value` is the value, if it may have a form of its own in a prompt: then the row has it too. `_places` has the
    values that are found by their places, where these are not the columns: the tuple of `iterrows`,
    whose second item has the values of all columns, a list or an array, which is the column `text` as a whole, or the
    columns that are left.
    """

    _places: Sequence[Any] | Mapping[int, Any] | None = None
    _value: Any = None

    def _ai_repr_(self, **_: Any) -> str | None:
        shown = custom_prompt(self._value)
        return shown if isinstance(shown, str) else None

    def __missing__(self, name: object) -> Any:
        if isinstance(name, int) and str(name) not in self:
            return as_list((list(self.values()) if self._places is None else self._places)[name])
        return super().__missing__(name)


def with_index(row: Row) -> Row:
    """Return a row with the levels of its index that have names of their own, before the columns."""
    return FrameRow({**row._index, **row}) if isinstance(row, FrameRow) and row._index else row


def with_values(row: Row, values: Mapping[str, Any]) -> Row:
    """Return a row with other values in some columns."""
    return _with_values(row, {**row, **values}) if values else row


def without_columns(row: Row, names: AnySet[str]) -> Row:
    """Return a row without the columns of these names."""
    return _with_values(row, {name: value for name, value in row.items() if name not in names}) if names else row


def private_columns(row: Row) -> AnySet[str]:
    """Return the names of the fields that the class of a row keeps out of its own text: they may be secrets."""
    return row._private if isinstance(row, FrameRow) else frozenset()


def _with_values(row: Row, values: dict[str, Any]) -> Row:
    if not isinstance(row, FrameRow):
        return values
    changed = type(row)(values)
    vars(changed).update(vars(row))
    if isinstance(changed, Record):
        # Its own text, and the tuple of `iterrows`, have all columns, with the values that they had.
        is_by_columns, changed._value = changed._places is None, None
        changed._places = {at: values[name] for at, name in enumerate(row) if is_by_columns and name in values}
    return changed


def with_label(row: Row) -> Row:
    """Return a row with its index as columns, before the others, if the index does more than count the rows."""
    return {**row._label, **row} if isinstance(row, FrameRow) and row._label else row


def as_row(value: Any, names: Sequence[str]) -> Row:
    """Return a value as a row: of its fields if they have names, of the column `text` otherwise.

    Parameters
    ----------
    value : object
    names : sequence of str
        The names of a tuple's items, where its source has them. If it is empty, they are `0`, `1`, ...
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Image | Reply) or hasattr(type(value), "_repr_png_"):
        return Record({TEXT: value})
    if (fields := fields_of(value)) is not None:
        record = _record(fields.items())
        record._private, record._value = private_fields(type(value)), value
        return record
    if _has_own_prompt(value):
        return Record({TEXT: value})
    if isinstance(value, tuple):
        return _of_tuple(value, names)
    if is_instance(value, "numpy.void") and value.dtype.names:
        return _record(python_values(value).items())
    if is_instance(value, "pandas.Series"):
        return _record(_items(value))
    record = Record({TEXT: value})
    if isinstance(value, list) or (is_instance(value, "numpy.ndarray") and value.ndim):
        record._places = value
    return record


def _of_tuple(value: tuple[Any, ...], names: Sequence[str]) -> Row:
    if len(value) == 2 and is_instance(value[1], "pandas.Series") and value[1].name is value[0]:
        # One of `iterrows`.
        record = _record([(INDEX, value[0]), *_items(value[1])])
        record._places = value
        return record
    return _record(zip(names if len(names) == len(value) else range(len(value)), value, strict=True))


def _record(fields: Iterable[tuple[Any, Any]]) -> Record:
    return Record((name_of(name), one) for name, one in fields)


def _has_own_prompt(value: Any) -> bool:
    """Return whether a value is shown to a model in its own way, as an image is."""
    return isinstance(value, Image) or any(hasattr(type(value), name) for name in ("_ai_repr_", "_repr_png_"))


def _own_prompt_text(value: Any) -> str | None:
    """Return the text that a value gives for a model by `_ai_repr_`, as a Reply does; None for an image, or nothing."""
    with suppress(Exception):
        if hasattr(type(value), "_ai_repr_") and isinstance(shown := to_prompt(value), str):
            return str(shown)
    return None


def as_list(value: Any) -> Any:
    """Return a value of a row with each array as the list that it was before it was written to a file.

    An array of numbers or times keeps its methods. Only its text is that of the list: to make one takes long.
    """
    try:
        return _as_list(value)
    except users_failures():
        # It contains itself, or its own code fails.
        return value


def _as_list(value: Any) -> Any:
    if type(value) is loaded("numpy.ndarray") and value.ndim == 1:
        return [_as_list(one) for one in value] if value.dtype == object else value.view(_list_array())
    if isinstance(value, dict):
        return _with_lists_in(value, value)
    is_record = any(hasattr(type(value), name) for name in _FIELDS) and hasattr(value, "__dict__")
    return _with_lists_in(value, vars(value)) if is_record else value


def with_lists(row: Row) -> Row:
    """Return a row with its arrays as lists in prompts. Without any, it is the same."""
    return _with_lists_in(row, row, as_list)  # type: ignore[no-any-return]


def _with_lists_in(value: Any, parts: Mapping[Any, Any], of: Callable[[Any], Any] = _as_list) -> Any:
    """Return a copy of a value with the arrays among its parts as lists, so that it keeps what its class has.

    Without any, or if it cannot be copied, it is the same value.
    """
    lists = {name: made for name, one in parts.items() if (made := of(one)) is not one}
    if not lists:
        return value
    try:
        # Of a mapping that is no dict, another copy may share what it holds.
        is_other = isinstance(value, Mapping) and not isinstance(value, dict)
        changed: Any = value.copy() if is_other else copy(value)
        if changed is not value:
            (changed if parts is value else vars(changed)).update(lists)
            return changed
    except users_failures():
        pass
    return value


@cache
def _list_array() -> Any:
    """Return the class of an array that is a list in prompts. Pickled, it is an array: this class has no module."""
    import numpy as np

    def computed(own: Any, array: Any, *_: Any) -> Any:
        if not array.ndim:
            return array[()]
        made = array.view(type(own))
        made.is_computed = True
        return made

    def reduced(array: Any, protocol: Any) -> Any:
        return array.view(np.ndarray).__reduce_ex__(protocol)

    # Truths that a function gives, one for each item, are not true as the list of a frame is, which has items.
    own = {"is_list": True, "is_computed": False, "__array_wrap__": computed, "__reduce_ex__": reduced}
    return type("ListArray", (np.ndarray,), own)


def _items(row: Any) -> Iterable[tuple[Any, Any]]:
    # A Series finds a number by its place, and several values under a name that is there twice.
    return zip(row.index, row.tolist(), strict=True)


def column_names(source: Any) -> list[str]:
    """Return the names of the columns of a database cursor or a table of text; none for any other source of rows."""
    if isinstance(source, DictReader):
        return list(source.fieldnames or ())
    if not hasattr(source, "fetchmany"):
        return []
    described = getattr(source, "description", None)
    if isinstance(described, list | tuple):
        return [str(one[0]) for one in described]
    # A result of SQLAlchemy.
    keys = getattr(source, "keys", None)
    return [str(one) for one in keys()] if callable(keys) else []


def storable(row: Row, reports: dict[str, dict[str, None]]) -> Row:
    """Return a row as it is in a result: what a frame cannot write to a file is plain if the row was no mapping.

    An object whose text says nothing is kept. What is to be said of a value is added to `reports`, by its column.
    """
    if not isinstance(row, Record):
        return row
    return {name: without_failures(_stored(one), reports.setdefault(name, {})) for name, one in row.items()}


def _stored(value: Any) -> Any:
    if is_instance(value, "pandas.DataFrame"):
        return plain(value.to_dict("records"))
    if hasattr(value, "is_list") and is_instance(value, "numpy.ndarray"):
        # A list in prompts only.
        return value.view(loaded("numpy.ndarray"))
    if (text := _own_prompt_text(value)) is not None:
        return text
    # Images are left, for a further run.
    is_left = _has_own_prompt(value) or type(value).__module__.partition(".")[0] in _STORED
    is_nested = isinstance(value, dict | list | tuple | AnySet) or is_instance(value, "pandas.Series")
    written = value if is_left and not is_nested else plain(value)
    # A memory address in a result does not say which object it was.
    return value if isinstance(written, str) and written is not value and says_nothing(written) else written


def as_table(value: Any, limit: int | None) -> Any:
    """Return batches of Arrow or of pandas (`chunksize`), of which rows up to `limit` are read, as a table.

    An index of pandas is returned as a column or a table, a table of any Arrow library as one of pyarrow. Any other
    value is returned as it is.
    """
    if is_instance(value, "pandas.io.parsers.TextFileReader"):
        return value.read(limit)
    if is_instance(value, "pandas.MultiIndex"):
        return value.to_frame(index=False)
    if is_instance(value, "pandas.Index"):
        return value.to_series(index=range(len(value)))
    if hasattr(type(value), "__arrow_c_stream__") and hasattr(type(value), "read_all"):
        with suppress(ImportError):
            import pyarrow as pa

            value = pa.RecordBatchReader.from_stream(value)
    if not is_instance(value, "pyarrow.RecordBatchReader"):
        try:
            return as_known_frame(value)
        except InferenceError:
            # A frame gives its columns, not its rows.
            if not isinstance(value, Iterable) or hasattr(type(value), "columns"):
                raise
            return value
    batches, size = [], 0
    for batch in value:
        batches.append(batch)
        size += len(batch)
        if limit is not None and size >= limit:
            break
    return loaded("pyarrow.Table").from_batches(batches, value.schema)


def part_of(value: Any, name: str) -> Any:
    """Return a field of an answer or of a truth, which may be an object; None if it has none of the name."""
    # Not its plain form, in which a set is a list.
    if isinstance(value, dict):
        return value.get(name)
    # A field that is computed can raise anything.
    with suppress(Exception):
        return getattr(value, name)
    return None
