"""How a reply ends: what each `finish_reason` means. Only this module decides whether a reply is complete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

BROKEN: Final = "error"
# A complete reply ends with one of these, as the OpenAI API names them.
ENDS: Final = ("stop", "length", "tool_calls", "content_filter")
# Those of a reply that was cut.
CUTS: Final = ("length", "content_filter")
# What the letters of a `finish_reason` mean, in lower case: the first row that fits counts. A new reason is a word in
# a row. Patterns as text: `re` compiles each on its first use.
_MEANINGS: Final = (
    ("stop", r"end|endturn|completed?|finish|finished|done|normal|success"),
    ("length", r"incomplete|maxlen"),
    ("tool_calls", r"toolcalls?|tooluse|functioncalls?"),
    ("content_filter", r"errortoxic|spii|language"),
    (
        BROKEN,
        r".*(error|exception|fail|abort|cancel|interrupt|preempt|reject|disconnect|overload|insufficient|memory"
        r"|timeout|timedout|timelimit|malformed|invalid|unexpected|missing|toomany).*",
    ),
    (
        "content_filter",
        r".*(filter|safety|prohibited|policy|guardrail|blocked|bl[ao]cklist|sensitive|refus|moderat|modelarmor|violat"
        r"|recitation).*",
    ),
    ("length", r".*(length|max\w*tokens|maxoutput|context|tokenlimit|cutoff|truncated|truncation|repetition).*"),
    ("stop", r".*(stop|eos).*"),
)

# The fields of a choice or its delta that say how the reply ended, and those that have the word of the service behind
# a gateway for it. The gateway has translated that word: it counts only if it names an error.
REASONS: Final = ("finish_reason", "finishReason", "finish_details")
NATIVE_REASONS: Final = ("native_finish_reason", "rawFinishReason")


def finish_in(choice: Mapping[str, Any]) -> object:
    """Return why a reply ended, wherever a choice says so: a reason that names an error before any other."""
    parts = [one for one in (choice, choice.get("delta"), choice.get("message")) if isinstance(one, dict)]
    reasons = [part[name] for part in parts for name in REASONS if part.get(name)]
    broken = (one for one in (*reasons, *map(choice.get, NATIVE_REASONS)) if is_broken(one))
    return next(broken, None) or next(filter(finish_meaning, reasons), None)


def finish_meaning(reason: object) -> str | None:
    """Return a `finish_reason` in the words of the OpenAI API; one of another meaning as received; None for none."""
    text = _text(reason)
    if not text.strip() or _letters(text) in ("null", "none"):
        return None
    meaning = _meaning(text)
    return meaning if meaning in ENDS else text


def is_broken(reason: object) -> bool:
    """Return whether a `finish_reason` says that the service stopped because something went wrong."""
    return _meaning(_text(reason)) == BROKEN


# Every chunk may name a reason, and almost all name the same few.
@lru_cache(maxsize=64)
def _meaning(text: str) -> str | None:
    letters = _letters(text)
    return next((meaning for meaning, pattern in _MEANINGS if letters and re.fullmatch(pattern, letters)), None)


def _text(reason: object) -> str:
    reason = reason.get("type") if isinstance(reason, dict) else reason
    return reason if isinstance(reason, str) else ""


def _letters(text: str) -> str:
    # `FinishReason.MAX_TOKENS`, `REASON_MAX_LEN`
    return re.sub(r"^(finish)?reason", "", re.sub(r"[^a-z]", "", text.lower()))


@dataclass(slots=True)
class Completeness:
    """Whether a reply is complete, as far as it has been received.

    Attributes
    ----------
    has_finished : bool
        A `finish_reason` of known meaning was received, and no text after it.
    is_certain : bool
        A `finish_reason` can be relied on: none was followed by more of the reply.
    is_done : bool
        The end was received: `[DONE]` of a stream, or the whole of a document.
    has_choice : bool
        A choice was received.
    """

    has_finished: bool = False
    is_done: bool = False
    has_choice: bool = False
    is_certain: bool = True

    def take(self, reason: object, *, adds: bool = False) -> None:
        """Take the `finish_reason` of a choice, and whether the choice adds to the reply."""
        self.has_choice = True
        if adds and self.has_finished:
            # Some servers send `stop` with every chunk.
            self.has_finished, self.is_certain = False, False
        self.has_finished = self.has_finished or finish_meaning(reason) in ENDS

    @property
    def is_complete(self) -> bool:
        """Whether the reply is complete. A connection that was closed is not an end."""
        return self.has_finished or self.is_done

    @property
    def is_complete_if_cut(self) -> bool:
        """Whether the reply is complete even if the connection breaks now."""
        return self.is_done or (self.has_finished and self.is_certain)
