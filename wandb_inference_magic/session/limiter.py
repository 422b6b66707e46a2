"""How many requests to one model may be in flight, whose turn it is, and waits for a service that fails for all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from ..concurrency import Clock, notify_after_fork
from ..failures import delay_after

if TYPE_CHECKING:
    from ..errors import InferenceError

# While a service fails for everyone, rows wait for it at least this long before they are given up.
OUTAGE_SECONDS: Final = 900.0
# A try that takes longer, for example because the machine sleeps, counts as much of an outage.
MAX_TRY_SECONDS: Final = 120.0
# These never depend on the request: gateways without a service behind them.
SERVICE_STATUSES: Final = (502, 503, 504, 529)
REFUSED: Final = 403


class Limiters:
    """The limiters of a session, one for each model of an endpoint. All maps, jobs and chats with a model share it.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.after_fork_in_child()
        notify_after_fork(self)

    def after_fork_in_child(self) -> None:
        # In a child process, the requests in flight are its parent's.
        self._lock = Lock()
        # A limiter lives as long as one of its shares.
        self._limiters: WeakValueDictionary[tuple[str, str], Limiter] = WeakValueDictionary()

    def share(self, url: str, model: str, most: int | None = None, *, in_background: bool = False) -> Share:
        """Return a share of a model's slots.

        Parameters
        ----------
        url, model : str
            The endpoint and the model.
        most : int, optional
            The most requests that may be in flight for the share. A chat has none: it makes one at a time.
        in_background : bool
            Whether it is a chat that is not waited for.
        """
        with self._lock:
            limiter = self._limiters.get((url, model))
            if limiter is None:
                self._limiters[url, model] = limiter = Limiter(self._clock)
        share = Share(limiter, most, waits_for_service=most is not None or in_background)
        if share.waits_for_service:
            limiter.renew()
        return share


class Limiter:
    """An adaptive number of slots, shared fairly. The slots are changed on the event loop only.

    The service limits requests in flight per project, user and model, and publishes no figure. The limit
    is halved when the service refuses a request as one too many, and raised slowly by answers. When the service fails
    for everyone, requests wait; then one is tried, and its answer lets the others follow.

    Attributes
    ----------
    reason : str
        Why requests wait. Empty once one is answered.
    opens_at : float
        Until when they wait, by the clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.reason, self.opens_at = "", 0.0
        # The share that has claimed a question, by the question's key. Changed in the threads of the runs.
        self.claims: dict[str, Share] = {}
        # Those that have a slot or wait for one.
        self._shares: list[Share] = []
        # As many as the shares want, unless the service has refused some. Never less than 1.
        self._limit = inf
        self._cut_at = self._served_at = -inf
        # Since the last answer: how often requests have waited, and how long.
        self._tries, self._waited = 0, 0.0
        self._opening: asyncio.Task[None] | None = None

    @property
    def allowed(self) -> float:
        """The number of requests that may be in flight now; infinite if no share has a limit."""
        most = self._most
        return most if most == inf else int(min(self._limit, most))

    @property
    def _most(self) -> float:
        return max((one.most for one in self._shares if one.most is not None), default=inf)

    @property
    def is_waiting(self) -> bool:
        """Whether no request is sent now, because the service fails or has asked to wait."""
        return self.opens_at > self.clock.now()

    def renew(self) -> None:
        """Have patience with the service again, because something new begins."""
        self._tries, self._waited = 0, 0.0

    def served(self, sent: float = inf) -> None:
        """Note an answer. As many answers as slots add one slot, and requests that waited follow.

        Parameters
        ----------
        sent : float
            When its request was sent, by the clock. An answer to one from before the wait says nothing about now.
        """
        self._served_at = self.clock.now()
        if sent > self._cut_at:
            self.reason, self.opens_at, self._tries, self._waited = "", 0.0, 0, 0.0
            self._limit += 1 / self._limit
            if self._limit >= self._most:
                self._limit = inf
        self.wake()

    def failed(self, error: InferenceError, sent: float, *, may_be_prompt: bool = False) -> bool | None:
        """Note a failure. Return whether all requests wait, because it is the service's. None to give up.

        Parameters
        ----------
        error : InferenceError
            Why the request failed.
        sent : float
            When it was sent, by the clock.
        may_be_prompt : bool
            Whether no other request can show that the service works.
        """
        # With status 403, a firewall refuses one prompt, by a web page.
        is_network = error.cause == "network" and error.status != REFUSED
        # What worked before works again: a server that restarts, a network that comes back, a machine that slept.
        is_transient = error.retryable or (is_network and self._served_at != -inf and not may_be_prompt)
        # A server that restarts refuses connections while it still answers those that it has.
        is_of_all = error.is_too_many or (is_network and error.affects_all)
        if not is_transient or error.depends_on_prompt or (self._served_at >= sent and not is_of_all):
            return False
        if may_be_prompt and not (is_network or error.is_too_many or error.status in SERVICE_STATUSES):
            return False
        now = self.clock.now()
        if sent <= self._cut_at:
            # It says nothing new: others have reported it.
            return True
        self._waited += min(now - sent, MAX_TRY_SECONDS)
        if self._waited >= OUTAGE_SECONDS:
            return None
        self._tries += 1
        seconds = delay_after(error, self._tries, OUTAGE_SECONDS - self._waited)
        if seconds is None:
            return None
        self._waited += seconds
        self._limit = max(1.0, min(self._limit, self._most) / 2) if error.is_too_many else 1.0
        self.reason, self.opens_at, self._cut_at = error.what, now + seconds, now
        self._open_later()
        return True

    def _open_later(self) -> None:
        """Let those that wait have slots again when the time has come."""
        if self._shares and self.is_waiting and (self._opening is None or self._opening.done()):
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Wait until requests may be sent again, and let those that wait have the free slots."""
        while (left := self.opens_at - self.clock.now()) > 0:
            await self.clock.sleep(left)
        self.wake()

    def wake(self) -> None:
        """Give the free slots to those that wait, first to the shares that have the fewest."""
        while sum(one.taken for one in self._shares) < self.allowed:
            ready = [one for one in self._shares if one.may_take()]
            if not ready:
                return
            share = min(ready, key=lambda one: one.taken)
            share.queue.popleft().set_result(None)
            share.taken += 1

    def add(self, share: Share) -> None:
        """Count a share among those that have a slot or wait for one, and give it a slot if one is free."""
        if share not in self._shares:
            self._shares.append(share)
        self._open_later()
        self.wake()

    def released(self, share: Share) -> None:
        """Take back the slot of a share."""
        share.taken -= 1
        self.leave(share)
        self.wake()

    def leave(self, share: Share) -> None:
        """Remove a share that neither has a slot nor waits for one."""
        if not share.taken and not share.queue and share in self._shares:
            self._shares.remove(share)
        if not self._shares and self._opening is not None:
            # The next one that waits starts it again.
            self._opening.cancel()
            self._opening = None


class Share:
    """The slots of one map, job or chat.

    Parameters
    ----------
    limiter : Limiter
        It limits all shares of a model together.
    most : int or None
        The most requests that may be in flight for this share. A chat has none, and does not limit others.
    waits_for_service : bool
        Whether it waits for a failing service. A chat in a cell does not: someone is waiting for its answer.
    """

    def __init__(self, limiter: Limiter, most: int | None, *, waits_for_service: bool = True) -> None:
        self.limiter = limiter
        self.most = most
        self.waits_for_service = waits_for_service
        self.taken = 0
        self.queue: deque[asyncio.Future[None]] = deque()
        self.is_paused = False

    @property
    def allowed(self) -> int:
        """The number of requests that may be in flight for it now."""
        most = 1 if self.most is None else self.most
        return int(min(most, self.limiter.allowed))

    @property
    def is_cut(self) -> bool:
        """Whether fewer may be in flight than wanted, because the service refused some."""
        return self.most is not None and self.allowed < self.most

    @property
    def backoff(self) -> tuple[str, float]:
        """Why its requests wait, and until when by the clock; an empty reason if they do not."""
        return self.limiter.reason, self.limiter.opens_at

    def may_take(self) -> bool:
        """Return whether the next one that waits may have a free slot."""
        while self.queue and self.queue[0].done():
            # It was cancelled.
            self.queue.popleft()
        if not self.queue or self.is_paused:
            return False
        if self.waits_for_service and self.limiter.is_waiting:
            return False
        return self.most is None or self.taken < self.most

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it inside the `async with` block. Runs on the event loop."""
        turn = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        self.limiter.add(self)
        try:
            await turn
        except BaseException:
            # One that is cancelled in its turn passes the turn on.
            if turn.done() and not turn.cancelled():
                self.limiter.released(self)
            else:
                if turn in self.queue:
                    self.queue.remove(turn)
                self.limiter.leave(self)
            raise
        try:
            yield
        finally:
            self.limiter.released(self)

    def claim(self, key: str) -> bool:
        """Return whether this share may send the question of this key. Then no other may, until the claim has ended."""
        # One operation: several threads claim.
        return self.limiter.claims.setdefault(key, self) is self

    def end_claim(self, key: str) -> None:
        """End the claim of a question: its result is on disk, if it is kept, or this share does not send it."""
        if self.limiter.claims.get(key) is self:
            del self.limiter.claims[key]

    def pause(self) -> None:
        """Give no more slots to this share. Requests in flight go on."""
        self.is_paused = True

    async def resume(self) -> None:
        """Give slots to this share again. Runs on the event loop."""
        self.is_paused = False
        self.limiter.wake()
