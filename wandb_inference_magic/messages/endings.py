"""How a reply ends: what each `finish_reason` means. Only this module decides whether a reply is complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What services send as `finish_reason`, by its meaning in the OpenAI API. Compared in lower case.
ENDS: Final = {
    "stop": ("stop", "eos", "eos_token", "stop_sequence", "stop_token", "end_turn", "end", "complete", "completed"),
    "length": ("length", "max_tokens", "max_length", "max_output_tokens", "model_length", "token_limit"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
    "content_filter": (
        "content_filter",
        "content_filtered",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "sensitive",
        "refusal",
        "guardrail_intervened",
    ),
}
# With these the service says that it stopped because something went wrong.
BROKEN: Final = (
    "error",
    "abort",
    "aborted",
    "cancelled",
    "canceled",
    "timeout",
    "network_error",
    "overloaded",
    "engine_overloaded",
    "insufficient_system_resource",
    "malformed_function_call",
    "unexpected_tool_call",
)
_MEANINGS: Final = {form: meaning for meaning, forms in ENDS.items() for form in forms}


def finish_meaning(reason: object) -> str | None:
    """Return a `finish_reason` in the words of the OpenAI API; one of unknown meaning as received; None for none."""
    if not isinstance(reason, str) or not reason.strip():
        return None
    return _MEANINGS.get(reason.strip().lower(), reason)


def is_broken(reason: object) -> bool:
    """Return whether a `finish_reason` says that the reply was stopped by an error."""
    return isinstance(reason, str) and reason.strip().lower() in BROKEN


@dataclass(slots=True)
class Completeness:
    """Whether a reply is complete, as far as it has been received.

    Attributes
    ----------
    has_finished : bool
        A `finish_reason` of known meaning was received.
    is_done : bool
        The end was received: `[DONE]` of a stream, or the whole of a document.
    has_choice : bool
        A choice was received.
    """

    has_finished: bool = False
    is_done: bool = False
    has_choice: bool = False

    def take(self, reason: object) -> None:
        """Take the `finish_reason` of a choice."""
        self.has_choice = True
        self.has_finished = self.has_finished or finish_meaning(reason) in ENDS

    @property
    def is_complete(self) -> bool:
        """Whether the reply is complete. A connection that was closed is not an end."""
        return self.has_finished or self.is_done
