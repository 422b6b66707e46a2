"""Convert a cassette from version 1 to version 2 before an exchange is added to it."""

from __future__ import annotations

from contextlib import suppress
from errno import EEXIST, EFBIG
from pathlib import Path
from time import sleep
from typing import BinaryIO, Final

from ..config import copy_permissions, flush_to_disk
from ..text import json_bytes, read_json_text
from .file import MAX_FILE_BYTES, MAX_LINE_BYTES, VERSION, lines_of, read_line, version_of

# How many times a kernel waits for another one that is converting the file, and how long each time, in seconds.
WAITS: Final = 200
WAIT: Final = 0.05


def rewrite(path: Path) -> None:
    """Convert a file from version 1 to version 2, in a file beside it that is then renamed.

    Each kernel does so before it adds its first line, one kernel at a time: the kernel that creates the file beside it
    goes first. So no line is added to a file that is about to be replaced. A line that cannot be read is kept.

    Raises
    ------
    OSError
        If the file cannot be written, or would be too large. The original file is unchanged.
    """
    path = path.resolve()
    beside = path.with_name(f"{path.name}.new")
    new = _create(beside)
    try:
        with new, path.open("rb") as old:
            lines = lines_of(old)
            header, _ = next(lines, (b"", 0))
            is_old = version_of(path, header) < VERSION
            if is_old:
                new.write(json_bytes(read_json_text(header) | {"cassette": VERSION}) + b"\n")
                for line, _ in lines:
                    new.write(_rewritten(line))
                    if new.tell() > MAX_FILE_BYTES:
                        raise OSError(EFBIG, f"As version {VERSION} it would be too large")
                flush_to_disk(new)
        if is_old:
            copy_permissions(path, beside)
            beside.replace(path)
        else:
            # Another kernel has already converted the file.
            beside.unlink()
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _create(path: Path) -> BinaryIO:
    """Create a file. If another kernel has created it, wait until it is gone."""
    for _ in range(WAITS):
        with suppress(FileExistsError):
            return path.open("xb")
        sleep(WAIT)
    raise FileExistsError(EEXIST, f"{path.name} exists: delete it if no other kernel is writing to it")


def _rewritten(line: bytes) -> bytes:
    """Return a line of version 1 as a line of version 2. A line that is not an exchange is returned unchanged."""
    try:
        exchange = read_line(line, 1)
    except ValueError:
        # A line without a line end was left unfinished by a crash.
        return line if line.endswith(b"\n") else b""
    if exchange is None or not exchange.events:
        return line.removesuffix(b"\n") + b"\n"
    members = read_json_text(line)
    members["reply"]["events"] = exchange.events
    try:
        size = len(line)
        for event in exchange.events:
            size += len(json_bytes(event))
            if size > MAX_LINE_BYTES:
                raise ValueError("too large")
        written = json_bytes(members) + b"\n"
        read_line(written, VERSION)
    except ValueError:
        raise OSError(EFBIG, f"As version {VERSION} a line of it would be too large") from None
    return written
