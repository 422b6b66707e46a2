"""A cache on disk of the answers that were paid for: an identical request is not sent again."""

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

from ..config import check_file
from ..text import read_json_text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER: Final = "wandb_inference_magic"
FILE: Final = "answers.sqlite"
# In bytes. A row that is larger is not read.
MOST_FILE: Final = 10**12
LONGEST_ANSWER: Final = 64_000_000
# How long to wait while another kernel is writing.
PATIENCE_SECONDS: Final = 30.0
_TABLE: Final = """
create table if not exists answers (
    question text primary key, answer text not null, kept_at real not null
) without rowid
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one request: its text and how long it took, or why it failed permanently (`error`)."""

    text: str = ""
    error: str = ""
    seconds: float = 0.0


def key_of(endpoint: str, body: Mapping[str, Any]) -> str:
    """Return the key of a request: a digest of everything that shapes its answer. It does not contain the request."""
    # A value that is not JSON is refused when the request is sent, and reported there.
    asked = json.dumps([endpoint, body], ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr)
    return sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()


def cache_file() -> Path:
    """Return the path of the cache, in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path(FOLDER, appauthor=False) / FILE


class AnswerCache:
    """A file of answers, stored by the keys of their requests. Several threads and several kernels may use it at once.

    Parameters
    ----------
    path : Path
        The file. It is created with its folder if it does not exist, readable only by the user.

    Raises
    ------
    OSError, sqlite3.Error
        If the file cannot be created or opened. Every method can raise these.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        check_file(path, MOST_FILE)
        self._lock = Lock()
        # Each statement is its own transaction, so that a written answer survives if the kernel is killed.
        self._file = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
        # Text that is not UTF-8 is not an answer, but must not raise an error.
        self._file.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            self._file.execute("pragma journal_mode = wal")
            # This is safe if this program crashes. If the machine crashes, the last answers may be lost.
            self._file.execute("pragma synchronous = normal")
            self._file.execute(_TABLE)
        except sqlite3.Error as error:
            self._file.close()
            raise sqlite3.DatabaseError(f"{path}: {error}") from None

    def get(self, key: str) -> Answer | None:
        """Return the answer stored under a key, or None if there is none that can be read."""
        asked = "select answer from answers where question = ? and length(answer) <= ?"
        with self._lock, closing(self._file.execute(asked, (key, LONGEST_ANSWER))) as found:
            row = found.fetchone()
        return _read(row[0]) if row else None

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer. It replaces an earlier one."""
        kept = {name: value for name, value in asdict(answer).items() if value}
        # A lone surrogate, for example in an error that quotes one, cannot be encoded as UTF-8.
        row = (key, whole(json.dumps(kept, ensure_ascii=False)), time())
        with self._lock:
            self._file.execute("insert or replace into answers values (?, ?, ?)", row).close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _read(kept: object) -> Answer | None:
    """Return the answer in a row, or None if another version of this package or another program wrote the row."""
    try:
        found = read_json_text(kept) if isinstance(kept, str) else None
    except ValueError:
        return None
    if not isinstance(found, dict) or not found.keys() <= {"text", "error", "seconds"}:
        return None
    text, error, seconds = found.get("text", ""), found.get("error", ""), found.get("seconds", 0.0)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
    return (
        Answer(text, error, float(seconds)) if isinstance(text, str) and isinstance(error, str) and is_number else None
    )
