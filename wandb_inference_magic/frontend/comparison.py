"""Draw the replies of several models side by side, with a chart that compares them."""

from __future__ import annotations

from contextvars import copy_context
from math import ceil
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..catalog import usd
from ..markup import Untrusted, safe_inline
from ..rendering import (
    Column,
    Measure,
    chart_bundle,
    chart_metadata,
    reply_parts,
    reply_plain,
    side_by_side_bundle,
    status_markdown,
)
from .canvas import GROWTH, LONG_BLOCK
from .live import WaitingLine

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..messages import ComparedModel, Reply
    from .canvas import Canvas


class ComparisonView(WaitingLine):
    """Draws the progress of several models at a limited rate, then their final replies.

    Parameters
    ----------
    canvas : Canvas
    allow_images_from : collection of str
        Hosts from which images may load.
    per_second : float
        The maximum number of drawings per second.
    """

    def __init__(self, canvas: Canvas, allow_images_from: Collection[str], *, per_second: float) -> None:
        super().__init__(canvas)
        self._allowed = allow_images_from
        self._per_second = per_second

    def following(self, models: Sequence[ComparedModel]) -> _Drawing:
        """Return a context manager that draws the progress of the models while its block runs."""
        return _Drawing(self._canvas, models, self._allowed, per_second=self._per_second)

    def finish(self, models: Sequence[ComparedModel], replies: Sequence[Reply], *, interrupted: bool) -> None:
        """Draw the result of every model, and a chart unless the comparison was interrupted."""
        columns = [_final_column(one, reply) for one, reply in zip(models, replies, strict=True)]
        facts = {"wandb_inference": {"compared": [one.facts() for one in replies]}}
        self._canvas.show(side_by_side_bundle(columns, self._allowed), facts)
        if not interrupted:
            chart = _chart(replies)
            self._canvas.append_below(chart, chart_metadata(chart))


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


def _size(one: ComparedModel) -> int:
    return sum(map(len, one.builder.text_pieces))


def _column(one: ComparedModel) -> Column:
    """Return the column that shows a model's progress."""
    if one.ended is not None:
        return Column(one.model, reply_parts(one.ended), "")
    if one.error is not None:
        return Column(one.model, [f"*{safe_inline(one.error.what)}*"], "")
    text = one.builder.text.strip()
    return Column(one.model, [Untrusted(text) if text else status_markdown(_describe(one))], "")


def _final_column(one: ComparedModel, reply: Reply) -> Column:
    """Return the column that shows a model's result: its reply, or its error if it has no text."""
    if one.error is None or reply.text:
        return Column(one.model, reply_parts(reply), reply_plain(reply))
    failure = str(one.error)
    return Column(one.model, [f"*{safe_inline(failure)}*"], f"[{failure}]")


def _describe(one: ComparedModel) -> str:
    """Return a model's progress as a line of text."""
    if one.ended is not None:
        return "done"
    if one.error is not None:
        return "failed"
    if one.waits is not None and (left := one.waits[1] - perf_counter()) > 0:
        return f"{one.waits[0]} Trying again in {ceil(left)} s"
    waited = f"{perf_counter() - one.builder.started:.0f} s"
    if size := _size(one):
        return f"{size:,} characters, {waited}"
    return f"thinking, {waited}" if one.builder.reasoning_pieces else f"waiting, {waited}"


class _Drawing:
    """Draws the progress of the models at a limited rate. The data sent stays in proportion to the replies."""

    def __init__(
        self, canvas: Canvas, models: Sequence[ComparedModel], allowed: Collection[str], *, per_second: float
    ) -> None:
        self._canvas = canvas
        self._models = models
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
        size = sum(_size(one) for one in self._models)
        # Draw the waiting times until a model sends text. Afterwards draw the text when it has grown enough.
        waiting = [] if size else [_describe(one) for one in self._models]
        has_grown = size - self._drawn_size > max(0.0, (size - LONG_BLOCK) * GROWTH)
        if not has_grown and (size or waiting == self._drawn_words):
            return
        self._drawn_size, self._drawn_words = size, waiting
        bundle = side_by_side_bundle([_column(one) for one in self._models], self._allowed)
        words = " · ".join(f"{one.model}: {_describe(one)}" for one in self._models)
        self._canvas.preview(bundle, words)
