"""Whether a failure is the service's or one request's own, and how long all requests wait for a service that fails.

| failure of a request                           | it is                        | what follows                        |
|------------------------------------------------|------------------------------|-------------------------------------|
| that no other try changes                      | its own                      | no other try                        |
| a rate limit                                   | the service's                | all wait, then half as many at once |
| no connection, where answers came before       | the service's                | all wait, then one is tried         |
| any other, for the first time                  | the service's; it is accused | all wait, then one is tried         |
| any other, after others were answered          | perhaps its own; it is       | none but it waits                   |
| meanwhile, in less time (it is late)           | accused                      |                                     |
| any other, of one that was late, if it fails   | its own                      | `max_retries` tries                 |
| slowly, or is late again                       |                              |                                     |
| any other, and it is guilty, or is alone and   | its own                      | `max_retries` tries                 |
| its status is one that a request may cause     |                              |                                     |
| any other, while other requests are accused    | the service's                | it waits with them                  |
| any other, and it is guilty, beside as many in | perhaps the service's        | another try, which does not count   |
| flight as have been answered at once, or more  |                              | (40 at most, and 5 in turn without  |
|                                                |                              | an answer to another request; once  |
|                                                |                              | if it fails slowly)                 |

Accused requests are guilty once as many others have been answered: the service works, and nothing waits any more. The
last request of a run that had answers is guilty at once. A service that is full refuses guilty ones again: once one of
them is answered, no more are sent at once than were answered at once. The waits grow from try to try, and the 15
minutes begin with the first failure. In an alarm, one is tried that is not guilty, if there is any. An answer to a
request that was sent after the last failure ends the wait and the 15 minutes. A new run begins them again, and has one
try at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from .retries import delay_after

if TYPE_CHECKING:
    from ..concurrency import Clock
    from ..errors import InferenceError

# While a service fails for everyone, rows wait for it at least this long before they are given up.
OUTAGE_SECONDS: Final = 900.0
# A try that takes longer, for example because the machine sleeps, counts as much of an outage.
MAX_TRY_SECONDS: Final = 120.0
# These rarely depend on the request: gateways without a service behind them.
SERVICE_STATUSES: Final = (502, 503, 504, 529)
REFUSED: Final = 403
# A request that takes so long to fail outlasts a short outage with its own tries.
SLOW_SECONDS: Final = 10.0
# From so many of the latest answers it is known how many requests the service answers at once.
MAX_SERVED: Final = 100
# So often a request may fail because the service may be full, and so often in turn while no other one is answered: what
# is in flight beside it may then be requests that always fail, too.
MAX_CROWDED: Final = 40
MAX_IDLE: Final = 6
MAX_IDLE_IF_SLOW: Final = 2


@dataclass(eq=False, slots=True)
class Tries:
    """The tries of one request.

    Attributes
    ----------
    sent_at, failed_at : float
        When the latest was sent, and when the first one failed, by the clock.
    count, forgiven : int
        How many have failed, and how many of them because of the service.
    is_guilty : bool
        Whether enough others were answered after one failed: the next failure is the request's own.
    is_crowded : bool
        Whether the latest one failed beside so many others that those may be why.
    crowded, idle : int
        How many of a guilty request have failed so, and how many of its latest in turn between which no other request
        was answered.
    late : int
        How many failed after others had been answered in less time.
    is_slow : bool
        Whether the latest one took long to fail.
    refused_at : float
        When the latest of a guilty request failed, by the clock.
    """

    sent_at: float = -inf
    failed_at: float = inf
    count: int = 0
    forgiven: int = 0
    is_guilty: bool = False
    is_crowded: bool = False
    crowded: int = 0
    idle: int = 0
    late: int = 0
    is_slow: bool = False
    refused_at: float = -inf

    @property
    def is_settled(self) -> bool:
        """Whether the latest failure is known to be its own, so that a next one says nothing about the service."""
        return self.is_guilty or self.fails_slowly

    @property
    def fails_slowly(self) -> bool:
        """Whether it takes long to fail, while others are answered in less time."""
        return self.late > 0 and self.is_slow

    @property
    def own(self) -> int:
        """How many have failed because of the request."""
        return self.count - self.forgiven


class Verdict(Enum):
    """Whose failure it is."""

    # The request's: only its own tries count.
    OWN = auto()
    # The service's: all requests wait.
    SERVICE = auto()
    # The service's, and an earlier one has reported it.
    REPORTED = auto()
    # The service's, and it has been waited for long enough.
    GIVEN_UP = auto()
    # Perhaps the service's: it may be full.
    CROWDED = auto()


class Alarm:
    """What the failures and the answers of all requests to a model say about the service.

    Parameters
    ----------
    clock : Clock

    Attributes
    ----------
    reason : str
        Why requests wait. Empty once one is answered.
    opens_at : float
        Until when they wait, by the clock.
    allowed : float
        How many requests may be in flight: infinitely many if the service works. In an alarm it is 1, and answers
        raise it slowly.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reason, self.opens_at, self.allowed = "", 0.0, inf
        # Requests that have failed, how many were answered since, and whether only those answers count whose requests
        # were sent after the last failure.
        self._accused: set[Tries] = set()
        self._answers, self._needs_new = 0, False
        # When the latest answer came, and when the latest failure was reported.
        self._served_at = self._failed_at = -inf
        # When the latest requests that were answered were sent, and when their answers came.
        self._served: deque[tuple[float, float]] = deque(maxlen=MAX_SERVED)
        # How often requests have waited, how long in all, and whether the service has said how long.
        self._waits, self._waited, self._is_named = 0, 0.0, False

    @property
    def is_on(self) -> bool:
        """Whether fewer requests are sent than could be, because some have failed."""
        return self.allowed < inf

    @property
    def is_waiting(self) -> bool:
        """Whether no request is sent now, because the service fails or has asked to wait."""
        return self.opens_at > self._clock.now()

    def renew(self) -> None:
        """Have patience with the service again, because a run begins. It has one try at once.

        If the service has said how long to wait, that is waited for.
        """
        self._waits, self._waited = 0, 0.0
        if not self._is_named:
            self.opens_at = 0.0

    def is_new(self, tries: Tries) -> bool:
        """Return whether a request was sent after the last failure: its answer says how the service is now."""
        return tries.sent_at > self._failed_at

    def answered(self, tries: Tries) -> bool:
        """Note an answer. Return whether nothing has to wait any more."""
        self._served_at = self._clock.now()
        self._served.append((tries.sent_at, self._served_at))
        self._accused.discard(tries)
        is_new = self.is_new(tries)
        if self._needs_new and not is_new:
            return False
        self._answers += 1
        self.allowed += is_new / self.allowed
        works = self._answers >= len(self._accused)
        if works:
            for one in self._accused:
                one.is_guilty = True
            self._accused.clear()
            self._answers, self._needs_new, self.allowed = 0, False, inf
        if works or is_new:
            self.reason, self.opens_at, self._is_named = "", 0.0, False
            self._waits, self._waited = 0, 0.0
        return works or is_new

    @property
    def served_at_once(self) -> int:
        """How many requests that were answered of late had been in flight at the same time."""
        # Not at their ends: a service can take another one before the answer to one has been read.
        middles = ((sent + ended) / 2 for sent, ended in self._served)
        return max((sum(sent <= at < ended for sent, ended in self._served) for at in middles), default=0)

    def failed(
        self, error: InferenceError, tries: Tries, *, is_alone: bool, has_answers: bool, beside: int = 0
    ) -> Verdict:
        """Note a failure. Return whose it is.

        Parameters
        ----------
        error : InferenceError
            Why the request failed.
        tries : Tries
            Those of the request.
        is_alone : bool
            Whether its run has no other request that can show whether the service works: none, or only guilty ones.
        has_answers : bool
            Whether others of its run were answered.
        beside : int
            How many others are in flight. It is 0 if that must not give it more tries than it has.
        """
        now = self._clock.now()
        tries.failed_at = min(tries.failed_at, now)
        # With status 403, a firewall refuses one prompt, by a web page.
        is_network = error.cause == "network" and error.status != REFUSED
        # What worked before works again: a server that restarts, a network that comes back, a machine that slept.
        # An answer that did not come in time may take longer than others, which did.
        has_worked = -inf < self._served_at < (inf if error.affects_all else tries.sent_at)
        # What answers the last row in place of the service may do so because of the row.
        may_be_of_all = not is_alone or (has_answers and error.status is None)
        is_transient = error.retryable or (is_network and has_worked and may_be_of_all)
        if not is_transient or error.depends_on_prompt:
            return Verdict.OWN
        if error.is_too_many:
            # Others are answered, and this one has been refused for as long as a failing service is waited for.
            is_own = not self._waits and now - tries.failed_at > OUTAGE_SECONDS
        elif is_network and error.affects_all and error.status is None:
            # No request is accused, but as many answers are needed.
            self._answers -= 1
            is_own = False
        else:
            is_late = error.retry_after is None and self._is_late(tries, now)
            may_be_own = not (is_network or error.status in SERVICE_STATUSES)
            tries.is_slow = now - tries.sent_at >= SLOW_SECONDS
            is_own = self._is_own(tries, is_late=is_late, is_alone=is_alone, has_answers=has_answers, may_be=may_be_own)
            if is_own and tries.is_guilty and error.retryable and self._is_crowded(tries, beside, now):
                return Verdict.CROWDED
            if is_late and not is_own:
                return Verdict.REPORTED
        return Verdict.OWN if is_own else self._wait(error, tries, now)

    def _is_crowded(self, tries: Tries, beside: int, now: float) -> bool:
        """Return whether a guilty request may have failed because the service is full."""
        tries.idle = 0 if self._served_at > tries.refused_at else tries.idle + 1
        tries.refused_at = now
        may_be = tries.idle < (MAX_IDLE_IF_SLOW if tries.is_slow else MAX_IDLE) and tries.crowded < MAX_CROWDED
        tries.is_crowded = may_be and beside > 0 and beside >= self.served_at_once
        tries.crowded += tries.is_crowded
        return tries.is_crowded

    def _is_late(self, tries: Tries, now: float) -> bool:
        """Return whether others were answered meanwhile in less time than a request took to fail."""
        took = now - tries.sent_at
        return not self.reason and any(ended > tries.sent_at and ended - sent < took for sent, ended in self._served)

    def _is_own(self, tries: Tries, *, is_late: bool, is_alone: bool, has_answers: bool, may_be: bool) -> bool:
        """Return whether a failure is the request's own. If not, it is accused, unless it is guilty.

        `may_be` says whether the status is one that a request may cause.
        """
        others = self._accused - {tries}
        tries.late += is_late
        # One that was late, and fails quickly now, fails because of something else.
        is_last = is_alone and has_answers and not others and not (tries.late and not tries.is_slow)
        tries.is_guilty |= is_last or tries.late > 1
        is_own = bool(tries.late) and (tries.is_slow or (is_late and tries.is_guilty))
        is_own |= not others and (tries.is_guilty or (is_alone and may_be))
        if not is_own and not tries.is_guilty:
            self._accused.add(tries)
        return is_own

    def _wait(self, error: InferenceError, tries: Tries, now: float) -> Verdict:
        """Let all requests wait, if this is the first failure since they were sent."""
        # A server that restarts or takes no more requests still answers those that it has.
        affects_all = error.is_too_many or (error.cause == "network" and error.affects_all)
        self._needs_new |= affects_all or error.retry_after is not None
        if self.is_waiting or not self.is_new(tries):
            return Verdict.REPORTED
        self._waited += min(now - tries.sent_at, MAX_TRY_SECONDS)
        if self._waited >= OUTAGE_SECONDS:
            # The others are not tried one by one any more.
            self.allowed = inf
            return Verdict.GIVEN_UP
        self._waits += 1
        seconds = delay_after(error, self._waits, OUTAGE_SECONDS - self._waited)
        if seconds is None:
            return Verdict.GIVEN_UP
        self._waited += seconds
        self.reason, self.opens_at, self._failed_at = error.what, now + seconds, now
        self._is_named = error.retry_after is not None
        if not error.is_too_many:
            self.allowed = 1.0
        return Verdict.SERVICE

    def forget(self, tries: Tries) -> None:
        """Forget a request that has ended."""
        self._accused.discard(tries)
