"""A model as the judge of two answers: asked in both orders, checked for consistency and for agreement with people."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from ..batch import BatchSpec, PreparedRuns
from ..engine import prepare_request
from ..errors import shortened
from ..frames import ListRows, json_text, means_same, plain
from ..schemas import schema_of
from ..statistics import ALPHA, Comparison, ScoreMeasure, cohen_kappa, compare_pairs, format_p, mcnemar
from ..text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..batch import BatchRun, Progress, Ran, RunTotals
    from ..session import Command
    from .candidate import Candidate

PREFERRED: Final = ScoreMeasure("share of rows that the judge prefers")
# Its agreement with people is a figure of at least so many pairs.
FEWEST_PAIRS: Final = 10
# So much of the error of a request is shown.
MAX_OF_ERROR: Final = 300
_SHAPE: Final = "better first|second"
_TEXT: Final = """\
Two answers to the same question follow. Say which one is better: the first or the second. Judge what is said,
not how long it is.

The question:
{{ question }}

The first answer:
{{ first }}

The second answer:
{{ second }}"""


@dataclass
class Pair:
    """Two candidates, and for each row which one the judge prefers.

    `preferred` holds 1 for A, -1 for B and 0 for neither: the same answer, or one that changes with the order. None if
    the judge was not asked, or gave no answer. `judged` holds the rows on which it said something in both orders.
    """

    a: Candidate
    b: Candidate
    preferred: list[int | None] = field(default_factory=list)
    judged: set[int] = field(default_factory=set)


@dataclass
class Judgement:
    """What the judge said.

    Attributes
    ----------
    pairs : list of Pair
    model : str
        The judge.
    totals : RunTotals or None
        What its run took. None if all answers were the same.
    first, second : int
        How often it chose the answer shown first, or second, in both orders: it contradicted itself.
    asked : int
        The pairs of different answers that it judged in both orders.
    failed : int
        Those without a judgement.
    reasons : dict
        By row: the error of a request that failed, why a pair of its answers is without one.
    truth : str
        The column in which people said what is right.
    """

    pairs: list[Pair]
    model: str
    totals: RunTotals | None = None
    first: int = 0
    second: int = 0
    asked: int = 0
    failed: int = 0
    reasons: dict[int, str] = field(default_factory=dict)
    truth: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it was asked, and judged nothing: then it is no comparison."""
        return self.failed > 0 and not self.asked

    @property
    def contradictions(self) -> float:
        """The share of pairs on which it contradicted itself."""
        return (self.first + self.second) / self.asked if self.asked else 0.0

    @property
    def kappa(self) -> tuple[float, float, float] | None:
        """Its agreement with people over the pairs that it judged and they labelled: Cohen's kappa with its interval.

        None for few pairs: they say little, and the interval would hide that.
        """
        ours, theirs = self._labelled()
        return cohen_kappa(ours, theirs) if len(ours) >= FEWEST_PAIRS else None

    def _labelled(self) -> tuple[list[int], list[int]]:
        ours, theirs = [], []
        for pair in self.pairs:
            for number in sorted(pair.judged):
                preferred, a, b = pair.preferred[number], pair.a.right[number], pair.b.right[number]
                if preferred is not None and a is not None and b is not None:
                    ours.append(preferred)
                    theirs.append((a > b) - (a < b))
        return ours, theirs

    def comparisons(self) -> list[Comparison]:
        """Return the comparisons by what the judge prefers."""
        known = [[float(each) for each in one.preferred if each is not None] for one in self.pairs]
        pairs = [(one.a.label, one.b.label, each) for one, each in zip(self.pairs, known, strict=True)]
        return compare_pairs(pairs, measure=PREFERRED)

    def sentences(self) -> list[str]:
        """What is to be said about the judge itself."""
        if not self.asked:
            if not self.failed:
                return ["There were no different answers to judge."]
            return [f"{self.model} judged nothing.", self._missing()]
        changed = self.first + self.second
        of = f"{changed:,} of {self.asked:,} pairs ({self.contradictions:.0%})"
        said = [f"Judged by {self.model}, in both orders: it contradicted itself on {of}."]
        p = mcnemar(self.first, self.second)
        if changed and p <= ALPHA:
            place = "first" if self.first > self.second else "second"
            said.append(f"It is biased towards the answer shown {place} ({format_p(p)}).")
        if changed:
            said.append("Pairs on which it contradicted itself count for neither.")
        if self.failed:
            said.append(self._missing())
        ours, theirs = self._labelled()
        if ours:
            agreed = sum(one == other for one, other in zip(ours, theirs, strict=True))
            said.append(f"It agreed with {self.truth} on {agreed:,} of {counted(len(ours), 'pair')}{self._chance()}.")
        return said

    def _missing(self) -> str:
        """Say how many pairs have no judgement, and why."""
        said = f"{counted(self.failed, 'pair')} {'has' if self.failed == 1 else 'have'} no judgement"
        if not self.reasons:
            return f"{said}."
        first = shortened(next(iter(self.reasons.values())), MAX_OF_ERROR)
        return f"{said}; requests about {counted(len(self.reasons), 'row')} failed, the first with: {first}"

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
    use_cache: bool = True,
    progress: Callable[[Sequence[BatchRun]], Progress] | None = None,
) -> tuple[Judgement, Ran | None]:
    """Ask a model which answer is better, in both orders, for every two candidates and each row.

    `runs` are those of the candidates, in the same order.

    Raises
    ------
    InferenceError
        If it cannot start.
    """
    pairs = [(run, Pair(a, b)) for (a, run), (b, _) in combinations(zip(candidates, runs, strict=True), 2)]
    judged = Judgement([pair for _, pair in pairs], model, truth=truth)
    asked: list[tuple[Pair, int]] = []
    questions = []
    for run, pair in pairs:
        for number, row in enumerate(rows):
            # An answer that was cut counts as none, as in the scores.
            one, other = (None if each.errors[number][0] else each.answers[number][0] for each in (pair.a, pair.b))
            pair.preferred.append(_without_judge(one, other))
            if pair.preferred[-1] is None:
                question = readable(run.prompts.of(number, row))
                first, second = readable(one), readable(other)
                asked.append((pair, number))
                questions += [
                    {"question": question, "first": first, "second": second},
                    {"question": question, "first": second, "second": first},
                ]
    if not questions:
        return judged, None
    spec = _spec(runs[0].spec)
    asked_rows = ListRows(iter(questions), len(questions), is_made=True)
    prepared = PreparedRuns(command, [(asked_rows, spec, model)], magic="wbeval", use_cache=use_cache)
    ran = prepared.send(progress=progress)
    judging = ran.runs[0]
    judged.totals = judging.totals
    said = [None if one is None else one["better"] for one in judging.answers]
    said += [None] * (len(questions) - len(said))
    for place, (pair, number) in enumerate(asked):
        why = next(filter(None, map(judging.errors.get, (2 * place, 2 * place + 1))), "")
        _note(judged, pair, number, said[2 * place], said[2 * place + 1], why)
    return judged, ran


def check_judge(command: Command, model: str, base: BatchSpec) -> None:
    """Raise if a judge cannot be asked, before the candidates are paid for.

    Parameters
    ----------
    command : Command
    model : str
    base : BatchSpec
        What a candidate is asked.

    Raises
    ------
    InferenceError
        As `prepare_request`.
    """
    prepare_request(command, replace(_spec(base).chat, prompt=_TEXT, model=model, thread=None))


def _spec(base: BatchSpec) -> BatchSpec:
    chat = replace(base.chat, schema=schema_of(_SHAPE), system=None, parameters=(), think=None)
    return BatchSpec(_TEXT, chat, {}, base.value_tokens, concurrency=base.concurrency, retry_failed=base.retry_failed)


def _without_judge(one: Any, other: Any) -> int | None:
    """Return what is preferred without asking the judge: an answer to none, and neither of two that are the same."""
    if one is None or other is None:
        return (one is not None) - (other is not None)
    return 0 if means_same(one, other) else None


def _note(judged: Judgement, pair: Pair, number: int, forth: str | None, back: str | None, why: str) -> None:
    """Store what the judge said of a row: with A shown first, and with B shown first; or why it said nothing."""
    if forth is None or back is None:
        judged.failed += 1
        if why:
            judged.reasons.setdefault(number, why)
        return
    judged.asked += 1
    pair.judged.add(number)
    if forth == back:
        judged.first += forth == "first"
        judged.second += forth == "second"
        pair.preferred[number] = 0
    else:
        pair.preferred[number] = 1 if forth == "first" else -1


def readable(value: Any) -> str:
    """Return a value as a text for a person or a judge."""
    if isinstance(value, str):
        return value
    value = plain(value)
    if isinstance(value, list) and all(isinstance(one, dict) and "type" in one for one in value):
        return "\n".join(one.get("text", f"[{one['type']}]") for one in value)
    return json_text(value)
