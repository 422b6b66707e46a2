"""Reading files that others may have written: never endless, never a pipe that has no end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def expanded(name: str) -> Path:
    """Return a path with a home folder in the place of `~`; one of a user who is not there stays as it is."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def check_file(path: Path, most: int) -> int:
    """Return the size of a regular file in bytes.

    Parameters
    ----------
    path : Path
        The null device counts as an empty file.
    most : int
        The largest size that is accepted.

    Raises
    ------
    OSError
        When it is not there, is no regular file, or is larger.
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
    """Return what a regular file holds, at most so many bytes.

    Raises
    ------
    OSError
        When it cannot be read, is no regular file, or is larger.
    """
    check_file(path, most)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        # It has grown meanwhile, or is one of the system's that do not tell their size.
        raise OSError(errno.EFBIG, f"It is larger than {most:,} bytes")
    return data
