"""Answers as columns of frames, and what is read back of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from io import BytesIO
from typing import Any, NamedTuple

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    create_model,
)
from typing_extensions import TypedDict

from wandb_inference_magic.frames.columns import plain, result_columns
from wandb_inference_magic.frames.names import WrittenColumns, name_columns
from wandb_inference_magic.frames.rows import read_rows
from wandb_inference_magic.schemas import Schema, schema_of


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Point(NamedTuple):
    x: int
    y: float = 0.5


def frame_of(library: str, data: Mapping[str, list[Any]]) -> Any:
    makers = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    if library == "list":
        return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    return makers[library](dict(data))


def framed(frame: Any, answers: list[Any], schema: Any, into: str = "reply") -> tuple[Any, tuple[str, ...]]:
    """Return a frame with the columns of answers, and the notices."""
    rows = read_rows(frame)
    schema = schema if schema is None or isinstance(schema, Schema) else schema_of(schema)
    rows.read_rest()
    names, dropped, renamed = name_columns(rows, schema, into, [], WrittenColumns())
    columns, reports = result_columns([([plain(one) for one in answers], {}, {})], schema, names, rows.length)
    out, problems = rows.with_columns(columns, dropped)
    return out, (*renamed, *reports, *problems)


def values_of(frame: Any, name: str) -> list[Any]:
    if isinstance(frame, pd.DataFrame):
        return frame[name].tolist()
    return frame[name].to_pylist() if isinstance(frame, pa.Table) else frame[name].to_list()


def from_parquet(frame: Any) -> Any:
    """Return a frame as it comes back from a parquet file."""
    file = BytesIO()
    if isinstance(frame, pd.DataFrame):
        frame.to_parquet(file)
        assert list(pd.read_parquet(BytesIO(file.getvalue()))) == list(frame)
        # Inside structs and lists, pandas itself reads whole numbers beside missing ones as floats, and times in UTC
        # without their zone.
        return pq.read_table(BytesIO(file.getvalue()))
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(file)
        return pl.read_parquet(BytesIO(file.getvalue()))
    pq.write_table(frame, file)
    return pq.read_table(BytesIO(file.getvalue()))


def type_of(frame: Any, name: str) -> str:
    if isinstance(frame, pd.DataFrame):
        return str(frame[name].dtype)
    return str(frame.schema.field(name).type if isinstance(frame, pa.Table) else frame.schema[name])


def in_json(value: Any) -> Any:
    """Return an answered value as it is in JSON text."""
    if isinstance(value, dict):
        return {name: in_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [in_json(one) for one in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | timedelta) else value


def is_empty(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def is_same(read: Any, answered: Any) -> bool:
    """Return whether a value that was read is the plain value that was answered."""
    if hasattr(read, "tolist"):
        read = read.tolist()
    if answered is None or (isinstance(answered, float) and math.isnan(answered)):
        return is_empty(read) or read == "NaN" or (isinstance(read, dict) and all(map(is_empty, read.values())))
    if isinstance(read, str) and not isinstance(answered, str):
        # Dates and decimals are without quotes, unless they are inside of JSON text.
        return read == in_json(answered) or json_equal(json.loads(read), in_json(answered))
    if isinstance(read, datetime) and isinstance(answered, datetime) and answered.tzinfo is None:
        return read == answered.replace(tzinfo=read.tzinfo and timezone.utc)
    if isinstance(answered, dict):
        # A field that another row has is without a value here.
        return isinstance(read, dict) and all(
            is_same(read.get(name), answered.get(name)) for name in {**read, **answered}
        )
    if isinstance(answered, list):
        return len(read) == len(answered) and all(map(is_same, read, answered))
    if isinstance(answered, str):
        return (
            read == answered
            or read == answered.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            or (json_equal(json.loads(read), answered))
        )
    if isinstance(answered, date) and not isinstance(answered, datetime):
        return read == answered or read == datetime(answered.year, answered.month, answered.day)
    return bool(read == answered) and isinstance(read, bool) == isinstance(answered, bool)


def json_equal(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def record_of(kind: str, fields: dict[str, Any]) -> Any:
    if kind == "model":
        return create_model("Record", **{name: (one, ...) for name, one in fields.items()})
    if kind == "dataclass":
        return make_dataclass("Record", [(name, one, field()) for name, one in fields.items()])
    if kind == "named tuple":
        return NamedTuple("Record", list(fields.items()))
    return TypedDict("Record", fields)  # type: ignore[operator]


SCALARS = "price float, n int, sure bool, label good|bad, when date, note text?"
SCALAR_TYPES = {
    "pandas": ["Float64", "Int64", "boolean", "object"],
    "polars": ["Float64", "Int64", "Boolean", "Date"],
    "pyarrow": ["double", "int64", "bool", "date32[day]"],
}


class Address(BaseModel):
    city: str
    zip_code: int | None


class Person(BaseModel):
    name: str
    address: Address
    friends: list[Address]
