"""The user's client: each of its calls is checked against the budget before it is sent, and counted when it has ended.

The check is in the SDK's client, where an error reaches the user unchanged with every version of the SDK. The count is
in the transport below it: it is the only place where bytes are read as they pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import is_unsent
from ..failures import GATEWAY_TIMEOUTS, outcome_of
from ..text import json_bytes, json_or_none
from .bodies import FIRST_ERROR, PassedBody, body_class
from .sse import ADDED_LIMIT, EXTENSION
from .transport import transport_class

if TYPE_CHECKING:
    from openai import OpenAI

    from ..failures import CallOutcome
    from ..replies import Timing

# The extension of a request that carries its call to the transport.
CALL: Final = "wandb_inference_call"


class MeteredCall(Protocol):
    """One call in progress."""

    @property
    def limit(self) -> int | None:
        """The limit on the reply that a budget adds to the request, in tokens, or None."""

    def begin(self, timing: Timing | None) -> None:
        """Record that the response begins. `timing` is a cassette's clock."""

    def feed(self, data: bytes) -> None:
        """Read bytes of the response as they pass."""

    def cancel(self) -> None:
        """Give the reservation back, because no request was sent."""

    def end(self, outcome: CallOutcome) -> None:
        """Count the call. Only the first `end` counts. A reply that was read to its end is answered in any case."""

    def drop(self) -> None:
        """Let the call be counted later, if it has not ended: its response was deleted, at any moment."""


# Returns the call for a request that is about to be sent, by its path and its body. It is in a layer above this one.
# Raises InferenceError when the call could cost more than the budget has left.
Meter = Callable[[str, Mapping[str, Any]], MeteredCall]


def metered_client(meter: Meter) -> type[OpenAI]:
    """Return a subclass of the SDK's client that asks `meter` before each attempt, and that its users share.

    The SDK builds a request for each attempt, from options of its own, and does not convert the errors of that.
    """
    import openai

    class MeteredOpenAI(openai.OpenAI):
        def _build_request(self, options: Any, **how: Any) -> Any:
            body = _body_of(options)
            # A file that is sent for no model is only stored.
            if not isinstance(body, dict) or (options.files and not body.get("model")):
                return super()._build_request(options, **how)
            call = meter(str(options.url), {**body, **(options.extra_json or {})})
            if call.limit is not None:
                _set_body(options, {**body, "max_tokens": call.limit})
            try:
                request = super()._build_request(options, **how)
            except BaseException:
                # For example, a parameter is not JSON.
                call.cancel()
                raise
            request.extensions[CALL] = call
            return request

        def close(self) -> None:
            """Do nothing: other threads may use the client. Idle connections end by themselves."""

        def close_connections(self) -> None:
            """Close the client for all of its users."""
            super().close()

    return MeteredOpenAI


def _body_of(options: Any) -> Any:
    """Return the body of a request of the SDK, also of one that the user has written as JSON; None if it has none."""
    content = getattr(options, "content", None)
    if options.json_data is not None or content is None:
        return options.json_data
    body = json_or_none(content) if isinstance(content, str | bytes) else None
    # Of what cannot be read, nothing is known: neither its model nor its cost.
    return body if isinstance(body, dict) else {}


def _set_body(options: Any, body: Mapping[str, Any]) -> None:
    if options.json_data is None:
        options.content = json_bytes(body)
    else:
        options.json_data = body


class MeteredBody(PassedBody):
    """The body of a response to a call, which ends with it."""

    def __init__(self, body: Any, call: MeteredCall) -> None:
        super().__init__(body)
        self._call = call

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._call.feed(data)
        yield data

    @contextmanager
    def reading(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Also if the reader stops in between.
            self._call.end(outcome_of(error))
            raise
        self._call.end("answered")

    def closed(self) -> None:
        self._call.end("interrupted")

    def __del__(self) -> None:
        self._call.drop()


def metered_transport(below: Any) -> Any:
    """Return a transport that counts the calls it sends, above the one that sends them."""

    class MeteredTransport(transport_class()):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            call: MeteredCall | None = request.extensions.pop(CALL, None)
            if call is None:
                return below.handle_request(request)
            before = ADDED_LIMIT.set(call.limit is not None)
            try:
                response = below.handle_request(request)
            except BaseException as error:
                if is_unsent(error):
                    call.cancel()
                call.end(outcome_of(error))
                raise
            finally:
                ADDED_LIMIT.reset(before)
            call.begin(response.extensions.get(EXTENSION))
            if response.status_code >= FIRST_ERROR:
                call.end("lost" if response.status_code in GATEWAY_TIMEOUTS else "failed")
            else:
                response.stream = body_class(MeteredBody)(response.stream, call)
            return response

    return MeteredTransport(below)
