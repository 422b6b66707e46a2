"""Work that runs in the background, in a thread of its own: a map, an evaluation or a chat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from threading import RLock, Thread
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from ..batch import Counts, JobView, cost_of, longest_wait
from ..concurrency import SECONDS_BETWEEN_LOOKS, deferred_interrupts
from ..errors import InferenceError, Interrupted, describe_exception, quoted, shortened, without_thread
from ..rendering import line_bundle
from ..session import JobEntry, JobRecord, RecordFile, delete_same
from ..text import counted, digest_of, duration, sum_or_none

if TYPE_CHECKING:
    from ..batch import BatchRun, PreparedBatch
    from ..session import Command, Share

State = Literal["running", "paused", "waiting", "done", "cancelled", "failed"]
SECONDS_BETWEEN_DRAWINGS: Final = 1.0
# The rate is that of the last drawings.
SAMPLES: Final = 30
SECONDS_BETWEEN_RECORDS: Final = 5.0
BAR: Final = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job.

    Attributes
    ----------
    value : object
        What `wait` returns.
    shown : dict, optional
        The MIME bundle that takes the place of the job's line.
    error : BaseException, optional
        Why it ended early.
    notices : tuple of str
        What is unusual in it.
    """

    value: Any
    shown: dict[str, Any] | None = None
    error: BaseException | None = None
    notices: tuple[str, ...] = ()


class NotEndedError(InferenceError, TimeoutError):
    """A job that has not ended in the time that `wait` was given."""


class Job(JobEntry):
    """Work that runs in the background.

    Parameters
    ----------
    command : Command
    what : str
        The magic and the name of what it works on.
    work : callable
        Takes the job, whose `follow` it calls with its runs, and returns the Outcome. Runs in the job's thread.
    prepared : PreparedBatch, optional
        The map or the evaluation that it runs.
    share : Share, optional
        What the job asks for, if it has no runs.
    so_far : callable, optional
        Returns the frame with the answers so far, if nothing is `prepared`.
    unit : str
        What is counted, if it is not rows.
    variable : str
        The variable of the Job.

    Attributes
    ----------
    id : int
        Its number in `%wbjobs`.
    """

    where_rows_are: ClassVar[str] = "Give its frame: .wait() when it has ended, or .frame() with the answers so far."

    def __init__(
        self,
        command: Command,
        what: str,
        work: Callable[[Job], Outcome],
        *,
        prepared: PreparedBatch[Any] | None = None,
        share: Share | None = None,
        so_far: Callable[[], Any] | None = None,
        unit: str = "",
        variable: str = "",
    ) -> None:
        super().__init__(what, command.cancelled)
        self._command, self._work, self._prepared, self._share = command, work, prepared, share
        self._so_far = so_far if prepared is None else prepared.frame
        command.is_listed = True
        self._own_counts: Counts | None = None
        self._unit = f" {unit}" if unit else ""
        self._runs: list[BatchRun] = [] if prepared is None else list(prepared.runs)
        # Views are drawn on by the job's thread, and added by others.
        self._lock = RLock()
        self._views: list[JobView] = []
        self._outcome: Outcome | None = None
        self._is_abandoned = False
        self._next = self._next_record = 0.0
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._began = perf_counter()
        self._seconds = 0.0
        keeps = bool(self._runs) and all(run.keeps_answers for run in self._runs)
        origin = command.session.job_origin()
        # A job without runs is known by its name.
        asks = digest_of(f"{what} {variable}") if prepared is None else prepared.asks
        self.record = JobRecord(
            what, variable, started=time(), unit=unit or "rows", keeps_answers=keeps, asks=asks, **origin
        )
        self._file = RecordFile()

    def start(self, show: Callable[[Job], None] | None = None, redraw: Callable[[], object] = lambda: None) -> None:
        """Give the job its number, show it, and start it. An earlier job of the same cell is ended.

        The prompts of rows are rendered first, in this thread: that is the user's code. `redraw` is called for each.
        An interrupt comes before it has a number, or when it runs.
        """
        if self._prepared is not None:
            self._prepared.render_all(redraw)
        jobs = self._command.session.jobs
        jobs.end_earlier(self.record)
        with deferred_interrupts():
            delete_same(self.record)
            jobs.add(self)
            try:
                self._write_record()
                if show is not None:
                    show(self)
                # What it shows belongs to the cell that started it.
                context = copy_context()
                Thread(target=context.run, args=(self._run,), name=f"wb-job-{self.id}", daemon=True).start()
            except BaseException as failure:  # noqa: BLE001 - raised again
                self._end(Outcome(None, error=(error := without_thread(failure) or failure)))
                raise error from failure.__cause__

    def start_in_foreground(self) -> None:
        """Do the work in this thread, because no interactive front end is attached.

        Raises
        ------
        KeyboardInterrupt
            When it is interrupted.
        """
        self._command.session.jobs.add(self)
        self._run()
        self.mark_as_seen()
        if self._outcome and isinstance(self._outcome.error, KeyboardInterrupt):
            raise self._outcome.error

    # What users ask it -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """`running`, `paused`, `waiting` (for the service, or other calls), `done`, `cancelled` or `failed`."""
        if self._outcome is not None:
            if self._outcome.error is None:
                return "done"
            return "cancelled" if isinstance(self._outcome.error, KeyboardInterrupt) else "failed"
        if self.is_paused:
            return "paused"
        waits_for_service = any(one.limiter.alarm.is_waiting for one in self._shares())
        return "waiting" if waits_for_service or any(run.waits_for for run in self._runs) else "running"

    @property
    def done(self) -> int:
        """The rows that have an answer or an error."""
        return self.counts.done

    @property
    def total(self) -> int | None:
        """The rows in all, or None if their number is not known."""
        return self.counts.total

    @property
    def errors(self) -> int:
        """The rows without an answer."""
        return self.counts.errors

    @property
    def cost(self) -> float | None:
        """The cost so far in USD, or None if it is not known."""
        return self.counts.cost

    @property
    def rate(self) -> float | None:
        """The recent rows per second, or None if there were none, or if the job is paused."""
        if len(self._samples) < 2 or self.is_paused:
            return None
        (began, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) / (now - began) if done > before and now > began else None

    @property
    def seconds_left(self) -> float | None:
        """About how many seconds are left, or None if that is not known."""
        counts, rate = self.counts, self.rate
        return None if counts.total is None or not rate else (counts.total - counts.done) / rate

    @property
    def notices(self) -> tuple[str, ...]:
        """What is unusual in the result; empty until the job has ended."""
        return self._outcome.notices if self._outcome is not None else ()

    def frame(self) -> Any:
        """Return the frame with the answers so far.

        Raises
        ------
        InferenceError
            If the job has no rows.
        """
        if self._so_far is None:
            raise InferenceError(f"{self.what} has no rows.", remedy="wait() returns its result.")
        return self._so_far()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until the job has ended and return its result. Interrupting ends the wait, not the job.

        Parameters
        ----------
        timeout : float, optional
            The maximum number of seconds to wait.

        Raises
        ------
        InferenceError
            The error that ended the job, or an error if it was cancelled. Its `partial` is the result so far.
        NotEndedError
            If it has not ended in that time. It is a TimeoutError.
        """
        try:
            seconds = inf if timeout is None else float(timeout)
        except (TypeError, ValueError):
            raise InferenceError(f"wait() takes a number of seconds, not {timeout!r:.80}.") from None
        until = perf_counter() + seconds
        try:
            while not self._over.wait(min(SECONDS_BETWEEN_LOOKS, seconds)):
                if not perf_counter() < until:  # also if it is NaN
                    said = f"Job {self.id} has not ended after {seconds:g} s: {self._progress_text()}."
                    raise NotEndedError(said, remedy="It goes on: wait() waits again.")
        except KeyboardInterrupt:
            raise Interrupted(f"Job {self.id} goes on; wait() waits for it again.") from None
        self.mark_as_seen()
        outcome = self._outcome
        assert outcome is not None
        if isinstance(outcome.error, KeyboardInterrupt):
            cancelled = InferenceError(f"Job {self.id} was cancelled.", remedy=str(outcome.error))
            cancelled.partial = outcome.value if outcome.value is not None else getattr(outcome.error, "partial", None)
            raise cancelled
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def mark_as_seen(self) -> None:
        """Announce the end of the job no more."""
        self._command.session.jobs.stop_announcing(self)

    def pause(self) -> None:
        """Send no more requests until `resume`. Those in flight are waited for.

        Raises
        ------
        InferenceError
            If the job has no rows.
        """
        if not self._runs:
            raise InferenceError(f"{self.what} cannot be paused.", remedy="Cancel it, or wait.")
        self.is_paused = self._outcome is None
        for run in self._runs:
            run.share.pause()

    def resume(self) -> bool:
        """Go on after `pause`, and return whether it does: not if it has ended or is being cancelled."""
        self.is_paused = False
        for run in self._runs:
            self._command.loop.begin(run.share.resume())
        return self._outcome is None and not self._command.cancelled.is_set()

    # How it runs -----------------------------------------------------------------------------------------------------

    @contextmanager
    def follow(self, runs: Sequence[BatchRun], _: object = None) -> Iterator[Callable[[], None]]:
        """Follow these runs too. Give what draws their progress inside the `with` block; the line stays after it."""
        self._runs.extend(run for run in runs if run not in self._runs)
        if self.is_paused:
            self.pause()
        yield self.draw

    def count(self, counts: Counts) -> None:
        """Say how far a job without runs is."""
        self._own_counts = counts

    def show(self, view: JobView) -> None:
        """Draw the job's line in a further place from now on."""
        with self._lock:
            self._views.append(view)
            if self._outcome is not None:
                view.end(self.last_bundle(), self.describe())
            else:
                view.draw(self.bundle())

    def draw(self) -> None:
        """Draw the line, and write the record, unless that was done recently."""
        now = perf_counter()
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_DRAWINGS
        self._samples.append((now, self.counts.done))
        with self._lock:
            for view in list(self._views):
                self._draw_on(view, view.draw, self.bundle())
        if now >= self._next_record:
            self._write_record()

    def abandon(self) -> None:
        """End the job because the kernel ends. It is listed as unfinished afterwards."""
        self._is_abandoned = True
        self.cancel()

    def _run(self) -> None:
        try:
            outcome = self._work(self)
        except BaseException as error:  # noqa: BLE001 - raised by `wait`
            outcome = Outcome(None, error=error)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        for run in self._runs:
            run.prompts.clear()
        self._seconds = perf_counter() - self._began
        if self._is_abandoned:
            self._write_record("cancelled")
            self._file.release()
        else:
            self._file.remove()
        with self._lock:
            self._outcome = outcome
            # Before it is drawn: the next reply announces an end that is seen.
            self._command.session.jobs.announce_end(self, self.end_notice)
            for view in list(self._views):
                self._draw_on(view, partial(view.end, line=self.describe()), self.last_bundle())
        self.end()

    def _draw_on(self, view: JobView, draw: Callable[[dict[str, Any]], None], bundle: dict[str, Any]) -> None:
        """Draw on a view. One that fails, because its front end is gone, ends no paid work: it is drawn no more."""
        try:
            draw(bundle)
        except Exception:  # noqa: BLE001 - whatever the front end raises
            self._views.remove(view)

    def _shares(self) -> list[Share]:
        return [*(run.share for run in self._runs), *filter(None, [self._share])]

    @property
    def counts(self) -> Counts:
        """How far it is."""
        if self._own_counts is not None:
            return self._own_counts
        runs = list(self._runs)
        total = sum_or_none([run.total for run in runs])
        results = [run.results for run in runs]
        has_asked = any(one.usage.total_tokens for one in results)
        done, errors = sum(one.done for one in results), sum(one.failed for one in results)
        return Counts(done, total, errors, cost_of(runs), has_asked=has_asked)

    def _write_record(self, state: str = "running") -> None:
        self._next_record = perf_counter() + SECONDS_BETWEEN_RECORDS
        counts = self.counts
        self._file.write(replace(self.record, written=time(), done=counts.done, total=counts.total or 0, state=state))

    # How it is shown -------------------------------------------------------------------------------------------------

    def bundle(self) -> dict[str, Any]:
        """Return the line that says how far the job is, as a MIME bundle."""
        return line_bundle(self.describe())

    def describe(self) -> str:
        """Return how far the job is, as one line of text."""
        return f"{self.what} · job {self.id} · {self._progress_text()}"

    def last_bundle(self) -> dict[str, Any]:
        """Return what takes the place of the job's line when it has ended; until then the line."""
        return (self._outcome.shown if self._outcome else None) or self.bundle()

    def end_notice(self) -> str:
        """Return in one sentence how the job ended."""
        text = self._progress_text(state=False).removesuffix(".")
        how = "has failed" if self.state == "failed" else f"is {self.state}"
        return f"Job {self.id} ({self.what}) {how}: {text}. See %wbjobs {self.id}."

    def _progress_text(self, *, state: bool = True) -> str:
        counts = self.counts
        parts: list[str] = [self.state] if state else []
        if any(run.first.endpoint.is_local for run in self._runs):
            parts.append("practice model")
        if counts.total:
            full = min(BAR * counts.done // counts.total, BAR)
            if self._outcome is None:
                parts.append(f"{'█' * full}{'░' * (BAR - full)}")
            parts.append(f"{counts.done:,} of {counts.total:,}{self._unit}")
        elif counts.total is None:
            parts.append(f"{counts.done:,} so far")
        if counts.errors:
            parts.append(counted(counts.errors, "error"))
        if self._outcome is None and (rate := self.rate):
            parts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
        if counts.cost is not None:
            parts.append(counts.shown_cost)
        return " · ".join(one for one in (*parts, self._why()) if one)

    def _why(self) -> str:
        """Return what else is to be said: the time left, what is waited for, or why it ended."""
        if self._outcome is not None:
            error = self._outcome.error
            if error is None or isinstance(error, Interrupted):
                return duration(self._seconds)
            return error.what if isinstance(error, InferenceError) else quoted(describe_exception(error))
        reason, at = longest_wait([*(run.waits for run in self._runs), *(one.backoff for one in self._shares())])
        wait = at - self._command.session.clock.now()
        if reason and (wait > 0 or not at):
            return f"trying again in {duration(round(wait))}: {shortened(reason, 80)}" if at else reason
        left = self.seconds_left
        return self.counts.doing if left is None else f"{duration(round(left))} left"

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.what}, {self._progress_text()}>"

    def _ipython_display_(self) -> None:
        show = self._command.session.show_job
        if show is None:
            raise NotImplementedError
        show(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        return self.last_bundle()
