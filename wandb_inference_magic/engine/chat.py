"""Run one chat: send a prompt, receive the reply, draw it while it streams, and record the turn.

Usually this is one call. It is several calls if the model calls tools, if an answer does not fit its schema and is
requested once more, or if the model does not accept a schema and is asked for JSON instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, count
from math import isfinite
from threading import Event
from typing import TYPE_CHECKING, Final

from ..errors import InferenceError, Interrupted, quoted
from ..messages import Turn
from ..rendering import format_tool_call, step_markdown
from ..replies import Listener, cleared_on_error
from ..spending import Reservation
from ..text import counted, json_or_none
from .call import ModelCall
from .relax import refuses_call
from .request import NOWHERE, prepare_request, trace_inputs

if TYPE_CHECKING:
    from ..concurrency import Interrupts
    from ..messages import Message, Origin, PreparedRequest, Reply, Thread, ToolCall, ToolStep
    from ..schemas import Toolbox
    from ..session import Command, Share, Trace
    from .spec import ChatSpec

MAX_ROUNDS: Final = 10
# Why the reply of a chat that failed is incomplete, by the error's cause.
INCOMPLETE: Final = {"answer": "not what was asked for", "budget": "stopped by the budget"}
CALL_AS_TEXT: Final = (
    "The reply has a call of a tool as text, so the tool did not run. The service does not read how this model calls "
    "tools: ask another model, or set that at the server (vLLM: --enable-auto-tool-choice and --tool-call-parser)."
)
CALL_IS_CUT: Final = "The call of a tool was cut at the token limit, so the tool did not run. Raise --max-tokens."
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# What a service says of a model that calls a tool where it must answer.
_CALLS_TOOL: Final = re.compile(r"\bcall(s|ed|ing)? (a |the )?(tool|function)\b", re.IGNORECASE)
RECORDED_BELOW: Final = (
    "The cassette has the requests of the cells below as they were after an earlier run of this cell: "
    "run the cells below again too."
)
UNFIT_REMEDY: Final = (
    "Its text is in {place}. Say in the prompt what you want, make the schema simpler, or ask another model."
)


def run_chat(
    command: Command,
    spec: ChatSpec,
    *,
    origin: Origin = NOWHERE,
    listener: Listener | None = None,
    after: Callable[[Reply], None] | None = None,
    share: Share | None = None,
    place: str = "`partial` of this error",
) -> Reply:
    """Send a prompt, draw its reply while it streams, record the turn and return the Reply.

    Parameters
    ----------
    command : Command
        Its client, settings and threads are used. The session's `last_reply` is set to the reply, complete or partial.
    spec : ChatSpec
        The prompt and how to send it.
    origin : Origin
        The running cell. A cell that is run again replaces its own turns.
    listener : Listener, optional
        Draws the reply; without one nothing is drawn.
    after : callable, optional
        Called with the complete reply before it is drawn for the last time.
    share : Share, optional
        That of a job, which waits for a service that fails. Then the reply does not become the session's last one.
    place : str
        Where the user finds a reply, if this raises.

    Raises
    ------
    InferenceError
        For any error. The thread is unchanged.
    Interrupted
        When the user interrupts. It says whether the turn is in the thread.
    """
    listener = listener or Listener()
    command.listener, command.origin = listener, origin
    with cleared_on_error(listener):
        request = prepare_request(command, spec, origin)
    with (
        command.deferred_interrupts(f"chat with {request.model}") as interrupts,
        Reservation(command.budget) as reservation,
    ):
        with cleared_on_error(listener):
            reservation.reserve(request)
        remedy = UNFIT_REMEDY.format(place=place)
        call = ModelCall(command, spec, request, reservation, remedy=remedy, share=share)
        run = _ChatRun(command, call, listener, interrupts, place, is_of_job=share is not None)
        reply = run.traced()
        if share is None:
            command.session.last_reply = reply
        _record(command, spec, request, reply, origin)
        thread = f" and in the thread {reply.thread}" if reply.thread else ""
        interrupts.late = Interrupted(f"The reply is complete: it is in {place}{thread}.", partial=reply)
        if after is not None:
            after(reply)
        listener.finish(reply)
    return reply


@dataclass(eq=False, slots=True)
class _ChatRun:
    """The state of one chat: its model call and the tools that ran."""

    command: Command
    call: ModelCall
    listener: Listener
    interrupts: Interrupts
    place: str
    is_of_job: bool
    steps: list[ToolStep] = field(default_factory=list)

    def traced(self) -> Reply:
        """Make all requests of the chat inside a trace and return their replies combined as one.

        If they fail or are interrupted, keep and draw the partial reply.
        """
        spec, request = self.call.spec, self.call.sent
        about = {"thread": spec.thread, "endpoint": request.endpoint.name}
        with self.command.traced("wbchat", trace_inputs(spec, request.model), about, self.interrupts) as trace:
            try:
                reply = self._answer()
            except KeyboardInterrupt:
                partial = self._keep_partial("interrupted", trace)
                place = f"The partial reply is in {self.place}"
                kept = place if _holds_something(partial) else "Nothing has arrived yet"
                raise Interrupted(f"{kept}; the thread is unchanged.", partial=partial) from None
            except InferenceError as error:
                error.partial = self._keep_partial(INCOMPLETE.get(error.cause, "the reply broke off"), trace)
                raise
            trace.record(reply)
            return reply

    def _answer(self) -> Reply:
        while True:
            self._converse()
            if self.call.take_answer(self.interrupts):
                return self._reply()
            self.listener.step("*The answer does not fit the schema: asking once more.*")

    def _reply(self, incomplete: str = "") -> Reply:
        """Return everything received so far as one Reply."""
        reply = self.call.reply(incomplete)
        reply.steps = tuple(self.steps)
        reply.notices = tuple(dict.fromkeys((*reply.notices, *(one for step in reply.steps for one in step.notices))))
        reply.parsed = self.call.value
        return reply

    def _keep_partial(self, incomplete: str, trace: Trace) -> Reply:
        """Keep, show and return the partial reply. If nothing has arrived, remove the status."""
        reply = self._reply(incomplete)
        trace.record(reply)
        if not _holds_something(reply):
            self.listener.discard()
            return reply
        if not self.is_of_job:
            self.command.session.last_reply = reply
        self.listener.finish(reply)
        return reply

    def _converse(self) -> None:
        """Call the model and the tools it requests until it answers."""
        last: Reply | None = None
        unread: set[tuple[str, str]] = set()
        for rounds in count(1):
            try:
                self._send()
            except InferenceError as error:
                calls = refuses_call(error) or (error.cause == "request" and _CALLS_TOOL.search(error.why))
                if last is not None and rounds > MAX_ROUNDS and calls:
                    raise _too_many_rounds(last, self.steps) from error
                raise
            last = self.call.built()
            tools = self.call.spec.tools
            # A call that the service has left in the reasoning leaves the text empty.
            if tools is not None and not last.tool_calls and tools.is_called_in(last.text.strip() or last.reasoning):
                self.call.builder.notice(CALL_AS_TEXT)
            # The arguments of a call that was cut are not what the model wanted.
            if tools is None or not last.tool_calls or self._is_cut(last):
                return
            if rounds > MAX_ROUNDS:
                raise _too_many_rounds(last, self.steps)
            before, unread = unread, _unreadable(last.tool_calls)
            if again := unread & before:
                raise _unreadable_again(sorted(again)[0], self.steps)
            called = _identified(last.tool_calls, self.call.sent.messages)
            steps = [self._run_tool(tools, call, "" if number else last.text) for number, call in enumerate(called)]
            asking = {**_asking(last, called, tools), **self.call.builder.reasoning_to_send_back}
            request = self.call.sent.followed_by(asking, *(step.message for step in steps))
            self.call.follow_with(_allowed_to_answer(request, must=rounds == MAX_ROUNDS))

    def _is_cut(self, reply: Reply) -> bool:
        """Return whether a reply with calls of tools was cut at a limit, whatever the service says of its end."""
        limits = [limit for limit in (self.call.sent.reply_limit, reply.budget_limit) if limit is not None]
        written = 0 if reply.usage is None or reply.usage_is_estimate else reply.usage.completion_tokens
        if limits and written >= min(limits) and any(map(_breaks_off, reply.tool_calls)):
            self.call.builder.finish_reason = "length"
        end = self.call.builder.finish_reason
        if end == "length" and not self.call.builder.is_cut_by_budget:
            self.call.builder.notice(CALL_IS_CUT)
        return end in ("length", "content_filter")

    def _send(self) -> None:
        """Send the current request, and once more if the service stops its reply because of a call of a tool."""
        try:
            self._send_once()
        except InferenceError as error:
            if not self.call.asks_again(error):
                raise
            self.listener.step("*The service could not read the call of a tool: asking once more.*")
            self._send_once()

    def _send_once(self) -> None:
        """Send the current request, and draw while its reply arrives."""
        progress, listener = self.call.progress, self.listener
        progress.begun = Event()
        listener.start(progress)
        self.command.session.loop.run(
            self.call.send(self.command.client()),
            meanwhile=listener.redraw,
            every=listener.interval,
            wake=progress.begun,
            interrupts=self.interrupts,
        )

    def _run_tool(self, tools: Toolbox, call: ToolCall, said: str) -> ToolStep:
        self.listener.doing(f"running {format_tool_call(call)}")
        with self.interrupts.allowed():
            step = replace(tools.run(call), said=said)
        self.steps.append(step)
        self.listener.step(step_markdown(step))
        return step


def _allowed_to_answer(request: PreparedRequest, *, must: bool) -> PreparedRequest:
    """Return a request with the results of tools. The user's `tool_choice` no longer forces a call of a tool.

    Parameters
    ----------
    request : PreparedRequest
    must : bool
        Whether the model must answer now.
    """
    extra = dict(request.body.get("extra_body", {}))
    choice = extra.get("tool_choice")
    if must or choice in ("required", "any") or (isinstance(choice, dict) and choice.get("type") == "function"):
        extra.pop("tool_choice", None)
    return request.with_body(extra_body=extra or None, tool_choice="none" if must else None)


def _identified(calls: Iterable[ToolCall], before: Iterable[Message]) -> list[ToolCall]:
    """Return tool calls with ids that are unique among the messages before. Some endpoints send none, or the same."""
    used = {call["id"] for message in before for call in message.get("tool_calls", ())}
    identified = []
    for call in calls:
        # Some chat templates take ids of 9 letters and digits only.
        ids = chain([call.id], (f"call{number:05}" for number in count(1)))
        identified.append(replace(call, id=next(one for one in ids if one and one not in used)))
        used.add(identified[-1].id)
    return identified


def _asking(reply: Reply, calls: list[ToolCall], tools: Toolbox) -> Message:
    """Return the model's message that requests the tool calls, in the form in which it is sent back."""
    return {
        "role": "assistant",
        "content": reply.text,
        "tool_calls": [
            {
                **call.extra,
                "id": call.id,
                "type": "function",
                "function": {"name": tools.name_of(call), "arguments": _as_object(call)},
            }
            for call in calls
        ],
    }


def _as_object(call: ToolCall) -> str:
    """Return a call's arguments as services take them back: a JSON object, an empty one if they are not one.

    JSON has no number that is not finite: such a number becomes a text.
    """
    texts: list[str] = []

    def as_text(number: str) -> str:
        texts.append(number)
        return number

    with suppress(ValueError, RecursionError):
        given = json.loads(
            call.arguments,
            parse_constant=as_text,
            parse_float=lambda number: float(number) if isfinite(float(number)) else as_text(number),
        )
        if isinstance(given, dict):
            return json.dumps(given) if texts else call.arguments
    return "{}"


def _breaks_off(call: ToolCall) -> bool:
    """Return whether the arguments of a call end before they are complete."""
    rest = _STRING.sub("", call.arguments)
    is_open = '"' in rest or sum(map(rest.count, "{[")) > sum(map(rest.count, "}]"))
    return is_open or not call.arguments.strip()


def _unreadable(calls: Iterable[ToolCall]) -> set[tuple[str, str]]:
    """Return the calls whose arguments are not JSON: the name, and the arguments unless they break off."""
    unread = [call for call in calls if call.arguments.strip() and json_or_none(call.arguments) is None]
    return {(call.name, "" if _breaks_off(call) else call.arguments) for call in unread}


def _unreadable_again(call: tuple[str, str], steps: Sequence[ToolStep]) -> InferenceError:
    """Return the error for a call of a tool that has come twice with arguments that cannot be read."""
    name, arguments = call
    answered = next((step.result for step in reversed(steps) if step.call.name == name and not step.ok), "")
    return InferenceError(
        f"The model called the tool {quoted(name)} twice with arguments that are not JSON.",
        why=f'The tool did not run. The model was answered: "{quoted(answered)}"',
        remedy="Ask another model." if arguments else "They break off: raise --max-tokens, or ask another model.",
        cause="answer",
    )


def _too_many_rounds(reply: Reply, steps: Sequence[ToolStep]) -> InferenceError:
    names = quoted(", ".join(call.name for call in reply.tool_calls))
    return InferenceError(
        f"The model asked for tools {MAX_ROUNDS + 1} times and did not answer.",
        why=f'The last tool it asked for was {names}. The last result that it got: "{quoted(steps[-1].result)}"',
        remedy="Say in the prompt when to stop, or ask another model.",
        cause="answer",
    )


def _record(command: Command, spec: ChatSpec, request: PreparedRequest, reply: Reply, origin: Origin) -> None:
    session, begins = command.session, spec.new or spec.fork is not None
    # Services refuse a history that contains an empty reply, or one of blanks.
    is_turn = bool(reply.text.strip())
    if spec.thread is None or not (is_turn or begins):
        return
    # The prompt as it was sent: values in it may have been cut.
    answer = replace(reply, messages=(), logprobs=())
    turn = Turn(request.messages[-1]["content"], reply.text, *origin, system=spec.system, answer=answer)
    with session.threads.recording:
        thread, parts = request.thread, session.threads.parts(spec.thread)
        if spec.fork is not None and (lost := _lost_turns(session.threads.get(spec.thread), thread, origin)):
            notice = f"The copy of {spec.fork} replaced {counted(lost, 'turn')} of {spec.thread}."
            reply.notices = (*reply.notices, notice)
        if begins:
            parts.begin(thread, origin)
        else:
            # Chats in other Python threads may have begun or continued the thread since this request was sent.
            thread, parts.exists = parts.continued(origin), True
        reply.notices = (*reply.notices, *recorded_below(command, thread, origin))
        if not is_turn:
            thread.system = (spec.system if spec.new else None) or thread.system
            return
        place = thread.place(*origin)
        if not (spec.system or thread.system_at(place)):
            turn = turn._replace(default_system=command.settings.system or None)
        reply.turn = thread.record(place, turn)
    reply.thread = spec.thread


def recorded_below(command: Command, thread: Thread, origin: Origin) -> list[str]:
    """Return the notice that a recording has cells below, in a thread that the running cell has changed."""
    is_any = command.cassette is not None and command.cassette.is_any_below(origin.cell, thread.cells)
    return [RECORDED_BELOW] if is_any else []


def _lost_turns(before: Thread | None, after: Thread, origin: Origin) -> int:
    """Return how many turns of other cells a thread had that the one in its place does not have."""
    if before is None:
        return 0
    kept = {(turn.prompt_text, turn.reply) for turn in after.turns}
    others = [turn for turn in before.turns if turn.cell is None or turn.cell != origin.cell]
    return sum((turn.prompt_text, turn.reply) not in kept for turn in others)


def _holds_something(reply: Reply) -> bool:
    return bool(reply.text or reply.reasoning or reply.steps or reply.tool_calls)
