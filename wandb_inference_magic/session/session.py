"""The state of one loaded extension, which all its commands share."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

# A package imports its modules when one of its names is used.
from .. import messages
from ..concurrency import (
    THREAD_NAME,
    Clock,
    EventLoop,
    coroutines,
    deferred_interrupts,
    handed_down,
    may_have_children,
    pass_to_children,
)
from ..config import WandbInference, expanded
from ..errors import beyond_limits
from .settings_file import SettingsFile

if TYPE_CHECKING:
    from threading import Thread

    from ..cassettes import CassetteSlot
    from ..client import Clients
    from ..frames import WrittenColumns
    from ..spending import SharedSpending, UsageTracker
    from .endpoints import Keys
    from .jobs import Jobs
    from .limiter import Limiters
    from .models import Models
    from .tracing import TracerSlot

# The libraries that send our requests.
LOGGERS: Final = ("asyncio", "httpcore", "httpcore2", "httpx", "httpx2", "openai")


if TYPE_CHECKING:
    built_once = cached_property
else:

    class built_once(cached_property):  # noqa: N801 - used as a decorator
        """A property that is built on first use, also if several threads use it first at the same time.

        The builders import what they need, so that `%load_ext` does not wait for it.
        """

        def __get__(self, session, owner=None):
            with nullcontext() if session is None else session.lock:
                return super().__get__(session, owner)


class Session:
    """A container. What it holds does the work.

    Parameters
    ----------
    settings : WandbInference
        The settings. A command resolves them once.
    ask_secret : callable, optional
        Takes the question, asks the user for a secret without showing it, and returns the secret, or None if the user
        gives none. None when not interactive.
    """

    def __init__(self, settings: WandbInference, ask_secret: Callable[[str], str | None] | None = None) -> None:
        self.settings = settings
        self._ask_secret = ask_secret
        # Whether the Python API made it, before the extension was loaded.
        self.is_from_code = False
        self.lock = RLock()
        # A child process has a copy of this session, or its settings.
        self.process = os.getpid()
        self.settings_file = SettingsFile()
        # Relative paths of cassettes and budget files start here, even if the notebook changes its folder later.
        self.folder = _folder()
        self.last_reply: messages.Reply | None = None
        self.last_comparison: list[messages.Reply] = []
        self.listed_models: list[str] = []
        self.clock = Clock()
        # Whether a command has begun, and the thread that imports in advance what the first one needs.
        self.is_used = False
        self.importing: Thread | None = None
        # Shows a job as the value of a cell, where there is a front end: takes the Job.
        self.show_job: Callable[[Any], None] | None = None
        # Where a job is started: fields of its JobRecord.
        self.job_origin: Callable[[], dict[str, Any]] = dict
        # The running cell, for the turn of a chat from Python.
        self.origin: Callable[[], messages.Origin] = lambda: messages.Origin()
        # Whether someone may be looking, who can wait for a job.
        self.is_interactive: Callable[[], bool] = lambda: False
        self._at_close: list[Callable[[], None]] = []

    def end_earlier_jobs(self) -> None:
        """End the jobs of the running cell, because it is run again and sends something else, or sends it itself."""
        if self.jobs.running:
            from .jobs import JobRecord

            self.jobs.end_earlier(JobRecord(**self.job_origin()))

    def await_imports(self) -> None:
        """Wait until no thread imports in advance any more, and import asyncio. Each command begins with it.

        Here an interrupt is deferred. In an import that waits for another thread's, it leaves Python's lock of imports
        held for ever. In that of asyncio, it leaves modules that cannot be used, nor imported again.
        """
        self.is_used = True
        importing, self.importing = self.importing, None
        if importing is not None or "asyncio" not in sys.modules:
            with deferred_interrupts():
                if importing is not None:
                    importing.join()
                import_module("asyncio")

    @built_once
    def keys(self) -> Keys:
        """The keys: typed, in the environment, in files and in secret stores."""
        from .endpoints import Keys

        return Keys(self._ask_secret)

    @built_once
    def cassettes(self) -> CassetteSlot:
        """The cassette in use."""
        from ..cassettes import CassetteSlot

        return CassetteSlot(self.folder, self.keys.secrets)

    @built_once
    def loop(self) -> EventLoop:
        """The event loop on which requests run."""
        return EventLoop(beyond_limits)

    @built_once
    def clients(self) -> Clients:
        """The clients: our own and the user's."""
        from ..client import Clients

        return Clients(self.loop)

    @built_once
    def jobs(self) -> Jobs:
        """What runs in the background."""
        from .jobs import Jobs

        return Jobs()

    @built_once
    def limiters(self) -> Limiters:
        """How many requests to each model may be in flight."""
        from .limiter import Limiters

        return Limiters(self.clock)

    @built_once
    def models(self) -> Models:
        """What is known about the models of each endpoint."""
        from .models import Models

        return Models()

    @built_once
    def threads(self) -> messages.Threads:
        """The threads by name, and which one is current."""
        return messages.Threads()

    @built_once
    def usage(self) -> UsageTracker:
        """The calls so far."""
        from ..spending import UsageTracker

        return UsageTracker()

    @built_once
    def spending(self) -> Callable[[str], SharedSpending]:
        """Returns the spending that is shared with other kernels by a file, by the file's name."""
        from ..spending import SharedSpending

        return cache(lambda name: SharedSpending(self.folder / expanded(name)))

    @built_once
    def tracing(self) -> TracerSlot:
        """The connection to Weave."""
        from .tracing import TracerSlot

        return TracerSlot(self.keys)

    @built_once
    def written(self) -> WrittenColumns:
        """The columns that maps have written."""
        from ..frames import WrittenColumns

        return WrittenColumns()

    def reset(self) -> None:
        """Reset what was set in this session: settings, typed keys, fetched lists, the trace."""
        self.settings.reset()
        self.keys.clear()
        self.models.clear()
        self.tracing.close()
        self.clients.close()

    def follow_parent(self) -> None:
        """Take over the settings that the parent process has changed, if this is one of its child processes."""
        if self.process != os.getpid() and (facts := self.settings_file.read()) is not None:
            self.settings = WandbInference.of_parent(facts.get("file", {}), facts.get("chosen", {}))
            _pass_to_children(self)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the session is closed."""
        self._at_close.append(callback)

    def close(self) -> None:
        """Close what the session has opened: jobs, widgets, trace, clients, the event loop, the practice model."""
        if self is _session:
            pass_to_children({})
        self.settings_file.remove()
        while self._at_close:
            self._at_close.pop()()
        for name in ("jobs", "tracing", "clients", "loop"):
            if name in self.__dict__:
                getattr(self, name).close()
        coroutines.close()
        for logger in _loggers():
            logger.removeFilter(_is_shown)
        from ..client import practice_server

        practice_server.stop()


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.threadName != THREAD_NAME


def hide_own_logs() -> None:
    """Hide what libraries log about our own requests, by a filter on their loggers.

    It is known by its thread, the event loop's: what they log about the user's requests is shown, and no level changes.
    """
    if any(logging.getLogger(name).isEnabledFor(logging.INFO) for name in LOGGERS):
        for logger in _loggers():
            logger.addFilter(_is_shown)


def _loggers() -> list[logging.Logger]:
    """Return the loggers of the libraries. A filter holds for one logger, not for those below it."""
    known = list(logging.root.manager.loggerDict.items())
    return [one for name, one in known if isinstance(one, logging.Logger) and name.partition(".")[0] in LOGGERS]


def _folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        # The folder has been deleted. A notebook that uses no files still works.
        return Path()


# The session of this process --------------------------------------------------------------------------------------

_session: Session | None = None
_lock = RLock()


def current_session() -> Session:
    """Return the session that the magics and the Python API share. Create one if the extension is not loaded."""
    global _session
    # Several threads of a script may make the first call at the same time.
    with _lock:
        if _session is None:
            _session = _new_session()
            _session.is_from_code = True
        # Also one that was closed, and is used again.
        _pass_to_children(_session)
        return _session


def _new_session() -> Session:
    """Return a session with the settings of the parent process, if there is one that has handed them down."""
    found = handed_down()
    if "chosen" not in found:
        session = Session(WandbInference())
    else:
        session = Session(WandbInference.of_parent(found["file"], found["chosen"]))
        session.folder, session.process = found["folder"], found["process"]
        session.settings_file = SettingsFile(found["settings_file"])
    return session


def _pass_to_children(session: Session) -> None:
    """Let child processes begin with the settings of a session, also when they change."""

    def now() -> None:
        facts = session.settings.for_children()
        is_needed = any(facts.values()) or may_have_children()
        handed = {**facts, "folder": session.folder, "settings_file": session.settings_file.name}
        pass_to_children(handed if is_needed else {})
        if session.process == os.getpid():
            session.settings_file.write(facts)

    session.settings.when_changed = now
    now()


def start_session(settings: WandbInference, ask_secret: Callable[[str], str | None]) -> Session:
    """End the current session, and start one with these settings. One that the Python API made is kept, with them."""
    global _session
    with _lock:
        if _session is not None and _session.is_from_code:
            _session.settings, _session.is_from_code = settings, False
            _session.keys.ask_secret = ask_secret
        else:
            end_session()
            _session = Session(settings, ask_secret)
        _pass_to_children(_session)
        return _session


def end_session() -> None:
    """Close the current session. It can be used again: what it opens then is new, what it holds is kept."""
    if _session is not None:
        _session.close()
