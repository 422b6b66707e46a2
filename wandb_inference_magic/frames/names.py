"""The names of new columns, and which columns of the frame they may replace: those that an earlier run has written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, count
from typing import TYPE_CHECKING

from ..text import composed, same_name, without_surrogates
from .columns import ONLY, ColumnNames, json_text, plain, schema_kinds

if TYPE_CHECKING:
    from ..schemas import Schema
    from .rows import Rows


class WrittenColumns:
    """The columns that runs have written beside their column of errors, known by their names and values.

    Nothing else distinguishes them from the user's: a column of the user's can be null in the same rows. A column is
    also the user's if a value of it was changed, or rows were added, removed or moved.
    """

    def __init__(self) -> None:
        # By the digest of a column of errors: those of the columns beside it. No value is kept.
        self._digests: dict[bytes, set[bytes]] = {}
        self._names: set[str] = set()

    def add(self, table: Rows, names: Iterable[ColumnNames]) -> None:
        """Add the columns of those runs that left rows without an answer, or with a flawed one."""
        for one in names:
            if one.error not in table.columns:
                continue
            found = _digests(table, {*one.answers.values(), one.error, one.text} & {*table.columns})
            if (error := found.get(one.error)) is not None:
                self._digests.setdefault(error, set()).update(found.values())
                self._names.update(found)

    def among(self, table: Rows) -> set[str]:
        """Return the columns of a table that were added, and are unchanged."""
        if not self._names.intersection(table.columns):
            return set()
        found = _digests(table, self._names & {*table.columns})
        ours = {one for digest in found.values() for one in self._digests.get(digest, ())}
        return {name for name, digest in found.items() if digest in ours}


def _digests(table: Rows, names: Iterable[str]) -> dict[str, bytes]:
    columns = {name: table.values(name) for name in names}
    return {
        name: sha256(json_text([name, *map(plain, values)]).encode()).digest()
        for name, values in columns.items()
        if values is not None
    }


def name_columns(
    table: Rows, schema: Schema | None, into: str, models: Sequence[str], written: WrittenColumns
) -> tuple[list[ColumnNames], tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns of each model, the columns that they replace, and notices.

    A column of the frame is kept under its name: the column of the answers gets another one. Only the columns of an
    earlier run, of which rows are without an answer, are replaced.
    """
    # Its own characters: a member of an Enum would give its name.
    into = str.__str__(into)
    wishes = {
        name: into if name == ONLY else without_surrogates(name).replace("\0", "\ufffd")
        for name in schema_kinds(schema)
    }
    suffixes = _suffixes(models)
    errors = [error_column(f"{into}{suffix}") for suffix in suffixes]
    texts = [f"{into}{suffix}_text" for suffix in suffixes]
    wanted = {*errors, *texts, *(f"{name}{suffix}" for suffix in suffixes for name in wishes.values())}
    earlier = written.among(table)
    # Two names that look the same are one.
    taken = {*map(composed, {*table.columns, *table.index_names} - earlier)}
    replaced, kept = [], []

    def choose_name(name: str, others: Iterable[str], what: str = "") -> str:
        name = same_name(name, earlier) or name
        free = (
            name if composed(name) not in taken else next(one for one in others if composed(one) not in taken | wanted)
        )
        taken.add(composed(free))
        if free in earlier:
            replaced.append(free)
        if free != name and what:
            place = "an index" if same_name(name, table.index_names) else "a column"
            kept.append(f"The frame has {place} {name!r}, which is kept: {what} are in {free!r}.")
        return free

    names = []
    for suffix, text in zip(suffixes, texts, strict=True):
        answers = {}
        for field_name, wish in wishes.items():
            name = f"{wish}{suffix}"
            extended = [] if field_name == ONLY else [f"{name}_{into}"]
            answers[field_name] = choose_name(name, chain(extended, _numbered(name)), "the answers")
        error = error_column(answers.get(ONLY, f"{into}{suffix}"))
        error = choose_name(error, _numbered(error), "the reasons why a row has no answer")
        # Few runs have this column: nothing is said of its name.
        names.append(ColumnNames(answers, error, choose_name(text, _numbered(text))))
    notices = [f"The columns of an earlier run are replaced: {', '.join(replaced)}."] if replaced else []
    return names, tuple(replaced), (*notices, *kept)


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}_{number}" for number in count(2))


def _suffixes(models: Sequence[str]) -> list[str]:
    """Return the suffixes that distinguish the columns of several models.

    A suffix is the last part of the model's name, or the whole name if that part is not unique.
    """
    if len(models) <= 1:
        return [""]
    short = [model.rpartition("/")[2] for model in models]
    return [f"_{name if short.count(name) == 1 else model}" for model, name in zip(models, short, strict=True)]


def error_column(into: str) -> str:
    """Return the name of the column that says why a row has no answer."""
    return f"{into}_error"
