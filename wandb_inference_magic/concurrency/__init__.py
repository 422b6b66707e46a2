"""Threads, the event loop on which requests run, and interrupts.

Every package imports this one, so its modules import little.
"""

from .clock import Clock, wait
from .coroutines import coroutines
from .event_loop import (
    HAS_THREADS,
    SECONDS_BETWEEN_LOOKS,
    THREAD_NAME,
    EventLoop,
    InFlight,
    can_wait,
)
from .interrupts import Interrupts, check_interrupts, deferred_interrupts
from .processes import (
    ForkAware,
    close_in_forks,
    handed_down,
    has_children,
    may_have_children,
    pass_to_children,
    without_forks,
)
