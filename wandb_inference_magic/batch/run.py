"""Run one prompt per row.

Rows are read lazily and many requests are in flight at once. Each is retried if that is worthwhile, and none is paid
for twice.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..client import pause
from ..engine import ModelCall, for_prompt, relax_response_format
from ..errors import InferenceError, quoted
from ..messages import ENDS
from ..rendering import why_empty, why_flawed
from ..schemas import Mismatch
from ..session import NOTHING, Reservation
from .cache import Answer, KeptAnswers
from .limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from openai import AsyncOpenAI

    from ..messages import Content, PreparedRequest, Reply, Usage
    from ..session import Command
    from .cache import AnswerCache
    from .rows import Rows
    from .spec import BatchSpec

# The run ends after this many failures in a row, or after as many as may be in flight, if that is more.
MOST_FAILURES: Final = 10
# While a service fails for every row, the run waits for it at least this long.
OUTAGE_SECONDS: Final = 300.0
# The minimum number of tokens reserved for a reply while other requests are in flight: fewer rows at once are better
# than truncated answers.
LEAST_REPLY_TOKENS: Final = 1024


@dataclass
class BatchRun:
    """One model's run over rows, during the run and after it.

    `answers` holds the text of each row that was read, or with a schema the object that the text stands for; None if
    there is no answer. `errors` holds the reasons, by row number. `seconds` is how long each answer took when it was
    made, or 0 if there is none. `kept` is the number of rows whose result was on disk, `shared` of those that took it
    from an equal row, `replayed` of those whose answer was on a cassette. `retry_reason` is why rows are being retried,
    and `retry_at` when (`perf_counter`); the reason is empty once a row is answered. `cut` is the number of answers
    that were cut by the limit that a budget added. `flawed` is the number of answers that were cut or refused; the
    reasons are in `errors`. `reports` describes irregularities in the counts and costs of the calls. `beside` is the
    number of runs in progress at once, including this one. `shortened` is the number of rows in whose prompts values
    were cut.
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
    beside: int = 1
    shortened: int = 0

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.spec.at_once(self.first.endpoint))
        self.cost = None if self.first.price is None else 0.0
        self._base = self.first
        self._kept_answers = KeptAnswers(self.cache, self.first, self.spec.part)
        # With `distinct`: the number of the first row with each key, and the rows that wait for its result.
        self._first_of: dict[str, int] = {}
        self._waiting: dict[int, list[int]] = {}
        self._failures_in_a_row = 0
        self._drawn = iter(self.rows)
        self._has_drawn_all = False
        self._prompts = self.spec.prompts()
        # A row that waits for a slot or for the budget.
        self._pending: RowCall | None = None
        self._in_flight: set[RowCall] = set()
        # Whether more rows are prepared than may be sent, so that the next request never waits for this thread. A
        # budget is divided among the rows that are started.
        self.prepares_ahead = self.command.budget.limit is None
        # Whether a failure has ended the run: rows that were started and not sent yet are not sent any more.
        self.is_halted = False
        # Rows whose requests have failed, and whose failures `end` has not seen yet.
        self.new_failures: set[RowCall] = set()
        self._started = perf_counter()
        self._served_at = 0.0
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
        return not self._in_flight and self._pending is None and (self._has_drawn_all or self.stopped is not None)

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
            self._pending = None
            return False
        if self._pending is None and self._has_drawn_all:
            return False
        if self._pending is None:
            with allow():
                self._pending = self._next_row()
            # A row that needs no request is done.
            if self._pending is None:
                return True
        if not self._free:
            return False
        row, self._pending = self._pending, None
        if not self._reserve(row):
            if self.stopped is None:
                self._pending = row
            return False
        self._in_flight.add(row)
        start(row)
        return True

    @property
    def _free(self) -> int:
        """The number of rows that may be started now."""
        allowed = self.limiter.allowed
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
            self._take(row.number, reply, reply.text if row.spec.schema is None else value)
            if flaw := why_flawed(reply):
                self.errors[row.number] = flaw
                self.flawed += 1
            elif reply.finish_reason is None or reply.finish_reason in ENDS:
                self._kept_answers.put(row.key, Answer(reply.text or reply.reasoning, seconds=round(reply.seconds, 3)))
        for number in self._waiting.pop(row.number, ()):
            self._share(row.number, number)
        self.release(row)
        return False

    def release(self, row: RowCall) -> None:
        """Count a row's requests, and give its slot and its reservation back."""
        if row in self._in_flight:
            self._in_flight.discard(row)
            row.hold.release()
            for call in row.calls():
                self._count(call)

    def release_all(self) -> list[RowCall]:
        """Release and return the rows in flight, whose requests have been cancelled. Keep the answers there are."""
        rows = list(self._in_flight)
        for row in rows:
            if row.is_answered:
                self.end(row, None)
            self.release(row)
        return rows

    def _next_row(self) -> RowCall | None:
        """Read the next row. Return None if there is none, or if it has an answer or an error already."""
        try:
            drawn = next(self._drawn)
        except StopIteration:
            self._has_drawn_all = True
            return None
        except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
            # End the run with the answers so far.
            self.stopped = not_drawn(error, len(self.answers) + 1)
            return None
        number = len(self.answers)
        self.answers.append(None)
        self.seconds.append(0.0)
        try:
            request = self.request(self._prompts(drawn))
            self.shortened += request.cut_values > 0
        except InferenceError as error:
            self.errors[number] = str(error)
            self.done += 1
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
        self.done += 1
        self.shared += 1

    def in_current_form(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request for a row in the response format of now, which may be easier than when it was made."""
        if request.body.get("response_format") == self._base.body.get("response_format"):
            return request
        return self.request(request.messages[-1]["content"])

    def request(self, prompt: Content) -> PreparedRequest:
        """Return the request for a row."""
        return for_prompt(self._base, prompt)

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
        self.done += 1
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
        with suppress(InferenceError):
            row.hold.reserve(row.sent, wanted=self._wanted(), least=LEAST_REPLY_TOKENS)
            return True
        if self._in_flight:
            # Calls cost less than their worst case: what they leave may be enough.
            return False
        try:
            # The rest of the budget is for one row.
            row.hold.reserve(row.sent)
        except InferenceError as error:
            self.stopped = InferenceError(
                "The budget is used up: the run stopped.", why=error.what, remedy=error.remedy, cause="budget"
            )
            return False
        return True

    def rides_out(self, sent: float) -> bool:
        """Return whether a row waits for a service that fails: no row was answered since `sent` (`perf_counter`)."""
        is_alone = len(self._in_flight) == 1 and self._has_drawn_all
        since = max(self._served_at, self._started)
        return not is_alone and self._served_at < sent and perf_counter() - since < OUTAGE_SECONDS

    def _wanted(self) -> int:
        """Return how many calls to make at once have no reservation yet, including the next one."""
        rows = self._free if self.total is None else self.total - len(self.answers) + 1
        return max(min(self._free, rows), 1) * self.beside

    def _take(self, number: int, reply: Reply, answer: Any) -> None:
        self.answers[number] = answer
        self.seconds[number] = reply.seconds
        self._failures_in_a_row, self.retry_reason, self.retry_at = 0, "", 0.0
        self._served_at = perf_counter()
        self.done += 1
        self.replayed += reply.replayed
        self.limiter.served()

    def _count(self, call: Reply) -> None:
        self.cut += call.is_cut_by_budget
        self.reports = tuple(dict.fromkeys((*self.reports, *call.notices)))
        self.usage += call.usage or NOTHING
        self.cost = None if self.cost is None or call.cost is None else self.cost + call.cost

    def relax_following_rows(self, refused: PreparedRequest, error: InferenceError) -> None:
        """Relax the response format for the following rows: the current one would be refused for each of them."""
        # A row that was in flight may report the refusal of a format that is no longer requested.
        if refused.body.get("response_format") != self._base.body.get("response_format"):
            return
        if (relaxed := relax_response_format(self._base, self.spec.chat.schema, error)) is not None:
            self._base = relaxed
            self.notice(*relaxed.notices)

    def notice(self, *notices: str) -> None:
        """Add notices for the user."""
        # Called in the thread of the cell, and in that of the event loop.
        with self._lock:
            self.notices = tuple(dict.fromkeys((*self.notices, *notices)))

    def _read(self, text: str) -> Any:
        schema = self.spec.chat.schema
        return text if schema is None else schema.read(text)

    def _fail(self, number: int, error: InferenceError, key: str) -> None:
        """Store why a row has no answer. End the run if the error would affect every row, or after many in a row."""
        self.errors[number] = str(error)
        self.done += 1
        # A prompt that is refused says nothing about the others, nor does a status 403 after answers.
        self._failures_in_a_row += not error.depends_on_prompt
        most = max(MOST_FAILURES, self.limiter.most)
        ends = error.affects_all and not (error.status == 403 and self._served_at)
        if ends or self._failures_in_a_row >= most:
            self.is_halted = True
            reason = "every other row would fail as well" if ends else f"{most} rows in a row failed"
            if self.stopped is None:
                error.why = f"{error.why} The run stopped: {reason}.".strip()
                self.stopped = error
        elif key and not error.retryable and error.cause in ("request", "answer"):
            self._kept_answers.put(key, Answer(error=str(error)))


def not_drawn(error: Exception, number: int) -> InferenceError:
    """Return the error for a row that its source does not give."""
    said = quoted(f"{type(error).__name__}: {error}")
    return InferenceError(
        f"Row {number} cannot be read: the source of the rows raised {said}.",
        remedy="Fix it and run the cell again.",
        cause="option",
    )


class RowCall(ModelCall):
    """One row of a run. What it learns about the service and the model is applied to the other rows too."""

    def __init__(self, run: BatchRun, request: PreparedRequest, number: int, key: str) -> None:
        super().__init__(run.command, run.spec.chat, request, Reservation(run.command.budget))
        self.run = run
        self.number = number
        self.key = key
        self.is_repaired = False
        self.was_sent = False
        # Whether its request is answered, and `end` has not seen that yet.
        self.is_answered = False

    async def send(self, client: AsyncOpenAI) -> None:
        run = self.run
        async with run.limiter.slot():
            # A failure that is not the prompt's may be everyone's: `end` decides that before more is sent.
            self.was_sent = not run.is_halted and not run.new_failures
            if not self.was_sent:
                return
            if not self.is_repaired:
                self.sent = run.in_current_form(self.sent)
            try:
                await super().send(client)
            except InferenceError as error:
                if not error.depends_on_prompt:
                    run.new_failures.add(self)
                raise
            self.is_answered = True

    def relaxed(self, error: InferenceError) -> PreparedRequest | None:
        relaxed = super().relaxed(error)
        if relaxed is not None:
            self.run.relax_following_rows(self.sent, error)
        return relaxed

    def pause_after(self, error: InferenceError, tries: int) -> float | None:
        run = self.run
        if error.status == 429:
            run.limiter.refused(self.builder.started)
        if run.stopped is not None:
            return None
        seconds = super().pause_after(error, tries)
        if seconds is None and tries > run.command.settings.max_retries > 0 and run.rides_out(self.builder.started):
            # No other row is answered either: the service is failing, not this row.
            seconds = pause(error, tries, tries)
        if seconds is not None:
            run.retry_reason, run.retry_at = error.what, perf_counter() + seconds
        return seconds
