"""A model as the judge of two answers: asked in both orders, checked for consistency and for agreement with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from ..batch import BatchSpec, PreparedRuns, estimate_calls
from ..engine import prepare_request
from ..errors import shortened
from ..frames import ListRows, json_text, means_same, plain
from ..messages import part_text, parts_of
from ..prompts import Image
from ..schemas import schema_of
from ..statistics import ALPHA, Comparison, ScoreMeasure, cohen_kappa, compare_pairs, format_p, mcnemar
from ..text import counted

if TYPE_CHECKING:
    from ..batch import BatchRun, Estimate, Progress, RunsOutcome, RunTotals
    from ..messages import Message, PreparedRequest
    from ..session import Command
    from .candidate import Candidate

PREFERRED: Final = ScoreMeasure("share of rows that the judge prefers")
# Its agreement with people is a figure of at least so many pairs.
MIN_PAIRS: Final = 10
# So much of the error of a request is shown.
MAX_ERROR_CHARS: Final = 300
_SHAPE: Final = "better first|second"
# A question is in parts because it may have images. A line that a block ends is joined to the next.
_TEXT: Final = """\
Two answers to {{ which }} follow. Say which one is better: the first or the second. Judge what is said,
not how long it is.
{% for name, question in questions %}

{{ name }}:
{% for part in question %}{{ part }}{% endfor %}

{% endfor %}

The first answer:
{{ first }}

The second answer:
{{ second }}"""
_SAME: Final = "the same question"
_DIFFERENT: Final = "questions about the same thing"


@dataclass
class Pair:
    """Two candidates, and for each row which one the judge prefers.

    `preferred` holds 1 for A, -1 for B and 0 for neither: the same answer, or one that changes with the order. None if
    the judge gave no answer. `verdicts` holds, by row, what it said with A shown first and with B shown first: `first`,
    `second`, or None.
    """

    a: Candidate
    b: Candidate
    preferred: list[int | None] = field(default_factory=list)
    verdicts: dict[int, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass
class Judgement:
    """What the judge said.

    Attributes
    ----------
    pairs : list of Pair
        Every two candidates, in their order.
    model : str
        The judge.
    totals : RunTotals or None
        What its run took. None if all answers were the same.
    reasons : dict
        By row: the error of a request that failed, why a pair of its answers is without one.
    truth : str
        The column in which people said what is right.
    """

    pairs: list[Pair]
    model: str
    truth: str
    totals: RunTotals | None = None
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def _verdicts(self) -> list[tuple[str | None, str | None]]:
        """What it said of each pair of different answers."""
        return [verdict for pair in self.pairs for verdict in pair.verdicts.values()]

    @property
    def failed(self) -> int:
        """The pairs of different answers without a judgement in both orders."""
        return sum(None in verdict for verdict in self._verdicts)

    @property
    def judged(self) -> int:
        """Those with one."""
        return len(self._verdicts) - self.failed

    @property
    def is_empty(self) -> bool:
        """Whether it was asked, and preferred nothing: it failed or contradicted itself on each pair."""
        return bool(self._verdicts) and all(None in one or one[0] == one[1] for one in self._verdicts)

    @property
    def kappa(self) -> tuple[float, float, float] | None:
        """Its agreement with people over the pairs that it judged and they labelled: Cohen's kappa with its interval.

        None for few pairs: they say little, and the interval would hide that.
        """
        ours, theirs = self._labelled()
        return cohen_kappa(ours, theirs) if len(ours) >= MIN_PAIRS else None

    def _labelled(self) -> tuple[list[int], list[int]]:
        ours, theirs = [], []
        for pair in self.pairs:
            for number in pair.verdicts:
                preferred, a, b = pair.preferred[number], pair.a.right[number], pair.b.right[number]
                if preferred is not None and a is not None and b is not None:
                    ours.append(preferred)
                    theirs.append((a > b) - (a < b))
        return ours, theirs

    def comparisons(self) -> list[Comparison]:
        """Return the comparisons by what the judge prefers."""
        pairs = [
            (one.a.label, one.b.label, [float(each) for each in one.preferred if each is not None])
            for one in self.pairs
        ]
        return compare_pairs(pairs, measure=PREFERRED)

    def sentences(self) -> list[str]:
        """What is known about the judge itself."""
        if not self._verdicts:
            return ["There were no different answers to judge."]
        missing = [self._missing()] if self.failed else []
        if not self.judged:
            return [f"{self.model} judged nothing.", *missing]
        first, second = (self._verdicts.count((place, place)) for place in ("first", "second"))
        changed = first + second
        of = f"{changed:,} of {self.judged:,} pairs ({changed / self.judged:.0%})"
        sentences = [f"Judged by {self.model}, in both orders: it contradicted itself on {of}."]
        if (p := mcnemar(first, second)) <= ALPHA:
            place = "first" if first > second else "second"
            sentences.append(f"It is biased towards the answer shown {place} ({format_p(p)}).")
        if changed:
            sentences.append("Pairs on which it contradicted itself count for neither.")
        sentences += missing
        ours, theirs = self._labelled()
        if ours:
            agreed = sum(one == other for one, other in zip(ours, theirs, strict=True))
            sentences.append(
                f"It agreed with {self.truth} on {agreed:,} of {counted(len(ours), 'pair')}{self._chance()}."
            )
        return sentences

    def _missing(self) -> str:
        """Say how many pairs have no judgement, and why."""
        failed = f"{counted(self.failed, 'pair')} {'has' if self.failed == 1 else 'have'} no judgement"
        if not self.reasons:
            return f"{failed}."
        first = shortened(next(iter(self.reasons.values())), MAX_ERROR_CHARS)
        return f"{failed}; requests about {counted(len(self.reasons), 'row')} failed, the first with: {first}"

    def _chance(self) -> str:
        if (kappa := self.kappa) is None:
            return ""
        ends = f"{kappa[1]:.2f} to {kappa[2]:.2f}; " if kappa[1] < kappa[2] else ""
        return f": kappa {kappa[0]:.2f} ({ends}1 is full agreement, 0 is chance)"


def judge(
    command: Command,
    model: str,
    candidates: Sequence[Candidate],
    runs: Sequence[BatchRun],
    rows: Sequence[Any],
    *,
    truth: str,
    progress: Progress | None = None,
) -> tuple[Judgement, RunsOutcome | None]:
    """Ask a model which answer is better, in both orders, for every two candidates and each row.

    `runs` are those of the candidates, in the same order.

    Raises
    ------
    InferenceError
        If it cannot start.
    """
    pairs = [(Pair(a, b), (run, other)) for (a, run), (b, other) in combinations(zip(candidates, runs, strict=True), 2)]
    judged = Judgement([pair for pair, _ in pairs], model, truth)
    places: list[tuple[Pair, int]] = []
    questions = []
    for pair, both in pairs:
        for number, row in enumerate(rows):
            # An answer that was cut counts as none, as in the scores.
            one, other = (None if each.errors[number][0] else each.answers[number][0] for each in (pair.a, pair.b))
            pair.preferred.append(_without_judge(one, other))
            if pair.preferred[-1] is None:
                asked = [parts_of(run.prompts.of(number, row)) for run in both]
                answers = [readable(one), readable(other)]
                places.append((pair, number))
                questions += [_question(asked, answers), _question(asked[::-1], answers[::-1])]
    if not questions:
        return judged, None
    spec = _spec(runs[0].spec)
    prepared = PreparedRuns(command.without_defaults(), [(ListRows(questions), spec, model)], magic="wbeval")
    outcome = prepared.send(progress=progress)
    judging = outcome.runs[0]
    judged.totals = judging.results.totals
    better = [None if one is None else one["better"] for one in judging.results.answers]
    better += [None] * (len(questions) - len(better))
    for place, (pair, number) in enumerate(places):
        forth, back = pair.verdicts[number] = better[2 * place], better[2 * place + 1]
        if forth is not None and back is not None:
            pair.preferred[number] = 0 if forth == back else 1 if forth == "first" else -1
        elif why := next(filter(None, map(judging.results.errors.get, (2 * place, 2 * place + 1))), ""):
            judged.reasons.setdefault(number, why)
    return judged, outcome


def _question(asked: Sequence[Sequence[Mapping[str, Any]]], answers: Sequence[str]) -> dict[str, Any]:
    """Return the values of one request to the judge, from what the candidates were asked and their answers."""
    parts = [[_question_part(one) for one in each] for each in asked]
    is_same = asked[0] == asked[1]
    names = ("The question",) if is_same else ("The question of the first answer", "The question of the second answer")
    return {
        "which": _SAME if is_same else _DIFFERENT,
        "questions": list(zip(names, parts, strict=False)),
        "first": answers[0],
        "second": answers[1],
    }


def _question_part(part: Mapping[str, Any]) -> Any:
    """Return a part of a candidate's prompt as a value for the judge's: an image stays one."""
    return Image(part["image_url"]["url"]) if part.get("type") == "image_url" else part_text(part)


def estimate_judge(
    request: PreparedRequest, pairs: int, runs: Sequence[BatchRun], estimates: Sequence[Estimate]
) -> Estimate:
    """Return an estimate of judging so many pairs, each twice, after the runs of candidates with these estimates."""
    # The judge sees at most two different prompts at a time.
    prompts = min(2, len({run.spec.text for run in runs}))
    seen = fmean(prompts * one.prompt_tokens + 2 * one.reply_tokens for one in estimates)
    return estimate_calls(runs[0].command, request, 2 * pairs, request.prompt_tokens + seen)


def request_to_judge(command: Command, judge: str, run: BatchRun, images: Sequence[Message]) -> PreparedRequest:
    """Return a request to a judge, before the candidates are paid for. Raise if it cannot be asked.

    Parameters
    ----------
    command : Command
    judge : str
        The model, or its short name.
    run : BatchRun
        That of a candidate.
    images : sequence of dict
        Images of the prompts, which the judge has to read.

    Raises
    ------
    InferenceError
        As `prepare_request`.
    """
    prompt = [{"type": "text", "text": _TEXT}, *images] if images else _TEXT
    chat = replace(_spec(run.spec).chat, prompt=prompt, model=command.model_id(judge), thread=None)
    return prepare_request(command.without_defaults(), chat)


def _spec(base: BatchSpec) -> BatchSpec:
    chat = replace(base.chat, schema=schema_of(_SHAPE), system=None, parameters=(), think=None)
    return BatchSpec(
        _TEXT,
        chat,
        {},
        base.value_tokens,
        concurrency=base.concurrency,
        use_cache=base.use_cache,
        retry_failed=base.retry_failed,
    )


def _without_judge(one: Any, other: Any) -> int | None:
    """Return what is preferred without asking the judge: an answer to none, and neither of two that are the same."""
    if one is None or other is None:
        return (one is not None) - (other is not None)
    return 0 if means_same(one, other) else None


def readable(value: Any) -> str:
    """Return a value as a text for a person or a judge."""
    if isinstance(value, str):
        return value
    return json_text(plain(value))
