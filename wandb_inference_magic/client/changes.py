"""How a refused request is changed: what the words of a service (`failures/refused_forms.py`) call for.

A change concerns what the user has not set, or how it is written. The thread stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ..failures import (
    GATEWAY_TIMEOUTS,
    RefusedForm,
    ServiceError,
    may_have_run,
    names_field,
    read_error,
    refused_request,
)
from ..messages import LIMIT_NAMES, chosen_names, content_text, parts_of
from ..replies import ALL_REASONING, thoughts_in, without_reasoning
from ..schemas import plain_schema

if TYPE_CHECKING:
    import openai

Change = Callable[[dict[str, Any]], dict[str, Any]]
STREAMED: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
# In place of a result without a text, and of a text that must be there beside calls.
_NO_RESULT: Final = "(no result)"
_NO_TEXT: Final = "(no text)"
# Mistral's templates take ids of 9 letters and digits. Those fit the rules of other services as well.
ID_CHARS: Final = 9
# As many words of a message that are also in the request are a quotation.
QUOTED_WORDS: Final = 4
# The names of fields that limit the answer.
_OF_ANSWER: Final = re.compile(r"response_format|schema|grammar|guided|structured|regex")
# What services, or what is between, say where a reply in one piece has taken too long.
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
    # Models of OpenAI that think know only the newer of the two names, other services only the older one.
    if len(sent.keys() & {*LIMIT_NAMES}) == 1 and all(re.search(rf"\b{name}\b", message) for name in LIMIT_NAMES):
        return _rename_limit
    if RefusedForm.NO_REASONING.is_in(message):
        return _add_reasoning
    if _refuses_reasoning(sent["messages"], message):
        return _leave_out_reasoning
    found = (change for form, change in _BY_FORM if form.is_in(message))
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


def _rename_limit(body: dict[str, Any]) -> dict[str, Any]:
    """Write the limit on the reply under its other name."""
    others = dict(zip(LIMIT_NAMES, reversed(LIMIT_NAMES), strict=True))
    return {others.get(name, name): value for name, value in body.items()}


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


def _is_empty(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return content is None or (isinstance(content, str) and not content.strip())


@_in_each_message
def _leave_out_empty_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _is_empty(message):
        return message
    if message.get("tool_calls"):
        return {**message, "content": None}
    return {**message, "content": _NO_RESULT} if message.get("role") == "tool" else message


@_in_each_message
def _add_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a message with calls of tools a text, if it has none."""
    return {**message, "content": _NO_TEXT} if message.get("tool_calls") and _is_empty(message) else message


@_in_each_message
def _leave_out_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what a model has said before its calls of tools."""
    return {**message, "content": None} if message.get("tool_calls") else message


def _add_names(body: dict[str, Any]) -> dict[str, Any]:
    """Give each result the name of its tool."""
    calls = [call for one in body["messages"] for call in one.get("tool_calls") or ()]
    names = {call["id"]: call["function"]["name"] for call in calls}

    @_in_each_message
    def add_name(message: Mapping[str, Any]) -> Mapping[str, Any]:
        name = names.get(message.get("tool_call_id"))
        return message if name is None else {**message, "name": name}

    return add_name(body)


def _split_calls(body: dict[str, Any]) -> dict[str, Any]:
    """Put each call of a tool into a message of its own, with its result after it."""
    results = {one.get("tool_call_id"): one for one in body["messages"] if one["role"] == "tool"}
    messages: list[Mapping[str, Any]] = []
    for message in body["messages"]:
        calls: Sequence[Any] = message.get("tool_calls") or ()
        # What the model has said and thought is in the first one.
        other = {"role": "assistant", "content": "" if isinstance(message.get("content"), str) else None}
        for call in calls:
            messages.append({**(message if call is calls[0] else other), "tool_calls": [call]})
            if call["id"] in results:
                messages.append(results.pop(call["id"]))
        if not calls and (message["role"] != "tool" or message.get("tool_call_id") in results):
            messages.append(message)
    return {**body, "messages": messages}


def _in_each_schema(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Return the change of a request that changes the schema of the arguments of each tool in this way."""

    def change_tool(tool: Any) -> Any:
        function: Any = tool.get("function") if isinstance(tool, dict) else None
        schema = function.get("parameters") if isinstance(function, dict) else None
        return {**tool, "function": {**function, "parameters": change(schema)}} if isinstance(schema, dict) else tool

    def change_all(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "tools": list(map(change_tool, body["tools"]))} if isinstance(body.get("tools"), list) else body

    return change_all


_write_plain_schemas: Final = _in_each_schema(plain_schema)


@_in_each_schema
def _leave_out_empty_properties(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "properties" or value}


def _write_plain_schemas_for_grammar(body: dict[str, Any]) -> dict[str, Any]:
    """Write plain schemas, unless a grammar may also be that of the answer."""
    return body if any(_OF_ANSWER.search(name) for name in body) else _write_plain_schemas(body)


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
_BY_FORM: Final[tuple[tuple[RefusedForm, Change], ...]] = (
    (RefusedForm.RESULT_WITHOUT_NAME, _add_names),
    (RefusedForm.TEXT_BESIDE_REASONING, _leave_out_text),
    (RefusedForm.TEXT_BESIDE_REASONING, _leave_out_reasoning),
    (RefusedForm.TEXT_BESIDE_CALLS, _leave_out_text),
    (RefusedForm.EMPTY_TEXT, _leave_out_empty_text),
    (RefusedForm.EMPTY_TEXT, _add_text),
    (RefusedForm.CALL_ID, _write_call_ids),
    (RefusedForm.SEVERAL_CALLS, _split_calls),
    (RefusedForm.EMPTY_PROPERTIES, _leave_out_empty_properties),
    (RefusedForm.TOOL_SCHEMA, _write_plain_schemas),
    (RefusedForm.GRAMMAR, _write_plain_schemas_for_grammar),
    (RefusedForm.SYSTEM_ROLE, _without_system_role),
    # The words of both refusals are alike. What was sent tells which one it is.
    (RefusedForm.STREAM, send_streamed),
    (RefusedForm.STREAM, _send_whole),
)
_OPPOSITE: Final[Mapping[Change, Change]] = {
    _add_reasoning: _leave_out_reasoning,
    _leave_out_reasoning: _add_reasoning,
    _add_text: _leave_out_text,
    _leave_out_text: _add_text,
    send_streamed: _send_whole,
    _send_whole: send_streamed,
}


def _refuses_reasoning(messages: Sequence[Mapping[str, Any]], message: str) -> bool:
    """Return whether an error is about reasoning that was sent back. `reasoning_effort` is a parameter."""
    sent = {name for message in messages for name in ALL_REASONING if name in message}
    sent |= {"content" for message in messages if thoughts_in(message.get("content"))}
    is_named = any(names_field(message, name) for name in sent)
    return is_named or (bool(sent) and RefusedForm.BROKEN_REASONING.is_in(message))
