"""Calls from the user's child processes, threads and event loops: each call receives its own answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from python_forks import printed_by_fork
from python_processes import run_python
from service import Answer, Service, completion

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")

COMMON = """
import os, sys
from wandb_inference_magic import chat, map_prompts
def ask(number):
    return chat(f"Say {number}", max_tokens=5).text
def wrong(answers):
    return [(number, said) for number, said in enumerate(answers) if said != f"You said: Say {number}"]
"""


CHILD = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from wandb_inference_magic import InferenceError
from wandb_inference_magic.session import current_session
def child(*numbers):
    try:
        return ", ".join(map(ask, numbers))
    except InferenceError as error:
        return error.what
"""
# Each child that does not begin as a copy imports this too.
LOKY = "from joblib.externals import loky\n"


def echo(answer: Answer) -> None:
    completion(f"You said: {answer.received.body['messages'][-1]['content']}")(answer)


@pytest.fixture
def run(service: Service, environment: dict[str, str], tmp_path: Path) -> Callable[[str], list[str]]:
    service.always = echo
    variables = environment | service.environment | {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}

    def script(code: str) -> list[str]:
        path = tmp_path / "script.py"
        path.write_text(COMMON + code)
        process = run_python("-W", "ignore::DeprecationWarning", str(path), environment=variables, timeout=200)
        assert process.returncode == 0, process.stderr
        return process.stdout.splitlines()

    return script


@pytest.fixture
def run_forked(service: Service, environment: dict[str, str]) -> Callable[[str], list[str]]:
    """Do as `run`, in a process that has imported the package. For tests of what it forks after that."""
    service.always = echo
    return lambda code: printed_by_fork(COMMON + code, environment | service.environment)


@pytest.mark.parametrize("method", [pytest.param("fork", marks=NEEDS_FORK), "spawn"])
def test_workers_of_a_pool_receive_their_own_answers(run: Callable[[str], list[str]], method: str) -> None:
    """The parent has an open connection from an earlier request. A copy of it would be shared by all workers."""
    code = (
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    assert ask(0) == 'You said: Say 0'\n"
        # A child that is no copy imports the SDK: a second.
        f"    with multiprocessing.get_context({method!r}).Pool({4 if method == 'fork' else 2}) as pool:\n"
        "        print(wrong(pool.map(ask, range(100), chunksize=5)))\n"
        "    print(wrong([ask(number) for number in range(3)]))\n"
    )
    assert run(code) == ["[]", "[]"]


@pytest.mark.parametrize("method", [pytest.param("fork", marks=NEEDS_FORK), "spawn", "forkserver", "loky"])
def test_child_processes_have_the_settings_of_their_parent(
    run: Callable[[str], list[str]], service: Service, method: str
) -> None:
    code = (
        CHILD + LOKY * (method == "loky") + "def in_child(*calls):\n"
        f"    if {method!r} == 'loky':\n"
        "        with loky.ProcessPoolExecutor(1) as pool:\n"
        "            return [pool.submit(child, *numbers).result() for numbers in calls]\n"
        f"    with multiprocessing.get_context({method!r}).Pool(1) as pool:\n"
        "        return [pool.apply(child, numbers) for numbers in calls]\n"
        "if __name__ == '__main__':\n"
        # That import takes most of the time of a child.
        f"    {'import openai' if method == 'fork' else ''}\n"
        "    multiprocessing.set_forkserver_preload(['openai'])\n"
        "    os.chdir(os.path.dirname(__file__))\n"
        "    settings = current_session().settings\n"
        "    settings.set(model='own/model')\n"
        "    print(*in_child([1]))\n"
        "    settings.set(budget=5)\n"
        "    print(*in_child([2]))\n"
        f"    mode = 'auto' if {method!r} == 'fork' else 'record'\n"
        "    settings.set(budget=None, cassette='kept.jsonl', cassette_mode=mode)\n"
        "    print(*in_child([3]), *in_child([4]), sep=', ')\n"
        "    settings.set(cassette_mode='replay')\n"
        "    os.mkdir('other')\n"
        "    os.chdir('other')\n"
        "    print(*in_child([3, 4], [5]), sep='\\n')\n"
        "    settings.reset()\n"
        "    print(*in_child([6]))\n"
    )
    first, refused, recorded, replayed, missing, last = run(code)
    assert first == "You said: Say 1"
    assert refused == "A budget is set, but it cannot be enforced in a child process. Nothing was sent."
    assert recorded == replayed == "You said: Say 3, You said: Say 4"
    assert "kept.jsonl" in missing
    assert last == "You said: Say 6"
    assert [one.body["model"] for one in service.chats] == ["own/model"] * 3 + ["test/model-a"]


@pytest.mark.parametrize("method", [pytest.param("fork", marks=NEEDS_FORK), "spawn", "loky"])
def test_child_processes_that_run_already_follow_the_settings_of_their_parent(
    run: Callable[[str], list[str]], service: Service, tmp_path: Path, method: str
) -> None:
    """Those of joblib live on between cells."""
    code = (
        CHILD + LOKY * (method == "loky") + "def pool():\n"
        f"    if {method!r} == 'loky':\n"
        "        return loky.get_reusable_executor(1)\n"
        f"    return ProcessPoolExecutor(1, multiprocessing.get_context({method!r}))\n"
        "if __name__ == '__main__':\n"
        "    ask(0)\n"
        "    settings = current_session().settings\n"
        "    with pool() as workers:\n"
        "        print(workers.submit(child, 1).result())\n"
        "        settings.set(model='own/model')\n"
        "        print(workers.submit(child, 2).result())\n"
        "        settings.set(budget=5)\n"
        "        print(workers.submit(child, 3).result())\n"
        "        settings.reset()\n"
        "        print(workers.submit(child, 4).result())\n"
    )
    first, second, refused, last = run(code)
    assert (first, second, last) == ("You said: Say 1", "You said: Say 2", "You said: Say 4")
    assert refused == "A budget is set, but it cannot be enforced in a child process. Nothing was sent."
    models = [one.body["model"] for one in service.chats]
    assert models == ["test/model-a", "test/model-a", "own/model", "test/model-a"]
    assert not [path for path in tmp_path.rglob("settings/*") if path.is_file()], "nothing is left"


def test_what_a_session_has_handed_down_is_taken_back_at_its_end(
    run: Callable[[str], list[str]], service: Service
) -> None:
    code = (
        "import multiprocessing\n"
        "from wandb_inference_magic.session import current_session, end_session\n"
        "def in_child(number):\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return pool.apply(ask, (number,))\n"
        "if __name__ == '__main__':\n"
        "    current_session().settings.set(model='own/model')\n"
        "    in_child(1)\n"
        "    end_session()\n"
        "    in_child(2)\n"
        "    ask(3)\n"
        "    in_child(4)\n"
    )
    run(code)
    assert [one.body["model"] for one in service.chats] == ["own/model", "test/model-a", "own/model", "own/model"]


def test_several_threads_and_event_loops_can_call_at_once(run: Callable[[str], list[str]]) -> None:
    code = (
        "import asyncio\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "print(wrong(ThreadPoolExecutor(8).map(ask, range(60))))\n"
        "async def inside(number):\n"
        "    return ask(number)\n"
        "def in_a_loop(number):\n"
        "    return asyncio.run(inside(number))\n"
        "print(wrong(ThreadPoolExecutor(4).map(in_a_loop, range(20))))\n"
        "def mapped(part):\n"
        "    return map_prompts([f'Say {number}' for number in part], '{{ text }}', cache=False).reply.tolist()\n"
        "parts = ThreadPoolExecutor(3).map(mapped, [range(0, 20), range(20, 40), range(40, 60)])\n"
        "print(wrong([one for part in parts for one in part]))\n"
    )
    assert run(code) == ["[]", "[]", "[]"]


@NEEDS_FORK
def test_what_a_child_spends_is_counted_by_the_child_alone(run_forked: Callable[[str], list[str]]) -> None:
    """README says that the parent's `%wbusage` does not have it. A child starts with a copy of its counts."""
    code = (
        "from wandb_inference_magic.session import current_session\n"
        "ask(0)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ask(1), ask(2)\n"
        "    print(current_session().usage.total().calls, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(current_session().usage.total().calls)\n"
    )
    assert run_forked(code) == ["3", "1"]


@NEEDS_FORK
def test_a_budget_without_a_file_is_refused_in_a_child_process(run_forked: Callable[[str], list[str]]) -> None:
    code = (
        "from wandb_inference_magic.session import current_session\n"
        "current_session().settings.set(budget=1.0)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        ask(1)\n"
        "    except Exception as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    (line,) = run_forked(code)
    assert line.startswith("A budget is set, but it cannot be enforced in a child process. Nothing was sent.")
    assert "--budget-file" in line


@NEEDS_FORK
def test_a_child_made_during_a_call_can_call_and_owes_nothing_of_its_parents(
    run_forked: Callable[[str], list[str]],
) -> None:
    """What is in flight at the fork is the parent's: its reservation, and the lock that a thread may hold."""
    code = (
        "from wandb_inference_magic.session import current_session\n"
        "usage = current_session().usage\n"
        "ask(0)\n"
        "usage.reserve('a call in flight', lambda left: 0.5, 0.0, 1.0)\n"
        "with usage._lock:\n"
        "    pid = os.fork()\n"
        "if pid == 0:\n"
        "    print(ask(1), usage.reserved(), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(usage.reserved())\n"
    )
    assert run_forked(code) == ["You said: Say 1 0.0", "0.5"]


@NEEDS_FORK
def test_a_child_made_while_the_extension_imports_ahead_can_call(run: Callable[[str], list[str]]) -> None:
    """Another thread imports then. A copy of the lock of its import would never be released in the child."""
    code = (
        "import faulthandler, gc\n"
        "from IPython.testing.globalipapp import start_ipython\n"
        "shell = start_ipython()\n"
        "shell.run_line_magic('load_ext', 'wandb_inference_magic')\n"
        "for number in range(4):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        faulthandler.dump_traceback_later(60, exit=True)\n"
        "        print(ask(number), gc.isenabled(), flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    assert run(code) == [f"You said: Say {number} True" for number in range(4)]
