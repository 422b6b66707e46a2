"""A budget shared by several kernels: in a file, with real processes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from queue import Queue
from tempfile import TemporaryDirectory
from threading import Event, Thread, enumerate as enumerate_threads
from time import time
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel
from known_models import known_model_environment
from python_forks import ForkedProgram
from python_processes import run_python
from service import Answer, Endless, Wandb, completion, usage

from wandb_inference_magic.arguments import ConfigOptions
from wandb_inference_magic.commands.config import configure
from wandb_inference_magic.config.settings import WandbInference
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import Command, Session, current_session
from wandb_inference_magic.spending import shared_spending
from wandb_inference_magic.spending.shared_spending import LEASE_SECONDS, SharedSpending, _address

SCRIPT_START = """
import sys
from wandb_inference_magic import InferenceError, chat, models
from wandb_inference_magic.session import current_session
current_session().settings.set(budget=float(sys.argv[2]), budget_file=sys.argv[1])
models()
"""
UNTIL_REFUSED = """
try:
    while True:
        chat("hi", stream=False, max_tokens=10)
except InferenceError as error:
    print(error.cause)
"""
ONCE = """
try:
    print(chat("hi", stream=False, max_tokens=40_000).text, flush=True)
except InferenceError as error:
    print(error.cause, flush=True)
"""
# The worst-case cost of a call of `ONCE`: 40,000 tokens at half a USD per million. Its prompt costs less than one more.
MOST = 0.02
BUDGET = 0.101


@contextmanager
def processes(
    number: int, code: str, file: Path, environment: dict[str, str], budget: float = BUDGET
) -> Iterator[list[ForkedProgram]]:
    """Start processes that share a budget, and end those that are still running afterwards."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(ForkedProgram(SCRIPT_START + code, str(file), str(budget), environment=environment))
            for _ in range(number)
        ]
        try:
            yield started
        finally:
            for one in started:
                one.kill()


class HeldReplies:
    """A script: each reply costs the worst case, and waits until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = Event()
        self.arrived: Queue[None] = Queue()

    def __call__(self, answer: Answer) -> None:
        self.arrived.put(None)
        assert self.go_on.wait(120)
        completion("Yes.", counted=usage(1, answer.received.body["max_tokens"]))(answer)

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            self.arrived.get(timeout=120)


def read_line(process: ForkedProgram) -> str:
    return process.stdout.readline().strip()


def test_kernels_together_stay_within_the_budget(wandb: Wandb, environment: dict[str, str], tmp_path: Path) -> None:
    wandb.api.always = held_replies = HeldReplies()
    file = tmp_path / "class.sqlite"
    with processes(12, ONCE, file, environment | known_model_environment(wandb)) as running:
        # No reply has arrived yet: a refused process knows what the calls of the others can cost.
        lines: Queue[str] = Queue()
        for one in running:
            Thread(target=lambda one=one: lines.put(read_line(one)), daemon=True).start()
        assert [lines.get(timeout=120) for _ in range(7)] == ["budget"] * 7
        held_replies.wait_for(5)
        held_replies.go_on.set()
        assert [lines.get(timeout=120) for _ in range(5)] == ["Yes."] * 5
    assert len(wandb.api.chats) == 5
    spent = SharedSpending(file).spent()
    assert spent == pytest.approx(5 * (MOST + 1e-6))
    assert spent <= BUDGET


def test_the_call_of_a_killed_kernel_is_counted_as_an_estimate(
    wandb: Wandb, environment: dict[str, str], tmp_path: Path
) -> None:
    wandb.api.always = held_replies = HeldReplies()
    file, variables = tmp_path / "class.sqlite", environment | known_model_environment(wandb)
    with processes(1, ONCE, file, variables) as (killed,):
        held_replies.wait_for(1)
        killed.kill()
        killed.wait()
    held_replies.go_on.set()
    # Its call may go on and reach its worst-case cost: the others leave that amount unused.
    with processes(6, f"{ONCE}{ONCE}", file, variables) as others:
        for one in others:
            one.communicate()
    held_replies.wait_for(4)
    assert len(wandb.api.chats) == 5
    assert SharedSpending(file).spent() == pytest.approx(4 * (MOST + 1e-6))
    later = SharedSpending(file, lambda: time() + 2 * LEASE_SECONDS)
    estimate = later.spent() - 4 * (MOST + 1e-6)
    assert 0 < estimate == pytest.approx(later.estimated())
    assert estimate < 0.001
    # The reservation has expired.
    assert later.left(BUDGET) > MOST


def test_a_reservation_is_renewed_while_its_call_is_running(tmp_path: Path) -> None:
    now = 1000.0
    ours, theirs = (SharedSpending(tmp_path / "class.sqlite", lambda: now) for _ in range(2))
    ours.reserve("a", lambda _: 0.6, 0.1, 1.0)
    for _ in range(3):
        now += LEASE_SECONDS - 1
        ours.renew()
    assert theirs.left(1.0) == pytest.approx(0.4)
    assert theirs.reserve("b", lambda _: 0.6, 0.1, 1.0) == pytest.approx(0.4)
    now += LEASE_SECONDS + 1
    assert theirs.left(1.0) == pytest.approx(0.9)
    assert theirs.estimated() == pytest.approx(0.1)
    # Its kernel was not killed: the machine was suspended.
    ours.settle("a", 0.3)
    assert theirs.left(1.0) == pytest.approx(0.7)
    assert theirs.estimated() == 0


def test_a_reservation_of_a_killed_kernel_whose_clock_was_ahead_expires(tmp_path: Path) -> None:
    now = 1000.0
    ahead = SharedSpending(tmp_path / "class.sqlite", lambda: now + 86_400)
    ours = SharedSpending(tmp_path / "class.sqlite", lambda: now)
    ahead.reserve("a", lambda _: 0.6, 0.1, 1.0)
    assert ours.left(1.0) == pytest.approx(0.4)
    now += LEASE_SECONDS + 1
    assert ours.left(1.0) == pytest.approx(0.9)


FORK_IN_A_TRANSACTION = """
import os, sys
from pathlib import Path
from threading import Event, Thread
from wandb_inference_magic.config import files
from wandb_inference_magic.spending import shared_spending

files.PATIENCE_SECONDS = 1.0
spending = shared_spending.SharedSpending(Path(sys.argv[1]))
inside, forking = Event(), Event()
# What is registered last is called first.
os.register_at_fork(before=forking.set)

def cost(left):
    inside.set()
    forking.wait(30)
    return 0.1

thread = Thread(target=spending.reserve, args=("parent", cost, 0.1, 1.0))
thread.start()
inside.wait(30)
pid = os.fork()
if pid == 0:
    print(round(spending.reserve("child", lambda left: 0.1, 0.1, 1.0), 6), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_child_that_is_forked_while_the_file_is_changed_can_use_it(tmp_path: Path) -> None:
    """SQLite in the child would take the parent's transaction for one of its own that never ends."""
    done = run_python("-W", "ignore", "-c", FORK_IN_A_TRANSACTION, str(tmp_path / "budget"), environment=os.environ)
    assert (done.stdout, done.stderr) == ("0.9\n", "")


def test_a_background_thread_renews_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_spending, "RENEWAL_SECONDS", 0.001)
    renewed = Event()

    class Watched(SharedSpending):
        def renew(self) -> None:
            super().renew()
            renewed.set()

    spending = Watched(tmp_path / "class.sqlite")
    spending.reserve("a", lambda _: 0.1, 0.0, 1.0)
    assert renewed.wait(60)
    spending.settle("a", 0.0)


def test_the_background_thread_ends_after_the_last_call(tmp_path: Path) -> None:
    def renewal_threads() -> list[Thread]:
        return [one for one in enumerate_threads() if one.name == "wb-budget"]

    before = renewal_threads()
    spending = SharedSpending(tmp_path / "class.sqlite")
    spending.reserve("a", lambda _: 0.1, 0.0, 1.0)
    spending.reserve("b", lambda _: 0.1, 0.0, 1.0)
    (thread,) = (one for one in renewal_threads() if one not in before)
    assert thread.daemon
    spending.settle("a", 0.1)
    assert thread.is_alive()
    spending.settle("b", 0.0)
    thread.join(60)
    assert not thread.is_alive()
    assert spending.spent() == pytest.approx(0.1)


def test_the_spending_recorded_by_an_older_version_is_counted(
    kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path
) -> None:
    kernel, path = kernel_with_catalog, tmp_path / "class.sqlite"
    with closing(sqlite3.connect(path)) as file:
        file.execute("create table spent (kernel text primary key, usd real not null) without rowid")
        file.executemany("insert into spent values (?, ?)", [("a", 0.3), ("b", 0.195)])
        file.commit()
    kernel.run(f"%wbconfig --budget 0.5 --budget-file {path}")
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    assert "$0.0050 is left of the budget" in kernel.run("%wbchat --max-tokens 20000 hi").error
    assert wandb.api.chats == []
    assert kernel.run("%wbchat --no-stream --max-tokens 10 hi").ok
    with closing(sqlite3.connect(path)) as file:
        assert sorted(usd for (usd,) in file.execute("select usd from spent")) == [0.001, 0.195, 0.3]


def test_a_cost_that_cannot_be_written_is_added_later(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "class.sqlite"
    path.parent.mkdir()
    spending = SharedSpending(path)
    spending.reserve("a", lambda _: 0.5, 0.0, 1.0)
    path.unlink()
    path.parent.rmdir()
    spending.settle("a", 0.4)
    path.parent.mkdir()
    assert spending.left(1.0) == pytest.approx(0.6)
    assert SharedSpending(path).spent() == pytest.approx(0.4)


def test_a_call_that_ends_never_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spending, left = SharedSpending(tmp_path / "class.sqlite"), []
    spending.reserve("a", lambda _: 0.5, 0.0, 1.0)
    # Another thread looks while the call is being settled.
    monkeypatch.setattr(spending, "_drop", lambda _call: left.append(spending.left(1.0)))
    spending.settle("a", 0.4)
    assert left == [pytest.approx(0.6)]
    assert spending.left(1.0) == pytest.approx(0.6)


def test_only_running_calls_exceed_the_budget_if_estimates_are_too_low(
    wandb: Wandb, environment: dict[str, str], tmp_path: Path
) -> None:
    # Each call costs 0.001 USD, more than could be known before.
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    file = tmp_path / "class.sqlite"
    with processes(8, UNTIL_REFUSED, file, environment | known_model_environment(wandb), budget=0.02) as running:
        assert [one.communicate()[0].strip() for one in running] == ["budget"] * 8
    assert 20 <= len(wandb.api.chats) <= 28
    assert SharedSpending(file).spent() == pytest.approx(len(wandb.api.chats) * 0.001)


def test_the_spending_of_other_kernels_is_counted(kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path) -> None:
    kernel, file = kernel_with_catalog, tmp_path / "class.sqlite"
    kernel.run(f"%wbconfig --budget 0.01 --budget-file {file}")
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    assert kernel.run("%wbchat --no-stream --max-tokens 10 hi").ok
    assert SharedSpending(file).spent() == 0.001
    SharedSpending(file).settle("", 0.5)
    before = len(wandb.api.chats)
    assert "nothing is left of the budget" in kernel.run("%wbchat --max-tokens 10 hi").error
    assert len(wandb.api.chats) == before


def test_an_unusable_file_is_reported_before_anything_is_sent(
    kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path
) -> None:
    kernel, before = kernel_with_catalog, len(wandb.api.chats)
    name = f"{tmp_path}/no-such-folder/class.sqlite"
    assert "cannot be used. Nothing was sent." in kernel.run(f"%wbconfig --budget 1 --budget-file {name}").error
    # Not checked when it is set.
    kernel.run(f"%config WandbInference.budget = 1\n%config WandbInference.budget_file = {name!r}")
    run = kernel.run("%wbchat --max-tokens 10 hi")
    assert "cannot be used. Nothing was sent." in run.error
    assert len(wandb.api.chats) == before


TWO_USERS = """
import os, sys
from pathlib import Path
from wandb_inference_magic import InferenceError
from wandb_inference_magic.spending import SharedSpending

def use(user):
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    if user:
        os.setgroups([4242])
        os.setgid(user)
        os.setuid(user)
    spending = SharedSpending(path)
    try:
        spending.check()
        spending.settle("", 0.25)
        print(spending.spent(), flush=True)
    except InferenceError as error:
        print(error.remedy, flush=True)
    os._exit(0)

folder, *users = Path(sys.argv[1]), *(int(one) for one in sys.argv[2:])
path = folder / "class.sqlite"
os.umask(0o077)
if users[0]:
    os.chown(folder, -1, 4242)
for mode in (0o3770, 0o777, 0o1777):
    folder.chmod(mode)
    for user in users:
        use(user)
for closed, mode in ((path, 0o644), (folder, 0o755), (path, 0o666), (path, 0o600)):
    closed.chmod(mode)
    use(users[1])
path.chmod(0o644)
for text in ("hosts", ""):
    path.write_text(text)
    use(users[1])
path.unlink()
folder.chmod(0o755)
use(users[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_the_next_user_can_use_the_file_or_is_shown_what_its_owner_must_do(environment: dict[str, str]) -> None:
    """Two accounts of a JupyterHub, in a folder that all may write to."""
    users = ("12345", "12346") if os.geteuid() == 0 else ("0", "0")
    with TemporaryDirectory() as folder, ForkedProgram(TWO_USERS, folder, *users, environment=environment) as program:
        lines = program.communicate()[0].splitlines()
        assert list(Path(folder).iterdir()) == []
    assert lines[:6] == ["0.25", "0.5", "0.75", "1.0", "1.25", "1.5"]
    if os.geteuid() == 0:
        file = f"The file must be writable for you: its owner, user 12345, must run: chmod a+rw {folder}/class.sqlite"
        parent = f"Its folder must be writable for you: its owner, root, must run: chmod a+rwxt {folder}"
        assert lines[6:] == [
            *(f"{file}.", f"{file}. {parent}.", f"{parent}."),
            # No command that would open a file of the system to all.
            "It is a file that you cannot read. Name another file: %wbconfig --budget-file FILE.",
            "It is not a budget file, or it is damaged. Name another file: %wbconfig --budget-file FILE.",
            "It is not a budget file. Name another file: %wbconfig --budget-file FILE.",
            # There is none yet.
            f"{parent}.",
        ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "a folder"),
        ("/dev/null", "not a regular file"),
        ("text", "not a budget file, or it is damaged"),
        ("damaged", "not a budget file, or it is damaged"),
    ],
)
def test_what_is_no_budget_file_is_named_without_advice_to_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    (tmp_path / "text").write_text("A text that is longer than the start of a database. " * 20)
    SharedSpending(tmp_path / "damaged").check()
    (tmp_path / "damaged").write_bytes((tmp_path / "damaged").read_bytes()[:100] + b"x" * 5_000)
    # As for a user who may not write there.
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.F_OK)
    with pytest.raises(InferenceError) as refused:
        SharedSpending(tmp_path / name).check()
    assert refused.value.remedy == f"It is {kind}. Name another file: %wbconfig --budget-file FILE."


def test_a_link_in_place_of_the_new_file_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user of the folder replaces the file while it is made."""
    private, shared = tmp_path / "private", tmp_path / "class"
    private.write_text("secret")
    private.chmod(0o600)
    shared.mkdir()
    shared.chmod(0o777)

    def replace_new(*_: object) -> None:
        (new,) = shared.glob(".*.new")
        new.unlink()
        new.symlink_to(private)

    # By name and by descriptor.
    for change in ("chown", "fchown"):
        monkeypatch.setattr(os, change, replace_new)
    with suppress(InferenceError):
        SharedSpending(shared / "class.sqlite").check()
    assert private.read_text() == "secret"
    assert private.stat().st_mode & 0o777 == 0o600
    assert not list(shared.glob(".*"))


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (PurePosixPath("/srv/a class?#%20/é.sqlite"), "file:///srv/a%20class%3F%23%2520/%C3%A9.sqlite"),
        (PurePosixPath(os.fsdecode(b"/srv/\xff")), "file:///srv/%FF"),
        (PureWindowsPath(r"C:\Users\ann\class.sqlite"), "file:///C:/Users/ann/class.sqlite"),
        # A network drive, also one that has a letter. SQLite refuses an address with a host.
        (PureWindowsPath(r"\\uni-srv\home\class.sqlite"), "file:////uni-srv/home/class.sqlite"),
    ],
)
def test_the_address_of_a_file_has_no_host(path: PurePath, address: str) -> None:
    assert _address(path) == address
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(f"{address}?mode=ro", uri=True)


@pytest.mark.parametrize(
    ("folder", "umask", "file"),
    [
        (0o777, 0o022, 0o666),
        (0o1777, 0o077, 0o666),
        (0o775, 0o022, 0o664),
        (0o2770, 0o077, 0o660),
        (0o755, 0o000, 0o644),
        (0o700, 0o077, 0o600),
    ],
)
def test_whoever_may_write_into_the_folder_may_write_the_file_and_nobody_else(
    tmp_path: Path, folder: int, umask: int, file: int
) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class").chmod(folder)
    # Also a link to a file that is not there yet.
    (tmp_path / "link").symlink_to(tmp_path / "class" / "class.sqlite")
    before = os.umask(umask)
    try:
        SharedSpending(tmp_path / "link").check()
    finally:
        os.umask(before)
    (made,) = (tmp_path / "class").iterdir()
    assert made.stat().st_mode & 0o777 == file


@pytest.mark.parametrize(("folder", "file"), [(0o777, 0o666), (0o770, 0o644)])
def test_a_file_of_another_group_than_its_folders_is_open_to_the_same_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: int, file: int
) -> None:
    tmp_path.chmod(folder)
    real, stat = tmp_path.stat(), Path.stat
    another = os.stat_result((*real[:5], real.st_gid + 1, *real[6:]))
    monkeypatch.setattr(Path, "stat", lambda path, **_: another if path == tmp_path else stat(path))
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError()))
    SharedSpending(tmp_path / "class.sqlite").check()
    assert stat(tmp_path / "class.sqlite").st_mode & 0o777 == file


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("attempt to write a readonly database", "Name a file in an existing folder that you can write to: %wbconfig"),
        ("database or disk is full", "Free some space on its disk, then name the file again: %wbconfig --budget-file"),
        ("database is locked", "Another program is using it."),
    ],
)
def test_wbconfig_writes_to_the_file_and_says_what_helps(
    api: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, remedy: str
) -> None:
    path = tmp_path / "class.sqlite"
    SharedSpending(path).check()
    monkeypatch.setattr("wandb_inference_magic.config.locks.PATIENCE_SECONDS", 0.0)

    class Unwritable(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql.startswith("insert"):
                raise sqlite3.OperationalError(message)
            return super().execute(sql, *values)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Unwritable))
    session = current_session()
    with pytest.raises(InferenceError, match=r"class\.sqlite cannot be used\.") as refused:
        configure(session, ConfigOptions(budget_file=str(path)), None)  # type: ignore[arg-type]
    assert refused.value.remedy.startswith(remedy)
    assert session.settings.resolve().budget_file == ""


def test_an_interrupted_call_leaves_no_reservation(kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path) -> None:
    kernel, path = kernel_with_catalog, tmp_path / "class.sqlite"
    kernel.run(f"%wbconfig --budget 1 --budget-file {path} --model test/thinker")
    before = kernel.threads()
    wandb.api.then(Endless("x" * 400))
    assert "Interrupted." in kernel.interrupt_at("%wbchat hi", "xxxx").error
    kernel.join_threads_since(before)
    spent = SharedSpending(path).spent()
    assert 0 < spent < 0.0001
    assert SharedSpending(path).left(1.0) == pytest.approx(1.0 - spent)


def test_wbusage_shows_which_spending_is_an_estimate(kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path) -> None:
    kernel, path = kernel_with_catalog, tmp_path / "class.sqlite"
    killed = SharedSpending(path, lambda: time() - 2 * LEASE_SECONDS)
    killed.reserve("a", lambda _: 0.5, 0.25, 1.0)
    kernel.run(f"%wbconfig --budget 1 --budget-file {path} --model test/thinker")
    assert kernel.run("%wbchat --max-tokens 10 hi").ok
    text = kernel.run("%wbusage").text
    assert "The budget file counts $0.25 for calls whose kernel was killed: an estimate." in text
    assert "All kernels with this budget file have spent $" in text
    assert "$0.75 is left of the budget" in kernel.run("%wbchat --max-tokens 2000000 hi").error
    killed.settle("a", 0.0)


def test_the_file_name_is_relative_to_the_folder_where_it_was_set(
    kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path
) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    (tmp_path / "sub").mkdir()
    for number, setting in enumerate(("%wbconfig --budget-file", "%config WandbInference.budget_file =")):
        name = f"class-{number}.sqlite"
        kernel.run(f"%wbconfig --budget 1\n{setting} {name if number == 0 else repr(name)}")
        assert kernel.run("%wbchat --no-stream --max-tokens 10 hi").ok
        kernel.run("%cd -q sub")
        assert kernel.run("%wbchat --no-stream --max-tokens 10 hi").ok
        kernel.run("%cd -q ..")
        assert SharedSpending(tmp_path / name).spent() == pytest.approx(0.002)
    assert list((tmp_path / "sub").iterdir()) == []
    # The usage of this session is not that of the class.
    kernel.run("%wbusage --reset")
    error = kernel.run("%wbchat --max-tokens 2000000 hi").error
    assert "This could cost $1.0001, and $0.9980 is left" in error
    assert "start again with another --budget-file" in error


@pytest.mark.parametrize("name", ["a\0b", "~no-such-user/class.sqlite", "."])
def test_an_invalid_file_name_is_reported(tmp_path: Path, name: str) -> None:
    session = Session(WandbInference(budget=1.0, budget_file=name if name != "." else str(tmp_path)))
    with pytest.raises(InferenceError, match=r"cannot be used\."):
        _ = Command(session, dry=True).budget.left


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_the_file_is_written_counts_the_cost_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """An interrupt that arrives while the file is being written is raised when writing has ended."""
    armed = [True]

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            is_interrupted = sql == "commit" and armed.pop() if armed else False
            if is_interrupted and when == "before":
                raise KeyboardInterrupt
            done = super().execute(sql, *values)
            if is_interrupted:
                raise KeyboardInterrupt
            return done

    spending = SharedSpending(tmp_path / "class.sqlite")
    spending.reserve("a", lambda _: 0.5, 0.0, 1.0)
    spending._owed = [("", 0.25)]
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        spending.settle("a", 0.1)
    monkeypatch.undo()
    assert spending.left(1.0) == pytest.approx(1.0 - 0.35)
    spending.settle("a", 0.0)
    assert SharedSpending(tmp_path / "class.sqlite").spent() == pytest.approx(0.35)
