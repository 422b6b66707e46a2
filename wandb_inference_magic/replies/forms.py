"""The forms in which services send a reply: one table row for each. Only this module knows them.

A new form is a new row. `tests/client/conformance` has an example of each, with the service that sends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from ..text import json_or_none
from .endings import NATIVE_REASONS, REASONS, finish_in, is_broken
from .tool_calls import CallPart

TextKind = Literal["text", "reasoning", "refusal", "unknown"]

# What the parts of a content list are, by their `type`.
PARTS: Final[Mapping[str, TextKind]] = {
    **dict.fromkeys(("text", "output_text", "input_text", "reference", "tool_use", "tool_call"), "text"),
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning", "reasoning.text", "reasoning_text"), "reasoning"),
    **dict.fromkeys(("reasoning.summary", "reasoning.encrypted", "summary_text"), "reasoning"),
    "refusal": "refusal",
}
# Those that have no text: signatures, and the numbers of sources.
_TEXTLESS: Final = ("redacted_thinking", "reasoning.encrypted", "reference", "tool_use", "tool_call")
# The field with the text of a part, where it is not `text`.
_OWN_FIELDS: Final = {"thinking": "thinking", "reasoning.summary": "summary", "refusal": "refusal"}
# A field that some services use in place of the one above.
_OTHER_FIELDS: Final = ("text", "content", "reasoning", "summary", "value")
# What a part may have besides its text.
_METADATA: Final = frozenset(
    ("type", "role", "index", "id", "annotations", "citations", "logprobs", "signature", "cache_control", "parsed")
)
_BLOCKS: Final = ("reasoning_details", "thinking_blocks")
# The fields of a delta or a message that have reasoning. A service that sends several repeats itself.
REASONING: Final = ("reasoning", "reasoning_content", "thinking", "reasoning_text", *_BLOCKS)
# The fields of a delta that add to the reply.
_ADDING: Final = ("content", "text", "refusal", "tool_calls", "function_call", *REASONING)
# Fields that a model needs back as they came, with the results of its tools.
SENT_BACK: Final = (*_BLOCKS, "reasoning_opaque")
# Every field of a message that has reasoning.
ALL_REASONING: Final = (*REASONING, *SENT_BACK)
# The fields of a chunk, a delta or a part that name sources, and the fields in them that have the address of one.
SOURCES: Final = ("citations", "search_results", "annotations", "web_search", "search_info")
# Fields that may hold these.
_HOLDERS: Final = ("context", "provider_specific_fields")
_ADDRESSES: Final = ("url", "link", "uri")
_ARGUMENTS: Final = ("arguments", "input", "parameters", "args")
_OF_CALL: Final = ("index", "id", "type", "function", "name", *_ARGUMENTS)
# Fields with parts that cannot be shown.
NOT_SHOWN: Final = ("images", "image", "audio")
# The fields of a delta or a message that are read, or say nothing of the answer.
_KNOWN: Final = frozenset(
    (*("role", "name", "extra_content", "object", "model"), *_METADATA, *_ADDING, *SENT_BACK, *SOURCES, *_HOLDERS)
).union(NOT_SHOWN, REASONS)
# The fields of a choice that are read, or say nothing of the answer.
_OF_CHOICE: Final = frozenset(
    (
        *("index", "delta", "message", "text", *REASONS, *NATIVE_REASONS, "stop_reason", "logprobs"),
        *("usage", "error", "id", "object", "model", "token_ids", "stop_sequence", "matched_stop"),
        *("content_filter_results", "content_filter_result", "content_filter_offsets", "prompt_token_ids", "seed"),
    )
)
# The fields of a chunk with nothing to read but its text, of its choice and of its delta. Others are None.
_PLAIN_CHUNK: Final = frozenset(
    ("id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "provider", "obfuscation")
)
_PLAIN_CHOICE: Final = frozenset(("index", "delta"))
_PLAIN_DELTA: Final = frozenset(("role", "content"))
# The roles of texts that are not the model's: the prompt, or the result of a tool that the service ran.
_OTHER_ROLES: Final = ("user", "human", "tool", "function", "observation")
# What services send while a model works, as data or as the `type` of an object: only letters count, without case.
_KEEP_ALIVE: Final = ("ping", "pong", "keepalive", "stillalive", "stillhere", "heartbeat", "openrouterprocessing")
# Data that says nothing either, as text: values of JSON, and what has no letters.
_NOTHING: Final = ("", "true", "false", "null", "ok")
# The fields in which an object without choices has an error.
_ERROR_FIELDS: Final = ("error", "errors", "err", "fault", "detail", "error_message", "error_msg", "exception")
_MESSAGES: Final = ("message", "msg", "Message")
_CODES: Final = ("code", "Code", "status_code", "error_code")
_STATES: Final = ("code", "Code", "status", "type", "object", "status_code", "event")
# The fields by which a chunk can report an error beside a choice.
_ERRORS: Final = ("errors", "error_message", "error_msg")
_REPORTING: Final = frozenset((*_CODES, *_ERRORS, "success", "base_resp"))
# The other fields of a chunk that have token counts.
_USAGE: Final = ("timings", "usageMetadata", "usage_metadata", "amazon-bedrock-invocationMetrics")
# The fields in which services have the text of an answer, in forms of their own.
_OF_ANSWERS: Final = frozenset(
    ("text", "content", "output", "output_text", "response", "generated_text", "answer", "completion", "result")
)
# What these fields say where nothing is wrong.
_FINE: Final = re.compile(r"|0(\.0)?|2\d\d(\.0)?|none|null|false|ok|success|true|no ?error", re.IGNORECASE)
# Words beside a code that is a service's own for success.
_SUCCESS: Final = re.compile(
    r"\W*((request|operation) )?(success\w*|succeeded|completed?|created|accepted|done|in progress|normal)\b"
    r"|.*(?<![不未])成功",
    re.IGNORECASE,
)
_FAILING: Final = re.compile(r"error|exception|fail|fatal|denied|overload|invalid|unavailable|[45]\d\d$", re.IGNORECASE)


def plain_text(chunk: Mapping[str, Any]) -> str | None:
    """Return the text of a chunk in which nothing else is to be read, as in nearly all of a stream; else None.

    The other functions find the same in such a chunk, in several times the time.
    """
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choice := choices[0], dict):
        return None
    delta = choice.get("delta")
    if choice.get("index") != 0 or not isinstance(delta, dict):
        return None
    text = delta.get("content")
    if not text or not isinstance(text, str) or delta.get("role") not in ("assistant", "", None):
        return None
    for part, plain in ((chunk, _PLAIN_CHUNK), (choice, _PLAIN_CHOICE), (delta, _PLAIN_DELTA)):
        for name in part:
            if name not in plain and part[name] is not None:
                return None
    return text


def first_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the first choice of a chunk or a completion. A chunk may be about another one only."""
    choices = chunk.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    if not isinstance(choices, list) or not choices:
        return None
    only = choices[0]
    if len(choices) == 1 and isinstance(only, dict) and only.get("index") == 0:
        return only
    found = [choice for choice in choices if isinstance(choice, dict)]
    first = (one for one in found if one.get("index") in (0, None, "0"))
    return next(first, None) or next((one for one in found if "message" in one), None)


def with_first_choice(chunk: Mapping[str, Any], first: Any) -> tuple[Mapping[str, Any], Any]:
    """Return a chunk in which the choice `first` has the index 0 and no other has, and `first`.

    By default it is the first one of this chunk. Some services count from 1: the choice that comes first is the reply.
    """
    choices = chunk.get("choices")
    found = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    if not found:
        return chunk, first
    if first is None:
        first = (first_choice(chunk) or found[0]).get("index") or 0
    if first not in (0, "0"):
        chunk = {**chunk, "choices": [{**one, "index": 0 if one.get("index") == first else -1} for one in found]}
    return chunk, first


def delta_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a choice adds to the reply: its `delta`, its `message`, or its `text` (older completions)."""
    # Some services send one of these that adds nothing, such as a delta with only a role, beside the one that does.
    pieces = [one for name in ("delta", "message") if (one := _piece(choice.get(name))) is not None]
    text = {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}
    adding = next((one for one in pieces if any(map(one.get, _ADDING))), None)
    return {**(pieces[0] if pieces else {}), **text} if adding is None else adding


def adds(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice of a stream adds to the reply. A whole `message` at its end repeats it."""
    delta = _piece(choice.get("delta") or None) or {"content": choice.get("text")}
    return any(map(delta.get, _ADDING))


def _piece(value: object) -> Mapping[str, Any] | None:
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return {"content": value} if isinstance(value, str) else value if isinstance(value, dict) else None


def read_texts(delta: Mapping[str, Any]) -> Iterator[tuple[TextKind, Any, str]]:
    """Yield what a delta adds: the kind, the text (or the part whose form is unknown), and the field that it is in.

    Content that Gemini marks as a thought may be between tags, and have the answer after them: its field is `thought`.
    """
    for name in REASONING:
        if (value := delta.get(name)) and (found := [one for one in _parts(value, "reasoning") if one[1]]):
            yield from ((kind, text, name) for kind, text in found)
            break
    is_thought = "extra_content" in delta and _at(delta, "extra_content", "google", "thought") is True
    content = delta.get("content")
    if content in (None, "", [], {}):
        text = delta.get("text")
        content = text if isinstance(text, str) and text else _at(delta.get("audio"), "transcript")
    if content is not None and str(delta.get("role")).strip().lower() in _OTHER_ROLES:
        yield "unknown", {"role": delta["role"], "content": content}, "content"
    elif content is not None:
        parts = content if isinstance(content, list) else [content]
        if not isinstance(content, str) and not any(_is_part(one, content) for one in parts):
            # The answer to a schema, not as text.
            content = json.dumps(content, ensure_ascii=False)
        for kind, text in _parts(content, "reasoning" if is_thought else "text"):
            yield kind, text, "thought" if is_thought else "content"
    yield from ((kind, text, "refusal") for kind, text in _parts(delta.get("refusal") or None, "refusal"))
    for name in NOT_SHOWN:
        if delta.get(name) and _at(delta[name], "transcript") is None:
            yield "unknown", {name: delta[name]}, name


def unknown_fields(choice: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a delta or a message, and beside it, whose names are not known, with what they have."""
    found = {name: one for name, one in choice.items() if name not in _OF_CHOICE}
    found |= {name: one for name, one in delta.items() if name not in _KNOWN}
    return {name: one for name, one in found.items() if one and isinstance(one, str | list | dict)}


def _is_part(one: object, content: object) -> bool:
    """Return whether a value is a part of a message's content, not JSON that the model was asked for."""
    if not isinstance(one, dict):
        return isinstance(one, str | bool) or one is None
    kind = one.get("type")
    if content is not one:  # In a list.
        return isinstance(kind, str) or any(name in one for name in ("text", "content", "value"))
    texts = _OTHER_FIELDS if isinstance(kind, str) else ("text", "content")
    field = _OWN_FIELDS.get(str(kind).lower(), "text")
    given = {name for name, value in one.items() if value not in (None, [], {})}
    return not given.isdisjoint((field, *texts)) and given <= _METADATA | {field, *texts}


def _parts(value: Any, kind: TextKind) -> Iterator[tuple[TextKind, Any]]:
    """Yield a text, or the texts of a part or a list of parts."""
    if isinstance(value, str):
        yield kind, value
    elif isinstance(value, list):
        for one in value:
            yield from _parts(one, kind)
    elif isinstance(value, dict):
        yield from _of_part(value, kind)
    elif value is not None:
        yield "unknown", value


def _of_part(part: Mapping[str, Any], kind: TextKind) -> Iterator[tuple[TextKind, Any]]:
    named = str(part.get("type") or "text").lower()
    field = _OWN_FIELDS.get(named, "text")
    inner = next((part[name] for name in (field, *_OTHER_FIELDS) if part.get(name) is not None), None)
    if named not in PARTS:
        yield "unknown", part
    elif named in _TEXTLESS:
        return
    elif inner is not None:
        yield from _parts(inner, PARTS[named] if kind == "text" else kind)
    elif field not in part and not part.get("signature"):
        yield "unknown", part


def thoughts_in(content: object) -> list[dict[str, Any]]:
    """Return the parts of a content that are reasoning, as they came."""
    parts = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    return [one for one in parts if PARTS.get(str(one.get("type")).lower()) == "reasoning"]


def add_block(blocks: list[Any], part: Any) -> None:
    """Add a part of reasoning that is sent back to the blocks before it. It may be a piece of the last one.

    A block ends with its signature. What has no text comes whole. The blocks are copies, because their lists grow.
    """
    last = blocks[-1] if blocks else None
    own = {k: [*one] if isinstance(one, list) else one for k, one in part.items()} if isinstance(part, dict) else part
    if not (isinstance(own, dict) and isinstance(last, dict) and _is_piece(own, last)):
        blocks.append(own)
        return
    for name, new in own.items():
        if name in (*_OWN_FIELDS.values(), *_OTHER_FIELDS) and type(new) is type(last.get(name)) in (str, list):
            last[name] += new
        elif new:
            last[name] = new


def _is_piece(part: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    is_same = all(part.get(name) == last.get(name) for name in ("type", "index"))
    return is_same and part.get("type") not in _TEXTLESS and not last.get("signature")


def without_reasoning(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without the reasoning that goes back to a model with the results of its tools."""
    kept = {name: message[name] for name in message if name not in ALL_REASONING}
    if thoughts := thoughts_in(content := message.get("content")):
        others = [one for one in content or () if one not in thoughts]
        kept["content"] = "".join(text for kind, text in _parts(others, "text") if kind == "text")
    return kept


def sources_in(chunk: Mapping[str, Any], delta: Mapping[str, Any]) -> list[str]:
    """Return the addresses of the sources that a chunk names, in their order."""
    # Asked for each token.
    content = delta.get("content")
    parts = (chunk, delta, *(content if isinstance(content, list) else ()))
    objects = [part for part in parts if isinstance(part, dict)]
    objects += [part[name] for part in objects for name in _HOLDERS if isinstance(part.get(name), dict)]
    named = [(name, part[name]) for part in objects for name in SOURCES if name in part]
    return [address for name, one in named for address in _addresses(one, takes_any=name == "citations")]


def _addresses(value: Any, *, takes_any: bool = False) -> Iterator[str]:
    """Yield the addresses of sources in a value of any form; with `takes_any`, any text of a list is one."""
    if isinstance(value, list):
        for one in value:
            yield from [one] if takes_any and isinstance(one, str) else _addresses(one)
    elif isinstance(value, dict):
        own = next((value[name] for name in _ADDRESSES if isinstance(value.get(name), str)), None)
        yield from _addresses([one for one in value.values() if isinstance(one, dict | list)] if own is None else own)
    elif isinstance(value, str) and re.match("https?:", value):
        yield value


def read_calls(delta: Mapping[str, Any]) -> Iterator[CallPart]:
    """Yield the tool calls of a delta, or the parts of them."""
    calls = delta.get("tool_calls")
    calls = json_or_none(calls) if isinstance(calls, str) else calls
    calls = [calls] if isinstance(calls, dict) else calls
    if isinstance(calls, list) and calls:
        yield from (_call(call) for call in calls if isinstance(call, dict))
    elif isinstance(call := delta.get("function_call"), dict):
        yield _call(call)
    if isinstance(content := delta.get("content"), list):
        yield from (_call(part) for part in content if _at(part, "type") in ("tool_use", "tool_call"))


def _call(call: Mapping[str, Any]) -> CallPart:
    function = call.get("function")
    # Some services put the name and the arguments beside the id.
    function = function if isinstance(function, dict) else call
    arguments = next((function[name] for name in _ARGUMENTS if function.get(name) is not None), "")
    return CallPart(
        _number(call.get("index")),
        _text(call.get("id")),
        _text(function.get("name")),
        arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
        {name: value for name, value in call.items() if name not in _OF_CALL},
    )


def _number(index: Any) -> int | None:
    # `0`, `0.0` or `"0"`.
    return int(float(index)) if re.fullmatch(r"\d{1,9}(\.0)?", str(index)) else None


def usage_in(chunk: Mapping[str, Any]) -> object:
    """Return the token counts of a chunk, wherever they are: an object for `Usage.read`, or None."""
    choice = first_choice(chunk) or {}
    own = chunk.get("usage") or choice.get("usage") or delta_of(choice).get("usage")
    elsewhere = next((chunk[name] for name in _USAGE if chunk.get(name)), None) or _at(chunk.get("x_groq"), "usage")
    usage = own or elsewhere or _at(chunk.get("response"), "usage") or _at(chunk.get("meta"), "tokens")
    if isinstance(usage, dict) and not any(isinstance(one, int | float | str) for one in usage.values()):
        # The counts are one level below.
        return _at(usage, "usage") or _at(usage, "tokens") or usage
    return usage


def error_in(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the object that has the error which a chunk or a completion reports; None if it reports none."""
    choice = first_choice(chunk)
    if choice is None:
        return _error_without_choice(chunk)
    for one in (chunk, choice, delta_of(choice), chunk.get("x_groq")):
        if isinstance(one, dict) and "error" in one and _is_error(one["error"]):
            return one
    if not _REPORTING.isdisjoint(chunk) and (error := _error_beside_choice(chunk)) is not None:
        return error
    reason = finish_in(choice)
    if not is_broken(reason):
        return None
    return reason if isinstance(reason, dict) else {"message": f"The reply ended with {reason!r}."}


def _error_beside_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    status = chunk.get("base_resp")
    message = str(status.get("status_msg")) if isinstance(status, dict) else ""
    if isinstance(status, dict) and not _is_fine(status.get("status_code")) and not _SUCCESS.match(message):
        return {"message": status.get("status_msg"), "code": status.get("status_code")}
    messages = [str(chunk[name]) for name in _MESSAGES if chunk.get(name) and not _is_fine(chunk[name])]
    has_code = any(not _is_fine(chunk.get(name)) for name in _CODES) and not all(map(_SUCCESS.match, messages))
    fails = chunk.get("success") is False or any(_is_error(chunk.get(name)) for name in _ERRORS)
    return chunk if fails or has_code else None


def _error_without_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if any(_is_error(chunk.get(name)) for name in _ERROR_FIELDS):
        return chunk
    if (error := _error_beside_choice(chunk)) is not None:
        return error
    for name, value in chunk.items():
        if name.endswith(("Exception", "Error")) and value:
            return {"type": name, "message": value}
    states = [str(chunk[name]) for name in _STATES if chunk.get(name) is not None]
    has_message = any(isinstance(chunk.get(name), str | dict | list) and chunk[name] for name in _MESSAGES)
    fails = any(_FAILING.search(one) for one in states)
    is_only_message = not set(chunk) - {*_MESSAGES, "id", "request_id", "requestId"}
    if fails or (has_message and (is_only_message or any(one.isdecimal() and not _is_fine(one) for one in states))):
        return chunk
    return chunk["data"] if _is_error(_at(chunk.get("data"), "error")) else None


def _is_fine(value: object) -> bool:
    return _FINE.fullmatch(str(value).strip()) is not None


def _is_error(value: object) -> bool:
    """Return whether the value of a field for errors reports one. Some services always send the field."""
    if isinstance(value, str):
        return not _is_fine(value)
    if isinstance(value, dict):
        code = next((value[name] for name in _STATES if value.get(name) is not None), "")
        if code != "" and _is_fine(code):
            # Proxies write "None" and 0 where the service behind them sent no code.
            return any(isinstance(value.get(name), str) and not _is_fine(value[name]) for name in _MESSAGES)
        return any(isinstance(one, str | dict | list) and one for one in value.values())
    return bool(value)


def is_known_object(chunk: Mapping[str, Any]) -> bool:
    """Return whether an object without a choice is of a known form: it has no text, and nothing is lost."""
    if "choices" not in chunk and usage_in(chunk) is not None:
        return not _has_answer(chunk)
    named = (chunk.get("type"), chunk.get("object"), chunk.get("event"))
    says_nothing = any(isinstance(one, str) and _letters(one) in _KEEP_ALIVE for one in named)
    return says_nothing or "choices" in chunk or set(chunk) <= {"id", "created", "model", "object"}


def _has_answer(value: Any, field: str = "") -> bool:
    """Return whether there is a text in a value, or in the field of this name, that may be of the answer."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else ((field, one) for one in value)
        return any(_has_answer(one, name) for name, one in pairs)
    return isinstance(value, str) and value != "" and field in _OF_ANSWERS


def is_keep_alive(data: str) -> bool:
    """Return whether data that is no object says nothing: `ping`, `[PING]`, `: still here`, `""`, `[]`."""
    is_cut = "{" in data or (data.startswith("[") and not data.endswith("]"))
    return data.startswith(":") or (_letters(data) in (*_KEEP_ALIVE, *_NOTHING) and not is_cut)


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]+", "", text.lower())


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str:
    return "" if value is None else str(value)
