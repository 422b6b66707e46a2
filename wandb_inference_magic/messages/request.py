"""A request that is ready to send. Budget, usage, client and previews read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from .content import content_text
from .tokens import MAX_TOKENS, estimate, estimate_messages, most, most_of_messages

if TYPE_CHECKING:
    from ..catalog import Model, Price
    from ..config import Endpoint
    from .content import Message
    from .thread import Thread

# Reserved for the reply if the user sets no limit: a quarter of the context, but at most this many tokens.
REPLY_TOKENS: Final = 4096
LIMIT_NAMES: Final = ("max_tokens", "max_completion_tokens")
MAX_REPLIES: Final = 1000
# The names in the body of a request that are not the user's.
_OWN_NAMES: Final = ("model", "messages", "tools", "stream", "stream_options", "response_format")
JSON_MODE: Final = {"type": "json_object"}
JSON_ONLY: Final = "Answer with JSON only, without any words around it."
# Whether `--format json` has added JSON mode to the request of this context. Cassettes recorded by version 0.1.0 have
# such requests without it.
ADDED_JSON_MODE: Final[ContextVar[bool]] = ContextVar("wandb_inference_json_mode", default=False)
# The command that makes the request of this context: a cassette does not give it the same recording twice.
CURRENT_CALL: Final[ContextVar[tuple[object, int | None]]] = ContextVar(
    "wandb_inference_current_call", default=(None, None)
)


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A prepared ChatSpec: all that is needed to send it and to report the result.

    `body` includes the messages; parameters that have no option are in its `extra_body`. `earlier` is how many of the
    messages come from the thread. `notices` is what the user should know. `known` is what the catalog has about the
    model. `cut_values` is how many values in the prompt were cut, `left_out` how many turns of the thread are not sent.
    """

    endpoint: Endpoint
    model: str
    price: Price | None
    body: Mapping[str, Any]
    thread: Thread
    earlier: int = 0
    notices: tuple[str, ...] = ()
    known: Model | None = None
    cut_values: int = 0
    left_out: int = 0

    @property
    def messages(self) -> list[Message]:
        return list(self.body["messages"])

    @property
    def flat_body(self) -> dict[str, Any]:
        """The body as it is sent: the parameters in `extra_body` are beside the others."""
        body = dict(self.body)
        body.update(body.pop("extra_body", {}))
        return body

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the tokens sent: those of the messages, the tools and the schema."""
        return estimate_messages(self.body["messages"]) + tokens_outside_messages(self.body)

    @property
    def most_prompt_tokens(self) -> int:
        """The most tokens that the service may count for the prompt. Higher than `prompt_tokens`; used for a budget."""
        # A schema is seldom part of the prompt: services constrain the reply with it.
        schema = tokens_outside_messages(self.body, ("response_format",))
        return most_of_messages(self.body["messages"]) + schema + tokens_outside_messages(self.body, ("tools",), most)

    @property
    def reply_limit(self) -> int | None:
        """How many tokens the reply may have, or None if the user set no limit."""
        return reply_limit(self.body)

    @property
    def large_reply_limit(self) -> int | None:
        """The limit that the user set, if the reply may have more tokens than the prompt has; else None."""
        limit = self.reply_limit
        return limit if limit is not None and limit > self.prompt_tokens else None

    @property
    def unclear_limit(self) -> str:
        """The name of a limit on the reply that is not a positive number, or empty. Services treat it differently."""
        return next((name for name, value in _limits_given(self.body) if not _is_limit(value)), "")

    @property
    def most_replies(self) -> int:
        """The most replies that the service may generate: `n` or `best_of`, for each of the prompts."""
        given = [_as_number(one.get(name)) for one in _parameters_of(self.body) for name in ("n", "best_of")]
        prompts = max(_prompts_in(one.get("prompt")) for one in _parameters_of(self.body))
        return prompts * max((ceil(min(one, MAX_REPLIES)) for one in given if _is_limit(one)), default=1)

    def with_body(self, **values: Any) -> PreparedRequest:
        """Return this request with other parameters; None removes a parameter."""
        body = {name: value for name, value in {**self.body, **values}.items() if value is not None}
        return replace(self, body=body)

    def followed_by(self, *messages: Message) -> PreparedRequest:
        """Return this request with messages added."""
        return self.with_body(messages=[*self.messages, *messages])

    def in_json_mode(self) -> PreparedRequest:
        """Return this request in JSON mode. The service requires that a message says "JSON"."""
        names_json = any("json" in content_text(message["content"]).lower() for message in self.messages)
        request = self.with_body(response_format=JSON_MODE)
        return request if names_json else request.instructed(JSON_ONLY)

    def instructed(self, text: str) -> PreparedRequest:
        """Return this request with a text added to its system prompt, unless it is there."""
        first, *others = self.messages
        if text in first["content"]:
            return self
        if first["role"] != "system":
            return self.with_body(messages=[{"role": "system", "content": text}, first, *others])
        return self.with_body(messages=[{**first, "content": f"{first['content']}\n\n{text}"}, *others])

    def noticed(self, text: str) -> PreparedRequest:
        """Return this request with one more notice for the user."""
        return replace(self, notices=(*self.notices, text))


def without_json_mode(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a request as it was before `PreparedRequest.in_json_mode`."""
    first, *messages = body["messages"]
    if first["role"] != "system" or not first["content"].endswith(JSON_ONLY):
        messages = [first, *messages]
    elif system := first["content"].removesuffix(JSON_ONLY).removesuffix("\n\n"):
        messages = [{**first, "content": system}, *messages]
    return {name: value for name, value in body.items() if name != "response_format"} | {"messages": messages}


def reply_limit(body: Mapping[str, Any]) -> int | None:
    """Return the limit on the reply, under either of its names. Return the larger, as a service may use either one."""
    # Infinity and a number of 400 digits are valid limits too.
    given = [ceil(min(value, MAX_TOKENS)) for _, value in _limits_given(body) if _is_limit(value)]
    return max(given, default=None)


def _limits_given(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, one[name]) for one in _parameters_of(body) for name in LIMIT_NAMES if one.get(name) is not None]


def _parameters_of(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return body, body.get("extra_body") or {}


def _as_number(value: object) -> object:
    """Return a text that is a number as that number: some services read it so."""
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _prompts_in(prompt: object) -> int:
    """Return how many prompts a request for completions has. A list of numbers is one, as tokens."""
    if not isinstance(prompt, list | tuple) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _is_limit(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def chosen_names(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names in the body of a request that are the user's: of tools, fields of schemas, and parameters."""
    parts = [body.get("tools"), body.get("response_format")]
    return property_names(parts) | _tool_names(body.get("tools")) | (body.keys() - _OWN_NAMES)


def _tool_names(tools: object) -> set[str]:
    functions = [one.get("function") for one in tools if isinstance(one, dict)] if isinstance(tools, list) else []
    return {str(one.get("name")) for one in functions if isinstance(one, dict)}


def property_names(schema: Any) -> frozenset[str]:
    """Return the names of all properties in a JSON schema, at any depth."""
    inner = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    own = schema.get("properties") if isinstance(schema, Mapping) else None
    return frozenset(own if isinstance(own, Mapping) else ()).union(*map(property_names, inner))


def tokens_outside_messages(
    body: Mapping[str, Any],
    names: Sequence[str] = ("tools", "response_format"),
    count: Callable[[str], int] = estimate,
) -> int:
    return sum(count(json.dumps(body[name])) for name in names if name in body)
