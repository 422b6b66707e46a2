"""One exchange: a prompt is sent, its reply received, drawn while it comes, and recorded."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from .client import Arrival, receive
from .display import Painter
from .errors import InferenceError, Interrupted
from .failures import Situation, explain
from .reply import Reply, ReplyBuilder
from .retries import pause, wait
from .thread import DEFAULT_THREAD, Place, Thread, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import OpenAI

    from .catalog import Price
    from .cell import Cell
    from .client import Endpoint
    from .display import Canvas
    from .reply import Message
    from .session import Session
    from .settings import Resolved


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt and how to send it.

    Attributes
    ----------
    prompt : str
    model, system : str or None
        None: as the settings say.
    parameters : tuple of (name, value)
        Parameters of the service that the SDK knows.
    extra : tuple of (name, value)
        Any others; they go into the body as they are.
    thread : str or None
        The thread to continue; None for no history, neither read nor written.
    new : bool
        Whether to clear the thread first.
    stream : bool
        Whether to receive the reply as it is made.
    """

    prompt: str
    model: str | None = None
    system: str | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    thread: str | None = DEFAULT_THREAD
    new: bool = False
    stream: bool = True


@dataclass(frozen=True, slots=True)
class _Request:
    """What an Ask has become: all that is needed to send it and to tell what came of it."""

    endpoint: Endpoint
    model: str
    price: Price | None
    messages: list[Message]
    body: Mapping[str, Any]
    thread: Thread
    place: Place

    def build(self, builder: ReplyBuilder, incomplete: str = "") -> Reply:
        return builder.build(
            asked_model=self.model,
            endpoint=self.endpoint.name,
            price=self.price,
            messages=self.messages,
            incomplete=incomplete,
        )


def send(session: Session, ask: Ask, *, cell: Cell | None = None, canvas: Canvas | None = None) -> Reply:
    """Send a prompt, draw its reply as it comes, record the turn and return the Reply.

    Parameters
    ----------
    session : Session
        Whose client, settings and threads are used; its `last_reply` is what came, whole or not.
    ask : Ask
        The prompt and how to send it.
    cell : Cell, optional
        The running cell: run again, it replaces its own turns.
    canvas : Canvas, optional
        Where the reply is drawn; None draws nothing.

    Raises
    ------
    InferenceError
        For anything that goes wrong. The thread is as it was before.
    Interrupted
        When the user interrupts. The thread is as it was before.
    """
    request = _prepare(session, ask, cell)
    builder = ReplyBuilder()
    try:
        _receive(session, request, builder, stream=ask.stream, canvas=canvas)
    except KeyboardInterrupt:
        _keep_partial(session, request.build(builder, "interrupted"), canvas)
        kept = "What had come is in _wbreply" if builder.has_begun else "Nothing had come yet"
        raise Interrupted(f"{kept}; the thread is as it was before.") from None
    except InferenceError:
        _keep_partial(session, request.build(builder, "the reply broke off"), canvas)
        raise
    reply = session.last_reply = request.build(builder)
    _record(session, ask, request, reply, cell)
    if canvas is not None:
        canvas.finish(reply)
    return reply


def _prepare(session: Session, ask: Ask, cell: Cell | None) -> _Request:
    settings = session.resolve()
    endpoint = session.endpoint()
    model = ask.model or session.model_in_force(endpoint)
    session.check_model(model, endpoint)
    thread = Thread("") if ask.thread is None or ask.new else session.thread(ask.thread)
    place = thread.place(*_origin(cell))
    messages = thread.messages(place, ask.prompt, ask.system or settings.system or None)
    return _Request(
        endpoint=endpoint,
        model=model,
        price=session.price(model, endpoint),
        messages=messages,
        body=_body(model, messages, ask, settings),
        thread=thread,
        place=place,
    )


def _body(model: str, messages: list[Message], ask: Ask, settings: Resolved) -> dict[str, Any]:
    """Return the request's parameters: only those that the user set are sent."""
    body: dict[str, Any] = {"model": model, "messages": messages}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(settings, name)) is not None:
            body[name] = value
    body.update(ask.parameters)
    if ask.extra:
        body["extra_body"] = dict(ask.extra)
    return body


def _receive(
    session: Session, request: _Request, builder: ReplyBuilder, *, stream: bool, canvas: Canvas | None
) -> None:
    """Receive the reply, trying again where that is worth it and nothing of it has been shown."""
    settings = session.resolve()
    painter = (
        Painter(builder, canvas, model=request.model, per_second=settings.refresh_per_second)
        if canvas
        else nullcontext()
    )
    with painter as painting:
        for tries in count(1):
            try:
                _receive_once(session.client(request.endpoint), request, builder, stream=stream, painter=painting)
            except Exception as failure:
                known = session.known_catalog(request.endpoint)
                error = explain(failure, Situation(request.endpoint, request.model, known))
                seconds = None if builder.has_begun else pause(error, tries, settings.max_retries)
                if seconds is None:
                    raise _told_of_tries(error, tries) from failure
                if painting is not None:
                    painting.pause(f"{error.what} Trying again ({tries} of {settings.max_retries})", seconds)
                wait(seconds)
            else:
                return


def _receive_once(
    client: OpenAI, request: _Request, builder: ReplyBuilder, *, stream: bool, painter: Painter | None
) -> None:
    arrival = Arrival()
    # Closing closes the connection, also when the user interrupts.
    with closing(receive(client, request.body, stream=stream, arrival=arrival)) as payloads:
        try:
            for payload in payloads:
                builder.add(payload)
                if painter is not None:
                    painter.notice()
        finally:
            builder.request_id = arrival.request_id


def _told_of_tries(error: InferenceError, tries: int) -> InferenceError:
    if tries > 1:
        error.why = f"{error.why} It was tried {tries} times.".strip()
    return error


def _record(session: Session, ask: Ask, request: _Request, reply: Reply, cell: Cell | None) -> None:
    # Services refuse a history with an empty reply in it.
    if ask.thread is None or not reply.text:
        return
    request.thread.name = ask.thread
    session.threads[ask.thread] = request.thread
    reply.turn = request.thread.record(request.place, Turn(ask.prompt, reply.text, *_origin(cell)))
    reply.thread = ask.thread


def _origin(cell: Cell | None) -> tuple[str | None, str | None]:
    return (cell.id, cell.execution) if cell else (None, None)


def _keep_partial(session: Session, reply: Reply, canvas: Canvas | None) -> None:
    """Keep and show what had come; where nothing had, take the status away."""
    if reply.text or reply.reasoning:
        session.last_reply = reply
        if canvas is not None:
            canvas.finish(reply)
    elif canvas is not None:
        canvas.abandon()
