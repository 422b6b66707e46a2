"""Ask every candidate about every row, through the machinery of a map, and score the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from random import Random
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..batch import BatchResult, PreparedBatch
from ..errors import InferenceError, shortened, shortened_repr
from ..frames import NO_VALUE, ListRows, plain
from ..messages import has_images, parts_of
from ..prompts import THE_PROMPT
from ..statistics import SEED, are_decided
from ..text import counted, is_blank, is_missing, same_name
from .candidate import Candidate, impute_worst_score
from .judge import estimate_judge, judge, request_to_judge
from .result import Evaluation
from .scorers import cannot_start, score_samples

if TYPE_CHECKING:
    from ..batch import BatchRun, BatchSpec, Estimate, Progress
    from ..frames import Row, Rows
    from ..messages import Message, PreparedRequest
    from ..session import Command
    from .scorers import RowScores
    from .spec import EvaluationSpec

# With --stop-when-clear, whether it is decided is looked at after so many rows.
ROWS_PER_CHECK: Final = 8
# In so many rows, images are looked for that a model cannot read.
ROWS_WITH_IMAGES: Final = 20
# The name of the prompt of the cell.
OWN: Final = "prompt"


class Scores:
    """The scores of candidates, row by row, as answers come."""

    def __init__(self, spec: EvaluationSpec, rows: Sequence[Row]) -> None:
        self.spec = spec
        self.rows = rows
        self.runs: Sequence[BatchRun] = ()
        _, self.kind = spec.compared_field
        self.decided_after: int | None = None
        # In their order, each once.
        self.notices: dict[str, None] = {}
        self._looked = 0
        # The means of the rows that were looked at, for each run: thousands of rows are not collected at each look.
        self._means: list[list[float]] = []
        # The scores of each row that is done, for each run: the user's function is called once for an answer.
        self.scored: dict[int, list[RowScores]] = {}
        # Ends the scoring, where no interrupt reaches the user's function.
        self.cancelled: Event | None = None

    def start(self, runs: Sequence[BatchRun]) -> None:
        """Take the runs, in the order of the candidates."""
        self.runs = runs
        self._means = [[] for _ in runs]
        for run in runs:
            # A candidate whose answers never fit has lost. If those of none do, nothing can be compared.
            run.compared = runs
        if self.spec.stop_when_clear:
            for run in runs:
                run.must_wait, run.is_enough = self._must_wait, self.is_decided

    def places(self, number: int) -> range:
        """Return the places of a row's samples in the runs."""
        return range(number * self.spec.samples, (number + 1) * self.spec.samples)

    def done(self, number: int) -> bool:
        """Return whether every candidate has answered a row, or failed at it, in all samples."""
        # A row that failed because nothing works any more says nothing about a candidate.
        return all(
            run.results.has_ended(place) and place not in run.stopped_rows
            for run in self.runs
            for place in self.places(number)
        )

    def is_decided(self) -> bool:
        """Return whether the first rows, in their order, decide the comparison. Late rows are waited for."""
        while self.decided_after is None and self.runs:
            end = self._looked + ROWS_PER_CHECK
            if end > len(self.rows) or not all(map(self.done, range(self._looked, end))):
                return False
            looked_at = [self.of_row(number) for number in range(self._looked, end)]
            for place, means in enumerate(self._means):
                # Not extended: an interrupt may have come before `_looked` was set.
                means[self._looked :] = [row[place].mean or 0.0 for row in looked_at]
            if are_decided(self._means):
                self.decided_after = end
            self._looked = end
        return self.decided_after is not None

    def _must_wait(self, started: int) -> bool:
        """Return whether a run is so far ahead that a row more could be one that need not be asked."""
        if self.is_decided() or any(run.stopped is not None for run in self.runs):
            return False
        return started >= (self._looked + ROWS_PER_CHECK) * self.spec.samples

    def of_row(self, number: int) -> list[RowScores]:
        """Return the scores of a row that is done, for each run.

        Raises
        ------
        KeyboardInterrupt
            When the job is cancelled.
        """
        if number not in self.scored:
            if self.cancelled is not None and self.cancelled.is_set():
                raise KeyboardInterrupt
            self.scored[number] = [self._of(run, number) for run in self.runs]
        return self.scored[number]

    def _of(self, run: BatchRun, number: int) -> RowScores:
        spec, results = self.spec, run.results
        answers = [
            NO_VALUE if results.answers[at] is None or at in results.errors else spec.compared(results.answers[at])
            for at in self.places(number)
        ]
        truth = spec.right_answer(self.rows[number])
        return score_samples(spec.scorer, self.kind, answers, truth, self.notices)


def known_rows(spec: EvaluationSpec, rows: Rows) -> tuple[dict[int, Row], int]:
    """Return the rows whose truth is known, in the order in which they are asked, and the number of the others.

    Each is under its place in the frame.

    Raises
    ------
    InferenceError
        If a column or a field does not exist.
    """
    spec.check(rows.columns)
    all_rows = list(rows)
    truths = [spec.right_answer(row) for row in all_rows]
    spec.check_truths(truths)
    places = list(range(len(all_rows)))
    if spec.judge is None:
        places = [place for place in places if not is_missing(truths[place])]
    if spec.stop_when_clear:
        Random(SEED).shuffle(places)
    return {place: all_rows[place] for place in places}, len(all_rows) - len(places)


def tasks_of(spec: EvaluationSpec, known: Sequence[Row]) -> list[tuple[Rows, BatchSpec, str | None]]:
    """Return what each candidate is asked: its rows, its spec and its model."""
    repeated = [row for row in known for _ in range(spec.samples)]
    hidden, levels = frozenset({spec.truth}), list(getattr(next(iter(known), None), "_index", ()))
    # The models of a prompt share its rows, so that they get the same prompts.
    of_prompts = [
        (ListRows(repeated, index_names=levels), replace(batch, what=_described(name), hidden=hidden))
        for name, batch in spec.batches.items()
    ]
    return [(rows, batch, model) for rows, batch in of_prompts for model in spec.models or (None,)]


def notices_of(spec: EvaluationSpec, known: Iterable[Row]) -> list[str]:
    """Return what to say of the prompts and of the known answers before anything is sent."""
    names = [name for name, batch in spec.batches.items() if same_name(spec.truth, batch.template.mentioned)]
    notices = [f"The model sees the right answers: {_described(name)} names {spec.truth}." for name in names]
    if never := spec.never_right([spec.right_answer(row) for row in known]):
        example = shortened_repr(plain(never[0]))
        has = f"In {counted(len(never), 'row')}, {spec.truth} has a value that the schema does not allow, such as"
        notices.append(f"{has} {example}: no answer can be right there.")
    return notices


def _described(name: str) -> str:
    """Return what messages call a prompt: that of the cell has its usual name."""
    return THE_PROMPT if name == OWN else f"{THE_PROMPT} {shortened(name)!r}"


@dataclass(frozen=True, slots=True)
class EvaluationResult(BatchResult[Evaluation]):
    """The Evaluation, also of one that ended early, and what came of its runs."""

    found: ClassVar[str] = "The result so far is in"

    @property
    def notices(self) -> tuple[str, ...]:
        return self.value.notices


class PreparedEvaluation(PreparedBatch[Evaluation]):
    """An evaluation that is ready to start. Nothing has been sent.

    Parameters
    ----------
    command : Command
    rows : Rows
    spec : EvaluationSpec

    Raises
    ------
    InferenceError
        If it cannot start.
    """

    def __init__(self, command: Command, rows: Rows, spec: EvaluationSpec) -> None:
        self._spec = spec = replace(spec, truth=same_name(spec.truth, rows.columns) or spec.truth)
        known, self._left_out = known_rows(spec, rows)
        self._types = dict(rows.types)
        self._known, self._places = list(known.values()), list(known)
        if not known and not self._left_out:
            raise cannot_start("There are no rows.", "Give a frame that has some.")
        if not known:
            raise cannot_start(f"No row has a value in {spec.truth!r}.", "Fill in the right answer of some rows.")
        self._scores = Scores(spec, self._known)
        # A request to the judge: it cannot be refused after the candidates are paid for.
        self._judging: PreparedRequest | None = None
        super().__init__(command, tasks_of(spec, self._known), magic="wbeval")
        self._scores.start(self.runs)
        self.runs[0].results.notice(*notices_of(spec, self._known))

    def _check(self) -> None:
        super()._check()
        images = _images_in(self.runs, ROWS_WITH_IMAGES * self._spec.samples)
        if self._spec.judge is None:
            return
        judging = self._judging = request_to_judge(self._command, self._spec.judge, self.runs[0], images)

        def take(candidates: Sequence[Estimate]) -> tuple[PreparedRequest, Estimate]:
            # The answers that are on disk were judged before.
            rows = max((one.rows or 0) - one.cached for one in candidates)
            return judging, estimate_judge(judging, self._pairs(rows), self.runs, candidates)

        self._check_budget(take)

    def _pairs(self, rows: int) -> int:
        return comb(len(self.runs), 2) * rows

    def look(self) -> list[tuple[BatchRun, Estimate]]:
        """Return the runs with what each would take. The notices say what else there is to know, as of a judge."""
        spec, known, previewed = self._spec, self._known, super().look()
        notices = []
        if self._left_out:
            notices.append(f"{counted(self._left_out, 'row')} without a value in {spec.truth} left out.")
        if spec.samples > 1:
            notices.append(f"They are {counted(len(known), 'row')}, each asked {spec.samples:,} times.")
        if self._judging is not None:
            pairs = self._pairs(len(known))
            takes = estimate_judge(self._judging, pairs, self.runs, [one for _, one in previewed]).takes
            judges = f"Then {self._judging.model} judges at most {counted(pairs, 'pair')} of answers, each twice."
            notices.append(f"{judges} This costs extra: {takes}.")
        if spec.stop_when_clear:
            notices.append("That is for all rows; it stops when the comparison is decided.")
        self.runs[0].results.notice(*notices)
        return previewed

    def run(self, progress: Progress | None = None) -> EvaluationResult:
        with self._command.listed(f"evaluation of {counted(len(self._known), 'row')}"):
            return self._run(progress)

    def _run(self, progress: Progress | None) -> EvaluationResult:
        outcome = self.send(progress=progress)
        # What was answered before a job was cancelled is scored all the same.
        self._scores.cancelled = None if outcome.interrupted else self._command.cancelled
        try:
            with self._command.deferred_interrupts("scoring") as interrupts, interrupts.allowed():
                if self._spec.stop_when_clear:
                    self._scores.is_decided()
                evaluation = self._so_far(outcome.notices)
        except KeyboardInterrupt:
            # It interrupted the user's function.
            evaluation, outcome = self._so_far(outcome.notices, only_scored=True), replace(outcome, interrupted=True)
        finally:
            self._scores.cancelled = None
        if self._judging is not None and not outcome.is_partial:
            try:
                evaluation.judged, judging = judge(
                    self._command,
                    self._judging.model,
                    evaluation.candidates,
                    self._scores.runs,
                    evaluation.source,
                    truth=self._spec.truth,
                    progress=progress,
                )
            except InferenceError as error:
                # The candidates' answers are paid for: what they tell is shown without a judge.
                judging = None
                evaluation.notices = (*evaluation.notices, f"Not judged: {error}")
            if judging is not None:
                evaluation.notices = tuple(dict.fromkeys((*evaluation.notices, *judging.notices)))
                outcome = replace(outcome, runs=[*outcome.runs, *judging.runs], interrupted=judging.interrupted)
        return EvaluationResult(evaluation, outcome)

    def frame(self) -> Any:
        return self._so_far().rows

    def _so_far(self, notices: Sequence[str] = (), *, only_scored: bool = False) -> Evaluation:
        """Return what the answers so far say, or only those that are scored already."""
        spec, known, scores = self._spec, self._known, self._scores
        done = scores.scored.__contains__ if only_scored else scores.done
        # A row that not every candidate was asked about would favour some.
        end = scores.decided_after or len(known)
        sent = max((len(run.results.answers) // spec.samples for run in scores.runs), default=0)
        numbers = sorted(filter(done, range(end)), key=self._places.__getitem__)
        models = [run.model for run in scores.runs]
        prompts = [name for name in spec.batches for _ in range(len(models) // len(spec.batches))]
        labels = _labels(models, prompts)
        candidates = [
            _candidate(scores, place, numbers, prompt, label)
            for place, (prompt, label) in enumerate(zip(prompts, labels, strict=True))
        ]
        truths = [spec.right_answer(known[number]) for number in numbers]
        of_scores = (*scores.notices, *impute_worst_score(candidates, truths))
        missed = {run.model: None for run in scores.runs if run.missed is not None and run.stopped is None}
        if missed:
            notices = (*notices, f"The cassette does not hold all requests to {', '.join(missed)}: rows are left.")
        return Evaluation(
            candidates,
            [known[number] for number in numbers],
            spec.truth,
            spec.samples,
            spec.scorer,
            scores.kind,
            truths,
            [self._places[number] for number in numbers],
            left_out=self._left_out,
            spared=len(known) - sent if scores.decided_after else 0,
            left=end - len(numbers),
            is_decided=scores.decided_after is not None,
            is_sequential=spec.stop_when_clear,
            notices=(*notices, *of_scores),
            score_notices=of_scores,
            types=self._types,
        )


def _images_in(runs: Iterable[BatchRun], most: int) -> Sequence[Message]:
    """Return the images of a prompt that has some, among the first ones of each run.

    Raises
    ------
    InferenceError
        If the model of a run reads text only and one of its prompts has an image: it would fail on such rows only.
    """
    found: Sequence[Message] = ()
    for run in runs:
        prompts = (one for one in run.prompts.ahead(most) if not isinstance(one, InferenceError))
        if (prompt := next(filter(has_images, prompts), None)) is None:
            continue
        try:
            run.requests.request(prompt)
        except InferenceError as error:
            if error.cause == "model":
                raise
        found = found or [part for part in parts_of(prompt) if part.get("type") == "image_url"]
    return found


def _candidate(scores: Scores, place: int, numbers: Sequence[int], prompt: str, label: str) -> Candidate:
    """Return the candidate of a run, with what it made of the rows with these numbers."""
    run = scores.runs[place]
    results, chat = run.results, run.spec.chat
    request = {"prompt": run.spec.text, "system": chat.system, "parameters": dict(chat.parameters)}
    candidate = Candidate(run.model, prompt, label, request, results.totals, endpoint=run.first.endpoint.name)
    for number in numbers:
        candidate.add(scores.of_row(number)[place])
        places = scores.places(number)
        candidate.answers.append([scores.spec.compared(results.answers[at]) for at in places])
        candidate.errors.append([results.errors.get(at, "") for at in places])
        candidate.texts.append([results.texts.get(at) for at in places])
        candidate.seconds.append([results.seconds[at] for at in places])
    return candidate


def _labels(models: Sequence[str], prompts: Sequence[str]) -> list[str]:
    if len(set(prompts)) == 1:
        return list(models)
    if len(set(models)) == 1:
        return list(prompts)
    return [f"{model} with {prompt}" for model, prompt in zip(models, prompts, strict=True)]


def named_prompts(prompt: str | None, others: Mapping[str, str] | Sequence[str] | str) -> dict[str, str]:
    """Return the candidate prompts by their names.

    Parameters
    ----------
    prompt : str or None
        The prompt of the cell, called `prompt`.
    others : mapping, sequence of str, or str
        Further prompts, by name; without names they are called `prompt 2`, `prompt 3`, ...

    Raises
    ------
    InferenceError
        If there is none, a prompt is blank, or a prompt or a name is no text.
    """
    if not isinstance(others, Mapping):
        others = [one for one in [others] if one] if isinstance(others, str) else list(others)
    own = OWN
    while own in others:
        own = f"{own} of the cell"
    found = {own: prompt} if prompt and not is_blank(prompt) else {}
    if isinstance(others, Mapping):
        found |= others
    else:
        found |= {f"prompt {number}": text for number, text in enumerate(others, len(found) + 1)}
    if odd := [one for pair in found.items() for one in pair if not isinstance(one, str)]:
        raise cannot_start(
            f"A prompt and its name must be texts, and {shortened_repr(odd[0])} is not.",
            "Give a list of templates, or a dict of them by their names.",
        )
    if blank := [name for name, text in found.items() if is_blank(text)]:
        raise cannot_start(
            f"The prompt {shortened(blank[0])!r} is empty.", "Write a template into it, or leave it out."
        )
    if not found:
        remedy = (
            "Write it on the lines below %%wbeval, or name its file: --prompt FILE (from Python: the argument prompt)."
        )
        raise InferenceError("There is no prompt: nothing was sent.", remedy=remedy)
    return found
