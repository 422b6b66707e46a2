"""The one kind of error that users of this package see: what happened, why, and what to do next."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import EMFILE, ENFILE
from threading import main_thread
from typing import Any, Final, Literal

from .text import grapheme_start, printable, redacted, safe_plain, wrapped

MAX_QUOTE_CHARS: Final = 200
# Of the second and later lines of a sentence in a message.
INDENT: Final = "  "
MB: Final = 1_000_000
# Only this many characters of a long text are read.
MAX_READ_CHARS: Final = 20_000
MAX_SECRET_CHARS: Final = 8000

Cause = Literal[
    "option",  # an option, a setting or the prompt is not valid; nothing was sent
    "key",  # there is no key, or the service rejects it
    "quota",  # the account has no credit left
    "budget",  # the call could cost more than the budget has left; nothing was sent
    "refused",  # the service does not serve this account, organisation or country
    "model",  # the model is unknown or retired
    "request",  # the service rejects the request
    "busy",  # too many requests, or the service is overloaded or failing
    "network",  # the service could not be reached, or the connection broke
    "reply",  # what was received is not a reply, or not a complete one
    "answer",  # the reply is complete, but does not have the requested form
    "missing",  # something needed is missing: a package, the practice model, a request in the cassette
]

# Errors with these causes do not depend on the prompt.
AFFECT_ALL: Final = ("key", "quota", "budget", "refused", "model", "missing")


class InferenceError(Exception):
    """A failure, reported in one short message.

    Parameters
    ----------
    what : str
        What happened, as one sentence.
    why : str
        The reason, as far as it is known. It may quote the service's message.
    remedy : str
        What the user can do next.
    cause : Cause
        The kind of failure, for code that handles kinds differently. Most are about what the user gave.
    status : int, optional
        The HTTP status, if the service answered.
    request_id : str, optional
        The service's id of the request, to quote to its support.
    retryable : bool
        Whether the same request may succeed later.
    retry_after : float, optional
        The seconds that the service asked to wait before trying again.
    waits : tuple of (float, float), optional
        The seconds to wait before the next tries, each a range, if the service does not say.
    affects_all : bool, optional
        Whether every other request would fail as well: False if the failure depends on the prompt. Follows from the
        cause if it is not given.

    Attributes
    ----------
    partial : object
        What there is of the result: a Reply, a frame or an Evaluation. None if there is nothing.
    is_unsent : bool
        Whether it ended a request before anything was sent: such a request is no call.
    refuses_format : bool
        Whether the service refused the response format of the request.
    is_too_long : bool
        Whether the service has no room for all the messages of the request.
    is_too_many : bool
        Whether the service takes no further request for now, whatever is in it.
    is_of_prompt : bool
        Whether the service refused the prompt for what it says.
    is_replayed : bool
        Whether it is of a recorded exchange.
    generated : str or None
        What the model wrote, if the service refused that in place of the request.

    Notes
    -----
    IPython shows what `_render_traceback_` returns instead of a traceback. The cell still counts as failed.
    With `show_traceback` (the `debug` setting) the full traceback is shown.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        remedy: str = "",
        cause: Cause = "option",
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        waits: tuple[tuple[float, float], ...] | None = None,
        affects_all: bool | None = None,
    ) -> None:
        # The last safeguard: no text shown in a cell contains a key or a password, wherever the text comes from.
        self.what, self.why, self.remedy = (redacted(safe_plain(part)).strip() for part in (what, why, remedy))
        # A reason of the system has no full stop.
        self.why += "." if self.why[-1:].isalnum() and self.remedy else ""
        self.cause: Cause = cause
        self.status = status
        self.request_id = quoted(request_id) if request_id else None
        self.retryable = retryable
        self.retry_after = retry_after
        self.waits = waits
        self.depends_on_prompt = affects_all is False
        self.affects_all = cause in AFFECT_ALL if affects_all is None else affects_all
        self.show_traceback = False
        # Whether the shell has no colours.
        self.is_plain = False
        self.partial: Any = None
        self.is_unsent = self.is_replayed = False
        self.refuses_format = self.is_too_long = self.is_too_many = self.is_of_prompt = False
        self.generated: str | None = None
        super().__init__(str(self))

    @property
    def is_lasting(self) -> bool:
        """Whether the same prompt would fail again later. An address that is not found says nothing about a prompt."""
        is_of_prompt = self.cause in ("request", "answer") or (self.cause == "refused" and self.is_of_prompt)
        return not self.retryable and is_of_prompt and self.status not in (404, 405, 410)

    @property
    def reason(self) -> str:
        """What happened and why, without what to do next."""
        return f"{self.what} {self.why}".strip()

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.remedy) if part)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Where Dask is loaded, its causes would be pickled too, and the SDK's errors cannot be unpickled.
        self.__cause__ = self.__context__ = None
        return type(self), (str(self),), self.__dict__

    def _render_traceback_(self) -> list[str]:
        if self.show_traceback:
            shown = redacted("".join(traceback.format_exception(self)))
            return ["\n".join(printable(safe_plain(line)) for line in shown.splitlines())]
        # Front ends end styles at the end of a line, or not: each line has its own.
        lines = [self._styled(line) for line in wrapped(self.what, INDENT).split("\n")]
        if self.why:
            lines.append(wrapped(self.why, INDENT))
        if self.remedy:
            head, _, rest = wrapped(f"What to do: {self.remedy}", INDENT).partition(":")
            lines.append(f"{self._styled(f'{head}:')}{rest}")
        lines += [wrapped(redacted(safe_plain(str(note))), INDENT) for note in getattr(self, "__notes__", ())]
        if self.request_id:
            lines.append(self._styled(f"Request id: {self.request_id}", "2"))
        # In one piece: with `%xmode Plain` IPython puts nothing between several.
        return ["\n".join(map(printable, lines))]

    def _styled(self, line: str, style: str = "1") -> str:
        return line if self.is_plain else _styled(line, style)


_WORDS_OF_THE_END: Final = ("shutdown", "shutting down")
# Made in advance: at the end, nothing can be imported, which regular expressions do.
_ENDING: Final = InferenceError(
    "The program is ending: nothing was sent.",
    remedy="Send it before the end of the program: join the threads that do so.",
    cause="missing",
)
_ENDING.is_unsent = True


def inference_error_in(failure: BaseException) -> InferenceError | None:
    """Return a failure that is an InferenceError, or the one that caused it: the SDK wraps what its HTTP client raises.

    Exceptions that were being handled when the failure was raised do not count.
    """
    return next((one for one in causes_of(failure) if isinstance(one, InferenceError)), None)


def causes_of(failure: BaseException) -> Iterator[BaseException]:
    """Yield a failure, what it was raised from, and so on."""
    cause: BaseException | None = failure
    while cause is not None:
        yield cause
        cause = cause.__cause__


def beyond_limits(failure: BaseException) -> InferenceError | None:
    """Return the error for a failure because no thread can be started or no file opened; None for another failure."""
    return _at_the_end(failure) or without_thread(failure) or _without_file(failure)


def _at_the_end(failure: BaseException) -> InferenceError | None:
    """Return the error for a failure because the program is ending, or None for another failure."""
    # Python says so in words only: "can't create new thread at interpreter shutdown".
    is_one = any(
        isinstance(one, (RuntimeError, ImportError)) and any(words in str(one) for words in _WORDS_OF_THE_END)
        for one in causes_of(failure)
    )
    return _ENDING if is_one and not main_thread().is_alive() else None


def without_thread(failure: BaseException) -> InferenceError | None:
    """Return the error for a failure because this machine starts no more threads, or None for another failure."""
    # Python says so in words only, and the SDK wraps it.
    if not any(isinstance(one, RuntimeError) and "start new thread" in str(one) for one in causes_of(failure)):
        return None
    described = InferenceError(
        "This machine starts no more threads: nothing was sent.",
        why="The user or the container has as many processes and threads as it may have.",
        remedy="Shut down other kernels or programs, or raise the limit (ulimit -u), and run the cell again.",
        cause="missing",
    )
    described.is_unsent = True
    return described


def _without_file(failure: BaseException) -> InferenceError | None:
    found = next(
        (one for one in causes_of(failure) if isinstance(one, OSError) and one.errno in (EMFILE, ENFILE)), None
    )
    if found is None:
        return None
    return InferenceError(
        "This machine opens no more files and connections.",
        why=f"It says: {found.strerror}.",
        remedy="Close files, send fewer requests at once (--concurrency), restart the kernel, or raise the limit "
        "(ulimit -n).",
        cause="missing",
    )


def is_unsent(failure: BaseException) -> bool:
    """Return whether a request failed before anything was sent."""
    error = inference_error_in(failure)
    return error is not None and error.is_unsent


class HelpRequested(Exception):  # noqa: N818 - not a failure
    """`--help`, or `?` alone, is on the line of a magic."""


class InferenceWarning(UserWarning):
    """A notice about a result, given as a warning from Python. In a notebook, the magics show it in the output.

    `partial` is that result, if warnings are errors.
    """

    partial: Any = None


def warn_user(*notices: str, partial: Any = None) -> None:
    """Give notices as warnings at the line of the user's code. One that is an error there has the result as `partial`.

    Its answers are paid for.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    for notice in notices:
        try:
            # Standard error may be closed, as in a service or an app without a console.
            with suppress(OSError, ValueError):
                warnings.warn(notice, InferenceWarning, stacklevel=level)
        except InferenceWarning as warning:
            warning.partial = partial
            raise


class Interrupted(KeyboardInterrupt):
    """The user interrupted the cell. It counts as failed, and shows one line instead of a traceback.

    `partial` is as in InferenceError.
    """

    is_plain = False

    def __init__(self, what: str = "Run the cell again when you like.", *, partial: Any = None) -> None:
        super().__init__(what)
        self.partial = partial

    def _render_traceback_(self) -> list[str]:
        head, _, rest = wrapped(f"Interrupted. {self}", INDENT).partition(".")
        return [f"{head if self.is_plain else _styled(head)}.{rest}"]


def _styled(line: str, style: str = "1") -> str:
    """Return a line in bold, or in another style, unless the user or the terminal wants none.

    Source: https://no-color.org
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return line if is_plain else f"\x1b[{style}m{line}\x1b[0m"


def too_large(most: float) -> InferenceError:
    """Return the error for an answer, or part of one, of more than `most` bytes."""
    return InferenceError(
        f"The answer is larger than {most / MB:,.0f} MB; the rest was not read.",
        remedy="Check the endpoint: %wbconfig shows it. --max-tokens limits a reply.",
        cause="reply",
    )


def did_you_mean(wrong: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """Return `Did you mean X or Y?` for the names nearest to `wrong`, or an empty string. `least`: see `near_names`."""
    near = near_names(wrong, known, least=least)
    return f"Did you mean {' or '.join(map(visible, near))}?" if near else ""


def visible(name: str) -> str:
    """Return a name for a message: in quotes if it begins or ends with a blank, or has characters that are not seen."""
    return name if name.isprintable() and name == name.strip() else repr(name)


def near_names(wrong: str, known: Iterable[str], *, least: float = 0.6) -> list[str]:
    """Return the names nearest to `wrong`, three at most.

    `least` is the similarity that a name must have, from 0 to 1.
    """
    # Imported when a name is wrong, so that loading the extension is fast.
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    # What was typed may be the beginning of a name.
    begun = [name for name in by_lower if len(wrong.strip("-")) > 1 and name.startswith(wrong.lower())]
    close = get_close_matches(wrong.lower(), list(by_lower), n=3, cutoff=least)
    return [by_lower[name] for name in dict.fromkeys((*begun, *close))][:3]


def users_failures() -> tuple[type[BaseException], ...]:
    """Return what `except` catches where the user's code runs: all that it raises but interrupts.

    Among that are a cancellation, SystemExit, and the panics of Rust libraries such as polars, which are no Exception
    and of which each library has a type of its own. Call it in the `except` clause.
    """
    raised = sys.exc_info()[0]
    return () if raised is None or issubclass(raised, KeyboardInterrupt) else (raised,)


def describe_exception(error: BaseException) -> str:
    """Return the type and the text of an exception of other code, such as `ValueError: no such column`.

    A group of one exception, which libraries raise that run several tasks, is described as that one.
    """
    match getattr(error, "exceptions", ()):
        case (BaseException() as only,):
            return describe_exception(only)
    try:
        return f"{type(error).__name__}: {error}"
    except users_failures():
        return type(error).__name__


def quoted(text: str) -> str:
    """Return a text from elsewhere for quoting in a message: made safe, on one line, short, without secrets."""
    # Redact before cutting: part of a key would not be recognised.
    text = " ".join(_beginning(safe_plain(text[:MAX_READ_CHARS])).split())
    return text if len(text) <= MAX_QUOTE_CHARS else f"{text[: grapheme_start(text, MAX_QUOTE_CHARS - 1)]}…"


def it_said(text: str) -> str:
    """Return a sentence that quotes what a service or a model has said, as `quoted` does."""
    said = quoted(text)
    return f'It said: "{said}"' if said.endswith((".", "!", "?", "…", "。")) else f'It said: "{said}".'


def shortened(text: str, most: int = 40) -> str:
    """Return a text for showing in a message: at most `most` characters, without secrets."""
    text = _beginning(text[:MAX_READ_CHARS])
    return text if len(text) <= most else f"{text[: grapheme_start(text, most - 3)]}..."


def shortened_repr(value: object) -> str:
    """Return how Python writes a value, shortened for a message; its type if it cannot be written.

    The `repr` of another class may raise, and that of an integer does if it has too many digits.
    """
    try:
        return shortened(repr(value))
    except users_failures():
        return f"a value of type {type(value).__name__}"


def _beginning(text: str) -> str:
    """Return a text without secrets. A text that may have been cut loses its end too: part of a secret may be there."""
    return redacted(text)[:-MAX_SECRET_CHARS] if len(text) >= MAX_READ_CHARS - MAX_SECRET_CHARS else redacted(text)
