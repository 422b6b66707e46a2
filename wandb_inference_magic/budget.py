"""What calls may still cost: the budget holds the worst that a call can cost against what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .catalog import usd
from .errors import InferenceError
from .request import REPLY_TOKENS
from .tokens import estimate_messages

if TYPE_CHECKING:
    from .request import Request
    from .session import Session

REMEDY: Final = "See %wbusage; raise the limit with %wbconfig --budget, or begin anew with %wbusage --reset."


def left(session: Session) -> float | None:
    """Return the USD that may still be spent, without those held for calls in flight; None without a budget."""
    # Not all of the settings: this is looked at for each of many rows, and no environment variable sets it.
    budget = session.settings.budget
    if budget is None or _costs_nothing(session):
        return None
    return max(budget - spent(session) - session.ledger.held, 0.0)


def _costs_nothing(session: Session) -> bool:
    """Whether every answer comes from a cassette."""
    cassette = session.cassette()
    return cassette is not None and not cassette.records


def spent(session: Session) -> float:
    """Return the USD that count against the budget: this session's, or those of all kernels that share its file."""
    shared = session.shared_spending()
    return session.ledger.total().cost if shared is None else shared.total()


def worst_case(request: Request) -> float | None:
    """Return the most USD a request can cost, about; None where the price is not known."""
    if request.price is None:
        return None
    longest = request.body.get("max_tokens") or REPLY_TOKENS
    return request.price.cost(estimate_messages(request.messages), int(longest))


def hold(session: Session, request: Request) -> float:
    """Hold the most a request can cost, in USD, until `release`: for calls that are made at the same time.

    Raises
    ------
    InferenceError
        As `check` does.
    """
    worst = check(session, request)
    session.ledger.hold(worst)
    return worst


def release(session: Session, usd: float) -> None:
    """Give back what was held for a call that has ended: what it has cost is counted by now."""
    session.ledger.hold(-usd)


def check(session: Session, request: Request) -> float:
    """Return the most a request can cost, in USD (0 without a budget); refuse one that could cost more than is left.

    Raises
    ------
    InferenceError
        Cause `budget`; with the figures. Also for a price that is not known: it cannot be held against anything.
    """
    rest = left(session)
    if rest is None:
        return 0.0
    worst = worst_case(request)
    if worst is None:
        raise InferenceError(
            f"There is a budget, and the price of {request.model} is not known. Nothing was sent.",
            remedy="Choose a model with a known price (%wbmodels shows it), or take the budget away: "
            "%config WandbInference.budget = None",
            cause="budget",
        )
    if worst > rest:
        raise InferenceError(
            f"This could cost {usd(worst)}, and {_amount(rest)} is left of the budget. Nothing was sent.",
            remedy=f"A lower --max-tokens lowers the most it can cost. {REMEDY}",
            cause="budget",
        )
    return worst


def _amount(rest: float) -> str:
    return usd(rest) if rest else "nothing"
