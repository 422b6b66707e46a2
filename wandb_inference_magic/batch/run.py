"""Run one prompt per row.

Rows are read lazily, many requests are in flight at once, and none is paid for twice.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError
from ..messages import ENDS
from ..rendering import why_empty, why_flawed
from ..schemas import Mismatch
from ..session import NOTHING, Part
from .cache import Answer, KeptAnswers
from .row_call import RowCall
from .row_prompts import RowPrompts
from .row_requests import RowRequests

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from ..messages import PreparedRequest, Reply, Usage
    from ..session import Command
    from .cache import AnswerCache
    from .rows import Rows
    from .spec import BatchSpec

# The run ends after this many failures in a row, or after as many as may be in flight, if that is more.
MOST_FAILURES: Final = 10
# The tokens reserved for a reply while others are in flight: fewer rows at once are better than cut answers.
LEAST_REPLY_TOKENS: Final = 1024
# The most rows of a run that wait for the answers of other runs, while further rows are asked.
MOST_ASIDE: Final = 100


@dataclass
class BatchRun:
    """One model's run over rows, during the run and after it.

    `answers` holds the text of each row that was read, or with a schema the object that the text stands for; None if
    there is no answer. `errors` holds the reasons, by row number. `seconds` is how long each answer took when it was
    made, or 0 if there is none. `kept` is the number of rows whose result was on disk, `shared` of those that took it
    from an equal row, `replayed` of those whose answer was on a cassette. `retry_reason` is why rows are being retried,
    and `retry_at` when, by the clock; the reason is empty once a row is answered. `cut` is the number of answers that
    were cut by the limit that a budget added. `flawed` is the number of answers that were cut or refused; the reasons
    are in `errors`. `reports` describes irregularities in the counts and costs of the calls. `together` are all
    runs of the command, `seen` counts their questions. `shortened` is the number of rows in whose prompts values were
    cut. `must_wait` says, by the number of rows so far, whether the next one waits for others; `is_enough` stops it.
    """

    command: Command
    rows: Rows
    spec: BatchSpec
    model: str
    first: PreparedRequest
    cache: AnswerCache | None = None
    answers: list[Any] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("f"))
    done: int = 0
    kept: int = 0
    shared: int = 0
    replayed: int = 0
    usage: Usage = NOTHING
    cost: float | None = 0.0
    stopped: InferenceError | None = None
    notices: tuple[str, ...] = ()
    retry_reason: str = ""
    retry_at: float = 0.0
    cut: int = 0
    flawed: int = 0
    reports: tuple[str, ...] = ()
    together: Sequence[BatchRun] = ()
    seen: Counter[str] | None = None
    shortened: int = 0
    must_wait: Callable[[int], bool] | None = None
    is_enough: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        endpoint = self.first.endpoint
        self.share = self.command.session.limiters.share(endpoint.url, self.model, self.spec.at_once(endpoint))
        self.cost = None if self.first.price is None else 0.0
        self.requests = RowRequests(self.first, self.spec.chat.schema)
        self.together = self.together or (self,)
        self._kept_answers = KeptAnswers(self.cache, self.first, self.spec.part, self.seen)
        # With `distinct`: the number of the first row with each key, and the rows that wait for its result.
        self._first_of: dict[str, int] = {}
        self._waiting: dict[int, list[int]] = {}
        # The rows that have failed since the last answer, and those of them that have stopped the run.
        self._failed_in_a_row: list[int] = []
        self.stopped_rows: set[int] = set()
        self.prompts = RowPrompts(self.rows, self.spec)
        self._ended = bytearray()
        self._has_drawn_all = False
        # A row that waits for a slot or for the budget.
        self._pending: RowCall | None = None
        self._in_flight: set[RowCall] = set()
        # The next request then never waits for this thread. A budget is divided among the rows that are started.
        self.prepares_ahead = self.command.budget.limit is None
        # Whether a failure has ended the run: rows that were started and not sent yet are not sent any more.
        self.is_halted = False
        # Rows whose requests have failed, and whose failures `end` has not seen yet.
        self.new_failures: set[RowCall] = set()
        self._has_answers = False
        # Rows whose questions other runs are asking.
        self._aside: list[RowCall] = []
        # Whether other calls have reserved what it needs of the budget.
        self._is_short = False
        # Whether the user's code of another run in this thread has started it: that one cannot go on meanwhile.
        self.is_nested = False
        self._lock = Lock()

    @property
    def total(self) -> int | None:
        """The number of rows, or None if it is not known."""
        return self.rows.length

    @property
    def failed(self) -> int:
        """The number of rows without an answer."""
        return len(self.errors) - self.flawed

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        no_more = self.stopped is not None or (self._has_drawn_all and not self._aside)
        return no_more and not self._in_flight and self._pending is None

    def start_next(self, start: Callable[[RowCall], None], allow: Callable[[], AbstractContextManager[None]]) -> bool:
        """Start the request for the next row, or take its answer from the cache. Return whether there was something.

        Parameters
        ----------
        start : callable
            Sends a row's request.
        allow : callable
            Returns a context manager in which the user's code may run: it gives the rows and renders the prompts.
        """
        if self.stopped is not None:
            self._forget_pending()
            return False
        if self.share.is_paused:
            return False
        self._pending = self._pending or self._no_longer_asked()
        if self._pending is None:
            if self._has_drawn_all or len(self._aside) == MOST_ASIDE:
                return False
            with allow():
                if self.must_wait is not None and self.must_wait(len(self.answers)):
                    return False
                self._pending = self._next_row()
            # A row that needs no request is done.
            if self._pending is None:
                return True
        return self._start_pending(self._pending, start) if self._free else False

    def _start_pending(self, row: RowCall, start: Callable[[RowCall], None]) -> bool:
        """Start a row's request, take its answer from the cache, or set it aside. Return whether it was one of them."""
        self._pending, self._is_short = None, False
        if not self._may_ask(row):
            self._aside.append(row)
            return True
        # It may have been answered while it waited.
        if self._is_kept(row.number, row.key):
            self._end_waiting(row)
            return True
        if not self._reserve(row):
            self.share.has_asked(row.key)
            self._pending = row
            return False
        self._in_flight.add(row)
        start(row)
        return True

    def _forget_pending(self) -> None:
        if self._pending is not None:
            self.share.has_asked(self._pending.key)
        self._pending, self._is_short = None, False

    def _may_ask(self, row: RowCall) -> bool:
        """Return whether no other run is asking the row's question. Then none will, until this run has its answer."""
        return not self.keeps_answers or self.share.may_ask(row.key) or self.is_nested

    def _no_longer_asked(self) -> RowCall | None:
        """Take the first row that was set aside, and that no other run is asking any more."""
        row = next((one for one in self._aside if self._may_ask(one)), None)
        if row is not None:
            self._aside.remove(row)
        return row

    @property
    def waits_for(self) -> str:
        """Why it waits for other calls, and for nothing else; empty if it does not."""
        if self._in_flight or self.stopped is not None:
            return ""
        if self._is_short:
            return "calls in progress have reserved the rest of the budget"
        return "another map or job is asking the same question" if self._aside and self._pending is None else ""

    @property
    def _free(self) -> int:
        """The number of rows that may be started now."""
        allowed = self.share.allowed
        return max(allowed + self.prepares_ahead * allowed // 2 - len(self._in_flight), 0)

    def end(self, row: RowCall, failure: Exception | None) -> bool:
        """Store the result of a row whose request has ended. Return whether another one must be sent for it."""
        self.new_failures.discard(row)
        row.is_answered = False
        if not row.was_sent:
            if self.is_halted:
                self.release(row)
            return not self.is_halted
        try:
            if failure is not None:
                raise failure
            try:
                is_last = row.is_repaired or self.stopped is not None
                value = row.parsed_or_refused() if is_last else row.parsed()
            except Mismatch as mismatch:
                row.begin_repair(mismatch)
                row.is_repaired = True
                return True
            reply = row.reply()
            if not reply.text and value is None:
                raise InferenceError(why_empty(reply), cause="answer")
        except Exception as error:  # noqa: BLE001 - reported in the row
            # Do not cache the error of a reply that the budget truncated: a later run with more budget retries the row.
            self._fail(row.number, row.explained(error), "" if row.builder.is_cut_by_budget else row.key)
        else:
            flaw = why_flawed(reply)
            # On disk before it counts as done.
            if not flaw and (reply.finish_reason is None or reply.finish_reason in ENDS):
                self._kept_answers.put(row.key, Answer(reply.text or reply.reasoning, seconds=round(reply.seconds, 3)))
            # Before the row has ended: another thread may look at it.
            if flaw:
                self.errors[row.number] = flaw
                self.flawed += 1
            self._take(row.number, reply, reply.text if row.spec.schema is None else value)
        self._end_waiting(row)
        self.release(row)
        return False

    def _end_waiting(self, row: RowCall) -> None:
        self.share.has_asked(row.key)
        for number in self._waiting.pop(row.number, ()):
            self._share(row.number, number)

    def release(self, row: RowCall) -> None:
        """Count a row's requests, and give its slot and its reservation back."""
        if row in self._in_flight:
            self._in_flight.discard(row)
            self.share.has_asked(row.key)
            row.hold.release()
            for call in row.calls():
                self._count(call)

    def release_all(self) -> list[RowCall]:
        """Release and return the rows in flight, whose requests have been cancelled. Keep the answers there are."""
        self._forget_pending()
        rows = list(self._in_flight)
        for row in rows:
            if row.is_answered:
                self.end(row, None)
            self.release(row)
        return rows

    def _next_row(self) -> RowCall | None:
        """Read the next row. Return None if there is none, or if it has an answer or an error already."""
        try:
            is_enough = self.is_enough is not None and self.is_enough()
            prompt = None if is_enough else self.prompts.next(len(self.answers) + 1)
        except InferenceError as error:
            # End the run with the answers so far.
            self.stopped = error
            return None
        if prompt is None:
            self._has_drawn_all = True
            return None
        number = len(self.answers)
        self.answers.append(None)
        self.seconds.append(0.0)
        self._ended.append(0)
        try:
            if isinstance(prompt, InferenceError):
                raise prompt
            request = self.requests.request(prompt)
            self.shortened += request.cut_values > 0
        except InferenceError as error:
            self.errors[number] = str(error)
            self._end_row(number)
            return None
        if self.spec.distinct:
            key = self._kept_answers.key(request.messages[-1])
            if (first := self._first_of.setdefault(key, number)) != number:
                self._wait_or_share(first, number)
                return None
        else:
            key = self._kept_answers.next_key(request.messages[-1])
        if self._is_kept(number, key):
            return None
        self._waiting[number] = []
        return RowCall(self, request, number, key)

    def has_ended(self, number: int) -> bool:
        """Return whether a row has an answer, which may be null, or has failed."""
        return number < len(self._ended) and bool(self._ended[number])

    def _end_row(self, number: int) -> None:
        self._ended[number] = 1
        self.done += 1

    def _wait_or_share(self, first: int, number: int) -> None:
        """Give a row the result of the first row with the same prompt, as soon as that has one."""
        if first in self._waiting:
            self._waiting[first].append(number)
        else:
            self._share(first, number)

    def _share(self, first: int, number: int) -> None:
        self.answers[number] = self.answers[first]
        if first in self.errors:
            self.errors[number] = self.errors[first]
            self.flawed += self.answers[first] is not None
        self._end_row(number)
        self.shared += 1

    def _is_kept(self, number: int, key: str) -> bool:
        """Use a row's cached result, and return whether there was one."""
        kept = self._kept_answers.get(key)
        if kept is None or (kept.error and self.spec.retry_failed):
            return False
        if kept.error:
            self.errors[number] = kept.error
        else:
            try:
                self.answers[number] = self._read(kept.text)
            except Mismatch:
                return False
            self.seconds[number] = kept.seconds
        self._end_row(number)
        self.kept += 1
        return True

    @property
    def keeps_answers(self) -> bool:
        """Whether its answers are on disk."""
        return self._kept_answers.cache is not None

    @property
    def all_notices(self) -> tuple[str, ...]:
        """The notices for the user, with those of the cache."""
        return tuple(filter(None, (*self.notices, self._kept_answers.failure)))

    def _reserve(self, row: RowCall) -> bool:
        """Reserve the worst-case cost of a row. If too little is left, wait for others to end, or stop the run."""
        budget, jobs = self.command.budget, self.command.session.jobs
        try:
            with suppress(InferenceError):
                row.hold.reserve(row.sent, wanted=self._wanted(), least=LEAST_REPLY_TOKENS, part=self._part())
                return True
            # Calls cost less than their worst case: what they leave may be enough.
            if self._in_flight:
                return False
            if budget.may_come(row.sent) and not self.is_nested and not jobs.has_paused:
                with suppress(InferenceError):
                    row.hold.reserve(row.sent, least=LEAST_REPLY_TOKENS)
                    return True
                self._is_short = True
                return False
            # The rest of the budget is for one row.
            row.hold.reserve(row.sent)
        except InferenceError as error:
            self.stopped = InferenceError(
                "The budget is used up: the run stopped.", why=error.what, remedy=error.remedy, cause="budget"
            )
            return False
        return True

    def _part(self) -> Part:
        """Return what of the budget this command may reserve: each job has a part, and the notebook."""
        own = sum(one.hold.usd for run in self.together for one in run._in_flight)
        held = own if self.command.budget.shared else self.command.budget.held
        return Part(self.command.session.jobs.running + 1, own, held)

    @property
    def waits(self) -> tuple[str, float]:
        """Why requests wait, and until when by the session's clock if that is known. The reason is empty if none do."""
        if self.waits_for:
            return self.waits_for, 0.0
        waits = self.share.waits
        return waits if waits[0] else (self.retry_reason, self.retry_at)

    @property
    def is_at_last_row(self) -> bool:
        """Whether one row is left: no other one can show whether the service or the row is to blame."""
        return len(self._in_flight) == 1 and self._has_drawn_all and not self._aside

    def _wanted(self) -> int:
        """Return how many calls to make at once have no reservation yet, including the next one."""
        rows = self._free if self.total is None else self.total - len(self.answers) + 1
        return max(min(self._free, rows), 1) * len(self.together)

    def _take(self, number: int, reply: Reply, answer: Any) -> None:
        self.answers[number] = answer
        self.seconds[number] = reply.seconds
        self._failed_in_a_row, self.retry_reason, self.retry_at = [], "", 0.0
        self._has_answers = True
        self._end_row(number)
        self.replayed += reply.replayed

    def _count(self, call: Reply) -> None:
        self.cut += call.is_cut_by_budget
        self.reports = tuple(dict.fromkeys((*self.reports, *call.notices)))
        self.usage += call.usage or NOTHING
        self.cost = None if self.cost is None or call.cost is None else self.cost + call.cost

    def notice(self, *notices: str) -> None:
        """Add notices for the user."""
        with self._lock:  # called in the thread of the cell, and in that of the event loop
            self.notices = tuple(dict.fromkeys((*self.notices, *notices)))

    def _read(self, text: str) -> Any:
        schema = self.spec.chat.schema
        return text if schema is None else schema.read(text)

    def _fail(self, number: int, error: InferenceError, key: str) -> None:
        """Store why a row has no answer. End the run if the error would affect every row, or after many in a row."""
        self.errors[number] = str(error)
        self._end_row(number)
        # A prompt that is refused says nothing about the others, nor does a status 403 after answers.
        self._failed_in_a_row += [] if error.depends_on_prompt else [number]
        most = max(MOST_FAILURES, self.share.most or 0)
        ends = error.affects_all and not (error.status == 403 and self._has_answers)
        if ends or len(self._failed_in_a_row) >= most:
            self.is_halted = True
            self.stopped_rows.update(self._failed_in_a_row)
            reason = "every other row would fail as well" if ends else f"{most} consecutive rows failed"
            if self.stopped is None:
                error.why = f"{error.why} The run stopped: {reason}.".strip()
                self.stopped = error
        elif key and error.is_lasting:
            self._kept_answers.put(key, Answer(error=str(error)))
