"""What `%%wbmap` and `%%wbeval` have in common: the frame that their line names, and their run or job."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..batch import BatchSpec, MapProgress
from ..engine import spec_from_options
from ..errors import InferenceError, Interrupted, describe_exception, quoted, shortened, users_failures
from ..frames import read_rows
from ..frontend import Spinner, is_notebook
from ..jobs import batch_job, is_dask
from ..prompts import how_to_define
from ..replies import cleared_on_error
from ..session import Command
from .jobs import begin

if TYPE_CHECKING:
    from ..arguments import RowsOptions
    from ..batch import BatchResult, PreparedBatch
    from ..frames import Rows
    from ..frontend import Canvas, MagicContext
    from ..jobs import Job

T = TypeVar("T")

_A_FRAME: Final = (
    "Name a variable, or write an expression such as df.head(40). Put an option's value with spaces into quotes, and a "
    "- between parts into parentheses."
)


def run_batch(
    context: MagicContext,
    canvas: Canvas,
    prepare: Callable[[], PreparedBatch[T]],
    show: Callable[..., dict[str, Any]],
    *,
    what: str,
    name: str,
    in_job: str,
    is_job: bool,
) -> None:
    """Run a map or an evaluation in the cell, or start a job for it, and put what comes of it into a variable.

    Parameters
    ----------
    context : MagicContext
    canvas : Canvas
    prepare : callable
        Returns what is ready to start.
    show : callable
        Takes the result, where the user finds its value, and perhaps news of jobs; returns the final output.
    what : str
        What runs, for the list of jobs.
    name : str
        The variable.
    in_job : str
        The method of a job that returns the value.
    is_job : bool
        Whether to start a job.

    Raises
    ------
    InferenceError
        When it cannot start or ends early. What the rows so far give is in the variable.
    Interrupted
        When the user interrupts. What the rows so far give is in the variable.
    """
    if is_job:

        def place(job: Job, result: BatchResult[T]) -> str:
            # If it ended early, wait() raises.
            is_raised = result.outcome.is_partial and in_job == "wait"
            return f"%wbjobs {job.id} --result NAME" if is_raised else f"{name}.{in_job}()"

        with cleared_on_error(canvas):
            job = batch_job(context.command, what, prepare(), place=place, summary=show, variable=name)
            begin(context, job, name, canvas)
        return
    # An interrupt leaves all of the result or none.
    with context.command.deferred_interrupts(what) as interrupts, cleared_on_error(canvas):
        with interrupts.allowed():
            prepared = prepare()
        context.session.end_earlier_jobs()
        bar, preview = context.cell.is_interactive, is_notebook(context.shell)
        result = prepared.run(progress=partial(MapProgress, canvas, bar=bar, preview=preview))
        context.put(name, result.value)
        shown = show(result, name, context.session.jobs.take_notices())
        canvas.clear()
        canvas.show(shown)
        interrupts.late = Interrupted(f"The result is shown, and in {name}.", partial=result.value)
    if error := result.ended_early(name):
        raise error


def spec_of_rows(
    context: MagicContext, command: Command, options: RowsOptions, text: str = "", *, distinct: bool = False
) -> BatchSpec:
    """Return what a prompt and the options ask about every row. `distinct`: rows with equal prompts share an answer."""
    chat = spec_from_options(options, context.names)
    merged = () if options.raw else context.merged_prompts(text)
    return BatchSpec(
        text=text,
        chat=replace(chat, stream=False, notices=(*chat.notices, *merged)),
        names=context.names,
        value_tokens=command.settings.value_tokens,
        raw=options.raw,
        concurrency=options.concurrency,
        use_cache=not options.no_cache,
        retry_failed=options.retry_failed,
        distinct=distinct,
    )


def begin_batch(context: MagicContext, options: RowsOptions, frame: str, magic: str) -> tuple[Command, Canvas, Any]:
    """Return the command of a magic, where it is shown, and the frame that its line names.

    Raises
    ------
    InferenceError
        If there is no such frame.
    """
    command = Command(context.session, dry=True) if options.dry_run else context.command
    canvas = context.canvas()
    command.listener = Spinner(canvas)
    return command, canvas, value_of(frame, context.names, magic)


def value_of(expression: str, names: Mapping[str, Any], magic: str) -> Any:
    """Return the value of the expression that names the frame. It may be in quotes as a whole."""
    if not expression:
        raise InferenceError(
            f"{magic} needs a frame: nothing was sent.",
            remedy=f"Name a DataFrame of the notebook after it: {magic} reviews.",
        )
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        expression = inner if isinstance(inner := literal_eval(expression), str) else expression
    try:
        # A copy: names that the expression binds stay out of the notebook.
        return eval(compile(expression.strip(), "<FRAME>", "eval"), dict(names))
    except SyntaxError as error:
        what, remedy = f"{shortened(expression)!r} is not a Python expression ({error.msg})", _A_FRAME
    except NameError as error:
        name = str(getattr(error, "name", "") or expression)
        what, remedy = f"There is no {shortened(name)!r} in the notebook", how_to_define(name, names)
    except users_failures() as error:
        what = f"{shortened(expression)!r} raised {quoted(describe_exception(error))}".rstrip(".")
        remedy = "Try it in a cell of its own."
    with suppress(OSError, ValueError):
        if Path(expression).is_file():
            what = f"{shortened(expression)} is a file, not a frame"
            remedy = f"Read it first, for example: df = pd.read_csv({shortened(repr(expression))}). Then name df."
    raise InferenceError(f"{what}. Nothing was sent.", remedy=remedy)


def refuse_frame_as_output(
    names: Mapping[str, Any], frame: Any, name: str, *, limit: int | None = None, by: str | None = None
) -> None:
    """Raise if the result would replace the frame, and rows would be lost: those beyond the limit, or all.

    Parameters
    ----------
    names : mapping
        The variables of the notebook.
    frame : object
    name : str
        The variable that gets the result.
    limit : int, optional
    by : str, optional
        What the result is, if it is no frame: a job.

    Raises
    ------
    InferenceError
    """
    if name not in names or names[name] is not frame:
        return
    if limit is not None:
        what, other = f"{name} would keep only its first {limit:,} rows, because of --limit", "first"
    elif by is not None:
        what, other = f"The {by} would replace the frame {name}", by
    else:
        return
    raise InferenceError(f"{what}. Nothing was sent.", remedy=f"Name another variable: -o {name}_{other}.")


def rows_to_look_at(value: Any, limit: int | None) -> Rows:
    """Return the rows of a value, if looking at them neither takes them away nor computes them."""
    if is_dask(value) or isinstance(value, Iterator):
        raise InferenceError(
            f"To show rows of a {type(value).__name__}, they would be {'computed' if is_dask(value) else 'used up'}.",
            remedy="Put some of them into a variable first, and name that.",
        )
    return read_rows(value, limit)
