"""Run `%%wbchat` with its options and its text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..arguments import ChatOptions, trailing_options
from ..engine import MAX_MODELS, build_spec, cannot_combine, prepare_request, recorded_below, run_chat
from ..errors import InferenceError, shortened
from ..frontend import LiveUpdater, Spinner, next_cells
from ..rendering import line_bundle
from ..session import Command

if TYPE_CHECKING:
    from ..engine import ChatSpec
    from ..frontend import Canvas, MagicContext
    from ..jobs import Job
    from ..messages import Reply


def chat(
    context: MagicContext, options: ChatOptions, text: str, *, is_line: bool = False
) -> Reply | list[Reply] | Job | None:
    """Send the prompt and draw the reply, or show what would be sent.

    Parameters
    ----------
    context, options, text
        The magic's context, its options and its text.
    is_line : bool
        Whether the text is on the line of the options, after them.

    Returns
    -------
    Reply, list of Reply, Job or None
        A list if several models were called, the job that sends it (`--bg`), or None if nothing is sent (`--dry-run`).

    Raises
    ------
    InferenceError
        For any error.
    Interrupted
        When the user interrupts.
    """
    command = Command(context.session, dry=True) if options.dry_run else context.command
    if options.bg and (unusable := options.given("tools", "code", "thread", "new", "fork")):
        raise cannot_combine(unusable[0], "--bg", "a job cannot use the cell or a thread. Nothing was sent.")
    if options.thread:
        context.session.threads.parts(options.thread).note(context.cell.origin.cell)
    tokens = command.settings.value_tokens
    error = context.last_error.describe(tokens=tokens) if options.error else ""
    # A job has no history.
    thread = None if options.bg else context.session.threads.current
    with context.user_output.watched():
        spec = build_spec(options, text, context.names, thread=thread, value_tokens=tokens, described_error=error)
    if is_line and (misplaced := trailing_options(ChatOptions, text)):
        spec = replace(spec, notices=(f"{shortened(misplaced)} was sent as text: options come before the text.",))
    elif not is_line and not options.raw:
        spec = replace(spec, notices=(*spec.notices, *context.merged_prompts(text)))
    canvas = context.canvas(_format(options))
    if options.quiet:
        command.show_stop_button = None
    else:
        command.listener = Spinner(canvas)
    specs = [replace(spec, model=model) for model in _models(command, options)] or [spec]
    if len(specs) > 1:
        _check_comparable(options, len(specs))
    if options.dry_run:
        # Imported on first use, so that a first chat does not wait for it.
        from .preview import preview_bundle

        requests = [prepare_request(command, one, context.cell.origin) for one in specs]
        canvas.show(preview_bundle(command.budget.preview(requests), stream=spec.stream))
        return None
    if not options.bg:
        context.session.end_earlier_jobs()
    if len(specs) > 1:
        replies = _compare(context, options, specs, canvas)
        _leave_threads(context, options, canvas)
        return replies
    if options.bg:
        # Imported when a job is started, so that a first chat does not wait for it.
        from .jobs import start_chat

        form, name, quiet = _format(options), options.output, options.quiet
        job = start_chat(context, specs[0], canvas, format=form, name=name, quiet=quiet)
        _leave_threads(context, options, canvas)
        return job
    return _send(context, options, specs[0], canvas)


def _models(command: Command, options: ChatOptions) -> list[str]:
    """Return the models that the options name, without duplicates."""
    named = command.model_ids(options.model)
    if options.models_like is not None:
        models = command.session.models
        # A dry run sends no request, so it searches only the models already known.
        catalog = models.known(command.endpoint) if command.dry else models.catalog(command)
        found = [model.id for model in catalog.matching(options.models_like)]
        if not found:
            raise InferenceError(
                f"No model matches {shortened(options.models_like)!r}.",
                remedy="%wbmodels asks the endpoint for its models, and shows them.",
                cause="model",
            )
        named += found
    return list(dict.fromkeys(named))


def _check_comparable(options: ChatOptions, models: int) -> None:
    """Raise, before anything is sent, for options that work with one model only and for too many models."""
    alone = options.given("tools", "code", "bg", "new", "fork")
    if options.format in ("text", "html"):
        alone.append(f"--format {options.format}")
    if alone:
        raise InferenceError(f"{alone[0]} works with one model at a time.", remedy="Leave it out, or name one model.")
    if models > MAX_MODELS:
        raise InferenceError(
            f"{models} models are too many to compare at once: at most {MAX_MODELS}.",
            remedy="Name the models with -m, or narrow --models-like; %wbmodels TEXT shows what it matches.",
        )


def _compare(context: MagicContext, options: ChatOptions, specs: list[ChatSpec], canvas: Canvas) -> list[Reply]:
    # Imported on first use, so that a first chat does not wait for it.
    from ..engine.compare import run_comparison
    from ..frontend import ComparisonView

    session, settings = context.session, context.command.settings
    listener = None
    if not options.quiet:
        listener = ComparisonView(canvas, settings.allow_images_from, per_second=settings.refresh_per_second)
    session.last_comparison = []
    try:
        return run_comparison(context.command, specs, origin=context.cell.origin, listener=listener, place="_wbreply")
    finally:
        if session.last_comparison:
            for name in ("_wbreply", options.output):
                if name:
                    context.put(name, session.last_comparison)


def _send(context: MagicContext, options: ChatOptions, spec: ChatSpec, canvas: Canvas) -> Reply:
    session = context.session
    per_second = context.command.settings.refresh_per_second
    listener = None if options.quiet else LiveUpdater(canvas, per_second=per_second)
    before = session.last_reply
    try:
        reply = run_chat(
            context.command,
            spec,
            origin=context.cell.origin,
            listener=listener,
            after=partial(_finish, context, options),
            place="_wbreply",
        )
    finally:
        # Also set after an error or an interrupt, to the partial reply.
        if session.last_reply is not before:
            context.put("_wbreply", session.last_reply)
    if options.output:
        context.put(options.output, reply)
    return reply


def _format(options: ChatOptions) -> str:
    return options.format or ("json" if options.schema else "markdown")


def _leave_threads(context: MagicContext, options: ChatOptions, canvas: Canvas) -> None:
    """Remove the turns of earlier runs of the cell from all threads, and say so below the output."""
    if (notice := _remove_earlier_turns(context, None)) and not options.quiet:
        canvas.append_below(line_bundle(notice))


def _remove_earlier_turns(context: MagicContext, thread: str | None) -> str:
    """Remove the turns of earlier runs of the cell from threads that it no longer continues. Say so."""
    if not (context.owns_cell and context.cell.is_only("wbchat")):
        # Another magic of the cell may continue them.
        return ""
    threads, origin = context.session.threads, context.cell.origin
    if not (left := threads.leave(origin, thread)):
        return ""
    parts = [threads.parts(name).of(origin.cell) for name in left]
    below = dict.fromkeys(notice for part in parts for notice in recorded_below(context.command, part, origin))
    return " ".join((f"The turn that this cell had in the thread {', '.join(left)} was removed.", *below))


def _finish(context: MagicContext, options: ChatOptions, reply: Reply) -> None:
    """Say which jobs have ended and which turns were removed, and put code into the next cells."""
    notices = [_remove_earlier_turns(context, reply.thread)]
    if not options.quiet:
        notices += context.session.jobs.take_notices()
    if options.code is not None:
        blocks = [block for block in reply.code_blocks if block.text.strip()]
        notices.append(next_cells.put(context.shell, blocks if options.code == "all" else blocks[:1], context.cell))
    reply.notices = (*reply.notices, *filter(None, notices))
