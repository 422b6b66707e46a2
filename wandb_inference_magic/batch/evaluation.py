"""Comparison of models over the same rows: agreement, cost and time, to choose one for a job."""

from __future__ import annotations

from math import isnan
from numbers import Integral, Real
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from ..errors import InferenceError, did_you_mean
from ..messages import data_frame
from .map import answer_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..schemas import Schema
    from .map import Mapped
    from .rows import Rows
    from .run import BatchRun


def evaluated(mapped: Mapped, rows: Rows, schema: Schema | None, *, truth: str | None, field: str | None) -> Any:
    """Return a DataFrame with one row per model.

    Parameters
    ----------
    mapped : Mapped
        The runs of several models over the same rows.
    rows : Rows
    schema : Schema or None
        The schema of the answers.
    truth : str or None
        The column that holds the right answers. With None, the models are compared with each other.
    field : str or None
        The field of the schema to compare. With None, the field named as `truth` if there is one, else all fields.

    Raises
    ------
    InferenceError
        If a column or a field does not exist.
    """
    said = [_comparable(run, schema, field or truth) for run in mapped.runs]
    right = None if truth is None else _column(rows, truth)
    records = []
    for number, run in enumerate(mapped.runs):
        others = [one for place, one in enumerate(said) if place != number]
        agreement = (
            _share(said[number], right) if right is not None else _mean([_share(said[number], o) for o in others])
        )
        records.append({"model": run.model, **_facts(run), "agreement": agreement})
    return data_frame(records).set_index("model")


def _facts(run: BatchRun) -> dict[str, Any]:
    seconds = [one for one in run.seconds if one > 0]
    asked = run.done - run.kept
    return {
        "rows": len(run.answers),
        "failed": run.failed,
        "from_cache": run.kept,
        "seconds_median": median(seconds) if seconds else None,
        "seconds_p95": quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else None,
        "prompt_tokens": run.usage.prompt_tokens,
        "completion_tokens": run.usage.completion_tokens,
        "cost_usd": run.cost,
        "cost_usd_per_1000_rows": None if run.cost is None or not asked else run.cost / asked * 1000,
    }


def _comparable(run: BatchRun, schema: Schema | None, field: str | None) -> list[str | None]:
    """Return each row's answer in the form that is compared: case, outer blanks and final full stops are ignored."""
    columns = answer_columns(run.answers, schema, "answer")
    if field in columns:
        columns = {field: columns[field]}
    return [
        None if answer is None else "\n".join(_folded(values[number]) for values in columns.values())
        for number, answer in enumerate(run.answers)
    ]


def _folded(value: Any) -> str:
    # pandas stores whole numbers as floats in a column with missing values.
    if isinstance(value, Real) and not isinstance(value, Integral) and (number := float(value)).is_integer():
        return str(int(number))
    return str(value).strip().rstrip(".").casefold()


def _is_missing(value: Any) -> bool:
    """Return whether a value of a frame is missing: None, NaN, or the equivalents in pandas for other types."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, Real) and isnan(value))


def _column(rows: Rows, name: str) -> list[str | None]:
    if name not in rows.columns:
        raise InferenceError(
            f"There is no column {name!r}. Nothing was sent.", remedy=did_you_mean(name, rows.columns), cause="option"
        )
    return [None if _is_missing(row[name]) else _folded(row[name]) for row in rows]


def check(rows: Rows, schema: Schema | None, *, truth: str | None, field: str | None) -> None:
    """Raise if a column or a field does not exist, before anything is sent.

    Raises
    ------
    InferenceError
        With similar names as a suggestion.
    """
    if truth is not None:
        _column(rows, truth)
    fields = () if schema is None else tuple(schema.fields)
    if field is not None and field not in fields:
        raise InferenceError(
            f"The schema has no field {field!r}. Nothing was sent.", remedy=did_you_mean(field, fields), cause="option"
        )


def _share(ours: Sequence[str | None], theirs: Sequence[str | None]) -> float | None:
    """Return the share of rows that agree, among the rows where both have an answer."""
    both = [(a, b) for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
    return sum(a == b for a, b in both) / len(both) if both else None


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
