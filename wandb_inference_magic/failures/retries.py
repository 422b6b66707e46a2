"""Compute how long to wait before a retry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from random import uniform
from time import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..errors import InferenceError

# The seconds to wait before the second try, the third and so on, each a range. The last range is repeated. Tries vary
# within a range, so that forty students do not all try again at the same moment.
Waits = tuple[tuple[float, float], ...]
SHORT: Final[Waits] = ((1.5, 2.5), (4.5, 7.5), (13.5, 22.5), (40.0, 60.0))
IMMEDIATELY: Final[Waits] = ((0.0, 0.1), *SHORT)
# The vendor advises to wait 30 to 60 s after status 500 and 60 to 120 s after 503. Most failures pass sooner.
FAILING: Final[Waits] = ((1.5, 2.5), (8.0, 12.0), (30.0, 60.0))
OVERLOADED: Final[Waits] = ((1.5, 2.5), (13.0, 17.0), (60.0, 120.0))
# The shortest wait that a service can ask for: with 0 s all tries would be used up immediately.
MIN_SECONDS: Final = 1.0
# The longest wait that a user can be expected to accept. If the service asks for more, the error is reported.
LONGEST_DELAY: Final = 120.0
# What varies of a wait that the service asks for.
JITTER: Final = 0.25
# A longer one is a mistake in the header.
MAX_PLAUSIBLE_SECONDS: Final = 366 * 86400.0
# A longer text is none that says how long to wait. Searching it would take long.
MAX_TEXT_CHARS: Final = 200
# Numbers above these are seconds or milliseconds since 1970, not spans.
_MOMENTS: Final = 1e9
_MILLISECONDS: Final = 1e11
# A limit can be overdrawn.
_NOTHING: Final = re.compile(r"\s*(-\d+(\.\d+)?|0+(\.0+)?)\s*")
# Units of time. Another word may begin as one does: `15 March`.
UNITS: Final = r"(?:ms|milliseconds?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?![a-z])"
_SPAN: Final = re.compile(rf"(\d+(?:\.\d+)?)\s*(?={UNITS})(ms|milli|m|s|h|d)", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "milli": 0.001, "m": 60.0, "s": 1.0, "h": 3600.0, "d": 86400.0}


def retry_delay(error: InferenceError, tries: int, max_retries: int, longest: float = LONGEST_DELAY) -> float | None:
    """Return the seconds to wait before the next try, or None for no further try.

    Parameters
    ----------
    error : InferenceError
        The error of the last try.
    tries : int
        The number of tries so far.
    max_retries : int
        The maximum number of tries after the first.
    longest : float
        The longest wait in seconds that the service may ask for.

    Returns
    -------
    float or None
        At least the time that the service asks for, or else a time that grows with the number of tries.
    """
    return None if not error.retryable or tries > max_retries else delay_after(error, tries, longest)


def delay_after(error: InferenceError, tries: int, longest: float = LONGEST_DELAY) -> float | None:
    """Return the seconds to wait before the next try, or None if the service asks for longer than `longest`."""
    wait = error.retry_after
    if wait is None:
        waits = error.waits or SHORT
        return uniform(*waits[min(tries, len(waits)) - 1])
    if wait > longest:
        return None
    return max(wait, MIN_SECONDS) + uniform(0, max(wait * JITTER, MIN_SECONDS))


def requested_delay(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers of a response ask to wait, or None. The names are in lower case."""
    # A moment is one by the clock of the server, which may differ from that of this machine.
    now = _moment(headers.get("date", "")) or time()
    waits = (
        read_retry_after(headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms"), 0.001, now),
        read_retry_after(headers.get("retry-after") or headers.get("x-retry-after"), now=now),
        _until_reset(headers, now),
    )
    # Some send 0 or -1 in one, and the time in another.
    return next(filter(None, waits), 0.0 if 0.0 in waits else None)


def _until_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until the limits that are used up are reset.

    Each has two headers, such as `x-ratelimit-remaining-tokens: 0` and `x-ratelimit-reset-tokens: 6m0s`.
    """
    limits = [name for name in headers if "ratelimit" in name.replace("-", "") and "remaining" in name]
    names = [name.replace("remaining", "reset") for name in limits if _NOTHING.fullmatch(headers[name])]
    resets = (read_retry_after(headers.get(name) or headers.get(f"{name}-after"), now=now) for name in names)
    return max((one for one in resets if one is not None), default=None)


def read_span(text: str) -> float | None:
    """Return the seconds of a time span such as `2m59.5s` or `300 ms`, or None if there is none in the text."""
    spans = _SPAN.findall(text)
    return _plausible(sum(float(number) * _SECONDS[unit.lower()] for number, unit in spans)) if spans else None


def read_retry_after(text: str | None, unit: float = 1.0, now: float | None = None) -> float | None:
    """Return the seconds that a header or a field asks to wait, or None if it says nothing of it.

    It can be a number, of several that proxies join with commas the largest; a time span; a moment in seconds or
    milliseconds since 1970; or a date (RFC 9110, section 10.2.3, or ISO 8601). `unit` is that of a number without one,
    in seconds; `now` is the time in seconds since 1970, by default that of this machine.
    """
    # Python reads 1_0 as 10.
    if not text or len(text) > MAX_TEXT_CHARS or "_" in text:
        return None
    now = time() if now is None else now
    with suppress(ValueError):
        number = max(float(one.strip().removesuffix("s")) for one in text.split(","))
        since_1970 = number / 1000 if number > _MILLISECONDS else number
        return _plausible(since_1970 - now if number > _MOMENTS else number * unit)
    moment = _moment(text)
    return read_span(text) if moment is None else _plausible(moment - now)


def _moment(text: str) -> float | None:
    """Return a date as seconds since 1970, or None if a text is none."""
    # Python 3.10 does not read the Z.
    for read, date in ((datetime.fromisoformat, text.strip().replace("Z", "+00:00")), (parsedate_to_datetime, text)):
        with suppress(ValueError, TypeError, OverflowError, OSError):
            moment = read(date)
            # Without a zone, and with the zone `-0000`, it is in UTC (RFC 5322, section 3.3).
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return None


def _plausible(seconds: float) -> float | None:
    """Return a number of seconds that is not negative, or None if it is no time that a service can mean."""
    return max(0.0, seconds) if seconds < MAX_PLAUSIBLE_SECONDS else None
