"""The settings of a process in a file, for its child processes."""

from __future__ import annotations

import atexit
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..concurrency import has_children
from ..config import cache_folder, read_file, replace_file

MAX_BYTES: Final = 1_000_000


class SettingsFile:
    """The settings of a process, in a file for its child processes: those of joblib, for example, outlive a cell.

    A file that cannot be written or read is not reported: the children then keep the settings with which they began.

    Parameters
    ----------
    name : str, optional
        Its name in the user's cache folder, which the parent process has handed down.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"{os.urandom(16).hex()}.json"
        self._facts: dict[str, Any] | None = None
        # The process that has written it.
        self._writer = 0
        self._read_at = 0

    def write(self, facts: dict[str, Any]) -> None:
        """Write settings that have changed, if child processes are running: others get them when they start."""
        has_changed, self._facts = self._facts not in (None, facts), facts
        if has_changed and has_children():
            try:
                data = json.dumps(facts).encode()
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_file(self._path, data)
                if not self._writer:
                    self._writer = os.getpid()
                    atexit.register(self.remove)
            except (OSError, TypeError):
                # The file that is there has settings that no longer hold.
                self.remove()

    def read(self) -> dict[str, Any] | None:
        """Return the settings of the parent process if they were written since the last look; else None."""
        with suppress(OSError, ValueError):
            written_at = self._path.stat().st_mtime_ns
            if written_at != self._read_at:
                facts = json.loads(read_file(self._path, MAX_BYTES))
                self._read_at = written_at
                return facts if isinstance(facts, dict) else None
        return None

    def remove(self) -> None:
        """Remove the file, if this process has written it."""
        if self._writer == os.getpid():
            atexit.unregister(self.remove)
            self._writer = 0
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return cache_folder() / "settings" / self.name
