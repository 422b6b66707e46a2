"""Retries: compute how long to wait before one, and wait."""

from __future__ import annotations

from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import isfinite
from random import uniform
from threading import Event
from time import monotonic, time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import InferenceError

# The seconds to wait before the second try, the third and so on, each a range. The last range is repeated. Tries vary
# within a range, so that forty students do not all try again at the same moment.
Waits = tuple[tuple[float, float], ...]
SHORT: Final[Waits] = ((1.5, 2.5), (4.5, 7.5), (13.5, 22.5), (40.0, 60.0))
AT_ONCE: Final[Waits] = ((0.0, 0.1), *SHORT)
# The vendor advises to wait 30 to 60 s after status 500 and 60 to 120 s after 503. Most failures pass sooner.
FAILING: Final[Waits] = ((1.5, 2.5), (8.0, 12.0), (30.0, 60.0))
OVERLOADED: Final[Waits] = ((1.5, 2.5), (13.0, 17.0), (60.0, 120.0))
# The shortest wait that a service can ask for: with 0 s all tries would be used up at once.
SHORTEST_SECONDS: Final = 1.0
# The longest wait that a user can be expected to accept. If the service asks for more, the error is reported.
LONGEST_SECONDS: Final = 120.0
# What varies of a wait that the service asks for.
JITTER: Final = 0.25
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
        At least the time that the service asks for, or else a time that grows with the number of tries.
    """
    return None if not error.retryable or tries > max_retries else pause_asked(error, tries)


def pause_asked(error: InferenceError, tries: int, longest: float = LONGEST_SECONDS) -> float | None:
    """Return the seconds to wait before the next try, or None if the service asks for longer than `longest`."""
    asked = error.retry_after
    if asked is None:
        waits = error.waits or SHORT
        return uniform(*waits[min(tries, len(waits)) - 1])
    if asked > longest:
        return None
    return max(asked, SHORTEST_SECONDS) + uniform(0, max(asked * JITTER, SHORTEST_SECONDS))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers of a response ask to wait, or None."""
    milliseconds = read_retry_after(headers.get("retry-after-ms"))
    return read_retry_after(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header: a number or a date (RFC 9110, section 10.2.3); otherwise None."""
    if not header:
        return None
    with suppress(ValueError):
        seconds = float(header.strip().removesuffix("s"))
        return max(0.0, seconds) if isfinite(seconds) else None
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    return None


def wait(seconds: float) -> None:
    """Wait. Kernel > Interrupt and Ctrl-C end the wait at once."""
    until = monotonic() + seconds
    # In slices, because on Windows an interrupt is handled only between two waits.
    while (left := until - monotonic()) > 0:
        Event().wait(min(left, LONGEST_SLICE))
