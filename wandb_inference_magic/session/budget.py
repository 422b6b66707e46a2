"""The budget. It reserves the worst-case cost of a call until its real cost is known."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from ..catalog import usd
from ..errors import InferenceError
from ..messages import REPLY_TOKENS
from .usage import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..catalog import Price
    from ..messages import PreparedRequest
    from .session import Session
    from .shared_spending import SharedSpending
    from .usage import Call

REMEDY: Final = "See %wbusage; raise the limit with %wbconfig --budget, or start again with %wbusage --reset."
SHARED_REMEDY: Final = (
    "Others share it by the budget file, and %wbusage --reset does not begin that anew. "
    "Raise the limit with %wbconfig --budget, or start again with another --budget-file."
)
# A shorter reply is useless: a call that can pay only for fewer tokens is refused.
FEWEST_TOKENS: Final = 16


def left(session: Session) -> float | None:
    """Return the USD that may still be spent, less those reserved for running calls; None without a budget."""
    budget = _budget(session)
    if budget is None:
        return None
    shared = session.shared_spending()
    return session.usage.left(budget) if shared is None else shared.left(budget)


def remedy(session: Session) -> str:
    """Return what the user can do when too little is left."""
    return SHARED_REMEDY if session.settings.budget_file else REMEDY


def is_set(session: Session) -> bool:
    """Whether costs are checked against a budget, or shared with other kernels that may have one."""
    settings = session.settings
    return (settings.budget is not None or bool(settings.budget_file)) and not _costs_nothing(session)


def _costs_nothing(session: Session) -> bool:
    """Whether every answer comes from a cassette."""
    cassette = session.cassette()
    return cassette is not None and not cassette.records


def _budget(session: Session) -> float | None:
    """Return the USD that calls may cost, or None if there is no limit."""
    # Read without resolving all settings: this runs for each of many rows, and no environment variable sets it.
    budget = session.settings.budget
    return None if budget is None or _costs_nothing(session) else budget


class _WorstCase:
    """The worst-case cost of a request in USD, given the USD that are left.

    If the user set no limit for the reply, `limit` is set, in tokens: what is left must pay for the `wanted` replies
    that are requested at once. It is at least `least`, and at most `REPLY_TOKENS` and what the model can write.
    """

    def __init__(self, session: Session, request: PreparedRequest, price: Price, wanted: int, least: int) -> None:
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
        self._most = REPLY_TOKENS if self._given else _most_of_reply(session, request)

    def __call__(self, left: float) -> float:
        """Return the cost in USD, and set `usd` and `limit`."""
        if self._given or not self._token:
            self.usd = self.prompt + self._token * (self._given or 0)
            return self.usd
        affordable = (left / self._wanted - self.prompt) / self._token
        self.limit = int(min(max(affordable, self._least), self._most))
        self.usd = self.prompt + self._token * self.limit
        return self.usd


def _most_of_reply(session: Session, request: PreparedRequest) -> int:
    """Return the most tokens that a reply may have. Services reject a limit beyond the model's context."""
    known = session.models.known(request.endpoint).find(request.model)
    tokens = request.prompt_tokens
    room = known.context - tokens - tokens // 8 if known and known.context else REPLY_TOKENS
    most = known.max_output if known and known.max_output else REPLY_TOKENS
    return max(min(room, most, REPLY_TOKENS), FEWEST_TOKENS)


def previewed(session: Session, requests: Sequence[PreparedRequest]) -> list[PreparedRequest]:
    """Return requests that are sent together as the budget would allow them now, with the notices it would add."""
    with ExitStack() as stack:
        holds = [stack.enter_context(Reservation(session)) for _ in requests]
        return [
            _previewed(hold, request, wanted=len(requests) - number)
            for number, (request, hold) in enumerate(zip(requests, holds, strict=True))
        ]


def _previewed(hold: Reservation, request: PreparedRequest, *, wanted: int) -> PreparedRequest:
    try:
        hold.reserve(request, wanted=wanted)
    except InferenceError as refusal:
        return request.noticed(str(refusal))
    if hold.limit is None:
        return request
    words = f"The reply can have at most {hold.limit:,} tokens, by the budget."
    return request.with_body(max_tokens=hold.limit).noticed(words)


class Reservation:
    """Reserves a call's worst-case cost until its real cost is known.

    Calls made at the same time need one each; calls made one after the other share one. Leaving the context manager
    releases it. `limit` is the limit on the reply that the budget adds to the request; None if it adds none.
    """

    def __init__(self, session: Session) -> None:
        self.limit: int | None = None
        self._session = session
        self._request: PreparedRequest | None = None
        self._usd = 0.0
        self._cost = 0.0
        # For a shared budget: the file, and the call's name in it.
        self._shared: SharedSpending | None = None
        self._call = ""

    def reserve(self, request: PreparedRequest, *, wanted: int = 1, least: int = FEWEST_TOKENS) -> None:
        """Reserve the worst-case cost of a request. It replaces the reservation of the request before.

        A request that is retried keeps its reservation.

        Parameters
        ----------
        request : PreparedRequest
        wanted : int
            The number of calls, including this one, that are to be made at once and have no reservation yet.
        least : int
            The fewest tokens to reserve for a reply when the user set no limit.

        Raises
        ------
        InferenceError
            With cause `budget` when the request could cost more than is left; the message has the figures. Also when
            the price is unknown, because it cannot be checked. With cause `option` when the limit on the reply is not a
            number above 0.
        """
        if request is self._request:
            return
        budget = _budget(self._session)
        if budget is None:
            self.limit = None
            return
        if request.price is None:
            raise InferenceError(
                f"There is a budget, and the price of {request.model} is not known. Nothing was sent.",
                remedy="Choose a model with a known price (%wbmodels shows it), or remove the budget: "
                "%config WandbInference.budget = None",
                cause="budget",
            )
        if unclear := request.unclear_limit:
            raise InferenceError(
                f"There is a budget, and {unclear} is not a number above 0. Nothing was sent.",
                why="Services differ in what they make of it; some then write without a limit.",
                remedy="Give a whole number: --max-tokens 500. Or leave it out: the budget then sets a limit.",
                cause="option",
            )
        worst = _WorstCase(self._session, request, request.price, wanted, least)
        rest = self._reserve(worst, budget)
        if worst.usd > rest + ROUNDING:
            lower = "" if worst.limit else "A lower --max-tokens lowers the most it can cost. "
            raise InferenceError(
                f"This could cost {usd(worst.usd)}, and {_amount(rest)} is left of the budget. Nothing was sent.",
                remedy=f"{lower}{remedy(self._session)}",
                cause="budget",
            )
        self._request, self._usd, self.limit = request, worst.usd, worst.limit

    def _reserve(self, worst: _WorstCase, budget: float) -> float:
        """Reserve the worst-case cost if that much is left. Return what was left."""
        shared = self._session.shared_spending()
        if shared is not self._shared:
            # The `budget_file` setting has changed.
            self.release()
        if shared is None:
            return self._session.usage.hold(self, worst, budget)
        # Set first, because an interrupt can come as soon as the file has the reservation.
        self._shared, self._call = shared, self._call or uuid4().hex
        return shared.reserve(self._call, worst, lambda: worst.prompt, budget)[0]

    def settle(self, call: Call) -> str:
        """Replace a call's reservation with its real cost. Return a notice for the user, or an empty string.

        A failed attempt that cost nothing keeps the reservation for the next attempt.
        """
        cost = call.cost or 0.0
        if call.outcome == "failed" and not cost:
            return ""
        reserved, is_reserved = self._usd, self._request is not None
        if self._shared is None:
            self._session.share_cost(cost)
        else:
            # An interrupt may come before the file has the cost; `release` then writes it.
            self._cost = cost
        self._end()
        if not is_reserved or cost <= reserved + ROUNDING:
            return ""
        return (
            f"This call cost {usd(cost)}, and {usd(reserved)} was reserved for it in the budget: the service counted "
            "more tokens than were estimated."
        )

    def release(self) -> None:
        """Release the reservation."""
        self._end()

    def _end(self) -> None:
        cost, self._cost = self._cost, 0.0
        if self._shared is None:
            self._session.usage.release(self)
        else:
            self._shared.settle(self._call, cost)
        self._request, self._usd, self._shared, self._call = None, 0.0, None, ""

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def _amount(rest: float) -> str:
    return usd(rest) if rest > ROUNDING else "nothing"
