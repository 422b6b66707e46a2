"""Keeps the key out of what the SDK hands to users: its errors, and the requests in its responses and errors."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..text import redacted, redacted_json

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from ..config import Endpoint

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

# The key that the SDK is given in place of the real one.
NO_KEY: Final = "put-in-at-the-last-moment"


def with_hidden_secrets(base: type[Sdk]) -> type[Sdk]:
    """Return a subclass of the SDK's client whose errors do not show a secret that the service quotes.

    A traceback shows them, also as the reason of an error of ours.
    """

    class HiddenSecrets(base):  # type: ignore[valid-type,misc]
        def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> Any:
            return super()._make_status_error(redacted(err_msg), body=redacted_json(body), response=response)

    return HiddenSecrets


def with_key_taken_back(base: Any, endpoint: Endpoint) -> Any:
    """Return a subclass of an HTTP client that takes the key out of a request once it is sent.

    The SDK hands the request to the user, with each response and each error.
    """

    def take_back(request: Any) -> None:
        if endpoint.key and request.headers.get("authorization") == f"Bearer {endpoint.key.reveal()}":
            request.headers["authorization"] = f"Bearer {NO_KEY}"

    class AsyncClient(base):  # type: ignore[misc]
        async def send(self, request: Any, **how: Any) -> Any:
            try:
                return await super().send(request, **how)
            finally:
                take_back(request)

    class Client(base):  # type: ignore[misc]
        def send(self, request: Any, **how: Any) -> Any:
            try:
                return super().send(request, **how)
            finally:
                take_back(request)

    return AsyncClient if iscoroutinefunction(base.send) else Client
