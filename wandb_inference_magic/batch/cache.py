"""A cache on disk of the answers that were paid for: an identical request is not sent again."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from ..concurrency import close_in_forks
from ..config import LOCK_SECONDS, cache_folder, check_file, is_disk_full, wait_for_lock
from ..errors import MB, quoted, shortened
from ..text import without_surrogates
from .kept import Kept, Paid

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter

    from ..config import Resolved
    from .spec import RunPart

T = TypeVar("T")

FILE: Final = "answers.sqlite"
# In bytes. A row that is larger is not read.
MAX_FILE: Final = 10**12
MAX_ANSWER_BYTES: Final = 64_000_000
# The most keys in one statement: older versions of SQLite take 999 values.
MAX_AT_ONCE: Final = 300
# When the cache is too large, so much of its limit stays, so that not every run has to delete answers.
SHARE_LEFT: Final = 0.8
# The size of a row besides its answer, in bytes.
ROW_BYTES: Final = 120
COLUMNS: Final = ["question", "answer", "kept_at"]
# `kept_at` is when a run last used the answer. Version 0.1.0 writes the same three columns.
_TABLE: Final = """
create table if not exists answers (
    question text primary key, answer text not null, kept_at real not null
) without rowid
"""
# Which part of a run, such as a partition of Dask, has a row with this key.
_CLAIMS: Final = """
create table if not exists claims (
    run text, question text, part integer not null, made_at real not null, primary key (run, question)
) without rowid
"""
SECONDS_OF_CLAIMS: Final = 86_400.0
# Another process may have received an answer to the same request since a run looked: a failure does not replace it.
_REPLACES: Final = """
on conflict (question) do update set answer = excluded.answer, kept_at = excluded.kept_at
where excluded.answer not like '{"error": %' or answers.answer like '{"error": %'
"""
_OLDEST: Final = """
select question, length(answer) from answers
where question not in (select question from used) order by kept_at
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one request: its text and how long it took, or why it failed permanently (`error`).

    `reports` says what may be missing of the text. Beside an error, the text is the answer that did not fit its schema,
    or as much of it as came (`is_cut`). `tokens` and `cost` (in USD) are those of all calls for it; None if they are
    not known, as those of earlier versions. These members are what is stored; `kept` says what they mean.
    """

    # A row with other members is not read.
    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    text: str = ""
    error: str = ""
    seconds: float = 0.0
    reports: tuple[str, ...] = ()
    is_cut: bool = False
    is_repairable: bool = False
    tokens: int | None = None
    cost: float | None = None

    @classmethod
    def failure(cls, kept: Kept, text: str, error: str, paid: Paid) -> Answer:
        """Return what is stored of a failure. One without a text can only be reported, unless the reply was empty."""
        has_text = bool(text)
        is_repairable = kept is (Kept.UNREPAIRED if has_text else Kept.EMPTY)
        return cls(
            text,
            error,
            is_cut=has_text and kept is Kept.FAILED,
            is_repairable=is_repairable,
            tokens=paid.tokens,
            cost=paid.cost,
        )

    @property
    def paid(self) -> Paid:
        """What it took."""
        return Paid(self.tokens, self.cost)

    @property
    def kept(self) -> Kept:
        """What it is to a run that finds it."""
        if not self.text and self.is_repairable:
            return Kept.EMPTY
        if not self.error:
            return Kept.ANSWER
        if not self.text or self.is_cut:
            return Kept.FAILED
        return Kept.UNREPAIRED if self.is_repairable else Kept.UNFIT


def cache_file() -> Path:
    """Return the path of the cache, in the user's cache folder."""
    return cache_folder() / FILE


def open_cache(settings: Resolved, *, makes: bool = True) -> tuple[AnswerCache | None, tuple[str, ...]]:
    """Return the cache, or None and the notice that says why it cannot be used. `makes`: make one if there is none."""
    try:
        path = cache_file()
        return AnswerCache(path, settings.cache_mb, settings.cache_days) if makes or path.exists() else None, ()
    except (OSError, sqlite3.Error) as error:
        return None, (not_kept(error),)


def not_kept(error: Exception, *, more: str = "not") -> str:
    """Return the notice that answers are not kept, or `no longer`."""
    reason, remedy = str(error), ""
    if isinstance(error, OSError) and error.strerror and error.filename:
        reason = f"{error.strerror} ({error.filename})"
    if is_disk_full(error):
        remedy = " Free some space on its disk."
    elif isinstance(error, OSError) or re.search("unable to open|readonly|no locks|locked|disk I/O error", reason):
        remedy = " Set XDG_CACHE_HOME to a folder on a local disk that you can write to, before the kernel starts."
    return f"Answers are {more} kept on disk: {quoted(reason)}.{remedy}"


class AnswerCache:
    """A file of answers, stored by the keys of their requests. Several threads and several kernels may use it at once.

    A damaged file is renamed, and a new one is begun; `notices` says so.

    Parameters
    ----------
    path : Path
        The file. It is created with its folder if it does not exist, readable only by the user.
    most_mb : int, optional
        The largest size in MB. When the cache is closed, it deletes the answers that were not used for the longest
        time. It never deletes what was used since it was opened.
    most_days : float, optional
        After how many days an answer that is not used is deleted.

    Raises
    ------
    OSError, sqlite3.Error
        If the file cannot be created or opened. Every method can raise these.
    """

    def __init__(self, path: Path, most_mb: int | None = None, most_days: float | None = None) -> None:
        self.path = path
        self.notices: list[str] = []
        self._most_bytes = None if most_mb is None else most_mb * MB
        self._most_seconds = None if most_days is None else most_days * 86_400
        self._lock = Lock()
        self._used: set[str] = set()
        # None while it is closed: between two uses, a fork closes it.
        self._file: sqlite3.Connection | None = None
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
        close_in_forks(self)

    def before_fork(self) -> None:
        """Close the file: SQLite in a child process would take it for one that the child holds, and lock nothing."""
        self._lock.acquire()
        self._close_file()

    def after_fork(self) -> None:
        """Allow the file to be opened again."""
        self._lock.release()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self) -> sqlite3.Connection:
        return wait_for_lock(self.path, self._connect)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        check_file(self.path, MAX_FILE)
        self._inode = self.path.stat().st_ino
        # Each statement is its own transaction, so that a written answer survives if the kernel is killed.
        file = sqlite3.connect(self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        # Text that is not UTF-8 is not an answer, but must not raise an error.
        file.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            # This does not wait. The mode belongs to the file: it is enough if another kernel is setting it.
            with suppress(sqlite3.OperationalError):
                file.execute("pragma journal_mode = wal")
            # This is safe if this program crashes. If the machine crashes, the last answers may be lost.
            file.execute("pragma synchronous = normal")
            file.execute(_TABLE)
            file.execute(_CLAIMS)
            if [row[1] for row in file.execute("pragma table_info(answers)")] != COLUMNS:
                raise sqlite3.DatabaseError("its table has other columns")
        except sqlite3.Error as error:
            file.close()
            raise type(error)(f"{self.path}: {error}") from None
        self._file = file
        return file

    def _begin_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Rename a damaged file and return a new one. Raise an error that is not about damage, such as a full disk."""
        # The others, such as OperationalError, are of subclasses.
        if type(error) is not sqlite3.DatabaseError:
            raise error
        self._close_file()
        # If it is another file by now, another kernel has renamed it.
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self._set_aside(shortened(str(error).removeprefix(f"{self.path}: "), 100))
        return self._open()

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name(f"{FILE}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
        self.path.replace(aside)
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").replace(f"{aside}{ending}")
        now = f"It is now {aside.name}, and a new one was started."
        self.notices.append(f"The cache of answers {self.path} was damaged ({reason}). {now}")

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                file = self._file or self._open()
                return wait_for_lock(self.path, partial(work, file))
            except sqlite3.DatabaseError as error:
                return work(self._begin_anew(error))

    def _open_if_moved(self) -> None:
        """Begin another file if this one was deleted, or another kernel has set it aside."""
        with self._lock:
            with suppress(FileNotFoundError):
                if self.path.stat().st_ino == self._inode:
                    return
            self._close_file()
            self._open()

    def find(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that are stored under keys and can be read."""
        found: dict[str, Answer] = {}
        for some in _in_parts(keys):
            found |= self._do(partial(_found, keys=some))
        self._used.update(found)
        return found

    def put(self, answers: Mapping[str, Answer]) -> None:
        """Store answers by their keys. They replace earlier ones; a failure replaces only a failure."""
        self._open_if_moved()
        for some in _in_parts(list(answers)):
            self._do(partial(_insert, rows=[_row(key, answers[key]) for key in some]))
        self._used.update(answers)

    def claim(self, key: str, part: RunPart) -> bool:
        """Return whether a key belongs to this part of a run, which it does if no other part has claimed it before."""

        def claimed(file: sqlite3.Connection) -> bool:
            ours = (part.run, key, part.number, time())
            file.execute("insert or ignore into claims values (?, ?, ?, ?)", ours)
            query = "select part from claims where run = ? and question = ?"
            found = file.execute(query, (part.run, key)).fetchone()
            return bool(found[0] == part.number)

        return self._do(claimed)

    def size(self) -> int:
        """Return the number of bytes in use."""
        return self._do(_bytes_used)

    def facts(self) -> tuple[int, float | None]:
        """Return the number of answers, and when the one was used that was not used for the longest time."""
        count, oldest = self._do(lambda file: file.execute("select count(*), min(kept_at) from answers").fetchone())
        return count, oldest

    def clear(self) -> int:
        """Delete all answers. Return their number."""
        count = self._do(lambda file: file.execute("delete from answers").rowcount)
        self._do(lambda file: file.execute("delete from claims"))
        self._do(_shrink)
        return count

    def close(self) -> None:
        """Delete what is above the limits, and close the file."""
        with self._lock:
            try:
                # An error here loses no answer: the limits are applied the next time.
                with suppress(sqlite3.Error):
                    self._apply_limits(self._file or self._connect())
            finally:
                self._close_file()

    def _apply_limits(self, file: sqlite3.Connection) -> None:
        now = time()
        file.execute("begin immediate")
        file.execute("create temp table used (question text primary key) without rowid")
        file.executemany("insert into used values (?)", ((key,) for key in self._used))
        # Also of runs whose clock was ahead: their answers would be the last to be deleted.
        used = "update answers set kept_at = :now where kept_at > :now or question in (select question from used)"
        file.execute(used, {"now": now})
        file.execute("delete from claims where made_at < ?", (now - SECONDS_OF_CLAIMS,))
        if self._most_seconds is not None:
            old = "delete from answers where kept_at < ? and question not in (select question from used)"
            file.execute(old, (now - self._most_seconds,))
        if self._most_bytes is not None and (size := _bytes_used(file)) > self._most_bytes:
            unused, too_much = [], size - SHARE_LEFT * self._most_bytes
            with closing(file.execute(_OLDEST)) as rows:
                for key, length in rows:
                    if too_much <= 0:
                        break
                    unused.append((key,))
                    too_much -= length + ROW_BYTES
            file.executemany("delete from answers where question = ?", unused)
        file.execute("commit")
        _shrink(file)


_EMPTY: Final = Answer()


def _row(key: str, answer: Answer) -> tuple[str, str, float]:
    # An error is first in the text: see `_REPLACES`.
    members = {"error": "", **asdict(answer)}.items()
    # Not by their truth: a cost of 0 is known.
    stored = {name: value for name, value in members if value != getattr(_EMPTY, name)}
    # A lone surrogate, for example in an error that quotes one, cannot be encoded as UTF-8.
    return key, without_surrogates(json.dumps(stored, ensure_ascii=False)), time()


def _insert(file: sqlite3.Connection, rows: Sequence[tuple[str, str, float]]) -> None:
    # One statement is one transaction, and one change between threads.
    places = ", ".join(["(?, ?, ?)"] * len(rows))
    file.execute(f"insert into answers values {places} {_REPLACES}", list(chain(*rows)))


def _in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield keys in parts for one statement each."""
    for start in range(0, len(keys), MAX_AT_ONCE):
        yield keys[start : start + MAX_AT_ONCE]


def _found(file: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Answer]:
    marks = ", ".join("?" * len(keys))
    query = f"select question, answer from answers where question in ({marks}) and length(answer) <= ?"
    with closing(file.execute(query, (*keys, MAX_ANSWER_BYTES))) as rows:
        return {key: answer for key, stored in rows if (answer := _read(stored)) is not None}


def _pragma(file: sqlite3.Connection, name: str) -> int:
    return int(file.execute(f"pragma {name}").fetchone()[0])


def _bytes_used(file: sqlite3.Connection) -> int:
    return (_pragma(file, "page_count") - _pragma(file, "freelist_count")) * _pragma(file, "page_size")


def _shrink(file: sqlite3.Connection) -> None:
    """Give the disk back what was deleted, if that is a good part of the file."""
    if _pragma(file, "freelist_count") > (1 - SHARE_LEFT) / 2 * _pragma(file, "page_count"):
        # Another kernel that is writing prevents it. The next one that closes the cache tries again.
        with suppress(sqlite3.OperationalError):
            file.execute("vacuum")


@cache
def _adapter() -> TypeAdapter[Answer]:
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _read(stored: Any) -> Answer | None:
    """Return the answer in a row, or None if another version of this package or another program wrote the row."""
    try:
        answer = _adapter().validate_json(stored, strict=True)
    except ValueError:
        return None
    is_valid = all(0 <= (one or 0) < 1e9 for one in (answer.seconds, answer.tokens, answer.cost))
    return answer if is_valid else None
