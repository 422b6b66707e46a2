"""What comes back: the pieces of a reply as they arrive, and the Reply they add up to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from .answers import code_blocks, to_records
from .errors import InferenceError, quoted
from .frames import data_frame
from .plain_text import whole
from .redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .answers import CodeBlock
    from .catalog import Price
    from .tools import ToolStep

Message = dict[str, Any]
# A message's content: a text, or parts of text and images.
Content = str | list[dict[str, Any]]
# More tokens than this are no count of one call.
MOST_TOKENS: Final = 10**9
BUDGET_REMEDY: Final = "For a longer one set --max-tokens; the budget must cover it (%wbconfig --budget)."


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as the endpoint counted them; `prompt_tokens` includes the cached ones."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    @classmethod
    def read(cls, payload: object) -> Usage | None:
        """Read the `usage` object of a response; None where it is missing or holds no counts.

        Raises
        ------
        ValueError
            For nonsense, quoting it: a count that is no whole number from 0 to `MOST_TOKENS`, and more cached tokens
            than the prompt has.
        """
        if payload is None:
            return None
        if not isinstance(payload, Mapping):
            raise ValueError(_shown(payload))
        prompt, completion = payload.get("prompt_tokens"), payload.get("completion_tokens")
        details = payload.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
        counts = [None if one is None else _count(one) for one in (prompt, completion, cached)]
        if counts[0] is None or counts[1] is None:
            return None
        if (counts[2] or 0) > counts[0]:
            raise ValueError(_shown(cached))
        return cls(counts[0], counts[1], counts[2] or 0)


def _count(value: object) -> int:
    """Return a count of tokens; some services give it as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(_shown(value))
    if value != int(value):
        raise ValueError(_shown(value))
    return int(value)


def _shown(value: object) -> str:
    """Return a value as it can be shown: Python refuses to write an integer of very many digits."""
    if isinstance(value, int) and abs(value) > 10**18:
        return "more than 10**18" if value > 0 else "less than -10**18"
    try:
        return quoted(json.dumps(value, default=repr))
    except (ValueError, RecursionError):
        return "not readable"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for: the tool's name and its arguments as the JSON text that came."""

    id: str
    name: str
    arguments: str


@dataclass(eq=False)
class Reply:
    """A model's reply and what is known about it.

    Attributes
    ----------
    text : str
        The answer, as received.
    reasoning : str
        What the model thought before it answered; empty where it does not say.
    tool_calls : tuple of ToolCall
        The calls the model asks for.
    asked_model, model : str
        The model asked, and the model that says it answered (for a LoRA it can be the base).
    endpoint : str
        `wandb`, `local` (the practice model on this machine) or the URL.
    finish_reason : str or None
        `stop`, `length`, `tool_calls`, `content_filter`, ..., or None where the endpoint never said.
    incomplete : str
        Why the reply stops short (`interrupted`, `connection lost`); empty for a whole one.
    usage : Usage or None
        Tokens, where the endpoint counted them.
    usage_is_estimate : bool
        Whether they are estimated, since the endpoint's counts were nonsense.
    cost : float or None
        USD; 0.0 for the practice model, None where the price or the usage is not known.
    seconds, seconds_to_first : float, float or None
        From sending the request to the end, and to the first piece of reasoning or text.
    messages : tuple of dict
        The messages that were sent, with the last call if there were several.
    calls : int
        How many calls it took, tool rounds and a repair included; tokens, cost and seconds are all theirs.
    steps : tuple of ToolStep
        The calls of tools that were run on the way.
    parsed : object
        The answer as the object that `--schema` or `--format json` asked for.
    request_id : str or None
        The endpoint's id of the request.
    thread, turn : str or None, int or None
        Where in which thread this reply stands (turns count from 1).
    earlier_messages : int
        How many of the thread's earlier messages were sent along.
    notices : tuple of str
        What its reader should know of, such as turns that were left out.
    replayed : bool
        Whether it comes from a cassette: its times and its cost are those of when it was recorded.
    trace : str
        The address of its trace in Weave; empty where it was not traced.
    budget_limit : int or None
        The limit on the reply, in tokens, that a budget added to the request; None where it added none.
    """

    text: str
    asked_model: str
    model: str
    endpoint: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    incomplete: str = ""
    usage: Usage | None = None
    usage_is_estimate: bool = False
    cost: float | None = None
    seconds: float = 0.0
    seconds_to_first: float | None = None
    messages: tuple[Message, ...] = ()
    calls: int = 1
    steps: tuple[ToolStep, ...] = ()
    parsed: Any = None
    request_id: str | None = None
    thread: str | None = None
    turn: int | None = None
    earlier_messages: int = 0
    notices: tuple[str, ...] = ()
    replayed: bool = False
    trace: str = ""
    budget_limit: int | None = None
    # Whether the running cell shows this reply already, so that it is not shown again as the cell's value.
    _on_screen: bool = field(default=False, init=False, repr=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        words = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        tokens = f"{self.usage.completion_tokens} tokens" if self.usage else "tokens not counted"
        state = f", {self.incomplete}" if self.incomplete else ""
        return f"<Reply {words!r} from {self.model}, {tokens}, {self.seconds:.1f} s{state}>"

    @property
    def code_blocks(self) -> tuple[CodeBlock, ...]:
        """The code blocks of the answer, each with its `language` and `text`."""
        return code_blocks(self.text)

    @property
    def is_cut_by_budget(self) -> bool:
        """Whether the limit that a budget added cut it."""
        return _is_cut(self.budget_limit, self.finish_reason, self.usage)

    @property
    def tokens_per_second(self) -> float | None:
        """How fast the reply was written once it had begun; None where its tokens were not counted."""
        if self.usage is None or not self.usage.completion_tokens or not self.seconds:
            return None
        return self.usage.completion_tokens / writing_seconds(self.seconds, self.seconds_to_first)

    def to_frame(self) -> Any:
        """Return the answer as a pandas DataFrame: its table, its list of records, or its one record.

        Raises
        ------
        InferenceError
            When it holds none of these, or pandas is not installed.
        """
        records = to_records(self.text, self.parsed)
        if records is None:
            raise InferenceError(
                "The answer holds no table and no list of records.",
                remedy='Ask for a table in the prompt, or say what is wanted: --schema "list of name, age int".',
                cause="answer",
            )
        return data_frame(records)

    def _ipython_display_(self) -> None:
        # IPython falls back to `_repr_mimebundle_` on NotImplementedError; returning shows nothing.
        if not self._on_screen:
            raise NotImplementedError

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> object:  # noqa: ARG002
        from .rendering import reply_bundle

        return reply_bundle(self), {"wandb_inference": self.facts()}

    def facts(self) -> dict[str, Any]:
        """Return what an output's metadata says of this reply: model, usage, cost, times, request id."""
        return {
            "model": self.model,
            "asked_model": self.asked_model,
            "endpoint": self.endpoint,
            "finish_reason": self.finish_reason,
            "incomplete": self.incomplete,
            "prompt_tokens": self.usage.prompt_tokens if self.usage else None,
            "completion_tokens": self.usage.completion_tokens if self.usage else None,
            "cached_tokens": self.usage.cached_tokens if self.usage else None,
            "cost_usd": self.cost,
            "seconds": round(self.seconds, 3),
            "seconds_to_first": None if self.seconds_to_first is None else round(self.seconds_to_first, 3),
            "request_id": self.request_id,
            "calls": self.calls,
            "thread": self.thread,
            "turn": self.turn,
            "earlier_messages": self.earlier_messages,
            "replayed": self.replayed,
        }


def _is_cut(limit: int | None, finish_reason: str | None, usage: Usage | None) -> bool:
    # Otherwise the model's context ended.
    return limit is not None and finish_reason == "length" and (usage is None or usage.completion_tokens >= limit)


def notices_below(reply: Reply, *notices: str) -> tuple[str, ...]:
    """Return what a reader should know of a request (`notices`) and of its reply."""
    cut = f"The budget's limit of {reply.budget_limit or 0:,} tokens cut this reply. {BUDGET_REMEDY}"
    cuts = (cut,) if reply.is_cut_by_budget else ()
    return tuple(dict.fromkeys((*notices, *reply.notices, *cuts)))


def writing_seconds(seconds: float, to_first: float | None) -> float:
    """Return how long a reply took to be written once it had begun; of one that came in one piece, all of it."""
    after = seconds - (to_first or 0.0)
    return after if after > seconds / 100 else seconds


def added_up(replies: Sequence[Reply]) -> Reply:
    """Return several calls' replies as one: the last one's answer; tokens, cost and seconds of all.

    The sums hold what is known: tokens of calls that were counted; no cost where one call's is not known.
    """
    last = replies[-1]
    if len(replies) == 1:
        return last
    counted = [reply.usage for reply in replies if reply.usage]
    costs = [reply.cost for reply in replies if reply.cost is not None]
    return replace(
        last,
        reasoning="\n\n".join(reply.reasoning for reply in replies if reply.reasoning),
        usage=sum(counted[1:], counted[0]) if counted else None,
        usage_is_estimate=any(reply.usage_is_estimate for reply in replies),
        notices=tuple(dict.fromkeys(notice for reply in replies for notice in reply.notices)),
        cost=sum(costs) if len(costs) == len(replies) else None,
        seconds=sum(reply.seconds for reply in replies),
        seconds_to_first=replies[0].seconds_to_first,
        calls=len(replies),
        replayed=all(reply.replayed for reply in replies),
    )


@dataclass(slots=True)
class Timing:
    """The clock of a recorded exchange: when the last piece that has come had come, in seconds since it was asked for.

    `replayed` tells whether it comes from a cassette now, or is being recorded into one.
    """

    replayed: bool
    seconds: float = 0.0


@dataclass(slots=True)
class Arrival:
    """What is known of a reply's coming besides its pieces: the endpoint's id of the request, a cassette's clock."""

    request_id: str | None = None
    timing: Timing | None = None


class ReplyBuilder:
    """Adds up what arrives: chunks of a stream, or one whole completion.

    Tolerates what endpoints really send: `choices: []`, null content, usage in any chunk or in none,
    `reasoning` or the older `reasoning_content`, tool calls in pieces (service.md, 2026-10-07).
    `text_pieces` and `reasoning_pieces` only ever grow, so another thread may read along.
    Whoever receives the payloads tells `arrival` how they come.
    """

    def __init__(self) -> None:
        self.started = perf_counter()
        self.first_at: float | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.usage_is_estimate = False
        # What the endpoint gave as counts and is none.
        self.nonsense = ""
        self.notices: tuple[str, ...] = ()
        # What a budget added to the request.
        self.budget_limit: int | None = None
        self.model = ""
        self.arrival = Arrival()
        self.text_pieces: list[str] = []
        self.reasoning_pieces: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._halves: dict[str, str] = {}

    @property
    def has_begun(self) -> bool:
        """Whether any text, reasoning or tool call has come."""
        return self.first_at is not None

    @property
    def text(self) -> str:
        """The text that has come."""
        return self._joined("text", self.text_pieces)

    @property
    def seconds(self) -> float:
        """How long it has been coming."""
        return self.now() - self.started

    def add(self, payload: Mapping[str, Any]) -> None:
        """Add one chunk of a stream (`delta`) or a whole completion (`message`)."""
        self._read_usage(payload.get("usage"))
        if isinstance(model := payload.get("model"), str) and model:
            self.model = model
        choices = payload.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
            return
        choice = choices[0]
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason
        piece = choice.get("delta") or choice.get("message")
        if isinstance(piece, Mapping):
            self._add_piece(piece)

    def _read_usage(self, payload: object) -> None:
        try:
            usage = Usage.read(payload)
        except ValueError as nonsense:
            self.usage, self.nonsense = None, str(nonsense)
            return
        if usage is not None:
            self.usage, self.nonsense = usage, ""

    def estimated(self, usage: Usage) -> None:
        """Take an estimate in the place of counts that were nonsense."""
        self.usage, self.usage_is_estimate = usage, True
        self.notice(f"The service reported nonsense token counts ({self.nonsense}); they are estimated instead.")

    def notice(self, words: str) -> None:
        """Note what the reader should know of; nothing where it is empty."""
        if words:
            self.notices += (words,)

    @property
    def written(self) -> str:
        """All that the model has written: its reasoning, text and calls of tools."""
        calls = (one for tool in self._tools.values() for one in (tool["name"], tool["arguments"]))
        return "".join((*self.reasoning_pieces, *self.text_pieces, *calls))

    @property
    def is_cut_by_budget(self) -> bool:
        """Whether the limit that a budget added cut it."""
        return _is_cut(self.budget_limit, self.finish_reason, self.usage) and not self.is_replayed

    def _add_piece(self, piece: Mapping[str, Any]) -> None:
        reasoning = piece.get("reasoning") or piece.get("reasoning_content")
        if isinstance(reasoning, str) and reasoning:
            self._mark_first()
            self.reasoning_pieces.append(self._whole("reasoning", reasoning))
        content = piece.get("content")
        if isinstance(content, str) and content:
            self._mark_first()
            self.text_pieces.append(self._whole("text", content))
        if isinstance(calls := piece.get("tool_calls"), list):
            for position, call in enumerate(calls):
                if isinstance(call, Mapping):
                    self._add_tool_call(position, call)

    def _add_tool_call(self, position: int, call: Mapping[str, Any]) -> None:
        self._mark_first()
        index = call.get("index")
        tool = self._tools.setdefault(
            index if isinstance(index, int) else position, {"id": "", "name": "", "arguments": ""}
        )
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        tool["id"] = str(call.get("id") or tool["id"])
        tool["name"] = str(function.get("name") or tool["name"])
        tool["arguments"] += str(function.get("arguments") or "")

    def _whole(self, kind: str, piece: str) -> str:
        """Return a piece of whole characters: where one was cut in two, its first half waits for the other."""
        piece = self._halves.pop(kind, "") + piece
        if "\ud800" <= piece[-1] <= "\udbff":
            self._halves[kind], piece = piece[-1], piece[:-1]
        return whole(piece)

    def _joined(self, kind: str, pieces: Sequence[str]) -> str:
        return "".join(pieces) + whole(self._halves.get(kind, ""))

    def _mark_first(self) -> None:
        if self.first_at is None:
            self.first_at = self.now()

    @property
    def is_replayed(self) -> bool:
        """Whether it comes from a cassette."""
        return self.arrival.timing is not None and self.arrival.timing.replayed

    def now(self) -> float:
        """Return the time by the clock that this reply is measured with, comparable with `started`."""
        timing = self.arrival.timing
        return perf_counter() if timing is None else self.started + timing.seconds

    def build(
        self,
        *,
        asked_model: str,
        endpoint: str,
        price: Price | None,
        messages: Sequence[Message],
        incomplete: str = "",
    ) -> Reply:
        """Return the Reply that has come so far, with its cost at `price`."""
        cost = None
        if price is not None and self.usage is not None:
            used = self.usage
            cost = price.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)
        return Reply(
            text=self.text,
            reasoning=self._joined("reasoning", self.reasoning_pieces),
            tool_calls=tuple(ToolCall(**self._tools[index]) for index in sorted(self._tools)),
            asked_model=asked_model,
            # What a service puts there may be anything: it is saved with the notebook.
            model=redacted(self.model) if self.model not in ("", asked_model) else asked_model,
            endpoint=endpoint,
            finish_reason=self.finish_reason,
            incomplete=incomplete,
            usage=self.usage,
            usage_is_estimate=self.usage_is_estimate,
            cost=cost,
            seconds=self.seconds,
            seconds_to_first=None if self.first_at is None else self.first_at - self.started,
            messages=tuple(messages),
            request_id=self.arrival.request_id,
            notices=self.notices,
            replayed=self.is_replayed,
            # A cassette knows no budget.
            budget_limit=None if self.is_replayed else self.budget_limit,
        )
