"""Comparison of models over the same rows: agreement, cost and time, to choose one for a job."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, did_you_mean
from ..messages import data_frame
from .agreement import NO_VALUE, compare_values, has_no_value
from .columns import ONLY, schema_kinds
from .kinds import STRUCT, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..schemas import Schema
    from .map import Mapped
    from .rows import Rows
    from .run import BatchRun


# The columns of the result, with their types.
TYPES: Final = {
    **dict.fromkeys(("rows", "failed", "from_cache"), "int64"),
    **dict.fromkeys(("seconds_median", "seconds_p95"), "float64"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), "int64"),
    **dict.fromkeys(("cost_usd", "cost_usd_per_1000_rows"), "float64"),
    **dict.fromkeys(("no_truth", "compared"), "int64"),
    "agreement": "float64",
}


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
    kind, answers = _answers(mapped.runs, schema, field or truth)
    right = None if truth is None else _column(rows, truth)
    records = []
    for number, run in enumerate(mapped.runs):
        others = [one for place, one in enumerate(answers) if place != number] if right is None else [right]
        found = [_known(compare_values(answers[number], other, kind)) for other in others]
        counts = {"no_truth": sum(one is NO_VALUE for one in right or ()), "compared": sum(map(len, found))}
        shares = [sum(one) / len(one) for one in found if one]
        agreement = sum(shares) / len(shares) if shares else None
        records.append({"model": run.model, **_facts(run), **counts, "agreement": agreement})
    # Without a record, one of zeros gives the table its columns.
    table = data_frame(records or [{"model": "", **dict.fromkeys(TYPES, 0)}]).astype(TYPES).set_index("model")
    return table.iloc[: len(records)]


def _known(found: Sequence[bool | None]) -> list[bool]:
    return [same for same in found if same is not None]


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


def _answers(runs: Sequence[BatchRun], schema: Schema | None, field: str | None) -> tuple[Kind, list[list[Any]]]:
    """Return the type of what is compared, and the answers of each run."""
    kinds = schema_kinds(schema)
    name = field if field in kinds else next(iter(kinds)) if len(kinds) == 1 else None
    kind = Kind(STRUCT, kinds) if name is None else kinds[name]

    def compared(answer: Any) -> Any:
        if answer is None:
            return NO_VALUE
        if name in (None, ONLY):
            return answer
        # Not its plain form, in which a set is a list.
        return answer.get(name) if isinstance(answer, dict) else getattr(answer, str(name), None)

    return kind, [[compared(answer) for answer in run.answers] for run in runs]


def _column(rows: Rows, name: str) -> list[Any]:
    if name not in rows.columns:
        raise InferenceError(
            f"There is no column {name!r}. Nothing was sent.", remedy=did_you_mean(name, rows.columns), cause="option"
        )
    # A dict of a list may lack the key.
    values = (row.get(name) for row in rows)
    return [NO_VALUE if has_no_value(value) else value for value in values]


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
