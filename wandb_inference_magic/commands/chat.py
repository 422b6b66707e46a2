"""What `%%wbchat` does with its options and its text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..engine import MOST_MODELS, prepare, read_ask, send
from ..engine.compare import compare
from ..errors import InferenceError, shortened
from ..frontend import ComparisonView, Painter, next_cells
from ..messages import NullComparisonListener, NullListener
from ..session import budget
from .preview import preview_bundle

if TYPE_CHECKING:
    from ..arguments import ChatOptions
    from ..catalog import Catalog
    from ..engine import Ask
    from ..frontend import Scene
    from ..messages import ComparisonListener, Listener, Reply
    from ..session import Session


def chat(scene: Scene, options: ChatOptions, text: str) -> Reply | list[Reply] | None:
    """Send what the options and the text say, and draw the reply; or show what would be sent.

    Returns
    -------
    Reply, list of Reply or None
        A list where several models were asked, None where nothing was sent (`--dry-run`).

    Raises
    ------
    InferenceError
        For anything that goes wrong.
    Interrupted
        When the user interrupts.
    """
    session = scene.session
    tokens = session.resolve().value_tokens
    ask = read_ask(
        options,
        text,
        scene.names,
        thread=session.current_thread,
        value_tokens=tokens,
        error_words=scene.last_error.describe(tokens=tokens) if options.error else "",
    )
    asks = [replace(ask, model=model) for model in _models(session, options)] or [ask]
    if len(asks) > 1:
        _check_comparable(options, len(asks))
    if options.dry_run:
        requests = [prepare(session, one, scene.cell.origin, dry=True) for one in asks]
        scene.canvas().show(preview_bundle(budget.previewed(session, requests), stream=ask.stream))
        return None
    return _compare(scene, options, asks) if len(asks) > 1 else _send(scene, options, asks[0])


def _models(session: Session, options: ChatOptions) -> list[str]:
    """Return the models that the options name, each once."""
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
    """Return the models to look among: for a dry run those that are known, since nobody is asked for anything."""
    return session.known_catalog(session.endpoint(ask=False, start=False)) if options.dry_run else session.catalog()


def _check_comparable(options: ChatOptions, models: int) -> None:
    """Refuse what several models at once do not do, and too many of them, before anything is sent."""
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


def _compare(scene: Scene, options: ChatOptions, asks: list[Ask]) -> list[Reply]:
    session = scene.session
    session.last_comparison = []
    try:
        return compare(session, asks, origin=scene.cell.origin, listener=_comparison_view(scene, options))
    finally:
        if session.last_comparison:
            for name in ("_wbreply", options.output):
                if name:
                    scene.put(name, session.last_comparison)


def _send(scene: Scene, options: ChatOptions, ask: Ask) -> Reply:
    session = scene.session
    before = session.last_reply
    try:
        reply = send(
            session,
            ask,
            origin=scene.cell.origin,
            listener=_listener(scene, options),
            after=partial(_put_code, scene, options),
        )
    finally:
        # Also what had come before a failure or an interrupt.
        if session.last_reply is not before:
            scene.put("_wbreply", session.last_reply)
    if options.output:
        scene.put(options.output, reply)
    return reply


def _listener(scene: Scene, options: ChatOptions) -> Listener:
    if options.quiet:
        return NullListener()
    per_second = scene.session.resolve().refresh_per_second
    return Painter(scene.canvas(_format(options)), per_second=per_second)


def _comparison_view(scene: Scene, options: ChatOptions) -> ComparisonListener:
    if options.quiet:
        return NullComparisonListener()
    settings = scene.session.resolve()
    canvas = scene.canvas(_format(options))
    return ComparisonView(canvas, settings.allow_images_from, per_second=settings.refresh_per_second)


def _format(options: ChatOptions) -> str:
    return options.format or ("json" if options.schema else "markdown")


def _put_code(scene: Scene, options: ChatOptions, reply: Reply) -> None:
    if options.code is None:
        return
    blocks = reply.code_blocks
    notice = next_cells.put(scene.shell, blocks if options.code == "all" else blocks[:1], scene.cell)
    if notice:
        reply.notices = (*reply.notices, notice)
