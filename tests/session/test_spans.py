"""Each model call is a span of the real OpenTelemetry SDK, compared field by field with the Reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from python_forks import printed_by_fork
from python_processes import run_python
from service import Service, Streamed, refused, usage

SET_UP = """
import json, os, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
"""
CHAT = """
from wandb_inference_magic import InferenceError, chat
try:
    reply = chat("hi", temperature=0.5, stop=["END"], top_k=3)
    print(json.dumps([reply.model, reply.finish_reason, reply.id, reply.usage.prompt_tokens,
                      reply.usage.completion_tokens, reply.text, reply.reasoning]))
except InferenceError as error:
    print(json.dumps(str(error)))
"""
PRINT_SPANS = """
print(json.dumps([
    {"name": one.name, "kind": one.kind.name, "status": one.status.status_code.name,
     "said": one.status.description, **dict(one.attributes)}
    for one in memory.get_finished_spans()
]))
"""


@pytest.fixture
def run(service: Service, environment: dict[str, str]) -> Callable[..., list[Any]]:
    """Run a script, and return the JSON documents that it prints."""
    variables = environment | service.environment

    def script(code: str, **more: str) -> list[Any]:
        return [json.loads(line) for line in printed_by_fork(code, variables | more)]

    return script


def test_a_call_is_a_span_with_the_attributes_of_the_conventions(
    run: Callable[..., list[Any]], service: Service
) -> None:
    service.always = Streamed(["Hello", " you."], reasoning=["Hm."], counted=usage(12, 3))
    (model, finish, reply_id, prompt, completion, *_), spans = run(SET_UP + CHAT + PRINT_SPANS)
    (span,) = spans
    port = int(service.url.rpartition(":")[2].partition("/")[0])
    assert span == {
        "name": "chat test/model-a",
        "kind": "CLIENT",
        "status": "UNSET",
        "said": None,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "custom",
        "gen_ai.request.model": "test/model-a",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.model": model,
        "gen_ai.response.id": reply_id,
        "gen_ai.response.finish_reasons": [finish],
        "gen_ai.usage.input_tokens": prompt,
        "gen_ai.usage.output_tokens": completion,
        "server.address": "127.0.0.1",
        "server.port": port,
    }


def test_content_is_recorded_only_if_the_switch_of_the_conventions_is_set(
    run: Callable[..., list[Any]], service: Service
) -> None:
    service.always = Streamed(["Hello", " you."], reasoning=["Hm."])
    switch = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    _, (span,) = run(SET_UP + CHAT + PRINT_SPANS, **switch)
    assert json.loads(span["gen_ai.input.messages"]) == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    assert json.loads(span["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Hello you."}],
            "finish_reason": "stop",
        }
    ]


@pytest.mark.parametrize("form", ["'json'", "'text'", "{'type': 'json_object'}", "{'type': None}", "[1]", "7"])
def test_any_response_format_is_sent(run: Callable[..., list[Any]], service: Service, form: str) -> None:
    service.always = Streamed(["{}"])
    chat = CHAT.replace("top_k=3", f"response_format={form}")
    (model, *_), (span,) = run(SET_UP + chat + PRINT_SPANS)
    assert model == "test/model-a"
    assert span.get("gen_ai.output.type") == ("json" if "json" in form else None)


def test_a_span_contains_no_secret(run: Callable[..., list[Any]], service: Service) -> None:
    key = "endpoint-secret-0123456789"
    service.always = Streamed([f"You said {key}."])
    switch = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only", "WANDB_INFERENCE_API_KEY": key}
    _, spans = run(SET_UP + CHAT.replace('"hi"', f'"My key is {key}"') + PRINT_SPANS, **switch)
    assert key not in json.dumps(spans)
    assert "(hidden)" in json.dumps(spans)


def test_a_failure_is_a_span_with_its_type(run: Callable[..., list[Any]], service: Service) -> None:
    service.always = refused(400, "too many cooks")
    error, (span,) = run(SET_UP + CHAT + PRINT_SPANS)
    assert "too many cooks" in error
    assert span["status"] == "ERROR"
    assert span["error.type"] == "InferenceError"
    assert "too many cooks" in span["said"]


def test_a_span_is_a_child_of_the_users_span(run: Callable[..., list[Any]], service: Service) -> None:
    around = "with trace.get_tracer('mine').start_as_current_span('lesson'):\n    " + CHAT.strip().replace(
        "\n", "\n    "
    )
    print_result = (
        "\nspans = {one.name: one for one in memory.get_finished_spans()}\n"
        "print(json.dumps(spans['chat test/model-a'].parent.span_id == spans['lesson'].context.span_id))\n"
    )
    assert run(SET_UP + around + print_result)[1] is True


def test_a_provider_with_a_class_of_the_name_of_the_api_is_used(run: Callable[..., list[Any]]) -> None:
    """Logfire's is also called so."""
    set_up = SET_UP.replace("memory, provider", "class ProxyTracerProvider(TracerProvider): ...\nmemory, provider")
    set_up = set_up.replace("TracerProvider()\n", "ProxyTracerProvider()\n")
    assert len(run(set_up + CHAT + PRINT_SPANS)[1]) == 1


def test_no_call_is_a_span_where_instrumentation_is_suppressed(run: Callable[..., list[Any]]) -> None:
    """As `suppress_instrumentation` of OpenTelemetry's contrib packages does."""
    suppress = "from opentelemetry import context\ncontext.attach(context.set_value('suppress_instrumentation', True))"
    assert run(SET_UP + suppress + CHAT + PRINT_SPANS)[1] == []


def test_opentelemetry_is_not_imported_if_it_is_not_used(service: Service, environment: dict[str, str]) -> None:
    print_result = "\nprint(json.dumps([name for name in sys.modules if name.startswith('opentelemetry')]))"
    code = "import json, sys" + CHAT + print_result
    process = run_python("-c", code, environment=environment | service.environment)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[1]) == []
