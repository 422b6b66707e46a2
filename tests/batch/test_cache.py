"""The cache of answers: keys, failures, damage and limits."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from time import time
from types import ModuleType

import pytest
from connection_servers import Shown
from python_processes import run_python
from service import Answer as Answering, Service, completion

from wandb_inference_magic.arguments import ConfigOptions
from wandb_inference_magic.batch.cache import Answer, AnswerCache, cache_file, not_kept
from wandb_inference_magic.commands.config import configure
from wandb_inference_magic.errors import MB, InferenceWarning
from wandb_inference_magic.session import current_session

NO_DATABASE = b"This is no database, and long enough to be seen as none." * 100


def contents(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        return dict(file.execute("select question, answer from answers").fetchall())


PUT_FAILURES = """
import sys
from pathlib import Path
from shutil import rmtree
from types import ModuleType
from wandb_inference_magic.batch.cache import Answer, AnswerCache
cache = AnswerCache(Path(sys.argv[1]))
for number in range(200):
    cache.put({str(number): Answer(error="refused")})
cache.close()
"""


def test_a_failure_never_replaces_an_answer(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put({"k": Answer("good", seconds=1.5, reports=("odd",))})
    cache.put({"k": Answer("bad", error="does not fit", is_repairable=True)})
    cache.put({"k": Answer(error="refused")})
    assert cache.find(["k"]).get("k") == Answer("good", seconds=1.5, reports=("odd",))
    cache.put({"f": Answer(error="refused")})
    cache.put({"f": Answer(error="refused for another reason")})
    assert cache.find(["f"]).get("f") == Answer(error="refused for another reason")
    cache.put({"f": Answer("good")})
    assert cache.find(["f"]).get("f") == Answer("good")
    cache.close()


@pytest.mark.parametrize(("tokens", "cost"), [(15, 1.5e-6), (15, None), (0, 0.0), (None, None)])
def test_what_an_answer_took_is_kept_with_it(tmp_path: Path, tokens: int | None, cost: float | None) -> None:
    path = tmp_path / "answers.sqlite"
    given = {"k": Answer("good", tokens=tokens, cost=cost), "f": Answer(error="no", tokens=tokens, cost=cost)}
    cache = AnswerCache(path)
    cache.put(given)
    assert cache.find(["k", "f"]) == given
    cache.close()
    assert ("cost" in contents(path)["k"]) == (cost is not None)
    assert contents(path)["f"].startswith('{"error": "no"')


def test_more_answers_than_fit_one_statement_are_written_and_found(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    given = {str(number): Answer(f"answer {number}") for number in range(1000)} | {"bad": Answer(error="refused")}
    cache.put(given)
    assert cache.find([*given, "another"]) == given
    cache.close()


def test_a_failure_of_another_process_replaces_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    keys = [str(number) for number in range(200)]
    other = subprocess.Popen([sys.executable, "-c", PUT_FAILURES, str(path)])
    cache = AnswerCache(path)
    for key in keys:
        cache.put({key: Answer("good")})
    assert other.wait(60) == 0
    assert [cache.find([key]).get(key) for key in keys] == [Answer("good")] * len(keys)
    cache.close()


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(NO_DATABASE)
    Path(f"{path}{ending}").write_bytes(NO_DATABASE)
    cache = AnswerCache(path)
    cache.put({"k": Answer("good")})
    (notice,) = cache.notices
    assert str(path) in notice
    cache.close()
    assert contents(path) == {"k": '{"text": "good"}'}
    (aside,) = (one for one in tmp_path.glob("answers.sqlite.damaged-*") if not one.name.endswith("-wal"))
    assert aside.name in notice
    assert aside.read_bytes() == NO_DATABASE


@pytest.mark.parametrize("what", ["file", "folder", "moved"])
def test_answers_are_kept_in_a_new_file_if_the_file_is_gone(tmp_path: Path, what: str) -> None:
    """Someone has deleted it, or another kernel has set it aside because it was damaged."""
    path = tmp_path / "cache" / "answers.sqlite"
    cache = AnswerCache(path)
    cache.put({"before": Answer("good")})
    if what == "folder":
        rmtree(path.parent)
    elif what == "file":
        path.unlink()
    else:
        path.replace(path.with_name("aside"))
    cache.put({"k": Answer("good")})
    cache.close()
    assert contents(path) == {"k": '{"text": "good"}'}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_forked_child_keeps_is_on_disk(tmp_path: Path) -> None:
    """SQLite in the child would take the file for one that it holds already, and the parent would delete its log."""
    path, (begun, begins), (closed, closes) = tmp_path / "answers.sqlite", os.pipe(), os.pipe()
    cache = AnswerCache(path)
    cache.put({"parent's": Answer("good")})
    pid = os.fork()
    if pid == 0:
        childs = AnswerCache(path)
        childs.put({"child's": Answer("good")})
        os.write(begins, b".")
        os.read(closed, 1)
        childs.put({"child's last": Answer("good")})
        os._exit(0)
    os.read(begun, 1)
    cache.close()
    os.write(closes, b".")
    os.waitpid(pid, 0)
    assert set(contents(path)) == {"parent's", "child's", "child's last"}


def test_a_file_with_another_table_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("create table answers (a, b)")
    cache = AnswerCache(path)
    cache.put({"k": Answer("good")})
    cache.close()
    assert "other columns" in cache.notices[0]
    assert len(list(tmp_path.glob("answers.sqlite.damaged-*"))) == 1


def test_a_file_that_is_damaged_while_it_is_open_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    for number in range(300):
        cache.put({f"{number:064}": Answer("x" * 1000)})
    cache.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    cache = AnswerCache(path)
    assert cache.find([f"{5:064}"]).get(f"{5:064}") is None
    cache.put({"k": Answer("good")})
    assert cache.find(["k"]).get("k") == Answer("good")
    assert "malformed" in cache.notices[0]
    assert len(cache.notices) == 1
    cache.close()


def test_the_least_recently_used_answers_go_when_the_cache_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    for run in range(4):
        cache = AnswerCache(path, most_mb=1)
        for number in range(30):
            cache.put({f"{run} {number}": Answer("x" * 10_000)})
        cache.close()
    left = contents(path)
    assert path.stat().st_size <= MB
    assert {f"3 {number}" for number in range(30)} <= set(left)
    assert not any(key.startswith("0 ") for key in left)


def test_what_the_last_run_used_is_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    for number in range(300):
        cache.put({str(number): Answer("x" * 10_000)})
    cache.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("update answers set kept_at = 0")
    cache = AnswerCache(path, most_mb=1, most_days=1)
    used = [str(number) for number in range(200)]
    for key in used:
        assert cache.find([key]).get(key)
    cache.close()
    assert set(contents(path)) == set(used)


def test_answers_have_no_age_limit_unless_one_is_set(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    cache.put({"old": Answer("good")})
    cache.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("update answers set kept_at = 0")
    AnswerCache(path, most_mb=1).close()
    assert set(contents(path)) == {"old"}
    AnswerCache(path, most_days=30).close()
    assert contents(path) == {}


def test_an_answer_of_a_run_whose_clock_was_ahead_is_not_the_last_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    cache.put({"ahead": Answer("good")})
    cache.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("update answers set kept_at = kept_at + 1e9")
        before = time()
        AnswerCache(path, most_days=30).close()
        assert before <= file.execute("select kept_at from answers").fetchone()[0] <= time()


def test_a_cleared_cache_is_empty_and_small(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    for number in range(100):
        cache.put({str(number): Answer("x" * 10_000)})
    assert cache.facts()[0] == 100
    assert cache.clear() == 100
    assert cache.facts() == (0, None)
    assert cache.size() < 20_000
    cache.close()


def test_wbconfig_shows_and_clears_the_cache(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")
    api.map_prompts(list("abc"), "{{ text }}")
    session, canvas = current_session(), Shown()

    def run(**options: object) -> str:
        configure(session, ConfigOptions(**options), canvas)  # type: ignore[arg-type]
        return canvas.text

    shown = run(cache="show")
    for part in ("answers.sqlite", "3", "MB", "oldest use", "at most 1,000 MB (cache_mb)", "any age"):
        assert part in shown
    with closing(sqlite3.connect(cache_file(), isolation_level=None)) as file:
        for odd in (1e300, -1e300, "soon"):
            file.execute("update answers set kept_at = ?", (odd,))
            assert re.search(r"oldest use\W+unknown", run(cache="show"))
    assert "3 answers deleted." in run(cache="clear")
    assert "0 answers deleted." in run(cache="clear")
    session.settings.set(cache_mb=None, cache_days=30)
    assert "any size, unused for at most 30 days (cache_days)" in run(cache="show")
    api.map_prompts(list("abc"), "{{ text }}")
    assert len(service.chats) == 6


def test_a_full_disk_is_said_and_what_helps(api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    service.always = completion("yes")
    monkeypatch.setattr(AnswerCache, "put", full)
    with pytest.warns(InferenceWarning, match=r"no longer kept.*disk is full\. Free some space on its disk\."):
        assert api.map_prompts(["a"], "{{ text }}")["reply"].tolist() == ["yes"]


def test_without_a_home_folder_a_map_runs_and_says_that_answers_are_not_kept(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_path", no_home)
    service.always = completion("yes")
    with pytest.warns(InferenceWarning, match="Answers are not kept on disk: .*home directory"):
        out = api.map_prompts(["a"], "{{ text }}")
    assert out["reply"].tolist() == ["yes"]


@pytest.mark.parametrize(
    ("error", "notice"),
    [
        (
            PermissionError(13, "Permission denied", "/home/.cache"),
            "Permission denied (/home/.cache). Set XDG_CACHE_HOME",
        ),
        (sqlite3.OperationalError("unable to open database file"), "unable to open database file. Set XDG_CACHE_HOME"),
        (sqlite3.OperationalError("database is locked"), "database is locked."),
        (OSError(28, "No space left on device", "/c"), "No space left on device (/c). Free some space on its disk."),
    ],
)
def test_a_cache_that_cannot_be_used_says_what_to_do(error: Exception, notice: str) -> None:
    assert not_kept(error).startswith(f"Answers are not kept on disk: {notice}")


MAPPED = "from wandb_inference_magic import map_prompts\nmap_prompts(list('abcde'), '{{ text }}', concurrency=1)"


def test_what_another_process_has_answered_meanwhile_is_not_asked_again(api: ModuleType, service: Service) -> None:
    """A run of one row at a time: while its first row is answered, another process asks for all of them."""
    others: list[subprocess.CompletedProcess[str]] = []

    def answer(one: Answering) -> None:
        if not others:
            others.append(subprocess.CompletedProcess("", 0))
            others[0] = run_python("-c", MAPPED, environment=os.environ)
        completion("Good.")(one)

    service.always = answer
    assert api.map_prompts(list("abcde"), "{{ text }}", concurrency=1).reply.tolist() == ["Good."] * 5
    assert others[0].returncode == 0, others[0].stderr
    assert len(service.chats) == 6
