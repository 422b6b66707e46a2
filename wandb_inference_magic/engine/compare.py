"""Send one prompt to several models together and show the replies side by side. Nothing is added to the thread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ..catalog import usd
from ..concurrency import InFlight
from ..errors import InferenceError, Interrupted
from ..messages import Reply
from ..replies import CallProgress, Listener
from ..spending import Reservation
from .call import ModelCall
from .request import NOWHERE, prepare_request, trace_inputs

if TYPE_CHECKING:
    from ..concurrency import Interrupts
    from ..messages import Origin
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
    command.listener, command.origin = listener, origin
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
    _check_answered(contenders)
    return replies


def _check_answered(contenders: Sequence[_Contender]) -> None:
    """Raise if no model answered. The error has the reason of each."""
    errors = {one.model: one.progress.error for one in contenders}
    reasons = {model: error.reason for model, error in errors.items() if error is not None}
    first = next(iter(errors.values()))
    if first is None or len(reasons) < len(errors):
        return
    of_all = set(reasons.values())
    why = of_all.pop() if len(of_all) == 1 else " ".join(f"{model}: {reason}" for model, reason in reasons.items())
    raise InferenceError("None of the models answered.", why=why, remedy=first.remedy, cause=first.cause)


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
    interrupted = ""
    listener.start(*(one.progress for one in contenders))
    try:
        _receive_all(command, listener, contenders, interrupts)
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


def _receive_all(
    command: Command, listener: Listener, contenders: Sequence[_Contender], interrupts: Interrupts
) -> None:
    """Receive all replies. This thread reads the answers, as in a chat; only the requests run on the event loop."""
    in_flight: InFlight[ModelCall] = InFlight(command.session.loop)
    left = {one.call: one for one in contenders if one.call is not None}
    for call in left:
        in_flight.start(call, call.send(command.client()))
    try:
        while left:
            in_flight.begin()
            for call, failure in in_flight.take(listener.interval):
                if left[call].end(call, failure, interrupts):
                    in_flight.start(call, call.send(command.client()))
                else:
                    del left[call]
            interrupts.check()
            listener.redraw()
    finally:
        in_flight.cancel()


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

    def end(self, call: ModelCall, failure: Exception | None, interrupts: Interrupts) -> bool:
        """Store the reply to its call, or the error. Return whether another request must be sent for it."""
        try:
            if failure is not None:
                raise failure
            if not call.take_answer(interrupts):
                return True
        except Exception as failed:  # noqa: BLE001 - reported in this model's column
            error = call.explained(failed)
            if error.cause == "answer":
                # An answer that does not fit is still a reply and can be compared.
                reply = call.reply("not what was asked for")
                reply.notices = (*reply.notices, error.reason)
                self.progress.ended = reply
            else:
                self.progress.error = error
        else:
            self.progress.ended = call.reply()
            self.progress.ended.parsed = call.value
        return False

    def reply(self, interrupted: str = "") -> Reply:
        """Return the reply, complete or partial. One that failed says why."""
        if self.progress.ended is not None:
            return self.progress.ended
        error = self.progress.error
        incomplete = interrupted if error is None else error.reason
        nothing = Reply("", self.model, self.model, endpoint="", incomplete=incomplete)
        reply = nothing if self.call is None else self.call.reply(incomplete)
        if error is not None and error.remedy:
            reply.notices = (*reply.notices, error.remedy)
        return reply
