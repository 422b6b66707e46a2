"""Before a run: what it would take, what is likely a mistake in it, and whether it can begin at all."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..catalog import describe_cost, usd
from ..engine import prepare_request
from ..errors import InferenceError
from ..messages import REPLY_TOKENS
from ..prompts import in_template
from ..spending import Reservation
from ..text import counted
from .row_call import not_drawn
from .run import BatchRun

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from ..frames import Rows
    from ..session import Command
    from ..spending import Budget
    from .cache import AnswerCache
    from .spec import BatchSpec

# How many rows an estimate is made from.
SAMPLE: Final = 20
SHOWN_COLUMNS: Final = 10
# The tokens of a short answer, used if nothing else is known.
USUAL_REPLY_TOKENS: Final = 100


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of what a run takes.

    `rows` is None if the number is known only after iteration, `cost` if it is not known. The tokens are per row.
    """

    rows: int | None
    prompt_tokens: float
    reply_tokens: float
    cost: float | None

    def __str__(self) -> str:
        rows = "rows of unknown number" if self.rows is None else counted(self.rows, "row")
        each = f"about {self.prompt_tokens:,.0f} + {self.reply_tokens:,.0f} tokens each"
        cost = describe_cost(self.cost)
        return f"{rows}, {each}, {cost if cost in ('free', 'cost unknown') else f'about {cost}'}"


def start(
    command: Command,
    rows: Rows,
    spec: BatchSpec,
    model: str | None,
    cache: AnswerCache | None,
    seen: Counter[str] | None = None,
) -> BatchRun | None:
    """Return a run that is ready to start, or None if there are no rows. Nothing has been sent.

    Its notices say what is likely a mistake. `seen` counts the questions of all runs of a command, by their keys: two
    candidates with the same prompt and model are asked each.

    Raises
    ------
    InferenceError
        If the run cannot succeed: no key, an unknown model, a first row that cannot be read, a template that fails on
        it, or a cost above the budget.
    """
    try:
        row = next(iter(rows), None)
    except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
        raise not_drawn(error, 1) from None
    if row is None:
        return None
    try:
        first = prepare_request(command, replace(spec.chat, prompt=spec.renderer()(row), model=model, thread=None))
    except InferenceError as error:
        if rows.is_used_up:
            error.remedy = f"{error.remedy} The first row was taken from the iterator: make a new one.".strip()
        raise
    run = BatchRun(command=command, rows=rows, spec=spec, model=first.model, first=first, cache=cache, seen=seen)
    mistakes = likely_mistakes(spec, rows.columns, rows.index_names, rows.length)
    run.notice(*mistakes, *_values_to_cut(run), *spec.notices)
    if not command.dry:
        _check_budget(command.budget, run)
    return run


def start_dry(command: Command, rows: Rows, spec: BatchSpec, models: Sequence[str]) -> Iterator[BatchRun]:
    """Yield a run for each model, to look at and not to send. Its notices say what would stop it.

    Raises
    ------
    InferenceError
        As `start`.
    """
    for model in command.model_ids(models) or (None,):
        if run := start(command, rows, spec, model, None):
            try:
                _check_budget(command.budget, run)
            except InferenceError as error:
                run.notice(str(error))
            yield run


def likely_mistakes(
    spec: BatchSpec, columns: Sequence[str], index_names: Sequence[str], length: int | None = None
) -> Iterator[str]:
    """Yield what is likely a mistake in a prompt about rows with these columns and levels of an index."""
    known = {*columns, *index_names, "row"}
    columns = [name for name in columns if name not in spec.hidden]
    names = spec.column_names()
    if length != 1 and columns and not names & known:
        shown = ", ".join(columns[:SHOWN_COLUMNS]) + ", ..." * (len(columns) > SHOWN_COLUMNS)
        braced = [name for name in re.findall(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})", spec.text) if name in columns]
        name = braced[0] if braced else columns[0]
        means = "" if spec.raw else f" A column is written with doubled braces: {{{{ {in_template(name)} }}}}."
        yield f"The prompt names no column of the frame, so all rows may get the same prompt. Columns: {shown}.{means}"
    # A system prompt from Python is no template. The magics have refused or filled in one of theirs.
    filled_in = set() if spec.raw else known | set(spec.names)
    if named := [name for name in re.findall(r"\{\{-?\s*(\w+)", spec.chat.system or "") if name in filled_in]:
        yield (
            f"The system prompt is sent as it is, with {{{{ {named[0]} }}}} in it: it is the same for all rows. "
            "Write what differs from row to row into the prompt."
        )


def _values_to_cut(run: BatchRun) -> Iterator[str]:
    """Say that values will be cut, if they are in the first row or in the one with the longest texts."""
    context = run.first.known and run.first.known.context
    if context is None and run.spec.value_tokens is None:
        return
    cut = run.first.cut_values
    # A row that cannot be made into a prompt is reported when its turn comes.
    with suppress(Exception):
        if not cut and (longest := run.rows.longest()) is not None:
            cut = run.requests.request(run.spec.prompts()(longest)).cut_values
    if cut:
        limit = "the setting value_tokens" if run.spec.value_tokens else f"the model's context of {context:,} tokens"
        yield f"Some values are longer than {limit} allows: they are cut."


def estimate(run: BatchRun) -> Estimate:
    """Return an estimate of the whole run, made from the first rows."""
    prompts = run.spec.prompts()
    sample = []
    # A row that cannot be read, or made into a prompt, is reported when its turn comes.
    with suppress(Exception):
        for row in islice(run.rows, SAMPLE):
            with suppress(InferenceError):
                sample.append(run.requests.request(prompts(row)).prompt_tokens)
    prompt = sum(sample) / len(sample) if sample else 0.0
    reply = _usual_reply(run)
    price, rows = run.first.price, run.rows.length
    cost = None if price is None or rows is None else rows * price.cost(round(prompt), round(reply))
    return Estimate(rows, prompt, reply, cost)


def _usual_reply(run: BatchRun) -> float:
    """Return the approximate number of tokens in a reply.

    It is the average of this model's replies in this session, if there are any, and at most the limit that is set.
    """
    longest = float(run.first.reply_limit or REPLY_TOKENS)
    for endpoint, model, total in run.command.session.usage.by_model():
        answered = total.calls - total.failed
        if (endpoint, model) == (run.first.endpoint.name, run.model) and answered:
            return min(total.usage.completion_tokens / answered, longest)
    return min(float(USUAL_REPLY_TOKENS), longest)


def _check_budget(budget: Budget, run: BatchRun) -> None:
    rest = budget.left
    if rest is None:
        return
    with Reservation(budget) as reservation:
        if budget.may_come(run.first):
            # Calls in progress give back what they do not use: the run waits for that.
            rest += budget.reserved
        else:
            reservation.reserve(run.first)
    expected = estimate(run)
    if expected.cost is not None and expected.cost > rest:
        raise InferenceError(
            f"This would cost about {usd(expected.cost)}, and {usd(rest)} is left of the budget. Nothing was sent.",
            why=f"{expected}.".capitalize(),
            remedy=f"Try fewer rows first: --limit. {budget.remedy}",
            cause="budget",
        )
