"""Before a run: what it would take, what is likely a mistake in it, and whether it can begin at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Final

from ..catalog import describe_cost, usd
from ..engine import prepare_request
from ..errors import InferenceError
from ..messages import REPLY_TOKENS
from ..prompts import in_template
from ..spending import Reservation
from ..text import counted, sum_or_none
from .cached_answers import CachedAnswers
from .run import BatchRun
from .spec import ROW

if TYPE_CHECKING:
    from ..frames import Rows
    from ..messages import PreparedRequest
    from ..session import Command
    from ..spending import Budget
    from .cache import AnswerCache
    from .row_call import RowPrompts
    from .spec import BatchSpec

# How many rows an estimate is made from.
SAMPLE: Final = 20
# How many rows are looked at for an estimate. Of a longer frame they are spread over it, and the others are taken to be
# alike. How many of them have a prompt of their own is known only of all.
LOOKED_AT: Final = 2000
MAX_DISTINCT_LOOKED_AT: Final = 100_000
# How many rows are tried before a template is taken for wrong.
MAX_TRIED: Final = 10
MAX_COLUMNS_SHOWN: Final = 10
# The tokens of a short answer, used if nothing else is known.
USUAL_REPLY_TOKENS: Final = 100


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of what a run takes.

    `rows` is None if the number is known only after iteration, `cost` if it is not known. The tokens are per row.
    `cached` is how many rows need no request: their answers are on disk, or they are equal to others and share theirs.
    `is_scaled` says that not all rows were looked at for that.
    """

    rows: int | None
    prompt_tokens: float
    reply_tokens: float
    cost: float | None
    cached: int = 0
    is_scaled: bool = False

    def __str__(self) -> str:
        rows = "an unknown number of rows" if self.rows is None else counted(self.rows, "row")
        if self.cached:
            rows = f"{rows}, {'about ' * self.is_scaled}{self.cached:,} of them without a request"
        return f"{rows}, {self.takes}"

    @property
    def takes(self) -> str:
        """The tokens of each, and the cost of all."""
        each = f"about {self.prompt_tokens:,.0f} + {self.reply_tokens:,.0f} tokens each"
        cost = describe_cost(self.cost)
        return f"{each}, {cost if cost in ('free', 'cost unknown') else f'about {cost}'}"


# A name in single braces, but not the argument of a command of LaTeX.
_BRACED: Final = re.compile(r"(?<![\w{}])\{\s*(\w+)\s*\}(?!\})")
# What of a template is no part of the prompt, or meant as it is.
_NOT_READ: Final = re.compile(r"\{#.*?#\}|\{%[+-]?\s*raw\s*[+-]?%\}.*?\{%[+-]?\s*endraw\s*[+-]?%\}", re.DOTALL)
NO_KEY: Final = "No key was found: the practice model on this machine answers. Do not trust its answers."
# See `check_budget`.
Judging = Callable[[Sequence[Estimate]], tuple["PreparedRequest", Estimate]]


def start(
    command: Command,
    rows: Rows,
    spec: BatchSpec,
    model: str | None,
    prompts: RowPrompts,
    cache: AnswerCache | None,
    seen: Counter[str],
) -> BatchRun | None:
    """Return a run that is ready to start, or None if there are no rows. Nothing has been sent.

    Its notices say what is likely a mistake. `seen` counts the questions of all runs of a command, by their keys: two
    candidates with the same prompt and model are asked each.

    Raises
    ------
    InferenceError
        If the run cannot succeed: no key, an unknown model, a first row that cannot be read, or a template that fails
        on all of the first rows.
    """
    try:
        prompt = prompts.first(MAX_TRIED)
        if prompt is None:
            return None
        first = prepare_request(command, replace(spec.chat, prompt=prompt, model=model, thread=None))
    except InferenceError as error:
        if rows.is_used_up:
            error.remedy = f"{error.remedy} The first row was taken from the iterator: make a new one.".strip()
        raise
    run = BatchRun(command=command, rows=rows, spec=spec, prompts=prompts, first=first, cache=cache, seen=seen)
    if first.endpoint.is_fallback:
        run.results.notice(NO_KEY)
    run.results.notice(*likely_mistakes(spec, rows), *_values_to_cut(run), *spec.chat.notices, *spec.notices)
    return run


def likely_mistakes(spec: BatchSpec, rows: Rows) -> Iterator[str]:
    """Yield what is likely a mistake in a prompt about rows with these columns and levels of an index."""
    known = {*rows.columns, *rows.index_names, ROW}
    columns = [name for name in rows.columns if name not in spec.hidden]
    braced = [name for name in _BRACED.findall(_NOT_READ.sub("", spec.text)) if name in columns]
    if rows.length != 1 and columns and not spec.template.names_among(known):
        shown = ", ".join(columns[:MAX_COLUMNS_SHOWN]) + ", ..." * (len(columns) > MAX_COLUMNS_SHOWN)
        name = braced[0] if braced else columns[0]
        means = "" if spec.raw else f" A column is written with doubled braces: {{{{ {in_template(name)} }}}}."
        yield f"The prompt names no column of the frame, so all rows may get the same prompt. Columns: {shown}.{means}"
    elif not spec.raw and (unread := [name for name in braced if name not in spec.template.names]):
        yield (
            f"{{{unread[0]}}} in the prompt is sent as it is. The column is written with doubled braces: "
            f"{{{{ {in_template(unread[0])} }}}}."
        )
    if ROW in columns and ROW in spec.template.used_whole:
        yield "In the prompt, row is the whole row. The column of this name is {{ row.row }}."
    # A system prompt from Python is no template. The magics have refused or filled in one of theirs.
    filled_in = set() if spec.raw else known | set(spec.names)
    if named := [name for name in re.findall(r"\{\{-?\s*(\w+)", spec.chat.system or "") if name in filled_in]:
        yield (
            f"The system prompt is sent as it is, with {{{{ {named[0]} }}}} in it: it is the same for all rows. "
            "Write what differs from row to row into the prompt."
        )


def _values_to_cut(run: BatchRun) -> Iterator[str]:
    """Say that values will be cut, if they are in the first row. The summary counts the rows."""
    context = run.first.known and run.first.known.context
    if not run.first.cut_values:
        return
    if context is None and run.spec.value_tokens is None:
        yield "Some values are cut to their first items."
        return
    limit = "the setting value_tokens" if run.spec.value_tokens else f"the model's context of {context:,} tokens"
    yield f"Some values are longer than {limit} allows, or have too many items: they are cut."


def estimate(run: BatchRun) -> Estimate:
    """Return an estimate of the whole run, made from the first rows."""
    sample = []
    # A row that has no prompt is reported when its turn comes.
    for prompt in run.prompts.ahead(SAMPLE):
        if not isinstance(prompt, InferenceError):
            with suppress(InferenceError):
                sample.append(run.requests.request(prompt).prompt_tokens)
    return estimate_calls(run.command, run.first, run.rows.length, sum(sample) / len(sample) if sample else 0.0)


def estimate_calls(command: Command, request: PreparedRequest, calls: int | None, prompt: float) -> Estimate:
    """Return an estimate of so many calls like a request, whose prompts have so many tokens on average."""
    reply = _usual_reply(command, request)
    cost = None if request.price is None or calls is None else calls * request.price.cost(round(prompt), round(reply))
    return Estimate(calls, prompt, reply, cost)


def _usual_reply(command: Command, request: PreparedRequest) -> float:
    """Return the approximate number of tokens in a reply.

    It is the average of this model's replies in this session, if there are any, and at most the limit that is set.
    """
    longest = float(request.reply_limit or REPLY_TOKENS)
    for endpoint, model, total in command.session.usage.by_model():
        answered = total.calls - total.failed
        if (endpoint, model) == (request.endpoint.name, request.model) and answered:
            return min(total.usage.completion_tokens / answered, longest)
    return min(float(USUAL_REPLY_TOKENS), longest)


def estimates(runs: Sequence[BatchRun]) -> list[Estimate]:
    """Return an estimate of each run of a command, less the rows that need no request. This renders their prompts."""
    seen: Counter[str] = Counter()
    found = []
    for run in runs:
        if not run.rows.length:
            found.append(estimate(run))
            continue
        tokens, cached = _looked_at(run, seen)
        rows, looked_at = run.rows.length, max(len(tokens), 1)
        requests = ceil(rows * (looked_at - cached) / looked_at)
        with_prompt = [one for one in tokens if one is not None]
        whole = estimate_calls(run.command, run.first, rows, sum(with_prompt) / max(len(with_prompt), 1))
        cost = None if whole.cost is None else whole.cost * requests / rows
        found.append(replace(whole, cached=rows - requests, cost=cost, is_scaled=looked_at < rows))
    return found


def _looked_at(run: BatchRun, seen: Counter[str]) -> tuple[list[int | None], int]:
    """Return the tokens of the prompts of rows, None for a row without one, and how many of them need no request."""
    answers = CachedAnswers(run.cache, run.first, seen)
    key_of = answers.key if run.spec.distinct else answers.next_key
    keys = []
    tokens: list[int | None] = []
    step = ceil((run.total or 1) / (MAX_DISTINCT_LOOKED_AT if run.spec.distinct else LOOKED_AT))
    # A row that cannot be read, or made into a prompt, is reported when its turn comes.
    with suppress(Exception), run.command.listener.waiting("checking which answers are on disk") as redraw:
        for number, row in islice(enumerate(run.rows), 0, None, step):
            redraw()
            tokens.append(None)
            with suppress(InferenceError):
                request = run.requests.request(run.prompts.of(number, row))
                keys.append(key_of(request.messages[-1]))
                tokens[-1] = request.prompt_tokens
    different = list(dict.fromkeys(keys)) if run.spec.distinct else keys
    found = answers.find(different)
    repair, retry_failed = run.spec.chat.repair, run.spec.retry_failed
    # A kept answer that does not fit may fit now. Whether it does is not looked at for an estimate.
    kept = [key for key, one in found.items() if not one.kept.may_be_sent(repair=repair, retry_failed=retry_failed)]
    return tokens, len(keys) - len(different) + len(kept)


def check_budget(budget: Budget, runs: Sequence[BatchRun], judging: Judging | None = None) -> None:
    """Raise if the runs of a command would together cost more than is left of the budget.

    `judging` returns a request to a judge, and what judging takes after runs with these estimates.

    Raises
    ------
    InferenceError
        With the figures.
    """
    if budget.left is None:
        return
    try:
        _check_cost(budget, runs, [estimate(run) for run in runs], judging)
    except InferenceError:
        # To find out which rows need a request takes a look at all of them.
        sending = [(run, one) for run, one in zip(runs, estimates(runs), strict=True) if one.cached != one.rows]
        _check_cost(budget, [run for run, _ in sending], [one for _, one in sending], judging)


def _check_cost(
    budget: Budget, runs: Sequence[BatchRun], estimates: Sequence[Estimate], judging: Judging | None
) -> None:
    rest, comes = budget.left or 0.0, False
    calls = [(run.first, one) for run, one in zip(runs, estimates, strict=True)]
    if calls and judging is not None:
        calls.append(judging(estimates))
    for request, _ in calls:
        with Reservation(budget) as reservation:
            if budget.may_become_affordable(request):
                comes = True
            else:
                reservation.reserve(request)
    if comes:
        # Calls in progress give back what they do not use: the runs wait for that.
        rest += budget.reserved
    cost = sum_or_none([one.cost for _, one in calls])
    if cost is not None and cost > rest:
        each = [f"{request.model}: {one}" for request, one in calls]
        raise InferenceError(
            f"This would cost about {usd(cost)}, and {usd(rest)} is left of the budget. Nothing was sent.",
            why=f"{'; '.join(each) if len(each) > 1 else calls[0][1]}.",
            remedy=f"Try fewer rows first: --limit. {budget.remedy}",
            cause="budget",
        )
