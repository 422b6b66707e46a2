"""What an evaluation found: figures of each candidate, comparisons, rows, and how it shows itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import isfinite
from statistics import fmean, median
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..batch import Paid
from ..frames import ANY, NO_VALUE, Kind, with_values
from ..messages import data_frame
from ..rendering import line_bundle, table_bundle
from ..statistics import BOOTSTRAP, SHARE, Comparison, bootstrap, compare_pairs, paired, share_interval
from ..text import counted
from .candidate import frame_of, impute_worst_score
from .plot import Bars, MimeBundle, Plot, bar, bars_of
from .review import Review
from .scorers import SCORERS, Scorer, score_samples

if TYPE_CHECKING:
    from ..frames import Row
    from ..session import TracerSlot
    from .candidate import Candidate
    from .judge import Judgement

MAX_ERRORS_SHOWN: Final = 3
MAX_PAIRS_SHOWN: Final = 3
# How the notices about its publication begin.
PUBLISHED: Final = "Published: "
NOT_PUBLISHED: Final = "Not published: "
# Below this number of rows, the bootstrap's interval holds less often than it says (tests/benchmarks/README.md).
FEW_ROWS: Final = 20
COMPARED: Final = ("a", "b", "rows", "difference", "low", "high", "p_value", "verdict", "method")


@dataclass(repr=False)
class Evaluation(MimeBundle):
    """Compares models and prompts on rows with known answers.

    Attributes
    ----------
    candidates : list of Candidate
    source : list
        The rows that all candidates were asked about, as they were given.
    truth : str
        The column with the right answers.
    samples : int
        How often each row was asked.
    kind : Kind
        What the schema says of the answers and the truth.
    truths : list
        By row, what the answers are compared with: the truth, or that field of it. None if it is not known.
    places : list of int
        By row, its place in the frame.
    left_out, spared, left : int
        The rows that are not counted: because their truth is not known, because the comparison was decided, and because
        the run ended before, or goes on.
    is_sequential : bool
        Whether it was to stop when decided: the tests and intervals are those of a method that allows it.
    is_decided : bool
        Whether it stopped because of that.
    judged : Judgement or None
        What a judge prefers: the comparisons follow it, unless it preferred nothing.
    notices, score_notices : tuple of str
        Those about the scores are in both: they change with the truth.
    by_hand : dict
        By row, what a person said is right in `review()`.
    types : mapping
        The types of the columns of the frame, as pandas has them.
    """

    where_rows_are: ClassVar[str] = "Give its rows: .rows, or .disagreements."

    candidates: list[Candidate]
    source: list[Row]
    truth: str
    samples: int = 1
    scorer: Scorer = SCORERS["equal"]
    kind: Kind = field(default_factory=lambda: Kind(ANY))
    truths: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    left_out: int = 0
    spared: int = 0
    left: int = 0
    is_sequential: bool = False
    is_decided: bool = False
    judged: Judgement | None = None
    notices: tuple[str, ...] = ()
    score_notices: tuple[str, ...] = ()
    by_hand: dict[int, Any] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    # By row: the truth before `by_hand` changed it.
    originals: dict[int, Any] = field(default_factory=dict)
    # How many truths `by_hand` has changed. The scores follow it.
    corrected: int | None = None

    @cached_property
    def found(self) -> list[Comparison]:
        """The comparisons of every two candidates."""
        if self._decides is not None:
            return self._decides.comparisons()
        names = [one.label for one in self.candidates]
        return compare_pairs(
            paired(names, [_known(one.scores) for one in self.candidates]),
            samples=self.samples,
            is_sequential=self.is_sequential,
            measure=self.scorer.measure,
        )

    @property
    def _decides(self) -> Judgement | None:
        """The judge whom the comparisons follow. One that preferred nothing leaves them to the truth."""
        return None if self.judged is None or self.judged.is_empty else self.judged

    @property
    def summary(self) -> Any:
        """A DataFrame with one row for each candidate.

        `share` is right / rows; failed rows are not right. With samples it is the mean over rows, and `answered` and
        `right` count answers. `cost_usd` and `tokens` are those of all its answers, also of answers kept from earlier
        runs. `low` and `high`: its interval of 95 %. `score`: the mean, if a scorer measures more.
        """
        return data_frame(self._facts)

    @cached_property
    def _facts(self) -> list[dict[str, Any]]:
        """The figures of each candidate. Intervals of scores take seconds, where there are many rows."""
        return [self._facts_of(one) for one in self.candidates]

    def _facts_of(self, candidate: Candidate) -> dict[str, Any]:
        right = _known(candidate.right)
        low, high = share_interval(right)
        seconds = [one for each in candidate.seconds for one in each if one > 0]
        facts = {
            "model": candidate.model,
            "prompt": candidate.prompt,
            "rows": len(right),
            "answered": candidate.answered,
            "right": _whole(sum(right) * self.samples),
            "share": fmean(right) if right else None,
            "low": low,
            "high": high,
            "cost_usd": candidate.totals.answers.cost,
            "seconds": median(seconds) if seconds else None,
            "tokens": candidate.totals.answers.tokens,
        }
        if self.scorer.has_scores:
            scores = _known(candidate.scores)
            low, high = bootstrap(scores)
            ends = self.scorer.measure.within(low, high) if isfinite(high) else (None, None)
            facts |= {"score": fmean(scores) if scores else None, "score_low": ends[0], "score_high": ends[1]}
        return facts

    @property
    def comparisons(self) -> Any:
        """A DataFrame with one row for every two candidates: a, b, rows, difference, low, high, p_value, verdict.

        The p-values are corrected for the number of comparisons (Holm), and the intervals hold together.
        """
        return data_frame([_record(one) for one in self.found], list(COMPARED))

    @property
    def rows(self) -> Any:
        """A DataFrame: the columns of the input, and of each candidate its answer, right, seconds and error.

        A text that came in place of an answer is in the column `text`, if there is one.
        The rows are in the order of the input. If its index does not just count them, or if some are not there, their
        index is in the first column, or in several. After a `review()`, `<truth> reviewed` is what the person said is
        right. A column of the input that has such a name is kept, and the name of the evaluation's own ends in `_eval`.
        """
        kind = self.kind if self.samples == 1 else Kind(ANY)
        has_scores, by_hand = self.scorer.has_scores, self.by_hand
        frame = frame_of(self.source, self.places, self.candidates, kind, self.truth, by_hand, has_scores=has_scores)
        for name, known in self.types.items():
            # A person may say that something is right which the type does not allow.
            if name != self.truth or not (self.by_hand or self.originals):
                # The types of other libraries raise errors of many kinds. The column then stays as it is.
                with suppress(Exception):
                    frame[name] = frame[name].astype(known)
        return frame

    @property
    def disagreements(self) -> Any:
        """The rows on which the candidates are not equally right, or none is: those worth a look."""
        return self.rows.iloc[self.doubtful()]

    def doubtful(self) -> list[int]:
        """Return the indices of the disagreements."""
        numbers = range(len(self.source))
        return [number for number in numbers if {one.right[number] for one in self.candidates} != {1.0}]

    def review(self) -> Review:
        """Look at the disagreements by hand: which answer is right, or whether the truth stays. For the notebook."""
        return Review(self)

    def reviewed(self) -> Evaluation:
        """Return the Evaluation with the truth that `review()` has corrected. Nothing is sent."""
        originals = {number: self.truths[number] for number in self.by_hand} | self.originals
        changed = originals | self.by_hand
        truths = [changed.get(number, truth) for number, truth in enumerate(self.truths)]
        source = [
            row if truths[number] is self.truths[number] else with_values(row, {self.truth: truths[number]})
            for number, row in enumerate(self.source)
        ]
        # What was published is not this one.
        kept = (one for one in self.notices if not one.startswith((PUBLISHED, NOT_PUBLISHED)))
        found: dict[str, None] = {}
        candidates = [replace(one, samples=[], scores=[], right=[]) for one in self.candidates]
        for one in candidates:
            for answers, errors, truth in zip(one.answers, one.errors, truths, strict=True):
                given = [NO_VALUE if error else each for each, error in zip(answers, errors, strict=True)]
                one.add(score_samples(self.scorer, self.kind, given, truth, found))
        found |= dict.fromkeys(impute_worst_score(candidates, truths))
        judged = self.judged
        if judged is not None:
            both = zip(judged.pairs, combinations(candidates, 2), strict=True)
            judged = replace(judged, pairs=[replace(pair, a=a, b=b) for pair, (a, b) in both])
        return replace(
            self,
            candidates=candidates,
            source=source,
            truths=truths,
            judged=judged,
            notices=(*(one for one in kept if one not in self.score_notices), *found),
            score_notices=tuple(found),
            by_hand=dict(self.by_hand),
            originals=originals,
            corrected=sum(right is not originals[number] for number, right in self.by_hand.items()),
        )

    @property
    def sentences(self) -> str:
        """What the rows show and what they do not, in one or two sentences."""
        if not self.source:
            return "No row has a score for all candidates: nothing is known."
        if not any(one.answered for one in self.candidates):
            return "No row has an answer: nothing is known."
        if self._decides is None and not self._has_truth:
            value = "number" if self.scorer.measure.is_error else "value"
            return f"No row has a {value} in {self.truth}: nothing is known."
        if self._has_no_score:
            return f"No answer has a score by {self.scorer.name}: nothing is known."
        if len(self.candidates) == 1:
            facts, label = self._facts[0], self.candidates[0].shown_model
            rows, figures = self._describe_rows(facts["rows"]), self._bars.figures[0].label
            if self._is_graded:
                return f"{label} has a {self.scorer.measure.name} of {figures} on {rows}."
            return f"{label} is right on {facts['right']:,} of {rows}: {figures}."
        if len(self.found) == 1:
            return self.found[0].sentences
        return _of_several(self.found)

    @property
    def _scores(self) -> set[float | None]:
        """The scores of all answers; None for one without."""
        return {one for each in self.candidates for row in each.samples for one in row}

    @property
    def _is_graded(self) -> bool:
        """Whether a score is more than right or wrong. A function of the user may return True and False."""
        measure = self.scorer.measure
        return self.scorer.has_scores and (measure.is_error or not self._scores <= {None, 0.0, 1.0})

    @property
    def _has_no_score(self) -> bool:
        """Whether there are answers, and the scorer failed on all of them."""
        if self._decides is not None or self.scorer.measure.is_error:
            return False
        has_answer = any(one is not None for each in self.candidates for row in each.answers for one in row)
        return has_answer and self._scores <= {None}

    @property
    def _has_truth(self) -> bool:
        """Whether there is a row whose truth can be compared."""
        return any(_known(one.right) for one in self.candidates)

    def _describe_rows(self, number: int) -> str:
        rows = counted(number, "row")
        return rows if self.samples == 1 else f"{number * self.samples:,} answers to {rows}"

    @property
    def remarks(self) -> list[str]:
        """What else there is to know: rows left out or spared, failures, the judge, and the cost."""
        lines = []
        if self.left_out:
            lines.append(f"{counted(self.left_out, 'row')} without a value in {self.truth} left out.")
        if self.left:
            lines.append(f"{counted(self.left, 'row')} left: this is the result so far.")
        if self.corrected is not None:
            lines.append(
                f"{counted(len(self.by_hand), 'row')} reviewed by hand, {self.truth} corrected on {self.corrected:,}. "
                "The reviewer saw the answers, and only rows on which they differ from it."
            )
        if len(self.source) < FEW_ROWS and any(one.method == BOOTSTRAP for one in self.found):
            lines.append(f"Fewer than {FEW_ROWS} rows: intervals of a difference may be right 92 times in 100, not 95.")
        if self.is_sequential:
            lines.append(self._stop)
        failed = [
            f"Row {number} of `rows`, {one.label}: {why}"
            for one in self.candidates
            for number, why in enumerate(one.failures)
            if why is not None
        ]
        if failed:
            more = f" And {len(failed) - MAX_ERRORS_SHOWN:,} more: see .rows." if len(failed) > MAX_ERRORS_SHOWN else ""
            shown = " ".join(failed[:MAX_ERRORS_SHOWN])
            lines.append(f"{len(failed):,} failed or cut, counted as not right. {shown}{more}")
        is_scored = self._has_truth and not self._has_no_score and not self.scorer.measure.is_error
        if is_scored and len(failed) < len(self.source) and not any(any(one.scores) for one in self.candidates):
            lines.append(
                f"No answer is right: compare the answers in .rows with {self.truth}. A schema limits what a model "
                'may answer: --schema "label good|bad".'
            )
        totals = [one.totals for one in self.candidates]
        if self.judged:
            lines += self.judged.sentences()
            if self.judged.is_empty and self._has_truth:
                lines.append(f"The comparison is based on {self.truth} instead.")
        judging = [self.judged.totals] if self.judged and self.judged.totals else []
        paid = sum((Paid(one.tokens, one.cost) for one in (*totals, *judging)), Paid())
        cached, replayed = sum(one.cached for one in totals), sum(one.replayed for one in totals)
        notes = [f"{counted(cached, 'answer')} kept from before"] if cached else []
        notes += [f"{replayed:,} replayed"] if replayed else []
        lines.append(" · ".join((f"Cost in all: {paid}", *notes)) + ".")
        return lines

    @property
    def _stop(self) -> str:
        """How `--stop-when-clear` ended: decided, or between which candidates not."""
        rows = counted(len(self.source), "row")
        if self.is_decided:
            stopped = "Decided" if self.corrected is None else "Stopped"
            return f"{stopped} after {rows}: {counted(self.spared, 'row')} not needed."
        unclear = [f"{one.a} and {one.b}" for one in self.found if not one.is_clear]
        if not unclear:
            return f"Decided with the last of {rows}."
        if len(unclear) == len(self.found):
            return f"Not decided: {rows} asked."
        more = f", and {counted(len(unclear) - MAX_PAIRS_SHOWN, 'more pair')}" if len(unclear) > MAX_PAIRS_SHOWN else ""
        return f"Not decided between {'; '.join(unclear[:MAX_PAIRS_SHOWN])}{more}: {rows} asked."

    def to_weave(self, project: str) -> str:
        """Publish it in a W&B Weave project: a Dataset, an Evaluation for each candidate, and a leaderboard of them.

        Parameters
        ----------
        project : str
            In the form team/project.

        Returns
        -------
        str
            The address of the leaderboard.

        Raises
        ------
        InferenceError
            When Weave is not installed, there is no key, or W&B does not answer.
        """
        from ..config import check_project
        from ..session import current_session

        session = current_session()
        return session.loop.call(lambda: self.publish(session.tracing, check_project(project)))

    def publish(self, tracing: TracerSlot, project: str, stopped: Event | None = None) -> str:
        """Publish it by the connections of a session, until `stopped` is set. The rest as for `to_weave`."""
        from .publish import Publication

        remarks: dict[str, Any] = {"says": f"{self.sentences} {' '.join(self.remarks)}"}
        remarks["comparisons"] = [_record(one) for one in self.found]
        with tracing.publishing(project) as tracer:
            publication = Publication(tracer, self.source, self.truth, self.scorer, remarks, stopped)
            return publication.publish(self.candidates, self._facts)

    def plot(self) -> Plot:
        """Return the shares, or mean scores, with their intervals as bars, which the notebook shows."""
        return Plot([one.label for one in self.candidates], self._bars)

    @property
    def _bars(self) -> Bars:
        return bars_of(self._facts, self.scorer.measure if self._is_graded else SHARE)

    def bundle(self, more: Sequence[str] = ()) -> dict[str, Any]:
        """Return how it shows itself, as a MIME bundle: table, bars with intervals, sentences, and `more` of them."""
        if not self.source:
            return line_bundle(" ".join((self.sentences, *self.remarks, *self.notices, *more)))
        bars, has_prompts = self._bars, len({one.prompt for one in self.candidates}) > 1
        # The figures of each candidate as texts, by their headings.
        shown = [
            {
                "model": one.shown_model,
                **({"prompt": one.prompt} if has_prompts else {}),
                f"right of {facts['rows'] * self.samples:,}": f"{facts['right']:,}",
                f"{bars.name} (95% interval)": figures.label,
                bars.axis: bar(*figures[1:]),
                "cost": str(one.totals.answers),
            }
            for one, facts, figures in zip(self.candidates, self._facts, bars.figures, strict=True)
        ]
        rows = [list(each.values()) for each in shown]
        below = " ".join((*self.remarks, *self.notices, *more))
        return table_bundle(list(shown[0]), rows, above=self.sentences, below=below)


def _of_several(found: Sequence[Comparison]) -> str:
    """Return what the rows show about the candidate with the best score: which ones it beats, and which are unclear."""
    # The sum of its differences from all others is the largest for the candidate with the best mean. Of equal ones the
    # first is named: what rounding adds does not count.
    ahead: dict[str, float] = defaultdict(float)
    for one in found:
        ahead[one.a] += one.lead
        ahead[one.b] -= one.lead
    best = max(ahead, key=lambda name: round(ahead[name], 9))
    own = [one for one in found if best in (one.a, one.b)]
    others: Mapping[str, Comparison] = {one.b if one.a == best else one.a: one for one in own}
    beaten = [name for name, one in others.items() if one.better == best and not one.is_at_edge]
    unclear = [one for one in own if one.better != best]
    text = f"{best} is better than {_joined(beaten)}. " if beaten else ""
    text += "".join(f"{one.sentences} " for one in own if one.better == best and one.is_at_edge)
    if unclear:
        closest = min(unclear, key=lambda one: abs(one.difference))
        text += closest.sentences
        rest = [name for name, one in others.items() if one in unclear and one is not closest]
        text += f" There is no clear difference between {best} and {_joined(rest, 'or')} either." if rest else ""
    return text.strip()


def _record(comparison: Comparison) -> dict[str, Any]:
    return {name: getattr(comparison, name) for name in COMPARED}


def _joined(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _known(values: Sequence[float | None]) -> list[float]:
    return [one for one in values if one is not None]


def _whole(value: float) -> float:
    return round(value) if abs(value - round(value)) < 1e-6 else value
