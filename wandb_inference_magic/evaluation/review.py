"""Rows whose truth is doubtful, looked at by a person: which answer is right, or whether the truth stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import InferenceError, shortened, shortened_repr
from ..frames import json_text, means_same, plain, with_label
from ..rendering import PLAIN, line_bundle, table_bundle
from ..text import counted, grapheme_start, is_missing, safe_plain
from .judge import readable
from .plot import MimeBundle
from .scorers import SCORERS

if TYPE_CHECKING:
    from ..frames import Kind, Row
    from .candidate import Candidate
    from .scorers import Scorer

TRUTH: Final = "truth"
SKIP: Final = "skip"
# The most rows of the table that is saved with a notebook, and the most characters of a value that are shown.
MAX_ROWS: Final = 50
MAX_CELL_CHARS: Final = 60
MAX_CARD_CHARS: Final = 10_000


class Reviewed(Protocol):
    """What a review needs of an Evaluation."""

    candidates: list[Candidate]
    truth: str
    truths: list[Any]
    scorer: Scorer
    kind: Kind
    by_hand: dict[int, Any]
    source: list[Row]

    def doubtful(self) -> list[int]: ...


@dataclass(frozen=True)
class Card:
    """A row to look at. Answers that mean the same are one; those that mean the same as the truth are not repeated.

    Attributes
    ----------
    row : int
        Its index in the Evaluation's `rows`.
    columns : list of (str, str)
        What is known of the row, with its index and without its truth.
    truth : object
        None if it is not known.
    agree : int
        How many answers mean the same as the truth.
    answers : list
        The others, in the order of the candidates.
    """

    row: int
    columns: list[tuple[str, str]]
    truth: Any
    agree: int
    answers: list[Any]

    @property
    def choices(self) -> dict[str | int, Any]:
        """What each choice but `skip` says is right: the number of an answer, or `truth`."""
        return {**dict(enumerate(self.answers, 1)), **({} if self.truth is None else {TRUTH: self.truth})}


@dataclass(repr=False)
class Review(MimeBundle):
    """The rows with an answer that is not right, to be decided by a person. As the value of a cell it is a widget.

    The reviewer does not see which candidate gave an answer. Decisions are in the Evaluation at once: in the column
    `<truth> reviewed` of its `rows`; `reviewed()` scores with it.

    Attributes
    ----------
    evaluation : Evaluation
    cards : list of Card
    choices : dict
        By row: `truth`, `skip`, or the number of an answer.
    """

    evaluation: Reviewed
    cards: list[Card] = field(init=False)
    choices: dict[int, str | int] = field(init=False)

    def __post_init__(self) -> None:
        found = (_card(self.evaluation, row) for row in self.evaluation.doubtful())
        # Of a row whose requests have failed, there is nothing to decide.
        self.cards = [card for card in found if card.answers]
        self.choices = {}
        for card in self.cards:
            if card.row in self.evaluation.by_hand:
                # As texts: arrays have no single answer to whether they are equal.
                right = json_text(plain(self.evaluation.by_hand[card.row]))
                same = (number for number, one in enumerate(card.answers, 1) if json_text(plain(one)) == right)
                self.choices[card.row] = next(same, TRUTH)

    def decide(self, row: int, choice: str | int) -> None:
        """Store what is right for a row.

        Parameters
        ----------
        row : int
            Its index in `rows`.
        choice : str or int
            The number of the answer that is right, `truth` if the truth is, or `skip`.

        Raises
        ------
        InferenceError
            If the review has no such row or choice.
        """
        card = next((one for one in self.cards if one.row == row), None)
        if card is None:
            raise InferenceError(
                f"Row {shortened_repr(row)} is not in this review.", remedy="The review shows which rows it has."
            )
        possible = [*card.choices, SKIP]
        if isinstance(choice, bool) or choice not in possible:
            raise InferenceError(
                f"Row {row} has no choice {shortened_repr(choice)}.",
                remedy=f"Choose one of {', '.join(map(str, possible))}.",
            )
        self.choices[row] = choice
        if choice == SKIP:
            self.evaluation.by_hand.pop(row, None)
        else:
            self.evaluation.by_hand[row] = card.choices[choice]

    def bundle(self) -> dict[str, Any]:
        """Return the review as a table, for front ends that show no widget."""
        if not self.cards:
            return line_bundle("Nothing to review: every answer is right.")
        truth, most = self.evaluation.truth, max(len(card.answers) for card in self.cards)
        names = [name for name, _ in self.cards[0].columns]
        headings = ("row", *names, truth, *(f"answer {number}" for number in range(1, most + 1)), "right")
        rows = [
            (
                str(card.row),
                *(shortened(text, MAX_CELL_CHARS) for _, text in card.columns),
                "" if card.truth is None else shortened(readable(card.truth), MAX_CELL_CHARS),
                *(shortened(readable(one), MAX_CELL_CHARS) for one in card.answers),
                *([""] * (most - len(card.answers))),
                str(self.choices.get(card.row, "")),
            )
            for card in self.cards[:MAX_ROWS]
        ]
        left = len(self.cards) - len(rows)
        below = f"{counted(left, 'more row')}. " if left else ""
        row = self.cards[0].row
        below += (
            "To decide without keys: review = found.review(), where found is the Evaluation. Then "
            f"review.decide({row}, 1) says that answer 1 is right, review.decide({row}, 'truth') that {truth} is."
        )
        return table_bundle(
            headings,
            rows,
            above=f"{counted(len(self.cards), 'row')} with an answer that is not {truth}.",
            below=below,
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        if not self.cards:
            return self.bundle()
        # Imported when a Review is first shown.
        from ..widgets import review_bundle

        bundle = self.bundle()
        truth = self.evaluation.truth
        return {**review_bundle(bundle[PLAIN], self.shown_cards(), truth, self.choices, self.decide), **bundle}

    def shown_cards(self) -> list[dict[str, Any]]:
        """Return the cards as texts, for a widget."""
        return [
            {
                "row": card.row,
                "columns": [[name, _cut(text)] for name, text in card.columns],
                "truth": None if card.truth is None else _cut(readable(card.truth)),
                "agree": card.agree,
                "answers": [_cut(readable(one)) for one in card.answers],
            }
            for card in self.cards
        ]


def _card(evaluation: Reviewed, row: int) -> Card:
    truth = evaluation.truths[row]
    truth = None if is_missing(truth) else truth
    answers: list[Any] = []
    agree = 0
    is_same = evaluation.scorer.score if evaluation.scorer is SCORERS["exact"] else means_same
    for candidate in evaluation.candidates:
        sampled = (candidate.answers[row], candidate.errors[row], candidate.samples[row])
        for answer, error, score in zip(*sampled, strict=True):
            if error or answer is None:
                continue
            if evaluation.scorer.is_right(score):
                agree += 1
            elif not any(is_same(answer, one, evaluation.kind) for one in answers):
                answers.append(answer)
    columns = [
        (str(name), "" if is_missing(value) else readable(value))
        for name, value in with_label(evaluation.source[row]).items()
        if name != evaluation.truth
    ]
    return Card(row, columns, truth, agree, answers)


def _cut(text: str) -> str:
    text = safe_plain(text)
    if len(text) <= MAX_CARD_CHARS:
        return text
    end = grapheme_start(text, MAX_CARD_CHARS)
    return f"{text[:end]} [... {len(text) - end:,} more characters]"
