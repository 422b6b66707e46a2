"""Keeps the key and other secrets out of the errors of the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..text import redacted, with_texts

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

Sdk = TypeVar("Sdk", "OpenAI", "AsyncOpenAI")

# The key that the SDK is given in place of the real one.
NO_KEY: Final = "put-in-at-the-last-moment"


def with_hidden_secrets(base: type[Sdk]) -> type[Sdk]:
    """Return a subclass of the SDK's client whose errors do not show a secret that the service quotes.

    A traceback shows them, also as the reason of an error of ours.
    """

    class HiddenSecrets(base):  # type: ignore[valid-type,misc]
        def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> Any:
            return super()._make_status_error(redacted(err_msg), body=with_texts(body, redacted), response=response)

    return HiddenSecrets
