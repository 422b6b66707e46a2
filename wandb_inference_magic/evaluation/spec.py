"""What an evaluation asks, and what it holds the answers against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set as AnySet
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, did_you_mean, shortened, shortened_repr, visible
from ..frames import (
    BOOLEAN,
    ONLY,
    STRUCT,
    Kind,
    are_yes_and_no,
    can_mean,
    choices_of,
    json_text,
    part_of,
    plain,
    read_nested,
    schema_kinds,
)
from ..schemas import VALIDATED, Mismatch
from ..text import is_missing, read_json_text, same_name
from .scorers import SCORERS, as_number, cannot_start

if TYPE_CHECKING:
    from ..batch import BatchSpec
    from ..frames import Row
    from ..schemas import Schema
    from .scorers import Scorer


# So many columns are named in an error.
MAX_NAMED: Final = 12


@dataclass(frozen=True)
class EvaluationSpec:
    """The candidates, the truth column and the scorer.

    Attributes
    ----------
    batches : mapping of str to BatchSpec
        What each prompt asks, by its name.
    models : sequence of str
        Each once.
    truth : str
        The column with the right answers.
    field : str or None
        The field of the schema that is compared. With None, the field named as `truth`, else all fields.
    samples : int
        How often each row is asked.
    scorer : Scorer
    stop_when_clear : bool
        Whether to stop when the comparison is decided.
    judge : str or None
        The model that says which answer is better. Then rows without truth are asked too.
    """

    batches: Mapping[str, BatchSpec]
    models: Sequence[str]
    truth: str
    field: str | None
    samples: int
    scorer: Scorer
    stop_when_clear: bool = False
    judge: str | None = None

    @property
    def _schema(self) -> Schema | None:
        """That of all prompts."""
        return next(iter(self.batches.values())).chat.schema

    @property
    def _fields(self) -> Sequence[str]:
        return () if self._schema is None else self._schema.fields

    @cached_property
    def compared_field(self) -> tuple[str | None, Kind]:
        """The name of the field that is compared, or None for the whole answer; and its type.

        A choice between two words such as yes and no is a boolean, as the truth of many frames is.
        """
        kinds, wanted = schema_kinds(self._schema), self.field or self.truth
        name = same_name(wanted, kinds) or (next(iter(kinds)) if len(kinds) == 1 else None)
        if name is None:
            return name, Kind(STRUCT, kinds)
        return name, Kind(BOOLEAN) if are_yes_and_no(self._choices(name)) else kinds[name]

    def _choices(self, field: str) -> list[Any] | None:
        """Return the values that a field can have, or the answer as a whole, if the schema lists them."""
        whole = self._schema.object_schema if self._schema else None
        return choices_of(whole if field == ONLY else part_of(part_of(whole, "properties"), field), whole)

    def compared(self, answer: Any) -> Any:
        """Return the part of an answer that is compared; None if there is no answer."""
        name, _ = self.compared_field
        return answer if answer is None or name in (None, ONLY) else part_of(answer, str(name))

    def right_answer(self, row: Row) -> Any:
        """Return what the answers to a row are compared with: its truth, or that field of it. None if it is not known.

        Without a schema, no answer is blank: then a blank truth is one that was not filled in.
        """
        truth, (name, kind) = row.get(self.truth), self.compared_field
        if is_missing(truth) or (self._schema is None and isinstance(truth, str) and not truth.strip()):
            return None
        if name in kind.fields:
            return truth
        given = truth
        if isinstance(truth, str) and truth.lstrip()[:1] in ("{", "["):
            with suppress(ValueError):
                given = read_nested(truth)
        read = self._as_answer(given)
        if name in (None, ONLY):
            return truth if read is None else read
        whole = given if read is None else read
        fields = plain(whole)
        return part_of(whole, str(name)) if isinstance(fields, dict) and name in fields else truth

    def _as_answer(self, truth: Any) -> Any:
        """Return an object or a list as the schema reads an answer: with its names, types and defaults.

        None if it does not fit, and for a function of the user, who knows the form of the truth.
        """
        value, schema = plain(truth), self._schema
        is_answer = isinstance(value, dict) or (isinstance(value, list) and not isinstance(truth, AnySet))
        if schema is None or not is_answer or not self.scorer.is_ours:
            return None
        # Secrets all read the same. Of an object without a field of the schema, only defaults would be read.
        has_fields = isinstance(value, dict) and value.keys() & schema.json_schema.get("properties", value)
        if "writeOnly" in str(schema.json_schema) or not (schema.wrapped or has_fields):
            return None
        with suppress(InferenceError, Mismatch, RecursionError, TypeError, ValueError):
            read = schema.check(read_json_text(json_text(value)))
            # A JSON schema may allow other fields, but no answer has them.
            is_closed = schema.is_strict and not schema.wrapped and isinstance(read, dict)
            return {name: one for name, one in read.items() if name in schema.fields} if is_closed else read
        return None

    def check(self, columns: Sequence[str]) -> None:
        """Raise if a column or a field does not exist, or a stop was asked for that cannot be.

        Raises
        ------
        InferenceError
            With similar names as a suggestion.
        """
        if self.truth not in columns:
            known = f"Columns: {', '.join(map(visible, columns[:MAX_NAMED]))}."
            raise cannot_start(f"There is no column {self.truth!r}.", did_you_mean(self.truth, columns) or known)
        if self.field is not None and self._schema is None:
            raise cannot_start("A field is compared, and the answers have none.", "Give a schema too.")
        if self.field is not None and same_name(self.field, self._fields) is None:
            raise cannot_start(f"The schema has no field {self.field!r}.", did_you_mean(str(self.field), self._fields))
        candidates = len(self.batches) * max(len(self.models), 1)
        if self.judge is not None and (candidates < 2 or self.samples > 1 or self.stop_when_clear):
            raise cannot_start(
                "A judge compares two or more candidates, with one answer for each row.",
                "Name two models (-m) or prompts (-p); leave out --samples and --stop-when-clear.",
            )
        if self.stop_when_clear and (candidates < 2 or self.scorer.measure.is_error):
            why = "there is one candidate" if candidates < 2 else f"the scorer {self.scorer.name} has no bound"
            remedy = "Name two models (-m) or prompts (-p)." if candidates < 2 else "Choose another scorer."
            raise cannot_start(f"--stop-when-clear compares two candidates, and {why}.", remedy)

    def check_truths(self, truths: Sequence[Any]) -> None:
        """Raise if no answer could be right, whatever the models say.

        The scorer needs numbers and no truth is one; the schema allows none of the truths; or whole answers would be
        compared with truths that have no fields.

        Raises
        ------
        InferenceError
            With what the truths are, or the fields of the schema.
        """
        given = [one for one in truths if not is_missing(one)]
        if self.scorer.measure.is_error and given and all(as_number(one) is None for one in given):
            raise cannot_start(
                f"The scorer {self.scorer.name} measures numbers, and no row has one in {self.truth!r}: "
                f"the first value is {shortened_repr(plain(given[0]))}.",
                "Make it a column of numbers, or choose another scorer.",
            )
        never = self.never_right(given)
        if given and len(never) == len(given) and self.judge is None:
            choices = self._choices(str(self.compared_field[0]))
            allowed = f"; the schema allows {shortened(', '.join(map(str, choices)))}" if choices else ""
            raise cannot_start(
                f"No answer can be right: {self.truth!r} has no value that the schema allows. "
                f"The first is {shortened_repr(plain(given[0]))}{allowed}.",
                "Convert the values of the column, or change the schema.",
            )
        fields = self._fields
        if self.compared_field[0] is not None or len(fields) < 2 or not self.scorer.is_ours:
            return
        known = [plain(one) for one in given]
        if known and not any(isinstance(one, dict) or str(one).lstrip()[:1] == "{" for one in known):
            raise cannot_start(
                f"The schema has {len(fields)} fields, and {self.truth!r} does not say which one it holds.",
                f"Name it: --field {fields[0]} (in Python: field={fields[0]!r}).",
            )

    def never_right(self, truths: Sequence[Any]) -> list[Any]:
        """Return the truths beside which no answer can be right, because the schema allows no such value.

        A scorer or a validator of the user's may know the form of the truth, and other scorers do not compare whole
        values: then it is none.
        """
        name, kind = self.compared_field
        is_whole = self.scorer in (SCORERS["equal"], SCORERS["exact"])
        if name is None or not is_whole or (self._schema and VALIDATED in str(self._schema.object_schema)):
            return []
        choices = self._choices(name)
        # Many rows have few labels.
        judged = lru_cache(maxsize=None, typed=True)(lambda one: can_mean(one, kind, choices))

        def may_be_right(one: Any) -> bool:
            return judged(one) if isinstance(one, str | int | float) else can_mean(one, kind, choices)

        return [one for one in truths if not is_missing(one) and not may_be_right(one)]
