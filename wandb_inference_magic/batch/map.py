"""Run a prompt over the rows of a frame: one run per model, with the answers as columns."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import SECONDS_BETWEEN_LOOKS, InFlight, deferred_interrupts
from ..config import INTO
from ..errors import InferenceError, Interrupted
from ..session import Trace
from .cache import open_cache
from .columns import name_columns, result_columns
from .progress import MapProgress, cost_of
from .start import start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..concurrency import Interrupts
    from ..session import Command
    from .rows import Rows
    from .run import BatchRun, RowCall
    from .spec import BatchSpec, Permits


# How long to wait for more answers, after the first one: each change between two threads costs time.
SECONDS_TO_GATHER: Final = 0.008


@dataclass(frozen=True, slots=True)
class Mapped:
    """The result of a map: the frame with the answers, the runs that made them, and the URL of their trace.

    `notices_before` are those of the notices that there were before anything was sent.
    """

    frame: Any
    runs: Sequence[BatchRun]
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    interrupted: bool = False
    trace: str = ""
    way_on: str = ""
    notices_before: tuple[str, ...] = ()

    def raise_if_incomplete(self, place: str) -> None:
        """Raise the error or the interrupt that ended the run early, if one did.

        Its `partial` is the frame, and its message says how to go on.

        Parameters
        ----------
        place : str
            Where the user finds the frame.
        """
        said = f"The rows so far are in {place}. {self.way_on}"
        error: InferenceError | Interrupted
        if self.interrupted:
            error = Interrupted(said)
        elif self.stopped is not None:
            error = self.stopped
            error.remedy = f"{error.remedy} {said}".strip()
        else:
            return
        error.partial = self.frame
        raise error

    @property
    def stopped(self) -> InferenceError | None:
        """The error that ended a run early, or None."""
        return next((run.stopped for run in self.runs if run.stopped is not None), None)


def run_map(
    command: Command,
    rows: Rows,
    spec: BatchSpec,
    *,
    models: Sequence[str] = (),
    into: str = INTO,
    use_cache: bool = True,
    progress: Callable[[Sequence[BatchRun]], MapProgress] | None = None,
    permits: Permits | None = None,
    warn: Callable[[str], None] | None = None,
    report_columns: bool = True,
) -> Mapped:
    """Request an answer for every row and return the result, even if the run was interrupted or ended early.

    A model that is named twice is run once. `warn` is called with each notice that there is before anything is sent.
    With `report_columns`, the notices include the names and the forms of the columns of answers.

    Raises
    ------
    InferenceError
        If the run cannot start.
    """
    models = command.model_ids(models)
    # Answers that come from the cache would be missing on the cassette.
    cache, notices = open_cache(command.settings) if use_cache and command.cassette is None else (None, ())
    started = perf_counter()
    try:
        runs = [run for model in (models or (None,)) if (run := start(command, rows, spec, model, cache))]
        for run in runs:
            run.beside = len(runs)
        if report_columns:
            report_names(runs, rows, spec, into)
        before = tuple(dict.fromkeys(notice for run in runs for notice in run.all_notices))
        if warn is not None:
            for notice in before:
                warn(notice)
        inputs = {"prompt": spec.text, "model": [run.model for run in runs], "rows": rows.length}
        trace, interrupted = Trace(), False
        try:
            with deferred_interrupts() as interrupts, command.traced("wbmap", inputs, {}, interrupts) as trace:
                interrupted = bool(runs) and _run(command, runs, interrupts, progress, permits)
                trace.output = {run.model: _facts(run) for run in runs}
                trace.summary = {"cost_usd": cost_of(runs)} if runs else {}
        except KeyboardInterrupt:
            # It arrived after the last answer, or before the first request.
            interrupted = True
    finally:
        if cache is not None:
            cache.close()
    # All columns of a list or a generator are known only now.
    rows.read_rest()
    names, dropped, renamed = name_columns(rows, spec.chat.schema, into, [run.model for run in runs] or models)
    results = [(run.answers, run.errors) for run in runs]
    columns, reports = result_columns(results, spec.chat.schema, names, rows.length)
    frame, problems = rows.with_columns(columns, dropped)
    for run in runs:
        notices += tuple(one for one in run.all_notices if one not in notices)
    if report_columns:
        notices += tuple(one for one in (*renamed, *reports, *problems) if one not in notices)
    if cache is not None:
        notices += tuple(cache.notices)
    notices += trace.news()
    seconds, way_on = perf_counter() - started, _way_on(command, runs, use_cache=use_cache)
    return Mapped(frame, runs, seconds, notices, interrupted, trace.link, way_on, before)


def report_names(runs: Sequence[BatchRun], rows: Rows, spec: BatchSpec, into: str) -> None:
    """Add notices to runs, before anything is sent, about columns of answers whose names the frame has already."""
    if runs:
        *_, notices = name_columns(rows, spec.chat.schema, into, [run.model for run in runs])
        runs[0].notice(*notices)


def _facts(run: BatchRun) -> dict[str, Any]:
    """Return the figures of a run for its trace. The answers are in the calls nested in the trace."""
    return {
        "rows": run.done,
        "failed": run.failed,
        "kept": run.kept,
        "prompt_tokens": run.usage.prompt_tokens,
        "completion_tokens": run.usage.completion_tokens,
        "cost_usd": run.cost,
        "stopped": str(run.stopped) if run.stopped else "",
    }


def _run(
    command: Command,
    runs: list[BatchRun],
    interrupts: Interrupts,
    show: Callable[[Sequence[BatchRun]], MapProgress] | None,
    permits: Permits | None,
) -> bool:
    """Wait until the runs have ended, and return whether they were interrupted."""
    with interrupts.allowed():
        # It estimates the run: rows are drawn and prompts rendered by the user's code.
        progress = show(runs) if show else None
    try:
        run_all(command, runs, interrupts, redraw=progress.draw if progress else _nothing, permits=permits)
    except KeyboardInterrupt:
        return True
    finally:
        if progress is not None:
            progress.close()
    return False


def _nothing() -> None: ...


def run_all(
    command: Command,
    runs: Sequence[BatchRun],
    interrupts: Interrupts,
    *,
    redraw: Callable[[], None],
    permits: Permits | None = None,
) -> None:
    """Run several models at once until all rows have been answered.

    This thread reads the rows, renders the prompts and stores the answers; only the requests run on the event loop.
    An error that ends a run early is stored in its `stopped`.

    Raises
    ------
    KeyboardInterrupt
        When the user interrupts. The runs keep the answers received so far.
    """
    loop, client = command.session.loop, command.client()
    in_flight: InFlight[RowCall] = InFlight(loop)
    gather = SECONDS_TO_GATHER if permits is None and all(run.prepares_ahead for run in runs) else 0.0
    if permits is not None:
        # A row that waits for its turn here would hold a permit.
        for run in runs:
            run.prepares_ahead = False

    def send(row: RowCall) -> None:
        if permits is not None:
            loop.call(permits.acquire, meanwhile=lambda: take(0), interrupts=interrupts)
        in_flight.start(row, row.send(client))

    def take(seconds: float) -> None:
        for row, failure in in_flight.take(seconds, gather=gather):
            if row.run.end(row, failure):
                in_flight.start(row, row.send(client))
            elif permits is not None:
                permits.release()
        interrupts.check()
        redraw()

    try:
        while not all(run.is_over for run in runs):
            has_started = [run.start_next(send, interrupts.allowed) for run in runs]
            take(0 if any(has_started) else SECONDS_BETWEEN_LOOKS)
    finally:
        # Answers that have arrived are kept, also those that were not taken yet.
        for row, failure in in_flight.take(0):
            if not row.run.end(row, failure) and permits is not None:
                permits.release()
        in_flight.cancel()
        for run in runs:
            for _ in run.release_all():
                if permits is not None:
                    permits.release()


def _way_on(command: Command, runs: Sequence[BatchRun], *, use_cache: bool) -> str:
    """Return how to go on with a run that ended early."""
    if command.cassette is not None:
        if command.cassette.replays:
            return "Run it again to continue: the cassette holds the answers so far."
        return "While a cassette records, every row is asked for again: the cassette holds them in one take."
    if all(run.keeps_answers for run in runs):
        return "Run it again to continue: no answer is asked for twice, except what was cut."
    why = "" if use_cache else " (--no-cache)"
    return f"No answers were kept on disk{why}: run again, it asks for every row. Map the other rows alone to go on."
