"""Draw the replies of several models side by side, with a chart that compares them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..catalog import usd
from ..markup import Untrusted, safe_inline
from ..rendering import (
    Column,
    Measure,
    chart_bundle,
    lines_below,
    reply_parts,
    reply_text,
    side_by_side_bundle,
    status_markdown,
    thinking_markdown,
)
from ..text import duration
from .canvas import has_grown
from .live import Spinner, describe_retry

if TYPE_CHECKING:
    from ..messages import Reply
    from ..replies import CallProgress
    from .canvas import Canvas


class ComparisonView(Spinner):
    """Draws the progress of several models at a limited rate, then their final replies.

    The data sent stays in proportion to the replies.

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
        self.interval = 1 / per_second
        self._allowed = allow_images_from
        self._models: Sequence[CallProgress] = ()
        self._drawn_size = 0
        self._drawn_lines: list[str] = []

    def start(self, progress: CallProgress, *others: CallProgress) -> None:
        """Draw the progress of these models from now on."""
        self._models = (progress, *others)

    def redraw(self) -> None:
        """Draw the progress of the models, if it has changed enough."""
        size = sum(_size(one) for one in self._models)
        # Draw the waiting times until a model sends text. Afterwards draw the text when it has grown enough.
        waiting = [] if size else [describe_progress(one) for one in self._models]
        if not has_grown(size, self._drawn_size) and (size or waiting == self._drawn_lines):
            return
        self._drawn_size, self._drawn_lines = size, waiting
        bundle = side_by_side_bundle([_column(one) for one in self._models], self._allowed)
        text = " · ".join(f"{one.model}: {describe_progress(one)}" for one in self._models)
        self._canvas.preview(bundle, text)

    def finish_all(self, replies: Sequence[Reply], *, interrupted: bool) -> None:
        """Draw the result of every model, and a chart unless the comparison was interrupted."""
        columns = [_final_column(one, reply) for one, reply in zip(self._models, replies, strict=True)]
        facts = {"wandb_inference": {"compared": [one.facts() for one in replies]}}
        self._canvas.show(side_by_side_bundle(columns, self._allowed), columns, facts)
        if not interrupted:
            self._canvas.append_below(_chart(replies))


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


def _size(one: CallProgress) -> int:
    return sum(map(len, one.builder.text_pieces))


def _column(one: CallProgress) -> Column:
    """Return the column that shows a model's progress."""
    if one.ended is not None:
        return Column(one.model, reply_parts(one.ended), "")
    if one.error is not None:
        return Column(one.model, [f"*{safe_inline(one.error.what)}*"], "")
    progress = describe_progress(one)
    if text := one.builder.text.strip():
        return Column(one.model, [Untrusted(text), f"\n\n{status_markdown(progress)}"], "")
    return Column(one.model, [thinking_markdown(progress, one.builder.reasoning)], "")


def _final_column(one: CallProgress, reply: Reply) -> Column:
    """Return the column that shows a model's result: its reply, or its error if it has no text."""
    if one.error is None or reply.text:
        return Column(one.model, reply_parts(reply), reply_text(reply), lines_below(reply))
    failure = str(one.error)
    return Column(one.model, [f"*{safe_inline(failure)}*"], "", [f"[{failure}]"])


def describe_progress(one: CallProgress) -> str:
    """Return the progress of a call as a line of text."""
    if one.ended is not None:
        return "done"
    if one.error is not None:
        return "failed"
    if retry := describe_retry(one.retry):
        return retry
    waited = duration(round(perf_counter() - one.builder.started))
    if size := _size(one):
        return f"{size:,} characters, {waited}"
    return f"thinking, {waited}" if one.builder.reasoning_pieces else f"waiting, {waited}"
