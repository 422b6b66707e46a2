"""Count the calls of the user's own client, and check them against the budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..client import ChunkReader
from ..errors import InferenceError, quoted
from ..failures import ServiceError
from ..messages import PreparedRequest, Thread
from ..replies import ReplyBuilder
from ..spending import Reservation

if TYPE_CHECKING:
    from ..failures import CallOutcome
    from ..replies import Timing
    from ..spending import Budget
    from .models import Context, Models


# The paths whose requests have a limit on the reply that is understood here, and those that have no reply to pay for.
LIMITED: Final = "/completions"
WITHOUT_REPLY: Final = "/embeddings"
# What a request that names no model is counted under: the service chooses one.
NOT_NAMED: Final = "(not named)"


def metered_call(command: Context, models: Models, budget: Budget, path: str, body: Mapping[str, Any]) -> ClientCall:
    """Return the call for a request of the user's client that is about to be sent.

    Parameters
    ----------
    command : Command
        The command that has built the client.
    models : Models
    budget : Budget
        The one in force now.
    path, body : str, mapping
        The request.

    Raises
    ------
    InferenceError
        When it could cost more than the budget has left, or when what it can cost is not known. Nothing has been
        sent.
    """
    model = body.get("model") or NOT_NAMED
    model = model if isinstance(model, str) else json.dumps(model, default=str)
    endpoint = command.endpoint
    is_known = path.endswith((LIMITED, WITHOUT_REPLY))
    if model == NOT_NAMED and is_known and budget.limit is not None:
        raise InferenceError(
            "A budget is set, but the request names no model, so its price is not known. Nothing was sent.",
            remedy="Name a model, or remove the budget: %config WandbInference.budget = None",
            cause="budget",
        )
    request = PreparedRequest(
        endpoint=endpoint,
        model=model,
        price=models.needed_price(model, command, budget.limit),
        body={**body, "messages": _messages(body)},
        thread=Thread(""),
        known=models.known(endpoint).find(model),
    )
    if request.price is None and endpoint.is_wandb:
        request = command.loop.run(models.with_price(request, command, command.client()))
    if request.price is not None and path.endswith(WITHOUT_REPLY):
        request = replace(request, price=replace(request.price, output=0.0))
    if budget.limit is not None and not is_known:
        raise InferenceError(
            f"A budget is set, but what a call of {quoted(path)} can cost is not known. Nothing was sent.",
            remedy="Use chat.completions, or remove the budget: %config WandbInference.budget = None",
            cause="budget",
        )
    return ClientCall(request, budget)


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a request; for other requests, and messages of unknown form, one that is as long."""
    messages = body.get("messages")
    if isinstance(messages, list) and all(_is_message(one) for one in messages):
        return messages
    return [{"role": "user", "content": json.dumps(body, default=str)}]


def _is_message(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    content = value.get("content")
    is_parts = isinstance(content, list) and all(isinstance(part, Mapping) for part in content)
    return isinstance(content, str) or is_parts


class ClientCall:
    """One call of the user's client, whose worst-case cost is reserved at once.

    `limit` is the limit on the reply that a budget adds, in tokens, or None.
    """

    def __init__(self, request: PreparedRequest, budget: Budget) -> None:
        self._request = request
        self._usage = budget.usage
        self._reservation = Reservation(budget)
        self._builder = ReplyBuilder()
        self._started = perf_counter()
        self._reader = ChunkReader()
        self._has_ended = False
        self._reservation.reserve(request)
        self._builder.budget_limit = self._reservation.limit

    @property
    def limit(self) -> int | None:
        return self._reservation.limit

    def begin(self, timing: Timing | None) -> None:
        self._builder.timing = timing

    def feed(self, data: bytes) -> None:
        self._add(self._reader.feed(data))

    def cancel(self) -> None:
        self._has_ended = True
        self._reservation.release()

    def end(self, outcome: CallOutcome) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if outcome == "answered":
            self._add(self._reader.close())
        elif outcome == "interrupted" and self._reader.completeness.is_complete_if_cut:
            outcome = "answered"
        self._usage.end(self._request, self._builder, outcome, self._started, self._reservation.settle)
        self._reservation.release()

    def drop(self) -> None:
        if not self._has_ended:
            self._usage.end_later(partial(self.end, "interrupted"))

    def _add(self, chunks: Iterator[Mapping[str, Any]]) -> None:
        # What cannot be read is the user's to handle: the SDK reports it.
        with suppress(InferenceError, ServiceError):
            for chunk in chunks:
                self._builder.add(chunk)
