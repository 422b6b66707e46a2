"""How many requests to one model may be in flight, whose turn it is, and how they wait for a service that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from math import inf
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..concurrency import Clock, ForkAware
from ..failures import LONGEST_DELAY, OUTAGE_SECONDS, Alarm, Verdict, delay_after, retry_delay

if TYPE_CHECKING:
    from ..errors import InferenceError
    from ..failures import Tries


class Limiters(ForkAware):
    """The limiters of a session, one for each model of an endpoint. All maps, jobs and chats with a model share it.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__()

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
            limiter.alarm.renew()
        return share


class Limiter:
    """An adaptive number of slots, shared fairly. The slots are changed on the event loop only.

    The service limits requests in flight per project, user and model, and publishes no figure. The limit is halved when
    the service refuses a request as one too many, lowered to what it answers at once when it is full, and raised slowly
    by answers. When the service fails, requests wait; then one is tried, and its answer lets the others follow. One
    that has not failed is tried first.

    Attributes
    ----------
    alarm : Alarm
        Whether the service fails, and how long requests wait for it.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.alarm = Alarm(self.clock)
        # The share that has claimed a question, by the question's key. Changed in the threads of the runs.
        self.claims: dict[str, Share] = {}
        # Those that have a slot or wait for one.
        self._shares: list[Share] = []
        # As many as the shares want, unless the service has refused some. Never less than 1.
        self._limit = inf
        # Requests that have failed because of the service, and what ends their wait.
        self._aside: list[tuple[Share, asyncio.Future[None]]] = []
        self._opening: asyncio.Task[None] | None = None

    @property
    def allowed(self) -> float:
        """The number of requests that may be in flight now; infinite if no share has a limit."""
        most = self._most
        return most if most == inf else int(min(self._limit, self.alarm.allowed, most))

    @property
    def _most(self) -> float:
        return max((one.most for one in self._shares if one.most is not None), default=inf)

    @property
    def in_flight(self) -> int:
        """The number of requests that have a slot."""
        return sum(one.taken for one in self._shares)

    def served(self, tries: Tries) -> None:
        """Note an answer to a request. As many answers as slots add one slot, and requests that waited follow."""
        if self.alarm.is_new(tries):
            self._limit += 1 / self._limit
            if self._limit >= self._most:
                self._limit = inf
        if tries.is_crowded:
            self._limit = max(1.0, min(self._limit, self.alarm.served_at_once))
        if self.alarm.answered(tries):
            for _, turn in self._aside:
                if not turn.done():
                    turn.set_result(None)
        self.wake()

    def failed(
        self, error: InferenceError, tries: Tries, *, is_alone: bool = False, has_answers: bool = False, beside: int = 0
    ) -> Verdict:
        """Note a failure of a request. Return whose it is. See `Alarm.failed`."""
        verdict = self.alarm.failed(error, tries, is_alone=is_alone, has_answers=has_answers, beside=beside)
        if verdict is Verdict.SERVICE:
            if error.is_too_many:
                self._limit = max(1.0, min(self._limit, self._most) / 2)
            self._open_later()
        return verdict

    def forget(self, tries: Tries) -> None:
        """Forget a request that has ended, and let others have the turn that it did not use."""
        self.alarm.forget(tries)
        self.wake()

    async def set_aside(self, share: Share) -> None:
        """Wait until the service answers another request, or may be tried and no other request waits for that."""
        place = share, asyncio.get_running_loop().create_future()
        self._aside.append(place)
        self._open_later()
        self.wake()
        try:
            await place[1]
        finally:
            self._aside.remove(place)
            self._stop_opening()

    def _open_later(self) -> None:
        """Let those that wait have slots again when the time has come."""
        is_needed = (self._shares or self._aside) and self.alarm.is_waiting
        if is_needed and (self._opening is None or self._opening.done()):
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        """Wait until requests may be sent again, and let those that wait have the free slots."""
        while (left := self.alarm.opens_at - self.clock.now()) > 0:
            await self.clock.sleep(left)
        self.wake()

    def _stop_opening(self) -> None:
        """Wait no longer if nothing else does. The next one that waits starts it again."""
        if not self._shares and not self._aside and self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def wake(self) -> None:
        """Give the free slots to those that wait, first to the shares that have the fewest.

        If a slot is left and the service may be tried, the first request of those aside may ask for the slot. In an
        alarm, those follow whose failures say nothing about the service.
        """
        while self.in_flight < self.allowed:
            telling = self.alarm.is_on
            ready = [one for one in self._shares if one.may_take(telling=telling)]
            if not ready:
                turns = [turn for share, turn in self._aside if not share.is_paused and not turn.done()]
                if turns and not self.alarm.is_waiting:
                    turns[0].set_result(None)
                    return
                telling = False
                ready = [one for one in self._shares if one.may_take()]
            if not ready:
                return
            min(ready, key=lambda one: one.taken).take(telling=telling)

    def add(self, share: Share) -> None:
        """Count a share among those that have a slot or wait for one, and give it a slot if one is free."""
        if share not in self._shares:
            self._shares.append(share)
        self._open_later()
        self.wake()

    def released(self, share: Share) -> None:
        """Take back the slot of a share. The next one has it when the failure of this one has been noted."""
        share.taken -= 1
        self.leave(share)
        asyncio.get_running_loop().call_soon(self.wake)

    def leave(self, share: Share) -> None:
        """Remove a share that neither has a slot nor waits for one."""
        if not share.taken and not share.queue and share in self._shares:
            self._shares.remove(share)
        self._stop_opening()


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
        # Those of its requests that have failed, and those of them that are between two tries.
        self._failed: set[Tries] = set()
        self._resting: set[Tries] = set()
        self._has_answers = False
        # Those that wait for a slot, each with its tries.
        self.queue: dict[asyncio.Future[None], Tries] = {}
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
        return self.limiter.alarm.reason, self.limiter.alarm.opens_at

    def may_take(self, *, telling: bool = False) -> bool:
        """Return whether the next one that waits may have a free slot: of those whose failures tell, if `telling`."""
        if self._next(telling=telling) is None or self.is_paused:
            return False
        if self.waits_for_service and self.limiter.alarm.is_waiting:
            return False
        return self.most is None or self.taken < self.most

    def _next(self, *, telling: bool) -> asyncio.Future[None] | None:
        for turn, tries in self.queue.items():
            # One that is done was cancelled.
            if not turn.done() and not (telling and tries.is_settled):
                return turn
        return None

    def take(self, *, telling: bool) -> None:
        """Give a slot to the next one that waits."""
        turn = self._next(telling=telling)
        assert turn is not None
        del self.queue[turn]
        turn.set_result(None)
        self.taken += 1

    @asynccontextmanager
    async def slot(self, tries: Tries) -> AsyncIterator[None]:
        """Wait for a slot and hold it inside the `async with` block. Runs on the event loop.

        `tries` are those of the request.
        """
        turn = asyncio.get_running_loop().create_future()
        self.queue[turn] = tries
        self.limiter.add(self)
        try:
            with self.resting(tries) if tries.is_settled else nullcontext():
                await turn
        except BaseException:
            # One that is cancelled in its turn passes the turn on.
            if turn.done() and not turn.cancelled():
                self.limiter.released(self)
            else:
                self.queue.pop(turn, None)
                self.limiter.leave(self)
            raise
        try:
            yield
        finally:
            self.limiter.released(self)

    def served(self, tries: Tries) -> None:
        """Note an answer to one of its requests. Runs on the event loop."""
        # A chat has no other requests than those that are sent one after the other.
        self._has_answers = self.most is not None
        self.limiter.served(tries)

    async def delay_after(
        self, error: InferenceError, tries: Tries, max_retries: int, *, is_alone: bool
    ) -> float | None:
        """Return the seconds that a request has to wait until its next try, or None if there is none.

        If it failed because of the service, wait for that first. Runs on the event loop.

        Parameters
        ----------
        error : InferenceError
            Why it failed.
        tries : Tries
            Those of the request.
        max_retries : int
            How many it has after the first one. Those that failed because of the service do not count.
        is_alone : bool
            Whether its run has no other request that can show whether the service works.
        """
        failed_at, was_guilty = self.limiter.clock.now(), tries.is_guilty
        verdict = self.limiter.failed(
            error,
            tries,
            is_alone=is_alone,
            has_answers=self._has_answers,
            beside=self.limiter.in_flight if self.waits_for_service else 0,
        )
        if verdict is Verdict.GIVEN_UP:
            return None
        longest = OUTAGE_SECONDS if self.waits_for_service else LONGEST_DELAY
        if verdict is Verdict.CROWDED:
            tries.forgiven += 1
            # There may soon be room, unless nothing is answered meanwhile.
            return delay_after(error, min(tries.count, 2 + tries.idle), longest)
        if verdict is not Verdict.OWN:
            with self.resting(tries):
                await self.limiter.set_aside(self)
            if was_guilty or not tries.is_guilty or not error.retryable:
                # If its own failure cannot pass, it must fail once more for that.
                tries.forgiven += 1
                return 0.0
        if tries.is_guilty:
            # Others were answered.
            error.affects_all = False
        seconds = retry_delay(error, tries.own, max_retries, longest)
        return None if seconds is None else max(0.0, failed_at + seconds - self.limiter.clock.now())

    @property
    def away(self) -> int:
        """How many of its requests leave their places to others: between two tries, or because they fail slowly."""
        return sum(one.fails_slowly or one in self._resting for one in tuple(self._failed))

    @contextmanager
    def resting(self, tries: Tries) -> Iterator[None]:
        """Count a request as one between two tries inside the `with` block: others may be started meanwhile."""
        self._failed.add(tries)
        self._resting.add(tries)
        try:
            yield
        finally:
            self._resting.discard(tries)

    def forget(self, tries: Tries) -> None:
        """Forget a request that has ended."""
        self._failed.discard(tries)
        self.limiter.forget(tries)

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
