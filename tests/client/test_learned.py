"""The form of the next request: which changes are kept, for which requests, and when a stream is tried."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from wandb_inference_magic.client.learned import RequestForm
from wandb_inference_magic.failures import ServiceError

pytestmark = pytest.mark.short

BODY = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
NO_SYSTEM = ServiceError({"message": "System role not supported", "code": 400}, has_begun=False)
ONLY_STREAMS = ServiceError({"message": "This model only supports streaming", "code": 400}, has_begun=False)
UNRELATED = ServiceError({"message": "temperature must be at most 1", "code": 400}, has_begun=False)
TIMEOUT = ServiceError({"message": "Gateway Timeout", "code": 504}, has_begun=False)


def refusal(said: str, status: int, **more: Any) -> openai.APIStatusError:
    response = httpx.Response(
        status, json={"error": {"message": said, **more}}, request=httpx.Request("POST", "http://test")
    )
    return openai.APIStatusError(said, response=response, body={"message": said})


class Client:
    """What is known is kept for each client, as long as that lives."""


@pytest.fixture
def client() -> Any:
    return Client()


def form(client: Any, stream: bool = False, **fields: Any) -> RequestForm:
    return RequestForm(client, BODY | fields, stream=stream)


def roles(request: RequestForm) -> list[str]:
    return [message["role"] for message in request.body["messages"]]


def test_a_change_that_helped_is_made_at_once_for_requests_of_the_kind(client: Any) -> None:
    first = form(client)
    assert roles(first) == ["system", "user"]
    assert first.change_after(NO_SYSTEM)
    assert roles(first) == ["user"]
    # Another one that is sent meanwhile knows nothing of it.
    assert roles(form(client)) == ["system", "user"]
    first.was_answered()
    assert roles(form(client)) == ["user"]
    for other in (form(client, model="another"), form(client, temperature=1), form(Client())):
        assert roles(other) == ["system", "user"]


def test_a_change_that_did_not_help_is_made_once_and_not_kept(client: Any) -> None:
    first = form(client)
    assert first.change_after(NO_SYSTEM)
    assert not first.change_after(NO_SYSTEM)
    assert roles(form(client)) == ["system", "user"]


def test_a_failure_about_something_else_changes_nothing(client: Any) -> None:
    request = form(client)
    assert not request.change_after(UNRELATED)
    assert not request.change_after(ValueError("System role not supported"))
    assert request.body == BODY


def test_what_is_asked_is_not_what_is_sent(client: Any) -> None:
    """A cassette has the request as it was asked."""
    request = form(client)
    assert request.change_after(ONLY_STREAMS)
    assert request.body["stream"] is True
    assert request.asked == BODY


def test_after_a_request_that_took_too_long_the_next_ones_are_streamed(client: Any) -> None:
    assert not form(client).change_after(TIMEOUT)
    second, third = form(client), form(client)
    assert second.body["stream"] is True
    second.was_answered()
    # Known now: it is no trial.
    assert not third.change_after(TIMEOUT)
    assert form(client).body["stream"] is True


def test_where_streams_are_refused_too_the_request_is_sent_whole_at_once_and_no_other_is_tried(client: Any) -> None:
    form(client).change_after(TIMEOUT)
    trial = form(client)
    assert trial.body["stream"] is True
    assert trial.change_after(UNRELATED)
    assert trial.body == BODY
    assert not form(client).change_after(TIMEOUT)
    assert form(client).body == BODY


def test_a_trial_that_takes_too_long_costs_no_further_wait(client: Any) -> None:
    form(client).change_after(TIMEOUT)
    trial = form(client)
    assert not trial.change_after(TIMEOUT)
    assert form(client).body == BODY


def test_a_stream_that_was_asked_for_is_no_trial(client: Any) -> None:
    assert not form(client, stream=True).change_after(TIMEOUT)
    assert "stream" not in form(client).body


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(
    "said",
    [
        "System messages are not supported at the moment",
        "System role is currently not supported",
        "The system role is not supported: maintenance until 14:00",
        "System role not supported. We will be back soon",
    ],
)
def test_a_change_after_a_failure_that_may_pass_is_kept_once_a_later_request_needs_it_too(
    client: Any, status: int, said: str
) -> None:
    failure = refusal(said, status)
    first, beside = form(client), form(client)
    assert first.change_after(failure)
    assert beside.change_after(failure)
    # Both were sent during one failure, which may have passed.
    first.was_answered()
    beside.was_answered()
    assert roles(form(client)) == ["system", "user"]
    later = form(client)
    assert later.change_after(failure)
    later.was_answered()
    assert roles(form(client)) == ["user"]


@pytest.mark.parametrize(
    ("status", "said"), [(500, "System role not supported"), (400, "System role is currently not supported")]
)
def test_a_change_after_a_refusal_is_kept_at_once(client: Any, status: int, said: str) -> None:
    first = form(client)
    assert first.change_after(refusal(said, status))
    first.was_answered()
    assert roles(form(client)) == ["user"]


@pytest.mark.parametrize(
    "failure",
    [
        ServiceError({"message": "System role is not supported right now", "code": 503}, has_begun=False),
        ServiceError({"message": "System role is not supported today"}, has_begun=False),
        refusal("System role is currently not supported", 400, code=503),
    ],
)
def test_a_failure_that_may_pass_is_one_wherever_its_status_is(client: Any, failure: Exception) -> None:
    first = form(client)
    assert first.change_after(failure)
    first.was_answered()
    assert roles(form(client)) == ["system", "user"]


def test_a_failure_that_has_passed_changes_no_later_request(client: Any) -> None:
    first = form(client)
    assert first.change_after(refusal("System messages are not supported at the moment", 503))
    first.was_answered()
    for _ in range(3):
        later = form(client)
        assert roles(later) == ["system", "user"]
        later.was_answered()
