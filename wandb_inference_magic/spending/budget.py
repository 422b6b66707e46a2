"""The budget. It reserves the worst-case cost of a call until its real cost is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from ..catalog import usd, usd_apart
from ..errors import InferenceError
from ..messages import REPLY_TOKENS
from ..text import counted
from .usage import ROUNDING

if TYPE_CHECKING:
    from ..catalog import Price
    from ..messages import PreparedRequest
    from .shared_spending import SharedSpending
    from .usage import Call, UsageTracker

REMEDY: Final = "See %wbusage; raise the limit with %wbconfig --budget, or start again with %wbusage --reset."
SHARED_REMEDY: Final = (
    "Other kernels share it by the budget file, which %wbusage --reset does not reset. "
    "Raise the limit with %wbconfig --budget, or start again with another --budget-file."
)
# A shorter reply is useless: a call that can pay only for fewer tokens is refused.
MIN_REPLY_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Budget:
    """What the calls of one command may cost.

    `limit` is in USD, or None if nothing is checked. `shared` is the spending of all kernels that share the budget.
    """

    limit: float | None
    usage: UsageTracker
    shared: SharedSpending | None = None

    @property
    def left(self) -> float | None:
        """The USD that may still be spent, less those reserved for running calls; None without a limit."""
        if self.limit is None:
            return None
        return self.spending.left(self.limit)

    @property
    def reserved(self) -> float:
        """The USD reserved for calls in flight."""
        return self.spending.reserved()

    @property
    def spending(self) -> UsageTracker | SharedSpending:
        """What has the reservations: the session alone, or the file that kernels share."""
        return self.usage if self.shared is None else self.shared

    @property
    def remedy(self) -> str:
        """What the user can do when too little is left."""
        return REMEDY if self.shared is None else SHARED_REMEDY

    def may_become_affordable(self, request: PreparedRequest) -> bool:
        """Return whether calls in progress have reserved what could pay for a request, if they do not use all of it.

        Raises
        ------
        InferenceError
            As `Reservation.reserve`, if what it costs cannot be checked.
        """
        reserved, left = self.reserved, self.left
        if left is None or reserved <= ROUNDING:
            return False
        worst = _WorstCase(request, Reservation.checked_price(request), 1, MIN_REPLY_TOKENS)
        worst.fit(0.0)
        return worst.usd <= left + reserved + ROUNDING

    def preview(self, requests: Sequence[PreparedRequest]) -> list[PreparedRequest]:
        """Return requests that are sent together as the budget would allow them now, with the notices it would add."""
        with ExitStack() as stack:
            reservations = [stack.enter_context(Reservation(self)) for _ in requests]
            return [
                _previewed(reservation, request, wanted=len(requests) - number)
                for number, (request, reservation) in enumerate(zip(requests, reservations, strict=True))
            ]


def unknown_price(model: str, why: str = "") -> InferenceError:
    """Return the refusal of a request whose cost cannot be limited, because its price is not known."""
    return InferenceError(
        f"A budget is set, but the price of {model} is not known. Nothing was sent.",
        why=why,
        remedy="Choose a model with a known price (%wbmodels shows it), or remove the budget: "
        "%config WandbInference.budget = None",
        cause="budget",
    )


def _previewed(reservation: Reservation, request: PreparedRequest, *, wanted: int) -> PreparedRequest:
    try:
        reservation.reserve(request, wanted=wanted)
    except InferenceError as refusal:
        return request.noticed(str(refusal))
    limit = reservation.limit
    if limit is None:
        return request
    return request.with_body(max_tokens=limit).noticed(f"The reply can have at most {limit:,} tokens, by the budget.")


class _WorstCase:
    """The worst-case cost of a request in USD: `usd`, which `fit` sets for the USD that are left.

    If the user set no limit for the reply, `limit` is set, in tokens: what is left must pay for the `wanted` replies
    that are requested together. It is at least `least`, and at most `REPLY_TOKENS` and what the model can write.
    """

    def __init__(self, request: PreparedRequest, price: Price, wanted: int, least: int) -> None:
        tokens = request.most_prompt_tokens
        # Some models charge more for tokens that they write to their cache.
        self.prompt = max(price.cost(tokens, 0), price.cost(tokens, 0, tokens))
        self.usd = self.prompt
        self.limit: int | None = None
        # The cost of one token in every reply that the service may generate for the request.
        self._token = price.cost(0, 1) * request.most_replies
        self._given = request.reply_limit
        self._wanted = wanted
        self._least = least
        self._most = REPLY_TOKENS if self._given else _most_of_reply(request)

    def fit(self, left: float) -> float:
        """Set `usd` and `limit` for the USD that are left. Return `usd`, or infinity if they cannot pay it."""
        if self._given or not self._token:
            self.usd = self.prompt + self._token * (self._given or 0)
        else:
            affordable = (left / self._wanted - self.prompt) / self._token
            self.limit = int(min(max(affordable, self._least), self._most))
            self.usd = self.prompt + self._token * self.limit
        return self.usd if self.usd <= left + ROUNDING else inf


def _most_of_reply(request: PreparedRequest) -> int:
    """Return the most tokens that a reply may have. Services reject a limit beyond the model's context."""
    known, tokens = request.known, request.prompt_tokens
    room = known.context - tokens - tokens // 8 if known and known.context else REPLY_TOKENS
    most = known.max_output if known and known.max_output else REPLY_TOKENS
    return max(min(room, most, REPLY_TOKENS), MIN_REPLY_TOKENS)


class Reservation:
    """Reserves a call's worst-case cost until its real cost is known.

    Calls made at the same time need one each; calls made one after the other share one. Leaving the context manager
    releases it. `usd` are the USD that are reserved, `limit` is the limit on the reply that the budget adds to the
    request; None if it adds none.
    """

    def __init__(self, budget: Budget) -> None:
        self.limit: int | None = None
        self._budget = budget
        self._request: PreparedRequest | None = None
        self.usd = 0.0
        # Identifies the call while something is reserved for it.
        self._call = ""

    def reserve(
        self,
        request: PreparedRequest,
        *,
        wanted: int = 1,
        least: int = MIN_REPLY_TOKENS,
        after: int = 0,
    ) -> None:
        """Reserve the worst-case cost of a request. It replaces the reservation of the request before.

        A request that is retried keeps its reservation.

        Parameters
        ----------
        request : PreparedRequest
        wanted : int
            The number of calls, including this one, that are to be made together and have no reservation yet.
        least : int
            The fewest tokens to reserve for a reply when the user set no limit.
        after : int
            How many calls of the same answer, or of the same map, have been made, for the message.

        Raises
        ------
        InferenceError
            With cause `budget` when the request could cost more than is left; the message has the figures. Also when
            the price is unknown, because it cannot be checked. With cause `option` when the limit on the reply is not a
            number above 0.
        """
        limit = self._budget.limit
        if request is self._request or limit is None:
            return
        price = self.checked_price(request)
        worst = _WorstCase(request, price, wanted, least)
        call = self._call or uuid4().hex

        def fit(left: float) -> float:
            # An interrupt may come as soon as the cost is reserved, and `release` must find it. One that comes before,
            # while a file is locked, leaves nothing to release.
            self._call = call
            return worst.fit(left)

        rest = self._budget.spending.reserve(call, fit, worst.prompt, limit)
        if worst.usd > rest + ROUNDING:
            lower = "" if worst.limit else "A lower --max-tokens lowers the most it can cost. "
            reserved = self._budget.reserved
            could, left = usd_apart(worst.usd, rest) if rest > ROUNDING else (usd(worst.usd), "nothing")
            message = f"This could cost {could}, and {left} is left of the budget. Nothing was sent."
            if after:
                made = counted(after, "call")
                message = f"The budget is used up after {made}: the next could cost {could}, and {left} is left."
            raise InferenceError(
                message,
                why=f"Calls in progress have reserved {usd(reserved)}." if reserved > ROUNDING else "",
                remedy=f"{lower}{self._budget.remedy}",
                cause="budget",
            )
        self._request, self.usd, self.limit = request, worst.usd, worst.limit

    @staticmethod
    def checked_price(request: PreparedRequest) -> Price:
        """Return the price of a request whose cost can be limited.

        Raises
        ------
        InferenceError
            As `reserve`, if its price is unknown, or its limit on the reply is not a number above 0.
        """
        if request.price is None:
            raise unknown_price(request.model)
        if unclear := request.unclear_limit:
            raise InferenceError(
                f"A budget is set, but {unclear} is not a number above 0. Nothing was sent.",
                why="Services treat it differently; some then write without a limit.",
                remedy="Give a whole number, such as 500, or leave it out: the budget then sets a limit.",
            )
        return request.price

    def settle(self, call: Call) -> str:
        """Replace a call's reservation with its real cost. Return a notice for the user, or an empty string.

        A failed attempt that cost nothing keeps the reservation for the next attempt.
        """
        cost = call.cost or 0.0
        if call.outcome == "failed" and not cost:
            return ""
        reserved, is_reserved = self.usd, self._request is not None
        self.release(cost)
        if not is_reserved or cost <= reserved + ROUNDING:
            return ""
        return (
            f"This call cost {usd(cost)}, and {usd(reserved)} was reserved for it in the budget: the service counted "
            "more tokens than were estimated."
        )

    def release(self, cost: float = 0.0) -> None:
        """Release the reservation of a call, which has cost `cost` USD."""
        if self._call or cost:
            self._budget.spending.settle(self._call, cost)
        self._request, self.usd, self._call = None, 0.0, ""

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()
