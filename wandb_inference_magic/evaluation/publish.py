"""Publish an evaluation in W&B Weave: a Dataset, an Evaluation for each candidate, and a leaderboard of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from keyword import iskeyword
from threading import Event
from typing import TYPE_CHECKING, Any

from ..errors import InferenceError, describe_exception, quoted
from ..frames import json_text, plain, private_columns, without_columns
from ..imports import import_quietly
from ..messages import has_private_fields
from ..prompts import Image, json_of, to_prompt
from ..text import is_missing, library_message, without_addresses

if TYPE_CHECKING:
    from ..frames import Row
    from ..session import Tracer
    from .candidate import Candidate
    from .scorers import Scorer


@dataclass
class Publication:
    """What is published.

    Attributes
    ----------
    tracer : Tracer
        The connection to Weave. It takes secrets out of what is sent.
    source : sequence
        The rows that were asked.
    truth : str
    scorer : Scorer
    remarks : mapping
        What is said of all candidates together. It goes into each summary.
    stopped : Event, optional
        Set by another thread to end the publication.
    """

    tracer: Tracer
    source: Sequence[Row]
    truth: str
    scorer: Scorer
    remarks: Mapping[str, Any]
    stopped: Event | None = None

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [self._as_json(without_columns(row, private_columns(row)), _text_in_row) for row in self.source]

    def publish(self, candidates: Sequence[Candidate], facts: Sequence[Mapping[str, Any]]) -> str:
        """Publish the candidates with their figures, and return the address of the leaderboard.

        Raises
        ------
        InferenceError
            If Weave fails.
        """
        with self.tracer.captured_warnings() as handler:
            try:
                link = self._publish(candidates, facts)
            except InferenceError:
                raise
            except Exception as error:  # noqa: BLE001 - Weave and what it is built on raise errors of many kinds
                raise _not_published(describe_exception(error)) from None
            late = self.tracer.flush()
            if error_text := handler.error_text or late:
                raise _not_published(error_text)
        return link

    def _publish(self, candidates: Sequence[Candidate], facts: Sequence[Mapping[str, Any]]) -> str:
        weave, boards = import_quietly("weave"), import_quietly("weave.flow.leaderboard")
        name = f"wbeval-{re.sub(r'[^A-Za-z0-9]+', '-', self.truth).strip('-') or 'truth'}"
        dataset = weave.Dataset(name=name, rows=self._rows)
        # Once, so that all evaluations are over the same version.
        weave.publish(dataset)
        evaluations = {self._publish_one(dataset, one, its) for one, its in zip(candidates, facts, strict=True)}
        measured = [("score", self.scorer.measure.is_error)] if self.scorer.has_scores else []
        columns = [
            # A scorer's name and a path in the summary of an evaluation: `output` is the summary as it was given.
            boards.LeaderboardColumn(
                evaluation_object_ref=evaluation, scorer_name="output", summary_metric_path=path, should_minimize=least
            )
            for evaluation in sorted(evaluations)
            for path, least in (("share", False), *measured, ("cost_usd", True), ("seconds", True))
        ]
        about = f"Candidates compared by {self.truth} with %%wbeval."
        weave.publish(boards.Leaderboard(name=name, description=self.tracer.redacted(about), columns=columns))
        client = weave.get_client()
        urls = import_quietly("weave.trace.urls")
        return str(urls.leaderboard_path(client.entity, client.project, name))

    def _publish_one(self, dataset: Any, candidate: Candidate, facts: Mapping[str, Any]) -> str:
        """Publish one candidate, and return the reference of the Evaluation: the same for all over one dataset."""
        model = {
            "name": _class_name(candidate.label),
            "model": candidate.model,
            "prompt_name": candidate.prompt,
            **candidate.request,
        }
        logger = import_quietly("weave").EvaluationLogger(
            name=self.tracer.redacted(candidate.label),
            model=self._as_json(model, _text),
            dataset=dataset,
            # The same for all candidates: a leaderboard joins those with the same dataset and attributes.
            eval_attributes=self.tracer.redacted({"truth": self.truth, "scorer": self.scorer.name}),
            scorers=["right", self.scorer.name] if self.scorer.has_scores else ["right"],
        )
        try:
            self._log(logger, candidate, facts)
        except BaseException as error:
            # Otherwise it would count as running.
            with suppress(Exception):
                logger.fail(error)
            raise
        return str(logger._pseudo_evaluation.ref.uri())

    def _log(self, logger: Any, candidate: Candidate, facts: Mapping[str, Any]) -> None:
        """Log the answers of a candidate, their scores and its figures."""
        for number, row in enumerate(self._rows):
            if self.stopped is not None and self.stopped.is_set():
                raise _not_published("it was interrupted")
            sampled = (candidate.answers, candidate.errors, candidate.seconds, candidate.samples)
            for answer, error, seconds, score in zip(*(each[number] for each in sampled), strict=True):
                output = {"answer": answer, "seconds": seconds} | ({"error": error} if error else {})
                prediction = logger.log_prediction(row, output=self._as_json(output, _text))
                if candidate.right[number] is not None:
                    prediction.log_score("right", self.scorer.is_right(score))
                    if self.scorer.has_scores and score is not None:
                        prediction.log_score(self.scorer.name, score)
                prediction.finish()
        logger.log_summary(self._as_json({**facts, **self.remarks}, _text))

    def _as_json(self, values: Mapping[str, Any], text_of: Callable[[Any], str]) -> dict[str, Any]:
        """Return values as JSON without secrets. A number that JSON does not have is null."""
        found = {
            str(name): None if is_missing(value) else json.loads(text_of(value), parse_constant=lambda _: None)
            for name, value in values.items()
        }
        return dict(self.tracer.redacted(found))


def _text(value: Any) -> str:
    return json_text(plain(value))


def _text_in_row(value: Any) -> str:
    """Return a value of a row as JSON text: what a prompt has of it, if its own text shows what it hides or an address.

    An address is another one at each evaluation, so the same rows would not be the same dataset.
    """
    text = _text(value)
    if isinstance(value, str) or (without_addresses(text) == text and not has_private_fields(value)):
        return text
    try:
        shown = to_prompt(value)
        if isinstance(shown, Image):
            return json.dumps(f"[image {sha256(shown.url.encode()).hexdigest()[:12]}]")
        return json_of(value)
    except InferenceError:
        return json.dumps(f"[{type(value).__name__}]")


def _not_published(why: str) -> InferenceError:
    return InferenceError(
        "The evaluation was not fully published.",
        why=quoted(library_message(why)),
        remedy="It is still here: publish it again with to_weave.",
        cause="network",
    )


def _class_name(label: str) -> str:
    """Return a candidate's name as Weave takes names of models: that of a class."""
    name = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_")
    return f"m_{name}" if not name or name[0].isdigit() or iskeyword(name) else name
