"""What calls may still cost: the budget holds the worst that a call can cost against what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .catalog import usd
from .errors import InferenceError
from .request import REPLY_TOKENS

if TYPE_CHECKING:
    from .request import Request
    from .session import Session

REMEDY: Final = "See %wbusage; raise the limit with %wbconfig --budget, or begin anew with %wbusage --reset."


def left(session: Session) -> float | None:
    """Return the USD that may still be spent, without those held for calls in flight; None without a budget."""
    limit = _limit(session)
    return None if limit is None else session.ledger.left(limit)


def is_set(session: Session) -> bool:
    """Whether what calls cost is held against a budget, or shared with other kernels that may have one."""
    settings = session.settings
    return (settings.budget is not None or bool(settings.budget_file)) and not _costs_nothing(session)


def _costs_nothing(session: Session) -> bool:
    """Whether every answer comes from a cassette."""
    cassette = session.cassette()
    return cassette is not None and not cassette.records


def _limit(session: Session) -> float | None:
    """Return the USD that this session's calls may cost: the budget, without what others have spent of it."""
    # Not all of the settings: this is looked at for each of many rows, and no environment variable sets it.
    budget = session.settings.budget
    if budget is None or _costs_nothing(session):
        return None
    shared = session.shared_spending()
    if shared is None:
        return budget
    # Ours first: a call that is counted in between makes the limit lower, not higher.
    ours = session.ledger.cost
    return budget - (shared.total() - ours)


def worst_case(request: Request) -> float | None:
    """Return the most USD a request can cost, about; None where the price is not known.

    A reply without a limit is taken to have no more than `REPLY_TOKENS`: few have, and what models could write at
    most would let no call through.
    """
    if request.price is None:
        return None
    return request.price.cost(request.prompt_tokens, request.reply_limit or REPLY_TOKENS)


class Hold:
    """The most that a call under way can cost, held of the budget until it has ended and its cost is counted.

    One for each of the calls that are made at the same time; those that follow each other share one. Leaving it as a
    context manager releases it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._usd = 0.0

    def take(self, request: Request) -> None:
        """Hold the most that a request can cost, in the place of what was held for the one before it.

        Raises
        ------
        InferenceError
            Cause `budget`, with the figures, where it could cost more than is left. Also for a price that is not
            known: it cannot be held against anything.
        """
        limit = _limit(self._session)
        if limit is None:
            return
        worst = worst_case(request)
        if worst is None:
            raise InferenceError(
                f"There is a budget, and the price of {request.model} is not known. Nothing was sent.",
                remedy="Choose a model with a known price (%wbmodels shows it), or take the budget away: "
                "%config WandbInference.budget = None",
                cause="budget",
            )
        rest = self._session.ledger.hold(worst, limit, instead_of=self._usd)
        if worst > rest:
            raise InferenceError(
                f"This could cost {usd(worst)}, and {_amount(rest)} is left of the budget. Nothing was sent.",
                remedy=f"A lower --max-tokens lowers the most it can cost. {REMEDY}",
                cause="budget",
            )
        self._usd = worst

    def release(self) -> None:
        """Give back what is held."""
        self._session.ledger.release(self._usd)
        self._usd = 0.0

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _amount(rest: float) -> str:
    return usd(rest) if rest else "nothing"
