"""What services refuse in a request, and the change that each refusal calls for.

A change concerns what the user has not set, or how it is written. The thread stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ..failures import (
    GATEWAY_TIMEOUTS,
    REASONING_IS_MISSING,
    ServiceError,
    may_have_run,
    read_error,
    refused_request,
)
from ..messages import chosen_names, content_text, parts_of
from ..replies import ALL_REASONING, thoughts_in, without_reasoning

if TYPE_CHECKING:
    import openai

Change = Callable[[dict[str, Any]], dict[str, Any]]
STREAMED: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
# What Anthropic's and Amazon's models say of a message that has only calls of tools, or a result without a text.
_EMPTY_TEXT: Final = (
    r"content blocks? must (be non-?empty|contain non-whitespace)"
    r"|must have non-?empty content|text field .{0,80}is blank"
)
# In place of such a result.
_NO_RESULT: Final = "(no result)"
# What comes before the name of a field that is also a word: "400 tokens for reasoning".
_BEFORE_NAME: Final = r"""(["'`.:\]] ?|\b(field|argument|property|key) )"""
# What services say of reasoning that a gateway has changed on its way.
_BROKEN_REASONING: Final = (
    r"(?i)\b(invalid|corrupted)\b.{0,20}\bsignature|\bsignature\b.{0,20}\b(not valid|invalid)"
    r"|\bencrypted content\b.{0,80}\bcould not be"
)
# Mistral's templates take ids of 9 letters and digits. Those fit the rules of other services as well.
_ID: Final = r"(tool|function)[ _]?(call|use)s?(\W\d+\W?)?[ _.]?ids?\b"
_CALL_ID: Final = (
    rf"(?i)\b{_ID}.{{0,120}}\b(must|should|invalid|length|too long|pattern|alphanumeric|empty)\b"
    rf"|\binvalid\b.{{0,60}}{_ID}"
)
ID_CHARS: Final = 9
# As many words of a message that are also in the request are a quotation.
QUOTED_WORDS: Final = 4
# What services and chat templates say of a system message. Other words with `system` are about the machine.
_SYSTEM: Final = (
    r"(\b(system|developer)[ _-]?(role|message|prompt|instruction)s?\b|['\"`](system|developer)['\"`]"
    r"|\broles?\W{1,3}(system|developer)\b)"
)
_UNKNOWN: Final = (
    r"(\b(not|cannot|can't|\w+n't)\b.{0,20}\b(support|allow|enabl|permit|accept|recogni|valid|one of|have)"
    r"|\b(unsupported|unexpected|unknown|unrecogni|disabled|invalid(?= (role|value))))"
)
_NO_SYSTEM: Final = (
    # What it says, or how much, is another matter.
    r"(?i)^(?!.*\b(more than|at most|exceed\w*|too (long|large)|longer|characters|tokens)\b)(.*("
    rf"{_SYSTEM}.{{0,40}}{_UNKNOWN}|{_UNKNOWN}.{{0,40}}{_SYSTEM}|\broles must alternate"
    r"|\b(only|(should|must) be)\b\W{0,4}(the )?\W?user\b.{0,12}\bassistant\b|\bfirst message must .{0,20}\buser\b))"
)
# What they say of a stream that they do not send, or of a reply that they only stream.
_NEEDED: Final = (
    r"((un)?support(s|ed)?|require[sd]?|recommended|must|mandatory|only|true|false|(en|dis)abled?|allowed|available"
    r"|(cannot|please) use)"
)
_STREAM: Final = r"(non-?)?stream(ed|ing)?"
_OF_STREAM: Final = rf"(?i)\b{_NEEDED}\b[^.;]{{0,60}}\b{_STREAM}\b|\b{_STREAM}\b[^.;]{{0,60}}\b{_NEEDED}\b|流式"
# What they, or what is between, say where a reply in one piece has taken too long.
_TIMED_OUT: Final = r"(?i)\btime-?out\b|\btimed out\b|\bdeadline exceeded\b|\btook too long\b"


def change_for(error: openai.APIStatusError | ServiceError, sent: dict[str, Any]) -> Change | None:
    """Return the change that an error calls for, or None if it is about something else.

    Parameters
    ----------
    error : APIStatusError or ServiceError
    sent : dict
        The request that was refused.
    """
    # Only its own words: some services quote the request.
    message = _without_quotes(refused_request(error, chosen_names(sent)), sent["messages"])
    if "stream_options" in sent and "stream_options" in message:
        return _leave_out_usage
    if re.search(REASONING_IS_MISSING, message):
        return _add_reasoning
    if _refuses_reasoning(sent["messages"], message):
        return _leave_out_reasoning
    found = (change for pattern, change in _BY_MESSAGE if re.search(pattern, message))
    return next((change for change in found if change(sent) != sent), None)


def _without_quotes(message: str, asked: Sequence[Mapping[str, Any]]) -> str:
    """Return a service's message without what it quotes of the request: any words in a row that a text there has."""
    texts = " ".join(" ".join(content_text(one.get("content") or "") for one in asked).split())
    words = list(re.finditer(r"\w+", message))
    kept, end = "", 0
    for first, last in zip(words, words[QUOTED_WORDS - 1 :], strict=False):
        if message[first.start() : last.end()] in texts:
            kept, end = kept + message[end : first.start()], last.end()
    return kept + message[end:]


def with_change(changes: tuple[Change, ...], change: Change) -> tuple[Change, ...]:
    """Return changes with one more, which replaces its opposite.

    Behind a gateway, the next service of a model may want what the one before refused.
    """
    return (*(one for one in changes if one not in (change, _OPPOSITE.get(change))), change)


def may_pass_streamed(failure: Exception) -> bool:
    """Return whether a request that was not streamed has failed because nothing was sent for too long.

    A gateway ends the connection while the model still writes. The bytes of a stream keep it open.
    """
    response = getattr(failure, "response", None)
    body = read_error(failure.body if isinstance(failure, ServiceError) else response and response.text)
    status = body.status if response is None else response.status_code
    is_failing = status is not None and status >= 500
    is_timeout = status in (408, *GATEWAY_TIMEOUTS) or (is_failing and re.search(_TIMED_OUT, body.message) is not None)
    return is_timeout or may_have_run(failure)


def send_streamed(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a request with a stream requested, if it was not."""
    return body if body.get("stream") else {**body, **STREAMED}


def _send_whole(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in STREAMED}


def _leave_out_usage(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "stream_options"}


def _in_each_message(change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Change:
    """Return the change of a request that changes each of its messages in this way."""

    def change_all(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "messages": list(map(change, body["messages"]))}

    return change_all


_leave_out_reasoning: Final = _in_each_message(without_reasoning)


@_in_each_message
def _add_reasoning(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a message with calls of tools a `reasoning_content`: its reasoning, else an empty text."""
    if not message.get("tool_calls"):
        return message
    texts = (message[name] for name in ALL_REASONING if isinstance(message.get(name), str))
    return {**message, "reasoning_content": message.get("reasoning_content") or next(texts, "")}


@_in_each_message
def _leave_out_empty_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, str) or content.strip():
        return message
    if message.get("tool_calls"):
        return {**message, "content": None}
    return {**message, "content": _NO_RESULT} if message.get("role") == "tool" else message


@_in_each_message
def _write_call_ids(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace each id of a tool call by letters and digits, and that of its result by the same ones."""
    if message.get("tool_calls"):
        calls = [{**call, "id": _plain_id(call["id"])} for call in message["tool_calls"]]
        return {**message, "tool_calls": calls}
    if "tool_call_id" not in message:
        return message
    return {**message, "tool_call_id": _plain_id(message["tool_call_id"])}


def _plain_id(given: str) -> str:
    return sha256(given.encode("utf-8", "replace")).hexdigest()[:ID_CHARS]


def _without_system_role(body: dict[str, Any]) -> dict[str, Any]:
    """Put the text of the system message before that of the first message of the user."""
    first, *others = body["messages"]
    if first["role"] != "system":
        return body
    text, at = content_text(first["content"]), next((n for n, one in enumerate(others) if one["role"] == "user"), None)
    if at is None:
        return {**body, "messages": [{**first, "role": "user"}, *others]}
    content = others[at]["content"]
    merged = f"{text}\n\n{content}" if isinstance(content, str) else [*parts_of(text), *content]
    return {**body, "messages": [*others[:at], {**others[at], "content": merged}, *others[at + 1 :]]}


# The first one that fits and changes something.
_BY_MESSAGE: Final[tuple[tuple[str, Change], ...]] = (
    (_EMPTY_TEXT, _leave_out_empty_text),
    (_CALL_ID, _write_call_ids),
    (_NO_SYSTEM, _without_system_role),
    # The words of both refusals are alike. What was sent tells which one it is.
    (_OF_STREAM, send_streamed),
    (_OF_STREAM, _send_whole),
)
_OPPOSITE: Final[Mapping[Change, Change]] = {
    _add_reasoning: _leave_out_reasoning,
    _leave_out_reasoning: _add_reasoning,
    send_streamed: _send_whole,
    _send_whole: send_streamed,
}


def _refuses_reasoning(messages: Sequence[Mapping[str, Any]], message: str) -> bool:
    """Return whether an error is about reasoning that was sent back. `reasoning_effort` is a parameter."""
    sent = {name for message in messages for name in ALL_REASONING if name in message}
    sent |= {"content" for message in messages if thoughts_in(message.get("content"))}
    patterns = (rf"\b{name}\b" if "_" in name else rf"{_BEFORE_NAME}{name}\b" for name in sent)
    return bool(sent) and any(re.search(one, message) for one in (_BROKEN_REASONING, *patterns))
