"""Retries: compute how long to wait before one, and wait."""

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
# The longest wait that a user can be expected to accept. If the service asks for more, the error is reported.
LONGEST_SECONDS: Final = 120.0
LONGEST_SLICE: Final = 0.2


def pause(error: InferenceError, tries: int, max_retries: int) -> float | None:
    """Return the seconds to wait before the next try, or None for no further try.

    Parameters
    ----------
    error : InferenceError
        The error of the last try.
    tries : int
        The number of tries so far.
    max_retries : int
        The maximum number of tries after the first.

    Returns
    -------
    float or None
        The time that the service asked for, else 2, 6, 18, ... seconds. These vary randomly by up to a quarter, so
        that forty students do not all retry at the same moment.
    """
    if not error.retryable or tries > max_retries:
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= LONGEST_SECONDS else None
    return min(FIRST_SECONDS * FACTOR ** (tries - 1), LONGEST_SECONDS) * uniform(1 - JITTER, 1 + JITTER)


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header: a number or a date (RFC 9110, section 10.2.3); otherwise None."""
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
    """Wait. Kernel > Interrupt and Ctrl-C end the wait at once."""
    until = monotonic() + seconds
    # In slices, because on Windows an interrupt is handled only between two waits.
    while (left := until - monotonic()) > 0:
        Event().wait(min(left, LONGEST_SLICE))
