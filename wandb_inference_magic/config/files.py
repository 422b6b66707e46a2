"""Read files that others may have written, but no endless files and no pipes, which could block. Write files whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from ..errors import InferenceError, shortened
from ..text import same_name

# What a file system that cannot rename files reports, as one that is mounted from a cloud.
_NO_RENAMES: Final = (errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def expanded(name: str) -> Path:
    """Return the path that a user has named, with `~` replaced by the home folder, but not for an unknown user.

    A name of a file that is there can be in another form of Unicode.

    Raises
    ------
    InferenceError
        When the system takes no such name.
    """
    _check_name(name)
    return on_disk(Path(os.path.expanduser(name)))  # noqa: PTH111 - `Path.expanduser` raises for an unknown user


def on_disk(path: Path) -> Path:
    """Return a path, or the one that is there with the same name in another form of Unicode, as macOS writes it."""
    with suppress(OSError, ValueError):
        if str(path).isascii() or path == path.parent or path.exists():
            return path
        folder = on_disk(path.parent)
        return folder / (same_name(path.name, [one.name for one in folder.iterdir()]) or path.name)
    return path


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


def check_file(path: Path, most: int) -> None:
    """Check that a file is a regular one, and not too large.

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
        return
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "It is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is not a regular file")
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"It is larger than {most:,} bytes")


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

    Where files cannot be renamed, a new file is written directly.

    Raises
    ------
    OSError
        When it cannot be written, or the file that is there may not be.
    """
    # Imported when a file is written: loading the extension does not need it.
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
    _write_new(beside, data, opener)
    try:
        if not is_new:
            copy_permissions(path, beside)
        beside.replace(path)
    except OSError as error:
        # If there is a file, EPERM says that it is protected.
        if error.errno not in _NO_RENAMES and not (is_new and error.errno == errno.EPERM):
            raise
        if not is_new:
            raise OSError(error.errno, "Its file system cannot rename files: only a new file can be written") from None
        _write_new(path, data, opener)
    finally:
        with suppress(OSError):
            beside.unlink()


def _write_new(path: Path, data: bytes, opener: Callable[[str, int], int]) -> None:
    """Write a file that does not exist yet. After any error, there is none, or that of another program."""
    try:
        with open(path, "xb", opener=opener) as file:
            file.write(data)
            flush_to_disk(file)
    except FileExistsError:
        raise
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def flush_to_disk(file: BinaryIO) -> None:
    """Wait until what was written to a file is on the disk, where its file system can say so.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        # Some network shares and folders of clouds cannot.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def is_disk_full(error: Exception) -> bool:
    """Return whether an error, of the system or of SQLite, says that a disk or the user's part of it is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error)


def how_to_write(error: Exception, command: str) -> str:
    """Return what to do about a file that cannot be written. `command` is the one that names the file."""
    if is_disk_full(error):
        return f"Free some space on its disk, then name the file again: {command}."
    return f"Name a file in an existing folder that you can write to: {command}."


def copy_permissions(old: Path, new: Path) -> None:
    """Give a file the permissions of the one that it replaces, where its file system has any."""
    from shutil import copymode

    with suppress(OSError):
        copymode(old, new)
