"""How a row is asked: its prompt, the request made of it, and the model call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, tee
from typing import TYPE_CHECKING, Any, Protocol

from ..engine import ModelCall, does_not_fit, for_prompt, relax_response_format, repair_request
from ..errors import InferenceError

# Imported before a row is sent: when one fails because no more files can be opened, no module can be imported.
from ..failures import to_inference_error as to_inference_error
from ..prompts import refuse_empty
from ..rendering import why_flawed
from ..schemas import Mismatch, ValidatorError
from ..spending import Reservation
from .kept import Asked, Ended, Kept, Paid

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..frames import Row, Rows
    from ..messages import Content, Message, PreparedRequest, Reply
    from ..schemas import Schema
    from ..session import Command, Share
    from .cache import Answer
    from .run_results import RunResults
    from .spec import BatchSpec


@dataclass(frozen=True, slots=True)
class _NotRead:
    """Stands for the rows from one on that cannot be read."""

    error: InferenceError


Prompts = Iterator["Content | InferenceError | _NotRead"]


class RowPrompts:
    """The prompts of the rows of a run, in their order. To render one runs the user's code.

    Parameters
    ----------
    rows : Rows
    spec : BatchSpec
    """

    def __init__(self, rows: Rows, spec: BatchSpec) -> None:
        self._render = cache(lambda: spec.renderer(tuple(rows.columns)))
        # A copy of it looks ahead: what that has rendered comes again here.
        (self._prompts,) = tee(_rendered(rows, self._render), 1)
        self._all: Sequence[Content | InferenceError] = ()

    def shared(self) -> RowPrompts:
        """Return the prompts for another run over the rows, before any has begun: each row is rendered once for all."""
        other = copy(self)
        other._prompts = copy(self._prompts)
        return other

    def next(self) -> Content | InferenceError | None:
        """Return the prompt of the next row, or why it has none; None if there are no more rows.

        Raises
        ------
        InferenceError
            If the row cannot be read.
        """
        prompt = next(self._prompts, None)
        if isinstance(prompt, _NotRead):
            raise prompt.error
        return None if prompt is None else _not_empty(prompt)

    def ahead(self, most: int) -> list[Content | InferenceError]:
        """Return the next prompts, or why a row has none, for an estimate. `next` returns them when their turn comes.

        A row that cannot be read is reported then.
        """
        return [_not_empty(one) for one in islice(copy(self._prompts), most) if not isinstance(one, _NotRead)]

    def first(self, most: int) -> Content | None:
        """Return the prompt of the first row that has one, which may be empty; None if there are no rows.

        `next` reports the rows before it.

        Raises
        ------
        InferenceError
            That of the first row, if none of the first `most` rows has a prompt: the template is wrong.
        """
        errors = []
        for prompt in islice(copy(self._prompts), most):
            found = prompt.error if isinstance(prompt, _NotRead) else prompt
            if not isinstance(found, InferenceError):
                return found
            errors.append(found)
        if errors:
            raise errors[0]
        return None

    def render_all(self, redraw: Callable[[], object]) -> None:
        """Read all rows and render their prompts now, in the calling thread. `redraw` is called for each.

        Raises
        ------
        InferenceError
            If a row cannot be read.
        """
        rendered: list[Content | InferenceError] = []
        while (prompt := self.next()) is not None:
            rendered.append(prompt)
            redraw()
        self._all, (self._prompts,) = rendered, tee(rendered, 1)

    def clear(self) -> None:
        """Keep the prompts no longer, because the run has ended."""
        self._all, (self._prompts,) = (), tee((), 1)

    def of(self, number: int, row: Row) -> Content:
        """Return the prompt of a row, as it was rendered if all were. The number is counted from 0.

        Raises
        ------
        InferenceError
            If it cannot be rendered.
        """
        prompt = _not_empty(self._all[number] if self._all else self._render()(row))
        if isinstance(prompt, InferenceError):
            raise prompt
        return prompt


def _rendered(rows: Rows, renderer: Callable[[], Callable[[Row], Content]]) -> Prompts:
    left = iter(rows)
    while True:
        try:
            row = next(left, None)
        except InferenceError as error:
            yield _NotRead(error)
            return
        if row is None:
            return
        try:
            prompt: Content | InferenceError = renderer()(row)
        except InferenceError as error:
            prompt = error
        yield prompt


def _not_empty(prompt: Content | InferenceError) -> Content | InferenceError:
    """Return a prompt or, if it is empty, the error for that."""
    try:
        if not isinstance(prompt, InferenceError):
            refuse_empty(prompt)
    except InferenceError as error:
        return error
    return prompt


class RowRequests:
    """Makes the requests for rows from that for the first one.

    Parameters
    ----------
    first : PreparedRequest
    schema : Schema or None
        What the answers must look like.
    """

    def __init__(self, first: PreparedRequest, schema: Schema | None) -> None:
        self._base = first
        self._schema = schema

    def request(self, prompt: Content) -> PreparedRequest:
        """Return the request for a row."""
        return for_prompt(self._base, prompt)

    def in_current_form(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request for a row in the response format of now, which may be easier than when it was made."""
        return request if self._is_current(request) else self.request(request.messages[-1]["content"])

    def relax_following(self, refused: PreparedRequest, error: InferenceError) -> tuple[str, ...]:
        """Relax the response format for the following rows: the current one would be refused for each of them.

        Returns
        -------
        tuple of str
            The notices for the user.
        """
        # A row that was in flight may report the refusal of a format that is no longer requested.
        if not self._is_current(refused):
            return ()
        if (relaxed := relax_response_format(self._base, self._schema, error)) is None:
            return ()
        self._base = relaxed
        return tuple(relaxed.notices)

    def _is_current(self, request: PreparedRequest) -> bool:
        return bool(request.body.get("response_format") == self._base.body.get("response_format"))


class RowRun(Protocol):
    """A run, as far as its rows know it."""

    command: Command
    spec: BatchSpec
    share: Share
    requests: RowRequests
    is_halted: bool
    new_failures: set[RowCall]
    results: RunResults
    stopped: InferenceError | None
    retry: tuple[str, float]

    @property
    def is_at_last_row(self) -> bool:
        """Whether one row is left."""

    def end(self, row: RowCall, failure: Exception | None) -> bool:
        """Store the result of a row whose request has ended. Return whether another one must be sent for it."""


class RowCall(ModelCall):
    """One row of a run. What it learns about the service and the model is applied to the other rows too."""

    shows_text = False

    def __init__(self, run: RowRun, request: PreparedRequest, number: int, key: str, place: int | None) -> None:
        super().__init__(run.command, run.spec.chat, request, Reservation(run.command.budget), share=run.share)
        self.run, self.place = run, place
        # In its original form: `sent` may be relaxed, or ask for a repair.
        self.request = request
        self.number = number
        self.key = key
        self.was_sent = False
        # Whether its request is answered, and `end` has not seen that yet.
        self.is_answered = False
        # What is on disk: an empty reply, or an answer that does not fit, whose repair is the current request.
        self.was_empty, self.kept_text = False, ""
        # What the answer took whose repair the current request is.
        self.paid_before = Paid()
        # Whether an earlier run has failed at it, and its question is asked all the same.
        self.has_failed_before = False

    def read(self, found: Answer) -> Any:
        """Return the answer that is on disk, read by the schema of now.

        An answer that does not fit is repaired by the row's next request, if no repair was asked for before.

        Raises
        ------
        InferenceError
            The failure that is on disk, if it is still one.
        Mismatch
            If another answer must be asked for.
        """
        schema, text = self.spec.schema, found.text
        if found.kept is Kept.FAILED or (found.error and schema is None):
            raise InferenceError(found.error, cause="answer")
        if schema is None:
            return text
        try:
            return schema.read(text)
        except Mismatch as mismatch:
            is_repaired = found.kept.is_repaired(repair=self.spec.repair, retry_failed=self.run.spec.retry_failed)
            if found.error and not is_repaired:
                raise does_not_fit(mismatch, replace(self.built(), text=text), remedy="") from None
            if is_repaired:
                request = self.run.requests.in_current_form(self.request)
                answer: Message = {"role": "assistant", "content": text}
                self.sent, self.is_repaired = repair_request(request, schema, answer, mismatch), True
                self.kept_text, self.paid_before = text, found.paid
            raise

    async def send(self, client: AsyncOpenAI) -> None:
        self.was_sent = False
        try:
            await super().send(client)
        except InferenceError as error:
            if not error.depends_on_prompt:
                self.run.new_failures.add(self)
            raise
        self.is_answered = self.was_sent

    async def attempt(self, client: AsyncOpenAI) -> None:
        run = self.run
        async with self.share.slot(self.tries):
            # A failure that is not the prompt's may be everyone's: `end` decides that before more is sent.
            if not self.was_sent and (run.is_halted or run.new_failures):
                return
            self.was_sent = True
            if not self.is_repaired:
                self.sent = run.requests.in_current_form(self.sent)
            await self._send_in_turn(client)

    def relaxed(self, error: InferenceError) -> PreparedRequest | None:
        relaxed = super().relaxed(error)
        if relaxed is not None:
            self.run.results.notice(*self.run.requests.relax_following(self.sent, error))
        return relaxed

    async def delay_after(self, error: InferenceError) -> float | None:
        run = self.run
        seconds = None if run.stopped is not None else await super().delay_after(error)
        if seconds:
            run.retry = error.what, run.command.session.clock.now() + seconds
        return seconds

    @property
    def is_unpriced(self) -> bool:
        """Whether a request was sent whose price is not known: it may be billed although nothing came."""
        return self.was_sent and self.sent.price is None

    @property
    def paid(self) -> Paid:
        """What all calls for its result took, also that of an earlier run for the answer that is repaired."""
        paid = Paid.of(self.calls())
        return self.paid_before + (replace(paid, cost=None) if self.is_unpriced else paid)

    @property
    def unrepaired(self) -> Reply | None:
        """The answer that does not fit, whose repair is the current request; None if there is none of this run."""
        return self._ended[-1] if self.is_repaired and self._ended else None

    @property
    def failed_text(self) -> str:
        """The text that came in place of an answer. Where a repair is blank, that is the answer before it."""
        reply, before = self.reply(), self.unrepaired
        text = reply.text or reply.reasoning or self.kept_text
        if text.isspace() and self.is_repaired:
            return self.kept_text if before is None else before.text
        return text

    @property
    def asked(self) -> Asked:
        """What the current request is."""
        if self.kept_text:
            return Asked.REPAIR_OF_KEPT
        if self.is_repaired:
            return Asked.REPAIR
        return Asked.AGAIN if self.was_empty else Asked.FIRST

    def ended(self, error: InferenceError) -> Ended:
        """Return how the current request has failed with an error."""
        if isinstance(error, ValidatorError):
            return Ended.UNREAD
        is_answer = error.cause == "answer"
        if is_answer and self._is_empty:
            return Ended.EMPTY
        if self.builder.is_cut_by_budget:
            return Ended.CUT_BY_BUDGET if is_answer else Ended.PASSING
        if not is_answer:
            return Ended.REFUSED if error.is_lasting else Ended.PASSING
        return Ended.CUT if why_flawed(self.reply()) else Ended.UNFIT

    @property
    def _is_empty(self) -> bool:
        """Whether the reply to the current request has no text, and nothing that explains why."""
        reply = self.built()
        text = reply.text if self.spec.schema is None else reply.text or reply.reasoning
        return not (text.strip() or why_flawed(reply) or reply.tool_calls)

    @property
    def is_alone(self) -> bool:
        return self.run.is_at_last_row
