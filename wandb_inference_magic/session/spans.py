"""OpenTelemetry: each model call is a span, where the user has set OpenTelemetry up in this process.

The attributes are those of the semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/, read 2026-11-26).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..config import port_of
from ..errors import quoted
from ..messages import content_text
from ..text import redacted_value

if TYPE_CHECKING:
    from ..messages import Message, PreparedRequest, Reply
    from .tracing import ObservedCall

API: Final = "opentelemetry.trace"
# The switch of the conventions for the content of messages, which is sensitive. Its values with content in spans.
CONTENT_SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CONTENT_IN_SPANS: Final = ("true", "span_only", "span_and_event")
# The providers of the API while none is configured. Others have classes of these names too, such as Logfire.
NOT_CONFIGURED: Final = tuple(
    f"{API}.{name}" for name in ("ProxyTracerProvider", "NoOpTracerProvider", "DefaultTracerProvider")
)
# Parameters of a request, by the name of their attribute.
_SAME_NAME: Final = ("temperature", "max_tokens", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")
PARAMETERS: Final = {**{name: name for name in _SAME_NAME}, "n": "choice.count", "stop": "stop_sequences"}


def open_telemetry() -> Any:
    """Return a tracer of OpenTelemetry, or None if it is not set up."""
    is_used = API in sys.modules or "OTEL_PYTHON_TRACER_PROVIDER" in os.environ
    if not is_used or find_spec("opentelemetry") is None:
        return None
    api = import_module(API)
    provider = type(api.get_tracer_provider())
    if f"{provider.__module__}.{provider.__name__}" in NOT_CONFIGURED:
        return None
    # Set by `suppress_instrumentation`, which is not part of the API.
    if import_module("opentelemetry.context").get_value("suppress_instrumentation"):
        return None
    return api.get_tracer("wandb_inference_magic")


@contextmanager
def span(
    tracer: Any, request: PreparedRequest, limit: int | None, seen: ObservedCall, secrets: Collection[str]
) -> Iterator[None]:
    """Report the call made inside the `with` block as a span.

    Parameters
    ----------
    tracer : opentelemetry.trace.Tracer
    request : PreparedRequest
    limit : int or None
        The limit on the reply that a budget added.
    seen : ObservedCall
    secrets : collection of str
        No part of them is reported.
    """
    api = import_module(API)
    try:
        attributes = _request_attributes(request, limit)
        opened = tracer.start_span(f"chat {request.model}", kind=api.SpanKind.CLIENT, attributes=attributes)
    except Exception:  # noqa: BLE001 - what listens to spans may raise anything, as Weave's does without its server
        opened = api.INVALID_SPAN
    try:
        yield
    except BaseException as error:
        failure = seen.explained(error) if isinstance(error, Exception) else error
        opened.set_attribute("error.type", type(failure).__name__)
        message = redacted_value(quoted(str(failure)), secrets)
        opened.set_status(api.Status(api.StatusCode.ERROR, message))
        raise
    finally:
        with suppress(Exception):
            reply = seen.reply()
            opened.set_attributes(_reply_attributes(reply))
            if os.environ.get(CONTENT_SWITCH, "").strip().lower() in CONTENT_IN_SPANS:
                opened.set_attributes(redacted_value(_content(request.messages, reply), secrets))
        with suppress(Exception):
            opened.end()


def _request_attributes(request: PreparedRequest, limit: int | None) -> dict[str, Any]:
    address = urlsplit(request.endpoint.url)
    body = request.flat_body | ({} if limit is None else {"max_tokens": limit})
    given = {attribute: _plain(body[name]) for name, attribute in PARAMETERS.items() if body.get(name) is not None}
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else form
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": request.endpoint.provider,
        "gen_ai.request.model": request.model,
        "server.address": address.hostname,
        "server.port": port_of(address),
        "gen_ai.output.type": "json" if str(kind).startswith("json") else None,
        **{f"gen_ai.request.{attribute}": value for attribute, value in given.items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return a parameter in a form that an attribute can have."""
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def _reply_attributes(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    found = {
        "gen_ai.response.model": reply.model if reply.id or reply.text else None,
        "gen_ai.response.id": reply.id,
        "gen_ai.response.finish_reasons": [reply.finish_reason] if reply.finish_reason else None,
        "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
        "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _content(messages: list[Message], reply: Reply) -> dict[str, str]:
    inputs = [{"role": one["role"], "parts": _parts(one)} for one in messages]
    parts = [{"type": "text", "content": reply.text}] if reply.text else []
    if reply.reasoning:
        parts.insert(0, {"type": "reasoning", "content": reply.reasoning})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in reply.tool_calls
    ]
    answered = [{"role": "assistant", "parts": parts, "finish_reason": reply.finish_reason or "error"}]
    return {"gen_ai.input.messages": json.dumps(inputs), "gen_ai.output.messages": json.dumps(answered)}


def _parts(message: Message) -> list[dict[str, Any]]:
    if message["role"] == "tool":
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message["content"]}]
    calls = [{"type": "tool_call", "id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()]
    text = content_text(message.get("content") or "")
    return [*([{"type": "text", "content": text}] if text else []), *calls]
