"""The results of a run over rows so far, by row number and in figures."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ..frames import plain
from ..rendering import why_flawed
from ..spending import NOTHING
from ..text import counted, sum_or_none
from .kept import Ended, Paid

if TYPE_CHECKING:
    from ..errors import InferenceError
    from ..messages import Reply, Usage
    from .cache import Answer


# The reason of a row that a run has not come to, or that it was interrupted at.
UNANSWERED: Final = "Not answered yet."
# A run ends after this many failures in a row, or after as many as may be in flight, if that is more.
MAX_FAILURES: Final = 10
MAX_REPORTS_SHOWN: Final = 2


# Without slots: Python 3.10 would put its own method in place of `__setstate__`.
@dataclass(frozen=True)
class RunTotals:
    """What a run took.

    Attributes
    ----------
    tokens : int
        Those of all its calls, in and out.
    cost : float or None
        In USD; None if the cost of a call is not known.
    cached, replayed : int
        The number of rows whose result was on disk, and of those that were on a cassette.
    answers : Paid
        What all its answers took, also those that an earlier run has paid for.
    """

    tokens: int
    cost: float | None
    cached: int
    replayed: int
    answers: Paid

    def __getstate__(self) -> list[Any]:
        return [getattr(self, one.name) for one in fields(self)]

    def __setstate__(self, state: Sequence[Any]) -> None:
        # Of an earlier version, it is not known what its answers took.
        for one, value in zip(fields(self), (*state, Paid(None, None)), strict=False):
            object.__setattr__(self, one.name, value)


@dataclass(kw_only=True)
class RunResults:
    """The results of one model's run over rows, during the run and after it.

    Attributes
    ----------
    answers : list
        The text of each row that was read, or with a schema the object that the text stands for; None if there is no
        answer.
    errors : dict of int to str
        Why rows have no answer, or a flawed one, by row number.
    columns : tuple of str
        The names of the columns of the answers, if there will be any.
    texts : dict of int to str
        What the models wrote in place of an answer, by row number: it does not fit the schema, or broke off.
    seconds : array of float
        How long each answer took when it was made; 0 if there is none.
    cached, shared, replayed : int
        The number of rows whose result was on disk, was taken from an equal row, or was on a cassette.
    uncounted : int
        The number of calls whose tokens the endpoint did not count.
    cost : float or None
        In USD; None if the cost of a call is not known.
    notices : tuple of str
        What the user should know about the run.
    cut : int
        The number of answers that were cut by the limit that a budget added.
    flawed : int
        The number of answers that were cut or refused. The reasons are in `errors`.
    shortened : int
        The number of rows in whose prompts values were cut.
    failed_before : set of int
        The rows without an answer that failed in an earlier run and were not sent again.
    paid_before : Paid
        What the answers that were on disk took when they were made.
    """

    answers: list[Any] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    texts: dict[int, str] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("f"))
    cached: int = 0
    shared: int = 0
    replayed: int = 0
    usage: Usage = NOTHING
    uncounted: int = 0
    cost: float | None = 0.0
    notices: tuple[str, ...] = ()
    cut: int = 0
    flawed: int = 0
    shortened: int = 0
    failed_before: set[int] = field(default_factory=set)
    paid_before: Paid = field(default_factory=Paid)

    def __post_init__(self) -> None:
        self._lock = Lock()
        # A dict: each row may have a report of its own.
        self._reports: dict[str, None] = {}
        # By the number of a row that has not ended: the equal rows that wait for its result.
        self._open: dict[int, list[int]] = {}
        # By row number. A field that is computed may have another value each time.
        self._plain: dict[int, Any] = {}
        # Rows with a result that is not on disk yet. They are not done: the kernel may be killed.
        self.unwritten: list[int] = []

    @property
    def done(self) -> int:
        """The number of rows that have an answer or an error."""
        return max(len(self.answers) - len(self._open), 0)

    @property
    def failed(self) -> int:
        """The number of rows without an answer."""
        return len(self.errors) - self.flawed

    @property
    def reports(self) -> tuple[str, ...]:
        """What may be missing of replies, and irregularities in the counts and costs of the calls, each once."""
        return tuple(self._reports)

    @property
    def totals(self) -> RunTotals:
        """What it took so far, as values that do not hold the run."""
        tokens = self.usage.total_tokens
        answers = self.paid_before + Paid(None if self.uncounted else tokens, self.cost)
        return RunTotals(tokens, self.cost, self.cached, self.replayed, answers)

    def plain_answers(self, most: int | None = None) -> list[Any]:
        """Return the first answers in plain form (see `plain`): what is shown of them, and is in columns."""
        return [
            answer if answer is None or type(answer) is str else self._plain_answer(number, answer)
            for number, answer in enumerate(self.answers[:most])
        ]

    def _plain_answer(self, number: int, answer: Any) -> Any:
        if number not in self._plain:
            # Another thread may do so at the same time.
            self._plain.setdefault(number, plain(answer))
        return self._plain[number]

    def add_row(self) -> int:
        """Add a row that was read. Return its number."""
        number = len(self.answers)
        # First: another thread may look at the rows.
        self._open[number] = []
        self.answers.append(None)
        self.seconds.append(0.0)
        return number

    def take(self, number: int, reply: Reply, answer: Any) -> None:
        """Store the answer of a row, also a flawed one. The row is done once it is on disk."""
        # Before the row has ended: another thread may look at it.
        if flaw := why_flawed(reply):
            self.errors[number] = flaw
            self.flawed += 1
        self.answers[number], self.seconds[number] = answer, reply.seconds
        self.unwritten.append(number)
        self.replayed += reply.replayed

    def take_kept(self, number: int, cached: Answer) -> None:
        """Count a row as done whose result was on disk."""
        self.report(*cached.reports)
        self.seconds[number] = cached.seconds
        self.paid_before += cached.paid
        self.end_row(number)
        self.cached += 1

    def fail_row(self, number: int, error: InferenceError, text: str) -> None:
        """Store why a row has no answer, and the text that came in place of one."""
        self.errors[number] = str(error)
        if text:
            self.texts[number] = text

    def has_ended(self, number: int) -> bool:
        """Return whether a row has an answer, which may be null, or has failed."""
        return number < len(self.answers) and number not in self._open

    def reasons(self, length: int | None) -> Mapping[int, str]:
        """Return why rows have no answer, or a flawed one, also those that were not answered yet, by row number."""
        size = max(len(self.answers), length or 0)
        return {number: UNANSWERED for number in range(size) if not self.has_ended(number)} | self.errors

    def end_row(self, number: int) -> None:
        """Count a row as done, and give its result to the rows that wait for it."""
        for equal in self._open.pop(number, ()):
            self.share_row(number, equal)

    def end_written(self) -> None:
        """Count the rows as done whose results are on disk by now."""
        while self.unwritten:
            self.end_row(self.unwritten.pop(0))

    def share_row(self, first: int, number: int) -> None:
        """Give a row the result of an earlier row, which is equal to it."""
        self.answers[number] = self.answers[first]
        if first in self.errors:
            self.errors[number] = self.errors[first]
            self.flawed += self.answers[first] is not None
            if first in self.texts:
                self.texts[number] = self.texts[first]
            if first in self.failed_before:
                self.failed_before.add(number)
        self.end_row(number)
        self.shared += 1

    def wait_or_share(self, first: int, number: int) -> None:
        """Give a row the result of the first row with the same prompt, as soon as that has one."""
        if first in self._open:
            self._open[first].append(number)
        else:
            self.share_row(first, number)

    def count(self, calls: Sequence[Reply], *, is_unpriced: bool) -> None:
        """Count the tokens and the cost of a row's calls.

        Parameters
        ----------
        calls : sequence of Reply
            Those that something came of.
        is_unpriced : bool
            Whether one was sent whose price is not known: it may be billed although nothing came.
        """
        self.cost = None if is_unpriced else sum_or_none([self.cost, *(call.cost for call in calls)])
        for call in calls:
            self.cut += call.is_cut_by_budget
            self.report(*call.notices)
            self.usage += call.usage or NOTHING
            self.uncounted += call.usage is None

    def report(self, *reports: str) -> None:
        """Add what a reply reports, whether it was received or was on disk."""
        self._reports.update(dict.fromkeys(reports))

    def notice(self, *notices: str) -> None:
        """Add notices for the user."""
        with self._lock:  # called in the thread of the cell, and in that of the event loop
            self.notices = tuple(dict.fromkeys((*self.notices, *notices)))


@dataclass
class Failures:
    """How rows have failed, as far as that says something about the other rows.

    Attributes
    ----------
    unanswered : list of int
        The rows that were not answered since the last answer.
    failed : int
        The number of rows that have failed for any reason, now or in an earlier run.
    bad_answers : int
        The number of rows whose answer failed, as long as none was good. After a good one, they are results of their
        rows.
    has_answers, has_new_answers : bool
        Whether a row has a good answer, and whether one is of this run.
    """

    unanswered: list[int] = field(default_factory=list)
    failed: int = 0
    bad_answers: int = 0
    has_answers: bool = False
    has_new_answers: bool = False

    def add(self, number: int, ended: Ended, *, is_of_row: bool, has_failed_before: bool) -> None:
        """Add a row that has failed: whether that is because of its own prompt, and whether an earlier run has."""
        self.failed += 1
        if is_of_row:
            return
        if not ended.is_answer:
            self.unanswered.append(number)
            return
        # Good answers of an earlier run say nothing about empty replies: by now, all may be empty.
        has_answers = self.has_new_answers if ended is Ended.EMPTY else self.has_answers
        self.bad_answers += not has_answers and not has_failed_before

    def are_all(self, *, most: int, is_over: bool) -> bool:
        """Return whether no row has a good answer, after so many that have failed or at the end of the run."""
        return self.bad_answers >= most or (not self.has_answers and (is_over or self.failed >= most))

    def end(self, *, is_new: bool) -> None:
        """Take note of a good answer: of this run, or one that was on disk."""
        if is_new or not self.has_answers:
            self.bad_answers = 0
        self.has_answers = True
        if is_new:
            self.has_new_answers, self.unanswered = True, []


def not_sent_again(runs: Sequence[RunResults]) -> Iterator[str]:
    """Yield a notice about rows that failed in an earlier run: nothing was sent for them."""
    # A row can have failed with several models.
    if rows := len(set().union(*(run.failed_before for run in runs))):
        these = "1 row was" if rows == 1 else f"{rows:,} rows were"
        yield (
            f"{these} not asked again, because of a failure in an earlier run: --retry-failed asks again "
            "(from Python: retry_failed=True)."
        )


def reports_of(runs: Sequence[RunResults]) -> Iterator[str]:
    """Yield what the replies report, such as a part of unknown form or unusual token counts, each once."""
    reports = list(dict.fromkeys(report for run in runs for report in run.reports))
    yield from reports[:MAX_REPORTS_SHOWN]
    if (more := len(reports) - MAX_REPORTS_SHOWN) > 0:
        yield f"Not shown: {counted(more, 'more such report')}."
