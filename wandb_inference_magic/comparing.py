"""One prompt to several models at once, their replies side by side; the comparison does not enter the thread."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import replace
from itertools import count
from math import ceil
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from . import background, budget
from .catalog import usd
from .chart import Measure, chart_bundle, chart_metadata
from .display import GROWTH, LONG_BLOCK
from .errors import InferenceError, Interrupted
from .failures import Situation, explain
from .receiving import receive_async
from .rendering import reply_markdown, reply_plain, status_markdown
from .reply import Reply, ReplyBuilder
from .request import prepare
from .retries import pause
from .safety import safe_inline, safe_markdown
from .schema import Mismatch
from .side_by_side import Column, side_by_side_bundle
from .tracing import asked, traced

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .cell import Cell
    from .client import AsyncClient
    from .display import Canvas
    from .reply import Message
    from .request import Ask, Request
    from .session import Session
    from .tracing import Trace

MOST_MODELS: Final = 9


def compare(
    session: Session, ask: Ask, models: Sequence[str], *, cell: Cell | None = None, canvas: Canvas
) -> list[Reply]:
    """Send a prompt to several models at once, draw their replies side by side, and return them in that order.

    A model that fails leaves the others: its Reply has no text, and `incomplete` says why.

    Raises
    ------
    InferenceError
        When none of the models answers, or there are too many.
    Interrupted
        When the user interrupts; what had come is drawn and kept.
    """
    if len(models) > MOST_MODELS:
        raise InferenceError(
            f"{len(models)} models are too many to compare at once: at most {MOST_MODELS}.",
            remedy="Name the models with -m, or narrow --models-like; %wbmodels TEXT shows what it matches.",
            cause="option",
        )
    contenders = [_Contender(session, replace(ask, model=model), cell) for model in models]
    allowed = session.resolve().allow_images_from
    with traced(session, "wbchat", asked(ask, *models), {}, canvas) as trace:
        replies = _compared(session, canvas, contenders, allowed, trace)
    errors = [one.error for one in contenders]
    if errors[0] is not None and None not in errors:
        raise InferenceError(
            "None of the models answered.", why=errors[0].what, remedy=errors[0].remedy, cause=errors[0].cause
        )
    return replies


def _compared(
    session: Session, canvas: Canvas, contenders: Sequence[_Contender], allowed: Collection[str], trace: Trace
) -> list[Reply]:
    """Ask all at once, and return what came, drawn and kept."""
    interrupted = ""
    try:
        with _Drawing(canvas, contenders, allowed, per_second=session.resolve().refresh_per_second):
            background.run(_receive_all(session, contenders))
    except KeyboardInterrupt:
        interrupted = "interrupted"
    finally:
        for one in contenders:
            one.release()
    replies = [one.reply(interrupted) for one in contenders]
    # One trace holds them all, and one link leads to it.
    trace.came(next((reply for reply in reversed(replies) if reply.text), replies[-1]))
    trace.output = {one.asked_model: {"text": one.text, "reasoning": one.reasoning, **one.facts()} for one in replies}
    trace.summary = {"cost_usd": {one.asked_model: one.cost for one in replies}}
    _finish(session, canvas, contenders, replies, allowed, interrupted)
    if interrupted:
        raise Interrupted("What had come is in _wbreply; the thread is as it was before.")
    return replies


def _finish(
    session: Session,
    canvas: Canvas,
    contenders: Sequence[_Contender],
    replies: list[Reply],
    allowed: Collection[str],
    interrupted: str,
) -> None:
    """Draw and keep what came, whole or not."""
    session.last_comparison = replies
    columns = [one.final_column(reply, allowed) for one, reply in zip(contenders, replies, strict=True)]
    facts = {"wandb_inference": {"compared": [one.facts() for one in replies]}}
    canvas.show(side_by_side_bundle(columns), facts)
    if not interrupted:
        chart = _chart(replies)
        canvas.below(chart, chart_metadata(chart))


def _chart(replies: Sequence[Reply]) -> dict[str, Any]:
    return chart_bundle(
        [reply.asked_model for reply in replies],
        [
            Measure("seconds to the first piece", [one.seconds_to_first for one in replies], "{:.2f}".format),
            Measure("tokens a second", [one.tokens_per_second for one in replies], "{:,.0f}".format),
            Measure(
                "tokens written",
                [one.usage.completion_tokens if one.usage else None for one in replies],
                "{:,.0f}".format,
            ),
            Measure("cost", [one.cost for one in replies], usd),
        ],
    )


async def _receive_all(session: Session, contenders: Sequence[_Contender]) -> None:
    ready = [one for one in contenders if one.request is not None]
    if not ready or ready[0].request is None:
        return
    async with session.async_client(ready[0].request.endpoint) as client:
        await asyncio.gather(*(one.receive(client) for one in ready))


class _Contender:
    """One model's part: its request, what has come of it, and why it failed if it did."""

    def __init__(self, session: Session, ask: Ask, cell: Cell | None) -> None:
        self.model = ask.model or ""
        self.builder = ReplyBuilder()
        self.error: InferenceError | None = None
        self.request: Request | None = None
        self._session = session
        self._ask = ask
        self._ended: Reply | None = None
        self._pause: tuple[str, float] | None = None
        self._held = 0.0
        try:
            request = prepare(session, ask, cell)
            self._held = budget.hold(session, request)
            self.request = request
        except InferenceError as error:
            self.error = error

    def release(self) -> None:
        """Give back what was held of the budget."""
        budget.release(self._session, self._held)
        self._held = 0.0

    async def receive(self, client: AsyncClient) -> None:
        """Receive the reply, trying again where that is worth it; a failure is kept, not raised."""
        assert self.request is not None
        most = self._session.resolve().max_retries
        self.builder.started = perf_counter()
        for tries in count(1):
            try:
                await self._receive_once(client, self.request)
            except Exception as failure:  # noqa: BLE001 - it is told in this model's place
                known = self._session.known_catalog(self.request.endpoint)
                error = explain(failure, Situation(self.request.endpoint, self.model, known))
                seconds = None if self.builder.has_begun else pause(error, tries, most)
                if seconds is None:
                    self.error = error
                    return
                self._pause = (error.what, perf_counter() + seconds)
                await asyncio.sleep(seconds)
            else:
                self._ended = self._checked(self._build())
                return

    async def _receive_once(self, client: AsyncClient, request: Request) -> None:
        payloads = receive_async(client, request.body, stream=self._ask.stream, arrival=self.builder.arrival)
        with self._session.ledger.counting(request, self.builder):
            async with aclosing(payloads):
                async for payload in payloads:
                    self.builder.add(payload)

    def _build(self, incomplete: str = "") -> Reply:
        request = self.request
        messages: list[Message] = request.messages if request else []
        reply = self.builder.build(
            asked_model=self.model,
            endpoint=request.endpoint.name if request else "",
            price=request.price if request else None,
            messages=messages,
            incomplete=incomplete,
        )
        reply.notices = request.notices if request else ()
        return reply

    def _checked(self, reply: Reply) -> Reply:
        if self._ask.schema is not None:
            try:
                reply.parsed = self._ask.schema.read(reply.text)
            except Mismatch as mismatch:
                reply.notices = (*reply.notices, f"Does not fit the schema: {mismatch}")
        return reply

    def reply(self, interrupted: str = "") -> Reply:
        """Return what came, whole or not."""
        return self._ended or self._build(self.error.what if self.error else interrupted)

    @property
    def size(self) -> int:
        return sum(map(len, self.builder.text_pieces))

    def column(self, allowed: Collection[str]) -> Column:
        """Return how far this model has come."""
        if self._ended is not None:
            return Column(self.model, reply_markdown(self._ended, allowed), "")
        if self.error is not None:
            return Column(self.model, f"*{safe_inline(self.error.what)}*", "")
        text = self.builder.text
        return Column(self.model, safe_markdown(text, allowed) if text else status_markdown(self.words), "")

    def final_column(self, reply: Reply, allowed: Collection[str]) -> Column:
        """Return what came of this model."""
        if self.error is None or reply.text:
            return Column(self.model, reply_markdown(reply, allowed), reply_plain(reply))
        told = str(self.error)
        return Column(self.model, f"*{safe_inline(told)}*", f"[{told}]")

    @property
    def words(self) -> str:
        """How far this model has come, in words."""
        if self._ended is not None:
            return "done"
        if self.error is not None:
            return "failed"
        if self._pause is not None and (left := self._pause[1] - perf_counter()) > 0:
            return f"{self._pause[0]} Trying again in {ceil(left)} s"
        waited = f"{perf_counter() - self.builder.started:.0f} s"
        if self.size:
            return f"{self.size:,} characters, {waited}"
        return f"thinking, {waited}" if self.builder.reasoning_pieces else f"waiting, {waited}"


class _Drawing:
    """Draws how far the models have come, at a bounded rate; what is sent stays in proportion to the replies."""

    def __init__(
        self, canvas: Canvas, contenders: Sequence[_Contender], allowed: Collection[str], *, per_second: float
    ) -> None:
        self._canvas = canvas
        self._contenders = contenders
        self._allowed = allowed
        self._interval = 1 / per_second
        self._drawn_size = 0
        self._drawn_words: list[str] = []
        self._failure: BaseException | None = None
        self._stopped = Event()
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="wbchat-compare", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._draw()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                self._failure = error
                return

    def _draw(self) -> None:
        size = sum(one.size for one in self._contenders)
        # While nobody has said anything, the waiting is drawn; afterwards the text that has grown enough.
        waiting = [] if size else [one.words for one in self._contenders]
        has_grown = size - self._drawn_size > max(0.0, (size - LONG_BLOCK) * GROWTH)
        if not has_grown and (size or waiting == self._drawn_words):
            return
        self._drawn_size, self._drawn_words = size, waiting
        bundle = side_by_side_bundle([one.column(self._allowed) for one in self._contenders])
        words = " · ".join(f"{one.model}: {one.words}" for one in self._contenders)
        self._canvas.sketch(bundle, words)
