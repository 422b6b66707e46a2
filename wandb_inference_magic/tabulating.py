"""What `%%wbmap` does: the frame, the runs over its rows, and the answers as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from sqlite3 import Error as SqliteError
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from . import background
from .answer_cache import AnswerCache, cache_file
from .asking import read_how
from .catalog import usd_words
from .display import is_notebook
from .errors import InferenceError, Interrupted, did_you_mean, quoted, shortened
from .map_progress import MapProgress, answers_bundle, cost_of, first_answers
from .mapping import MapAsk, MapRun, begin, run_all
from .plain_text import whole
from .reply import BUDGET_REMEDY
from .rows import read_rows
from .settings import INTO
from .tables import line_bundle
from .tracing import traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .display import Canvas
    from .mapping import Permits
    from .options import MapOptions
    from .rows import Rows
    from .scene import Scene
    from .schema import Schema
    from .session import Session

OUTPUT: Final = "_wbmap"
SHOWN_ERRORS: Final = 3
# Of odd counts and costs.
SHOWN_REPORTS: Final = 2


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came of it: the frame with the answers, the runs that made them, and the address of their trace."""

    frame: Any
    runs: Sequence[MapRun]
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    interrupted: bool = False
    trace: str = ""

    @property
    def stopped(self) -> InferenceError | None:
        """What ended it early."""
        return next((run.stopped for run in self.runs if run.stopped is not None), None)


def tabulate(scene: Scene, options: MapOptions, frame: str, text: str) -> None:
    """Do what `%%wbmap` is told: ask for every row, show how far it has come, and put the frame into the notebook.

    Raises
    ------
    InferenceError
        When it cannot begin, or ended early; what had come is in the notebook.
    Interrupted
        When the user interrupts; what had come is in the notebook.
    """
    session, canvas = scene.session, scene.canvas()
    value = _value_of(frame, scene.names)
    if not text.strip():
        raise InferenceError(
            "There is no prompt: nothing was sent.", remedy="Write it on the lines below %%wbmap.", cause="option"
        )
    asked = MapAsk(
        text=text,
        ask=replace(read_how(options, scene.names), stream=False),
        names=scene.names,
        value_tokens=session.resolve().value_tokens,
        raw=options.raw,
        concurrency=options.concurrency,
        retry_failed=options.retry_failed,
    )
    name = options.output or OUTPUT
    if is_dask(value):
        scene.put(name, _lazily(session, options, value, asked))
        canvas.show(line_bundle(f"{name} is a Dask DataFrame: its rows are asked for when it is computed."))
        return
    mapped = map_rows(
        session,
        read_rows(value, options.limit),
        asked,
        models=options.model,
        into=options.into or INTO,
        use_cache=not options.no_cache,
        canvas=canvas,
        progress=lambda runs: MapProgress(canvas, runs, bar=scene.cell.attended, preview=is_notebook(scene.shell)),
    )
    scene.put(name, mapped.frame)
    canvas.clear()
    canvas.show(summary_bundle(mapped, name))
    if mapped.interrupted:
        raise Interrupted(f"What had come is in {name}. {_again(session)}")
    if mapped.stopped is not None:
        error = mapped.stopped
        error.remedy = f"{error.remedy} What had come is in {name}. {_again(session)}".strip()
        raise error


def _again(session: Session) -> str:
    cassette = session.cassette()
    if cassette is not None and not cassette.replays:
        return "While a cassette records, the cell asks for every row again: the cassette holds them in one take."
    return "Run the cell again to continue: no answer is asked for twice."


def _value_of(name: str, names: Mapping[str, Any]) -> Any:
    if not name:
        raise InferenceError(
            "%%wbmap needs to know whose rows: nothing was sent.",
            remedy="Name a DataFrame of the notebook behind it: %%wbmap reviews.",
            cause="option",
        )
    if name in names:
        return names[name]
    raise InferenceError(
        f"There is no {shortened(name)!r} in the notebook. Nothing was sent.",
        remedy=did_you_mean(name, [one for one in names if not one.startswith("_")])
        or "Put what you want to go over into a variable first, and name that.",
        cause="option",
    )


def is_dask(value: Any) -> bool:
    """Whether a value is a Dask DataFrame."""
    from narwhals.dependencies import is_dask_dataframe

    return bool(is_dask_dataframe(value))


def _lazily(session: Session, options: MapOptions, frame: Any, asked: MapAsk) -> Any:
    return map_lazily(
        session,
        frame,
        asked,
        models=options.model,
        into=options.into or INTO,
        limit=options.limit,
        use_cache=not options.no_cache,
    )


def map_lazily(
    session: Session,
    frame: Any,
    asked: MapAsk,
    *,
    models: Sequence[str],
    into: str,
    limit: int | None,
    use_cache: bool,
) -> Any:
    """Return a Dask DataFrame whose rows are asked for when it is computed.

    Raises
    ------
    InferenceError
        For what does not go with Dask, and without a key or a model.
    """
    models = list(dict.fromkeys(models))
    if limit is not None or len(models) > 1:
        raise InferenceError(
            "A Dask DataFrame is mapped whole, and by one model. Nothing was sent.",
            remedy="To try first, take some rows of it: frame.head(20).",
            cause="option",
        )
    from .dask_frames import map_dask

    return map_dask(session, frame, asked, model=models[0] if models else None, into=into, use_cache=use_cache)


def map_rows(
    session: Session,
    rows: Rows,
    asked: MapAsk,
    *,
    models: Sequence[str] = (),
    into: str = INTO,
    use_cache: bool = True,
    progress: Callable[[Sequence[MapRun]], MapProgress] | None = None,
    permits: Permits | None = None,
    canvas: Canvas | None = None,
) -> Mapped:
    """Ask for every row and return what came of it, also when it was interrupted or ended early.

    Each of the models is asked once, also where it is named twice.

    Raises
    ------
    InferenceError
        When it cannot begin.
    """
    models = list(dict.fromkeys(models))
    _check_columns(rows, asked, into, models)
    # What is kept on disk would be missing on the cassette.
    cache, notices = _open_cache() if use_cache and session.cassette() is None else (None, ())
    started = perf_counter()
    try:
        runs = [run for model in (models or (None,)) if (run := begin(session, rows, asked, model, cache, permits))]
        for run in runs:
            run.beside = len(runs)
        told = {"prompt": asked.text, "model": [run.model for run in runs], "rows": rows.length}
        with traced(session, "wbmap", told, {}, canvas) as trace:
            interrupted = bool(runs) and _run(runs, progress(runs) if progress else None)
            trace.output = {run.model: _facts(run) for run in runs}
            trace.summary = {"cost_usd": cost_of(runs)} if runs else {}
    finally:
        if cache is not None:
            cache.close()
    columns, dropped = _columns(runs, asked.ask.schema, into, rows.length)
    for run in runs:
        notices += tuple(one for one in run.notices if one not in notices)
    notices += trace.news()
    seconds = perf_counter() - started
    return Mapped(rows.with_columns(columns, dropped), runs, seconds, notices, interrupted, trace.link)


def _facts(run: MapRun) -> dict[str, Any]:
    """Return what a trace says of a run: its figures; the answers are in the calls within."""
    return {
        "rows": run.done,
        "failed": run.failed,
        "kept": run.kept,
        "prompt_tokens": run.usage.prompt_tokens,
        "completion_tokens": run.usage.completion_tokens,
        "cost_usd": run.cost,
        "stopped": str(run.stopped) if run.stopped else "",
    }


def _run(runs: list[MapRun], progress: MapProgress | None) -> bool:
    """Let the runs go on to their end; tell whether they were interrupted."""
    try:
        background.run(run_all(runs), meanwhile=progress.draw if progress else None)
    except KeyboardInterrupt:
        return True
    finally:
        if progress is not None:
            progress.close()
    return False


def _open_cache() -> tuple[AnswerCache | None, tuple[str, ...]]:
    try:
        return AnswerCache(cache_file()), ()
    except (OSError, SqliteError) as error:
        return None, (f"Answers are not kept on disk: {quoted(str(error))}.",)


# Columns -------------------------------------------------------------------------------------------------------


def _names(schema: Schema | None, into: str) -> list[str]:
    """Return the columns that an answer becomes."""
    return list(schema.fields) if schema is not None and schema.fields else [into]


def _check_columns(rows: Rows, asked: MapAsk, into: str, models: Sequence[str]) -> None:
    """Refuse to replace a column that the prompt is made of."""
    if len(models) > 1:
        return
    taken = [name for name in _names(asked.ask.schema, into) if name in rows.columns and name in asked.column_names()]
    if taken:
        raise InferenceError(
            f"The answers would replace the column {taken[0]!r}, which the prompt is made of. Nothing was sent.",
            remedy="Name another field in the schema." if asked.ask.schema else "Name another column: --into NAME.",
            cause="option",
        )


def _columns(
    runs: Sequence[MapRun], schema: Schema | None, into: str, length: int | None
) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the columns to add, and those of an earlier run that no longer hold."""
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


def _suffixes(runs: Sequence[MapRun]) -> list[str]:
    """Return what tells several models' columns apart: the last part of their names, where that is enough."""
    if len(runs) <= 1:
        return [""] * len(runs)
    short = [run.model.rpartition("/")[2] for run in runs]
    return [f"_{name if short.count(name) == 1 else run.model}" for run, name in zip(runs, short, strict=True)]


def error_column(into: str) -> str:
    """Return the name of the column that says why a row has no answer."""
    return f"{into}_error"


def answer_columns(answers: Sequence[Any], schema: Schema | None, into: str) -> dict[str, list[Any]]:
    """Return answers as columns: one a field where they are records, else the one that is called `into`."""
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
    """Return a value as a column holds it."""
    plain = value.value if isinstance(value, Enum) else value
    # JSON can spell half a character, which no column of texts holds.
    return whole(plain) if isinstance(plain, str) else plain


# Words ---------------------------------------------------------------------------------------------------------


def summary_bundle(mapped: Mapped, name: str) -> dict[str, Any]:
    """Return what a run's cell shows in the end: the first answers, what came of all, and the first errors."""
    if not mapped.runs:
        return line_bundle(f"There are no rows; {name} has none either.")
    below = " ".join((*_lines(mapped, name), *mapped.notices))
    has_answers = any(first_answers(run) for run in mapped.runs)
    return answers_bundle(mapped.runs, below=below) if has_answers else line_bundle(below)


def _lines(mapped: Mapped, name: str) -> Iterator[str]:
    runs = mapped.runs
    usage = sum((run.usage for run in runs[1:]), runs[0].usage)
    answered = sum(run.done - run.failed for run in runs)
    parts = [
        f"{answered:,} of {sum(run.total or len(run.answers) for run in runs):,} rows answered, in {name}",
        *([f"{kept:,} kept from before"] if (kept := sum(run.kept for run in runs)) else []),
        *([f"{replayed:,} replayed"] if (replayed := sum(run.replayed for run in runs)) else []),
        *([f"{failed:,} failed"] if (failed := sum(run.failed for run in runs)) else []),
        f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens",
        f"{mapped.seconds:.1f} s",
        "cost unknown" if (cost := cost_of(runs)) is None else usd_words(cost),
        ", ".join(run.model for run in runs),
    ]
    yield f"{' · '.join(parts)}."
    if mapped.trace:
        yield f"Trace: {mapped.trace}"
    yield from _money_lines(runs)
    errors = [message for run in runs for message in run.errors.values()]
    for message in list(dict.fromkeys(errors))[:SHOWN_ERRORS]:
        yield f"Failed: {shortened(message, 200)}"


def _money_lines(runs: Sequence[MapRun]) -> Iterator[str]:
    """Say which answers a budget has cut, and what was odd about counts and costs."""
    if cut := sum(run.cut for run in runs):
        answers = "1 answer" if cut == 1 else f"{cut:,} answers"
        yield f"The budget's limit on replies cut {answers}; what is cut is not kept on disk. {BUDGET_REMEDY}"
    reports = list(dict.fromkeys(report for run in runs for report in run.reports))
    yield from reports[:SHOWN_REPORTS]
    if (more := len(reports) - SHOWN_REPORTS) > 0:
        yield f"There are {more:,} more such reports."
