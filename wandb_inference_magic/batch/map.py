"""Run a prompt over the rows of a frame: one run per model, with the answers as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..concurrency import SECONDS_BETWEEN_LOOKS, InFlight, deferred_interrupts
from ..config import INTO
from ..errors import InferenceError, Interrupted
from ..session import Trace
from ..text import whole
from .cache import open_cache
from .progress import MapProgress, cost_of
from .start import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..concurrency import Interrupts
    from ..schemas import Schema
    from ..session import Command
    from .rows import Rows
    from .run import BatchRun, RowCall
    from .spec import BatchSpec, Permits


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
) -> Mapped:
    """Request an answer for every row and return the result, even if the run was interrupted or ended early.

    A model that is named twice is run once. `warn` is called with each notice that there is before anything is sent.

    Raises
    ------
    InferenceError
        If the run cannot start.
    """
    models = list(dict.fromkeys(models))
    _check_columns(rows, spec, into, models)
    # Answers that come from the cache would be missing on the cassette.
    cache, notices = open_cache(command.settings) if use_cache and command.cassette is None else (None, ())
    started = perf_counter()
    try:
        runs = [run for model in (models or (None,)) if (run := start(command, rows, spec, model, cache))]
        for run in runs:
            run.beside = len(runs)
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
    columns, dropped = _columns(runs, spec.chat.schema, into, rows.length)
    for run in runs:
        notices += tuple(one for one in run.all_notices if one not in notices)
    if cache is not None:
        notices += tuple(cache.notices)
    notices += trace.news()
    seconds, way_on = perf_counter() - started, _way_on(command, runs, use_cache=use_cache)
    return Mapped(rows.with_columns(columns, dropped), runs, seconds, notices, interrupted, trace.link, way_on, before)


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

    def send(row: RowCall) -> None:
        if permits is not None:
            loop.call(permits.acquire, meanwhile=lambda: take(0), interrupts=interrupts)
        in_flight.start(row, row.send(client))

    def take(seconds: float) -> None:
        for row, failure in in_flight.take(seconds):
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


# Columns -------------------------------------------------------------------------------------------------------


def _names(schema: Schema | None, into: str) -> list[str]:
    """Return the names of the columns for an answer."""
    return list(schema.fields) if schema is not None and schema.fields else [into]


def _check_columns(rows: Rows, spec: BatchSpec, into: str, models: Sequence[str]) -> None:
    """Raise if the answers would replace a column that the prompt uses."""
    if len(models) > 1:
        return
    taken = [name for name in _names(spec.chat.schema, into) if name in rows.columns and name in spec.column_names()]
    if taken:
        raise InferenceError(
            f"The answers would replace the column {taken[0]!r}, which the prompt is made of. Nothing was sent.",
            remedy="Name another field in the schema." if spec.chat.schema else "Name another column: --into NAME.",
            cause="option",
        )


def _columns(
    runs: Sequence[BatchRun], schema: Schema | None, into: str, length: int | None
) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the columns to add, and the columns of an earlier run that are no longer valid."""
    columns: dict[str, list[Any]] = {}
    dropped = []
    for run, suffix in zip(runs, _suffixes(runs), strict=True):
        size = max(len(run.answers), length or 0)
        for name, values in answer_columns(run.answers, schema, into).items():
            columns[f"{name}{suffix}"] = values + [None] * (size - len(values))
        errors = error_column(f"{into}{suffix}")
        if run.errors:
            columns[errors] = [run.errors.get(number) for number in range(size)]
        else:
            dropped.append(errors)
    return columns, dropped


def _suffixes(runs: Sequence[BatchRun]) -> list[str]:
    """Return the suffixes that distinguish the columns of several models.

    A suffix is the last part of the model's name, or the whole name if that part is not unique.
    """
    if len(runs) <= 1:
        return [""] * len(runs)
    short = [run.model.rpartition("/")[2] for run in runs]
    return [f"_{name if short.count(name) == 1 else run.model}" for run, name in zip(runs, short, strict=True)]


def error_column(into: str) -> str:
    """Return the name of the column that says why a row has no answer."""
    return f"{into}_error"


def answer_columns(answers: Sequence[Any], schema: Schema | None, into: str) -> dict[str, list[Any]]:
    """Return answers as columns: one per field if they are records, else a single one named `into`."""
    if schema is None or not schema.fields:
        return {into: [_plain(answer) for answer in answers]}
    records = [{} if answer is None else _record(answer) for answer in answers]
    return {name: [_plain(record.get(name)) for record in records] for name in schema.fields}


def _record(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, dict):
        return answer
    if is_dataclass(answer):
        return {one.name: getattr(answer, one.name) for one in fields(answer)}
    return dict(answer)


def _plain(value: Any) -> Any:
    """Return a value in the form that is stored in a column."""
    plain = value.value if isinstance(value, Enum) else value
    # JSON can contain a lone surrogate, which a column of texts cannot hold.
    return whole(plain) if isinstance(plain, str) else plain
