"""Answers that were paid for, kept on disk: what is asked again in just the same way is not sent again."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Final

from .plain_text import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER: Final = "wandb_inference_magic"
FILE: Final = "answers.sqlite"
# Another kernel may be writing.
PATIENCE_SECONDS: Final = 30.0
_TABLE: Final = """
create table if not exists answers (
    question text primary key, answer text not null, kept_at real not null
) without rowid
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: its text and how long it took, or why it failed for good (`error`)."""

    text: str = ""
    error: str = ""
    seconds: float = 0.0


def key_of(endpoint: str, body: Mapping[str, Any]) -> str:
    """Return the key of a question: a digest of everything that shapes its answer. It holds no word of it."""
    # What is no JSON is refused when it is sent, and told there.
    asked = json.dumps([endpoint, body], ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr)
    return sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()


def cache_file() -> Path:
    """Return where the cache is: in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path(FOLDER, appauthor=False) / FILE


class AnswerCache:
    """A file of answers by their questions' keys. Several threads and several kernels may use it at once.

    Parameters
    ----------
    path : Path
        Made with its folder where it is not there, readable by the user alone.

    Raises
    ------
    OSError, sqlite3.Error
        When it cannot be made or opened, here and in every method.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._lock = Lock()
        # Each statement is a transaction of its own: what was written outlives a kernel that is killed.
        self._file = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._file.execute("pragma journal_mode = wal")
            # Safe against a crash of this program; a crash of the machine may lose the last answers.
            self._file.execute("pragma synchronous = normal")
            self._file.execute(_TABLE)
        except sqlite3.Error:
            self._file.close()
            raise

    def get(self, key: str) -> Answer | None:
        """Return the answer kept under a key, if there is one that can be read."""
        with self._lock, closing(self._file.execute("select answer from answers where question = ?", (key,))) as found:
            row = found.fetchone()
        return _read(row[0]) if row else None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer, in the place of an earlier one."""
        kept = {name: value for name, value in asdict(answer).items() if value}
        # Half a character, such as of an error that quotes one, has no UTF-8 form.
        row = (key, whole(json.dumps(kept, ensure_ascii=False)), time())
        with self._lock:
            self._file.execute("insert or replace into answers values (?, ?, ?)", row).close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _read(kept: str) -> Answer | None:
    try:
        return Answer(**json.loads(kept))
    except (ValueError, TypeError):
        # Another version of this package has written it.
        return None
