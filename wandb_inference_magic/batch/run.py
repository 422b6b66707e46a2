"""Run one prompt per row.

Rows are read lazily and many requests are in flight at once. Each is retried if that is worthwhile, and none is paid
for twice.
"""

from __future__ import annotations

import asyncio
from array import array
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from sqlite3 import Error as SqliteError
from typing import TYPE_CHECKING, Any, Final

from ..catalog import usd
from ..engine import ModelCall, for_prompt, prepare_request, relax_response_format
from ..errors import InferenceError, quoted, shortened
from ..messages import REPLY_TOKENS
from ..rendering import why_empty
from ..schemas import Mismatch
from ..session import NOTHING, budget
from .cache import Answer, key_of
from .limiter import Limiter
from .spec import BatchSpec, Estimate, Permits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..catalog import Model
    from ..messages import Content, Message, PreparedRequest, Reply, Usage
    from ..session import Session
    from .cache import AnswerCache
    from .rows import Row, Rows

# An error with one of these causes would affect every row.
FATAL: Final = ("key", "quota", "budget", "refused", "model", "missing")
# The run ends after this many failures in a row, or after as many as may be in flight, if that is more.
MOST_FAILURES: Final = 10
SAMPLE: Final = 20
# The tokens of a short answer, used if nothing else is known.
USUAL_REPLY_TOKENS: Final = 100
# The minimum number of tokens reserved for a reply while other requests are in flight: fewer rows at once are better
# than truncated answers.
LEAST_REPLY_TOKENS: Final = 1024
# An interrupt is handled once in this many rows whose answers are already available.
ROWS_BETWEEN_LOOKS: Final = 50


@dataclass
class BatchRun:
    """One model's run over rows, during the run and after it.

    `answers` holds the text of each row that was read, or with a schema the object that the text stands for; None if
    there is no answer. `errors` holds the reasons, by row number. `seconds` is how long each answer took when it was
    made, or 0 if there is none. `kept` is the number of rows whose result was on disk, `replayed` of those whose answer
    was on a cassette. `trouble` is why rows are being retried; it is empty once a row is answered. `cut` is the number
    of answers that were truncated by the limit that a budget added. `reports` describes irregularities in the counts
    and costs of the calls. `beside` is the number of runs in progress at once, including this one.
    """

    session: Session
    rows: Rows
    asked: BatchSpec
    model: str
    first: PreparedRequest
    cache: AnswerCache | None = None
    permits: Permits | None = None
    answers: list[Any] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("f"))
    done: int = 0
    kept: int = 0
    replayed: int = 0
    usage: Usage = NOTHING
    cost: float | None = 0.0
    stopped: InferenceError | None = None
    notices: tuple[str, ...] = ()
    trouble: str = ""
    cut: int = 0
    reports: tuple[str, ...] = ()
    beside: int = 1

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.asked.at_once(self.first.endpoint))
        self.cost = None if self.first.price is None else 0.0
        self._base = self.first
        self._failures_in_a_row = 0
        self._known: Model | None = self.session.models.known(self.first.endpoint).find(self.model)
        self._client: Any = None

    @property
    def total(self) -> int | None:
        """The number of rows, or None if it is not known."""
        return self.rows.length

    @property
    def failed(self) -> int:
        return len(self.errors)

    def estimate(self) -> Estimate:
        """Return an estimate of the whole run, made from the first rows."""
        prompts = self.asked.prompts()
        sample = []
        # A row that cannot be read, or made into a prompt, is reported when its turn comes.
        with suppress(Exception):
            for row in islice(self.rows, SAMPLE):
                with suppress(InferenceError):
                    sample.append(self._request(prompts(row)).prompt_tokens)
        prompt = sum(sample) / len(sample) if sample else 0.0
        reply = self._usual_reply()
        price, rows = self.first.price, self.rows.length
        cost = None if price is None or rows is None else rows * price.cost(round(prompt), round(reply))
        return Estimate(rows, prompt, reply, cost)

    def _usual_reply(self) -> float:
        """Return the approximate number of tokens in a reply.

        It is the average of this model's replies in this session, if there are any, and at most the limit that is set.
        """
        longest = float(self.first.reply_limit or REPLY_TOKENS)
        for endpoint, model, total in self.session.usage.by_model():
            answered = total.calls - total.failed
            if (endpoint, model) == (self.first.endpoint.name, self.model) and answered:
                return min(total.usage.completion_tokens / answered, longest)
        return min(float(USUAL_REPLY_TOKENS), longest)

    async def run(self) -> None:
        """Request an answer for every row.

        An error that ends the run early is stored in `stopped`. A cancelled run keeps the answers received so far.
        """
        running: set[asyncio.Task[None]] = set()
        settings = self.session.resolve()
        async with self.session.async_client(self.first.endpoint) as self._client:
            try:
                async for number, request, key in self._to_ask():
                    await self._take_slot()
                    hold = await self._hold(request, running)
                    if hold is None:
                        self._give_slot_back()
                        break
                    row = _Row(self, request, hold, settings.max_retries)
                    task = asyncio.create_task(self._ask_row(row, number, key))
                    running.add(task)
                    # This is also called for a task that is cancelled before it starts.
                    task.add_done_callback(partial(self._row_ended, hold, running))
                await asyncio.gather(*running)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    def _row_ended(self, hold: budget.Reservation, running: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        running.discard(task)
        hold.release()
        self._give_slot_back()

    async def _take_slot(self) -> None:
        await self.limiter.acquire()
        if self.permits is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.permits.acquire)

    def _give_slot_back(self) -> None:
        self.limiter.release()
        if self.permits is not None:
            # This is not awaited: a loop that ends waits for its threads first.
            asyncio.get_running_loop().run_in_executor(None, self.permits.release)

    async def _to_ask(self) -> Any:
        """Read the rows one by one and yield the number, request and key of each that has no answer yet."""
        prompts = self.asked.prompts()
        for number, row in enumerate(self._drawn()):
            if self.stopped is not None:
                return
            self.answers.append(None)
            self.seconds.append(0.0)
            if number % ROWS_BETWEEN_LOOKS == 0:
                await asyncio.sleep(0)
            try:
                request = self._request(prompts(row))
            except InferenceError as error:
                self.errors[number] = str(error)
                self.done += 1
                continue
            key = self._key(request.messages[-1]) if self.cache is not None else ""
            if not self._is_kept(number, key):
                yield number, request, key

    def _drawn(self) -> Iterator[Row]:
        """Yield the rows. If that fails, for example in the user's generator, end the run with the answers so far."""
        try:
            yield from self.rows
        except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
            self.stopped = _not_drawn(error, len(self.answers) + 1)

    def _request(self, prompt: Content) -> PreparedRequest:
        return for_prompt(self._base, prompt, self._known)

    def _key(self, message: Message) -> str:
        """Return the key of a row's request in its original form, even if the response format was relaxed since."""
        messages = [*self.first.messages[:-1], message]
        # Use the endpoint's name: the practice model has another address in every kernel.
        return key_of(self.first.endpoint.name, {**self.first.body, "messages": messages})

    def _is_kept(self, number: int, key: str) -> bool:
        """Use a row's cached result, and return whether there was one."""
        kept = self._look_up(key)
        if kept is None or (kept.error and self.asked.retry_failed):
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

    def _look_up(self, key: str) -> Answer | None:
        if self.cache is None:
            return None
        try:
            return self.cache.get(key)
        except SqliteError as error:
            self._give_up_cache(error)
            return None

    def _keep(self, key: str, answer: Answer) -> None:
        if self.cache is None:
            return
        try:
            self.cache.put(key, answer)
        except SqliteError as error:
            self._give_up_cache(error)

    def _give_up_cache(self, error: Exception) -> None:
        self.cache = None
        self._notice(f"Answers are no longer kept on disk: {shortened(str(error), 100)}.")

    async def _hold(self, request: PreparedRequest, running: set[asyncio.Task[None]]) -> budget.Reservation | None:
        """Reserve the worst-case cost of a row. Return None if the run must stop, for that reason or another."""
        hold = budget.Reservation(self.session)
        while self.stopped is None:
            with suppress(InferenceError):
                hold.reserve(request, wanted=self._wanted(running), least=LEAST_REPLY_TOKENS)
                return hold
            if running:
                # Calls cost less than their worst case: what they leave may be enough.
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                # The rest of the budget is for one row.
                hold.reserve(request)
            except InferenceError as error:
                self.stopped = InferenceError(
                    "The budget is used up: the run stopped.", why=error.what, remedy=error.remedy, cause="budget"
                )
            else:
                return hold
        return None

    def _wanted(self, running: set[asyncio.Task[None]]) -> int:
        """Return how many calls to make at once have no reservation yet, including the next one."""
        free = self.limiter.allowed - len(running)
        rows = free if self.total is None else self.total - len(self.answers) + 1
        return max(min(free, rows), 1) * self.beside

    async def _ask_row(self, row: _Row, number: int, key: str) -> None:
        """Request the answer for a row, and store the result."""
        try:
            value = await row.receive(self._client)
            reply = row.reply()
            if not reply.text:
                raise InferenceError(why_empty(reply), cause="answer")
        except Exception as failure:  # noqa: BLE001 - reported in the row
            # Do not cache the error of a reply that the budget truncated: a later run with more budget retries the row.
            self._fail(number, row.explained(failure), "" if row.builder.is_cut_by_budget else key)
        else:
            self._take(number, reply, reply.text if row.ask.schema is None else value)
            if not reply.is_cut_by_budget:
                self._keep(key, Answer(reply.text, seconds=round(reply.seconds, 3)))
        finally:
            for call in row.calls():
                self._count(call)

    def _take(self, number: int, reply: Reply, answer: Any) -> None:
        self.answers[number] = answer
        self.seconds[number] = reply.seconds
        self._failures_in_a_row, self.trouble = 0, ""
        self.done += 1
        self.replayed += reply.replayed
        self.limiter.served()

    def _count(self, call: Reply) -> None:
        self.cut += call.is_cut_by_budget
        self.reports = tuple(dict.fromkeys((*self.reports, *call.notices)))
        self.usage += call.usage or NOTHING
        self.cost = None if self.cost is None or call.cost is None else self.cost + call.cost

    def ask_more_easily(self, refused: PreparedRequest, error: InferenceError) -> None:
        """Relax the response format for the following rows, because the current one would be refused for each of them.

        A row that was in flight may report the refusal of a format that is no longer requested; that is ignored.
        """
        if refused.body.get("response_format") != self._base.body.get("response_format"):
            return
        if (easier := relax_response_format(self._base, self.asked.ask.schema, error)) is not None:
            self._base = easier
            self._notice(*easier.notices)

    def _notice(self, *words: str) -> None:
        self.notices = tuple(dict.fromkeys((*self.notices, *words)))

    def _read(self, text: str) -> Any:
        schema = self.asked.ask.schema
        return text if schema is None else schema.read(text)

    def _fail(self, number: int, error: InferenceError, key: str) -> None:
        """Store why a row has no answer. End the run if the error would affect every row, or after many in a row."""
        self.errors[number] = str(error)
        self.done += 1
        self._failures_in_a_row += 1
        if error.cause in FATAL or self._failures_in_a_row >= max(MOST_FAILURES, self.limiter.most):
            self.stopped = self.stopped or error
        elif key and not error.retryable and error.cause in ("request", "answer"):
            self._keep(key, Answer(error=str(error)))


def _not_drawn(error: Exception, number: int) -> InferenceError:
    said = quoted(f"{type(error).__name__}: {error}")
    return InferenceError(
        f"There is no row {number}: what gives the rows raised {said}.",
        remedy="Fix it and run the cell again.",
        cause="option",
    )


class _Row(ModelCall):
    """One row of a run. What it learns about the service and the model is applied to the other rows too."""

    def __init__(self, run: BatchRun, request: PreparedRequest, hold: budget.Reservation, most_retries: int) -> None:
        super().__init__(run.session, run.asked.ask, request, hold, most_retries)
        self._run = run

    def easier(self, error: InferenceError) -> PreparedRequest | None:
        easier = super().easier(error)
        if easier is not None:
            self._run.ask_more_easily(self.sent, error)
        return easier

    def pause_after(self, error: InferenceError, tries: int) -> float | None:
        run = self._run
        if error.status == 429:
            run.limiter.refused(self.builder.started)
        seconds = None if run.stopped is not None else super().pause_after(error, tries)
        if seconds is not None:
            run.trouble = error.what
        return seconds


def begin(
    session: Session,
    rows: Rows,
    asked: BatchSpec,
    model: str | None,
    cache: AnswerCache | None,
    permits: Permits | None = None,
) -> BatchRun | None:
    """Return a run that is ready to start, or None if there are no rows. Nothing has been sent.

    Raises
    ------
    InferenceError
        If the run cannot succeed: no key, an unknown model, a first row that cannot be read, a template that fails on
        it, or a cost above the budget.
    """
    try:
        row = next(iter(rows), None)
    except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
        raise _not_drawn(error, 1) from None
    if row is None:
        return None
    first = prepare_request(session, replace(asked.ask, prompt=asked.prompts()(row), model=model, thread=None))
    run = BatchRun(session, rows, asked, first.model, first, cache, permits)
    _check_budget(session, run)
    return run


def _check_budget(session: Session, run: BatchRun) -> None:
    rest = budget.left(session)
    if rest is None:
        return
    with budget.Reservation(session) as hold:
        hold.reserve(run.first)
    estimate = run.estimate()
    if estimate.cost is not None and estimate.cost > rest:
        raise InferenceError(
            f"This would cost about {usd(estimate.cost)}, and {usd(rest)} is left of the budget. Nothing was sent.",
            why=f"{estimate}.".capitalize(),
            remedy=f"Try fewer rows first: --limit. {budget.remedy(session)}",
            cause="budget",
        )


async def run_all(runs: list[BatchRun]) -> None:
    """Run several models at once."""
    await asyncio.gather(*(run.run() for run in runs))
