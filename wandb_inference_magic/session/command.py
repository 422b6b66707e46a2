"""One command: the settings, the cassette and the endpoint, resolved once and handed along."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any

from ..client import ClientOptions, practice_server
from ..concurrency import can_wait, deferred_interrupts
from ..errors import InferenceError
from ..libraries import check_libraries, unexpected_failure
from ..replies import Listener
from ..spending import Budget
from .endpoints import EndpointResolver
from .jobs import JobEntry
from .session import hide_own_logs
from .spans import open_telemetry, span
from .tracing import Trace

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from ..cassettes import Cassette, CassetteRecorder
    from ..concurrency import Clock, EventLoop, Interrupts
    from ..config import Endpoint
    from ..messages import PreparedRequest
    from .session import Session
    from .tracing import ObservedCall, Tracer


class Command:
    """What one magic, or one function of the Python API, works with.

    Everything is resolved at most once, on first use, so that a command never sees two values of a setting.

    Parameters
    ----------
    session : Session
    dry : bool
        Whether no prompt will be sent. Then the user is asked for no key, and the practice model is not started.
    uses_cassette : bool
        Whether the cassette of the settings is used. Without it, requests go to the endpoint.

    Raises
    ------
    InferenceError
        When a file of the user hides a library that every call needs, unless the command is dry.

    Attributes
    ----------
    settings : Resolved
    cancelled : Event
        Set by another thread to end the command as an interrupt does.
    listener : Listener
        Shows what is waited for, for example that the practice model starts.
    is_listed : bool
        Whether the list of jobs has this command, so that the user can end it there.
    origin : Origin
        The running cell, as far as it is known: a recording needs it if the cell is run again.
    show_stop_button : callable, optional
        Takes this command as a job, and shows a button that ends it inside a `with` block.
    """

    def __init__(self, session: Session, *, dry: bool = False, uses_cassette: bool = True) -> None:
        self.session = session
        self.dry = dry
        self.listener = Listener()
        self.cancelled = Event()
        self.is_listed = False
        self.origin = session.origin()
        self.show_stop_button: Callable[[JobEntry], AbstractContextManager[None]] | None = None
        self._interrupts: Interrupts | None = None
        self._uses_cassette = uses_cassette
        # The op of this command in Weave, while it is traced.
        self._op: tuple[Tracer, Any] | None = None
        if not dry:
            check_libraries()
        session.keys.refresh()
        session.follow_parent()
        self.settings = session.settings.resolve()

    def without_defaults(self) -> Command:
        """Return a copy for prompts of our own: without the settings system, temperature and max_tokens."""
        other = copy(self)
        other.settings = replace(self.settings, system="", temperature=None, max_tokens=None)
        return other

    @property
    def loop(self) -> EventLoop:
        """The event loop on which requests run."""
        return self.session.loop

    @property
    def clock(self) -> Clock:
        """The clock by which requests wait."""
        return self.session.clock

    @cached_property
    def cassette(self) -> Cassette | None:
        """The cassette in use.

        Raises
        ------
        InferenceError
            When it cannot be used.
        """
        return self.session.cassettes.get(self.settings) if self._uses_cassette else None

    @cached_property
    def endpoint(self) -> Endpoint:
        """The endpoint. Raises InferenceError as `EndpointResolver.resolve` does."""
        keys, start = self.session.keys, self._start_practice_model
        return EndpointResolver(self.settings, keys, self.cassette, self.dry, start).resolve()

    def _start_practice_model(self, weights: Path | None) -> practice_server.PracticeModel:
        with self.listener.waiting("starting the practice model") as redraw:
            return self.session.loop.call(lambda: practice_server.start(weights), meanwhile=redraw)

    @cached_property
    def model(self) -> str:
        """The model that a chat uses if it names none. Raises InferenceError if the user must choose one."""
        if self.settings.model:
            return self.model_id(self.settings.model)
        return self.session.models.default(self)

    def model_id(self, name: str) -> str:
        """Return the id of a model that the user has named, at W&B's endpoint also without its maker: `gpt-oss-20b`.

        With a cassette the name is the id, so that a replay does not depend on which models there are.

        Raises
        ------
        InferenceError
            With the ids that contain the name, if it is not the name of exactly one.
        """
        if self.cassette is not None or not self.endpoint.is_wandb:
            return name
        return self.session.models.full_id(name, self)

    def model_ids(self, names: Iterable[str]) -> list[str]:
        """Return the ids of the models that the user has named, each once. Raises InferenceError as `model_id` does."""
        return list(dict.fromkeys(map(self.model_id, names)))

    @property
    def model_or_none(self) -> str | None:
        """The model that a chat uses if it names none, or None if the user must choose one first."""
        try:
            return self.model
        except InferenceError:
            return None

    @cached_property
    def budget(self) -> Budget:
        """The budget that calls of this command are checked against."""
        settings = self.settings
        shared = self.session.spending(settings.budget_file) if settings.budget_file else None
        limit = None if self.costs_nothing else settings.budget
        if limit is not None and shared is None and self.session.process != os.getpid():
            raise InferenceError(
                "A budget is set, but it cannot be enforced in a child process. Nothing was sent.",
                remedy="Share it by a file: %wbconfig --budget-file FILE.",
                cause="budget",
            )
        return Budget(limit, self.session.usage, shared)

    @property
    def costs_nothing(self) -> bool:
        """Whether every answer comes from a cassette."""
        return self.cassette is not None and not self.cassette.records

    @property
    def tracer(self) -> Tracer | None:
        """The tracer for Weave, or None if tracing is off or all replies come from a cassette."""
        if self.costs_nothing:
            # If it stayed connected, Weave would go on tracing the calls of the user's client.
            self.session.tracing.close()
            return None
        return self.session.tracing.get(self.settings.trace)

    @contextmanager
    def deferred_interrupts(self, what: str) -> Iterator[Interrupts]:
        """Defer interrupts, and the cancellation of this command, inside a `with` block.

        Parameters
        ----------
        what : str
            What the block does, for the list of jobs; see `listed`.
        """
        if self._interrupts is not None:
            # The block around this one looks at the end whether one has arrived.
            yield self._interrupts
            return
        try:
            with (
                self.listed(what),
                self.listener.watched(),
                deferred_interrupts(self.cancelled, lambda: self.listener.user_code()) as self._interrupts,
            ):
                yield self._interrupts
        finally:
            self._interrupts = None

    @contextmanager
    def listed(self, what: str) -> Iterator[None]:
        """List this command as a job inside the `with` block if no interrupt reaches its thread.

        Only the main thread receives interrupts. Callbacks of widgets and cells can run in others: subshells.
        """
        if self.is_listed or current_thread() is main_thread():
            yield
            return
        entry = JobEntry(what, self.cancelled)
        self.session.jobs.add(entry)
        self.is_listed = True
        try:
            with self.show_stop_button(entry) if self.show_stop_button is not None else nullcontext():
                yield
        finally:
            self.is_listed = False
            self.session.jobs.remove(entry)
            entry.end()

    @contextmanager
    def traced(
        self, name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any], interrupts: Interrupts
    ) -> Iterator[Trace]:
        """Trace the `with` block as one op, if tracing is on.

        Parameters
        ----------
        name : str
            The op's name.
        inputs, attributes : mapping
            The inputs of the call, and facts about it that are known before it. JSON values.
        interrupts : Interrupts
            The deferred interrupts of the command.
        """
        tracer = self.tracer
        if tracer is None:
            yield Trace()
            return
        if tracer.is_to_start:
            with self.listener.waiting("connecting to Weave") as redraw:
                self.loop.call(tracer.try_to_start, meanwhile=redraw, interrupts=interrupts)
        with tracer.op(name, inputs, attributes) as (trace, call):
            self._op = None if call is None else (tracer, call)
            try:
                yield trace
            finally:
                self._op = None

    @contextmanager
    def observed(self, request: PreparedRequest, limit: int | None, seen: ObservedCall) -> Iterator[None]:
        """Report the request made inside the `with` block to Weave and OpenTelemetry, as far as they are in use.

        Parameters
        ----------
        request : PreparedRequest
        limit : int or None
            The limit on the reply that a budget adds.
        seen : ObservedCall
        """
        telemetry = None if self.costs_nothing else open_telemetry()
        with ExitStack() as stack:
            if self._op is not None:
                tracer, op = self._op
                stack.enter_context(tracer.child(op, request, seen))
            if telemetry is not None:
                stack.enter_context(span(telemetry, request, limit, seen, self.session.keys.secrets()))
            yield

    def client(self) -> AsyncOpenAI:
        """Return the client for our own calls. It belongs to the session's event loop.

        Raises
        ------
        InferenceError
            When the SDK cannot be imported, a setting or the environment cannot be used, or the browser is too old.
        """
        if not can_wait():
            raise InferenceError(
                "This browser cannot wait for a reply in a cell; nothing was sent.",
                why="In Pyodide, that needs JavaScript Promise Integration.",
                remedy="Use a browser that has it, such as Chrome or Edge from version 137.",
                cause="missing",
            )
        with self._importing():
            client = self.session.clients.own(self._client_options())
        hide_own_logs()
        return client

    @contextmanager
    def _importing(self) -> Iterator[None]:
        """Convert the failures of the imports inside the `with` block."""
        try:
            yield
        except Exception as failure:
            if (error := unexpected_failure(failure)) is not None:
                raise error from failure
            raise

    def users_client(self) -> OpenAI:
        """Return the client for the user's own code. Its calls are counted, and checked against the budget.

        Raises
        ------
        InferenceError
            When the SDK cannot be imported, or a setting or the environment cannot be used.
        """
        from .metering import ClientCall, metered_call

        # Tracing that has been switched off must end here: the user's calls are made outside a magic.
        _ = self.tracer

        def meter(path: str, body: Mapping[str, Any]) -> ClientCall:
            now = self._at_this_moment()
            _ = now.tracer
            return metered_call(now, self.session.models, now.budget, path, body)

        def recorder() -> CassetteRecorder | None:
            return self._at_this_moment()._recorder()

        with self._importing():
            return self.session.clients.users(self._client_options(), meter, recorder)

    def _at_this_moment(self) -> Command:
        """Return the command of a call of the client that this one returned: the settings may have changed since.

        Raises
        ------
        InferenceError
            When the client cannot send requests, and its calls are no longer answered from a cassette.
        """
        now = Command(self.session, dry=True, uses_cassette=self._uses_cassette)
        now.endpoint, now.dry = self.endpoint, self.dry
        error = None
        if self.costs_nothing and not now.costs_nothing:
            # Its endpoint is that of the recording, without a key.
            error = InferenceError(
                "This client is from a replay, and now it would send requests. Nothing was sent.",
                remedy="Get it again: client()",
                cause="missing",
            )
        elif now.cassette is None:
            # A copy: what fails later adds to its error.
            error = copy(self.endpoint.out_of_reach)
        if error is not None:
            error.is_unsent = True
            raise error
        return now

    def _recorder(self) -> CassetteRecorder | None:
        if self.cassette is None:
            return None
        # Imported when a cassette is in use.
        from ..cassettes import CassetteRecorder

        return CassetteRecorder(self.cassette)

    def _client_options(self) -> ClientOptions:
        return ClientOptions(self.endpoint, self.settings.timeout, self.settings.max_retries, self._recorder())
