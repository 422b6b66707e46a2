"""Run a prompt over a Dask DataFrame: lazily, one partition at a time, on the user's own cluster.

The settings are part of the graph; the key never is. Each worker looks the key up as a notebook would, or receives it
from `share_key`. A single limit on the requests in flight applies to all workers together.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Event, Lock, Semaphore, current_thread, main_thread
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from ..batch import PreparedRuns, RunPart, RunResults, likely_mistakes
from ..config import CONCURRENCY, SETTING_NAMES, Key, WandbInference, check_key
from ..errors import InferenceError, InferenceWarning, Interrupted, shortened_repr
from ..frames import (
    ColumnNames,
    column_of_texts,
    name_columns,
    pandas_array,
    plain_fields,
    read_rows,
    schema_kinds,
    typed_column,
)
from ..imports import is_instance
from ..session import Command, JobEntry, Session, current_session

if TYPE_CHECKING:
    from ..batch import BatchSpec, Permits
    from ..config import Resolved

# The settings that a worker does not take from the user. The model is in the graph. A budget is refused. A worker shows
# nothing, and traces as its own environment says.
NOT_FOR_WORKERS: Final = frozenset(
    ("model", "budget", "budget_file", "trace", "refresh_per_second", "allow_images_from", "debug")
)

_shared_keys: dict[str, Key] = {}
_sessions: dict[tuple[tuple[str, Any], ...], Session] = {}
_local_maps: dict[str, _LocalMap] = {}
_lock = Lock()


@dataclass(frozen=True)
class PartitionSpec:
    """Everything a worker needs to know, except the key."""

    settings: Mapping[str, Any]
    spec: BatchSpec
    model: str
    names: ColumnNames
    limit_name: str

    def __dask_tokenize__(self) -> tuple[str, str]:
        # The validator of a schema has no name that is the same each time. This name is unique to the map.
        return "wandb-inference-map", self.limit_name


def is_dask(value: Any) -> bool:
    """Return whether a value is a Dask DataFrame."""
    return is_instance(value, "dask.dataframe.DataFrame")


def map_lazily(
    command: Command,
    frame: Any,
    spec: BatchSpec,
    *,
    models: Sequence[str],
    into: str,
    limit: int | None,
) -> Any:
    """Return a Dask DataFrame that requests the answers for its rows when it is computed.

    The error column is always present, because it is not known in advance whether a row will fail.

    Raises
    ------
    InferenceError
        If an option is not supported with Dask, if the key or the model is missing here, if a budget is set, or if a
        cassette is recording. Nothing has been sent.
    """
    models = list(dict.fromkeys(models))
    if limit is not None or len(models) > 1:
        raise InferenceError(
            "A Dask DataFrame can only be mapped as a whole and by one model. Nothing was sent.",
            remedy="To try it first, take some of its rows: frame.head(20).",
        )
    endpoint, cassette = command.endpoint, command.cassette
    if cassette is not None and cassette.records:
        raise InferenceError(
            "Answers for a Dask DataFrame cannot be recorded: its workers would write to the cassette all at once. "
            "Nothing was sent.",
            remedy="Compute the frame first (frame.compute()), or switch the cassette off: %wbconfig --mode off.",
        )
    if not command.costs_nothing:
        _refuse_budget(command.settings)
    # It has no rows: the columns of an earlier run are kept like any other.
    table = read_rows(frame._meta)
    (names,), _, notices = name_columns(table, spec.chat.schema, into, (), command.session.written)
    for notice in (*notices, *likely_mistakes(spec, table)):
        warnings.warn(notice, InferenceWarning, stacklevel=3)
    # The graph holds only those of the notebook's names that the prompt uses.
    named = spec.template.names_among(spec.names).values()
    used = {name: spec.names[name] for name in named if name not in table.columns}
    partition_spec = PartitionSpec(
        settings=_settings(command, endpoint.name),
        spec=replace(spec, names=used, concurrency=spec.at_once(endpoint)),
        model=command.model_id(models[0]) if models else command.model,
        names=names,
        limit_name=f"wbmap-{uuid4().hex}",
    )
    _end_with_interrupts()
    meta = _typed(frame._meta.copy(), partition_spec, [], {})
    return frame.map_partitions(answer_partition, _numbers(frame), partition_spec, meta=meta, align_dataframes=False)


def _numbers(frame: Any) -> Any:
    """Return a series that has each partition's number in the same partition, also if only some are computed."""
    import dask.dataframe as dd
    import pandas as pd

    return dd.from_pandas(pd.Series(range(frame.npartitions)), npartitions=frame.npartitions, sort=False)  # type: ignore[no-untyped-call,unused-ignore]


def _refuse_budget(settings: Resolved) -> None:
    if settings.budget is not None or settings.budget_file:
        raise InferenceError(
            "A budget is set, but it cannot be enforced for a Dask DataFrame: its workers do not know of each other's "
            "calls. Nothing was sent.",
            remedy="Compute the frame first (frame.compute()), or remove the budget, and its file if there is one: "
            "%config WandbInference.budget = None, %config WandbInference.budget_file = ''",
            cause="budget",
        )


def _settings(command: Command, endpoint: str) -> dict[str, Any]:
    """Return the settings that a worker has from the user."""
    settings = {name: getattr(command.settings, name) for name in SETTING_NAMES if name not in NOT_FOR_WORKERS}
    cassette = command.cassette
    path = "" if cassette is None else str(cassette.path)
    return settings | {"endpoint": endpoint, "cassette": path}


def answer_partition(partition: Any, numbers: Any, partition_spec: PartitionSpec) -> Any:
    """Return a partition with the answers for its rows. This runs on a worker.

    Raises
    ------
    InferenceError
        For an error that would affect every row. Answers already received are kept on the worker's disk.
    Interrupted
        When the computation is interrupted, or cancelled in the list of jobs.
    Reschedule
        When the cluster has cancelled the task. It then drops this, unless someone wants the result again meanwhile.
    """
    command = Command(_session(tuple(sorted(partition_spec.settings.items()))))
    # A worker in another process has what was set when the cluster was made.
    if not command.costs_nothing and (_worker() is None or current_session().process == os.getpid()):
        # One may have been set since the frame was made.
        _refuse_budget(current_session().settings.resolve())
    name, spec = partition_spec.limit_name, partition_spec.spec
    with _taking_part(command, name, spec.concurrency or CONCURRENCY) as permits:
        part = RunPart(name, int(numbers.iloc[0]), permits)
        tasks = [(read_rows(partition), replace(spec, part=part), partition_spec.model)]
        outcome = PreparedRuns(command, tasks, magic="wbmap").send()
        if outcome.interrupted:
            raise Interrupted(outcome.how_to_continue)
    if outcome.stopped is not None:
        raise outcome.stopped
    results = next((run.results for run in outcome.runs), RunResults())
    return _typed(partition.copy(deep=False), partition_spec, results.plain_answers(), results.errors)


def _typed(frame: Any, partition_spec: PartitionSpec, answers: list[Any], errors: Mapping[int, str]) -> Any:
    """Add the answer and error columns, each with the same type in every partition.

    What is to be said of a value is in the error column, such as one that the type cannot hold.
    """
    schema, problems = partition_spec.spec.chat.schema, dict(errors)
    kinds, values = schema_kinds(schema), plain_fields(answers, schema)
    for field_name, name in partition_spec.names.answers.items():
        column, others = typed_column(kinds[field_name], values[field_name])
        frame[name] = pandas_array(column)
        for number, text in others.items():
            problem = f"{name!r} {text}."
            problems[number] = f"{problems[number]} {problem}" if number in problems else problem
    frame[partition_spec.names.error] = pandas_array(column_of_texts(problems, len(answers)))
    return frame


def _session(settings: tuple[tuple[str, Any], ...]) -> Session:
    """Return this process's session with these settings, and with the keys that were shared with it, if any.

    It is closed when the session of the process is.
    """
    # Not below: the end of that session waits for the lock.
    of_process = current_session()
    with _lock:
        if settings in _sessions:
            return _sessions[settings]
        traits = WandbInference()
        traits.set(**dict(settings))
        session = _sessions[settings] = Session(traits)
        for url, key in _shared_keys.items():
            session.keys.set(url, key)
        # In the user's own process, `%wbusage` counts what it spends.
        session.usage = of_process.usage
        of_process.on_close(lambda: _close(settings))
        return session


def _close(settings: tuple[tuple[str, Any], ...]) -> None:
    with _lock:
        session = _sessions.pop(settings, None)
    if session is not None:
        session.close()


# What the partitions of a map share ----------------------------------------------------------------------------------


class _TaskEnd(Event):
    """Is set when the cluster has cancelled the task that runs in this thread: it tells its worker, not the task."""

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self._tasks, self._key = worker.state.tasks, worker.get_current_task()

    def is_set(self) -> bool:
        return getattr(self._tasks.get(self._key), "state", "") == "cancelled"


@dataclass
class _LocalMap:
    """A map whose partitions run in threads of this process: its entry in the list of jobs, and how many there are."""

    entry: JobEntry
    permits: Semaphore
    partitions: int = 0


@contextmanager
def _taking_part(command: Command, name: str, most: int) -> Iterator[Permits]:
    """Let the command of a partition share the permits of its map inside the `with` block. `most` is their number.

    The command ends when what it is part of is cancelled: the task of a cluster, or the map with this name.
    """
    command.is_listed = True
    if (worker := _worker()) is not None:
        from distributed import Reschedule, Semaphore as ClusterSemaphore

        command.cancelled = _TaskEnd(worker)
        try:
            yield ClusterSemaphore(max_leases=most, name=name)  # type: ignore[no-untyped-call,unused-ignore]
        except Interrupted:
            raise Reschedule from None
        return
    if current_thread() is main_thread():
        # It computes one partition after the other.
        yield Semaphore(most)
        return
    jobs = current_session().jobs
    with _lock:
        if (one := _local_maps.get(name)) is None:
            entry = JobEntry("map of a Dask DataFrame", Event())
            one = _local_maps[name] = _LocalMap(entry, Semaphore(most))
            jobs.add(entry)
        one.partitions += 1
    command.cancelled = one.entry.cancelled
    try:
        yield one.permits
    finally:
        with _lock:
            one.partitions -= 1
            if not one.partitions:
                del _local_maps[name]
                jobs.remove(one.entry)
                one.entry.end()


def _end_with_interrupts() -> None:
    """Let an interrupt of a computation end the maps that run in its threads: these go on without it."""
    from dask.callbacks import Callback

    callback = Callback(finish=_cancel_if_interrupted)  # type: ignore[no-untyped-call,unused-ignore]
    if callback._callback not in Callback.active:
        callback.register()
        current_session().on_close(lambda: Callback.active.discard(callback._callback))


def _cancel_if_interrupted(graph: Any, state: Any, failed: bool) -> None:  # noqa: ARG001 - Dask calls it
    if failed and isinstance(sys.exc_info()[1], KeyboardInterrupt):
        for one in list(_local_maps.values()):
            one.entry.cancel()


def _worker() -> Any:
    """Return the cluster's worker that this thread works for, or None."""
    with suppress(ImportError, ValueError):
        from distributed import get_worker

        return get_worker()
    return None


# The key -----------------------------------------------------------------------------------------------------------


class KeyPlugin:
    """Gives a worker the key when it joins the cluster, outside the graph."""

    name = "wandb-inference-key"
    idempotent = False

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    def setup(self, worker: Any) -> None:  # noqa: ARG002
        key = Key(check_key(self._key), "given by the cluster's client")
        with _lock:
            _shared_keys[self._url] = key
            for session in _sessions.values():
                session.keys.set(self._url, key)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        _shared_keys.pop(self._url, None)


def share_key(cluster_client: Any) -> None:
    """Give the current key to all workers of a cluster, including those that join later. Do nothing if there is none.

    The key is sent over the cluster's own connections (use `tls://` if they leave your machines). It is kept only in
    the workers' memory, never in the graph or on disk.

    Parameters
    ----------
    cluster_client : distributed.Client

    Raises
    ------
    InferenceError
        If it is none, or closed.
    """
    from distributed import WorkerPlugin

    if getattr(cluster_client, "status", "") != "running":
        raise InferenceError(
            f"share_key needs the client of a running cluster, not {shortened_repr(cluster_client)}.",
            remedy="from dask.distributed import Client; share_key(Client())",
        )
    endpoint = Command(current_session()).endpoint
    if endpoint.key is None:
        return
    plugin = type("KeyPlugin", (KeyPlugin, WorkerPlugin), {})(endpoint.url, endpoint.key.reveal())
    cluster_client.register_plugin(plugin)
