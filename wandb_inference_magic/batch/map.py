"""Run a prompt over the rows of a frame: one run per model, with the answers as columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import current_thread, main_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ..config import INTO
from ..errors import InferenceError, Interrupted
from ..frames import ONLY, name_columns, read_rows, result_columns
from ..garbage import only_new_objects
from ..session import JobRecord, Trace, delete_same
from ..text import counted, digest_of
from .cache import open_cache
from .cached_answers import CachedAnswers
from .drive import run_all
from .progress import cost_of
from .row_call import RowPrompts
from .run_results import not_sent_again, reports_of
from .start import check_budget, estimates, start

if TYPE_CHECKING:
    from ..concurrency import Interrupts
    from ..frames import ColumnNames, Rows
    from ..session import Command
    from .cache import AnswerCache
    from .progress import Progress
    from .run import BatchRun
    from .spec import BatchSpec
    from .start import Estimate, Judging

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunsOutcome:
    """The outcome of runs: their notices, and whether they were interrupted. `how_to_continue` says how to go on."""

    runs: Sequence[BatchRun]
    seconds: float
    notices: tuple[str, ...]
    interrupted: bool
    trace: Trace
    how_to_continue: str

    @property
    def stopped(self) -> InferenceError | None:
        """The error that ended a run early, or None."""
        return next((run.stopped for run in self.runs if run.stopped is not None), None)

    @property
    def is_partial(self) -> bool:
        """Whether the runs ended early."""
        return self.interrupted or self.stopped is not None


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[T]):
    """The result of a map, also of one that ended early: the frame with the answers, and the outcome of its runs.

    A subclass has that of an evaluation.
    """

    value: T
    outcome: RunsOutcome
    # How a message begins that says where the user finds it.
    found: ClassVar[str] = "The rows so far are in"

    @property
    def notices(self) -> tuple[str, ...]:
        """What is unusual in it."""
        return self.outcome.notices

    def ended_early(self, place: str) -> InferenceError | Interrupted | None:
        """Return the error or the interrupt that ended the runs early, or None if none did.

        Its `partial` is the value. `place` is where the user finds that.
        """
        message = f"{self.found} {place}. {self.outcome.how_to_continue}"
        if self.outcome.interrupted:
            return Interrupted(message, partial=self.value)
        error = self.outcome.stopped
        if error is not None:
            error.remedy = f"{error.remedy} {message}".strip()
            error.partial = self.value
        return error


class PreparedRuns:
    """Runs of specs over rows that are ready to start, side by side. Nothing has been sent.

    If the command is dry, they can only be looked at, and their notices also say what would stop them.

    Parameters
    ----------
    command : Command
    tasks : sequence of (Rows, BatchSpec, str or None)
        The rows of each run, what to request for them, and the model.
    magic : str
        For the trace.

    Attributes
    ----------
    runs : list of BatchRun
        Empty if there are no rows.
    notices : tuple of str
        What is to be said before anything is sent.

    Raises
    ------
    InferenceError
        If a run cannot start.
    """

    def __init__(self, command: Command, tasks: Sequence[tuple[Rows, BatchSpec, str | None]], *, magic: str) -> None:
        self._command, self._magic = command, magic
        self._began = perf_counter()
        # All specs say the same. Answers that come from the cache would be missing on the cassette.
        use_cache = tasks[0][1].use_cache and command.cassette is None
        opened = open_cache(command.settings, makes=not command.dry) if use_cache else (None, ())
        self._cache, self._cache_notices = opened
        self.runs: list[BatchRun] = []
        seen: Counter[str] = Counter()
        # All models get the same prompts of a spec, also of a template that is not deterministic.
        prompts: dict[tuple[int, int], RowPrompts] = {}
        try:
            for rows, spec, model in tasks:
                own = prompts.setdefault((id(rows), id(spec)), RowPrompts(rows, spec)).shared()
                if run := start(command, rows, spec, model, own, self._cache, seen):
                    self.runs.append(run)
            self._check()
        except BaseException:
            self.close()
            raise
        for run in self.runs:
            run.together = self.runs
        self.notices = tuple(dict.fromkeys(notice for run in self.runs for notice in run.all_notices))
        self._inputs = {
            "prompt": tasks[0][1].text,
            "model": [run.model for run in self.runs],
            "rows": tasks[0][0].length,
        }

    def _check(self) -> None:
        """Check that the runs can be sent."""
        self._check_budget()

    def _check_budget(self, judging: Judging | None = None) -> None:
        """Check that the runs do not cost too much, with those of a judge (see `check_budget`).

        If nothing will be sent, the first one has that as a notice.
        """
        try:
            check_budget(self._command.budget, self.runs, judging)
        except InferenceError as error:
            if not self._command.dry:
                raise
            self.runs[0].results.notice(str(error))

    def _describe(self) -> str:
        what, rows = "map" if self._magic == "wbmap" else "evaluation", self._inputs["rows"]
        return f"{what} of {counted(rows, 'row')}" if isinstance(rows, int) else what

    @property
    def asks(self) -> str:
        """A digest of what is asked: the first question to each model, and the number of rows."""
        questions = [CachedAnswers(None, run.first, Counter()).key(run.first.messages[-1]) for run in self.runs]
        return digest_of(" ".join((*questions, str(self._inputs["rows"]))))

    def close(self) -> None:
        """Close what is open, if nothing is to be sent."""
        if self._cache is not None:
            self._cache.close()

    def look(self) -> list[tuple[BatchRun, Estimate]]:
        """Return the runs to look at and not to send, with what each would take."""
        try:
            return list(zip(self.runs, estimates(self.runs), strict=True))
        finally:
            self.close()

    def render_all(self, redraw: Callable[[], object]) -> None:
        """Read all rows and render their prompts now, in this thread: that is the user's code.

        Raises
        ------
        KeyboardInterrupt
            When it is interrupted. Then nothing will be sent.
        """
        try:
            for run in self.runs:
                run.prompts.render_all(redraw)
        except BaseException:
            self.close()
            raise

    def send(self, *, progress: Progress | None = None) -> RunsOutcome:
        """Send the requests, and return their outcome even if it was interrupted or ended early."""
        command, runs = self._command, self.runs
        trace, interrupted = Trace(), False
        try:
            with (
                command.deferred_interrupts(self._describe()) as interrupts,
                command.traced(self._magic, self._inputs, {}, interrupts) as trace,
            ):
                interrupted = bool(runs) and _run(command, runs, interrupts, progress)
                for run in runs:
                    run.stop_if_all_missed()
                trace.output = {run.model: _facts(run) for run in runs}
                trace.summary = {"cost_usd": cost_of(runs)} if runs else {}
                if interrupted:
                    raise KeyboardInterrupt  # for the trace
        except KeyboardInterrupt:
            # It may also arrive after the last answer, or before the first request.
            interrupted = True
        finally:
            self.close()
        results = [run.results for run in runs]
        notices = (
            *self._cache_notices,
            *(notice for run in runs for notice in run.all_notices),
            *(self._cache.notices if self._cache is not None else ()),
            *trace.take_notices(),
            *reports_of(results),
            *not_sent_again(results),
        )
        outcome = RunsOutcome(
            runs,
            perf_counter() - self._began,
            tuple(dict.fromkeys(notices)),
            interrupted,
            trace,
            _how_to_continue(command, runs, self._cache),
        )
        if not outcome.is_partial and not command.is_listed:
            # The same job, which another kernel left unfinished, is done now.
            delete_same(JobRecord(self._magic, asks=self.asks, **command.session.job_origin()))
        return outcome


class PreparedBatch(PreparedRuns, ABC, Generic[T]):
    """Runs that give one result: a map or an evaluation."""

    @abstractmethod
    def run(self, progress: Progress | None = None) -> BatchResult[T]:
        """Send the requests, and return the result even if it was interrupted or ended early."""

    @abstractmethod
    def frame(self) -> Any:
        """Return the frame with the answers so far."""


class PreparedMap(PreparedBatch[Any]):
    """A map that is ready to start. Nothing has been sent.

    A model that is named twice is run once.

    Parameters
    ----------
    command : Command
    rows : Rows
    spec : BatchSpec
    models : sequence of str
    into : str
        The column for the answers.

    Raises
    ------
    InferenceError
        If the run cannot start.
    """

    def __init__(
        self,
        command: Command,
        rows: Rows,
        spec: BatchSpec,
        *,
        models: Sequence[str] = (),
        into: str = INTO,
    ) -> None:
        self._rows, self._into = rows, into
        self._models = command.model_ids(models)
        self._origin = spec.origin(rows.columns, self._models, command.settings)
        written = command.session.written
        names, replaced, notices = name_columns(rows, spec.chat.schema, into, self._models, written, self._origin)
        # A prompt does not see the columns that the answers replace.
        self._spec = replace(spec, hidden=frozenset(replaced), notices=notices)
        super().__init__(command, [(rows, self._spec, model) for model in (self._models or (None,))], magic="wbmap")
        self._show_names(names)

    def _show_names(self, names: Sequence[ColumnNames]) -> None:
        """Note how the columns of the answers are called. Those of several models are shown one below the other."""
        own = names[0].answers
        shared = [self._into if name == ONLY else name for name in own]
        for run in self.runs:
            run.results.columns = tuple(own.values() if len(names) == 1 else shared)

    def run(self, progress: Progress | None = None) -> BatchResult[Any]:
        outcome = self.send(progress=progress)
        frame, reports = self._frame()
        notices = dict.fromkeys((*outcome.notices, *reports))
        return BatchResult(frame, replace(outcome, notices=tuple(notices)))

    def frame(self) -> Any:
        return self._frame()[0]

    def _frame(self) -> tuple[Any, Sequence[str]]:
        """Return the frame with the answers so far, and what is to be said of it."""
        rows, schema = self._rows, self._spec.chat.schema
        # All columns of a list or a generator are known only now.
        length = rows.read_rest()
        written = self._command.session.written
        names, dropped, renamed = name_columns(rows, schema, self._into, self._models, written, self._origin)
        self._show_names(names)
        runs = [run.results for run in self.runs]
        results = [(one.plain_answers(), one.reasons(length), dict(one.texts)) for one in runs]
        columns, reports = result_columns(results, schema, names, length)
        frame, problems = rows.with_columns(columns, dropped)
        written.add(read_rows(frame), names, self._origin)
        return frame, [*renamed, *reports, *problems]


def _facts(run: BatchRun) -> dict[str, Any]:
    """Return the figures of a run for its trace. The answers are in the calls nested in the trace."""
    results = run.results
    return {
        "rows": results.done,
        "failed": results.failed,
        "kept": results.cached,
        "prompt_tokens": results.usage.prompt_tokens,
        "completion_tokens": results.usage.completion_tokens,
        "cost_usd": results.cost,
        "stopped": str(run.stopped) if run.stopped else "",
    }


def _run(command: Command, runs: list[BatchRun], interrupts: Interrupts, progress: Progress | None) -> bool:
    """Wait until the runs have ended, and return whether they were interrupted."""
    try:
        with (
            # Not beside other cells: a job may take hours, and what they no longer use would be kept for so long.
            only_new_objects() if current_thread() is main_thread() else nullcontext(),
            progress(runs, interrupts) if progress is not None else nullcontext(lambda: None) as redraw,
        ):
            run_all(command, runs, interrupts, redraw=redraw)
    except KeyboardInterrupt:
        return True
    return False


def _how_to_continue(command: Command, runs: Sequence[BatchRun], cache: AnswerCache | None) -> str:
    """Return how to go on with a run that ended early."""
    if command.cassette is not None:
        if not command.cassette.records:
            return ""
        if command.cassette.replays:
            return "Run it again to continue: the cassette holds the answers so far."
        return "While a cassette records, every row is asked for again, so that the cassette holds all of them."
    once = " An iterator gives its rows only once: make a new one first." if runs and runs[0].rows.is_used_up else ""
    if all(run.keeps_answers for run in runs):
        return f"Run it again to continue: only missing and cut answers are asked for.{once}"
    why = "" if runs[0].spec.use_cache else " (--no-cache)"
    message = f"No answers were kept on disk{why}: if you run it again, it asks for every row."
    if cache is not None:
        message = "Not all answers were kept on disk: if you run it again, it asks for the rows of the others."
    return f"{message} To go on, give only the other rows.{once}"
