"""Progress of a run over rows: a bar with rate, errors, cost and remaining time, and the first answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from ..catalog import usd
from ..errors import shortened
from ..frames import part_of, without_failures
from ..rendering import line_bundle, name_of_model, table_bundle
from ..text import duration, sum_or_none
from .start import estimate

if TYPE_CHECKING:
    from ..concurrency import Interrupts
    from ..frontend import Canvas
    from .run import BatchRun

PREVIEWED: Final = 3
MAX_CHARS_SHOWN: Final = 120
# The fields of a schema that are shown.
MAX_FIELDS_SHOWN: Final = 8
SECONDS_BETWEEN_DRAWINGS: Final = 0.25
STILL_ASKED: Final = "⏳ The first answers. The other rows are still running."


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a job is. `total` and `cost` are None if they are not known. `doing` says what it does at present.

    `has_asked` says whether a model has answered: what was kept or recorded costs nothing, which is not free.
    """

    done: int = 0
    total: int | None = None
    errors: int = 0
    cost: float | None = 0.0
    doing: str = ""
    has_asked: bool = True

    @property
    def shown_cost(self) -> str:
        """The cost as it is shown; empty if there is none because no model was asked."""
        return usd(self.cost) if self.cost != 0 or (self.done and self.has_asked) else ""


# Takes runs and the deferred interrupts, and shows how far the runs are inside a `with` block: the thread that waits
# for them calls what that gives.
Progress: TypeAlias = "Callable[[Sequence[BatchRun], Interrupts], AbstractContextManager[Callable[[], None]]]"


class JobView(Protocol):
    """Where the line of a job is drawn."""

    def draw(self, bundle: dict[str, Any]) -> None:
        """Draw the line in place of the one before."""

    def end(self, bundle: dict[str, Any], line: str) -> None:
        """Draw the outcome of the job, for the last time. The line says where to find it."""


class MapProgress:
    """Shows the progress of runs inside a `with` block. The thread that waits for them calls what it gives repeatedly.

    Parameters
    ----------
    canvas : Canvas
        Where the first answers are shown.
    runs : sequence of BatchRun
    interrupts : Interrupts
        Those that are deferred.
    bar : bool
        Whether to show a moving bar: only useful if someone is watching.
    preview : bool
        Whether the first answers can be redrawn beside the bar. A terminal cannot redraw them.
    """

    def __init__(
        self, canvas: Canvas, runs: Sequence[BatchRun], interrupts: Interrupts, *, bar: bool, preview: bool
    ) -> None:
        self._canvas = canvas
        self._runs = runs
        self._previewed = 0 if preview else PREVIEWED
        self._next = 0.0
        with interrupts.allowed():
            # Rows are drawn and prompts rendered by the user's code.
            expected = ", ".join(f"{_name_of(run)}: {estimate(run)}" for run in runs)
        self._notices = " ".join(dict.fromkeys(notice for run in runs for notice in run.all_notices))
        expected = f"{expected}. {self._notices}" if self._notices else expected
        if preview:
            canvas.status(expected)
        else:
            canvas.show(line_bundle(expected))
        self._bar: Any = _bar(sum_or_none([run.total for run in runs])) if bar else None
        if (widget := getattr(self._bar, "container", None)) is not None:
            canvas.widget(widget)

    def __enter__(self) -> Callable[[], None]:
        return self._draw

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._move_bar()
            self._bar.close()

    def _draw(self) -> None:
        """Show the progress, unless it was shown very recently."""
        if perf_counter() < self._next:
            return
        self._next = perf_counter() + SECONDS_BETWEEN_DRAWINGS
        self._move_bar()
        self._preview()

    def _move_bar(self) -> None:
        if self._bar is None:
            return
        # Those that were on disk say nothing of the rate.
        self._bar.initial = sum(run.results.cached + run.results.shared for run in self._runs)
        self._bar.update(sum(run.results.done for run in self._runs) - self._bar.n)
        self._bar.set_postfix(_figures(self._runs))

    def _preview(self) -> None:
        """Show the first answers, and update them until there are enough of them."""
        if self._previewed >= PREVIEWED:
            return
        rows = [row for run in self._runs for row in first_answers(run)][:PREVIEWED]
        if len(rows) > self._previewed:
            self._previewed = len(rows)
            # The output of a page that is reloaded stays like this.
            bundle = answers_bundle(self._runs, PREVIEWED, below=f"{STILL_ASKED} {self._notices}".strip())
            self._canvas.preview(bundle, f"first answer: {', '.join(rows[0][2:])}")


def first_answers(run: BatchRun) -> list[tuple[str, ...]]:
    """Return the first rows that have an answer: the number, the model, and the values of the answer's columns."""
    answers = enumerate(run.results.plain_answers(10 * PREVIEWED))
    found = [(number, answer) for number, answer in answers if answer is not None][:PREVIEWED]
    fields = _shown_fields(run)
    return [
        (str(number + 1), run.model, *map(_shown, [part_of(answer, name) for name in fields] if fields else [answer]))
        for number, answer in found
    ]


def names_of(runs: Sequence[BatchRun]) -> str:
    """Return the names of the models of runs."""
    return ", ".join(map(_name_of, runs))


def _name_of(run: BatchRun) -> str:
    return name_of_model(run.model, run.first.endpoint.name)


def _shown_fields(run: BatchRun) -> list[str]:
    schema = run.spec.chat.schema
    return [] if schema is None else list(schema.fields)[:MAX_FIELDS_SHOWN]


def _shown(value: Any) -> str:
    value = without_failures(value, {})
    return "" if value is None else shortened(" ".join(str(value).split()), MAX_CHARS_SHOWN)


def answers_bundle(runs: Sequence[BatchRun], most: int | None = None, *, below: str = "") -> dict[str, Any]:
    """Return the first answers of runs as a table, with a column for the model if there are several runs."""
    rows = [row for run in runs for row in first_answers(run)][:most]
    columns = runs[0].results.columns[:MAX_FIELDS_SHOWN] or _shown_fields(runs[0]) or ["answer"]
    if len(runs) > 1:
        return table_bundle(("row", "model", *columns), rows, below=below)
    return table_bundle(("row", *columns), [(number, *values) for number, _, *values in rows], below=below)


def _bar(total: int | None) -> Any:
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg,unused-ignore]
        # No thread of tqdm's redraws the bar: only the thread that runs the cell draws, and Pyodide has no other.
        monitor_interval = 0

    # One of a notebook is shown by the canvas, which removes it also where it cannot clear the cell.
    is_widget = any(one.__module__ == "tqdm.notebook" for one in Bar.__mro__)
    how: dict[str, Any] = {"display": False} if is_widget else {}
    if sys.stderr is None:
        # Not otherwise: TQDM_DISABLE may say so.
        how["disable"] = True
    # The mean rate: one that is only updated by answers says "5 s left" for as long as none comes.
    return Bar(total=total, unit="row", leave=False, smoothing=0, **how)


def _figures(runs: Sequence[BatchRun]) -> dict[str, str]:
    figures = {"cost": usd(cost_of(runs))} if any(run.results.usage.total_tokens for run in runs) else {}
    if errors := sum(run.results.failed for run in runs):
        figures["errors"] = f"{errors:,}"
    if any(run.share.is_cut for run in runs):
        # Runs of one model share a limit.
        figures["at once"] = str(sum({id(run.share.limiter): run.share.allowed for run in runs}.values()))
    reason, at = longest_wait([run.waits for run in runs])
    if reason:
        left = ceil(at - runs[0].command.session.clock.now())
        when = f"in {duration(left)}: " if left > 0 else ""
        figures["trying again" if at else "waiting"] = f"{when}{shortened(reason, 80)}"
    return figures


def longest_wait(waits: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """Return why something is waited for, and until when; an empty reason if nothing is."""
    return max(waits, key=lambda one: (bool(one[0]), one[1]), default=("", 0.0))


def cost_of(runs: Sequence[BatchRun]) -> float | None:
    """Return the cost of runs in USD, or None if the cost of one is not known."""
    return sum_or_none([run.results.cost for run in runs])
