"""Drive runs: one thread reads the rows and takes the answers, and the requests run on the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import current_thread, local, main_thread
from typing import TYPE_CHECKING, Final

from ..concurrency import SECONDS_BETWEEN_LOOKS, InFlight

if TYPE_CHECKING:
    from ..concurrency import Interrupts
    from ..session import Command
    from .row_call import RowCall
    from .run import BatchRun

# How long to wait for more answers, after the first one: each change between two threads costs time.
SECONDS_TO_GATHER: Final = 0.03
# In another thread than that of the cells, which need Python meanwhile. Rows that are prepared ahead go on.
SECONDS_TO_GATHER_BESIDE: Final = 0.1


class _Nesting(local):
    """How many maps run in this thread, one inside the user's code of the other."""

    depth = 0


_nesting: Final = _Nesting()


def run_all(command: Command, runs: Sequence[BatchRun], interrupts: Interrupts, *, redraw: Callable[[], None]) -> None:
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
    gather, is_beside = 0.0, current_thread() is not main_thread()
    if all(run.prepares_ahead for run in runs):
        gather = SECONDS_TO_GATHER_BESIDE if is_beside else SECONDS_TO_GATHER

    def send(row: RowCall) -> None:
        if (part := row.run.spec.part) is not None:
            # What holds a permit does not wait for another one.
            in_flight.begin()
            loop.call(part.permits.acquire, meanwhile=lambda: take(0), interrupts=interrupts)
            # It may be the permit of a row that ended with this interrupt.
            interrupts.check()
        in_flight.start(row, row.send(client))

    def take(seconds: float) -> None:
        for row, failure in in_flight.take(seconds, gather=gather, pauses=is_beside):
            if row.run.end(row, failure):
                in_flight.start(row, row.send(client))
        for run in runs:
            run.keep_answers()
        interrupts.check()
        in_flight.begin()
        redraw()

    def start_rows(run: BatchRun) -> bool:
        has_started = run.start_rows(send)
        in_flight.begin()
        return has_started

    with _going_on(runs, in_flight, interrupts):
        while not all(run.is_over for run in runs):
            has_started = [start_rows(run) for run in runs]
            take(0 if any(has_started) else SECONDS_BETWEEN_LOOKS)


@contextmanager
def _going_on(runs: Sequence[BatchRun], in_flight: InFlight[RowCall], interrupts: Interrupts) -> Iterator[None]:
    """Let runs go on inside the `with` block. At its end, nothing is in flight, and the answers there are are kept."""
    for run in runs:
        run.is_nested, run.interrupts = _nesting.depth > 0, interrupts
    _nesting.depth += 1
    try:
        yield
    finally:
        _nesting.depth -= 1
        try:
            # Answers that have arrived are kept, also those that were not taken yet.
            for row, failure in in_flight.take(0):
                with suppress(KeyboardInterrupt):
                    row.run.end(row, failure)
        finally:
            in_flight.cancel()
            for run in runs:
                run.release_all()
