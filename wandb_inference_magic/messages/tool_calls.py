"""Puts tool calls together from their parts, as services send them in a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text import read_json_text
from .reply import ToolCall

if TYPE_CHECKING:
    from .forms import CallPart


@dataclass(slots=True)
class _Call:
    """A tool call, as far as it has been received."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCallBuilder:
    """Collects the parts of tool calls. `calls` returns them in the order of their indexes."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, part: CallPart, position: int) -> None:
        """Add a part. `position` is its place in its chunk, for a service that sends no index."""
        index = position if part.index is None else part.index
        call = next((one for one in reversed(self._calls) if one.index == index), None)
        if call is None or _begins_another(call, part):
            call = _Call(index)
            self._calls.append(call)
        call.id = part.id or call.id
        call.name = part.name or call.name
        call.arguments += part.arguments

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls received so far."""
        return tuple(
            ToolCall(one.id, one.name, one.arguments) for one in sorted(self._calls, key=lambda one: one.index)
        )


def _begins_another(call: _Call, part: CallPart) -> bool:
    """Return whether a part with the index of a call belongs to another one. Some services number all calls 0.

    Other services repeat the id and the name with each part of one call.
    """
    if part.id and call.id:
        return part.id != call.id
    return bool(part.name and part.arguments) and _is_json(call.arguments)


def _is_json(text: str) -> bool:
    try:
        read_json_text(text)
    except ValueError:
        return False
    return True
