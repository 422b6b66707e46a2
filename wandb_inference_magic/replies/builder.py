"""Builds a reply from the chunks received."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import quoted, shortened
from ..messages import Reply, Usage, is_cut
from ..text import redacted, redacted_value, safe_plain, without_surrogates
from .endings import CUTS, ENDS, finish_in, finish_meaning
from .forms import (
    adds,
    delta_of,
    first_choice,
    is_known_object,
    plain_text,
    read_calls,
    read_texts,
    sources_in,
    unknown_fields,
    usage_in,
)
from .sent_back import SentBack
from .think_tags import BLANK, ThinkTags, begins_tag
from .tool_calls import ToolCallBuilder

if TYPE_CHECKING:
    from ..catalog import Price
    from ..messages import Message, ToolCall
    from .forms import TextKind
    from .think_tags import TaggedText

# How many unknown parts of a reply are reported.
MAX_UNKNOWN_FIELDS: Final = 3
# The characters from which a last piece that equals all before it is taken for a repetition.
LONG_ENOUGH: Final = 40
# A model that thinks does so for longer.
MIN_SECONDS: Final = 0.05
_NO_CALL: Final = "The reply ends with a call of a tool, but it has none in a form that can be read."
_UNKNOWN_END: Final = "The service ended the reply with {!r}, whose meaning is not known: the reply may not be whole."


@dataclass(slots=True)
class Timing:
    """The clock of a recorded exchange.

    `seconds` is the time from the request to the last chunk received so far. `replayed` is true if the exchange is
    read from a cassette, false if it is being recorded into one. `failure` says why it could not be recorded.
    """

    replayed: bool
    seconds: float = 0.0
    failure: str = ""


class ReplyBuilder:
    """Builds a reply from the chunks of a stream, or from one whole completion, in any form in `forms.py`.

    `text_pieces` and `reasoning_pieces` only grow, so another thread can read them at the same time. If the text so far
    turns out to be reasoning, `text_pieces` becomes another list.
    The code that receives the chunks fills in `request_id` and `timing`.
    """

    def __init__(self) -> None:
        self.started = perf_counter()
        self.first_at: float | None = None
        # When the reasoning began, and the text after it.
        self._thinks_from: float | None = None
        self._thinks_to: float | None = None
        self.finish_reason: str | None = None
        # How much was written when the service cut the reply.
        self._cut_at: int | None = None
        self.usage: Usage | None = None
        self.usage_is_estimate = False
        # What the endpoint sent as token counts and is not valid.
        self.invalid_usage = ""
        self.notices: tuple[str, ...] = ()
        # The limit on the reply, in tokens, that a budget added to the request.
        self.budget_limit: int | None = None
        # The keys that a service which repeats its request could show.
        self.secrets: tuple[str, ...] = ()
        self.model = ""
        # The service's ids of the request and of the completion.
        self.request_id: str | None = None
        self.id: str | None = None
        # The clock of a cassette.
        self.timing: Timing | None = None
        self.is_requested_streamed = False
        self.text_pieces: list[str] = []
        self.reasoning_pieces: list[str] = []
        self.refusal = ""
        # The notices about parts that are not shown, by the kind of part.
        self._unknown: dict[str, str] = {}
        # The fields of unknown names in a delta before anything was read.
        self._unread: dict[str, Any] = {}
        self.logprobs: list[Any] = []
        self._tags = ThinkTags(self.text_pieces)
        self._tools = ToolCallBuilder()
        self._halves: dict[str, str] = {}
        self._sent_back = SentBack()
        # Whether content that is marked as a thought is between tags too, and may have the answer after them.
        self._has_tagged_thoughts: bool | None = None
        # The content as it came, with its tags, and the parts of a content that are reasoning.
        self._content: list[str] = []
        self._content_chars = 0
        # A piece that is all of the content once more, until what follows shows whether it is the last one.
        self._again = ""
        # In their order, each once.
        self._sources: dict[str, None] = {}

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools so far."""
        return self._tools.calls

    @property
    def has_begun(self) -> bool:
        """Whether any text, reasoning or tool call has been received."""
        return self.first_at is not None

    @property
    def text(self) -> str:
        """The text received so far, without reasoning. If the model refused, its words."""
        text = self._joined("text", self.text_pieces)
        text = text.strip(BLANK) if self._tags.has_found else text
        return text or self._without_keys(self.refusal)

    @property
    def reasoning(self) -> str:
        """The reasoning received so far."""
        reasoning = self._joined("reasoning", self.reasoning_pieces)
        if not self._tags.has_found:
            return reasoning
        # Some services send the same reasoning in a field and between tags.
        of_fields = self._sent_back.text_of_fields
        is_double = bool(of_fields) and reasoning.strip().removeprefix(of_fields).strip() == of_fields
        return of_fields if is_double else reasoning.strip()

    @property
    def seconds_thinking(self) -> float | None:
        """The seconds from the first piece of reasoning to the first piece of text or the end, or None if unknown."""
        if self._thinks_from is None:
            return None
        end = self.now() if self._thinks_to is None else self._thinks_to
        # A reply that came in one piece does not say.
        return end - self._thinks_from if end - self._thinks_from > MIN_SECONDS else None

    @property
    def seconds(self) -> float:
        """The seconds since `started`, by the clock of this reply."""
        return self.now() - self.started

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one chunk of a stream (`delta`) or a whole completion (`message`)."""
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        if isinstance(own := chunk.get("id"), str) and own:
            self.id = own
        if (text := plain_text(chunk)) is not None:
            self._add_part("text", text, "content")
            return
        self._read_usage(usage_in(chunk))
        if (choice := first_choice(chunk)) is not None:
            self._add_choice(choice, chunk)
        elif not is_known_object(chunk):
            self._not_shown(chunk)

    def _add_choice(self, choice: Mapping[str, Any], chunk: Mapping[str, Any]) -> None:
        self._add_logprobs(choice.get("logprobs"))
        delta = delta_of(choice)
        if self.has_begun and "message" in choice and not adds(choice):
            delta = {} if self._repeats(delta) else self._without_text_so_far(delta)
        for kind, value, name in read_texts(delta):
            self._add_part(kind, value, name)
        for source in sources_in(chunk, delta):
            self._sources[source] = None
        self._sent_back.add(delta)
        for position, part in enumerate(read_calls(delta)):
            self._mark_first()
            self._tools.add(part, position)
        if not self.has_begun and not self._unread:
            self._unread = unknown_fields(choice, delta)
        if (reason := finish_meaning(finish_in(choice))) is not None:
            self._end(reason)

    def _end(self, reason: str) -> None:
        """Take a `finish_reason`. One of success does not undo a cut, unless more of the reply came in between."""
        if reason in CUTS:
            self._cut_at = len(self.written)
        elif reason in ENDS and self._cut_at is not None:
            if self._cut_at == len(self.written):
                return
            self._cut_at = None
        self.finish_reason = reason

    def _read_usage(self, chunk: object) -> None:
        try:
            usage = Usage.read(chunk)
        except ValueError as invalid_usage:
            # Counts of an earlier chunk stay.
            self.invalid_usage = "" if self.usage else str(invalid_usage)
            return
        if usage is not None:
            # Some services send the counts in two parts, or zeros after them.
            self.usage, self.invalid_usage = usage.over(self.usage), ""

    def estimated(self, usage: Usage) -> None:
        """Use an estimate instead of token counts that were not valid."""
        zero = "text" if self.usage and self.usage.prompt_tokens else "prompt"
        unusable = self.invalid_usage or f"0 tokens for this {zero}"
        self.usage, self.usage_is_estimate = usage, True
        self.notice(f"The service reported unusable token counts ({unusable}); they are estimated instead.")

    def notice(self, text: str) -> None:
        """Add a notice for the reader. Do nothing if the text is empty."""
        if text:
            self.notices += (text,)

    @property
    def written(self) -> str:
        """All that the model has written: its reasoning, text and tool calls."""
        calls = (one for call in self._tools.calls for one in (call.name, call.arguments))
        return "".join((*self.reasoning_pieces, *self.text_pieces, self._tags.held[1], self.refusal, *calls))

    @property
    def is_miscounted(self) -> bool:
        """Whether the endpoint counted 0 tokens for the prompt, or for what the model has written.

        Some services count so with each chunk, and send the real counts at the end, which may never come.
        """
        if self.usage is None or not self.has_begun:
            return False
        return not self.usage.prompt_tokens or not (self.usage.completion_tokens or not self.written)

    @property
    def is_cut_by_budget(self) -> bool:
        """Whether the reply was cut by the limit that a budget added."""
        return is_cut(self.budget_limit, self.finish_reason, self.usage) and not self.is_replayed

    def _repeats(self, message: Mapping[str, Any]) -> bool:
        """Return whether a message repeats what has been streamed."""
        content = message.get("content")
        if content:
            return isinstance(content, str) and content.strip() == self.text.strip()
        return bool(message.get("tool_calls") and self._tools.calls)

    def _without_text_so_far(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a message adds to the text so far: some services send all of it with each chunk."""
        content = message.get("content")
        if not isinstance(content, str) or not self.text or not content.startswith(self.text):
            return message
        return {**message, "content": content.removeprefix(self.text)}

    def _add_part(self, kind: TextKind, value: Any, name: str) -> None:
        if kind == "unknown":
            self._not_shown(value)
            return
        if not value:
            return
        self._mark_first()
        if kind == "refusal":
            self.refusal += without_surrogates(value)
        elif kind == "reasoning" and not (name == "thought" and self._are_tagged(value)):
            self._sent_back.add_text(name, value)
            self._add_text("reasoning", value)
        else:
            self._add_again()
            if self._is_all_again(value):
                self._again = value
            else:
                self._add_content(value)

    def _add_content(self, text: str) -> None:
        self._content.append(text)
        self._content_chars += len(text)
        self._add_tagged(self._tags.feed(text))

    def _is_all_again(self, text: str) -> bool:
        """Return whether a piece is all of the content once more. A short text can end as it began."""
        is_as_long = len(text) == self._content_chars >= LONG_ENOUGH
        return is_as_long and len(self._content) > 1 and text == "".join(self._content)

    def _add_again(self) -> None:
        """Add the piece that was held back: it is not the end of a whole reply."""
        if self._again:
            again, self._again = self._again, ""
            self._add_content(again)

    def _add_tagged(self, parts: Iterable[TaggedText]) -> None:
        for part, text in parts:
            if part == "restart":
                self._restart()
            else:
                self._add_text(part, text)

    def _are_tagged(self, thought: str) -> bool:
        """Return whether the tags tell what is a thought in content that is marked as one.

        They do if the first piece begins with one. After its block has ended, the mark does, unless another begins.
        """
        if self._has_tagged_thoughts is None and thought.strip():
            self._has_tagged_thoughts = begins_tag(thought.lstrip())
        return bool(self._has_tagged_thoughts) and (self._tags.is_within or begins_tag(thought.lstrip()))

    def _add_text(self, kind: Literal["text", "reasoning"], text: str) -> None:
        if kind == "reasoning":
            self._thinks_from = self.now() if self._thinks_from is None else self._thinks_from
        elif self._thinks_to is None and text.strip():
            self._thinks_to = self.now()
        pieces = self.text_pieces if kind == "text" else self.reasoning_pieces
        pieces.append(self._whole(kind, text))

    def _restart(self) -> None:
        """Take all text so far as reasoning: the end of a block was received that had no beginning."""
        self.reasoning_pieces.extend(self.text_pieces)
        self._thinks_from, self._thinks_to = self.first_at, None
        self.text_pieces = []
        self._tags.written = self.text_pieces

    def _add_logprobs(self, logprobs: object) -> None:
        """Add the logprobs of a choice: a list of tokens, or the lists of older completions."""
        if not isinstance(logprobs, Mapping):
            return
        tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if isinstance(content := logprobs.get("content"), list):
            self.logprobs.extend(content)
        elif isinstance(tokens, list) and isinstance(values, list):
            self.logprobs.extend({"token": one, "logprob": value} for one, value in zip(tokens, values, strict=False))

    def _not_shown(self, value: object) -> None:
        """Report a part of unknown form, once for each kind of part."""
        kind = str(value.get("type") or next(iter(value), "")) if isinstance(value, Mapping) else type(value).__name__
        if len(self._unknown) < MAX_UNKNOWN_FIELDS and kind not in self._unknown:
            self._unknown[kind] = f"A part of the reply is of an unknown form and is not shown: {_beginning(value)}"

    @property
    def reports(self) -> tuple[str, ...]:
        """The notices about the answer itself, wherever it is shown: what may be missing of it."""
        end, not_shown = self.finish_reason, tuple(self._unknown.values())
        if self._unread and not self.has_begun and not not_shown:
            # There is nothing else: the answer may be in it.
            not_shown = (f"The reply has fields of unknown names, which are not shown: {_beginning(self._unread)}",)
        if end == "tool_calls" and not self._tools.calls:
            return (*not_shown, _NO_CALL)
        if end is None or end in ENDS:
            return not_shown
        return (*not_shown, _UNKNOWN_END.format(shortened(without_surrogates(end))))

    @property
    def reasoning_to_send_back(self) -> Message:
        """The reasoning in the form in which it came. Some models need it back with the results of their tools."""
        message = self._sent_back.message(self.text)
        is_tagged = not message and self._tags.has_found and bool(self.reasoning)
        return {"content": without_surrogates("".join(self._content))} if is_tagged else message

    def _whole(self, kind: str, piece: str) -> str:
        """Return a piece with whole characters only. The first half of a split character is kept for the next piece."""
        piece = self._halves.pop(kind, "") + piece
        if "\ud800" <= piece[-1] <= "\udbff":
            self._halves[kind], piece = piece[-1], piece[:-1]
        return without_surrogates(piece)

    def _joined(self, kind: str, pieces: Sequence[str]) -> str:
        held_kind, held = self._tags.held
        text = "".join(pieces) + without_surrogates(self._halves.get(kind, "") + (held if held_kind == kind else ""))
        return self._without_keys(text)

    def _without_keys(self, text: str) -> str:
        return str(redacted_value(text, self.secrets)) if self.secrets else text

    def _mark_first(self) -> None:
        if self.first_at is None:
            self.first_at = self.now()

    @property
    def is_replayed(self) -> bool:
        """Whether the reply comes from a cassette."""
        return self.timing is not None and self.timing.replayed

    def now(self) -> float:
        """Return the time by the clock of this reply (the cassette's, if there is one), comparable with `started`."""
        return perf_counter() if self.timing is None else self.started + self.timing.seconds

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
        if self.finish_reason is None:
            self._add_again()
        else:
            self._add_tagged(self._tags.end())
        not_recorded = self.timing.failure if self.timing else ""
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            refusal=self._without_keys(self.refusal),
            tool_calls=self.calls,
            logprobs=tuple(self.logprobs),
            asked_model=asked_model,
            # Redacted, because a service can send anything here and it is saved with the notebook.
            model=" ".join(safe_plain(redacted(self.model)).split())
            if self.model not in ("", asked_model)
            else asked_model,
            endpoint=endpoint,
            finish_reason=None if self.finish_reason is None else without_surrogates(self.finish_reason),
            incomplete=incomplete,
            usage=self.usage,
            usage_is_estimate=self.usage_is_estimate,
            cost=None if price is None or self.usage is None else self.usage.cost(price),
            seconds=self.seconds,
            seconds_to_first=None if self.first_at is None else self.first_at - self.started,
            seconds_thinking=self.seconds_thinking,
            messages=tuple(messages),
            sources=tuple(self._without_keys(without_surrogates(one)) for one in self._sources),
            request_id=self.request_id,
            id=None if self.id is None else without_surrogates(self.id),
            notices=(*self.notices, *self.reports, *([f"Not recorded: {not_recorded}"] if not_recorded else [])),
            replayed=self.is_replayed,
            # A budget does not apply to a replayed reply.
            budget_limit=None if self.is_replayed else self.budget_limit,
        )


def _beginning(value: object) -> str:
    """Return the beginning of a JSON value, for a notice."""
    return quoted(json.dumps(value, ensure_ascii=False, default=repr))
