"""Compare requests: which are equal, which is asked in place of one that was refused, and in what two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import zip_longest
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final

from ..errors import shortened
from ..failures import is_too_long
from ..messages import JSON_MODE
from ..text import with_texts, with_whole_numbers, without_version

if TYPE_CHECKING:
    from .file import Exchange

# How many characters of a value are shown, and how many of a text before the first difference.
MAX_SHOWN: Final = 60
MAX_BEFORE: Final = 15
# The value of a missing member.
MISSING: Final = object()


def key_of(endpoint: str, path: str, request: Any) -> str:
    """Return a digest of a whole request: the same for two equal requests, whether or not they ask for token counts.

    Some services refuse to be asked, in a form that is not recorded.
    """
    asked = comparable(with_whole_numbers(request))
    if isinstance(asked, dict):
        asked = {name: value for name, value in asked.items() if name != "stream_options"}
    request_text = json.dumps([endpoint, path, asked], sort_keys=True)
    return sha256(request_text.encode()).hexdigest()


def key_in_any_form(exchange: Exchange) -> str:
    """Return a digest of a request that is the same for all that may be asked in its place if it is refused."""
    _, _, messages, rest = _parts(exchange.request)
    return key_of(exchange.endpoint, exchange.path, {"messages": messages[-1:], "rest": rest})


def may_follow(request: Any, refused: Exchange) -> bool:
    """Return whether a request is the one that is asked after another was refused, as `ModelCall.relaxed` makes it.

    The format of the response is relaxed, or the oldest turns of a thread that is too long are left out. The two
    requests have the same key in any form.
    """
    form, system, messages, _ = _parts(request)
    refused_form, refused_system, refused_messages, _ = _parts(refused.request)
    if messages == refused_messages:
        # In place of a schema, the system prompt has instructions.
        has_more = system.startswith(refused_system) and (system != refused_system or refused_form == JSON_MODE)
        return refused_form not in (None, form) and form in (None, JSON_MODE) and has_more
    is_same = (form, system) == (refused_form, refused_system)
    is_end = len(messages) < len(refused_messages) and messages == refused_messages[-len(messages) :]
    return is_same and is_end and is_too_long(refused.status, refused.document)


def _parts(request: Any) -> tuple[Any, str, list[Any], Any]:
    """Return the response format of a request, its system prompt, its other messages, and the rest."""
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        return None, "", [], request
    messages = comparable(request)["messages"]
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    has_system = first.get("role") == "system"
    rest = {name: value for name, value in request.items() if name not in ("response_format", "messages")}
    system = str(first.get("content")) if has_system else ""
    return request.get("response_format"), system, messages[has_system:], rest


def model_of(request: Any) -> str | None:
    """Return the model that a request names, or None."""
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) and model else None


def comparable(request: Any) -> Any:
    """Return a request without what two equal ones may have otherwise.

    These are the ids of tool calls, some of which version 0.1.0 sent twice, and what versions of Python write otherwise
    in a traceback.
    """
    if not isinstance(request, dict) or not isinstance(messages := request.get("messages"), list):
        return request
    kept = [_without_ids(one) if isinstance(one, dict) else one for one in messages]
    return request | {"messages": with_texts(kept, without_version)}


def _without_ids(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name != "tool_call_id"}
    if isinstance(calls := kept.get("tool_calls"), list):
        kept["tool_calls"] = [{**one, "id": ""} if isinstance(one, dict) else one for one in calls]
    return kept


def differences(recorded: Any, requested: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the fields that differ, such as `messages[1].content`, and both values in the form for a message."""
    if isinstance(recorded, dict) and isinstance(requested, dict):
        for key in dict.fromkeys((*requested, *recorded)):
            inner = f"{name}.{key}" if name else key
            yield from differences(recorded.get(key, MISSING), requested.get(key, MISSING), inner)
    elif isinstance(recorded, list) and isinstance(requested, list):
        for place, (one, other) in enumerate(zip_longest(recorded, requested, fillvalue=MISSING)):
            yield from differences(one, other, f"{name}[{place}]")
    elif isinstance(recorded, str) and isinstance(requested, str):
        if recorded != requested:
            start = max(0, len(commonprefix((recorded, requested))) - MAX_BEFORE)  # noqa: RUF071
            dots = "..." if start else ""
            yield name, _shown(f"{dots}{recorded[start:]}"), _shown(f"{dots}{requested[start:]}")
    elif _json(recorded) != _json(requested):
        yield name, _shown(recorded), _shown(requested)


def _json(value: Any) -> str:
    return "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _shown(value: Any) -> str:
    return shortened(_json(value), MAX_SHOWN)
