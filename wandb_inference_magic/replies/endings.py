"""How a reply ends: what each `finish_reason` means. Only this module decides whether a reply is complete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# What services send as `finish_reason`, by its meaning in the OpenAI API. Only letters count, without case.
ENDS: Final = {
    "stop": "stop stopped eos eostoken stopsequence stoptoken endturn end complete completed finish finished done"
    " normal success",
    "length": "length maxtokens maxlength maxlen maxoutputtokens maxnewtokens modellength tokenlimit lengthlimit"
    " incomplete contextlengthexceeded contextwindowexceeded modelcontextwindowexceeded repetition",
    "tool_calls": "toolcalls toolcall tooluse functioncall functioncalls",
    # More of them are known by their words.
    "content_filter": "errortoxic recitation spii language",
}
# Reasons by a word in them; the first that fits counts. Patterns as text: `re` compiles each on its first use.
_BROKEN_WORDS: Final = (
    r"error|exception|fail|abort|cancel|interrupt|preempt|reject|disconnect|overload|insufficient|memory"
    r"|timeout|timedout|timelimit|malformed|invalid|unexpected|missing|toomany"
)
_WORDS: Final = {
    "content_filter": r"filter|safety|prohibited|policy|guardrail|blocked|blocklist|sensitive|refus|moderat|modelarmor"
    r"|violat",
    "length": r"length|maxtokens|contextwindow|tokenlimit|cutoff",
    "stop": r"stop|eos",
}
_MEANINGS: Final = {form: meaning for meaning, forms in ENDS.items() for form in forms.split()}


def finish_meaning(reason: object) -> str | None:
    """Return a `finish_reason` in the words of the OpenAI API; one of unknown meaning as received; None for none."""
    if isinstance(reason, dict):
        reason = reason.get("type")
    letters = _letters(reason)
    if not isinstance(reason, str) or not reason.strip() or letters in ("null", "none"):
        return None
    if letters in _MEANINGS or is_broken(reason):
        return _MEANINGS.get(letters, reason)
    return next((meaning for meaning, words in _WORDS.items() if re.search(words, letters)), reason)


def is_broken(reason: object) -> bool:
    """Return whether a `finish_reason` says that the service stopped because something went wrong."""
    letters = _letters(reason)
    return letters not in _MEANINGS and re.search(_BROKEN_WORDS, letters) is not None


def _letters(reason: object) -> str:
    reason = reason.get("type") if isinstance(reason, dict) else reason
    letters = re.sub(r"[^a-z]", "", reason.lower()) if isinstance(reason, str) else ""
    # `FinishReason.MAX_TOKENS`, `REASON_MAX_LEN`
    return re.sub(r"^(finish)?reason", "", letters)


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
