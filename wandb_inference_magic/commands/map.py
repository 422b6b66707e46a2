"""Run `%%wbmap`: send a prompt for each row of a frame, show the progress and show a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..batch import PreparedMap, RunsOutcome, answers_bundle, cost_of, first_answers, names_of
from ..catalog import describe_cost
from ..config import INTO
from ..errors import InferenceError, shortened
from ..frames import read_rows
from ..jobs import check_rows, dask_job, is_dask, map_lazily
from ..messages import BUDGET_REMEDY
from ..rendering import line_bundle
from ..spending import NOTHING
from ..text import counted, duration, is_blank
from .batch import begin_batch, refuse_frame_as_output, rows_to_look_at, run_batch, spec_of_rows
from .jobs import begin
from .preview import rows_preview_bundle

if TYPE_CHECKING:
    from ..arguments import MapOptions
    from ..frontend import MagicContext

OUTPUT: Final = "_wbmap"
_LAZY: Final = (
    "a Dask DataFrame: its rows are asked for when it is computed. What workers in other processes spend is not in "
    "%wbusage."
)
MAX_ERRORS_SHOWN: Final = 3
# How many of the rows with the same error are named.
MAX_ROWS_SHOWN: Final = 5


def run_map_magic(context: MagicContext, options: MapOptions, frame: str, text: str) -> None:
    """Send a prompt for every row, show the progress, and put the frame into a notebook variable.

    Raises
    ------
    InferenceError
        When the run cannot start or ends early. The replies received so far are in the variable.
    Interrupted
        When the user interrupts. The replies received so far are in the variable.
    """
    command, canvas, value = begin_batch(context, options, frame, "%%wbmap")
    if is_blank(text):
        raise InferenceError("There is no prompt: nothing was sent.", remedy="Write it on the lines below %%wbmap.")
    spec = spec_of_rows(context, command, options, text, distinct=options.distinct)
    how: dict[str, Any] = {"models": options.model, "into": options.into or INTO}
    if options.dry_run:
        prepared = PreparedMap(command, rows_to_look_at(value, options.limit), spec, **how)
        canvas.show(rows_preview_bundle(prepared.look()))
        return
    name = options.output or OUTPUT
    refuse_frame_as_output(context.names, value, name, limit=options.limit, by="job" if options.bg else None)
    what = f"%%wbmap {shortened(frame, 60)}"
    if is_dask(value):
        lazy = map_lazily(command, value, spec, limit=options.limit, **how)
        if options.bg:
            begin(context, dask_job(command, what, lazy, variable=name), name, canvas)
        else:
            context.put(name, lazy)
            canvas.show(line_bundle(f"{name} is {_LAZY}"))
        return
    rows = read_rows(value, options.limit, copy=options.bg)
    if options.bg:
        check_rows(rows)
    run_batch(
        context,
        canvas,
        partial(PreparedMap, command, rows, spec, **how),
        lambda mapped, place, news=(): summary_bundle(mapped.outcome, place, news=news),
        what=what,
        name=name,
        in_job="frame",
        is_job=options.bg,
    )


def summary_bundle(outcome: RunsOutcome, name: str, *, news: Sequence[str] = ()) -> dict[str, Any]:
    """Return the final output of a map: the first answers, totals over all rows, and the first errors."""
    if not outcome.runs:
        return line_bundle(f"There are no rows; {name} has none either.")
    below = " ".join((*_lines(outcome, name), *outcome.notices, *news))
    has_answers = any(first_answers(run) for run in outcome.runs)
    return answers_bundle(outcome.runs, below=below) if has_answers else line_bundle(below)


def _lines(outcome: RunsOutcome, name: str) -> Iterator[str]:
    runs, results = outcome.runs, [run.results for run in outcome.runs]
    usage = sum((one.usage for one in results), NOTHING)
    uncounted, cost = sum(one.uncounted for one in results), cost_of(runs)
    answered = sum(one.done - one.failed for one in results)
    parts = [
        f"{answered:,} of {sum(run.total or len(run.results.answers) for run in runs):,} rows answered, in {name}",
        _any(sum(one.cached for one in results), "kept from before"),
        _any(sum(one.shared for one in results), "shared with equal rows"),
        _any(sum(one.replayed for one in results), "replayed"),
        _any(sum(one.failed for one in results), "failed"),
        _any(sum(one.flawed for one in results), "cut or refused"),
        f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens" if usage.total_tokens else "",
        f"tokens of {counted(uncounted, 'call')} not counted" if uncounted else "",
        duration(outcome.seconds),
        # Answers that were kept are not free: they were paid for before.
        describe_cost(cost) if cost != 0 or usage.total_tokens else "",
        names_of(runs),
    ]
    yield f"{' · '.join(filter(None, parts))}."
    if outcome.trace.link:
        yield f"Trace: {outcome.trace.link}"
    if rows_cut := max(one.shortened for one in results):
        yield f"Values were cut in the prompts of {counted(rows_cut, 'row')}; the cut is marked there."
    if cut := sum(one.cut for one in results):
        answers = counted(cut, "answer")
        yield f"The budget's limit on replies cut {answers}; cut answers are not kept on disk. {BUDGET_REMEDY}"
    # A row can fail with several models.
    rows: dict[str, set[int]] = {}
    for one in results:
        for number, message in sorted(one.errors.items()):
            rows.setdefault(message, set()).add(number + 1)
    for message, numbers in list(rows.items())[:MAX_ERRORS_SHOWN]:
        yield f"{_format_rows(sorted(numbers))}: {shortened(message, 200)}"


def _any(rows: int, what: str) -> str:
    """Return a number of rows and what came of them, such as `3 failed`; an empty text if there are none."""
    return f"{rows:,} {what}" if rows else ""


def _format_rows(numbers: Sequence[int]) -> str:
    """Return the numbers of rows as text: `Row 3`, `Rows 1, 2, 3 and 7 more`."""
    shown = ", ".join(f"{number:,}" for number in numbers[:MAX_ROWS_SHOWN])
    more = f" and {len(numbers) - MAX_ROWS_SHOWN:,} more" if len(numbers) > MAX_ROWS_SHOWN else ""
    return f"Row{'s' * (len(numbers) > 1)} {shown}{more}"
