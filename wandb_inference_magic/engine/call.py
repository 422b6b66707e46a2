"""One request of several that are made at once: tried again, put more easily where it is refused, asked once more."""

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
    """What has happened so far to one request: the calls that ended, and the call under way.

    `sent` is the request as it was put last. The session's settings are read by whoever makes many of these, and once.
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
        # What somebody may look at while it goes on.
        self._state = state or ComparedModel(request.model)
        self._session = session
        self._hold = hold
        self._most_retries = most_retries
        self._ended: list[Reply] = []

    @property
    def builder(self) -> ReplyBuilder:
        """What has arrived of the call under way."""
        return self._state.builder

    async def receive(self, client: AsyncClient) -> Any:
        """Receive the answer, and return what it stands for: None where no form was asked for.

        Raises
        ------
        Exception
            Whatever went wrong; `explained` tells it.
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
        """Return what has come of each call of which anything has."""
        has_come = self.builder.has_begun or self.builder.usage is not None
        return [*self._ended, *([self._built()] if has_come else [])]

    def reply(self, incomplete: str = "") -> Reply:
        """Return all that has come, as one Reply."""
        reply = added_up(self.calls() or [self._built()])
        return replace(reply, notices=notices_below(reply, *self.sent.notices), incomplete=incomplete)

    def explained(self, failure: Exception) -> InferenceError:
        """Return the error that tells a user about a failure."""
        known = self._session.models.known(self.sent.endpoint)
        return to_inference_error(failure, FailureContext(self.sent.endpoint, self.sent.model, known))

    def easier(self, error: InferenceError) -> PreparedRequest | None:
        """Return the request in an easier form, where its form was what the model refused."""
        return relax_response_format(self.sent, self.ask.schema, error)

    def pause_after(self, error: InferenceError, tries: int) -> float | None:
        """Return the seconds to wait before the next try, or None where there is to be none."""
        return pause(error, tries, self._most_retries)

    async def _call(self, client: AsyncClient) -> None:
        """Make one call: again where that is worth it, and more easily where the model does not take its form."""
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
