"""What a service says beside the message of an error: what is quoted of it, and what the user is advised to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from service import Service, refused

from wandb_inference_magic.errors import MAX_QUOTE_CHARS, InferenceError
from wandb_inference_magic.failures import read_error

INVALID = "Request contains an invalid argument."
GOOGLE = "type.googleapis.com/google.rpc."


def of_google(*details: dict[str, Any], code: int = 400, message: str = INVALID) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": "INVALID_ARGUMENT", "details": list(details)}}]


VIOLATION = {"field": "top_k", "description": "must be positive"}
SAID: list[tuple[object, str]] = [
    # A text as JSON, and a whole body that was written as JSON twice.
    ('"max_tokens is too large"', "max_tokens is too large"),
    (json.dumps(json.dumps({"error": {"message": "No seed."}})), "No seed."),
    ("null", ""),
    ({"error": {"message": "null", "details": "No seed."}}, "No seed."),
    (
        of_google({"@type": f"{GOOGLE}BadRequest", "fieldViolations": [VIOLATION, VIOLATION]}),
        "Request contains an invalid argument: top_k: must be positive",
    ),
    (
        of_google({"@type": f"{GOOGLE}LocalizedMessage", "locale": "en", "message": "No seed."}),
        "Request contains an invalid argument: No seed.",
    ),
    (
        of_google({"@type": f"{GOOGLE}DebugInfo", "stackEntries": ["a b"], "detail": "seed is not known"}),
        "Request contains an invalid argument: seed is not known",
    ),
    (
        of_google(
            {"@type": f"{GOOGLE}PreconditionFailure", "violations": [{"type": "TOS", "description": "Not yet."}]}
        ),
        "Request contains an invalid argument: Not yet.",
    ),
    ({"error": {"message": "Bad", "innererror": {"code": "X", "message": "no logit_bias"}}}, "Bad: no logit_bias"),
    (
        {"error": {"message": "Invalid", "details": [{"target": "seed", "message": "not supported"}]}},
        "Invalid: seed: not supported",
    ),
    ({"error": {"message": "Bad input", "details": "max_tokens is above 4000"}}, "Bad input: max_tokens is above 4000"),
    (
        {"error": {"message": "Bad input", "details": json.dumps({"message": "max_tokens is above 4000"})}},
        "Bad input: max_tokens is above 4000",
    ),
    (
        {"error": {"message": "Provider error"}, "upstream_details": {"error": {"message": "no seed"}}},
        "Provider error: no seed",
    ),
    ({"error": {"message": "Upstream error", "upstream_error": "no seed"}}, "Upstream error: no seed"),
    ({"error": {"message": "Failed", "cause": {"message": "no seed", "cause": {"message": "no bias"}}}}, "no bias"),
    (
        {
            "error": {
                "message": "Provider error",
                "metadata": {"previous_errors": [{"code": 400, "message": "no seed"}]},
            }
        },
        "Provider error: no seed",
    ),
    ({"message": "Validation failed", "errors": {"top_k": ["must be positive"]}}, "top_k: must be positive"),
    ({"message": "Validation failed", "errors": {"top_k": "must be positive"}}, "top_k: must be positive"),
    ({"message": "Validation failed", "errors": [{"field": "top_k", "msg": "negative"}]}, "failed: top_k: negative"),
    (
        {"error": "Bad Request", "detail": [{"loc": ["body", "top_k"], "msg": "negative"}]},
        "Bad Request: top_k: negative",
    ),
    ({"error": {"message": "Bad", "param": {"statusCode": 400, "error": "no seed"}}}, "Bad: no seed"),
]
# What says nothing more.
SILENT: list[tuple[object, str]] = [
    (of_google({"@type": f"{GOOGLE}RetryInfo", "retryDelay": "34s"}), INVALID),
    (of_google({"@type": f"{GOOGLE}Help", "links": [{"description": "Learn more", "url": "https://x"}]}), INVALID),
    (of_google({"@type": f"{GOOGLE}QuotaFailure", "violations": [{"quotaId": "PerDay", "quotaValue": "50"}]}), INVALID),
    (of_google({"@type": f"{GOOGLE}LocalizedMessage", "message": "request contains an invalid argument"}), INVALID),
    ({"error": {"message": INVALID, "errors": [{"message": INVALID, "domain": "global"}]}}, INVALID),
    ({"error": {"message": "no seed", "details": {"request_id": "abc", "region": "us"}}}, "no seed"),
    ({"error": {"message": "no seed", "details": None, "errors": [], "cause": {}, "innererror": ""}}, "no seed"),
    ({"error": {"message": "seed: no seed", "details": [{"target": "seed", "message": "No seed."}]}}, "seed: no seed"),
    # All words of the message are in what is beside it.
    ({"error": {"message": "no seed", "details": "There is no seed here."}}, "There is no seed here."),
]


@pytest.mark.parametrize(("body", "says"), SAID, ids=str)
def test_what_is_said_beside_a_message_is_quoted(body: object, says: str) -> None:
    assert read_error(body).message.endswith(says)
    assert read_error(json.dumps(body)).message.endswith(says)


@pytest.mark.parametrize(("body", "says"), SILENT, ids=str)
def test_nothing_is_quoted_twice_and_what_has_no_message_is_left_out(body: object, says: str) -> None:
    assert read_error(body).message == says


def test_what_is_said_beside_a_message_says_what_to_do(api: ModuleType, service: Service) -> None:
    body = {"error": {"message": "Provider error"}, "upstream_details": {"error": {"message": "prompt is too long"}}}
    service.then(lambda one: one.json(body, 400))
    with pytest.raises(InferenceError, match="choose a model with a larger context"):
        api.chat("hi")


def test_a_limit_of_the_length_and_the_key_hold_for_what_is_beside(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(**service.environment, WANDB_INFERENCE_API_KEY="secret-0123")
    details = ["Key secret-0123", *[f"{number} {'x' * 90}" for number in range(40)]]
    service.then(lambda one: one.json({"error": {"message": "Invalid", "details": details}}, 400))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    assert "Invalid: Key" in caught.value.why
    assert "secret-0123" not in str(caught.value)
    assert len(caught.value.why) < MAX_QUOTE_CHARS + 20


@pytest.mark.parametrize("said", [INVALID, "Bad Request", "Provider returned error"])
def test_a_refusal_that_says_nothing_is_not_said_to_name_an_option(
    api: ModuleType, service: Service, said: str
) -> None:
    service.then(refused(400, said))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    assert caught.value.remedy.startswith("It does not say what it refuses. Shorten the prompt")
    wrapped = {"message": json.dumps({"error": {"message": said}}), "status": "UPSTREAM_ERROR"}
    service.then(lambda one: one.json({"error": wrapped}, 400))
    with pytest.raises(InferenceError, match="It does not say what it refuses"):
        api.chat("hi")
    details = {"message": INVALID, "details": [{"fieldViolations": [VIOLATION]}]}
    service.then(lambda one: one.json({"error": details}, 400))
    with pytest.raises(InferenceError, match="Leave out or change the option it names"):
        api.chat("hi")
