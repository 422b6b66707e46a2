"""Run one prompt per row.

Rows are read lazily, many requests are in flight at once, and none is paid for twice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import Interrupts
from ..errors import InferenceError
from ..rendering import why_empty
from ..schemas import Mismatch, ValidatorError
from ..text import digest_of
from .cached_answers import CachedAnswers
from .kept import Kept
from .row_call import RowCall, RowPrompts, RowRequests
from .run_results import MAX_FAILURES, Failures, RunResults

if TYPE_CHECKING:
    from ..frames import Rows
    from ..messages import PreparedRequest, Reply
    from ..session import Command
    from .cache import Answer, AnswerCache
    from .spec import BatchSpec

# The tokens reserved for a reply while others are in flight: fewer rows at once are better than cut answers.
LEAST_REPLY_TOKENS: Final = 1024
# While so many rows of a run wait for the answers of other runs, or between two tries, it reads no further ones.
MAX_WAITING: Final = 100
# Rows are read for this long before those that were read are sent.
SECONDS_TO_READ: Final = 0.005


@dataclass(eq=False, kw_only=True)
class BatchRun:
    """One model's run over rows. `results` has the answers so far.

    `seen` counts the questions of all runs of the command. `must_wait` says, by the number of rows so far, whether the
    next one waits for others; `is_enough` stops it.
    """

    command: Command
    rows: Rows
    spec: BatchSpec
    prompts: RowPrompts
    first: PreparedRequest
    cache: AnswerCache | None
    seen: Counter[str]
    must_wait: Callable[[int], bool] | None = None
    is_enough: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self.model, endpoint = self.first.model, self.first.endpoint
        self.results, self.failures = RunResults(), Failures()
        self.share = self.command.session.limiters.share(endpoint.url, self.model, self.spec.at_once(endpoint))
        self.requests = RowRequests(self.first, self.spec.chat.schema)
        # All runs of the command.
        self.together: Sequence[BatchRun] = (self,)
        self._cached_answers = CachedAnswers(self.cache, self.first, self.seen, self.spec.part)
        # Whether the next row waits for what other calls have reserved of the budget.
        self._waits_for_budget = False
        # With `distinct`: the number of the first row with each key.
        self._first_of: dict[str, int] = {}
        self._has_drawn_all = False
        # Rows whose questions other runs are asking.
        self._waiting: list[RowCall] = []
        # Rows that wait for a slot or for the budget. No other run asks their questions, or those of rows in flight.
        self._pending: deque[RowCall] = deque()
        # The keys of rows that have ended, whose results are not on disk yet.
        self._ended_keys: list[str] = []
        self.in_flight: set[RowCall] = set()
        # Whether rows are started before there is a slot for them: the next request then never waits for this thread.
        # A budget is divided among the rows that are started, and a row that waits for its slot would hold a permit.
        self.prepares_ahead = self.command.budget.limit is None and self.spec.part is None
        # Rows whose requests have failed, and whose failures `end` has not seen yet.
        self.new_failures: set[RowCall] = set()
        # The rows that stopped the run, that it could not complete after that, and that the cassette does not hold.
        self.stopped_rows: set[int] = set()
        # Bad answers end the run only if none of these has a good one.
        self.compared: Sequence[BatchRun] = (self,)
        # Whether a failure has ended the run: rows that were started and not sent yet are not sent any more.
        self.is_halted = False
        # The error that ended the run early.
        self.stopped: InferenceError | None = None
        # Why a row was not sent, which only a cassette could have answered.
        self.missed: InferenceError | None = None
        # Why rows are being retried, and when, by the clock. The reason is empty once a row is answered.
        self.retry = "", 0.0
        # Whether further answers are only put on disk, because a validator of the user's was interrupted.
        self.leaves_unread = False
        # Whether the user's code of another run in this thread has started it: that one cannot go on meanwhile.
        self.is_nested = False
        # Lets interrupts into the user's code: it gives the rows, renders the prompts and validates the answers.
        self.interrupts = Interrupts()

    @property
    def total(self) -> int | None:
        """The number of rows, or None if it is not known."""
        return self.rows.length

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        no_more = self.stopped is not None or (self._has_drawn_all and not self._waiting)
        return no_more and not self.in_flight and not self._pending

    def start_rows(self, send: Callable[[RowCall], None]) -> bool:
        """Start the requests for the next rows, or take their answers from the cache. Return whether there were any.

        Parameters
        ----------
        send : callable
            Sends a row's request.
        """
        if self.stopped is not None:
            self._forget_pending()
            return False
        if self.share.is_paused or not self.free:
            return False
        before = len(self.results.answers), self._has_drawn_all
        if not self._pending:
            self._prepare_rows()
        has_started = False
        while self._pending and self.free and self._reserve(self._pending[0]):
            row = self._pending[0]
            self.in_flight.add(row)
            send(row)
            self._pending.popleft()
            # Not before: another thread may look at the state while the next row is tried.
            has_started, self._waits_for_budget = True, False
        # A row that needs no request is done. After the last one, the run may be over.
        return has_started or (len(self.results.answers), self._has_drawn_all) != before

    def _reserve(self, row: RowCall) -> bool:
        """Reserve the worst-case cost of a row. If too little is left, wait for others to end, or stop the run."""
        budget = self.command.budget
        if budget.limit is None:
            return True
        try:
            with suppress(InferenceError):
                # The number of calls about to be made that have no reservation yet.
                wanted = max(sum(one.to_start for one in self.together), 1)
                row.reservation.reserve(row.sent, wanted=wanted, least=LEAST_REPLY_TOKENS)
                return True
            # Calls cost less than their worst case: what they leave may be enough.
            if self.in_flight:
                return False
            can_wait = not self.is_nested and not self.command.session.jobs.has_paused
            if can_wait and budget.may_become_affordable(row.sent):
                self._waits_for_budget = True
                return False
            # The rest of the budget is for one row.
            sent = sum(one.results.done - one.results.cached - one.results.shared for one in self.together)
            row.reservation.reserve(row.sent, after=sent)
        except InferenceError as error:
            self.stopped = error
            return False
        return True

    def _forget_pending(self) -> None:
        for row in self._pending:
            # A row whose start was interrupted is in flight already.
            if row not in self.in_flight:
                self.share.end_claim(row.key)
        self._pending.clear()
        self._waits_for_budget = False

    def _prepare_rows(self) -> None:
        """Read the next rows, as many as may be started now, if there are none that have waited for another run."""
        self._admit(self._waiting)
        if self._pending or self._has_drawn_all or len(self._waiting) >= MAX_WAITING:
            return
        rows: list[RowCall] = []
        try:
            with self.interrupts.allowed():
                self._read_rows(rows)
        finally:
            # Also if the user's code is interrupted: what is on disk is in the result.
            self._admit(rows)

    def _admit(self, rows: Sequence[RowCall]) -> None:
        """Claim the questions of rows, and take the answers that are on disk. The other rows are sent, or wait."""
        claimed = [row for row in rows if self._claim(row)]
        self._waiting = [row for row in dict.fromkeys((*self._waiting, *rows)) if row not in claimed]
        cached = self._cached_answers.find([row.key for row in claimed])
        for row in claimed:
            if (found := cached.get(row.key)) is None or not self._take_cached(row, found):
                self._pending.append(row)

    def _claim(self, row: RowCall) -> bool:
        """Return whether the run may send a row's question. Then no other run does, until its answer is on disk."""
        return not self.keeps_answers or self.share.claim(row.key) or self.is_nested

    def _read_rows(self, rows: list[RowCall]) -> None:
        # One at a time where the next row depends on the answers so far, or may take long to come.
        can_read_ahead = self.total is not None and self.must_wait is None and self.is_enough is None
        most = self.free if can_read_ahead else 1
        until = perf_counter() + SECONDS_TO_READ
        while len(rows) < most and not self._has_drawn_all and self.stopped is None:
            if self.must_wait is not None and self.must_wait(len(self.results.answers)):
                break
            if (row := self._next_row()) is not None:
                rows.append(row)
            if perf_counter() > until:
                break

    def _next_row(self) -> RowCall | None:
        """Read the next row. Return None if there is none, or if it needs no request and no look at the disk."""
        try:
            is_enough = self.is_enough is not None and self.is_enough()
            prompt = None if is_enough else self.prompts.next()
        except InferenceError as error:
            self.stopped = error
            return None
        if prompt is None:
            self._has_drawn_all = True
            return None
        number = self.results.add_row()
        try:
            if isinstance(prompt, InferenceError):
                raise prompt
            request = self.requests.request(prompt)
            self.results.shortened += request.cut_values > 0
        except InferenceError as error:
            self.results.errors[number] = str(error)
            self.results.end_row(number)
            return None
        if self.spec.distinct:
            key = self._cached_answers.key(request.messages[-1])
            if (first := self._first_of.setdefault(key, number)) != number:
                self.results.wait_or_share(first, number)
                return None
        else:
            key = self._cached_answers.next_key(request.messages[-1])
        # Each try and each replay of a row is known by its place, because requests are sent in any order.
        place = None if self.command.cassette is None else self._cached_answers.count(request.messages[-1])
        return RowCall(self, request, number, key, place)

    def _take_cached(self, row: RowCall, cached: Answer) -> bool:
        """Use what was found on disk for a row. Return False if its request must be sent."""
        if cached.kept is Kept.EMPTY:
            row.was_empty = row.has_failed_before = True
            return False
        try:
            self.results.answers[row.number] = row.read(cached)
            self.failures.end(is_new=False)
        except InferenceError as error:
            is_unread = isinstance(error, ValidatorError)
            if self.spec.retry_failed and not is_unread:
                row.has_failed_before = True
                return False
            self.results.fail_row(row.number, error, cached.text)
            self.failures.failed += 1
            if not is_unread:
                self.results.failed_before.add(row.number)
        except Mismatch:
            if row.is_repaired:
                return False
            # A validator is stricter than when it was kept: what is asked in its place is kept beside it.
            self.share.end_claim(row.key)
            row.key = digest_of(f"{row.key} in place of {cached.text}")
            self._waiting.append(row)
            return True
        self.results.take_kept(row.number, cached)
        self.share.end_claim(row.key)
        return True

    def end(self, row: RowCall, failure: Exception | None) -> bool:
        """Store the result of a row whose request has ended. Return whether another one must be sent for it."""
        self.new_failures.discard(row)
        row.is_answered = False
        if not row.was_sent:
            if self.is_halted:
                self._cached_answers.keep_unrepaired(row)
                self.release(row)
            return not self.is_halted
        try:
            outcome = self._outcome(row, failure)
        except KeyboardInterrupt:
            # A validator of the user's takes too long. What is on disk is read by the next run.
            self.leaves_unread = self.keeps_answers
            self._cached_answers.keep(row, row.reply())
            self.release(row)
            raise
        except Exception as error:  # noqa: BLE001 - reported in the row
            self._fail(row, row.explained(error))
        else:
            if outcome is None:
                return True
            self._take(row, *outcome)
        self.release(row)
        return False

    def _outcome(self, row: RowCall, failure: Exception | None) -> tuple[Reply, Any] | None:
        """Return the reply to a row and the value of the answer, or None if its repair must be requested.

        Raises
        ------
        KeyboardInterrupt
            When the user interrupts the validator of an answer, also if it was that of an earlier row.
        Exception
            Why the row has no answer.
        """
        if failure is not None:
            raise failure
        if self.leaves_unread:
            raise KeyboardInterrupt
        # Of a plain text, nothing is the user's code: all rows pass here.
        if not row.take_answer(self.interrupts if row.spec.schema else None, is_last=self.stopped is not None):
            return None
        reply = row.reply()
        if not reply.text.strip() and row.value is None:
            self.results.report(*row.builder.reports)
            raise InferenceError(why_empty(reply), cause="answer")
        return reply, reply.text if row.spec.schema is None else row.value

    def _take(self, row: RowCall, reply: Reply, answer: Any) -> None:
        """Store the answer of a row, also a flawed one."""
        self._cached_answers.keep(row, reply)
        self.failures.end(is_new=True)
        self.retry = "", 0.0
        self.results.take(row.number, reply, answer)

    def _fail(self, row: RowCall, error: InferenceError) -> None:
        """Store why a row has no answer. End the run if the error would affect every row, or after many in a row."""
        number, ended = row.number, row.ended(error)
        self.results.fail_row(number, error, row.failed_text)
        if error.is_unsent and error.cause == "missing":
            self.missed = error
            self.stopped_rows.add(number)
        self.results.unwritten.append(number)
        self.failures.add(number, ended, is_of_row=error.depends_on_prompt, has_failed_before=row.has_failed_before)
        is_to_blame = ended.is_answer and self.failures.bad_answers >= self._most_failures
        never_fits = is_to_blame and all(run.has_no_good_answer for run in self.compared)
        is_of_prompt = error.status == 403 and error.cause in ("refused", "network") and self._cached_answers.is_served
        ends = error.affects_all and not is_of_prompt
        row.was_sent &= not error.is_unsent  # then it is not billed
        ends_run = ends or never_fits or len(self.failures.unanswered) >= self._most_failures
        self._cached_answers.keep_failure(row, error, ended, ends_run=ends_run)
        if self.stopped is not None and row.spec.repair and not row.is_repaired:
            self.stopped_rows.add(number)
        if ends_run:
            self.is_halted = True
            self.stopped_rows.update(self.failures.unanswered)
            whose = f" of {self.model}" if len(self.together) > 1 else ""
            many = f"{self._most_failures} consecutive rows{whose} failed"
            reason = f"every other row{whose} would fail as well" if ends else many
            if self.stopped is None:
                error.why = f"{error.why} The run stopped: {reason}.".strip()
                self.stopped = error

    @property
    def _most_failures(self) -> int:
        return max(MAX_FAILURES, self.share.most or 0)

    @property
    def has_no_good_answer(self) -> bool:
        """Whether no answer was good, in so many rows that none is expected any more, or in all."""
        return self.failures.are_all(most=self._most_failures, is_over=self.is_over)

    def keep_answers(self) -> None:
        """Write the results of rows that have ended to disk. Then they are done, and other runs may look for them."""
        self._cached_answers.write()
        self.results.end_written()
        while self._ended_keys:
            self.share.end_claim(self._ended_keys.pop())

    def release(self, row: RowCall) -> None:
        """Count a row's requests, and give its slot, its permit and its reservation back."""
        if row in self.in_flight:
            self.in_flight.discard(row)
            self._ended_keys.append(row.key)
            row.reservation.release()
            self.results.count(row.calls(), is_unpriced=row.is_unpriced)
            self.results.paid_before += row.paid_before
            if self.spec.part is not None:
                # A cluster refuses that of a row that was interrupted while it waited for one, and all once it ends.
                with suppress(RuntimeError):
                    self.spec.part.permits.release()

    def release_all(self) -> None:
        """Release the rows in flight, whose requests have been cancelled. Keep the answers there are."""
        self._forget_pending()
        for row in list(self.in_flight):
            with suppress(KeyboardInterrupt):
                if row.is_answered:
                    self.end(row, None)
                else:
                    self._cached_answers.keep_unrepaired(row)
            self.release(row)
        self.keep_answers()

    def stop_if_all_missed(self) -> None:
        """Let the run fail if a cassette that should answer it holds none of its rows."""
        if self.stopped is None and self.missed is not None and self.results.failed == self.results.done:
            self.stopped = self.missed

    @property
    def keeps_answers(self) -> bool:
        """Whether its answers are on disk."""
        return self._cached_answers.cache is not None

    @property
    def all_notices(self) -> tuple[str, ...]:
        """The notices for the user, with those of the cache."""
        return tuple(filter(None, (*self.results.notices, self._cached_answers.failure)))

    @property
    def waits_for(self) -> str:
        """Why it waits for other calls, and for nothing else; empty if it does not."""
        if self.in_flight or self.stopped is not None:
            return ""
        if self._waits_for_budget:
            return "calls in progress have reserved the rest of the budget"
        return "another map or job is asking the same question" if self._waiting and not self._pending else ""

    @property
    def waits(self) -> tuple[str, float]:
        """Why requests wait, and until when by the session's clock if that is known. The reason is empty if none do."""
        if self.waits_for:
            return self.waits_for, 0.0
        return self.share.backoff if self.share.limiter.alarm.is_waiting else self.retry

    @property
    def free(self) -> int:
        """The number of rows that may be started now. Those that fail leave their places to others."""
        allowed, away = self.share.allowed, min(self.share.away, MAX_WAITING)
        return max(allowed + self.prepares_ahead * (allowed - 1) + away - len(self.in_flight), 0)

    @property
    def to_start(self) -> int:
        """The number of rows that may be started now and are left."""
        if self.stopped is not None:
            return 0
        unread = self.free if self.total is None else self.total - len(self.results.answers)
        return min(self.free, len(self._pending) + (0 if self._has_drawn_all else max(unread, 0)))

    @property
    def is_at_last_row(self) -> bool:
        """Whether one row is left, beside guilty ones: no other one can show whether the service is to blame."""
        has_read_all = self._has_drawn_all or len(self.results.answers) == self.total
        is_last = has_read_all and not self._waiting and not self._pending
        return is_last and sum(not row.tries.is_settled for row in tuple(self.in_flight)) <= 1
