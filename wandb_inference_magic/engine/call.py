"""One of several concurrent requests, with retries, a relaxed response format and one repair request."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..client import FailureContext, pause, stream_chat_async, to_inference_error
from ..messages import ComparedModel, ReplyBuilder, added_up, notices_below, read_json
from ..schemas import Mismatch
from .relax import does_not_fit, may_be_corrected, relax_response_format, repair_request

if TYPE_CHECKING:
    from ..client import AsyncClient
    from ..errors import InferenceError
    from ..messages import PreparedRequest, Reply
    from ..session import Reservation, Session
    from .request import ChatSpec


class ModelCall:
    """The state of one request: the calls that ended and the current call.

    `sent` is the request in its latest form. A ModelCall does not read the session's settings: code that creates many
    of them reads the settings once.
    """

    def __init__(
        self,
        session: Session,
        ask: ChatSpec,
        request: PreparedRequest,
        hold: Reservation,
        most_retries: int,
        state: ComparedModel | None = None,
    ) -> None:
        self.ask = ask
        self.sent = request
        # Other code may read this during the call.
        self._state = state or ComparedModel(request.model)
        self._session = session
        self._hold = hold
        self._most_retries = most_retries
        self._ended: list[Reply] = []

    @property
    def builder(self) -> ReplyBuilder:
        """The ReplyBuilder of the current call."""
        return self._state.builder

    async def receive(self, client: AsyncClient) -> Any:
        """Receive the answer and return its parsed value; None if neither a schema nor JSON was requested.

        Raises
        ------
        Exception
            Any error; `explained` converts it to an InferenceError.
        """
        await self._call(client)
        schema, text = self.ask.schema, self.builder.text
        if schema is None:
            return read_json(text) if self.ask.json else None
        try:
            return schema.read(text)
        except Mismatch as mismatch:
            first = self._built()
            if not self.ask.repair or not may_be_corrected(first):
                raise does_not_fit(mismatch, first) from None
            request = repair_request(self.sent, schema, text, mismatch)
        self._hold.reserve(request)
        self._ended.append(first)
        self.sent, self._state.builder = request, ReplyBuilder()
        await self._call(client)
        try:
            return schema.read(self.builder.text)
        except Mismatch as mismatch:
            raise does_not_fit(mismatch, self._built()) from None

    def calls(self) -> list[Reply]:
        """Return the reply of each call that has received anything."""
        has_come = self.builder.has_begun or self.builder.usage is not None
        return [*self._ended, *([self._built()] if has_come else [])]

    def reply(self, incomplete: str = "") -> Reply:
        """Return everything received so far as one Reply."""
        reply = added_up(self.calls() or [self._built()])
        return replace(reply, notices=notices_below(reply, *self.sent.notices), incomplete=incomplete)

    def explained(self, failure: Exception) -> InferenceError:
        """Return the error that describes a failure to the user."""
        known = self._session.models.known(self.sent.endpoint)
        return to_inference_error(failure, FailureContext(self.sent.endpoint, self.sent.model, known))

    def easier(self, error: InferenceError) -> PreparedRequest | None:
        """Return the request with a relaxed response format; None if the format was not what the model refused."""
        return relax_response_format(self.sent, self.ask.schema, error)

    def pause_after(self, error: InferenceError, tries: int) -> float | None:
        """Return the seconds to wait before the next try, or None if there is no next try."""
        return pause(error, tries, self._most_retries)

    async def _call(self, client: AsyncClient) -> None:
        """Make one call. Retry it if useful, and relax the response format if the model refuses it."""
        tries = 0
        while True:
            self.builder.started = perf_counter()
            try:
                await self._receive_once(client)
            except Exception as failure:
                error = self.explained(failure)
                if self.builder.has_begun:
                    raise error from failure
                if (easier := self.easier(error)) is not None:
                    self.sent = easier
                    continue
                tries += 1
                seconds = self.pause_after(error, tries)
                if seconds is None:
                    raise error from failure
                self._state.waits = error.what, perf_counter() + seconds
                await asyncio.sleep(seconds)
            else:
                return

    async def _receive_once(self, client: AsyncClient) -> None:
        builder, hold = self.builder, self._hold
        hold.reserve(self.sent)
        builder.budget_limit = hold.limit
        chunks = stream_chat_async(
            client, self.sent.body, stream=self.ask.stream, arrival=builder.arrival, limit=hold.limit
        )
        with self._session.usage.counting(self.sent, builder, hold.settle):
            async with aclosing(chunks):
                async for chunk in chunks:
                    builder.add(chunk)

    def _built(self) -> Reply:
        return self.builder.build(
            asked_model=self.sent.model,
            endpoint=self.sent.endpoint.name,
            price=self.sent.price,
            messages=self.sent.messages,
        )
