"""One prompt to several models at once, their replies side by side; the comparison does not enter the thread."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from contextvars import copy_context
from math import ceil
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from . import background, budget
from .catalog import usd
from .chart import Measure, chart_bundle, chart_metadata
from .display import GROWTH, LONG_BLOCK
from .errors import InferenceError, Interrupted
from .one_of_many import OneOfMany
from .rendering import reply_parts, reply_plain, status_markdown
from .reply import Reply, ReplyBuilder
from .request import prepare
from .safety import Untrusted, safe_inline
from .side_by_side import Column, side_by_side_bundle
from .tracing import asked, traced

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .cell import Cell
    from .display import Canvas
    from .request import Ask
    from .session import Session
    from .shared_client import AsyncClient
    from .tracing import Trace

MOST_MODELS: Final = 9


def compare(session: Session, asks: Sequence[Ask], *, cell: Cell | None = None, canvas: Canvas) -> list[Reply]:
    """Send a prompt to several models at once, draw their replies side by side, and return them in that order.

    A model that fails leaves the others: its Reply has no text, and `incomplete` says why.

    Parameters
    ----------
    session : Session
    asks : sequence of Ask
        The same prompt to each of the models, at most `MOST_MODELS`.
    cell : Cell, optional
        The running cell.
    canvas : Canvas
        Where the replies are drawn.

    Raises
    ------
    InferenceError
        When none of the models answers.
    Interrupted
        When the user interrupts; what had come is drawn and kept.
    """
    settings = session.resolve()
    # From the first one on: an interrupt can come before the last is ready.
    with ExitStack() as stack:
        holds = [stack.enter_context(budget.Hold(session)) for _ in asks]
        contenders = [
            _Contender(session, ask, cell, hold, settings.max_retries, wanted=len(asks) - number)
            for number, (ask, hold) in enumerate(zip(asks, holds, strict=True))
        ]
        told = asked(asks[0], *(one.model for one in contenders))
        with traced(session, "wbchat", told, {}, canvas) as trace:
            replies = _compared(session, canvas, contenders, settings.allow_images_from, trace)
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
    columns = [one.final_column(reply) for one, reply in zip(contenders, replies, strict=True)]
    facts = {"wandb_inference": {"compared": [one.facts() for one in replies]}}
    canvas.show(side_by_side_bundle(columns, allowed), facts)
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
    parts = [(one, one.part) for one in contenders if one.part is not None]
    if not parts:
        return
    async with session.async_client(parts[0][1].sent.endpoint) as client:
        await asyncio.gather(*(one.receive(part, client) for one, part in parts))


class _Contender:
    """One model's part: what has come of it, and why it failed if it did; no `part` where nothing could be sent."""

    def __init__(
        self, session: Session, ask: Ask, cell: Cell | None, hold: budget.Hold, most_retries: int, *, wanted: int
    ) -> None:
        self.model = ask.model or ""
        self.error: InferenceError | None = None
        self.part: OneOfMany | None = None
        self._ended: Reply | None = None
        try:
            request = prepare(session, ask, cell)
            hold.take(request, wanted=wanted)
            self.part = OneOfMany(session, ask, request, hold, most_retries)
        except InferenceError as error:
            self.error = error

    async def receive(self, part: OneOfMany, client: AsyncClient) -> None:
        """Receive the reply; a failure is kept, not raised."""
        try:
            parsed = await part.receive(client)
        except Exception as failure:  # noqa: BLE001 - it is told in this model's place
            error = part.explained(failure)
            if error.cause != "answer":
                self.error = error
                return
            # A reply all the same, and there to be compared.
            reply = part.reply("not what was asked for")
            reply.notices = (*reply.notices, f"{error.what} {error.why}".strip())
        else:
            reply = part.reply()
            reply.parsed = parsed
        self._ended = reply

    def reply(self, interrupted: str = "") -> Reply:
        """Return what came, whole or not."""
        if self._ended is not None:
            return self._ended
        incomplete = self.error.what if self.error else interrupted
        if self.part is not None:
            return self.part.reply(incomplete)
        return ReplyBuilder().build(asked_model=self.model, endpoint="", price=None, messages=(), incomplete=incomplete)

    @property
    def size(self) -> int:
        return 0 if self.part is None else sum(map(len, self.part.builder.text_pieces))

    def column(self) -> Column:
        """Return how far this model has come."""
        if self._ended is not None:
            return Column(self.model, reply_parts(self._ended), "")
        if self.error is not None:
            return Column(self.model, [f"*{safe_inline(self.error.what)}*"], "")
        text = "" if self.part is None else self.part.builder.text.strip()
        return Column(self.model, [Untrusted(text) if text else status_markdown(self.words)], "")

    def final_column(self, reply: Reply) -> Column:
        """Return what came of this model."""
        if self.error is None or reply.text:
            return Column(self.model, reply_parts(reply), reply_plain(reply))
        told = str(self.error)
        return Column(self.model, [f"*{safe_inline(told)}*"], f"[{told}]")

    @property
    def words(self) -> str:
        """How far this model has come, in words."""
        if self._ended is not None:
            return "done"
        if self.error is not None or self.part is None:
            return "failed"
        if self.part.waits is not None and (left := self.part.waits[1] - perf_counter()) > 0:
            return f"{self.part.waits[0]} Trying again in {ceil(left)} s"
        builder = self.part.builder
        waited = f"{perf_counter() - builder.started:.0f} s"
        if self.size:
            return f"{self.size:,} characters, {waited}"
        return f"thinking, {waited}" if builder.reasoning_pieces else f"waiting, {waited}"


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
        bundle = side_by_side_bundle([one.column() for one in self._contenders], self._allowed)
        words = " · ".join(f"{one.model}: {one.words}" for one in self._contenders)
        self._canvas.sketch(bundle, words)
