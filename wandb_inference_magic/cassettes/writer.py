"""Append lines to the file of a cassette, which other kernels may be writing to."""

from __future__ import annotations

import os
from errno import ENOSPC
from os import SEEK_END
from typing import TYPE_CHECKING

from ..config import replace_file
from .file import HEADER, VERSION, read_cassette
from .upgrade import rewrite

if TYPE_CHECKING:
    from pathlib import Path


class CassetteWriter:
    """Writes to a cassette.

    Parameters
    ----------
    path : Path
        The file. Its folder is not created.
    starts_over : bool
        Whether the first line replaces what is in the file.
    """

    def __init__(self, path: Path, *, starts_over: bool) -> None:
        self._path, self._starts_over = path, starts_over
        self._is_prepared = False

    @property
    def can_write(self) -> bool:
        """Whether the file may be written to, or made if there is none."""
        return os.access(self._path if self._path.exists() else self._path.parent, os.W_OK)

    def write(self, line: bytes) -> None:
        """Append a line in a single write, because another kernel may be adding to the file.

        Raises
        ------
        OSError
            When it cannot be written as a whole.
        InferenceError
            When the file is not a cassette any more.
        """
        if not self._is_prepared:
            if self._starts_over:
                # An earlier take is kept until the first exchange of this one is on disk.
                replace_file(self._path, HEADER + line)
                self._is_prepared = True
                return
            self._prepare()
            self._is_prepared = True
        with self._path.open("ab", buffering=0) as file:
            if not file.seek(0, SEEK_END):
                # The file was deleted, or replaced by an empty one.
                line = HEADER + line
            written = file.write(line) or 0
            if written < len(line):
                # The disk is full. What follows a part of a line could not be read.
                if (end := file.tell()) == file.seek(0, SEEK_END):
                    file.truncate(end - written)
                raise OSError(ENOSPC, os.strerror(ENOSPC))

    def _prepare(self) -> None:
        """Write the header of a new file, or cut off a last line left by a crash."""
        self._path.touch()
        found = read_cassette(self._path)
        if found.version < VERSION:
            rewrite(self._path)
            return
        with self._path.open("r+b") as file:
            size = file.seek(0, SEEK_END)
            # If the file is larger than when it was read, another kernel has added to it.
            keep = found.whole if size == found.size else size
            if keep < size:
                file.truncate(keep)
            file.seek(max(0, keep - 1))
            if not keep:
                file.write(HEADER)
            elif file.read(1) != b"\n":
                file.write(b"\n")
