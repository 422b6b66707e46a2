"""The model call of one row of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..engine import ModelCall
from ..errors import InferenceError
from ..session import Reservation

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..messages import PreparedRequest
    from ..session import Command, Share
    from .row_requests import RowRequests
    from .spec import BatchSpec


class RowRun(Protocol):
    """A run, as far as its rows know it."""

    command: Command
    spec: BatchSpec
    share: Share
    requests: RowRequests
    is_halted: bool
    new_failures: set[RowCall]
    stopped: InferenceError | None
    retry_reason: str
    retry_at: float

    @property
    def is_at_last_row(self) -> bool:
        """Whether one row is left."""

    def notice(self, *notices: str) -> None:
        """Add notices for the user."""

    def end(self, row: RowCall, failure: Exception | None) -> bool:
        """Store the result of a row whose request has ended. Return whether another one must be sent for it."""


class RowCall(ModelCall):
    """One row of a run. What it learns about the service and the model is applied to the other rows too."""

    def __init__(self, run: RowRun, request: PreparedRequest, number: int, key: str) -> None:
        super().__init__(run.command, run.spec.chat, request, Reservation(run.command.budget), share=run.share)
        self.run = run
        # In its original form: `sent` may be relaxed, or ask for a repair.
        self.asked = request
        self.number = number
        self.key = key
        # The limiter's `latest_end` before its answer was looked for on disk.
        self.seen_end: object = None
        self.is_repaired = False
        self.was_sent = False
        # Whether no other run may ask its question meanwhile, and whether one does all the same: this one was paused.
        self.is_claimed = self.is_taken_over = False
        # Whether its request is answered, and `end` has not seen that yet.
        self.is_answered = False

    async def send(self, client: AsyncOpenAI) -> None:
        self.was_sent, self._forgiven = False, 0
        try:
            await super().send(client)
        except InferenceError as error:
            if not error.depends_on_prompt:
                self.run.new_failures.add(self)
            raise
        self.is_answered = self.was_sent

    async def attempt(self, client: AsyncOpenAI) -> None:
        run = self.run
        async with self.share.slot():
            # A failure that is not the prompt's may be everyone's: `end` decides that before more is sent.
            if not self.was_sent and (run.is_halted or run.new_failures):
                return
            if self.is_claimed and not self.share.mark_sent(self.key):
                self.was_sent, self.is_taken_over = False, True
                return
            self.was_sent = True
            if not self.is_repaired:
                self.sent = run.requests.in_current_form(self.sent)
            try:
                await self._send_in_turn(client)
            except BaseException:
                self.share.mark_unsent(self.key)
                raise

    def relaxed(self, error: InferenceError) -> PreparedRequest | None:
        relaxed = super().relaxed(error)
        if relaxed is not None:
            self.run.notice(*self.run.requests.relax_following(self.sent, error))
        return relaxed

    def delay_after(self, error: InferenceError, tries: int) -> float | None:
        run = self.run
        seconds = None if run.stopped is not None else super().delay_after(error, tries)
        if seconds:
            run.retry_reason, run.retry_at = error.what, run.command.session.clock.now() + seconds
        return seconds

    @property
    def is_alone(self) -> bool:
        return self.run.is_at_last_row
