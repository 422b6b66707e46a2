"""Run a map or an evaluation for the Python API, or make a Job of it: the user's code runs before that starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..concurrency import HAS_THREADS
from ..errors import InferenceError, InferenceWarning, Interrupted, warn_user
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


def run_or_start(command: Command, what: str, prepared: PreparedBatch[T], *, background: bool) -> T | Job:
    """Return the result of a map or an evaluation, or a Job. Give its notices as warnings.

    Raises
    ------
    InferenceError or Interrupted
        What ended it early.
    """
    try:
        warn_user(*prepared.notices)
    except InferenceWarning:
        prepared.close()
        raise
    if background:
        return begun(command, batch_job(command, what, prepared, place=lambda *_: "`partial` of this error"))
    with command.deferred_interrupts(what) as interrupts:
        command.session.end_earlier_jobs()
        result = prepared.run()
        complete = "The result is complete: it is the `partial` of this error."
        interrupts.late = Interrupted(complete, partial=result.value)
    warn_user(*(notice for notice in result.notices if notice not in prepared.notices), partial=result.value)
    if error := result.ended_early("`partial` of this error"):
        raise error
    return result.value


def begun(command: Command, job: Job) -> Job:
    """Return a job that was started, or that has run here, because no interactive front end is attached."""
    if why := why_in_foreground(command):
        job.start_in_foreground()
        warn_user(why, partial=job)
    else:
        job.start()
    return job
