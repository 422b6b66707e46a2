"""The rows of an evaluation as a frame: the columns of the input, and what each candidate made of them."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..batch import column_of, plain, with_label, with_pandas_columns
from ..messages import data_frame

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from ..batch import Kind, Row, TypedColumn
    from .candidate import Candidate


def frame_of(
    source: Sequence[Row],
    candidates: Sequence[Candidate],
    kind: Kind,
    more: Mapping[str, list[Any]],
    *,
    has_scores: bool,
) -> Any:
    """Return the rows as a DataFrame. The answers have the types of a map's columns.

    Parameters
    ----------
    source : sequence of Row
    candidates : sequence of Candidate
    kind : Kind
        The type of an answer: what the schema says of it, or ANY for the answers to several samples.
    more : mapping
        Further columns, by their names.
    has_scores : bool
        Whether answers have scores besides being right or wrong.
    """
    # A column of the input that has the name of one of the evaluation is kept.
    given = {name for row in source for name in with_label(row)}
    columns: dict[str, list[Any]] = {}
    answers: dict[str, TypedColumn] = {}
    for one in candidates:
        end = "" if len(candidates) == 1 else f" {one.label}"
        for name, values in _columns(one, has_scores=has_scores).items():
            columns[_free(f"{name}{end}", given)] = values
        name = _free(f"answer{end}", given)
        answers[name] = column_of(kind, [plain(value) for value in columns[name]])[0]
    columns |= {_free(name, given): values for name, values in more.items()}
    records = [
        dict(with_label(row)) | {name: values[number] for name, values in columns.items()}
        for number, row in enumerate(source)
    ]
    frame = data_frame(records)
    return with_pandas_columns(frame, answers)[0] if records else frame


def _columns(one: Candidate, *, has_scores: bool) -> dict[str, list[Any]]:
    is_sampled = any(len(each) != 1 for each in one.answers)
    known = [[each for each in seconds if each > 0] for seconds in one.seconds]
    return {
        "answer": one.answers if is_sampled else [each[0] for each in one.answers],
        "right": one.right if is_sampled else [_as_bool(each) for each in one.right],
        **({"score": one.scores} if has_scores else {}),
        "seconds": [fmean(each) if each else None for each in known],
        "error": [next((each for each in errors if each), None) for errors in one.errors],
    }


def is_answered(answers: Sequence[Any], errors: Sequence[str]) -> bool:
    """Return whether all samples of a row are answered. The answer may be null."""
    return all(one is not None or not error for one, error in zip(answers, errors, strict=True))


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name = f"{name}_eval"
    return name


def _as_bool(value: float | None) -> bool | None:
    return None if value is None else value == 1
