"""Read files that others may have written, but no endless files and no pipes, which could block. Write files whole.

Wait for other programs that use a file of SQLite.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from ..concurrency import check_interrupts, wait
from ..errors import InferenceError, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# How long SQLite itself waits for a lock, which no interrupt ends, and how long `wait_for_lock` waits in all.
LOCK_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 15.0
LOCK_PAUSE_SECONDS: Final = 0.02


def expanded(name: str) -> Path:
    """Return the path that a user has named, with `~` replaced by the home folder, but not for an unknown user.

    Raises
    ------
    InferenceError
        When the system takes no such name.
    """
    _check_name(name)
    return Path(os.path.expanduser(name))  # noqa: PTH111 - `Path.expanduser` raises for an unknown user


def _check_name(name: str) -> None:
    why, remedy = "", ""
    if "\0" in name:
        why, remedy = "It contains a null character.", "Leave that out."
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        why = f"In this Python, file names are in {error.encoding}, which does not have {name[error.start]!a}."
        remedy = "Name the file without it, or set PYTHONUTF8=1 in the environment and start Jupyter again."
    if why:
        raise InferenceError(f"The file name {shortened(ascii(name))} cannot be used.", why=why, remedy=remedy)


def working_folder() -> Path:
    """Return the folder in which this process works. Raises InferenceError when it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        raise InferenceError(
            "The folder in which this kernel works no longer exists.",
            remedy="Go to another folder (%cd FOLDER), or name the file with its full path.",
        ) from None


def absolute(path: Path) -> Path:
    """Return a path that begins at the root. Raises InferenceError as `working_folder` does."""
    return path if path.is_absolute() else working_folder() / path


def cache_folder() -> Path:
    """Return the folder in which this package keeps what it may lose, such as answers.

    Raises
    ------
    OSError
        When this user has no home folder.
    """
    # Imported when a file is used: loading the extension needs none.
    from platformdirs import user_cache_path

    try:
        return user_cache_path("wandb_inference_magic", appauthor=False)
    except RuntimeError as error:
        raise OSError(errno.ENOENT, f"there is no folder for it ({error})") from None


def check_file(path: Path, most: int) -> int:
    """Return the size of a regular file in bytes.

    Parameters
    ----------
    path : Path
        The file. The null device counts as an empty file.
    most : int
        The largest accepted size in bytes.

    Raises
    ------
    OSError
        When the file does not exist, is not a regular file, or is larger.
    """
    if str(path) == os.devnull:
        return 0
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "It is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is not a regular file")
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"It is larger than {most:,} bytes")
    return found.st_size


def read_file(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises
    ------
    OSError
        When the file cannot be read, is not a regular file, or is larger.
    """
    check_file(path, most)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        # The file has grown since the check, or is a system file that does not report its size.
        raise OSError(errno.EFBIG, f"It is larger than {most:,} bytes")
    return data


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside `path` and rename it. After any error, the file that was there is unchanged.

    Raises
    ------
    OSError
        When it cannot be written, or the file that is there may not be.
    """
    # Imported when a file is written: loading the extension needs neither.
    from shutil import copymode
    from uuid import uuid4

    # A link stays a link.
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A pipe or a device, such as /dev/stdout. A folder raises an error.
        path.write_bytes(data)
        return
    is_new = not path.exists()
    if not is_new and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "The file cannot be written")
    beside = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.new")
    # Others may read it no sooner than they may read the file that it replaces.
    opener = partial(os.open, mode=0o666 if is_new else 0o600)
    try:
        with open(beside, "xb", opener=opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not is_new:
            copymode(path, beside)
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def wait_for_lock(path: Path, work: Callable[[], T]) -> T:
    """Do `work` with the file of SQLite at `path`, again while other programs have locked it. Return its result.

    An interrupt ends the wait, unlike one that SQLite waits itself: open the file with `timeout=LOCK_SECONDS`.

    Raises
    ------
    sqlite3.Error
        What `work` raises. Also at once when the file system has no locks, which SQLite takes for a lock of another
        program.
    """
    import sqlite3

    until = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if "database is locked" not in str(error) or monotonic() > until:
                raise
        if why := _why_no_locks(path.parent):
            raise sqlite3.OperationalError(f"{path}: its file system has no locks ({why})")
        check_interrupts()
        # Some locks SQLite does not wait for.
        wait(LOCK_PAUSE_SECONDS)


def _why_no_locks(folder: Path) -> str:
    """Return why files in a folder cannot be locked, as on NFS without its lock service; empty if they can be."""
    if os.name != "posix":
        return ""
    from fcntl import LOCK_EX, lockf
    from tempfile import TemporaryFile

    try:
        # Another file: to close the one that is in use would end the locks that this process has on it.
        with TemporaryFile(dir=folder) as file:
            lockf(file, LOCK_EX)
    except OSError as error:
        return os.strerror(error.errno) if error.errno == errno.ENOLCK else ""
    return ""
