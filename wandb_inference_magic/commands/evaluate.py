"""Run `%%wbeval`: hold models and prompts against known answers, and show what the rows tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from ..config import expanded
from ..errors import InferenceError, quoted, shortened
from ..evaluation import (
    NOT_PUBLISHED,
    PUBLISHED,
    SCORERS,
    Evaluation,
    EvaluationSpec,
    PreparedEvaluation,
    named_prompts,
    scorer_of,
)
from ..frames import read_rows
from ..text import python_name
from .batch import begin_batch, refuse_frame_as_output, rows_to_look_at, run_batch, spec_of_rows
from .preview import rows_preview_bundle

if TYPE_CHECKING:
    from ..arguments import EvalOptions
    from ..batch import BatchResult
    from ..frontend import MagicContext
    from ..session import Command

OUTPUT: Final = "_wbeval"


def run_evaluation_magic(context: MagicContext, options: EvalOptions, frame: str, text: str) -> None:
    """Ask every candidate about every row, show the progress, and put the Evaluation into a notebook variable.

    Raises
    ------
    InferenceError
        When it cannot start or ends early. The result so far is in the variable.
    Interrupted
        When the user interrupts. The result so far is in the variable.
    """
    command, canvas, value = begin_batch(context, options, frame, "%%wbeval")
    spec = _spec(context, command, options, text)
    if options.dry_run:
        rows = rows_to_look_at(value, options.limit)
        prepared = PreparedEvaluation(command, rows, spec)
        canvas.show(rows_preview_bundle(prepared.look(), spec.samples))
        return
    name = options.output or OUTPUT
    refuse_frame_as_output(context.names, value, name, by="job" if options.bg else "evaluation")
    what, rows = f"%%wbeval {shortened(frame, 60)}", read_rows(value, options.limit, copy=options.bg)
    prepare = partial(PreparedEvaluation, command, rows, spec)

    def published(result: BatchResult[Evaluation], place: str, news: Sequence[str] = ()) -> dict[str, Any]:
        _publish(command, result, options.publish, name)
        return result.value.bundle((f"In {place}.", *news))

    run_batch(context, canvas, prepare, published, what=what, name=name, in_job="wait", is_job=options.bg)


def _publish(command: Command, result: BatchResult[Evaluation], project: str | None, name: str) -> None:
    """Publish a whole evaluation, and add the outcome as a notice. A failure does not hide the paid result."""
    if project is None or result.outcome.is_partial:
        return
    evaluation, stopped = result.value, Event()
    link = why = ""
    try:
        with (
            command.deferred_interrupts("publication") as interrupts,
            command.listener.waiting("publishing to Weave") as redraw,
        ):
            link = command.loop.call(
                lambda: evaluation.publish(command.session.tracing, project, stopped),
                meanwhile=redraw,
                interrupts=interrupts,
            )
    except InferenceError as error:
        why = error.reason
    except KeyboardInterrupt:
        # The thread that publishes ends with the row that it is at.
        stopped.set()
        why = "It was interrupted, so a part of it may be in Weave."
    failed = f"{NOT_PUBLISHED}{why} To try again: {name}.to_weave({project!r})."
    evaluation.notices = (*evaluation.notices, failed if why else f"{PUBLISHED}{link}")


def _spec(context: MagicContext, command: Command, options: EvalOptions, text: str) -> EvaluationSpec:
    if options.truth is None:
        raise InferenceError(
            "%%wbeval needs to know the right answers: nothing was sent.",
            remedy="Name the column that holds them: --truth label.",
        )
    prompts = named_prompts(text, _read_prompts(options.prompt))
    first = spec_of_rows(context, command, options, text)
    return EvaluationSpec(
        {name: replace(first, text=prompt) for name, prompt in prompts.items()},
        command.model_ids(options.model),
        options.truth,
        options.field,
        options.samples or 1,
        scorer_of(_scorer(options.scorer, context.names)),
        options.stop_when_clear,
        options.judge,
    )


def _read_prompts(paths: Sequence[str]) -> dict[str, str]:
    """Return the templates of files, by the files' names; a name that occurs twice is the whole path."""
    texts = {}
    paths = list(dict.fromkeys(paths))
    names = Counter(Path(path).name for path in paths)
    for path in paths:
        try:
            text = expanded(path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not a text in UTF-8"
            raise InferenceError(
                f"The prompt {shortened(path)!r} cannot be read: {quoted(why)}. Nothing was sent.",
                remedy="Name a text file that holds a template.",
            ) from None
        name = Path(path).name
        texts[name if names[name] == 1 else path] = text.strip("\n")
    return texts


def _scorer(name: str | None, names: Mapping[str, Any]) -> str | Callable[[Any, Any], Any] | None:
    """Return the function of the notebook, if there is one of the name: it wins over a scorer of ours."""
    found = names.get(python_name(name)) if name else None
    # `from numpy import *` brings an `equal` that is no scorer.
    is_own = isinstance(found, FunctionType) if name in SCORERS else callable(found)
    return found if is_own else name
