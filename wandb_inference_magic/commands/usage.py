"""Show the calls so far for `%wbusage`, by model, with their tokens, seconds and cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..catalog import usd
from ..errors import InferenceError
from ..messages import data_frame
from ..rendering import Measure, chart_bundle, line_bundle, table_bundle
from ..session import Command
from ..spending import USAGE_TYPES, Total, usage_rows
from ..text import counted

if TYPE_CHECKING:
    from ..arguments import UsageOptions
    from ..frontend import MagicContext
    from ..session import Session

HEADINGS: Final = ("model", "calls", "prompt", "cached", "completion", "seconds", "tokens a second", "cost")
NO_TOKENS: Final = ("", "", "")

ByModel = list[tuple[str, str, Total]]


def show_usage(context: MagicContext, options: UsageOptions, _text: str) -> None:
    """Run `%wbusage`: show the usage or put it into a variable, and reset the counts.

    Raises
    ------
    InferenceError
        When a DataFrame is requested and pandas is not installed.
    """
    usage, canvas = context.session.usage, context.canvas()
    by_model = usage.by_model()
    if options.output:
        # Its columns are there before the first call, too.
        columns = [*usage_rows([("", "", usage.total())])[0]]
        context.put(options.output, data_frame(usage_rows(by_model), columns, USAGE_TYPES))
    elif by_model:
        canvas.show(_table(context.session, by_model))
        # A single bar has nothing to compare with.
        canvas.append_below(_chart(by_model) if len(by_model) > 1 else {})
    else:
        canvas.show(line_bundle(f"Nothing has been sent since {_when(usage.since)}."))
    if options.reset:
        usage.reset()
        canvas.append_below(line_bundle("Counting starts again from zero."))


def _when(since: datetime) -> str:
    today = since.date() == datetime.now().date()
    return since.strftime("%H:%M:%S") if today else since.strftime("%Y-%m-%d %H:%M:%S")


def _table(session: Session, by_model: ByModel) -> dict[str, Any]:
    total = session.usage.total()
    rows = [
        _row(_describe_model(endpoint, model), one, is_free=endpoint == "local") for endpoint, model, one in by_model
    ]
    if total.failed:
        rows.append(("of these failed", f"{total.failed:,}", *NO_TOKENS, f"{total.failed_seconds:,.1f}", "", ""))
    if len(by_model) > 1:
        rows.append(_row("total", total, is_free=all(endpoint == "local" for endpoint, *_ in by_model)))
    return table_bundle(
        HEADINGS, rows, above=f"Since {_when(session.usage.since)}.", below=" ".join(_notes(session, total))
    )


def _describe_model(endpoint: str, model: str) -> str:
    if endpoint == "local":
        return f"{model} (on this machine)"
    return model if endpoint == "wandb" else f"{model} ({endpoint})"


def _row(name: str, total: Total, *, is_free: bool) -> tuple[str, ...]:
    speed = total.tokens_per_second
    about = "about " if total.estimates else ""
    return (
        name,
        f"{total.calls:,}",
        f"{about}{total.usage.prompt_tokens:,}",
        f"{total.usage.cached_tokens:,}",
        f"{about}{total.usage.completion_tokens:,}",
        f"{total.seconds:,.1f}",
        "" if speed is None else f"{speed:,.0f}",
        format_cost(total, is_free=is_free),
    )


def format_cost(total: Total, *, is_free: bool = False) -> str:
    """Return the cost of calls as text for a table cell. An unknown price is never shown as 0, nor a replay as free."""
    if not total.usage.total_tokens:
        return "none"
    if total.replayed and not (total.cost or total.unpriced or is_free):
        return "nothing"
    if not total.unpriced:
        return usd(total.cost)
    return f"at least {usd(total.cost)}" if total.cost else "unknown"


def _notes(session: Session, total: Total) -> Iterator[str]:
    if total.estimates:
        yield f"The endpoint did not count the tokens of {counted(total.estimates, 'call')}: those are estimates."
    if total.unpriced:
        yield "Some prices are not known."
    # An endpoint or a file that cannot be used is reported by the next call, not by this table.
    with suppress(InferenceError):
        source = session.models.known(Command(session, dry=True).endpoint).as_of
        if total.cost and source:
            yield f"Prices: {source}."
    with suppress(InferenceError):
        settings = session.settings.resolve()
        if settings.budget_file:
            spending = session.spending(settings.budget_file)
            limit = "" if settings.budget is None else f" of {usd(settings.budget)}"
            spent = spending.spent()
            yield f"All kernels with this budget file have spent {usd(spent) if spent else 'nothing'}{limit}."
            if estimated := spending.estimated():
                yield f"The budget file counts {usd(estimated)} for calls whose kernel was killed: an estimate."


def _chart(by_model: ByModel) -> dict[str, Any]:
    return chart_bundle(
        [_describe_model(endpoint, model) for endpoint, model, _ in by_model],
        [
            Measure("tokens, prompt and reply", [one.usage.total_tokens for *_, one in by_model], "{:,.0f}".format),
            Measure("cost", [None if one.unpriced else one.cost for *_, one in by_model], usd),
            Measure("seconds to the first piece", [one.mean_seconds_to_first for *_, one in by_model], "{:.2f}".format),
            Measure("tokens a second", [one.tokens_per_second for *_, one in by_model], "{:,.0f}".format),
        ],
    )
