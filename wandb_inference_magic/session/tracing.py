"""Trace calls in W&B Weave: each magic is one op, with the calls to models inside it.

Tracing never stops a chat. An error here is reported once, below the next reply, and the chat continues without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from threading import RLock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..concurrency import ForkAware
from ..config import resolve_server_key
from ..errors import InferenceError, describe_exception, quoted
from ..imports import import_quietly, loaded, no_warnings
from ..text import library_message, redacted_value, with_texts, without_surrogates

if TYPE_CHECKING:
    from ..config import Key
    from ..messages import PreparedRequest, Reply
    from .endpoints import Keys

# Timeout for the trace server. A chat waits for it when tracing starts.
HTTP_SECONDS: Final = 10.0
FLUSH_SECONDS: Final = 10.0
# Whether an op of ours is open here: a tool may chat.
IN_OP: Final = ContextVar("wandb_inference_in_op", default=False)
INSTALL_COMMAND: Final = 'pip install "wandb-inference-magic[weave]"'


@dataclass(slots=True)
class Trace:
    """The trace of one call: a link to it, the output and a summary. `link` is empty if the call is not traced.

    `take_notices` returns notices about the tracing for the user, once. `error` is reported in place of the one raised.
    """

    link: str = ""
    take_notices: Callable[[], tuple[str, ...]] = lambda: ()
    output: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None

    def record(self, reply: Reply) -> None:
        """Record a reply, and add the link and the notices to it."""
        reply.trace = self.link
        reply.notices = (*reply.notices, *self.take_notices())
        self.output = {"text": reply.text, "reasoning": reply.reasoning, **reply.facts()}
        self.summary = {"cost_usd": reply.cost, "seconds": reply.seconds, "calls": reply.calls}


class ObservedCall(NamedTuple):
    """One request to a model, as a trace sees it at its end: what has been received, and the error for a failure."""

    reply: Callable[[], Reply]
    explained: Callable[[Exception], InferenceError]


class TracerSlot(ForkAware):
    """Holds the tracer of a session: connected on first use, and again when its settings have changed."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._tracer: Tracer | None
        super().__init__()
        self._is_publishing = self._is_in_fork = False

    def after_fork_in_child(self) -> None:
        # Weave sends from threads of the parent: a child's calls would be lost, with links that lead nowhere. Several
        # threads may need the tracer at the same time.
        self._lock, self._tracer, self._is_in_fork = RLock(), None, True

    def get(self, project: str) -> Tracer | None:
        """Return the tracer for a project. If it is empty, return one for the client that the user made, or None."""
        if self._is_in_fork:
            return None
        project = "" if weave_off() else project
        if not project and self._is_publishing:
            # The client that is there is that of a publication, not the user's.
            return None
        with self._lock:
            # A tracer with no key or a wrong key has given up, so start a new one.
            key = self._keys.for_server() if project else None
            user_client = None if project else _users_client()
            old = self._tracer
            if old is not None and (old.project, old.key, id(old.user_client)) != (project, key, id(user_client)):
                self.close()
            if self._tracer is None and (project or user_client is not None):
                self._tracer = Tracer(project, key, self._keys.secrets, user_client)
            return self._tracer

    @contextmanager
    def publishing(self, project: str) -> Iterator[Tracer]:
        """Connect to a project inside the `with` block.

        Raises
        ------
        InferenceError
            As `Tracer.start` does.
        """
        with self._lock:
            # It is connected again by the next call that is traced.
            self.close()
            tracer = Tracer(project, self._keys.for_server(), self._keys.secrets, done="published")
            self._is_publishing = True
            try:
                tracer.start()
                yield tracer
            finally:
                tracer.close()
                self._is_publishing = False

    def close(self) -> None:
        """Disconnect from Weave."""
        ended, self._tracer = self._tracer, None
        if ended is not None:
            ended.close()


@dataclass(eq=False, repr=False)
class Tracer:
    """The connection to one Weave project.

    Parameters
    ----------
    project : str
        In the form team/project.
    key : Key or None
        The key for W&B, found as for chats. Weave itself looks in fewer places.
    secrets : callable
        Returns the secrets, no part of which may be traced.
    user_client : object, optional
        The client that the user has made with `weave.init`, if that is to be used.
    done : str
        What is done with it, for messages.
    """

    project: str
    key: Key | None
    secrets: Callable[[], Collection[str]]
    user_client: Any = None
    done: str = "traced"

    def __post_init__(self) -> None:
        self._client = self.user_client
        self._has_failed = self._has_reported = False
        self._handler = _WarningHandler()
        # What is to be undone in the end.
        self._opened = ExitStack()

    def start(self) -> None:
        """Connect to Weave. If the user has connected to the same project already, use that connection.

        Raises
        ------
        InferenceError
            When Weave cannot be used, there is no key, W&B does not answer or denies access, or the user traces in
            another project already.
        """
        if self._client is not None:
            return
        nothing_done = f"nothing is {self.done}"
        if off := weave_off():
            raise InferenceError(f"{off}: {nothing_done}.", remedy="To switch it on: %env WEAVE_DISABLED=false")
        if find_spec("weave") is None:
            raise InferenceError(
                f"Weave is not installed: {nothing_done}.", remedy=f"Run: {INSTALL_COMMAND}", cause="missing"
            )
        if self.key is None:
            raise InferenceError(
                f"There is no key for W&B: {nothing_done}.",
                why="; ".join(resolve_server_key(os.environ, secrets=()).reasons),
                remedy="Set one with %wbconfig --key while the endpoint is W&B's, or in WANDB_API_KEY.",
                cause="key",
            )
        try:
            self._client = self._connect(_weave(nothing_done), self.key.reveal())
        except InferenceError:
            raise
        except Exception as error:  # noqa: BLE001 - Weave and what it is built on raise errors of many kinds
            raise InferenceError(
                f"Connecting to Weave for {self.project} failed: {nothing_done}.",
                why=quoted(library_message(describe_exception(error))),
                remedy="Check the project's name and the key; %wbconfig --trace off switches tracing off.",
                cause="network",
            ) from None

    def _connect(self, weave: Any, key: str) -> Any:
        user_client = _users_client()
        if user_client is not None:
            if f"{user_client.entity}/{user_client.project}" == self.project:
                return user_client
            raise InferenceError(
                f"Weave is tracing in {user_client.entity}/{user_client.project} already.",
                remedy="End that first: weave.finish().",
            )
        if (unable := weave.get_client()) is not None:
            _finish(unable)
        logger = logging.getLogger("weave")
        self._opened.callback(logger.setLevel, logger.level)
        self._opened.callback(logger.removeHandler, self._handler)
        logger.addHandler(self._handler)
        # With `settings` alone, Weave would still print messages while it connects.
        # It imports its integrations, some of which warn on some versions of Python.
        with no_warnings(), _environment(WANDB_API_KEY=key, WANDB_IDENTITY_TOKEN_FILE=None, WEAVE_LOG_LEVEL="WARNING"):
            client = weave.init(
                self.project,
                # Its cache would keep prompts and rows in a folder for temporary files that all users share.
                settings={
                    "print_call_link": False,
                    "http_timeout": HTTP_SECONDS,
                    "use_server_cache": False,
                    # What the user's own clients send meanwhile is no part of a publication.
                    **({} if self.done == "traced" else {"implicitly_patch_integrations": False}),
                },
                postprocess_inputs=self.redacted,
                postprocess_output=self.redacted,
            )
        # Weave would print its messages into the running cell. They are reported once instead.
        for handler in logger.handlers:
            if handler is not self._handler:
                self._opened.callback(handler.setLevel, handler.level)
                handler.setLevel(logging.CRITICAL + 1)
        self._opened.callback(_finish, client)
        return client

    def redacted(self, value: Any) -> Any:
        """Return a value without secrets, in case a prompt or a reply contains one, and with whole characters only."""
        # Weave loses a whole batch of calls if a text has half of a character.
        return redacted_value(with_texts(value, without_surrogates), self.secrets())

    @property
    def is_to_start(self) -> bool:
        """Whether it is not connected, and connecting has not failed before."""
        return self._client is None and not self._has_failed

    def try_to_start(self) -> None:
        """Connect to Weave. An error is reported below the next reply."""
        try:
            self.start()
        except InferenceError as error:
            self._has_failed = True
            self._handler.report(str(error))

    @contextmanager
    def op(self, name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any]) -> Iterator[tuple[Trace, Any]]:
        """Trace the `with` block as a call. Give its trace, and Weave's own call object or None."""
        trace = Trace(take_notices=self._take_notices)
        both = {**_users_attributes(), "wandb_inference": self.redacted(dict(attributes))}
        outer = IN_OP.set(True)
        try:
            with self._call(name, inputs, trace, attributes=both) as call:
                yield trace, call
        finally:
            IN_OP.reset(outer)
        if IN_OP.get() and call is not None:
            # Weave writes the sum of what the calls inside a call have over its own figures.
            call.summary = {key: value for key, value in (call.summary or {}).items() if key != "wandb_inference"}

    @contextmanager
    def child(self, parent: Any, request: PreparedRequest, seen: ObservedCall) -> Iterator[None]:
        """Trace the request made inside the `with` block as a call inside `parent`, Weave's own call object."""
        trace = Trace()
        # This runs in another thread, without the user's context. Weave has added attributes of its own.
        own = ("wandb_inference", "weave")
        users = {key: value for key, value in dict(parent.attributes or {}).items() if key not in own}
        with self._call("model_call", request.flat_body, trace, parent=parent, use_stack=False, attributes=users):
            try:
                yield
            except Exception as failure:
                trace.error = seen.explained(failure)
                raise
            finally:
                trace.output = _described(seen.reply())

    @contextmanager
    def _call(self, name: str, inputs: Mapping[str, Any], trace: Trace, **options: Any) -> Iterator[Any]:
        """Begin a call, and end it with the output of its trace, or with the error raised inside the `with` block."""
        call = None
        if self._client is not None:
            with self._reported():
                call = self._client.create_call(name, self.redacted(dict(inputs)), **options)
                trace.link = str(call.ui_url)
        error: BaseException | None = None
        try:
            yield call
        except BaseException as raised:
            error = trace.error or raised
            raise
        finally:
            if call is not None:
                with self._reported():
                    call.summary = {**(call.summary or {}), "wandb_inference": trace.summary}
                    # Of a type with the same name, because the message is another one.
                    shown = error and type(type(error).__name__, (Exception,), {})(self.redacted(str(error)))
                    self._client.finish_call(call, output=self.redacted(trace.output), exception=shown)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Report what Weave raises inside the `with` block below a reply. The chat goes on."""
        try:
            yield
        except Exception as failure:  # noqa: BLE001 - whatever Weave raises
            self._handler.report(describe_exception(failure))

    def _take_notices(self) -> tuple[str, ...]:
        """Return the first error as a notice, once."""
        if not self._handler.error_text or self._has_reported:
            return ()
        self._has_reported = True
        return (f"Tracing does not work: {quoted(library_message(self._handler.error_text))}",)

    @contextmanager
    def captured_warnings(self) -> Iterator[_WarningHandler]:
        """Give what Weave reports inside the `with` block, also by a client of the user's."""
        logger, handler = logging.getLogger("weave"), _WarningHandler()
        logger.addHandler(handler)
        try:
            yield handler
        finally:
            logger.removeHandler(handler)

    def flush(self) -> str:
        """Send what is left, for a limited time. Return what is to be said if that was too short."""
        is_sent = _run_for_a_time(self._client.flush)
        return "" if is_sent else f"W&B did not accept everything within {FLUSH_SECONDS:g} seconds"

    def close(self) -> None:
        """Send what is left, for a limited time, and restore Weave as it was before."""
        self._client = None
        self._opened.close()


def _finish(client: Any) -> None:
    """End a client of ours. `weave.finish` would draw a progress bar in the cell."""
    import weave

    client.finish = partial(client.finish, use_progress_bar=False)
    # If the user has started another Weave client meanwhile, only ours is ended.
    _run_for_a_time(weave.finish if weave.get_client() is client else client.finish)


def _run_for_a_time(send: Callable[[], object]) -> bool:
    """Call what sends the rest to W&B. Return whether it has ended within `FLUSH_SECONDS`."""
    sending = Thread(target=send, name="wb-weave", daemon=True)
    sending.start()
    sending.join(FLUSH_SECONDS)
    return not sending.is_alive()


_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


def _described(reply: Reply) -> dict[str, Any]:
    """Return a reply as the output of a model call. Weave sums what it finds under `model` and `usage`."""
    usage = reply.usage
    return {
        "model": reply.asked_model,
        "text": reply.text,
        "reasoning": reply.reasoning,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in reply.tool_calls],
        "finish_reason": reply.finish_reason,
        "request_id": reply.request_id,
        "cost_usd": reply.cost,
        "seconds": reply.seconds,
        "usage": {name: getattr(usage, name) for name in _COUNTS} if usage else {},
    }


def _users_client() -> Any:
    """Return the client that the user has made with `weave.init`, or None. Weave is not imported for that."""
    get_client = loaded("weave.get_client")
    client = None if get_client is None or weave_off() else get_client()
    # One that was made while Weave was switched off can send nothing.
    return None if client is None or client.project == "DISABLED" else client


def weave_off() -> str:
    """Say that the user has switched Weave off, or return an empty string. Weave is not imported for that."""
    # As Weave does: the variable counts if it is set, else the setting.
    variable = os.environ.get("WEAVE_DISABLED", "")
    is_disabled = loaded("weave.trace.settings.should_disable_weave")
    is_off = is_disabled() if is_disabled else variable.lower() in ("1", "on", "true", "yes")
    return f"Weave is switched off ({'WEAVE_DISABLED' if variable else 'by weave.init'})" if is_off else ""


def _users_attributes() -> dict[str, Any]:
    """Return the attributes that the user's code has set with `weave.attributes`, at this place in it."""
    attributes = loaded("weave.trace.context.call_context.call_attributes")
    return {} if attributes is None else dict(attributes.get())


def _weave(nothing_done: str) -> Any:
    """Import Weave and return it."""
    if "weave" not in sys.modules:
        # Set before the import, which reads it. Otherwise Weave would report its own errors to a third party.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        return import_quietly("weave")
    except Exception as error:  # noqa: BLE001 - it imports much, of versions that may not go together
        raise InferenceError(
            f"Weave is installed, but cannot be imported: {nothing_done}.",
            why=quoted(library_message(describe_exception(error))),
            remedy=f"Update it and its dependencies: {INSTALL_COMMAND} --upgrade, then restart the kernel.",
            cause="missing",
        ) from None


class _WarningHandler(logging.Handler):
    """Keeps the first warning that Weave logs, mostly from one of Weave's own threads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.error_text = ""

    def emit(self, record: logging.LogRecord) -> None:
        # A reply that broke off is reported by the chat itself.
        if not record.getMessage().startswith("Error capturing call output"):
            self.report(record.getMessage())

    def report(self, message: str) -> None:
        self.error_text = self.error_text or message


@contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Set environment variables inside the `with` block. None removes one."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name in variables:
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in variables.items() if value is not None})
