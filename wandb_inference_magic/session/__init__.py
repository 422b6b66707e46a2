"""The state of one loaded extension: settings, endpoint, clients, models, threads, usage, tracing.

It also has the budget that calls are checked against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .command import Command
    from .jobs import JobEntry, JobRecord, RecordFile, delete_same, unfinished
    from .limiter import Share
    from .models import has_no_list
    from .session import Session, current_session, end_session, start_session
    from .tracing import ObservedCall, Trace, Tracer, TracerSlot, weave_off

__getattr__ = lazy_exports(__name__)
