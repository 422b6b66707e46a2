"""Make a Job of a map or an evaluation: everything that is the user's code runs before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..concurrency import HAS_THREADS
from ..errors import InferenceError
from .job import Job, Outcome

if TYPE_CHECKING:
    from ..batch import BatchResult, PreparedBatch
    from ..frames import Rows
    from ..session import Command

T = TypeVar("T")


def check_rows(rows: Rows) -> None:
    """Raise if the rows cannot all be read before a job starts.

    Raises
    ------
    InferenceError
    """
    if rows.length is None:
        raise InferenceError(
            "A job reads all its rows first, and the number of these is not known. Nothing was sent.",
            remedy="Put them into a list first: rows = list(...)",
        )


def why_in_foreground(command: Command) -> str:
    """Return why a job runs in the foreground; empty if it can run in the background, and someone can look at it."""
    if HAS_THREADS and command.session.is_interactive():
        return ""
    reason = "No interactive front end is attached" if HAS_THREADS else "No thread can be started in a browser"
    return f"{reason}, so the job ran in the foreground."


def batch_job(
    command: Command,
    what: str,
    prepared: PreparedBatch[T],
    *,
    place: Callable[[Job, BatchResult[T]], str],
    summary: Callable[[BatchResult[T], str], dict[str, Any]] | None = None,
    variable: str = "",
) -> Job:
    """Return a Job for a map or an evaluation.

    Parameters
    ----------
    command : Command
    what : str
        The magic and the name of the frame.
    prepared : PreparedBatch
    place : callable
        Takes the job and the result, and returns where the user finds its value.
    summary : callable, optional
        Called in the job's thread with the result and its place. Returns what is shown when it has ended.
    variable : str
        The variable of the Job.
    """

    def work(job: Job) -> Outcome:
        result = prepared.run(progress=job.follow)
        found = place(job, result)
        shown = summary(result, found) if summary else None
        return Outcome(result.value, shown, result.ended_early(found), result.notices)

    return Job(command, what, work, prepared=prepared, variable=variable)
