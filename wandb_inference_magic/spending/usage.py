"""The usage of a session: tokens, seconds and cost by model. Every call is counted, whatever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import ForkAware
from ..errors import is_unsent
from ..failures import outcome_of
from ..messages import Usage, estimate, writing_seconds

if TYPE_CHECKING:
    from ..catalog import Price
    from ..failures import CallOutcome
    from ..messages import PreparedRequest
    from ..replies import ReplyBuilder

NOTHING = Usage(0, 0)
# In USD. A sum of floats may be slightly above or below the exact sum.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was sent, and its outcome.

    `usage` is the endpoint's count, or an estimate (`is_estimate`) if the endpoint gave none or an invalid one. `cost`
    is in USD, or None if the price is not known; a replayed call costs nothing. `seconds` is the time from sending to
    the end, `seconds_to_first` the time to the first piece of the reply.
    """

    model: str
    endpoint: str
    outcome: CallOutcome
    usage: Usage = NOTHING
    is_estimate: bool = False
    cost: float | None = 0.0
    seconds: float = 0.0
    seconds_to_first: float | None = None
    is_replayed: bool = False


@dataclass(slots=True)
class Total:
    """The sum of several calls. Failed calls count in `calls` too, with what they used before they failed.

    `cost` is the cost in USD of the calls whose price is known, `unpriced` the number of other calls, `estimates` the
    number of calls whose tokens the endpoint did not count, `replayed` that of those from a cassette.
    `writing_tokens` were received in `writing_seconds`, without the wait for the first.
    """

    calls: int = 0
    failed: int = 0
    interrupted: int = 0
    usage: Usage = NOTHING
    seconds: float = 0.0
    failed_seconds: float = 0.0
    first_seconds: float = 0.0
    firsts: int = 0
    writing_tokens: int = 0
    writing_seconds: float = 0.0
    cost: float = 0.0
    unpriced: int = 0
    estimates: int = 0
    replayed: int = 0

    def add(self, call: Call) -> None:
        """Count a call."""
        self.calls += 1
        has_failed = call.outcome in ("failed", "lost")
        self.failed += has_failed
        self.interrupted += call.outcome == "interrupted"
        self.usage += call.usage
        self.seconds += call.seconds
        self.failed_seconds += call.seconds if has_failed else 0.0
        if call.seconds_to_first is not None:
            self.firsts += 1
            self.first_seconds += call.seconds_to_first
        if call.usage.completion_tokens:
            self.writing_tokens += call.usage.completion_tokens
            self.writing_seconds += writing_seconds(call.seconds, call.seconds_to_first)
        self.cost += call.cost or 0.0
        self.unpriced += call.cost is None
        self.estimates += call.is_estimate
        self.replayed += call.is_replayed

    def __add__(self, other: Total) -> Total:
        return Total(*(getattr(self, name) + getattr(other, name) for name in Total.__slots__))

    @property
    def tokens_per_second(self) -> float | None:
        """The speed at which replies were written, or None if nothing was written."""
        return self.writing_tokens / self.writing_seconds if self.writing_seconds else None

    @property
    def mean_seconds_to_first(self) -> float | None:
        """The mean wait for the start of a reply, or None if no reply began."""
        return self.first_seconds / self.firsts if self.firsts else None


class UsageTracker(ForkAware):
    """The totals by endpoint and model, since the time `since`. Several threads may count at the same time."""

    def __init__(self) -> None:
        self.since = datetime.now()
        self.totals: dict[tuple[str, str], Total] = {}
        super().__init__()

    def after_fork_in_child(self) -> None:
        # Another thread of the parent may have held the lock. The calls in flight are the parent's.
        self._lock = Lock()
        # The worst-case cost of each call in flight.
        self._reserved: dict[str, float] = {}
        # Of calls that are counted before the totals are used next.
        self._dropped: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def end_later(self, end: Callable[[], None]) -> None:
        """Have a call counted before the totals are used next. It may come in the middle of anything else."""
        self._dropped.put(end)

    def _end_dropped(self) -> None:
        with suppress(Empty):
            while True:
                self._dropped.get_nowait()()

    def reserved(self) -> float:
        """Return the USD reserved for calls in flight."""
        self._end_dropped()
        with self._lock:
            return sum(self._reserved.values(), 0.0)

    def count(self, call: Call) -> None:
        """Count a call that has ended."""
        with self._lock:
            self.totals.setdefault((call.endpoint, call.model), Total()).add(call)

    def left(self, limit: float) -> float:
        """Return the USD left of `limit`, less those reserved for calls in flight."""
        self._end_dropped()
        with self._lock:
            return self._left(limit)

    def reserve(self, call: str, cost: Callable[[float], float], _estimate: float, limit: float) -> float:
        """Reserve the worst-case cost of a call, if that much of `limit` is left. It replaces the earlier reservation.

        Parameters
        ----------
        call : str
            Identifies the reservation.
        cost : callable
            Takes the USD that are left, and returns the USD to reserve, or infinity to reserve nothing.
        limit : float

        Returns
        -------
        float
            The USD that were left. If they are less than `cost` returns, the reservation is unchanged. The check and
            the reservation are one step, so that calls that begin at the same time take account of each other.
        """
        self._end_dropped()
        with self._lock:
            left = self._left(limit + self._reserved.get(call, 0.0))
            usd = cost(left)
            if usd <= left + ROUNDING:
                self._reserved[call] = usd
            return left

    def settle(self, call: str, _usd: float) -> None:
        """Release the reservation of a call that has ended. Its real cost has been counted by now."""
        with self._lock:
            self._reserved.pop(call, None)

    def _left(self, limit: float) -> float:
        spent = sum(total.cost for total in self.totals.values())
        return max(limit - spent - sum(self._reserved.values(), 0.0), 0.0)

    @contextmanager
    def counting(
        self, request: PreparedRequest, builder: ReplyBuilder, settle: Callable[[Call], str]
    ) -> Iterator[None]:
        """Count the one call made inside the `with` block, however it ends, from what `builder` has received by then.

        A request that a cassette does not hold, and that cannot be sent, is no call.
        `settle` replaces the call's reservation with its cost, and returns a notice for the user, or an empty string.
        """
        started = perf_counter()
        outcome: CallOutcome | None = "answered"
        try:
            yield
        except BaseException as failure:
            outcome = None if is_unsent(failure) else outcome_of(failure)
            raise
        finally:
            if outcome is not None:
                self.end(request, builder, outcome, started, settle)

    def end(
        self,
        request: PreparedRequest,
        builder: ReplyBuilder,
        outcome: CallOutcome,
        started: float,
        settle: Callable[[Call], str],
    ) -> None:
        """Count a call that was sent at `started` (`perf_counter`) and has ended; see `counting`."""
        if builder.timing is not None:
            started = builder.started
        usage, is_estimate = _used(outcome, request, builder)
        call = Call(
            request.model,
            request.endpoint.name,
            outcome,
            usage,
            is_estimate,
            0.0 if builder.is_replayed else _cost(usage, request.price),
            builder.now() - started,
            None if builder.first_at is None else max(builder.first_at - started, 0.0),
            builder.is_replayed,
        )
        if call.is_estimate and (builder.invalid_usage or builder.usage is not None):
            builder.estimated(call.usage)
        self.count(call)
        builder.notice(settle(call))

    def total(self) -> Total:
        """Return the total of all calls."""
        self._end_dropped()
        with self._lock:
            return sum(self.totals.values(), Total())

    def by_model(self) -> list[tuple[str, str, Total]]:
        """Return the endpoint, the model and a copy of the total for each model, in the order of the first calls."""
        self._end_dropped()
        with self._lock:
            return [(endpoint, model, replace(total)) for (endpoint, model), total in self.totals.items()]

    def reset(self) -> None:
        """Clear the totals and count from now."""
        with self._lock:
            self.totals.clear()
            self.since = datetime.now()


def _used(outcome: str, request: PreparedRequest, builder: ReplyBuilder) -> tuple[Usage, bool]:
    """Return the tokens of a call, and whether they are an estimate. A request that was refused used none."""
    if builder.usage is not None and not builder.is_miscounted:
        return builder.usage, False
    if outcome == "failed" and not builder.has_begun and not builder.invalid_usage:
        return NOTHING, False
    estimated = Usage(request.prompt_tokens, estimate(builder.written))
    return builder.usage.over(estimated) if builder.usage else estimated, True


def _cost(usage: Usage, price: Price | None) -> float | None:
    if usage == NOTHING:
        return 0.0
    return None if price is None else usage.cost(price)


# The types of the columns of `usage_rows` in which a value may be missing, as pandas names them.
USAGE_TYPES: Final = dict.fromkeys(("seconds_to_first", "tokens_per_second", "cost_usd"), "Float64")


def usage_rows(by_model: Sequence[tuple[str, str, Total]]) -> list[dict[str, Any]]:
    """Return the totals as plain rows for a DataFrame, with numbers as numbers."""
    return [
        {
            "endpoint": endpoint,
            "model": model,
            "calls": total.calls,
            "failed": total.failed,
            "interrupted": total.interrupted,
            "prompt_tokens": total.usage.prompt_tokens,
            "cached_tokens": total.usage.cached_tokens,
            "completion_tokens": total.usage.completion_tokens,
            "seconds": total.seconds,
            "seconds_to_first": total.mean_seconds_to_first,
            "tokens_per_second": total.tokens_per_second,
            "cost_usd": None if total.unpriced else total.cost,
            "estimated_calls": total.estimates,
        }
        for endpoint, model, total in by_model
    ]
