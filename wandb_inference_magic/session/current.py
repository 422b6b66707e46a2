"""The session that the magics and the Python API share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import WandbInference
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

_session: Session | None = None


def current_session() -> Session:
    """Return the session that the magics and the Python API share. Create one if the extension is not loaded."""
    global _session
    if _session is None:
        _session = Session(WandbInference())
    return _session


def start_session(settings: WandbInference, ask_secret: Callable[[str], str | None]) -> Session:
    """End the current session, and start one with these settings."""
    global _session
    end_session()
    _session = Session(settings, ask_secret)
    return _session


def end_session() -> None:
    """Close the current session. The next request starts a new one."""
    global _session
    ended, _session = _session, None
    if ended is not None:
        ended.close()
