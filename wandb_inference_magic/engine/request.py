"""Turn a ChatSpec into a request: the model, the messages that fit, and only the parameters that the user set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..catalog import SAMPLING, thinking_parameters
from ..errors import InferenceError
from ..messages import (
    REPLY_TOKENS,
    Origin,
    PreparedRequest,
    Thread,
    estimate_messages,
    has_images,
    non_text_parts,
    reply_limit,
    system_messages,
    tokens_outside_messages,
)
from ..prompts import cut_values, fit_values
from .spec import cannot_combine

if TYPE_CHECKING:
    from ..catalog import Model
    from ..config import Resolved
    from ..messages import Content, Threads, Turn
    from ..session import Command
    from .spec import ChatSpec


NOWHERE: Final = Origin()
UNSEEN: Final = "This model reads text only: the {what} of earlier turns were not sent; each was replaced by {marks}."


def prepare_request(command: Command, spec: ChatSpec, origin: Origin = NOWHERE) -> PreparedRequest:
    """Build a request from a ChatSpec. Nothing is sent.

    Parameters
    ----------
    command : Command
    spec : ChatSpec
    origin : Origin
        The running cell.

    Raises
    ------
    InferenceError
        When the request could not succeed: there is no key, the model does not exist or does not accept images, the
        prompt alone is longer than the model's context, or the thread to fork does not exist.
    """
    endpoint, models, settings = command.endpoint, command.session.models, command.settings
    model = command.model_id(spec.model) if spec.model else command.model
    # A replay of what the practice model answered needs none: the recording says what it holds.
    if not (endpoint.is_local and command.costs_nothing):
        models.check(model, endpoint)
    known = models.known(endpoint).find(model)
    _check_images(spec.prompt, model, known)
    thread = thread_of(command.session.threads, spec, origin)
    place = thread.place(*origin)
    body = _parameters(spec, model, known, settings)
    system = spec.system or thread.system_at(place) or settings.system or None
    room = _room(body, known)
    left = None if room is None else room - estimate_messages(system_messages(system))
    prompt, counted = fit_values(spec.prompt, left)
    sees = _reads_images(known)
    conversation = thread.conversation(place, prompt, system, room=room, with_images=sees)
    calls_no_tools = spec.tools is not None and known is not None and known.tools is False
    notices = (
        "" if sees else _describe_unseen(thread.turns[: place.before]),
        *spec.notices,
        f"{model} is not known to call tools: it may answer without them." if calls_no_tools else "",
        _describe_left_out(conversation.left_out, known, body),
        _describe_cut(counted, _context(known, body)),
        _describe_cut(cut_values(spec.prompt), is_set=settings.value_tokens is not None),
    )
    request = PreparedRequest(
        endpoint=endpoint,
        model=model,
        price=models.needed_price(model, command, command.budget.limit),
        body={**body, "messages": conversation.messages},
        thread=thread,
        earlier=conversation.earlier,
        notices=tuple(filter(None, notices)),
        known=known,
        cut_values=counted + cut_values(spec.prompt),
        left_out=conversation.left_out,
    )
    if spec.adds_json_mode:
        request = request.in_json_mode()
    _check_length(request)
    return request


def for_prompt(first: PreparedRequest, prompt: Content) -> PreparedRequest:
    """Return a copy of a request with its last message replaced, for many prompts without a history.

    What was cut in it is in its `cut_values`, not in its notices.

    Raises
    ------
    InferenceError
        If the prompt has an image and the model does not accept images, or if it is longer than the model's context.
    """
    _check_images(prompt, first.model, first.known)
    room = _room(first.body, first.known)
    others = first.messages[:-1]
    content, counted = fit_values(prompt, None if room is None else room - estimate_messages(others))
    request = first.with_body(messages=[*others, {"role": "user", "content": content}])
    _check_length(request)
    return replace(request, notices=(), cut_values=counted + cut_values(prompt))


def thread_of(threads: Threads, spec: ChatSpec, origin: Origin) -> Thread:
    """Return the thread that a prompt continues, without that prompt."""
    if spec.thread is None:
        return Thread("")
    if spec.fork is not None:
        if spec.fork == spec.thread:
            raise InferenceError(
                f"{spec.fork} is the current thread: a copy of it needs another name. Nothing was sent.",
                remedy=f"Give it one: --fork {spec.fork} --thread NAME.",
            )
        return threads.existing(spec.fork).before_chat(origin).copy(spec.thread, origin)
    if spec.new:
        return Thread(spec.thread)
    return threads.parts(spec.thread).before_chat(origin)


def _parameters(spec: ChatSpec, model: str, known: Model | None, settings: Resolved) -> dict[str, Any]:
    """Return the request's parameters. Only those that the user set are sent."""
    body: dict[str, Any] = {"model": model}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(settings, name)) is not None:
            body[name] = value
    body.update((name, value) for name, value in spec.parameters if name in SAMPLING)
    if spec.tools is not None:
        body["tools"] = spec.tools.definitions
    if spec.schema is not None:
        body["response_format"] = spec.schema.response_format
    # Apart from the others: the keys of answers on disk depend on it.
    extra = {name: value for name, value in spec.parameters if name not in SAMPLING}
    if (twice := next((name for name in extra if name in body), None)) is not None:
        option = "Tools" if twice == "tools" else "A schema"
        raise cannot_combine(option, f"the parameter {twice}", "only the parameter would be used. Nothing was sent.")
    if spec.think is not None:
        for name, value in thinking_parameters(spec.think, model, known).items():
            given = extra.get(name)
            extra[name] = {**given, **value} if isinstance(given, dict) else value
    if extra:
        body["extra_body"] = extra
    return body


# Images ----------------------------------------------------------------------------------------------------


def _reads_images(known: Model | None) -> bool:
    return known is None or known.takes_images is not False


def _check_images(prompt: Content, model: str, known: Model | None) -> None:
    if _reads_images(known) or not has_images(prompt):
        return
    raise InferenceError(
        f"The model {model} reads text only, and the prompt holds an image. Nothing was sent.",
        remedy="%wbmodels images shows the models that take images; choose one with -m.",
        cause="model",
    )


def _describe_unseen(turns: Iterable[Turn]) -> str:
    """Say what a model that reads text only does not get of earlier turns."""
    marks = list(dict.fromkeys(mark for turn in turns for mark in non_text_parts(turn.prompt)))
    what = "images" if marks == ["[image]"] else "non-text parts"
    return UNSEEN.format(what=what, marks=" or ".join(marks)) if marks else ""


# The model's context -----------------------------------------------------------------------------------------


def _room(body: Mapping[str, Any], known: Model | None) -> int | None:
    """Return how many tokens of messages fit; None if the model's context is unknown."""
    if known is None or known.context is None:
        return None
    for_reply = reply_limit(body) or min(known.context // 4, REPLY_TOKENS)
    return known.context - for_reply - tokens_outside_messages(body)


def _check_length(request: PreparedRequest) -> None:
    context = request.known.context if request.known else None
    if context is None or (tokens := request.prompt_tokens) <= context:
        return
    raise InferenceError(
        f"The prompt has about {tokens:,} tokens; {request.model} has room for {context:,}, its reply included. "
        "Nothing was sent.",
        remedy="Shorten the prompt, or choose a model with a larger context: %wbmodels shows it.",
        cause="request",
    )


def without_oldest_turns(request: PreparedRequest) -> PreparedRequest | None:
    """Return a request without the older half of the thread's turns, or None if it has none."""
    turns = request.earlier // 2
    if not turns:
        return None
    dropped = -(-turns // 2)
    messages = request.messages
    first = int(messages[0]["role"] == "system")
    known, body, left_out = request.known, request.body, request.left_out + dropped
    before = _describe_left_out(request.left_out, known, body)
    notices = (one for one in request.notices if one != before)
    return replace(
        request.with_body(messages=[*messages[:first], *messages[first + 2 * dropped :]]),
        earlier=request.earlier - 2 * dropped,
        left_out=left_out,
        notices=(*notices, _describe_left_out(left_out, known, body)),
    )


def _describe_left_out(turns: int, known: Model | None, body: Mapping[str, Any]) -> str:
    if not turns:
        return ""
    which = "oldest turn was" if turns == 1 else f"{turns} oldest turns were"
    return f"The thread does not fit into {_context(known, body)}: its {which} not sent."


def _context(known: Model | None, body: Mapping[str, Any]) -> str:
    """Describe a model's context, and what the user has reserved of it for the reply."""
    if known is None or known.context is None:
        return "the model's context"
    limit = reply_limit(body)
    reserved = f", of which {limit:,} are for the reply (max_tokens)" if limit else ""
    return f"the model's context of {known.context:,} tokens{reserved}"


def _describe_cut(values: int, context: str = "", *, is_set: bool = False) -> str:
    """Say that values were cut: to fit the context of a model, to `value_tokens` if that is set, or to some items."""
    if not values:
        return ""
    which = "A value in the prompt was" if values == 1 else f"{values} values in the prompt were"
    if context:
        return f"{which} cut to fit {context}."
    if is_set:
        return f"{which} cut to the setting value_tokens."
    return f"{which} cut to the first items. To send all of them: {{{{ name | whole }}}}."


def trace_inputs(spec: ChatSpec, *models: str) -> dict[str, Any]:
    """Return the ChatSpec and models as the inputs of a trace op."""
    inputs = {"prompt": spec.prompt, "model": models[0] if len(models) == 1 else list(models), "system": spec.system}
    inputs |= dict(spec.parameters)
    return {name: value for name, value in inputs.items() if value is not None}
