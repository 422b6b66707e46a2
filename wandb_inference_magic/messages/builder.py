"""Builds a reply from the chunks received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..text import redacted, whole
from .reply import Reply, ToolCall, is_cut
from .tokens import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..catalog import Price
    from .reply import Message


@dataclass(slots=True)
class Timing:
    """The clock of a recorded exchange.

    `seconds` is the time from the request to the last chunk received so far. `replayed` is true if the exchange is
    read from a cassette, false if it is being recorded into one.
    """

    replayed: bool
    seconds: float = 0.0


@dataclass(slots=True)
class Arrival:
    """What is known about a reply besides its chunks: the endpoint's request id and a cassette's clock."""

    request_id: str | None = None
    timing: Timing | None = None


class ReplyBuilder:
    """Builds a reply from the chunks of a stream, or from one whole completion.

    Accepts what endpoints really send: `choices: []`, null content, usage in any chunk or in none,
    `reasoning` or the older `reasoning_content`, tool calls in pieces (service.md, 2026-10-07).
    `text_pieces` and `reasoning_pieces` only grow, so another thread can read them at the same time.
    The code that receives the chunks fills in `arrival`.
    """

    def __init__(self) -> None:
        self.started = perf_counter()
        self.first_at: float | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.usage_is_estimate = False
        # What the endpoint sent as token counts and is not valid.
        self.nonsense = ""
        self.notices: tuple[str, ...] = ()
        # The limit on the reply, in tokens, that a budget added to the request.
        self.budget_limit: int | None = None
        self.model = ""
        self.arrival = Arrival()
        self.text_pieces: list[str] = []
        self.reasoning_pieces: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._halves: dict[str, str] = {}

    @property
    def has_begun(self) -> bool:
        """Whether any text, reasoning or tool call has been received."""
        return self.first_at is not None

    @property
    def text(self) -> str:
        """The text received so far."""
        return self._joined("text", self.text_pieces)

    @property
    def seconds(self) -> float:
        """The seconds since `started`, by the clock of this reply."""
        return self.now() - self.started

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one chunk of a stream (`delta`) or a whole completion (`message`)."""
        self._read_usage(chunk.get("usage"))
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
            return
        choice = choices[0]
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason
        piece = choice.get("delta") or choice.get("message")
        if isinstance(piece, Mapping):
            self._add_piece(piece)

    def _read_usage(self, chunk: object) -> None:
        try:
            usage = Usage.read(chunk)
        except ValueError as nonsense:
            self.usage, self.nonsense = None, str(nonsense)
            return
        if usage is not None:
            self.usage, self.nonsense = usage, ""

    def estimated(self, usage: Usage) -> None:
        """Use an estimate instead of token counts that were not valid."""
        self.usage, self.usage_is_estimate = usage, True
        self.notice(f"The service reported nonsense token counts ({self.nonsense}); they are estimated instead.")

    def notice(self, words: str) -> None:
        """Add a notice for the reader. Do nothing if the text is empty."""
        if words:
            self.notices += (words,)

    @property
    def written(self) -> str:
        """All that the model has written: its reasoning, text and tool calls."""
        calls = (one for tool in self._tools.values() for one in (tool["name"], tool["arguments"]))
        return "".join((*self.reasoning_pieces, *self.text_pieces, *calls))

    @property
    def is_cut_by_budget(self) -> bool:
        """Whether the reply was cut by the limit that a budget added."""
        return is_cut(self.budget_limit, self.finish_reason, self.usage) and not self.is_replayed

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
        """Return a piece with whole characters only. The first half of a split character is kept for the next piece."""
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
        """Whether the reply comes from a cassette."""
        return self.arrival.timing is not None and self.arrival.timing.replayed

    def now(self) -> float:
        """Return the time by the clock of this reply (the cassette's, if there is one), comparable with `started`."""
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
        """Return what has been received so far as a Reply, with its cost at `price`."""
        cost = None
        if price is not None and self.usage is not None:
            used = self.usage
            cost = price.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)
        return Reply(
            text=self.text,
            reasoning=self._joined("reasoning", self.reasoning_pieces),
            tool_calls=tuple(ToolCall(**self._tools[index]) for index in sorted(self._tools)),
            asked_model=asked_model,
            # Redacted, because a service can send anything here and it is saved with the notebook.
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
            # A budget does not apply to a replayed reply.
            budget_limit=None if self.is_replayed else self.budget_limit,
        )
