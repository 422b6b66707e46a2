"""What calls may still cost: the budget reserves the worst that a call can cost, until its real cost is known."""

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
# A reply of fewer tokens is of no use: its call is refused.
FEWEST_TOKENS: Final = 16


def left(session: Session) -> float | None:
    """Return the USD that may still be spent, without those reserved for calls under way; None without a budget."""
    budget = _budget(session)
    if budget is None:
        return None
    shared = session.shared_spending()
    return session.usage.left(budget) if shared is None else shared.left(budget)


def remedy(session: Session) -> str:
    """Return what to do when too little is left."""
    return SHARED_REMEDY if session.settings.budget_file else REMEDY


def is_set(session: Session) -> bool:
    """Whether what calls cost is held against a budget, or shared with other kernels that may have one."""
    settings = session.settings
    return (settings.budget is not None or bool(settings.budget_file)) and not _costs_nothing(session)


def _costs_nothing(session: Session) -> bool:
    """Whether every answer comes from a cassette."""
    cassette = session.cassette()
    return cassette is not None and not cassette.records


def _budget(session: Session) -> float | None:
    """Return the USD that calls may cost; None where nothing limits them."""
    # Not all of the settings: this is looked at for each of many rows, and no environment variable sets it.
    budget = session.settings.budget
    return None if budget is None or _costs_nothing(session) else budget


class _WorstCase:
    """The most USD that a request can cost, given those that are left.

    A reply that the user set no limit for gets one, `limit`: what is left pays for as many replies as are `wanted` at
    once, each of at least `least` tokens, and of no more than `REPLY_TOKENS` or than the model can write.
    """

    def __init__(self, session: Session, request: PreparedRequest, price: Price, wanted: int, least: int) -> None:
        tokens = request.most_prompt_tokens
        # Some models charge more for what they put into their cache.
        self.prompt = max(price.cost(tokens, 0), price.cost(tokens, 0, tokens))
        self.usd = self.prompt
        self.limit: int | None = None
        # What a token of each reply that the service writes at once costs.
        self._token = price.cost(0, 1) * request.most_replies
        self._given = request.reply_limit
        self._wanted = wanted
        self._least = least
        self._most = REPLY_TOKENS if self._given else _most_of_reply(session, request)

    def __call__(self, left: float) -> float:
        """Return the USD, and set `usd` and `limit`."""
        if self._given or not self._token:
            self.usd = self.prompt + self._token * (self._given or 0)
            return self.usd
        affordable = (left / self._wanted - self.prompt) / self._token
        self.limit = int(min(max(affordable, self._least), self._most))
        self.usd = self.prompt + self._token * self.limit
        return self.usd


def _most_of_reply(session: Session, request: PreparedRequest) -> int:
    """Return how many tokens a reply may have at most: services refuse a limit beyond the model's context."""
    known = session.models.known(request.endpoint).find(request.model)
    tokens = request.prompt_tokens
    room = known.context - tokens - tokens // 8 if known and known.context else REPLY_TOKENS
    most = known.max_output if known and known.max_output else REPLY_TOKENS
    return max(min(room, most, REPLY_TOKENS), FEWEST_TOKENS)


def previewed(session: Session, requests: Sequence[PreparedRequest]) -> list[PreparedRequest]:
    """Return requests that go out together as the budget would let them go now, with what it would say of them."""
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
    """The most that a call under way can cost, reserved until it has ended and its cost is counted.

    One for each of the calls that are made at the same time; those that follow each other share one. Leaving it as a
    context manager releases it. `limit` is the limit on the reply that the budget adds to the request; None for none.
    """

    def __init__(self, session: Session) -> None:
        self.limit: int | None = None
        self._session = session
        self._request: PreparedRequest | None = None
        self._usd = 0.0
        self._cost = 0.0
        # Where the budget is shared: the file, and the call's name in it.
        self._shared: SharedSpending | None = None
        self._call = ""

    def reserve(self, request: PreparedRequest, *, wanted: int = 1, least: int = FEWEST_TOKENS) -> None:
        """Reserve the most that a request can cost, in the place of what was reserved for the one before it.

        A request that is tried again keeps its reservation.

        Parameters
        ----------
        request : PreparedRequest
        wanted : int
            How many calls, this one included, are to be made at once and have no reservation yet.
        least : int
            So many tokens are reserved for a reply at least, where the user set no limit.

        Raises
        ------
        InferenceError
            Cause `budget`, with the figures, where it could cost more than is left. Also for a price that is not
            known: it cannot be held against anything. Cause `option` for a limit on the reply that is none.
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
                remedy="Choose a model with a known price (%wbmodels shows it), or take the budget away: "
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
        """Reserve what is wanted if it is left, and return what was left."""
        shared = self._session.shared_spending()
        if shared is not self._shared:
            # The setting has changed.
            self.release()
        if shared is None:
            return self._session.usage.hold(self, worst, budget)
        # First: an interrupt can come as soon as the file has it.
        self._shared, self._call = shared, self._call or uuid4().hex
        return shared.reserve(self._call, worst, lambda: worst.prompt, budget)[0]

    def settle(self, call: Call) -> str:
        """Put what a call has cost in the place of its reservation; return what its reader should know of.

        A try that failed and cost nothing keeps it, for the next one.
        """
        cost = call.cost or 0.0
        if call.outcome == "failed" and not cost:
            return ""
        reserved, is_reserved = self._usd, self._request is not None
        if self._shared is None:
            self._session.share_cost(cost)
        else:
            # An interrupt may come before the file has it: who releases this then settles it.
            self._cost = cost
        self._end()
        if not is_reserved or cost <= reserved + ROUNDING:
            return ""
        return (
            f"This call cost {usd(cost)}, and {usd(reserved)} was reserved for it in the budget: the service counted "
            "more tokens than were estimated."
        )

    def release(self) -> None:
        """Give back what is reserved."""
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
