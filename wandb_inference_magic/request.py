"""From what is asked to what is sent: the model, the messages that fit, and only the parameters the user set."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from .errors import InferenceError
from .reply import MOST_TOKENS
from .thinking import thinking_parameters
from .thread import DEFAULT_THREAD, Thread, has_images
from .tokens import estimate, estimate_messages, most, most_of_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .catalog import Model, Price
    from .cell import Cell
    from .reply import Content, Message
    from .schema import Schema
    from .session import Session
    from .settings import Resolved
    from .shared_client import Endpoint
    from .tools import Toolbox

# Kept free for the reply where the user sets no limit: a quarter of the context, but no more than this.
REPLY_TOKENS: Final = 4096
LIMIT_NAMES: Final = ("max_tokens", "max_completion_tokens")
MOST_REPLIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt and how to send it.

    Attributes
    ----------
    prompt : Content
    model, system : str or None
        None: as the thread and the settings say.
    parameters : tuple of (name, value)
        Parameters of the service that the SDK knows.
    extra : tuple of (name, value)
        Any others; they go into the body as they are.
    think : str or None
        Whether, or how hard, the model is to think: `on`, `off`, or a level such as `low`.
    thread : str or None
        The thread to continue; None for no history, neither read nor written.
    new : bool
        Whether to clear the thread first.
    fork : str or None
        The thread to start from a copy of.
    stream : bool
        Whether to receive the reply as it is made.
    schema : Schema or None
        What the answer must look like.
    repair : bool
        Whether an answer that does not fit the schema is asked for once more.
    json : bool
        Whether the answer must be JSON.
    tools : Toolbox or None
        The functions the model may call.
    """

    prompt: Content
    model: str | None = None
    system: str | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    think: str | None = None
    thread: str | None = DEFAULT_THREAD
    new: bool = False
    fork: str | None = None
    stream: bool = True
    schema: Schema | None = None
    repair: bool = True
    json: bool = False
    tools: Toolbox | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What an Ask has become: all that is needed to send it and to tell what came of it.

    `body` holds the messages too; `earlier` says how many of them are the thread's, `notices` what the
    user should know of.
    """

    endpoint: Endpoint
    model: str
    price: Price | None
    body: Mapping[str, Any]
    thread: Thread
    earlier: int = 0
    notices: tuple[str, ...] = ()

    @property
    def messages(self) -> list[Message]:
        return list(self.body["messages"])

    @property
    def prompt_tokens(self) -> int:
        """How many tokens are sent, about: those of the messages, the tools and the schema."""
        return estimate_messages(self.body["messages"]) + _beside_messages(self.body)

    @property
    def most_prompt_tokens(self) -> int:
        """How many tokens the service may count for what is sent: more than `prompt_tokens`, for a budget."""
        # A schema is seldom a part of the prompt: services hold the reply to it.
        schema = _beside_messages(self.body, ("response_format",))
        return most_of_messages(self.body["messages"]) + schema + _beside_messages(self.body, ("tools",), most)

    @property
    def reply_limit(self) -> int | None:
        """How many tokens the reply may have; None where the user set no limit."""
        return _reply_limit(self.body)

    @property
    def unclear_limit(self) -> str:
        """The name of a limit on the reply that is no positive number: services differ in what they make of it."""
        given = ((name, value) for name, value in _limits_given(self.body) if value is not None)
        return next((name for name, value in given if not _is_limit(value)), "")

    @property
    def most_replies(self) -> int:
        """How many replies the service may write for the one that it gives."""
        given = [one.get(name) for one in _parameters_of(self.body) for name in ("n", "best_of")]
        return max((int(min(one, MOST_REPLIES)) for one in given if _is_limit(one)), default=1)

    def with_body(self, **values: Any) -> Request:
        """Return this request with other parameters; None takes one away."""
        body = {name: value for name, value in {**self.body, **values}.items() if value is not None}
        return replace(self, body=body)

    def followed_by(self, *messages: Message) -> Request:
        """Return this request with messages added."""
        return self.with_body(messages=[*self.messages, *messages])

    def instructed(self, words: str) -> Request:
        """Return this request with words added to its system prompt."""
        first, *others = self.messages
        if first["role"] != "system":
            return self.with_body(messages=[{"role": "system", "content": words}, first, *others])
        return self.with_body(messages=[{**first, "content": f"{first['content']}\n\n{words}"}, *others])

    def noticed(self, words: str) -> Request:
        """Return this request with one more thing the user should know of."""
        return replace(self, notices=(*self.notices, words))


def prepare(session: Session, ask: Ask, cell: Cell | None = None, *, dry: bool = False) -> Request:
    """Make a request of what is asked; nothing is sent.

    Parameters
    ----------
    session : Session
    ask : Ask
    cell : Cell, optional
        The running cell.
    dry : bool
        Whether it will never be sent: then no key is asked for and the practice model is not started.

    Raises
    ------
    InferenceError
        When it could not succeed: no key, a model that is not there or takes no images, a prompt that alone
        is longer than the model's context, a thread to fork that is not there.
    """
    settings = session.resolve()
    endpoint = session.endpoint(ask=not dry, start=not dry)
    model = ask.model or session.model_in_force(endpoint)
    session.check_model(model, endpoint)
    known = session.known_catalog(endpoint).find(model)
    _check_images(ask.prompt, model, known)
    thread = thread_of(session, ask)
    place = thread.place(*origin(cell))
    body = _parameters(ask, model, known, settings)
    conversation = thread.conversation(
        place,
        ask.prompt,
        ask.system or thread.system_at(place) or settings.system or None,
        room=_room(body, known),
        with_images=known is None or not _is_text_only(known),
    )
    left_out = conversation.left_out
    request = Request(
        endpoint=endpoint,
        model=model,
        price=session.price(model, endpoint),
        body={**body, "messages": conversation.messages},
        thread=thread,
        earlier=conversation.earlier,
        notices=(_left_out_words(left_out, known),) if left_out and known else (),
    )
    _check_length(request, known)
    return request


def for_prompt(first: Request, prompt: Content, known: Model | None) -> Request:
    """Return a request like another one with its last message replaced: for one prompt after the other, no history.

    Raises
    ------
    InferenceError
        For an image to a model that takes none, and a prompt longer than the model's context.
    """
    _check_images(prompt, first.model, known)
    request = first.with_body(messages=[*first.messages[:-1], {"role": "user", "content": prompt}])
    _check_length(request, known)
    return request


def origin(cell: Cell | None) -> tuple[str | None, str | None]:
    """Return the id of the running cell and of its run."""
    return (cell.id, cell.execution) if cell else (None, None)


def thread_of(session: Session, ask: Ask) -> Thread:
    """Return the thread that a prompt continues, as it is before it."""
    if ask.thread is None:
        return Thread("")
    if ask.fork is not None:
        return session.existing_thread(ask.fork).copy(ask.thread)
    return Thread(ask.thread) if ask.new else session.thread(ask.thread)


def _parameters(ask: Ask, model: str, known: Model | None, settings: Resolved) -> dict[str, Any]:
    """Return the request's parameters: only those that the user set are sent."""
    body: dict[str, Any] = {"model": model}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(settings, name)) is not None:
            body[name] = value
    body.update(ask.parameters)
    if ask.tools is not None:
        body["tools"] = ask.tools.definitions
    if ask.schema is not None:
        body["response_format"] = ask.schema.response_format
    extra = dict(ask.extra)
    if ask.think is not None:
        for name, value in thinking_parameters(ask.think, model, known).items():
            given = extra.get(name)
            extra[name] = {**given, **value} if isinstance(given, dict) else value
    if extra:
        body["extra_body"] = extra
    return body


# Images ----------------------------------------------------------------------------------------------------


def _is_text_only(known: Model) -> bool:
    return bool(known.input) and "image" not in known.input


def _check_images(prompt: Content, model: str, known: Model | None) -> None:
    if known is None or not has_images(prompt) or not _is_text_only(known):
        return
    raise InferenceError(
        f"The model {model} reads text only, and the prompt holds an image. Nothing was sent.",
        remedy="%wbmodels image shows the models that take images; choose one with -m.",
        cause="model",
    )


# The model's context -----------------------------------------------------------------------------------------


def _room(body: Mapping[str, Any], known: Model | None) -> int | None:
    """Return for how many tokens of messages there is room, where the model's context is known."""
    if known is None or known.context is None:
        return None
    for_reply = _reply_limit(body) or min(known.context // 4, REPLY_TOKENS)
    return known.context - for_reply - _beside_messages(body)


def _reply_limit(body: Mapping[str, Any]) -> int | None:
    """Return the limit on the reply, by its name or by the newer one: the larger, where a service may heed either."""
    # Infinity, and a number of 400 digits, are limits too.
    given = [ceil(min(value, MOST_TOKENS)) for _, value in _limits_given(body) if _is_limit(value)]
    return max(given, default=None)


def _limits_given(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, one.get(name)) for one in _parameters_of(body) for name in LIMIT_NAMES]


def _parameters_of(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return body, body.get("extra_body") or {}


def _is_limit(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _beside_messages(
    body: Mapping[str, Any],
    names: Sequence[str] = ("tools", "response_format"),
    count: Callable[[str], int] = estimate,
) -> int:
    return sum(count(json.dumps(body[name])) for name in names if name in body)


def _check_length(request: Request, known: Model | None) -> None:
    context = known.context if known else None
    if context is None or (tokens := request.prompt_tokens) <= context:
        return
    raise InferenceError(
        f"The prompt has about {tokens:,} tokens; {request.model} has room for {context:,}, its reply included. "
        "Nothing was sent.",
        remedy="Shorten the prompt, or choose a model with a larger context: %wbmodels shows it.",
        cause="request",
    )


def _left_out_words(turns: int, known: Model) -> str:
    which = "oldest turn was" if turns == 1 else f"{turns} oldest turns were"
    return f"The thread nears the model's context of {known.context:,} tokens: its {which} not sent."
