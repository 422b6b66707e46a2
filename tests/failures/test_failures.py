"""Each failure is reported as what it is, without the key in it."""

from __future__ import annotations

import copy
import json
import pickle
import ssl
import warnings
from collections.abc import Callable
from errno import EMFILE
from socket import socket
from types import ModuleType, SimpleNamespace
from typing import Any

import openai
import pytest
from clocks import FastClock
from kernels import Kernel, failing
from service import MODEL, Answer, Service, completion, refused

from wandb_inference_magic.catalog import Catalog
from wandb_inference_magic.config import Endpoint
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures import FailureContext, ServiceError, to_inference_error
from wandb_inference_magic.failures.refusals import may_pass
from wandb_inference_magic.session import current_session

KEY = "endpoint-secret-0123456789"


def fail_twice(api: ModuleType) -> str:
    """Chat while the failure of another chat is handled, and return the second error."""

    def chat_twice() -> None:
        try:
            api.chat("hi", model="test/first")
        except InferenceError:
            api.chat("hi", model="test/second")

    return failing(chat_twice)


def test_a_failure_while_another_is_handled_is_reported_on_its_own(api: ModuleType, service: Service) -> None:
    service.then(refused(404, "The requested resource was not found"), refused(401, "Invalid Authentication"))
    error = fail_twice(api)
    assert "asks for a key" in error
    assert "test/first" not in error
    assert [one.body["model"] for one in service.chats] == ["test/first", "test/second"]


@pytest.mark.parametrize(
    ("said", "quotation"),
    [("The engine is dead", '"The engine is dead". It'), ("Is it dead?", '"Is it dead?" It'), ("Dead.", '"Dead." It')],
)
def test_a_sentence_after_what_the_service_says_begins_after_a_full_stop(
    api: ModuleType, service: Service, said: str, quotation: str
) -> None:
    current_session().settings.set(max_retries=1)
    service.always = refused(503, said)
    error = failing(lambda: api.chat("hi"))
    assert f"It said: {quotation} was tried 2 times." in error


def test_a_connection_failure_while_another_is_handled_is_reported_on_its_own(
    api: ModuleType, service: Service
) -> None:
    current_session().settings.set(max_retries=0)
    service.then(refused(404, "The requested resource was not found"), lambda answer: answer.cut())
    error = fail_twice(api)
    assert "could not be reached or the connection broke" in error
    assert "test/first" not in error


def test_an_error_is_whole_in_a_log_and_after_a_pickle_or_a_copy(api: ModuleType, service: Service) -> None:
    service.then(refused(401, "Invalid Authentication"))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    error = caught.value
    for one in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), type(error)(*error.args)):
        assert str(one) == str(error)
        assert repr(one) == f"InferenceError({str(error)!r})"
        assert one.args == (str(error),)


def test_an_exception_handled_by_the_users_code_is_not_reported_as_a_connection_failure(
    api: ModuleType, service: Service
) -> None:
    current_session().settings.set(max_retries=0)
    service.then(lambda answer: answer.cut())

    def chat_in_handler() -> None:
        try:
            raise OSError("mine was refused")
        except OSError:
            api.chat("hi")

    error = failing(chat_in_handler)
    assert "could not be reached or the connection broke" in error
    assert "mine was refused" not in error
    assert "Nothing answers" not in error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        # A guard of the user's tests: pytest-socket, pytest-recording. AnyIO groups what its tasks raise.
        (RuntimeError("Network is disabled"), "RuntimeError: Network is disabled"),
        (OSError(EMFILE, "Too many open files"), "This machine opens no more files and connections."),
    ],
)
def test_a_connection_that_this_machine_refuses_is_not_the_services_fault(
    api: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    tries: list[object] = []

    def connect(_: socket, address: object) -> None:
        tries.append(address)
        raise error

    monkeypatch.setattr(socket, "connect", connect)
    assert said in failing(lambda: api.chat("hi"))
    assert len(tries) == 1


CONTEXT = FailureContext(Endpoint("custom", "http://localhost/v1"), "m", Catalog((), live=False))


def error_of(body: object) -> InferenceError:
    """Return the error for one that a service sends in place of a reply."""
    return to_inference_error(ServiceError(body, has_begun=False), CONTEXT)


def test_an_exception_that_nobody_foresaw_says_nothing_about_the_prompt() -> None:
    error = to_inference_error(RuntimeError("odd"), CONTEXT)
    assert "RuntimeError: odd" in str(error)
    assert not error.is_lasting


TOO_LONG, QUOTA, PROMPT, UNKNOWN, TOO_MANY, NOT_FETCHED, BLOCKED, NOT_LOADED, SETTINGS = (
    "Shorten the prompt (",
    "spending limit is used up",
    "refused this prompt",
    "not know",
    "too many requests at once",
    "could not fetch a file",
    "Ask the people who run the service about the account",
    "could not load the model 'm'",
    "Change the account's settings",
)
# What services say, whom of the rows of a map it concerns, and what is made of it.
SAID = [
    (400, "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.", False, TOO_LONG),
    (400, "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)", False, TOO_LONG),
    (400, "Prompt 超长", False, TOO_LONG),
    (400, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).", False, TOO_LONG),
    (422, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", False, TOO_LONG),
    (422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", False, TOO_LONG),
    (400, "prompt token count of 130000 exceeds the limit of 128000", False, TOO_LONG),
    (400, "Please reduce your prompt; or completion length.", False, TOO_LONG),
    (400, "Total tokens of image and text exceed max message tokens", False, TOO_LONG),
    (400, "The total number of tokens exceeds the model's limit", False, TOO_LONG),
    (400, "tokens in request more than max tokens allowed", False, TOO_LONG),
    (500, "Input length (40000) exceeds limit 32768", False, TOO_LONG),
    (413, "Request body too large for gpt-4o model. Max size: 8000 tokens.", False, TOO_LONG),
    (400, "Max length reached!", False, TOO_LONG),
    (400, "The prompt (33000 tokens) is longer than what the model can handle (32768)", False, TOO_LONG),
    (
        400,
        "max_tokens is too large: 200000. It supports at most 128000 completion tokens",
        False,
        "Leave out or change",
    ),
    (403, "Out of call volume quota. Quota will be replenished in 4.05:23:10.", True, QUOTA),
    (429, {"message": "Hard cap", "code": "terminal_quota_exhausted"}, True, QUOTA),
    (429, "Requests per day limit exceeded - too many requests sent.", True, QUOTA),
    (429, "Too many tokens per day, please wait before trying again.", True, QUOTA),
    (429, "Your request reached organization TPD rate limit, current: 1505273, limit: 1500000", True, QUOTA),
    (
        429,
        "Rate limit reached on tokens per day (TPD): Limit 100, Used 97. Please try again in 9m38s.",
        True,
        "9 min 38 s",
    ),
    (429, "Requests per minute limit exceeded", False, TOO_MANY),
    (429, "已达到 5 小时的使用上限。您的限额将在 2026-11-30 03:12:22 重置。", True, QUOTA),
    (403, {"message": "预扣费额度失败, 用户剩余额度: ＄0.01", "code": "insufficient_user_quota"}, True, QUOTA),
    (403, "[sk-x***y] 该令牌额度已用尽 TokenStatusExhausted", True, QUOTA),
    (403, "user quota is not enough", True, QUOTA),
    (403, {"reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}, True, QUOTA),
    (403, "Sorry, your account balance is insufficient", True, QUOTA),
    (403, "The request failed because your account has an overdue balance.", True, QUOTA),
    (403, {"message": "Token quota for this instance has been reached", "code": "token_quota_reached"}, True, QUOTA),
    (403, "AI Gateway requires a valid credit card on file", True, "Ask an administrator of the account"),
    (404, "Your account 210 has not activated the model doubao-x.", True, "does not let this key use"),
    (
        503,
        {"message": "No available channel for model m under group default", "code": "model_not_found"},
        True,
        UNKNOWN,
    ),
    (503, "当前分组 default 下对于模型 m 无可用渠道", True, UNKNOWN),
    (
        404,
        "This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
        True,
        "does not chat",
    ),
    (404, "This model is only supported in v1/responses and not in v1/chat/completions.", True, "does not chat"),
    (
        403,
        {"code": "The caller does not have permission", "error": "Content violates usage guidelines."},
        False,
        PROMPT,
    ),
    (498, "Unsafe Request: blocked due to potential violations of the Usage Guidelines.", False, PROMPT),
    (400, "Content Exists Risk", False, PROMPT),
    (451, {"message": "The content you provided is blocked.", "type": "censorship_blocked"}, False, PROMPT),
    (400, {"code": "SensitiveContentDetected", "message": "It may contain sensitive information."}, False, PROMPT),
    (424, "Prompt blocked due to security configurations", False, PROMPT),
    (400, "Request contains text fields that are blocked: PROHIBITED_CONTENT", False, PROMPT),
    (400, "Prompt injection detected", False, PROMPT),
    (400, "PII detected in prompt: EMAIL_ADDRESS", False, PROMPT),
    (400, "Your input was flagged by moderation. Please retry with a different prompt.", False, PROMPT),
    (500, "Failed to process the request: content flagged", False, PROMPT),
    (500, "Guardrail service timed out, please try again later", False, "at the moment"),
    (500, "Moderation service unavailable", False, "at the moment"),
    (400, "The content filter is temporarily unavailable", False, "at the moment"),
    (403, "Failed to call the safety system: connection error", False, "at the moment"),
    (424, "Guardrail timeout", False, "at the moment"),
    (403, "Your account has been suspended for violating our usage policies.", True, BLOCKED),
    (400, "Your organization org-1 has been disabled: violation of our usage policies", True, BLOCKED),
    (403, "API key disabled: policy_violation", True, BLOCKED),
    (403, "User: a is not authorized to perform: bedrock:ApplyGuardrail", True, BLOCKED),
    (403, {"message": "Flagged by moderation", "code": "account_suspended"}, True, BLOCKED),
    (403, "Your account 1 is suspended, please check your plan", True, QUOTA),
    (400, "Organization has been restricted. Please reach out to support.", True, BLOCKED),
    (400, "Your request was flagged by our moderation system. Please try again later.", False, PROMPT),
    (400, "Request blocked by guardrail: the prompt asks for timed out sessions", False, PROMPT),
    (400, "Web access is disabled for this model: the prompt has a link.", False, "Leave out or change"),
    (400, "User banned words found in the prompt", False, "Leave out or change"),
    (400, "Your team has been restricted: prompts with personal data", False, "Leave out or change"),
    (401, "Inactive subscription or usage limit reached", True, QUOTA),
    (404, "Your organization must be verified to use the model `m`.", True, "Ask an administrator of the account"),
    (400, "Invalid request timeout value", False, "Leave out or change"),
    (400, "The request timeout must be a number", False, "Leave out or change"),
    (504, "Gateway timeout", False, "at the moment"),
    (400, "Gateway timeout", False, "at the moment"),
    (400, {"code": "request_timeout", "message": "stream disconnected before completion"}, False, "at the moment"),
    (400, "Rate limit reached", False, TOO_MANY),
    (400, "Model loading in progress", False, TOO_MANY),
    (403, "No healthy upstream", False, TOO_MANY),
    (400, "系统繁忙，请稍后再试", False, TOO_MANY),
    (400, "Model is unloaded.", False, "at the moment"),
    (400, "Request timed out.", False, "at the moment"),
    (422, "context deadline exceeded", False, "at the moment"),
    (400, "Upstream request failed", False, "at the moment"),
    (400, "Failed to load image: 503, message='Service Unavailable', url='https://h/x.png'", False, NOT_FETCHED),
    (400, "Timeout while downloading https://example.org/a.jpg.", False, NOT_FETCHED),
    (400, "Error while downloading https://example.org/a.png. Upstream status code: 503.", False, NOT_FETCHED),
    (400, "Error while downloading https://example.org/a.png. Upstream status code: 404.", False, "Leave out"),
    (500, "Failed to load image from https://example.org/a.jpg: Server disconnected", False, NOT_FETCHED),
    (500, "Failed to load image from https://example.org/a.jpg: 429, message='Too Many'", False, NOT_FETCHED),
    (400, "Failed to fetch https://example.org/500.jpg: HTTP 503 Service Unavailable", False, NOT_FETCHED),
    (416, "max_completion_tokens is limited to 8000 for this model", False, "Leave out or change"),
    (400, {"message": "Unsupported value", "param": "temperature"}, False, '"temperature: Unsupported value"'),
    (400, {"message": "Invalid temperature", "param": "temperature"}, False, '"Invalid temperature"'),
    (429, "Your prepayment credits are depleted. Please go to AI Studio to manage your billing.", True, QUOTA),
    (429, "Your project has exceeded its monthly spending cap.", True, QUOTA),
    (429, "Your GLM Coding Plan package has expired and is temporarily unavailable", True, QUOTA),
    (429, "您的套餐已到期，暂无法使用，请前往官网续订", True, QUOTA),
    (429, "Extra usage is required for long context requests.", True, QUOTA),
    (429, "You have exhausted your capacity. Your quota will reset after 5h59m59s.", True, "in 5 h 59 min"),
    (429, "Connection reset after 30s", False, TOO_MANY),
    (500, "The connection pool is depleted", False, "at the moment"),
    (403, "Temporarily disabled due to a Databricks-set rate limit of 0.", True, BLOCKED),
    (429, "Quota exceeded for metric: free_tier_requests, limit: 0. Please retry in 38s.", True, BLOCKED),
    (429, "Rate limit: 0.5 requests per second", False, TOO_MANY),
    (500, "Internal error: could not load model (no success): Error loading MLX model", True, NOT_LOADED),
    (500, "unable to load model: /root/.ollama/models/blobs/sha256-abc", True, NOT_LOADED),
    (400, 'Failed to load model "m". Error: Error loading model.', True, NOT_LOADED),
    (500, "model failed to load, this may be due to resource limitations", True, NOT_LOADED),
    (503, "Failed to load model: the server is temporarily out of workers", False, "at the moment"),
    (503, "Failed to load model: connection to worker lost", False, "at the moment"),
    (502, "could not load model: health check timed out after 120s", False, "at the moment"),
    (400, "could not load the model's image processor", False, "Leave out"),
    (400, "Unable to load model input image from url", False, "Leave out"),
    (400, "Failed to load the model's image http://x", False, "Leave out"),
    (429, "token bucket quota depleted", False, TOO_MANY),
    (429, "Usage cap per minute reached, slow down", False, TOO_MANY),
    (429, "Usage cap reached", True, QUOTA),
    (429, "Rate limit: 0 requests left in this minute", False, TOO_MANY),
    (429, "Rate limit reached for requests. Limit: 0 remaining", False, TOO_MANY),
    (429, "Limit: 0 of 60 requests", False, TOO_MANY),
    (404, "No allowed providers are available for the selected model.", True, SETTINGS),
    (400, "The model `m` requires terms acceptance.", True, SETTINGS),
    (403, "You must accept the license before you can access this model", True, SETTINGS),
    (400, {"message": "Param Incorrect", "param": "reasoning_content must be passed back"}, False, "--think off"),
]


@pytest.mark.parametrize(("status", "body", "affects_all", "says"), SAID)
def test_what_services_say_is_understood(status: int, body: str | dict[str, str], affects_all: bool, says: str) -> None:
    error = error_of({"error": {"message": body} if isinstance(body, str) else body, "http_status_code": status})
    assert says in str(error)
    assert error.status == status
    assert error.affects_all is affects_all
    assert error.retryable is (says in (TOO_MANY, NOT_FETCHED, "9 min 38 s", "in 5 h 59 min", "at the moment"))
    assert error.is_too_many is (says in (TOO_MANY, "9 min 38 s", "in 5 h 59 min"))


@pytest.mark.parametrize(
    "said",
    [
        "Unexpected reasoning effort high. Supported types are xhigh (default), medium, and low",
        "Unexpected reasoning effort ultra.",
        "Invalid reasoning_effort: high",
        "Invalid value for temperature: 3",
        "top_k must be -1 (disable), or at least 1",
        "`top_p` must be > 0.0 and < 1.0",
        "max_tokens must be at least 1, got 0.",
        "Range of max_tokens should be [1, 8192]",
        "The value of presence_penalty should be in [-2, 2]",
        "min_p is out of range",
        "guided_json is not valid",
        "thinking budget must be positive",
        "Only user, system and assistant roles are supported!",
        "Cannot pass both content and thinking in an assistant message with tool calls!",
        "This model only supports single tool-calls at once!",
        "No user query found in messages.",
        "Unexpected message role.",
        "Unexpected item type in content.",
        "System message must be at the beginning.",
        "System message cannot contain images.",
        "Only text chunks are supported in system message contents.",
        "Only text and image blocks are supported in message content!",
        "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        "Message has tool role, but there was no previous assistant message with a tool call!",
        "Cannot put tools in the first user message when there's no first user message!",
        "Can only get item pairs from a mapping.",
        "'list object' has no attribute 'startswith'",
        'Error rendering prompt with jinja template: "Unknown StringValue filter: safe".',
        "jinja2.exceptions.TemplateError: No tools",
        "As of transformers v4.44, default chat template is no longer allowed",
        "While executing the template\nError: Unexpected message role.",
        # The places in templates, which the engines of llama.cpp, Ollama and servers in Rust name.
        "Unknown method: keys at row 57, column 46:\n {%- for key in fields.keys() %}\n ^",
        "Value is not callable: null at row 49, column 79:\n {%- set content = retry_text.split('</think>') %}",
        "Cannot subscript null at row 23, column 40:\n {%- set start = message.content[:length] %}",
        "------------\nWhile executing FilterExpression at line 120, column 73 in source:\n...|items %}\n"
        "Error: Unknown (built-in) filter 'items' for type String",
        "------------\nWhile executing CallExpression at line 79, column 24 in source:\n"
        "{{- raise_exception('Try again with a worker') }}\nError: No messages",
        'template: :42:11: executing "" at <.Thinking>: can\'t evaluate field Thinking in type *api.Message',
        "Template error: unknown method: string has no method named startswith (in <string>:3)",
        "invalid operation: tried to use + operator on unsupported types undefined and string (in chat_template:1)",
        "'dict object' has no attribute 'name'",
        "'None' has no attribute 'items'",
        "list object has no element 0",
        "Failed to render the prompt template",
        "temperature must be non-negative, got -1.",
        "`temperature` (=-1.0) has to be a strictly positive float, otherwise your next token scores will be invalid.",
        "logprobs are not allowed with tools",
        "Requested logprobs of 25 is greater than max allowed: 20",
        "repetition_penalty is too high",
        "AiError: Workers AI: Invalid value for temperature: 9",
        "reasoning_effort 'minimal' is not one of low, medium, high",
        # What is demanded of a message.
        "Tool call IDs should be alphanumeric strings with length 9!",
        "Tool response dicts require a 'name' key indicating the name of the called function!",
        "{'message': 'Assistant message must have either content or tool_calls, but not both.', 'param': None}",
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "JSON schema conversion failed: Unrecognized schema: true",
    ],
)
def test_a_refusal_with_the_status_of_a_failure_is_one(said: str) -> None:
    # An error in a stream may have no status.
    bodies = ({"error": {"message": said}, "http_status_code": 500}, {"error": {"message": said}}, {"error": said})
    for body in bodies:
        error = error_of(body)
        assert (error.cause, error.retryable, error.affects_all) == ("request", False, False)
        assert said.split("\n")[0] in str(error)
    # These statuses are sent by what is between, too.
    for status in (502, 503, 504):
        assert error_of({"error": {"message": said}, "http_status_code": status}).cause in ("busy", "request")


@pytest.mark.parametrize(
    "said",
    [
        "Internal Server Error",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "CUDA error: device-side assert triggered",
        "CUDA error: an illegal memory access was encountered",
        "list index out of range",
        "'NoneType' object has no attribute 'text'",
        "Unexpected error",
        "Unexpected content type: text/html",
        "Unexpected message from worker 3",
        "Unexpected end of stream, the server must be restarted",
        "The model must be loaded first",
        "Failed to apply the chat template: connection to the tokenizer lost",
        "Invalid temperature of the GPU, temporarily throttled",
        "error parsing tool call: invalid character 'x'",
        "max_tokens could not be computed",
        "test/model-a must be warmed up",
        "Invalid test/model-a: worker died",
        "probability tensor contains either `inf`, `nan` or element < 0",
        "CUDA error: out of memory. max_tokens cannot be used as a hint",
        "KV cache is full: max_tokens should be reduced",
        "GPU temperature is out of range",
        "The worker crashed while rendering the chat template",
        "Failed to fetch chat_template.jinja: 502 Bad Gateway",
        "error rendering error page: jinja2.exceptions.TemplateNotFound: 500.html",
        "'ModelRunner' object has no attribute 'kv_cache'",
        "system role handler is temporarily unavailable",
        "Provider returned empty content",
        "The model returned multiple tool calls, which cannot be parsed",
        "The upstream response content must not be empty: content is empty",
        "Parallel tool calls worker could not be reached",
    ],
)
def test_a_failure_with_words_like_those_of_a_refusal_is_tried_again(
    api: ModuleType, service: Service, said: str
) -> None:
    service.then(refused(500, said))
    current_session().clock = FastClock()
    assert api.chat("hi", model="test/model-a", reasoning_effort="high").text
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("litellm.APIConnectionError: APIConnectionError: OllamaException - unknown role: system", False),
        ("litellm.Timeout: got an unexpected keyword argument 'stream_options'", False),
        ("litellm.ServiceUnavailableError: only user roles are supported", False),
        ("openai.APITimeoutError: unknown role: system", False),
        ("OverloadedError: unknown role: system", False),
        ("RateLimitError: tool_choice must be auto", False),
        ("litellm.APIConnectionError: OllamaException - Cannot connect to host", True),
        ("litellm.Timeout: Request timed out", True),
        ("jinja2.exceptions.TemplateNotFound: 500.html", True),
        ("torch.MemoryError: unknown", True),
        ("The service is unavailable.", True),
    ],
)
def test_words_in_the_names_of_exceptions_do_not_say_that_a_failure_passes(said: str, passes: bool) -> None:
    assert may_pass(said) is passes


@pytest.mark.parametrize(
    "said",
    ["Invalid reasoning_effort: high", "reasoning_effort must be one of low, medium", "Unknown option cache_salt"],
)
def test_a_parameter_that_is_refused_with_the_status_of_a_failure_is_not_tried_again(
    api: ModuleType, service: Service, said: str
) -> None:
    service.always = refused(500, said)
    with pytest.raises(InferenceError, match="did not accept the request") as caught:
        api.chat("hi", reasoning_effort="high", cache_salt="abc")
    assert said in caught.value.why
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Invalid input", "param": "response_format"}),
        (500, {"message": "Stop: ParserTooComplex"}),
        (500, {"message": "failed to load model vocabulary required for format"}),
        (400, {"message": "format: invalid value"}),
        (400, {"message": "litellm.BadRequestError: OllamaException - 'format': invalid value"}),
        (502, {"message": "Invalid JSON schema: no type"}),
        (503, {"message": "Failed to compile grammar"}),
        *(
            (status, {"message": "json_object response format is not supported"})
            for status in (405, 406, 412, 502, 503)
        ),
    ],
)
def test_a_response_format_is_refused_in_other_words(status: int, error: dict[str, str]) -> None:
    assert error_of({"error": error, "http_status_code": status}).refuses_format


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Unsupported image format: webp"),
        (503, "The schema compiler is overloaded, try again later"),
        (402, "Pay for json_schema"),
        (503, "Structured output backend unavailable. Please retry."),
        (502, "Invalid response format from upstream"),
        (503, "guided decoding is temporarily unavailable"),
        (529, "json_schema requests are at capacity"),
        (504, "upstream timeout while waiting for structured output"),
        (502, "Failed to parse the schema of the response of the upstream provider"),
        (503, "The structured output worker failed"),
        (500, "guided decoding failed: connection refused"),
        (400, "Unsupported image; format: webp"),
        (400, "messages.0.content: format: 'mp3'"),
        (400, "Error: format: webp is no image that can be read"),
    ],
)
def test_other_words_do_not_refuse_a_response_format(status: int, said: str) -> None:
    assert not error_of({"error": {"message": said}, "http_status_code": status}).refuses_format


def test_a_certificate_of_a_form_that_new_pythons_refuse_is_not_said_to_be_unknown() -> None:
    refusal: Any = ssl.SSLCertVerificationError(1, "certificate verify failed: Missing Authority Key Identifier")
    refusal.reason, refusal.verify_code = "CERTIFICATE_VERIFY_FAILED", 85
    request: Any = SimpleNamespace(content=b"")
    failure = openai.APIConnectionError(request=request)
    failure.__cause__ = refusal
    error = str(to_inference_error(failure, CONTEXT))
    assert "Missing Authority Key Identifier" in error
    assert "or use Python 3.12" in error
    assert "SSL_CERT_FILE" not in error


@pytest.fixture
def kernel_without_listing(start_kernel: Callable[..., Kernel], service: Service) -> Kernel:
    """A kernel at an endpoint that answers chats and does not list its models."""
    service.listing_script = refused(404, "No such page")
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url)
    assert kernel.run("%load_ext wandb_inference_magic").ok
    return kernel


@pytest.mark.parametrize(
    ("status", "text", "cause", "says", "tries"),
    [
        (403, "error code: 1010", "refused", "Ask the people who run the service", 1),
        (400, "The model has crashed without additional information. (Exit code: 6)", "busy", "failing", 2),
        (400, "The `reasoning_content` in the thinking mode must be passed back to the API.", "request", "--once", 1),
    ],
)
def test_what_services_say_of_other_matters_than_the_prompt_is_understood(
    api: ModuleType, service: Service, status: int, text: str, cause: str, says: str, tries: int
) -> None:
    current_session().settings.set(max_retries=1)
    service.always = refused(status, text)
    with pytest.raises(InferenceError) as raised:
        api.chat("hi")
    assert raised.value.cause == cause
    assert says in str(raised.value)
    assert len(service.chats) == tries


def test_a_service_that_says_not_to_try_again_is_not_tried_again(api: ModuleType, service: Service) -> None:
    def answer(one: Answer) -> None:
        one.json({"error": {"message": "Broken for good."}}, 500, x_should_retry="false")

    service.always = answer
    with pytest.raises(InferenceError, match="Broken for good"):
        api.chat("hi")
    assert len(service.chats) == 1


def test_the_name_of_a_model_that_is_a_letter_does_not_hide_what_was_refused(api: ModuleType, service: Service) -> None:
    service.then(refused(400, "Invalid schema for response_format"), completion('{"a": 1}'))
    assert api.chat("hi", model="s", schema="a int").parsed == {"a": 1}


@pytest.mark.parametrize("cell", ["%wbmodels", "%wbchat hi"])
def test_an_endpoint_that_lists_no_models_is_reported(
    kernel_without_listing: Kernel, service: Service, cell: str
) -> None:
    error = kernel_without_listing.run(cell).error
    assert f"{service.url} has no list of models. Its address may be wrong (it usually ends in /v1)" in error
    assert 'It said: "No such page"' in error
    assert "''" not in error
    assert service.chats == []


def test_wbconfig_check_reports_an_endpoint_that_lists_no_models(
    kernel_without_listing: Kernel, service: Service
) -> None:
    text = kernel_without_listing.run("%wbconfig --model test/model-a\n%wbconfig --check").text
    assert "has no list of models" in text
    assert "test/model-a answered" in text


def test_a_key_in_an_error_of_the_service_is_hidden(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL="m", WANDB_INFERENCE_API_KEY=KEY)
    kernel.run("%load_ext wandb_inference_magic")
    service.then(refused(401, f"Incorrect API key provided: {KEY}"))
    run = kernel.run("%wbchat hi")
    assert "Incorrect API key provided: (hidden)" in run.error
    assert KEY not in str(run.messages)


@pytest.mark.parametrize("options", ["", "--no-stream "])
def test_a_key_that_an_endpoint_repeats_is_not_in_the_reply(
    start_kernel: Callable[..., Kernel], service: Service, options: str
) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL="m", WANDB_INFERENCE_API_KEY=KEY)
    kernel.run("%load_ext wandb_inference_magic")
    service.always = completion(f"Your key is {KEY}.")
    run = kernel.run(f"%wbchat {options}hi")
    assert "Your key is (hidden)." in run.text
    assert KEY not in str(run.outputs)
    assert kernel.value("_wbreply.text") == "Your key is (hidden)."
    for cell in ("%wbthread --show", "%%wbmap ['a'] -o out\n{{ text }}", "out.reply[0]"):
        assert KEY not in str(kernel.run(cell).outputs)


def test_a_key_in_the_place_of_another_setting_is_hidden(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL=KEY, WANDB_INFERENCE_API_KEY=KEY)
    kernel.run("%load_ext wandb_inference_magic")
    assert KEY not in str(kernel.run("%wbconfig").outputs)


def nested_too_deeply(answer: Answer) -> None:
    answer.start(200, "application/json" if answer.received.body.get("stream") is None else "text/event-stream")
    answer.raw(b"data: " * bool(answer.received.body.get("stream")) + b"[" * 100_000 + b"\n\n")
    answer.end()


@pytest.mark.parametrize("cassette", ["", "--cassette class.jsonl"])
def test_a_response_that_is_nested_too_deeply_is_refused(kernel: Kernel, service: Service, cassette: str) -> None:
    service.always = nested_too_deeply
    kernel.run(f"%config WandbInference.max_retries = 0\n%wbconfig --timeout 20 {cassette}")
    for line in ("%wbchat hi", "%wbchat --no-stream hi"):
        assert "answered, but not with a reply of a model" in kernel.run(line).error


def test_half_a_surrogate_pair_is_sent_recorded_and_replayed(kernel: Kernel, service: Service) -> None:
    half = "%wbchat --once half of it: {{ chr(0xd83d) }}"
    for mode in ("record", "replay"):
        kernel.run(f"%wbconfig --cassette class.jsonl --mode {mode}")
        assert kernel.run(half).ok
    assert len(service.chats) == 1
    # Half a character has no form in UTF-8: what is sent has the character that stands for it.
    assert service.last.body["messages"][-1]["content"] == "half of it: \ufffd"


def test_a_connection_that_breaks_after_done_does_not_break_the_reply(kernel: Kernel, service: Service) -> None:
    def cut_after_done(answer: Answer) -> None:
        answer.start()
        answer.event({"choices": [{"index": 0, "delta": {"content": "All of it."}, "finish_reason": "stop"}]})
        answer.event("[DONE]")
        answer.cut()

    service.always = cut_after_done
    run = kernel.run("%wbchat hi")
    assert run.ok, run.error
    assert kernel.value("_wbreply.incomplete") == ""


def test_a_model_that_another_endpoint_does_not_list_is_sent_and_a_404_names_similar_ids(
    api: ModuleType, service: Service
) -> None:
    assert MODEL in [model.id for model in api.models().models]
    service.always = completion("from an alias")
    assert api.chat("Hi", model="test/alias").text == "from an alias"
    assert api.map_prompts(["a"], "{{ text }}", model="test/alias")["reply"].tolist() == ["from an alias"]
    service.always = refused(404, "The model `test/model-c` does not exist")
    with pytest.raises(InferenceError, match="Did you mean test/model-b or test/model-a") as raised:
        api.chat("Hi", model="test/model-c")
    assert raised.value.status == 404
    assert service.chats[-1].body["model"] == "test/model-c"


def too_short(answer: Answer) -> None:
    answer.connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + b'{"choices": ['
    )
    answer.cut()


def cut_in_a_stream(answer: Answer) -> None:
    answer.start()
    answer.cut()


@pytest.mark.parametrize("cut", [too_short, cut_in_a_stream])
def test_an_answer_that_is_cut_is_reported_in_plain_words(
    api: ModuleType, service: Service, cut: Callable[[Answer], None]
) -> None:
    current_session().settings.set(max_retries=0)
    service.then(cut)
    error = failing(lambda: api.chat("hi"))
    assert "closed before the whole answer had arrived" in error
    assert "peer closed" not in error


@pytest.mark.parametrize("name", ["ordinary", "moderation_queue", "check_billing_limit", "get_rate_limits"])
@pytest.mark.parametrize("said", ["Invalid schema for function '{}': 'format' is not permitted.", "Unknown tool: `{}`"])
def test_the_name_of_a_tool_does_not_decide_what_an_error_means(
    api: ModuleType, service: Service, name: str, said: str
) -> None:
    def tool(city: str) -> str:
        return city

    tool.__name__ = name
    service.always = refused(400, said.format(name))
    with pytest.raises(InferenceError, match="did not accept the request as it is") as caught:
        api.chat("hi", tools=[tool])
    # The service's own words are shown as they are.
    assert said.format(name) in caught.value.why
    # It is sent again with a plainer schema, whatever the name is.
    assert len(service.chats) == (2 if "schema" in said else 1)


@pytest.mark.parametrize("name", ["guardrails", "request_timeout"])
@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "{}"], "msg": "Extra inputs are not permitted"}]},
        {"detail": [{"loc": ["body", "n"], "msg": "Not a number"}, {"loc": ["body", "{}"], "msg": "Not permitted"}]},
        {"error": {"message": "Not a number", "param": "{}"}},
        {"errors": {"{}": ["must be >= 0"]}},
        {"error": "Bad Request", "message": "body/{} must be number"},
        {"error": {"message": "1 validation error for ChatRequest\n{}\n  Extra inputs are not permitted"}},
        {"error": {"message": "Unrecognized request argument supplied: {}"}},
        {"error": {"message": "Unknown parameter {}"}},
        {"error": {"message": "It must be at least 1, got -5. (parameter={}, value=-5)"}},
    ],
    ids=str,
)
def test_the_name_of_a_parameter_does_not_decide_what_an_error_means(
    api: ModuleType, service: Service, name: str, body: dict[str, Any]
) -> None:
    current_session().settings.set(max_retries=0)
    said = json.loads(json.dumps(body).replace("{}", name))
    service.then(lambda answer: answer.json(said, 422))
    with pytest.raises(InferenceError, match="did not accept the request as it is") as caught:
        api.chat("hi", **{name: 5})
    assert name in caught.value.why


@pytest.mark.parametrize("said", ["The model `{}` does not support chat completions.", "The model {} is a beta."])
def test_the_name_of_a_model_does_not_decide_what_an_error_means(api: ModuleType, service: Service, said: str) -> None:
    service.then(refused(400, said.format("omni-moderation")))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi", model="omni-moderation")
    assert caught.value.cause in ("request", "model")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Invalid JSON payload received. Invalid value at 'thinking_budget': 512"),
        (422, "Failed to load the request: field top_k: 500 is out of range"),
        (500, "failed to load image or audio file: 500 bytes"),
        # Of Pillow, by way of vLLM.
        (500, "image file is truncated (11 bytes not processed)"),
        (500, "cannot identify image file <_io.BytesIO object at 0x7f>"),
        (400, "Failed to load image: width: 500, height: 10 is below the minimum of 28"),
        (400, "Failed to load image https://example.org/500: cannot identify image file"),
    ],
)
def test_a_number_is_no_status_of_a_file_that_was_not_fetched(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.then(refused(status, said))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    assert "could not fetch" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Error: model not found"},
        {"message": "model: test/model", "type": "not_found_error"},
        {"message": "not found", "param": "model"},
    ],
)
def test_a_word_of_the_service_that_is_also_a_name_of_a_field_is_read(
    api: ModuleType, service: Service, error: dict[str, str]
) -> None:
    service.then(lambda answer: answer.json({"error": error}, 404))
    with pytest.raises(InferenceError, match="does not know the model"):
        api.chat("hi", schema="model, year int")


@pytest.mark.parametrize("said", ["Input flagged by moderation", "It triggered the content management policy"])
def test_a_prompt_that_was_refused_is_not_asked_again_by_the_next_run(
    api: ModuleType, service: Service, said: str
) -> None:
    def flag(one: Answer) -> None:
        is_bad = "bad" in one.received.body["messages"][-1]["content"]
        (refused(400, said) if is_bad else completion("Good."))(one)

    service.always = flag
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(2):
            api.map_prompts(["a", "bad", "c"], "{{ text }}")
    assert len(service.chats) == 3
    assert any("1 row was not asked again" in str(one.message) for one in warned)
