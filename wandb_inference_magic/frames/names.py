"""The names of new columns, and which columns of the frame they may replace: those that an earlier run has written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from types import NoneType
from typing import TYPE_CHECKING, Final

from ..text import composed, digest_of, same_name, without_surrogates
from .columns import ONLY, ColumnNames, json_text, plain, schema_kinds
from .origins import NOWHERE

if TYPE_CHECKING:
    from ..schemas import Schema
    from .origins import Origin
    from .rows import Rows

# So many rows at the top show whether a frame is that of an earlier run.
ROWS_IN_SAMPLE: Final = 5


class WrittenColumns:
    """The columns that runs have written, known by their names and values.

    Nothing else distinguishes them from the user's: a column of the user's can be null in the same rows. A column is
    also the user's if a value of it was changed, or rows were added, removed or moved. The columns of a run that was
    complete are results, which another map may use: only the same map over the same rows takes them for its own.
    """

    def __init__(self) -> None:
        # By the digest of a column of errors: those of the columns beside it. No value is kept.
        self._digests: dict[str, set[str]] = {}
        # By the origin of a map that was complete: those of the columns that it wrote, each with the rows around it.
        self._complete: dict[str, dict[str, _Sample]] = {}
        self.names: set[str] = set()

    def add(self, table: Rows, names: Iterable[ColumnNames], origin: Origin = NOWHERE) -> None:
        """Add the columns of runs. `origin` says what a map asks: those of a complete run belong to the same map."""
        names = list(names)
        sample: _Sample | None = None
        for one in names:
            found = _digests(table, {*one.answers.values(), one.error, one.text} & {*table.columns})
            if (error := found.get(one.error)) is not None:
                self._digests.setdefault(error, set()).update(found.values())
            elif origin.digest:
                if sample is None:
                    ours = {name for each in names for name in (*each.answers.values(), each.error, each.text)}
                    sample = _sample(table, {*table.columns} - ours - self.names)
                self._complete.setdefault(origin.digest, {}).update(dict.fromkeys(found.values(), sample))
            self.names.update(found)

    def among(self, table: Rows, origin: Origin = NOWHERE) -> set[str]:
        """Return the columns of a table that were added, and are unchanged."""
        if not self.names.intersection(table.columns):
            return set()
        found = _digests(table, self.names & {*table.columns})
        ours = {one for digest in found.values() for one in self._digests.get(digest, ())}
        if complete := self._complete.get(origin.digest, {}):
            rows = _sample(table, table.columns)
            ours |= {digest for digest, sample in complete.items() if _are_same(rows, sample)}
        return {name for name, digest in found.items() if digest in ours}


# By the name of a column: the digest of its first values.
_Sample = dict[str, str]


def _sample(table: Rows, names: Iterable[str]) -> _Sample:
    """Return digests of the first rows. Values that are not simple count by their type: to read them may take long."""
    rows = list(islice(table, ROWS_IN_SAMPLE))
    simple = (str, int, float, bool, NoneType)
    return {
        name: digest_of(repr([one if type(one := row.get(name)) in simple else type(one) for row in rows]))
        for name in names
    }


def _are_same(rows: _Sample, earlier: _Sample) -> bool:
    """Return whether rows are those of an earlier run, as far as they have the same columns."""
    common = rows.keys() & earlier.keys()
    return bool(common) and all(rows[name] == earlier[name] for name in common)


def _digests(table: Rows, names: Iterable[str]) -> dict[str, str]:
    columns = {name: table.values(name) for name in names}
    return {
        name: digest_of(json_text([name, *map(plain, values)]))
        for name, values in columns.items()
        if values is not None
    }


def name_columns(
    table: Rows,
    schema: Schema | None,
    into: str,
    models: Sequence[str],
    written: WrittenColumns,
    origin: Origin = NOWHERE,
) -> tuple[list[ColumnNames], tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns of each model, the columns that they replace, and notices.

    A column of the frame is kept under its name: the column of the answers gets another one. Only the columns of an
    earlier run are replaced: one that left rows without an answer, or one of the same map, which is the `origin`.
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
    earlier = written.among(table, origin)
    # Two names that look the same are one.
    taken = {*map(composed, {*table.columns, *table.index_names} - earlier)}
    replaced, kept, unknown = [], [], []

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
            if origin.unknown and name in written.names:
                unknown.append(name)
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
    notices = [f"These columns equal those of an earlier run, and are replaced: {', '.join(replaced)}."]
    if unknown:
        kept.append(
            f"Whether this map has written {', '.join(unknown)} cannot be known, because its prompt has a value that "
            f"cannot be compared: {', '.join(origin.unknown)}. If it has, drop that first."
        )
    return names, tuple(replaced), (*(notices if replaced else []), *kept)


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
