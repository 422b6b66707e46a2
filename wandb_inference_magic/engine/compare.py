"""Send one prompt to several models at once and show the replies side by side. Nothing is added to the thread."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from .. import concurrency as background
from ..errors import InferenceError, Interrupted
from ..messages import ComparedModel, NullComparisonListener, Reply, ReplyBuilder
from ..session import budget, traced
from .call import ModelCall
from .request import NOWHERE, prepare_request, trace_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..client import AsyncClient
    from ..messages import ComparisonListener, Origin
    from ..session import Session, Trace
    from .request import ChatSpec

MOST_MODELS: Final = 9


def run_comparison(
    session: Session,
    asks: Sequence[ChatSpec],
    *,
    origin: Origin = NOWHERE,
    listener: ComparisonListener | None = None,
) -> list[Reply]:
    """Send a prompt to several models at once and return their replies in the order of `asks`.

    A model that fails does not affect the others. Its Reply has the text received before the error, if any, and its
    `incomplete` attribute says why the model failed.

    Parameters
    ----------
    session : Session
    asks : sequence of ChatSpec
        The same prompt for each model; at most `MOST_MODELS`.
    origin : Origin
        The running cell.
    listener : ComparisonListener, optional
        Draws the replies; without one nothing is drawn.

    Raises
    ------
    InferenceError
        When no model answers.
    Interrupted
        When the user interrupts. The partial replies are drawn and kept.
    """
    listener = listener or NullComparisonListener()
    most_retries = session.resolve().max_retries
    # The stack is entered before the first reservation: an interrupt can come before the last one is ready.
    with ExitStack() as stack:
        holds = [stack.enter_context(budget.Reservation(session)) for _ in asks]
        contenders = [
            _Contender(session, ask, origin, hold, most_retries, wanted=len(asks) - number)
            for number, (ask, hold) in enumerate(zip(asks, holds, strict=True))
        ]
        inputs = trace_inputs(asks[0], *(one.model for one in contenders))
        with traced(session.tracer(), "wbchat", inputs, {}, listener) as trace:
            replies = _compared(session, listener, contenders, trace)
    errors = [one.state.error for one in contenders]
    if errors[0] is not None and None not in errors:
        raise InferenceError(
            "None of the models answered.", why=errors[0].what, remedy=errors[0].remedy, cause=errors[0].cause
        )
    return replies


def _compared(
    session: Session, listener: ComparisonListener, contenders: Sequence[_Contender], trace: Trace
) -> list[Reply]:
    """Send all requests at once, then draw, keep and return the replies."""
    models = [one.state for one in contenders]
    interrupted = ""
    try:
        with listener.following(models):
            background.run(_receive_all(session, contenders))
    except KeyboardInterrupt:
        interrupted = "interrupted"
    replies = [one.reply(interrupted) for one in contenders]
    # One trace holds all replies, so there is one link.
    trace.came(next((reply for reply in reversed(replies) if reply.text), replies[-1]))
    trace.output = {one.asked_model: {"text": one.text, "reasoning": one.reasoning, **one.facts()} for one in replies}
    trace.summary = {"cost_usd": {one.asked_model: one.cost for one in replies}}
    session.last_comparison = replies
    listener.finish(models, replies, interrupted=bool(interrupted))
    if interrupted:
        raise Interrupted("The partial replies are in _wbreply; the thread is unchanged.")
    return replies


async def _receive_all(session: Session, contenders: Sequence[_Contender]) -> None:
    parts = [(one, one.part) for one in contenders if one.part is not None]
    if not parts:
        return
    async with session.async_client(parts[0][1].sent.endpoint) as client:
        await asyncio.gather(*(one.receive(part, client) for one, part in parts))


class _Contender:
    """One model of a comparison: its reply so far or its error. `part` is None if no request could be sent."""

    def __init__(
        self,
        session: Session,
        ask: ChatSpec,
        origin: Origin,
        hold: budget.Reservation,
        most_retries: int,
        *,
        wanted: int,
    ) -> None:
        self.model = ask.model or ""
        self.state = ComparedModel(self.model)
        self.part: ModelCall | None = None
        try:
            request = prepare_request(session, ask, origin)
            hold.reserve(request, wanted=wanted)
            self.part = ModelCall(session, ask, request, hold, most_retries, self.state)
        except InferenceError as error:
            self.state.error = error

    async def receive(self, part: ModelCall, client: AsyncClient) -> None:
        """Receive the reply. An error is stored, not raised."""
        try:
            parsed = await part.receive(client)
        except Exception as failure:  # noqa: BLE001 - reported in this model's column
            error = part.explained(failure)
            if error.cause != "answer":
                self.state.error = error
                return
            # An answer that does not fit is still a reply and can be compared.
            reply = part.reply("not what was asked for")
            reply.notices = (*reply.notices, f"{error.what} {error.why}".strip())
        else:
            reply = part.reply()
            reply.parsed = parsed
        self.state.ended = reply

    def reply(self, interrupted: str = "") -> Reply:
        """Return the reply, complete or partial."""
        if self.state.ended is not None:
            return self.state.ended
        incomplete = self.state.error.what if self.state.error else interrupted
        if self.part is not None:
            return self.part.reply(incomplete)
        return ReplyBuilder().build(asked_model=self.model, endpoint="", price=None, messages=(), incomplete=incomplete)
