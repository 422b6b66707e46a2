"""A prompt over a Dask DataFrame, on a real cluster of several processes."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from environments import clean_environment
from service import Answer, Service, completion, refused

from wandb_inference_magic import InferenceError
from wandb_inference_magic.jobs import dask_frames

KEY = "a-key-that-must-not-travel"

# Tests of the cluster run in one process: starting one takes longer than all of its tests.
on_one_cluster = pytest.mark.xdist_group("dask")

# Dask starts threads, event loops and loggers: it runs in another process than the tests. Before each piece of code,
# this process and the workers get another environment and, in it, a new session without keys. Each has a new client.
CLUSTER = """
import json, os, sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from traceback import format_exc
import cloudpickle
import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster
from wandb_inference_magic import InferenceError, map_prompts

frame = pd.DataFrame({"text": [f"row {n}" for n in range(40)], "n": range(40)}, index=range(100, 140))

def begin(environment):
    import os
    from wandb_inference_magic.jobs import dask_frames
    from wandb_inference_magic.session import end_session, session
    os.environ.clear()
    os.environ.update(environment)
    end_session()
    session._session = None
    assert not dask_frames._sessions and not dask_frames._shared_keys

def run(code, cluster):
    with Client(cluster) as client, redirect_stdout(StringIO()) as out:
        names = {name: globals()[name] for name in ("cloudpickle", "frame", "InferenceError", "map_prompts")}
        exec(code, {**names, "__name__": "__main__", "client": client, "lazy": dd.from_pandas(frame, npartitions=4)})
    return out.getvalue()

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        for line in sys.stdin:
            code, environment = json.loads(line)
            try:
                begin(environment)
                with Client(cluster) as client:
                    with suppress(ValueError):
                        client.unregister_worker_plugin("wandb-inference-key")
                    client.run(begin, environment)
                answer = run(code, cluster), None
            except BaseException:
                answer = "", format_exc()
            print(json.dumps(answer), flush=True)
"""


class Cluster:
    """A cluster of two workers, in a process that runs code."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def run(self, service: Service, environment: dict[str, str], code: str, **variables: str) -> str:
        """Run code where this process and the workers have the environment of a test. Return what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([code, environment | service.environment | variables]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self._errors.read_text()[-4000:]
        out, failure = json.loads(answer)
        assert failure is None, failure
        assert KEY not in out + self._errors.read_text()
        return str(out)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    program, errors = folder / "program.py", folder / "errors"
    program.write_text(CLUSTER)
    with (
        errors.open("w") as log,
        subprocess.Popen(
            [sys.executable, str(program)],
            env=clean_environment(folder),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Cluster(process, errors)
        except BaseException:
            process.kill()
            raise
        # The end of its input is the end of the cluster.
        process.communicate(timeout=120)
    assert process.returncode == 0, errors.read_text()[-4000:]
    assert KEY not in errors.read_text()


def echo(one: Answer) -> None:
    completion(f"<{one.received.body['messages'][-1]['content']}>")(one)


@on_one_cluster
@pytest.mark.short
def test_partitions_are_mapped_lazily_on_the_workers(
    cluster: Cluster, service: Service, environment: dict[str, str]
) -> None:
    service.always = echo
    out = cluster.run(
        service,
        environment,
        "tone = 'kindly'\n"
        "out = map_prompts(lazy, 'Is {{ text }} {{ tone }}?', names={'tone': tone, 'client': client})\n"
        "print(type(out).__module__[:4], list(out.columns))\n"
        f"print({KEY!r}.encode() in cloudpickle.dumps(out))\n"
        "done = out.compute()\n"
        "print(done.reply.tolist() == [f'<Is {text} kindly?>' for text in frame.text])\n"
        "print(done.index.equals(frame.index), done.reply_error.isna().all())",
        WANDB_INFERENCE_API_KEY=KEY,
    )
    assert out.splitlines() == [
        "dask ['text', 'n', 'reply', 'reply_error']",
        "False",
        "True",
        "True True",
    ]
    assert {chat.headers["authorization"] for chat in service.chats} == {f"Bearer {KEY}"}
    assert len(service.chats) == 40


def test_nothing_is_sent_before_it_is_computed(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    api.map_prompts(dd.from_pandas(pd.DataFrame({"text": ["a"]}), npartitions=1), "{{ text }}")
    assert service.chats == []


@on_one_cluster
def test_the_concurrency_limit_applies_to_all_workers_together(
    cluster: Cluster, service: Service, environment: dict[str, str]
) -> None:
    lock, active, most, two_active = threading.Lock(), [0], [0], Event()

    def answer(one: Answer) -> None:
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
            if active[0] == 2:
                two_active.set()
        assert two_active.wait(60), "the second request came only after the first was answered"
        # An answer takes a moment, so that more requests at once than allowed are noticed.
        Event().wait(0.02)
        with lock:
            active[0] -= 1
        echo(one)

    service.always = answer
    code = "map_prompts(lazy, '{{ text }}', concurrency=3).compute()"
    cluster.run(service, environment, code, WANDB_INFERENCE_API_KEY=KEY)
    assert len(service.chats) == 40
    assert 2 <= most[0] <= 3


@on_one_cluster
def test_the_key_is_not_part_of_the_graph(cluster: Cluster, service: Service, environment: dict[str, str]) -> None:
    """Workers that find no key receive it."""
    service.always = echo
    out = cluster.run(
        service,
        environment,
        "import os\n"
        f"client.run(lambda: os.environ.pop('WANDB_INFERENCE_API_KEY', None))\n"
        "from wandb_inference_magic.jobs.dask_frames import share_key\n"
        "share_key(client)\n"
        "out = map_prompts(lazy, '{{ text }}')\n"
        f"print({KEY!r}.encode() in cloudpickle.dumps(out))\n"
        "print(len(out.compute()), any("
        f"{KEY!r} in str(logs) for logs in client.get_worker_logs().values()))",
        WANDB_INFERENCE_API_KEY=KEY,
    )
    assert out.splitlines() == ["False", "40 False"]
    assert {chat.headers["authorization"] for chat in service.chats} == {f"Bearer {KEY}"}


def test_a_schema_gives_typed_columns_in_every_partition(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    def answer(one: Answer) -> None:
        if "row 7" in one.received.body["messages"][-1]["content"]:
            refused(400, "too odd")(one)
        else:
            completion('{"label": "good", "score": 3}')(one)

    service.always = answer
    frame = pd.DataFrame({"text": [f"row {n}" for n in range(40)]})
    lazy = api.map_prompts(dd.from_pandas(frame, npartitions=4), "{{ text }}", schema="label good|bad, score int")
    done = lazy.compute(scheduler="threads")
    assert (str(lazy.score.dtype), str(done.score.dtype)) == ("Int64", "Int64")
    assert (done.score.sum(), done.reply_error.notna().sum()) == (117, 1)


@on_one_cluster
def test_an_error_for_all_rows_fails_the_computation(
    cluster: Cluster, service: Service, environment: dict[str, str]
) -> None:
    service.always = refused(402, "no credit")
    out = cluster.run(
        service,
        environment,
        "try:\n    map_prompts(lazy, '{{ text }}').compute()\nexcept InferenceError as error:\n    print(error.cause)",
        WANDB_INFERENCE_API_KEY=KEY,
    )
    assert out.split() == ["quota"]


def test_the_repr_of_the_key_plugin_does_not_show_the_key() -> None:
    from wandb_inference_magic.jobs.dask_frames import KeyPlugin

    plugin = KeyPlugin("http://x/v1", KEY)
    assert KEY not in repr(plugin)
    assert KEY not in str(plugin)
    assert KEY in str(vars(pickle.loads(pickle.dumps(plugin))))


@pytest.mark.parametrize("option", [{"limit": 3}, {"model": ["a", "b"]}])
def test_an_option_that_dask_does_not_support_is_refused(api: ModuleType, option: dict[str, Any]) -> None:
    import dask.dataframe as dd
    import pandas as pd

    lazy = dd.from_pandas(pd.DataFrame({"text": ["a"]}), npartitions=1)
    with pytest.raises(InferenceError, match="only be mapped as a whole and by one model"):
        api.map_prompts(lazy, "{{ text }}", **option)


def test_what_the_threads_of_this_process_spend_is_counted(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from wandb_inference_magic.session import current_session

    service.always = completion("yes")
    frame = dd.from_pandas(pd.DataFrame({"text": list("abcd")}), npartitions=2)
    assert api.map_prompts(frame, "{{ text }}").compute(scheduler="threads")["reply"].tolist() == ["yes"] * 4
    total = current_session().usage.total()
    assert (total.calls, total.usage.total_tokens) == (4, 4 * 15)


def test_threads_share_one_session_which_ends_with_that_of_the_process(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from wandb_inference_magic.config import WandbInference
    from wandb_inference_magic.session import end_session

    def loops() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name == "wb-event-loop"]

    service.always = completion("yes")
    before = len(loops())
    frame = dd.from_pandas(pd.DataFrame({"text": list("abcdefgh")}), npartitions=8)
    lazy = api.map_prompts(frame, "{{ text }}")
    # Every thread is at this point before one goes on, if they do not wait for each other.
    together = threading.Barrier(4)

    def build() -> WandbInference:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        return WandbInference()

    monkeypatch.setattr("wandb_inference_magic.jobs.dask_frames.WandbInference", build)
    lazy.compute(scheduler="threads", num_workers=4)
    assert len(loops()) == before + 1
    end_session()
    assert len(loops()) == before


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_equal_rows_of_different_partitions_are_asked_each_and_never_again(
    api: ModuleType, service: Service, scheduler: str
) -> None:
    import dask.dataframe as dd
    import pandas as pd

    def numbered(one: Answer) -> None:
        completion(f"answer {len(service.chats)}")(one)

    service.always = numbered
    frame = pd.DataFrame({"text": ["same"] * 6})
    lazy = api.map_prompts(dd.from_pandas(frame, npartitions=3), "{{ text }}", concurrency=1)
    first = lazy.compute(scheduler=scheduler)["reply"].tolist()
    assert len(service.chats) == len(set(first)) == 6
    # The same computation, one with other partitions, and one without Dask.
    assert lazy.compute(scheduler=scheduler)["reply"].tolist() == first
    again = api.map_prompts(dd.from_pandas(frame, npartitions=2), "{{ text }}").compute(scheduler=scheduler)
    assert sorted(again["reply"]) == sorted(first)
    assert sorted(api.map_prompts(frame, "{{ text }}")["reply"]) == sorted(first)
    assert len(service.chats) == 6


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_an_interrupt_of_the_computation_ends_its_partitions(api: ModuleType, service: Service, scheduler: str) -> None:
    import dask.dataframe as dd
    import pandas as pd

    may = Event()

    def answer(one: Answer) -> None:
        if len(service.chats) == 4:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        may.wait(60)
        completion("yes")(one)

    service.always = answer
    frame = dd.from_pandas(pd.DataFrame({"text": list("abcdefgh")}), npartitions=2)
    lazy = api.map_prompts(frame, "{{ text }}", concurrency=4)
    try:
        with pytest.raises(KeyboardInterrupt):
            lazy.compute(scheduler=scheduler)
        # No row is answered: only what is ended ends.
        while dask_frames._local_maps:
            pass
    finally:
        may.set()
    assert len(service.chats) == 4
    service.always = completion("yes")
    assert lazy.compute(scheduler=scheduler)["reply"].tolist() == ["yes"] * 8


def test_an_interrupt_while_a_row_waits_for_its_turn_is_an_interrupt(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.dataframe as dd
    import pandas as pd

    may = Event()

    class ClusterSemaphore:
        """Has one lease, whose number is not the limit, and refuses the release of a lease that was not taken."""

        def __init__(self, _: int) -> None:
            self.is_taken = False

        def acquire(self) -> None:
            if self.is_taken:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                may.wait(60)
            self.is_taken = True

        def release(self) -> None:
            if not self.is_taken:
                raise RuntimeError("Released too often")
            self.is_taken = False

    def answer(one: Answer) -> None:
        may.wait(60)
        completion("yes")(one)

    service.always = answer
    monkeypatch.setattr(dask_frames, "Semaphore", ClusterSemaphore)
    lazy = api.map_prompts(dd.from_pandas(pd.DataFrame({"text": ["a", "b"]}), npartitions=1), "{{ text }}")
    try:
        with pytest.raises(KeyboardInterrupt):
            lazy.compute(scheduler="synchronous")
    finally:
        may.set()


def test_what_the_threads_of_this_process_compute_is_in_the_list_of_jobs(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from wandb_inference_magic.session import current_session

    asked, may = Event(), Event()

    def answer(one: Answer) -> None:
        asked.set()
        may.wait(60)
        completion("yes")(one)

    service.always = answer
    lazy = api.map_prompts(dd.from_pandas(pd.DataFrame({"text": list("abcd")}), npartitions=2), "{{ text }}")
    with ThreadPoolExecutor(1) as pool:
        computed = pool.submit(lazy.compute, scheduler="threads")
        try:
            assert asked.wait(60)
            (job,) = current_session().jobs
            assert job.what == "map of a Dask DataFrame"
            job.cancel()
            assert isinstance(computed.exception(60), KeyboardInterrupt)
        finally:
            may.set()
    job.join(60)
    assert not list(current_session().jobs)


def test_a_series_keeps_its_name(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    service.always = echo
    series = dd.from_pandas(pd.DataFrame({"review": list("abcd")}), npartitions=2)["review"]
    assert api.map_prompts(series, "{{ review }}")["reply"].tolist() == ["<a>", "<b>", "<c>", "<d>"]


@pytest.mark.parametrize("given", [None, "tcp://scheduler:8786"])
def test_a_key_is_shared_with_a_clusters_client(api: ModuleType, given: Any) -> None:
    with pytest.raises(InferenceError, match="share_key needs the client of a running cluster, not "):
        dask_frames.share_key(given)


def test_a_budget_that_is_set_later_is_kept_too(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd
    import pandas as pd

    from wandb_inference_magic.session import current_session

    lazy = api.map_prompts(dd.from_pandas(pd.DataFrame({"text": ["a", "b"]}), npartitions=1), "{{ text }}")
    current_session().settings.budget = 1.0
    with pytest.raises(InferenceError, match="A budget is set, but it cannot be enforced for a Dask DataFrame"):
        lazy.compute(scheduler="threads")
    assert service.chats == []


# A new setting is for workers too, unless it is in NOT_FOR_WORKERS: then it has no row here.
SETTINGS: dict[str, Any] = {
    "endpoint": "http://127.0.0.1:9/v1",
    "project": "team/project",
    "system": "Be brief.",
    "temperature": 0.5,
    "max_tokens": 7,
    "cassette": "class.jsonl",
    "cassette_mode": "replay",
    "cassette_pace": "at-once",
    "timeout": 7.0,
    "max_retries": 7,
    "catalog": False,
    "value_tokens": 77,
    "cache_mb": None,
    "cache_days": 7.0,
    "weights": "weights.gguf",
}


@pytest.mark.parametrize("changes", [SETTINGS, {}])
def test_a_worker_has_the_settings_of_the_user(
    api: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    from wandb_inference_magic.config import SETTING_NAMES
    from wandb_inference_magic.jobs import dask_frames
    from wandb_inference_magic.session import Command, current_session

    assert set(SETTINGS) | dask_frames.NOT_FOR_WORKERS == set(SETTING_NAMES)
    cassette = tmp_path / "class.jsonl"
    if changes:
        assert api.chat("hi").text
        current_session().settings.set(cassette=str(cassette), cassette_mode="record")
        api.chat("hi")
        changes = changes | {"cassette": str(cassette)}
    current_session().settings.set(**changes)
    command = Command(current_session())
    sent = tuple(sorted(dask_frames._settings(command, command.settings.endpoint).items()))
    own = command.settings
    # The environment of a worker may be another.
    monkeypatch.setenv("WANDB_INFERENCE_CASSETTE", "of-the-worker.jsonl")
    monkeypatch.setenv("WANDB_INFERENCE_PROJECT", "of-the/worker")
    resolved = dask_frames._session(sent).settings.resolve()
    assert {name: getattr(resolved, name) for name in SETTINGS} == {name: getattr(own, name) for name in SETTINGS}


def test_a_part_of_a_frame_is_computed_first_and_nothing_is_paid_twice(api: ModuleType, service: Service) -> None:
    """Dask numbers the partitions that it computes: those of a part begin at 0 again."""
    import dask.dataframe as dd
    import pandas as pd

    service.always = echo
    frame = pd.DataFrame({"text": ["same", "b", "c", "same", "e", "f"]})
    lazy = api.map_prompts(dd.from_pandas(frame, npartitions=3), "{{ text }}", concurrency=1)
    assert lazy.tail(2)["reply"].tolist() == ["<e>", "<f>"]
    assert len(service.chats) == 2
    assert lazy.partitions[1].compute(scheduler="synchronous")["reply"].tolist() == ["<c>", "<same>"]
    assert lazy.compute(scheduler="threads")["reply"].tolist() == [f"<{text}>" for text in frame.text]
    assert len(service.chats) == 6


@on_one_cluster
def test_a_job_over_the_clusters_futures(cluster: Cluster, service: Service, environment: dict[str, str]) -> None:
    may = Event()

    def answer(one: Answer) -> None:
        text = one.received.body["messages"][-1]["content"]
        if text == "release":
            may.set()
        elif text.startswith("hold"):
            may.wait(60)
        echo(one)

    service.always = answer
    out = cluster.run(
        service,
        environment,
        "from wandb_inference_magic import chat\n"
        "from wandb_inference_magic.session import current_session\n"
        "current_session().is_interactive = lambda: True\n"
        "job = map_prompts(lazy, '{{ text }}', background=True)\n"
        "print(job.wait(100).compute().reply.tolist() == [f'<{text}>' for text in frame.text])\n"
        "print(job)\n"
        "held = map_prompts(lazy, 'hold {{ text }}', background=True)\n"
        "while not any(client.processing().values()): pass\n"
        "held.cancel()\n"
        "try: held.wait(60)\n"
        "except InferenceError as error: print(error.what, held.state)\n"
        # No row is answered: only what is cancelled ends.
        "while sum(client.run(lambda dask_worker: len(dask_worker.state.executing)).values()): pass\n"
        "chat('release')\n"
        "print(held.frame().compute().reply.tolist() == [f'<hold {text}>' for text in frame.text])\n"
        "from threading import Lock\n"
        "try: map_prompts(lazy, '{{ lock }} {{ text }}', names={'lock': Lock()}, background=True).wait(60)\n"
        "except InferenceError as error: print(error.what[:40])\n"
        "client.close()\n"
        "try: map_prompts(lazy, '{{ text }}', background=True)\n"
        "except InferenceError as error: print(error.what)",
    )
    equal, line, cancelled, others, not_sent, refused_line = out.splitlines()
    assert equal == others == "True"
    assert not_sent == "The frame cannot be sent to the workers:"
    assert line.startswith("<Job 1: map_prompts, done · 4 of 4 partitions · ")
    assert cancelled == "Job 2 was cancelled. cancelled"
    assert refused_line.startswith("A job over a Dask DataFrame runs on a cluster, and there is none.")
