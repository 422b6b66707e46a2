"""The state of one loaded extension: settings, endpoint, clients, models, threads, usage, tracing.

It also has the budget that calls are checked against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .command import Command as Command
    from .job_records import (
        JobRecord as JobRecord,
        RecordFile as RecordFile,
        forget_same as forget_same,
        unfinished as unfinished,
    )
    from .jobs import Foreground as Foreground, OfThisKernel as OfThisKernel
    from .limiter import Share as Share
    from .models import has_no_list as has_no_list
    from .session import (
        Session as Session,
        current_session as current_session,
        end_session as end_session,
        start_session as start_session,
    )
    from .tracing import Trace as Trace, Tracer as Tracer, TracerSlot as TracerSlot

__getattr__ = lazy_exports(
    __name__,
    {
        "command": ("Command",),
        "job_records": ("JobRecord", "RecordFile", "forget_same", "unfinished"),
        "jobs": ("Foreground", "OfThisKernel"),
        "limiter": ("Share",),
        "models": ("has_no_list",),
        "session": ("Session", "current_session", "end_session", "start_session"),
        "tracing": ("Trace", "Tracer", "TracerSlot"),
    },
)
