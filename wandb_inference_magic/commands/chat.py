"""Run `%%wbchat` with its options and its text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..engine import MOST_MODELS, build_spec, prepare_request, run_chat
from ..engine.compare import run_comparison
from ..errors import InferenceError, shortened
from ..frontend import ComparisonView, LiveUpdater, next_cells
from ..messages import NullComparisonListener, NullListener
from ..session import budget
from .preview import preview_bundle

if TYPE_CHECKING:
    from ..arguments import ChatOptions
    from ..catalog import Catalog
    from ..engine import ChatSpec
    from ..frontend import MagicContext
    from ..messages import ComparisonListener, Listener, Reply
    from ..session import Session


def chat(context: MagicContext, options: ChatOptions, text: str) -> Reply | list[Reply] | None:
    """Send the prompt and draw the reply, or show what would be sent.

    Returns
    -------
    Reply, list of Reply or None
        A list if several models were called. None if nothing was sent (`--dry-run`).

    Raises
    ------
    InferenceError
        For any error.
    Interrupted
        When the user interrupts.
    """
    session = context.session
    tokens = session.resolve().value_tokens
    ask = build_spec(
        options,
        text,
        context.names,
        thread=session.current_thread,
        value_tokens=tokens,
        error_words=context.last_error.describe(tokens=tokens) if options.error else "",
    )
    asks = [replace(ask, model=model) for model in _models(session, options)] or [ask]
    if len(asks) > 1:
        _check_comparable(options, len(asks))
    if options.dry_run:
        requests = [prepare_request(session, one, context.cell.origin, dry=True) for one in asks]
        context.canvas().show(preview_bundle(budget.previewed(session, requests), stream=ask.stream))
        return None
    return _compare(context, options, asks) if len(asks) > 1 else _send(context, options, asks[0])


def _models(session: Session, options: ChatOptions) -> list[str]:
    """Return the models that the options name, without duplicates."""
    named = list(options.model)
    if options.models_like is not None:
        found = [model.id for model in _catalog(session, options).matching(options.models_like)]
        if not found:
            raise InferenceError(
                f"No model matches {shortened(options.models_like)!r}.",
                remedy="%wbmodels shows the models.",
                cause="model",
            )
        named += found
    return list(dict.fromkeys(named))


def _catalog(session: Session, options: ChatOptions) -> Catalog:
    """Return the models to search. A dry run sends no request, so it uses only the models already known."""
    return (
        session.models.known(session.endpoint(ask=False, start=False)) if options.dry_run else session.models.catalog()
    )


def _check_comparable(options: ChatOptions, models: int) -> None:
    """Raise, before anything is sent, for options that work with one model only and for too many models."""
    alone = {
        "--tools": options.tools,
        "--code": options.code,
        f"--format {options.format}": options.format in ("text", "html"),
    }
    option = next((name for name, is_given in alone.items() if is_given), None)
    if option is not None:
        raise InferenceError(
            f"{option} goes with one model at a time.", remedy="Leave it out, or name one model.", cause="option"
        )
    if models > MOST_MODELS:
        raise InferenceError(
            f"{models} models are too many to compare at once: at most {MOST_MODELS}.",
            remedy="Name the models with -m, or narrow --models-like; %wbmodels TEXT shows what it matches.",
            cause="option",
        )


def _compare(context: MagicContext, options: ChatOptions, asks: list[ChatSpec]) -> list[Reply]:
    session = context.session
    session.last_comparison = []
    try:
        return run_comparison(session, asks, origin=context.cell.origin, listener=_comparison_view(context, options))
    finally:
        if session.last_comparison:
            for name in ("_wbreply", options.output):
                if name:
                    context.put(name, session.last_comparison)


def _send(context: MagicContext, options: ChatOptions, ask: ChatSpec) -> Reply:
    session = context.session
    before = session.last_reply
    try:
        reply = run_chat(
            session,
            ask,
            origin=context.cell.origin,
            listener=_listener(context, options),
            after=partial(_put_code, context, options),
        )
    finally:
        # Also set after an error or an interrupt, to the partial reply.
        if session.last_reply is not before:
            context.put("_wbreply", session.last_reply)
    if options.output:
        context.put(options.output, reply)
    return reply


def _listener(context: MagicContext, options: ChatOptions) -> Listener:
    if options.quiet:
        return NullListener()
    per_second = context.session.resolve().refresh_per_second
    return LiveUpdater(context.canvas(_format(options)), per_second=per_second)


def _comparison_view(context: MagicContext, options: ChatOptions) -> ComparisonListener:
    if options.quiet:
        return NullComparisonListener()
    settings = context.session.resolve()
    canvas = context.canvas(_format(options))
    return ComparisonView(canvas, settings.allow_images_from, per_second=settings.refresh_per_second)


def _format(options: ChatOptions) -> str:
    return options.format or ("json" if options.schema else "markdown")


def _put_code(context: MagicContext, options: ChatOptions, reply: Reply) -> None:
    if options.code is None:
        return
    blocks = reply.code_blocks
    notice = next_cells.put(context.shell, blocks if options.code == "all" else blocks[:1], context.cell)
    if notice:
        reply.notices = (*reply.notices, notice)
