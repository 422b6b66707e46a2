"""What is kept on disk of a row, what it took, and what the next run makes of it: two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Final

from ..catalog import usd
from ..text import sum_or_none

if TYPE_CHECKING:
    from ..messages import Reply


class Kept(Enum):
    """What is on disk of a row. The value says what the next run does.

    Texts are read by the schema of that run. With `retry_failed`, a failure that it would report is asked for again.
    """

    ANSWER = "reads it. If it does not fit any more, asks for another one, which is kept beside it"
    UNREPAIRED = "reads it. If it does not fit, asks for a repair; if repairs are off, reports the failure"
    UNFIT = "reads it. If it does not fit, reports the failure"
    FAILED = "reports the failure"
    EMPTY = "asks once more"

    def is_repaired(self, *, repair: bool, retry_failed: bool) -> bool:
        """Return whether a text that does not fit is repaired, by what the run's options say."""
        return self is Kept.UNREPAIRED and repair and not retry_failed

    def may_be_sent(self, *, repair: bool, retry_failed: bool) -> bool:
        """Return whether a run with these options sends a request for the row, if the text still does not fit."""
        if retry_failed:
            return self is not Kept.ANSWER
        return self is Kept.EMPTY or self.is_repaired(repair=repair, retry_failed=False)


@dataclass(frozen=True, slots=True)
class Paid:
    """What calls took: their tokens, in and out, and their cost in USD. None if it is not known.

    As a text, it is the cost. Calls that were not made are not free.
    """

    tokens: int | None = 0
    cost: float | None = 0.0

    @classmethod
    def of(cls, calls: Sequence[Reply]) -> Paid:
        """Return what the calls took that these replies came of."""
        tokens = sum_or_none([None if call.usage is None else call.usage.total_tokens for call in calls])
        return cls(tokens if tokens is None else int(tokens), sum_or_none([0.0, *(call.cost for call in calls)]))

    def __add__(self, other: Paid) -> Paid:
        tokens = sum_or_none([self.tokens, other.tokens])
        return Paid(tokens if tokens is None else int(tokens), sum_or_none([self.cost, other.cost]))

    def __str__(self) -> str:
        return "nothing" if self == Paid() else usd(self.cost)


class Asked(IntEnum):
    """What the last request of a row was: the columns of the table."""

    FIRST = 0
    # After an earlier run had an empty reply.
    AGAIN = auto()
    # The repair of an answer of this run.
    REPAIR = auto()
    # The repair of an answer that was on disk.
    REPAIR_OF_KEPT = auto()


class Ended(Enum):
    """How the last request of a row has failed: the rows of the table."""

    # A validator of the user's failed on the answer, which may be right.
    UNREAD = auto()
    # The answer does not fit the schema.
    UNFIT = auto()
    # The reply has no text, and does not say why.
    EMPTY = auto()
    # The answer was cut by a limit or a filter, or the model refused to answer.
    CUT = auto()
    # It was cut by a budget's limit: there may be more in the next run.
    CUT_BY_BUDGET = auto()
    # The service refused the request, and would again.
    REFUSED = auto()
    # Any other failure.
    PASSING = auto()

    @property
    def is_answer(self) -> bool:
        """Whether the model has answered, and would not do so better with a larger budget."""
        return self in (Ended.UNREAD, Ended.UNFIT, Ended.EMPTY, Ended.CUT)


_ANSWER, _UNREPAIRED, _UNFIT, _FAILED, _EMPTY = Kept
# The columns are those of Asked. Where the repair of an answer of this run failed, UNREPAIRED is that answer. None
# leaves what is on disk as it is.
_KEPT: Final[dict[Ended, tuple[Kept | None, ...]]] = {
    Ended.UNREAD: (_ANSWER, _ANSWER, _ANSWER, _ANSWER),
    Ended.UNFIT: (_UNREPAIRED, _UNREPAIRED, _UNFIT, _UNFIT),
    Ended.EMPTY: (_EMPTY, _FAILED, _UNREPAIRED, _UNFIT),
    Ended.CUT: (_FAILED, _FAILED, _FAILED, _FAILED),
    Ended.CUT_BY_BUDGET: (None, None, None, None),
    Ended.REFUSED: (_FAILED, _FAILED, _UNREPAIRED, _FAILED),
    Ended.PASSING: (None, None, _UNREPAIRED, None),
}


def kept_of(ended: Ended, asked: Asked) -> Kept | None:
    """Return what is kept of a row that has failed, or None for nothing new."""
    return _KEPT[ended][asked]
