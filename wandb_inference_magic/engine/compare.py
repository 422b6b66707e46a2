"""Send one prompt to several models together and show the replies side by side. Nothing is added to the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ..catalog import usd
from ..errors import InferenceError, Interrupted
from ..replies import CallProgress, Listener, ReplyBuilder
from ..spending import Reservation
from .call import ModelCall
from .request import NOWHERE, prepare_request, trace_inputs

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..concurrency import Interrupts
    from ..messages import Origin, Reply
    from ..session import Command, Trace
    from .spec import ChatSpec

MAX_MODELS: Final = 9


def run_comparison(
    command: Command,
    specs: Sequence[ChatSpec],
    *,
    origin: Origin = NOWHERE,
    listener: Listener | None = None,
    place: str = "`last_comparison` of the session",
) -> list[Reply]:
    """Send a prompt to several models together and return their replies in the order of `specs`.

    A model that fails does not affect the others. Its Reply has the text received before the error, if any, and its
    `incomplete` attribute says why the model failed.

    Parameters
    ----------
    command : Command
    specs : sequence of ChatSpec
        The same prompt for each model; at most `MAX_MODELS`.
    origin : Origin
        The running cell.
    listener : Listener, optional
        Draws the replies; without one nothing is drawn.
    place : str
        Where the user finds the replies, if this raises.

    Raises
    ------
    InferenceError
        When no model answers, or all together could cost more than is left of the budget: then none is asked.
    Interrupted
        When the user interrupts. The partial replies are drawn and kept.
    """
    listener = listener or Listener()
    command.listener = listener
    # The stack is entered before the first reservation: an interrupt can come before the last one is ready.
    with ExitStack() as stack:
        reservations = [stack.enter_context(Reservation(command.budget)) for _ in specs]
        contenders = [
            _Contender(command, spec, origin, reservation, wanted=len(specs) - number)
            for number, (spec, reservation) in enumerate(zip(specs, reservations, strict=True))
        ]
        for number, one in enumerate(contenders):
            error = one.progress.error
            if error is not None and error.cause == "budget":
                raise _too_expensive(one.model, error, sum(other.usd for other in reservations[:number]))
        inputs = trace_inputs(specs[0], *(one.model for one in contenders))
        with (
            command.deferred_interrupts(f"comparison of {len(specs)} models") as interrupts,
            command.traced("wbchat", inputs, {}, interrupts) as trace,
        ):
            replies = _compared(command, listener, contenders, trace, interrupts, place)
            interrupts.late = Interrupted(f"The replies are complete: they are in {place}.", partial=replies)
    errors = [one.progress.error for one in contenders]
    if errors[0] is not None and None not in errors:
        raise InferenceError(
            "None of the models answered.", why=errors[0].what, remedy=errors[0].remedy, cause=errors[0].cause
        )
    return replies


def _too_expensive(model: str, error: InferenceError, reserved: float) -> InferenceError:
    """Return the refusal of a comparison, of whose models this one cannot be paid besides those before it."""
    if reserved:
        error.why = f"The other models could cost {usd(reserved)}. A comparison is sent as a whole."
    error.what = f"{model}: {error.what}" if model else error.what
    return error


def _compared(
    command: Command,
    listener: Listener,
    contenders: Sequence[_Contender],
    trace: Trace,
    interrupts: Interrupts,
    place: str,
) -> list[Reply]:
    """Send all requests together, then draw, keep and return the replies."""
    calls = [one for one in contenders if one.call is not None]
    interrupted = ""
    listener.start(*(one.progress for one in contenders))
    try:
        if calls:
            command.session.loop.run(
                _receive_all(calls, command.client()),
                meanwhile=listener.redraw,
                every=listener.interval,
                interrupts=interrupts,
            )
    except KeyboardInterrupt:
        interrupted = "interrupted"
    replies = [one.reply(interrupted) for one in contenders]
    # One trace holds all replies, so there is one link.
    trace.record(next((reply for reply in reversed(replies) if reply.text), replies[-1]))
    trace.output = {one.asked_model: {"text": one.text, "reasoning": one.reasoning, **one.facts()} for one in replies}
    trace.summary = {"cost_usd": {one.asked_model: one.cost for one in replies}}
    command.session.last_comparison = replies
    listener.finish_all(replies, interrupted=bool(interrupted))
    if interrupted:
        raise Interrupted(f"The partial replies are in {place}; the thread is unchanged.")
    return replies


async def _receive_all(contenders: Sequence[_Contender], client: AsyncOpenAI) -> None:
    await asyncio.gather(*(one.receive(client) for one in contenders))


class _Contender:
    """One model of a comparison: its reply so far or its error. `call` is None if no request could be made."""

    def __init__(
        self, command: Command, spec: ChatSpec, origin: Origin, reservation: Reservation, *, wanted: int
    ) -> None:
        self.model = spec.model or ""
        self.progress = CallProgress(self.model)
        self.call: ModelCall | None = None
        try:
            request = prepare_request(command, spec, origin)
            reservation.reserve(request, wanted=wanted)
            self.call = ModelCall(command, spec, request, reservation, self.progress)
        except InferenceError as error:
            self.progress.error = error

    async def receive(self, client: AsyncOpenAI) -> None:
        """Receive the reply. An error is stored, not raised."""
        assert self.call is not None
        try:
            parsed = await self.call.receive(client)
        except Exception as failure:  # noqa: BLE001 - reported in this model's column
            error = self.call.explained(failure)
            if error.cause != "answer":
                self.progress.error = error
                return
            # An answer that does not fit is still a reply and can be compared.
            reply = self.call.reply("not what was asked for")
            reply.notices = (*reply.notices, f"{error.what} {error.why}".strip())
        else:
            reply = self.call.reply()
            reply.parsed = parsed
        self.progress.ended = reply

    def reply(self, interrupted: str = "") -> Reply:
        """Return the reply, complete or partial."""
        if self.progress.ended is not None:
            return self.progress.ended
        incomplete = self.progress.error.what if self.progress.error else interrupted
        if self.call is not None:
            return self.call.reply(incomplete)
        return ReplyBuilder().build(asked_model=self.model, endpoint="", price=None, messages=(), incomplete=incomplete)
