"""Threads, the event loop on which requests run, and interrupts.

Every package imports this one, so its modules import little.
"""

from .clock import Clock as Clock, wait as wait
from .event_loop import (
    HAS_THREADS as HAS_THREADS,
    SECONDS_BETWEEN_LOOKS as SECONDS_BETWEEN_LOOKS,
    THREAD_NAME as THREAD_NAME,
    EventLoop as EventLoop,
    InFlight as InFlight,
    Running as Running,
    can_wait as can_wait,
    run_once as run_once,
)
from .interrupts import Interrupts as Interrupts, deferred_interrupts as deferred_interrupts
from .processes import (
    forget_in_children as forget_in_children,
    hand_down as hand_down,
    handed_down as handed_down,
)
