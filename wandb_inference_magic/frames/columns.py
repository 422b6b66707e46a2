"""Columns of answers, and their values in plain form."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AnySet
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from ..errors import shortened, users_failures
from ..imports import loaded
from ..messages import FieldFailure, fields_of as fields_of
from ..text import counted, is_missing, python_values, without_surrogates
from . import kinds
from .kinds import Kind, finalized, kind_of_schema, widened

if TYPE_CHECKING:
    from ..schemas import Schema

# Stands for the name of a field where an answer is no record.
ONLY: Final = ""
# How a notice says that texts were changed.
HALVES: Final = "halves of characters (lone surrogates): they are replaced"
# Stands for a count of rows in a report.
_ROWS: Final = "{rows}"
_NUMBERS: Final[dict[str, type]] = {kinds.INT53: int, kinds.INT64: int, kinds.FLOAT: float, kinds.DECIMAL: Decimal}
# The types that values do not change, and those that they hold.
_FIXED: Final = {
    **{name: (name,) for name in (kinds.BOOLEAN, kinds.FLOAT, kinds.STRING, kinds.TEXT, kinds.JSON, kinds.DURATION)},
    kinds.INT53: (kinds.INT53, kinds.INT64),
}


def plain(value: Any, *, computed: bool = True) -> Any:
    """Return a value as dicts, lists and scalars: bool, int, float, str, Decimal and those of `datetime`.

    Models, dataclasses and named tuples become dicts by the names of their fields. A value of any other type becomes
    its text. Without `computed`, fields that pydantic computes are left out: they follow from the others. One that
    raises becomes a FieldFailure.
    """
    try:
        return _plain(value, computed=computed)
    except users_failures():
        return _text_of(value)


def _plain(value: Any, *, computed: bool) -> Any:
    if value is None or type(value) in (bool, int, float, str, Decimal, date, datetime, time, timedelta, FieldFailure):
        return value
    if value is loaded("pandas.NA") or value is loaded("pandas.NaT"):
        return None
    if isinstance(value, Enum):
        return _plain(value.value, computed=computed)
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal | date | time | timedelta):
        return value
    if isinstance(value, AnySet):
        # A set has another order in every process.
        return sorted((_plain(one, computed=computed) for one in value), key=repr)
    return _of_object(value, computed=computed)


def _of_object(value: Any, *, computed: bool) -> Any:
    from pydantic import RootModel

    if isinstance(value, RootModel):
        return _plain(value.root, computed=computed)
    record = value if isinstance(value, Mapping) else fields_of(value, computed=computed)
    if record is not None:
        return {_name(name): _plain(one, computed=computed) for name, one in record.items()}
    if isinstance(value, Sequence | Iterator):
        return [_plain(one, computed=computed) for one in value]
    if hasattr(value, "tolist"):
        # Numbers and arrays of NumPy.
        return _plain(python_values(value), computed=computed)
    return str(value.pattern if isinstance(value, re.Pattern) else value)


def _name(key: Any) -> str:
    key = key.value if isinstance(key, Enum) else key
    return key if type(key) is str else _text_of(key)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except users_failures():
        return f"<{type(value).__name__}>"


def json_text(value: Any) -> str:
    """Return a plain value as JSON text; dates, times and decimals are strings in it."""

    def text(one: Any) -> str:
        return str(one.isoformat() if isinstance(one, date | time) else one)

    found = json.dumps(value, ensure_ascii=False, default=text)
    # A lone surrogate can be escaped.
    return found if without_surrogates(found) == found else json.dumps(value, default=text)


# Columns ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """The values of a column, all of one type; None where there is none."""

    kind: Kind
    values: list[Any]

    def padded(self, size: int) -> TypedColumn:
        """Return the column with so many values."""
        return replace(self, values=[*self.values, *[None] * (size - len(self.values))])

    def in_json(self) -> TypedColumn:
        """Return the column with its values as JSON text."""
        return TypedColumn(Kind(kinds.JSON), [None if value is None else json_text(value) for value in self.values])


def _cell(kind: Kind, value: Any, reports: dict[str, None]) -> Any:
    """Return a plain value as one of a column, and add to `reports` what is to be said of it.

    NaN is a missing value: figures of the column would be missing, or NaN, where pandas keeps it as a number.
    """
    if is_missing(value):
        return None
    if kind.name == kinds.JSON:
        reports[f"{kind.why}: they are JSON text"] = None
        return json_text(value)
    if kind.name == kinds.TEXT:
        reports[f"{kind.why}: they are text"] = None
        # Of a scalar that is no text, JSON text needs no escapes.
        text = value if isinstance(value, str) else json_text(value).strip('"')
        return _cell(Kind(kinds.STRING), text, reports)
    if kind.name == kinds.STRUCT:
        # In a column of objects, parquet does not take one without a field if no other has one.
        value = value or dict.fromkeys(list(kind.fields)[:1])
        return {name: _cell(kind.fields[name], one, reports) for name, one in value.items()}
    if kind.name == kinds.LIST:
        return [_cell(kind.item or Kind(kinds.ANY), one, reports) for one in value]
    if kind.name in _NUMBERS:
        return _NUMBERS[kind.name](value)
    if kind.name == kinds.TIMESTAMP_UTC and value.tzinfo is None:
        reports["times with a time zone and times without one: those without are read as UTC"] = None
        return value.replace(tzinfo=timezone.utc)
    if kind.name == kinds.STRING and (text := without_surrogates(value)) != value:
        reports[HALVES] = None
        return text
    return value


def without_failures(value: Any, reports: dict[str, None]) -> Any:
    """Return a plain value with None in place of each computed field that raised, and add its report to `reports`."""
    if isinstance(value, FieldFailure):
        reports[f"no value{_ROWS}, where {value.said}"] = None
        return None
    if type(value) is dict:
        return {name: without_failures(one, reports) for name, one in value.items()}
    return [without_failures(one, reports) for one in value] if type(value) is list else value


def described(reports: Iterable[Iterable[str]]) -> list[str]:
    """Return what each report says, with the number of rows that have it."""
    rows = Counter(report for of_row in reports for report in of_row)
    return [report.replace(_ROWS, f" in {counted(one, 'row')}") for report, one in rows.items()]


def column_of(kind: Kind, values: Sequence[Any]) -> tuple[TypedColumn, list[str]]:
    """Return a column of plain values, and reports of the values that it cannot hold as they are.

    Parameters
    ----------
    kind : Kind
        What the schema says of the values.
    values : sequence
    """
    reports = [dict[str, None]() for _ in values]
    values = [without_failures(value, of_row) for value, of_row in zip(values, reports, strict=True)]
    final = finalized(reduce(widened, values, kind))
    # Beside one that has a field, parquet takes an object without.
    keeps_empty = final.name == kinds.STRUCT and any(values)
    cells = [
        {} if keeps_empty and value == {} else _cell(final, value, of_row)
        for value, of_row in zip(values, reports, strict=True)
    ]
    return TypedColumn(final, cells), described(reports)


def schema_kinds(schema: Schema | None) -> dict[str, Kind]:
    """Return the type of each field of an answer; that of an answer that is no record under ONLY."""
    if schema is None:
        return {ONLY: Kind(kinds.STRING)}
    whole_kind = kind_of_schema(schema.object_schema)
    if not schema.fields:
        return {ONLY: whole_kind}
    return {name: whole_kind.fields.get(name, Kind(kinds.ANY)) for name in schema.fields}


def _not_named(values: Sequence[Any], schema: Schema | None) -> list[str]:
    """Return the fields of plain answers that a schema allows and does not name."""
    known = () if schema is None else schema.fields
    names = (name for one in values if known and isinstance(one, dict) for name in one if name not in known)
    return list(dict.fromkeys(names))


def plain_fields(values: Sequence[Any], schema: Schema | None) -> dict[str, list[Any]]:
    """Return the values of each field of plain answers; those of answers that are no records under ONLY."""
    if schema is None or not schema.fields:
        return {ONLY: [*values]}
    return {name: [one.get(name) if isinstance(one, dict) else None for one in values] for name in schema.fields}


def typed_column(kind: Kind, values: Sequence[Any]) -> tuple[TypedColumn, dict[int, str]]:
    """Return a column whose type follows from the schema alone, and by row what is to be said of its value.

    A type that the schema leaves open is `any`: a column of objects.
    """
    held: list[Any] = []
    said: dict[int, str] = {}
    for number, value in enumerate(values):
        reports: dict[str, None] = {}
        one = without_failures(value, reports)
        texts = [f"holds {report.replace(_ROWS, '')}" for report in reports]
        if kind.name in _FIXED and one is not None and widened(kind, one).name not in _FIXED[kind.name]:
            texts.append(f"cannot hold {shortened(json_text(one))}")
            one = None
        held.append(one)
        if texts:
            said[number] = ", and ".join(texts)
    column, _ = column_of(kind, held)
    return replace(column, kind=kind if kind.name in _FIXED else Kind(kinds.ANY)), said


# Of several runs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The names of one model's columns in the result.

    Attributes
    ----------
    answers : mapping
        The column of each field, or that of the whole answer under ONLY.
    error : str
        The column that says why a row has no answer.
    text : str
        The column of the texts that came in place of answers.
    """

    answers: Mapping[str, str]
    error: str
    text: str


def result_columns(
    results: Sequence[tuple[Sequence[Any], Mapping[int, str], Mapping[int, str]]],
    schema: Schema | None,
    names: Sequence[ColumnNames],
    length: int | None,
) -> tuple[dict[str, TypedColumn], tuple[str, ...]]:
    """Return the columns that runs add to their rows, and notices.

    Parameters
    ----------
    results : sequence of tuple
        The plain answers of each run, and by row number its errors and the texts in place of answers. Empty if there
        are no rows.
    schema
    names : sequence of ColumnNames
        The names of the columns of each run.
    length : int or None
        The number of rows, where it is known.
    """
    notices: dict[str, None] = {}
    columns: dict[str, TypedColumn] = {}
    expected = schema_kinds(schema)
    for named, (answers, errors, texts) in zip(names, results or [((), {}, {})] * len(names), strict=True):
        size = max(len(answers), length or 0)
        values = plain_fields(answers, schema)
        for field_name, name in named.answers.items():
            column, reports = column_of(expected[field_name], values[field_name])
            columns[name] = column.padded(size)
            notices |= dict.fromkeys(f"{name!r} holds {report}." for report in reports)
        if others := _not_named(answers, schema):
            notices[f"Fields of answers that the schema does not name are left out: {', '.join(others)}."] = None
        if errors:
            columns[named.error] = column_of_texts(errors, size)
        if texts:
            columns[named.text] = column_of_texts(texts, size)
    return columns, tuple(notices)


def column_of_texts(texts: Mapping[int, str], size: int) -> TypedColumn:
    """Return the column of texts by row number, such as the reasons why rows have no answer."""
    column, _ = column_of(Kind(kinds.STRING), [texts.get(number) for number in range(size)])
    return column
