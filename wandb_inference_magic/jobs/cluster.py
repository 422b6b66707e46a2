"""A map of a Dask DataFrame as a Job on the cluster in use."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..batch import Counts
from ..concurrency import SECONDS_BETWEEN_LOOKS
from ..errors import InferenceError, Interrupted, describe_exception, quoted
from .job import Job, Outcome

if TYPE_CHECKING:
    from ..session import Command

UNIT: Final = "partitions"
KEPT: Final = "The answers received are kept on the workers' disks. frame() asks for the others when it is computed."


def dask_job(command: Command, what: str, lazy: Any, *, variable: str = "") -> Job:
    """Return a Job that computes a lazy Dask DataFrame on the cluster in use. Its result is the frame, computed there.

    Parameters
    ----------
    command : Command
    what : str
        The magic and the name of the frame.
    lazy : dask.dataframe.DataFrame
        As `map_lazily` returns it.
    variable : str
        The variable of the Job.

    Raises
    ------
    InferenceError
        If there is no cluster.
    """
    client = _cluster_client()
    frame = lazy

    def work(job: Job) -> Outcome:
        nonlocal frame
        error = end_of(job)
        if error is not None:
            # The futures have no values. The lazy frame asks for the missing answers.
            frame = lazy
        return Outcome(frame, error=error)

    def end_of(job: Job) -> BaseException | None:
        nonlocal frame
        from distributed import futures_of

        try:
            frame = client.persist(lazy)
        except Exception as failure:  # noqa: BLE001 - whatever a value of the user's raises when it is pickled
            return _not_sent(failure)
        futures = futures_of(frame)  # type: ignore[no-untyped-call,unused-ignore]
        while True:
            states = [one.status for one in futures]
            if client.status != "running" or {"lost", "cancelled"} & set(states):
                return InferenceError("The cluster or its results are gone.", remedy="Run it again.", cause="missing")
            done = sum(one in ("finished", "error") for one in states)
            job.count(Counts(done, len(states), states.count("error"), None))
            if "error" in states:
                client.cancel([one for one in futures if one.status == "pending"])
                return _explained(futures[states.index("error")].exception())
            if done == len(states):
                return None
            try:
                job.draw()
                if command.cancelled.wait(SECONDS_BETWEEN_LOOKS):
                    raise Interrupted(KEPT)
            except BaseException as error:  # noqa: BLE001 - also when the foreground, in which it runs, is interrupted
                client.cancel(futures)
                return error

    return Job(command, what, work, so_far=lambda: frame, unit=UNIT, variable=variable)


def _not_sent(failure: Exception) -> InferenceError:
    """Return the error for a frame that cannot be sent to the cluster."""
    message = quoted(describe_exception(failure))
    return InferenceError(
        f"The frame cannot be sent to the workers: {message}. Nothing was sent.",
        why="The schema and the values that the prompt names are pickled for them; a lock, a file or a connection "
        "cannot be.",
        remedy="Put the text that you need into a variable, and name that.",
    )


def _explained(failure: BaseException) -> BaseException:
    """Return a worker's failure as an error for users."""
    if isinstance(failure, InferenceError):
        return failure
    message = quoted(describe_exception(failure))
    return InferenceError(f"A worker of the cluster failed: {message}.", cause="missing")


def _cluster_client() -> Any:
    with suppress(ImportError, ValueError):
        from distributed import default_client

        client = default_client()  # type: ignore[no-untyped-call,unused-ignore]
        # One that was closed remains the default.
        if client.status == "running":
            return client
    raise InferenceError(
        "A job over a Dask DataFrame runs on a cluster, and there is none. Nothing was sent.",
        remedy="Start one: from dask.distributed import Client; Client(). Or leave out --bg: the frame stays lazy.",
    )
