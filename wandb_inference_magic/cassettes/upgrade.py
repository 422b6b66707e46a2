"""A cassette of version 1 is written again as version 2, before something is added to it."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EEXIST, EFBIG
from shutil import copymode
from time import sleep
from typing import TYPE_CHECKING, BinaryIO, Final

from ..text import json_bytes, read_json_text
from .file import MOST_FILE, MOST_LINE, VERSION, lines_of, read_line, version_of

if TYPE_CHECKING:
    from pathlib import Path

# How often, and how long each time, a kernel waits for another that writes the file again. In seconds.
WAITS: Final = 200
WAIT: Final = 0.05


def rewrite(path: Path) -> None:
    """Write a file of version 1 again as version 2, in a file beside it that is then renamed.

    Each kernel does so before it adds its first line, and one at a time: whoever makes the file beside it goes first.
    So no line is added to a file that is about to be replaced. What cannot be read keeps its line.

    Raises
    ------
    OSError
        When it cannot be written, or would be too large. The file is as it was.
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
                    if new.tell() > MOST_FILE:
                        raise OSError(EFBIG, f"As version {VERSION} it would be too large")
                new.flush()
                os.fsync(new.fileno())
        if is_old:
            copymode(path, beside)
            beside.replace(path)
        else:
            # Another kernel has done it.
            beside.unlink()
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _create(path: Path) -> BinaryIO:
    """Make a file; where another kernel has made it, wait until it is gone."""
    for _ in range(WAITS):
        with suppress(FileExistsError):
            return path.open("xb")
        sleep(WAIT)
    raise FileExistsError(EEXIST, f"{path.name} is there: delete it, if no other kernel is writing it")


def _rewritten(line: bytes) -> bytes:
    """Return a line of version 1 as one of version 2; one that is no exchange, as it is."""
    try:
        exchange = read_line(line, 1)
    except ValueError:
        # Without its end it is what a crash left.
        return line if line.endswith(b"\n") else b""
    if exchange is None or not exchange.events:
        return line.removesuffix(b"\n") + b"\n"
    members = read_json_text(line)
    members["reply"]["events"] = exchange.events
    try:
        size = len(line)
        for event in exchange.events:
            size += len(json_bytes(event))
            if size > MOST_LINE:
                raise ValueError("too large")
        written = json_bytes(members) + b"\n"
        read_line(written, VERSION)
    except ValueError:
        raise OSError(EFBIG, f"As version {VERSION} a line of it would be too large") from None
    return written
