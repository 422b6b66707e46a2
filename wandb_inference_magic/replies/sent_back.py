"""The reasoning of a reply in the form in which it came: some models need it back with the results of their tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .forms import SENT_BACK, add_block, thoughts_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..messages import Message


class SentBack:
    """Collects the reasoning in the deltas of a reply: by fields, and the parts of its content."""

    def __init__(self) -> None:
        self._fields: dict[str, list[Any]] = {}
        self._thoughts: list[dict[str, Any]] = []

    def add(self, delta: Mapping[str, Any]) -> None:
        """Add what a delta has besides texts."""
        for thought in thoughts_in(delta.get("content")):
            add_block(self._thoughts, thought)
        for name in SENT_BACK:
            if value := delta.get(name):
                for one in value if isinstance(value, list) else [value]:
                    add_block(self._fields.setdefault(name, []), one)

    def add_text(self, name: str, text: str) -> None:
        """Add a piece of reasoning in a field."""
        if name not in ("content", "thought", *SENT_BACK):
            self._fields.setdefault(name, []).append(text)

    @property
    def text_of_fields(self) -> str:
        """The reasoning in fields of its own."""
        return "".join(one for pieces in self._fields.values() for one in pieces if isinstance(one, str)).strip()

    def message(self, text: str) -> Message:
        """Return the fields of a message with this text. They are empty if no reasoning came."""
        fields: Message = {
            name: values if name in SENT_BACK and not isinstance(values[0], str) else "".join(values)
            for name, values in self._fields.items()
        }
        if not self._thoughts:
            return fields
        return fields | {"content": [*self._thoughts, *([{"type": "text", "text": text}] if text else [])]}
