"""The one model call: retries, a relaxed response format, one repair, the reservation and the usage."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..client import may_pass_streamed, stream_chat
from ..errors import InferenceError, inference_error_in, quoted
from ..failures import Tries, retry_delay
from ..messages import (
    ADDED_JSON_MODE,
    CURRENT_CALL,
    JSON_MODE,
    added_up,
    chosen_names,
    has_images,
    notices_below,
    read_json,
)
from ..replies import CallProgress, ReplyBuilder
from ..schemas import Mismatch, ValidatorError
from ..session import ObservedCall
from ..text import known_keys
from .relax import (
    call_again_request,
    does_not_fit,
    refused,
    refused_answer,
    refuses_call,
    relax_response_format,
    repair_request,
)
from .request import without_oldest_turns

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..concurrency import Interrupts
    from ..messages import PreparedRequest, Reply, ToolCall
    from ..session import Command, Share
    from ..spending import Reservation
    from .spec import ChatSpec

# The names of the tools that gateways make of a schema; that of ours is "answer".
_OF_GATEWAYS: Final = re.compile(
    r"(json|structured|respon(se|d)|format(ted)?|answer|output|final|return|schema)"
    r"([_-]?(json|structured|response|format|answer|output|result|schema|mode|object|tool|call))*",
    re.IGNORECASE,
)


class ModelCall:
    """A call to a model: usually one request, more if the answer does not fit its schema or tools are called.

    `send` runs on the session's event loop. All else runs in the thread that waits for it, or in the loop's between
    two requests.

    Parameters
    ----------
    command : Command
    spec : ChatSpec
    request : PreparedRequest
        The first request. `sent` is the latest.
    reservation : Reservation
        The reservation of its cost.
    progress : CallProgress, optional
        Updated during the call, for a front end to read.
    remedy : str
        What to do about an answer that does not fit its schema.
    share : Share, optional
        The share of the model's slots that the call belongs to.
    """

    # Whether text is shown as it is received. After that, a request is not tried again. Otherwise it is, once: what was
    # received is paid for.
    shows_text = True

    def __init__(
        self,
        command: Command,
        spec: ChatSpec,
        request: PreparedRequest,
        reservation: Reservation,
        progress: CallProgress | None = None,
        *,
        remedy: str = "",
        share: Share | None = None,
    ) -> None:
        self.spec = spec
        self.sent = request
        self.progress = progress or CallProgress(request.model)
        self._command = command
        self.reservation = reservation
        self._remedy = remedy
        self.share = share or command.session.limiters.share(request.endpoint.url, request.model)
        # For a row: how many rows with an equal request are above it, if a cassette is in use.
        self.place: int | None = None
        # Those of the current request.
        self.tries = Tries()
        # Whether the current request is for a repaired answer.
        self.is_repaired = False
        # Whether the current request was sent again, because the service could not read the model's call of a tool.
        self._is_asked_again = False
        # Whether the current answer was found in its reasoning, and the call of a tool that it was found in.
        self._is_in_reasoning = False
        self._answering_call: ToolCall | None = None
        # A try that broke off within the reply.
        self._broken_off: ReplyBuilder | None = None
        # The answer, once it is taken: see `take_answer`.
        self.value: Any = None
        self._ended: list[Reply] = []

    @property
    def builder(self) -> ReplyBuilder:
        """The ReplyBuilder of the current request."""
        return self.progress.builder

    async def send(self, client: AsyncOpenAI) -> None:
        """Send the current request. Retry it if useful, and relax it if that is what the model refuses.

        Raises
        ------
        InferenceError
            When no further try is made.
        """
        self.tries = Tries()
        try:
            await self._try(client)
        finally:
            self.share.forget(self.tries)

    async def _try(self, client: AsyncOpenAI) -> None:
        refusal: InferenceError | None = None
        self.sent = await self._command.session.models.with_price(self.sent, self._command, client)
        while True:
            try:
                await self.attempt(client)
            except Exception as failure:  # noqa: BLE001 - raised again, or retried
                error = self.explained(failure)
                if not self.builder.has_begun and (relaxed := self.relaxed(error)) is not None:
                    self.sent, refusal = relaxed, error
                    continue
                if not (self.builder.has_begun and self.shows_text) and self.asks_again(error):
                    continue
                if refusal is not None and refusal.is_replayed and error.cause in ("missing", "network"):
                    # The version that recorded it did not relax the request.
                    raise refusal from None
                self.tries.count += 1
                # Then the next try is streamed, unless streams do not work.
                error.retryable |= not self.builder.is_requested_streamed and may_pass_streamed(failure)
                is_final = self.builder.has_begun and (self.shows_text or self._broken_off is not None)
                seconds = None if is_final else await self.delay_after(error)
                if self.builder.has_begun:
                    self._broken_off = self.builder
                if seconds is None:
                    if self._broken_off is not None:
                        self.progress.builder = self._broken_off
                    if self.tries.count > 1:
                        error.why = f"{error.why} It was tried {self.tries.count} times.".strip()
                    elif self._is_asked_again and refuses_call(error):
                        error.why = f"{error.why} The model was asked twice.".strip()
                    # An error of ours, also below one of the SDK, keeps its cause: else it would be its own.
                    raise error from (error.__cause__ if inference_error_in(failure) is error else failure)
                again = f"{error.what} Trying again ({self.tries.own} of {self._command.settings.max_retries})"
                self.progress.retry = again, perf_counter() + seconds
                with self.share.resting(self.tries):
                    await self._command.session.clock.sleep(seconds)
                self.progress.retry, self.progress.builder = None, ReplyBuilder()
            else:
                self._command.session.models.fetch_prices(self._command, client)
                return

    def asks_again(self, error: InferenceError) -> bool:
        """Return whether the request is to be sent once more, because the service could not read a call of a tool.

        That is the model's fault, by chance. What has come of its reply is kept as that of a call that has ended.

        Raises
        ------
        InferenceError
            When the budget does not allow it.
        """
        # In the last round, the model must answer.
        must_answer = self.sent.flat_body.get("tool_choice") == "none"
        if not refuses_call(error) or must_answer or self._is_asked_again:
            return False
        is_recorded = self._command.cassette is not None
        again = call_again_request(self.sent, error, is_recorded=is_recorded)
        self.reservation.reserve(again, after=len(self._ended) + 1)
        if self._has_received:
            # The answer that is to be repaired stays the last one.
            self._ended.insert(len(self._ended) - self.is_repaired, self.built())
        self.sent, self.progress.builder, self._is_asked_again = again, ReplyBuilder(), True
        return True

    async def attempt(self, client: AsyncOpenAI) -> None:
        """Send the current request once, in its turn."""
        async with self.share.slot(self.tries):
            await self._send_in_turn(client)

    async def _send_in_turn(self, client: AsyncOpenAI) -> None:
        builder, reservation = self.builder, self.reservation
        self.tries.sent_at = self._command.session.clock.now()
        reservation.reserve(self.sent)
        builder.budget_limit = reservation.limit
        builder.secrets = known_keys()
        builder.started = perf_counter()
        ADDED_JSON_MODE.set(self.spec.adds_json_mode)
        CURRENT_CALL.set((self._command, self.place))
        chunks = stream_chat(
            client, self.sent.flat_body, stream=self.spec.stream, builder=builder, limit=reservation.limit
        )
        with (
            self._command.observed(self.sent, reservation.limit, ObservedCall(self.built, self.explained)),
            self._command.session.usage.counting(self.sent, builder, reservation.settle),
        ):
            # Closing the chunks closes the connection, also when the call is cancelled.
            async with aclosing(chunks):
                await self._read(chunks)
        self.share.served(self.tries)
        self._command.session.models.note_answered(self.sent)

    async def _read(self, chunks: AsyncIterator[Mapping[str, Any]]) -> None:
        try:
            async for chunk in chunks:
                self._add(chunk)
        except Exception as failure:
            asks_for_json = self.spec.schema is not None or self.spec.json
            if not asks_for_json or self.spec.tools or (answer := refused_answer(self.explained(failure))) is None:
                raise
            self._add(answer)

    def _add(self, chunk: Mapping[str, Any]) -> None:
        has_text = bool(self.builder.text_pieces)
        self.builder.add(chunk)
        if self.progress.begun is not None and self.builder.text_pieces and not has_text:
            self.progress.begun.set()

    def follow_with(self, request: PreparedRequest) -> None:
        """Make another request the current one, after the current one has been answered."""
        self.reservation.reserve(request, after=len(self._ended) + 1)
        self._ended.append(self.built())
        self.sent, self.progress.builder = request, ReplyBuilder()
        self._is_in_reasoning, self._answering_call, self._broken_off = False, None, None
        self._is_asked_again = False

    def take_answer(self, interrupts: Interrupts | None, *, is_last: bool = False) -> bool:
        """Read the answer into `value`. Return False if it does not fit its schema, and its repair must be sent.

        Parameters
        ----------
        interrupts : Interrupts or None
            Lets interrupts into a validator of the user's, which may take long.
        is_last : bool
            Whether no repair may be sent.

        Raises
        ------
        InferenceError
            When it is not what was asked for, and no repair is to be sent.
        """
        try:
            with interrupts.allowed(new_only=True) if interrupts else nullcontext():
                self.value = self._parsed()
        except Mismatch as mismatch:
            self._begin_repair(mismatch, is_last=is_last)
            return False
        return True

    def _parsed(self) -> Any:
        """Return the answer as a value; None if neither a schema nor JSON was requested.

        Raises
        ------
        Mismatch
            When it does not fit its schema.
        InferenceError
            When it is not JSON, or the model refused to answer.
        """
        schema, text = self.spec.schema, self.builder.text
        if schema is None and not self.spec.json:
            return None
        if self.builder.refusal:
            raise refused(self.builder.refusal)
        self._is_in_reasoning, self._answering_call = False, None
        self._answering_call = call = self._call_in_place_of(text)
        text = text if call is None else call.arguments
        # Some servers send the whole answer as reasoning.
        is_in_reasoning = not text.strip() and self.builder.finish_reason != "length"
        text = self.builder.reasoning if is_in_reasoning else text
        value = self._value_of(text)
        self._is_in_reasoning = is_in_reasoning
        return value

    def _call_in_place_of(self, text: str) -> ToolCall | None:
        """Return the call that is the answer, because a gateway has made the schema a tool; None if the text is it."""
        calls = () if "tools" in self.sent.flat_body else self.builder.calls
        if len(calls) != 1 or not calls[0].arguments.strip() or self._is_answer(text):
            return None
        # Models also call tools that they have not been given.
        is_gateways = _OF_GATEWAYS.fullmatch(calls[0].name) is not None
        fits = is_gateways or (self.spec.schema is not None and self._is_answer(calls[0].arguments))
        return calls[0] if fits else None

    def _is_answer(self, text: str) -> bool:
        try:
            self._value_of(text)
        except (Mismatch, InferenceError) as error:
            return isinstance(error, ValidatorError)
        return True

    def _value_of(self, text: str) -> Any:
        if self.spec.schema is not None:
            return self.spec.schema.read(text)
        try:
            return read_json(text)
        except InferenceError as error:
            if self.builder.finish_reason == "length":
                error.why = f"It was cut at the token limit: raise --max-tokens. {error.why}"
            raise

    def _begin_repair(self, mismatch: Mismatch, *, is_last: bool) -> None:
        """Make the request for a repaired answer the current one, unless it is one already, or the last one.

        Raises
        ------
        InferenceError
            When none is to be made.
        """
        schema, answer = self.spec.schema, self.built()
        # A second request could not fix an answer that was cut or is empty.
        may_help = bool(answer.text) and answer.finish_reason != "length"
        if schema is None or not self.spec.repair or is_last or self.is_repaired or not may_help:
            raise does_not_fit(mismatch, answer, remedy=self._remedy) from None
        # Some models need their reasoning back, as with the results of tools.
        message = {"role": "assistant", "content": answer.text, **self.builder.reasoning_to_send_back}
        self.follow_with(repair_request(self.sent, schema, message, mismatch))
        self.is_repaired = True

    def calls(self) -> list[Reply]:
        """Return the reply to each request that has received anything."""
        return [*self._ended, *([self.built()] if self._has_received else [])]

    @property
    def _has_received(self) -> bool:
        """Whether anything has been received for the current request."""
        return self.builder.has_begun or self.builder.usage is not None

    def reply(self, incomplete: str = "") -> Reply:
        """Return everything received so far as one Reply."""
        parts = [*self._ended, self.built(incomplete)]
        if len(parts) > 1 and not self.builder.has_begun and not parts[-2].tool_calls:
            # A repair that has no text: the answer before it is what there is. Its tokens count, if it has any.
            answer = replace(parts.pop(-2), incomplete=incomplete)
            parts = [*parts, answer] if self._has_received else [*parts[:-1], answer]
        reply = added_up(parts)
        return replace(reply, notices=notices_below(reply, *self.sent.notices), earlier_messages=self.sent.earlier)

    def built(self, incomplete: str = "") -> Reply:
        """Return what has been received for the current request as a Reply.

        An answer that was found in its reasoning, or in a call of a tool that was not sent, is its text.
        """
        reply = self.builder.build(
            asked_model=self.sent.model,
            endpoint=self.sent.endpoint.name,
            price=self.sent.price,
            messages=self.sent.messages,
            incomplete=incomplete,
        )
        if self._is_in_reasoning:
            return replace(reply, text=reply.reasoning, reasoning="")
        if (call := self._answering_call) is None:
            return reply
        end = "stop" if reply.finish_reason == "tool_calls" else reply.finish_reason
        notices = (*reply.notices, f"The answer came as a call of {quoted(call.name)}.")
        return replace(reply, text=call.arguments, tool_calls=(), finish_reason=end, notices=notices)

    def explained(self, failure: Exception) -> InferenceError:
        """Return the error that describes a failure to the user."""
        # The tables of causes are imported when a call has failed: a first chat does not wait for them.
        from ..failures import FailureContext, to_inference_error

        models, endpoint, model = self._command.session.models, self.sent.endpoint, self.sent.model
        context = FailureContext(
            endpoint,
            model,
            models.known(endpoint),
            chosen_names(self.sent.flat_body),
            self.sent.large_reply_limit,
            has_earlier=self.sent.earlier > 0,
            parts=self._parts,
        )
        error = to_inference_error(failure, context)
        if error.cause == "model":
            models.note_unknown_model(model, endpoint)
        return error

    @property
    def _parts(self) -> tuple[str, ...]:
        """What the request has that can be left out, as a user calls it."""
        body = self.sent.flat_body
        form = body.get("response_format")
        had = {
            "JSON mode": form == JSON_MODE and self.spec.json and self.spec.schema is None,
            "the schema": form is not None and self.spec.schema is not None,
            "the tools": "tools" in body,
            "the images": any(has_images(message.get("content") or "") for message in body["messages"]),
        }
        return (*(name for name, value in had.items() if value), *(name for name, _ in self.spec.parameters))

    def relaxed(self, error: InferenceError) -> PreparedRequest | None:
        """Return the request in a form that the service may accept, or None if it refused something else.

        The format of the response is relaxed, or the oldest turns of the thread are left out.
        """
        if error.is_too_long:
            return without_oldest_turns(self.sent)
        has_taken = self._command.session.models.takes_format(self.sent)
        return relax_response_format(self.sent, self.spec.schema, error, has_taken=has_taken)

    async def delay_after(self, error: InferenceError) -> float | None:
        """Return the seconds to wait before the next try, or None if there is no next try.

        If it failed because of the service, wait for its turn first, as all others do.
        """
        most = self._command.settings.max_retries
        if most and self.share.waits_for_service and not self.builder.has_begun:
            return await self.share.delay_after(error, self.tries, most, is_alone=self.is_alone)
        return retry_delay(error, self.tries.own, most)

    @property
    def is_alone(self) -> bool:
        """Whether no other request can show whether the service or this request is to blame."""
        return True
