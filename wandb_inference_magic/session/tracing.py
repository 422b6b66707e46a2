"""Calls traced in W&B Weave: each magic as one op, the SDK's own calls inside it. It never stands in a chat's way.

What goes wrong here is told once, under the next reply, and the chat goes on without it.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import import_quietly
from ..config import ignored_among, resolve_server_key
from ..errors import InferenceError, quoted
from ..messages import NullListener
from ..text import hidden, words_of_library

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ..config import Key
    from ..messages import Reply, Waiting

# For the trace server, which a chat waits for when tracing begins.
HTTP_SECONDS: Final = 10.0
FLUSH_SECONDS: Final = 10.0
INSTALL_COMMAND: Final = 'pip install "wandb-inference-magic[weave]"'


@dataclass(slots=True)
class Trace:
    """What a traced magic says of itself: what came of it, and figures about it; no `link` where it is not traced.

    `news` returns what its reader should know of the tracing, once.
    """

    link: str = ""
    news: Callable[[], tuple[str, ...]] = tuple
    output: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def came(self, reply: Reply) -> None:
        """Take in a reply, and give it the link."""
        reply.trace = self.link
        reply.notices = (*reply.notices, *self.news())
        self.output = {"text": reply.text, "reasoning": reply.reasoning, **reply.facts()}
        self.summary = {"cost_usd": reply.cost, "seconds": reply.seconds, "calls": reply.calls}


@contextmanager
def traced(
    tracer: Tracer | None,
    name: str,
    inputs: Mapping[str, Any],
    attributes: Mapping[str, Any],
    listener: Waiting | None = None,
) -> Iterator[Trace]:
    """Trace what is done within, where tracing is on.

    Parameters
    ----------
    tracer : Tracer or None
        None where tracing is off.
    name : str
        The op's name.
    inputs, attributes : mapping
        What is asked, and what is known about it beforehand: JSON values.
    listener : Waiting, optional
        Shows that Weave is being connected to.
    """
    if tracer is None:
        yield Trace()
        return
    trace, call = tracer.begin(name, inputs, attributes, listener)
    try:
        yield trace
    except BaseException as error:
        tracer.end(call, trace, error)
        raise
    tracer.end(call, trace)


class Tracer:
    """The connection to one Weave project.

    Parameters
    ----------
    project : str
        Written team/project.
    key : Key or None
        The key for W&B, found as for the chats; Weave itself looks in fewer places.
    secrets : callable, optional
        Returns the keys that nothing of is to be traced.
    """

    def __init__(self, project: str, key: Key | None, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self.project = project
        self.key = key
        self._secrets = secrets
        self._client: Any = None
        self._is_ours = False
        self._has_failed = False
        self._has_told = False
        self._level = logging.NOTSET
        self._muted: dict[logging.Handler, int] = {}
        self._listener = _Listener()

    def start(self) -> None:
        """Connect to Weave; where the user has done so, for the same project, theirs is used.

        Raises
        ------
        InferenceError
            When Weave is not installed or cannot be imported, there is no key, or W&B does not answer or not let in.
        """
        if self._client is not None:
            return
        if find_spec("weave") is None:
            raise InferenceError(
                "Weave is not installed: nothing is traced.", remedy=f"Run: {INSTALL_COMMAND}", cause="missing"
            )
        if self.key is None:
            notes: list[str] = []
            resolve_server_key(os.environ, notes=notes, secrets=())
            raise InferenceError(
                "There is no key for W&B: nothing is traced.",
                why="; ".join(ignored_among(notes)),
                remedy="Set one with %wbconfig --key while the endpoint is W&B's, or in WANDB_API_KEY.",
                cause="key",
            )
        try:
            self._client = self._connect(self.key.reveal())
        except InferenceError:
            raise
        except Exception as error:  # noqa: BLE001 - Weave and what it is built on raise errors of many kinds
            raise InferenceError(
                f"Weave could not be connected to for {self.project}: nothing is traced.",
                why=quoted(words_of_library(f"{type(error).__name__}: {error}")),
                remedy="Check the project's name and the key; %wbconfig --trace off switches tracing off.",
                cause="network",
            ) from None

    def _connect(self, key: str) -> Any:
        weave = _weave()
        theirs = weave.get_client()
        if theirs is not None:
            if f"{theirs.entity}/{theirs.project}" == self.project:
                return theirs
            raise InferenceError(
                f"Weave is tracing in {theirs.entity}/{theirs.project} already.",
                remedy="End that first: weave.finish().",
                cause="option",
            )
        logger = logging.getLogger("weave")
        self._level = logger.level
        logger.addHandler(self._listener)
        # By its settings alone it would still print what it does while it connects.
        with _environment(WANDB_API_KEY=key, WANDB_IDENTITY_TOKEN_FILE=None, WEAVE_LOG_LEVEL="WARNING"):
            client = weave.init(
                self.project,
                settings={"print_call_link": False, "http_timeout": HTTP_SECONDS},
                postprocess_inputs=self._hidden,
                postprocess_output=self._hidden,
            )
        # What it would print into whichever cell runs is told once instead.
        for handler in logger.handlers:
            if handler is not self._listener:
                self._muted[handler] = handler.level
                handler.setLevel(logging.CRITICAL + 1)
        self._is_ours = True
        return client

    def _hidden(self, value: Any) -> Any:
        """Return a value without any key, should a prompt or a reply hold one."""
        return hidden(value, self._secrets())

    def begin(
        self, name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any], listener: Waiting | None
    ) -> tuple[Trace, Any]:
        """Begin a call; return what it will say of itself, and Weave's own object of it, or None."""
        trace, call = Trace(news=self._news), None
        self._try_to_start(listener)
        if self._client is not None:
            try:
                call = self._client.create_call(
                    name, self._hidden(dict(inputs)), attributes={"wandb_inference": dict(attributes)}
                )
                trace.link = str(call.ui_url)
            except Exception as error:  # noqa: BLE001 - whatever Weave raises, the chat goes on
                self._listener.hear(f"{type(error).__name__}: {error}")
        return trace, call

    def _try_to_start(self, listener: Waiting | None) -> None:
        if self._client is not None or self._has_failed:
            return
        with (listener or NullListener()).waiting("connecting to Weave"):
            try:
                self.start()
            except InferenceError as error:
                self._has_failed = True
                self._listener.hear(str(error))

    def end(self, call: Any, trace: Trace, error: BaseException | None = None) -> None:
        """End a call with what came of it."""
        if call is None:
            return
        try:
            call.summary = {**(call.summary or {}), "wandb_inference": trace.summary}
            told = None if error is None else _told(error, self._hidden(str(error)))
            self._client.finish_call(call, output=self._hidden(trace.output), exception=told)
        except Exception as failure:  # noqa: BLE001 - whatever Weave raises, the chat goes on
            self._listener.hear(f"{type(failure).__name__}: {failure}")

    def _news(self) -> tuple[str, ...]:
        """Return what went wrong first, as a notice, and once."""
        if not self._listener.said or self._has_told:
            return ()
        self._has_told = True
        return (f"Tracing does not work: {quoted(words_of_library(self._listener.said))}",)

    def close(self) -> None:
        """Send what is left, for a bounded time, and leave Weave as it was found."""
        logger = logging.getLogger("weave")
        logger.removeHandler(self._listener)
        client, self._client = self._client, None
        if client is None or not self._is_ours:
            return
        import weave

        # As `weave.finish` calls it, it would draw a bar into the cell.
        client.finish = partial(client.finish, use_progress_bar=False)
        # The user may have begun another meanwhile: then ours alone is ended.
        finish = weave.finish if weave.get_client() is client else client.finish
        ending = Thread(target=finish, name="wb-weave", daemon=True)
        try:
            ending.start()
            ending.join(FLUSH_SECONDS)
        finally:
            for handler, level in self._muted.items():
                handler.setLevel(level)
            logger.setLevel(self._level)


def _weave() -> Any:
    """Import Weave and return it."""
    if "weave" not in sys.modules:
        # Read when it is imported: Weave would report its own errors to a third party.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        return import_quietly("weave")
    except Exception as error:  # noqa: BLE001 - it imports much, of versions that may not go together
        raise InferenceError(
            "Weave is installed, but cannot be imported: nothing is traced.",
            why=quoted(words_of_library(f"{type(error).__name__}: {error}")),
            remedy=f"Bring it and what it needs up to date: {INSTALL_COMMAND} --upgrade, then restart the kernel.",
            cause="missing",
        ) from None


def _told(error: BaseException, words: str) -> Exception:
    """Return an error of the same name that says these words."""
    named: type[Exception] = type(type(error).__name__, (Exception,), {})
    return named(words)


class _Listener(logging.Handler):
    """Hears the first thing that Weave complains of, mostly from a thread of its own."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        # A reply that broke off is the chat's own trouble.
        if not record.getMessage().startswith("Error capturing call output"):
            self.hear(record.getMessage())

    def hear(self, words: str) -> None:
        self.said = self.said or words


@contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Set environment variables for a moment; None takes one away."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
