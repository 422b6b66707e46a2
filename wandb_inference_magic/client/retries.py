"""Trying again: how long to wait before it, and the waiting itself."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from random import uniform
from threading import Event
from time import monotonic, time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..errors import InferenceError

FIRST_SECONDS: Final = 2.0
FACTOR: Final = 3.0
JITTER: Final = 0.25
# What a person may be expected to sit through; a service that asks for more is told about instead.
LONGEST_SECONDS: Final = 120.0
LONGEST_SLICE: Final = 0.2


def pause(error: InferenceError, tries: int, max_retries: int) -> float | None:
    """Return the seconds to wait before the next try, or None when there is to be none.

    Parameters
    ----------
    error : InferenceError
        Why the last try failed.
    tries : int
        How many tries there have been.
    max_retries : int
        How many there may be after the first.

    Returns
    -------
    float or None
        What the service asked for, else 2, 6, 18, ... seconds, a quarter more or less so that a class of
        forty does not come back at the same moment.
    """
    if not error.retryable or tries > max_retries:
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= LONGEST_SECONDS else None
    return min(FIRST_SECONDS * FACTOR ** (tries - 1), LONGEST_SECONDS) * uniform(1 - JITTER, 1 + JITTER)


def read_retry_after(header: str | None) -> float | None:
    """Read a `Retry-After` header: seconds, or a date (RFC 9110, section 10.2.3). None for anything else."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


def wait(seconds: float) -> None:
    """Wait; Kernel > Interrupt and Ctrl-C end it at once."""
    until = monotonic() + seconds
    # In slices: on Windows an interrupt comes through only between two waits.
    while (left := until - monotonic()) > 0:
        Event().wait(min(left, LONGEST_SLICE))
