"""The reply of a model, with its tool calls and tool steps."""

from __future__ import annotations

# Polars reads the annotations of a Reply in a column: their names must be known at run time.
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..errors import InferenceError, quoted, shortened, warn_user
from ..text import counted, duration, sum_or_none, without_surrogates
from . import display
from .content import Message  # noqa: TC001
from .extract import CodeBlock, code_blocks, to_records
from .to_pandas import data_frame
from .tokens import Usage, writing_seconds

# What the metadata of an output has of a reply as it is, and of its usage.
FACTS: Final = (
    *("model", "asked_model", "endpoint", "finish_reason", "incomplete", "request_id", "calls", "turn"),
    *("earlier_messages", "replayed"),
)
COUNTED: Final = ("prompt_tokens", "completion_tokens", "cached_tokens")
BUDGET_REMEDY: Final = "For a longer one set --max-tokens; the budget must cover it (%wbconfig --budget)."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call requested by the model: the tool's name and its arguments as the JSON text received.

    `extra` has its other fields. They are sent back with the tool's result.
    """

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One tool call that was run or refused: what the model requested and the result sent to it.

    Attributes
    ----------
    call : ToolCall
        The call requested by the model.
    result : str
        The text sent to the model.
    ok : bool
        Whether the tool finished without an error.
    seconds : float
        How long the call took.
    said : str
        What the model wrote before it requested this call and the calls that came with it.
    notices : tuple of str
        What the reader should know about the result, such as that it was cut.
    """

    call: ToolCall
    result: str
    ok: bool
    seconds: float
    said: str = ""
    notices: tuple[str, ...] = ()

    @property
    def message(self) -> Message:
        """The message that answers the call."""
        return {"role": "tool", "tool_call_id": self.call.id, "content": self.result}


@dataclass(eq=False)
class Reply:
    """A model's reply and what is known about it.

    Attributes
    ----------
    text : str
        The answer, as received.
    reasoning : str
        The model's reasoning before the answer; empty if the endpoint does not send it.
    tool_calls : tuple of ToolCall
        The tool calls requested by the model.
    asked_model, model : str
        The model requested, and the model that the endpoint says answered (for a LoRA it can be the base model).
    endpoint : str
        `wandb`, `local` (the practice model on this machine) or the URL.
    finish_reason : str or None
        `stop`, `length`, `tool_calls` or `content_filter`, whatever name the endpoint has for it; another one as
        received; None if the endpoint did not send it.
    incomplete : str
        Why the reply is incomplete (`interrupted`, `connection lost`); empty for a complete one.
    usage : Usage or None
        The tokens, or None if the endpoint did not count them.
    usage_is_estimate : bool
        Whether the tokens are estimated, because the endpoint's counts were not valid.
    cost : float or None
        The cost in USD: 0.0 for the practice model, None if the price or the usage is unknown.
    seconds, seconds_to_first : float, float or None
        The time from sending the request to the end, and to the first piece of reasoning, text or a tool call.
    seconds_thinking : float or None
        The time from the first piece of reasoning to the first piece of text, or None if it is not known.
    messages : tuple of dict
        The messages that were sent; those of the last call if there were several.
    calls : int
        How many calls were made, including tool rounds and a repair. Tokens, cost and seconds are their sums.
    steps : tuple of ToolStep
        The tool calls that were handled before the final answer.
    parsed : object
        The answer as an object, if `--schema` or `--format json` was given.
    sources : tuple of str
        The addresses of the sources that the service names, in its order: the first is [1] in the text.
    request_id : str or None
        The endpoint's id for the request.
    id : str or None
        The service's id for the reply, such as `chatcmpl-1`.
    thread, turn : str or None, int or None
        The thread of this reply and its turn there, counted from 1.
    earlier_messages : int
        How many earlier messages of the thread were sent too.
    notices : tuple of str
        What the reader should know, such as turns that were left out.
    replayed : bool
        Whether the reply comes from a cassette. Its times and cost are then those of the recording.
    trace : str
        The URL of the trace in Weave; empty if the reply was not traced.
    budget_limit : int or None
        The limit on the reply, in tokens, that a budget added to the request; None if it added none.
    refusal : str
        What the model said when it refused to answer; empty if it did not. It is the text as well.
    logprobs : tuple
        The log-probabilities of the tokens, as received; empty unless they were requested (`--param logprobs=true`).
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
    seconds_thinking: float | None = None
    messages: tuple[Message, ...] = ()
    calls: int = 1
    steps: tuple[ToolStep, ...] = ()
    parsed: Any = None
    sources: tuple[str, ...] = ()
    request_id: str | None = None
    id: str | None = None
    thread: str | None = None
    turn: int | None = None
    earlier_messages: int = 0
    notices: tuple[str, ...] = ()
    replayed: bool = False
    trace: str = ""
    budget_limit: int | None = None
    refusal: str = ""
    logprobs: tuple[Any, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)

    def __repr__(self) -> str:
        text = shortened(self.text, 60)
        tokens = counted(self.usage.completion_tokens, "token") if self.usage else "tokens not counted"
        state = f", {self.incomplete}" if self.incomplete else ""
        return f"<Reply {text!r} from {self.model}, {tokens}, {duration(self.seconds)}{state}>"

    def _ai_repr_(self) -> str:
        return self.text

    @property
    def code_blocks(self) -> tuple[CodeBlock, ...]:
        """The code blocks of the answer, each with its `language` and `text`."""
        return code_blocks(self.text)

    @property
    def is_cut_by_budget(self) -> bool:
        """Whether the reply was cut by the limit that a budget added."""
        return is_cut(self.budget_limit, self.finish_reason, self.usage)

    @property
    def tokens_per_second(self) -> float | None:
        """How fast the reply was written once it had begun, or None if its tokens were not counted."""
        if self.usage is None or not self.usage.completion_tokens or not self.seconds:
            return None
        return self.usage.completion_tokens / writing_seconds(self.seconds, self.seconds_to_first)

    def to_frame(self) -> Any:
        """Return the answer as a pandas DataFrame: its list of records, its first table, or its one record.

        An empty list gives a frame without rows. A heading that is repeated gets a number: `2023`, `2023.1`. An object
        that holds one list of records gives these. A warning names its other fields.

        Raises
        ------
        InferenceError
            If the answer has none of these, or pandas is not installed.
        """
        records = to_records(self.text, self.parsed)
        if records is None:
            raise InferenceError(
                "The answer holds no table and no list of records.",
                remedy='Ask for a table in the prompt, or use --schema "list of name, age int".',
                cause="answer",
            )
        frame = data_frame(records.rows, records.columns)
        notices = [f"The frame has no value where the field {one}." for one in records.failed]
        if records.left_out:
            names = ", ".join(map(quoted, records.left_out))
            notices.append(f"The frame has the list of records in the answer, without what is beside it: {names}.")
        warn_user(*notices, partial=frame)
        return frame

    def _ipython_display_(self) -> None:
        # On NotImplementedError IPython falls back to `_repr_mimebundle_`. If this returns, nothing is shown.
        if self not in display.on_screen:
            raise NotImplementedError

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> object:  # noqa: ARG002
        return display.renderer(self), {"wandb_inference": self.facts()}

    def facts(self) -> dict[str, Any]:
        """Return the metadata of this reply for an output: model, usage, cost, times, request id, thread and turn."""
        return {
            **{name: getattr(self, name) for name in FACTS},
            **{name: getattr(self.usage, name, None) for name in COUNTED},
            "cost_usd": self.cost,
            "seconds": round(self.seconds, 3),
            "seconds_to_first": None if self.seconds_to_first is None else round(self.seconds_to_first, 3),
            # A front end takes no message with half a character.
            "thread": None if self.thread is None else without_surrogates(self.thread),
        }


def is_cut(limit: int | None, finish_reason: str | None, usage: Usage | None) -> bool:
    """Return whether a reply was cut by the limit that a budget added."""
    # With fewer tokens than the limit, the model's context was full.
    return limit is not None and finish_reason == "length" and (usage is None or usage.completion_tokens >= limit)


def notices_below(reply: Reply, *notices: str) -> tuple[str, ...]:
    """Return the notices for the reader: those of the request (`notices`) and those of its reply."""
    cut = f"The budget's limit of {reply.budget_limit or 0:,} tokens cut this reply. {BUDGET_REMEDY}"
    cuts = (cut,) if reply.is_cut_by_budget else ()
    return tuple(dict.fromkeys((*notices, *reply.notices, *cuts)))


def added_up(replies: Sequence[Reply]) -> Reply:
    """Return the replies of several calls as one: the answer of the last, and the tokens, cost and seconds of all.

    The token sum covers the calls whose tokens were counted. The cost is None if the cost of one call is unknown.
    """
    last = replies[-1]
    if len(replies) == 1:
        return last
    counted = [reply.usage for reply in replies if reply.usage]
    return replace(
        last,
        reasoning="\n\n".join(reply.reasoning for reply in replies if reply.reasoning),
        usage=sum(counted[1:], counted[0]) if counted else None,
        usage_is_estimate=any(reply.usage_is_estimate for reply in replies),
        notices=tuple(dict.fromkeys(notice for reply in replies for notice in reply.notices)),
        cost=sum_or_none([reply.cost for reply in replies]),
        seconds=sum(reply.seconds for reply in replies),
        seconds_to_first=replies[0].seconds_to_first,
        seconds_thinking=sum(reply.seconds_thinking or 0.0 for reply in replies) or None,
        calls=len(replies),
        replayed=all(reply.replayed for reply in replies),
    )
