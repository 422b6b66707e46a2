"""Run one chat: send a prompt, receive the reply, draw it while it streams, and record the turn.

Usually this is one call. It is several calls if the model calls tools, if an answer does not fit its schema and is
requested once more, or if the model does not accept a schema and is asked for JSON instead.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ..client import FailureContext, pause, stream_chat, to_inference_error, wait
from ..errors import InferenceError, Interrupted, quoted
from ..messages import NullListener, ReplyBuilder, Turn, added_up, notices_below, read_json
from ..rendering import format_tool_call, step_markdown
from ..schemas import Mismatch
from ..session import budget, traced
from .relax import does_not_fit, may_be_corrected, relax_response_format, repair_request
from .request import NOWHERE, prepare_request, trace_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..client import Client
    from ..messages import Listener, Message, Origin, PreparedRequest, Reply, ToolCall, ToolStep
    from ..session import Session, Trace
    from .request import ChatSpec

MOST_ROUNDS: Final = 10
UNFIT_REMEDY: Final = (
    "Its text is in _wbreply. Say in the prompt what is wanted, make the schema simpler, or ask another model."
)


def run_chat(
    session: Session,
    ask: ChatSpec,
    *,
    origin: Origin = NOWHERE,
    listener: Listener | None = None,
    after: Callable[[Reply], None] | None = None,
) -> Reply:
    """Send a prompt, draw its reply while it streams, record the turn and return the Reply.

    Parameters
    ----------
    session : Session
        Its client, settings and threads are used. Its `last_reply` is set to the reply, complete or partial.
    ask : ChatSpec
        The prompt and how to send it.
    origin : Origin
        The running cell. A cell that is run again replaces its own turns.
    listener : Listener, optional
        Draws the reply; without one nothing is drawn.
    after : callable, optional
        Called with the complete reply before it is drawn for the last time.

    Raises
    ------
    InferenceError
        For any error. The thread is unchanged.
    Interrupted
        When the user interrupts. The thread is unchanged.
    """
    listener = listener or NullListener()
    request = prepare_request(session, ask, origin)
    about = {"thread": ask.thread, "endpoint": request.endpoint.name}
    with budget.Reservation(session) as hold:
        hold.reserve(request)
        with traced(session.tracer(), "wbchat", trace_inputs(ask, request.model), about, listener) as trace:
            # The chat's clock starts after the connection to Weave is made.
            course = _ChatRun(session, ask, request, hold)
            reply = _run(session, course, listener, trace)
    session.last_reply = reply
    _record(session, ask, course.request, reply, origin)
    if after is not None:
        after(reply)
    listener.finish(reply)
    return reply


def _run(session: Session, course: _ChatRun, listener: Listener, trace: Trace) -> Reply:
    """Run the chat and return its Reply. If it fails or is interrupted, keep and draw the partial reply."""
    try:
        with listener:
            reply = course.run(listener)
    except KeyboardInterrupt:
        partial = course.reply("interrupted")
        trace.came(partial)
        _keep_partial(session, partial, listener)
        kept = "The partial reply is in _wbreply" if _holds_something(partial) else "Nothing has arrived yet"
        raise Interrupted(f"{kept}; the thread is unchanged.") from None
    except InferenceError as error:
        partial = course.reply("not what was asked for" if error.cause == "answer" else "the reply broke off")
        trace.came(partial)
        _keep_partial(session, partial, listener)
        raise
    trace.came(reply)
    return reply


class _ChatRun:
    """The state of one chat: the calls that ended, the tools that ran and the current call."""

    def __init__(self, session: Session, ask: ChatSpec, request: PreparedRequest, hold: budget.Reservation) -> None:
        self.request = request
        self._session = session
        self._ask = ask
        self._hold = hold
        self._sent = request
        self._builder = ReplyBuilder()
        self._ended: list[Reply] = []
        self._steps: list[ToolStep] = []

    def run(self, listener: Listener) -> Reply:
        """Make all calls of the chat and return them combined as one Reply."""
        self._converse(listener)
        if self._ask.schema is not None:
            # Done before the Reply is built, because it may need another call.
            parsed = self._fitting(listener)
        else:
            parsed = read_json(self._built().text) if self._ask.json else None
        return self.reply(parsed=parsed)

    def reply(self, incomplete: str = "", parsed: Any = None) -> Reply:
        """Return everything received so far as one Reply."""
        last = self._built(incomplete)
        reply = added_up([*self._ended, last])
        reply.steps = tuple(self._steps)
        reply.notices = notices_below(reply, *self._sent.notices)
        reply.earlier_messages = self.request.earlier
        reply.parsed = parsed
        return reply

    def _built(self, incomplete: str = "") -> Reply:
        return self._builder.build(
            asked_model=self._sent.model,
            endpoint=self._sent.endpoint.name,
            price=self._sent.price,
            messages=self._sent.messages,
            incomplete=incomplete,
        )

    def _converse(self, listener: Listener) -> None:
        """Call the model and the tools it requests until it answers."""
        for rounds in count(1):
            self._call(listener)
            last = self._built()
            tools = self._ask.tools
            if tools is None or not last.tool_calls:
                return
            if rounds > MOST_ROUNDS:
                raise _too_many_rounds(last)
            called = [_identified(call, f"{rounds}-{number}") for number, call in enumerate(last.tool_calls)]
            steps = [self._run_tool(call, listener, "" if number else last.text) for number, call in enumerate(called)]
            request = self._sent.followed_by(_asking(last, called), *(step.message for step in steps))
            # In the last round the model must answer.
            self._begin(request.with_body(tool_choice="none") if rounds == MOST_ROUNDS else request, after=last)

    def _run_tool(self, call: ToolCall, listener: Listener, said: str) -> ToolStep:
        assert self._ask.tools is not None
        listener.doing(f"running {format_tool_call(call)}")
        step = replace(self._ask.tools.run(call), said=said)
        self._steps.append(step)
        listener.step(step_markdown(step))
        return step

    def _begin(self, request: PreparedRequest, *, after: Reply) -> None:
        """Store the reply of the call that ended (`after`) and start the next call."""
        self._hold.reserve(request)
        self._ended.append(after)
        self._sent = request
        self._builder = ReplyBuilder()

    def _call(self, listener: Listener) -> None:
        """Make one call. If the model refuses the response format, relax it: from a schema to JSON, then to none."""
        while True:
            try:
                self._receive(listener)
            except InferenceError as error:
                easier = relax_response_format(self._sent, self._ask.schema, error)
                if easier is None or self._builder.has_begun:
                    raise
                self._sent = easier
            else:
                return

    def _fitting(self, listener: Listener) -> Any:
        """Return the answer as the value that the schema describes. Request it once more if it does not fit."""
        schema = self._ask.schema
        assert schema is not None
        first = self._built()
        try:
            return schema.read(first.text)
        except Mismatch as mismatch:
            if not self._ask.repair or not may_be_corrected(first):
                raise does_not_fit(mismatch, first, remedy=UNFIT_REMEDY) from None
            request = repair_request(self._sent, schema, first.text, mismatch)
        listener.step("*The answer does not fit the schema: asking once more.*")
        self._begin(request, after=first)
        self._call(listener)
        try:
            return schema.read(self._built().text)
        except Mismatch as mismatch:
            raise does_not_fit(mismatch, self._built(), remedy=UNFIT_REMEDY) from None

    def _receive(self, listener: Listener) -> None:
        """Receive the reply. Retry if that is useful and none of the reply has arrived yet."""
        session, request = self._session, self._sent
        most = session.resolve().max_retries
        listener.start(self._builder, request.model)
        for tries in count(1):
            try:
                self._receive_once(session.connection(request.endpoint), listener)
            except Exception as failure:
                known = session.models.known(request.endpoint)
                error = to_inference_error(failure, FailureContext(request.endpoint, request.model, known))
                seconds = None if self._builder.has_begun else pause(error, tries, most)
                if seconds is None:
                    raise _with_tries(error, tries) from failure
                listener.pause(f"{error.what} Trying again ({tries} of {most})", seconds)
                wait(seconds)
            else:
                return

    def _receive_once(self, client: Client, listener: Listener) -> None:
        builder, hold = self._builder, self._hold
        hold.reserve(self._sent)
        builder.budget_limit = hold.limit
        chunks = stream_chat(
            client, self._sent.body, stream=self._ask.stream, arrival=builder.arrival, limit=hold.limit
        )
        # Closing the chunks closes the connection, also when the user interrupts.
        with self._session.usage.counting(self._sent, builder, hold.settle), closing(chunks):
            for chunk in chunks:
                builder.add(chunk)
                listener.notice()


def _identified(call: ToolCall, place: str) -> ToolCall:
    """Return a tool call that has an id. Some endpoints send none, and the tool's answer must name one."""
    return call if call.id else type(call)(f"call-{place}", call.name, call.arguments)


def _asking(reply: Reply, calls: list[ToolCall]) -> Message:
    """Return the model's message that requests the tool calls, in the form in which it is sent back."""
    return {
        "role": "assistant",
        "content": reply.text,
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _as_object(call)}}
            for call in calls
        ],
    }


def _as_object(call: ToolCall) -> str:
    """Return a call's arguments, or an empty object if they are not a JSON object: services refuse those."""
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    return call.arguments if is_object else "{}"


def _too_many_rounds(reply: Reply) -> InferenceError:
    return InferenceError(
        f"The model asked for tools {MOST_ROUNDS + 1} times and did not answer.",
        why=f"The last it asked for was {quoted(', '.join(call.name for call in reply.tool_calls))}.",
        remedy="Say in the prompt when to stop, or ask another model.",
        cause="answer",
    )


def _with_tries(error: InferenceError, tries: int) -> InferenceError:
    if tries > 1:
        error.why = f"{error.why} It was tried {tries} times.".strip()
    return error


def _record(session: Session, ask: ChatSpec, request: PreparedRequest, reply: Reply, origin: Origin) -> None:
    # Services refuse a history that contains an empty reply.
    if ask.thread is None or not reply.text:
        return
    turn = Turn(ask.prompt, reply.text, *origin, system=ask.system)
    with session.recording:
        # Chats in other Python threads may have started or continued the thread since this request was sent.
        begins = ask.new or ask.fork is not None
        thread = request.thread if begins else session.threads.get(ask.thread, request.thread)
        thread.name = ask.thread
        session.threads[ask.thread] = thread
        reply.turn = thread.record(thread.place(*origin), turn)
    reply.thread = ask.thread


def _holds_something(reply: Reply) -> bool:
    return bool(reply.text or reply.reasoning or reply.steps)


def _keep_partial(session: Session, reply: Reply, listener: Listener) -> None:
    """Keep and show the partial reply. If nothing has arrived, remove the status."""
    if not _holds_something(reply):
        listener.discard()
        return
    session.last_reply = reply
    listener.finish(reply)
