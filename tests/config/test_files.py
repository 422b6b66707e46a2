"""Files are replaced whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from versions import BEFORE_3_11

from wandb_inference_magic.batch.cache import AnswerCache, not_kept
from wandb_inference_magic.concurrency import deferred_interrupts
from wandb_inference_magic.config import absolute, expanded, replace_file, wait_for_lock
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import settings_file
from wandb_inference_magic.spending import SharedSpending


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("old")
    path.chmod(0o640)
    replace_file(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_after_an_error_the_old_file_is_unchanged_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.md"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("real")
    replace_file(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    replace_file(Path(os.devnull), b"x")
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path, b"x")


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    # The superuser may write every file.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        replace_file(path, b"new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["a\0b", "\ud800.md"])
def test_a_name_that_the_system_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(InferenceError, match=r"The file name .* cannot be used\."):
        expanded(name)


def test_a_name_outside_the_systems_encoding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with LANG=C and without Python's UTF-8 mode."""
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    with pytest.raises(InferenceError, match=r"file names are in ascii, which does not have '\\xfc'"):
        expanded("über.md")
    assert expanded("a.md") == Path("a.md")


def test_a_relative_path_needs_a_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert absolute(Path("a")) == folder / "a"
    folder.rmdir()
    assert absolute(tmp_path) == tmp_path
    with pytest.raises(InferenceError, match="no longer exists"):
        absolute(Path("a"))


@pytest.mark.parametrize("call", ["fsync", "chmod"])
def test_a_file_system_without_permissions_or_flushes_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """As folders of clouds and network shares are: gcsfuse, Mountpoint for S3, CIFS."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL if call == "fsync" else errno.EPERM, "not here")

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, refuse)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(BEFORE_3_11, reason="the methods of Path keep the functions that they call")
@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EPERM])
def test_a_file_system_that_cannot_rename_takes_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As Mountpoint for S3. A file that is there stays, and the error says why it does."""

    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    path = tmp_path / "a"
    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    replace_file(path, b"old")
    assert path.read_bytes() == b"old"
    # That of a file that is protected is the system's own.
    with pytest.raises(OSError, match="refused" if code == errno.EPERM else "cannot rename files: only a new file"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_settings_that_cannot_be_replaced_are_not_left_for_child_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that start later would read them in place of the later ones, with which they begin."""
    monkeypatch.setattr(settings_file, "has_children", lambda: True)
    monkeypatch.setattr(settings_file, "cache_folder", lambda: tmp_path)
    written = settings_file.SettingsFile()
    for number in range(2):
        written.write({"number": number})
    read = settings_file.SettingsFile(written.name)
    assert read.read() == {"number": 1}

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "refused")

    monkeypatch.setattr(Path, "replace", refuse)
    written.write({"number": 2})
    assert settings_file.SettingsFile(written.name).read() is None
    written.write({"number": 3})
    assert read.read() == {"number": 3}
    written.remove()


def test_a_full_disk_is_an_error_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


class Locked:
    """Work with a file of SQLite that cannot be done in its first tries."""

    def __init__(self, times: int, message: str = "database is locked") -> None:
        self.left = times
        self._message = message

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise sqlite3.OperationalError(self._message)
        return "done"


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    assert wait_for_lock(tmp_path / "a.sqlite", Locked(2)) == "done"


# What SQLite says of the errors that a network file system without its lock service gives, or with a stale one.
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOLCK, "database is locked"),
        (errno.EAGAIN, "database is locked"),
        (errno.EACCES, "database is locked"),
        (errno.EIO, "disk I/O error"),
        (errno.ESTALE, "disk I/O error"),
        (errno.ENOSYS, "disk I/O error"),
    ],
)
def test_a_file_system_without_locks_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    work = Locked(9, message)
    with pytest.raises(sqlite3.OperationalError, match=r"a\.sqlite: its file system has no locks") as raised:
        wait_for_lock(tmp_path / "a.sqlite", work)
    assert os.strerror(code) in str(raised.value)
    assert "Set XDG_CACHE_HOME to a folder on a local disk" in not_kept(raised.value)
    assert work.left == 8


def test_a_disk_that_fails_is_not_one_without_locks(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match=r"^disk I/O error$"):
        wait_for_lock(tmp_path / "a.sqlite", Locked(1, "disk I/O error"))


@pytest.mark.parametrize("use", [AnswerCache, lambda path: SharedSpending(path).left(1.0)])
def test_an_interrupt_ends_the_wait_for_a_locked_file(tmp_path: Path, use: Callable[[Path], object]) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(KeyboardInterrupt), deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            use(path)
            pytest.fail("not interrupted")
