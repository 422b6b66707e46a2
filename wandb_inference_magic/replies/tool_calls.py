"""Puts tool calls together from their parts, as services send them in a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ..messages import ToolCall
from ..text import json_as_read, json_or_none, json_values, read_loose_json

# What tells where an object in JSON text ends, and the backslash of an escape that was cut.
_MARKS: Final = re.compile(r'\\.?|["{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class CallPart:
    """A tool call, or a part of one. `arguments` is JSON text, whole or a part; `extra` has its other fields."""

    index: int | None
    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any]


@dataclass(slots=True)
class _Call:
    """A tool call, as far as it has been received."""

    index: int
    id: str = ""
    name: str = ""
    # The id as it was received: some services give several calls the same one.
    received_id: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    # The arguments, which may come in many small pieces, and their number of characters.
    _pieces: list[str] = field(default_factory=list)
    size: int = 0
    # How many objects are open at their end, whether a text is, and the backslash that they end with.
    _depth: int = 0
    _is_in_text: bool = False
    _escape: str = ""

    @property
    def arguments(self) -> str:
        """The arguments as JSON text."""
        return "".join(self._pieces)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are an object. They are parsed only where it may have ended."""
        return not self._depth and not self._is_in_text and _is_object(self.arguments)

    def add_arguments(self, part: str) -> None:
        """Add a part of the arguments. Some services send all of them with each part, or an empty object first."""
        pieces = self._pieces
        # Compared only if they may be equal: most parts are small, and the arguments may be long.
        if part and self.size <= max(len(part), len("{}")) and _is_all_again(part, self.arguments):
            pieces, self.size, self._depth, self._is_in_text, self._escape = [], 0, 0, False, ""
        pieces.append(part)
        # With the part: another thread may read it.
        self._pieces = pieces
        self.size += len(part)
        marks = _MARKS.findall(self._escape + part)
        self._escape = "\\" if marks and marks[-1] == "\\" else ""
        for mark in marks:
            if mark == '"':
                self._is_in_text = not self._is_in_text
            elif mark in ("{", "}") and not self._is_in_text:
                self._depth += 1 if mark == "{" else -1


class ToolCallBuilder:
    """Collects the parts of tool calls. `calls` returns them in the order of their indexes."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, part: CallPart, position: int) -> None:
        """Add a part. `position` is its place in its chunk, for a service that sends no index."""
        index = position if part.index is None else part.index
        call = self._continued(part, index)
        if call is None:
            call = _Call(index)
            self._calls.append(call)
        elif _is_repeated(call, part):
            return
        if part.id and not call.id:
            call.received_id = part.id
            call.id = part.id if all(one.id != part.id for one in self._calls) else f"{part.id}-{len(self._calls)}"
        call.name = call.name + part.name if _continues_name(call, part) else part.name or call.name
        call.extra |= part.extra
        call.add_arguments(part.arguments)

    def _continued(self, part: CallPart, index: int) -> _Call | None:
        """Return the call that a part belongs to, or None if it begins one."""
        indexed = next((one for one in reversed(self._calls) if one.index == index), None)
        same_id = [one for one in self._calls if part.id and one.received_id == part.id]
        if same_id:
            # Several calls may have one id.
            same = next((one for one in reversed(same_id) if one.index == index), same_id[-1])
            is_apart = same.is_whole and (
                bool(part.arguments) if index != same.index else _is_other_object(same.arguments, part.arguments)
            )
            return None if _is_another(same, part) and (part.name != same.name or is_apart) else same
        if not part.name and not part.id and self._calls:
            last = self._calls[-1]
            if part.index is None or (indexed is None and _is_within(last, part)):
                return last
        return None if indexed is None or _is_another(indexed, part) else indexed

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls received so far."""
        # A part with neither says nothing of another call.
        named = (one for one in self._calls if one.name or one.arguments.strip())
        ordered = sorted(named, key=lambda one: one.index)
        return tuple(ToolCall(one.id, one.name, _decoded(one.arguments), one.extra) for one in ordered)


def _is_within(call: _Call, part: CallPart) -> bool:
    """Return whether a part without a name has more arguments of a call that is not whole, whatever index it has."""
    return part.arguments.strip()[:1] not in ("", "{") and not call.is_whole


def _is_another(call: _Call, part: CallPart) -> bool:
    """Return whether a part begins another call than the last one with its index. Some services number all calls 0.

    Other services repeat the name with each part of a call, or give each part an id of its own. A part without a name
    begins no call, and what began without one has its name in a part that follows.
    """
    if not part.name or not call.name:
        return False
    if part.id and call.id:
        return part.id != call.received_id or not _continues_name(call, part)
    if not call.size:
        return part.name != call.name and not _continues_name(call, part)
    return call.is_whole and (bool(part.arguments) or part.name != call.name)


def _continues_name(call: _Call, part: CallPart) -> bool:
    """Return whether a part has more of the name of a call, to which no arguments have come. Others repeat the name."""
    is_same = bool(call.received_id) and part.id in ("", call.received_id)
    is_repeated = call.name.endswith(part.name) or part.name.startswith(call.name)
    return is_same and bool(call.name) and not call.size and not is_repeated


def _is_repeated(call: _Call, part: CallPart) -> bool:
    """Return whether a part adds nothing to a whole call: services repeat it at the end, or add an empty object."""
    is_again = len(part.arguments) == call.size and part.arguments == call.arguments
    adds_nothing = is_again or part.arguments == "{}" or not part.arguments.strip()
    return adds_nothing and not part.extra and bool(call.name) and call.is_whole


def _is_all_again(part: str, arguments: str) -> bool:
    return arguments == "{}" or (arguments.lstrip().startswith("{") and part.startswith(arguments))


def _is_object(text: str) -> bool:
    return text.rstrip().endswith("}") and isinstance(json_or_none(text), dict)


def _is_other_object(arguments: str, part: str) -> bool:
    """Return whether a part has all arguments of another call. Some services send an empty object before or after."""
    return "{}" not in (arguments, part) and _is_object(part) and json_or_none(part) != json_or_none(arguments)


def _decoded(arguments: str) -> str:
    """Return arguments that are encoded, written twice, null, in a code block or among words as the object in them."""
    if arguments.strip() == "null":
        return "{}"
    with suppress(ValueError, RecursionError):
        if not isinstance(json.loads(arguments), str):
            return arguments
    inner = json_or_none(arguments)
    with suppress(ValueError):
        # Of two objects that differ, nothing says which is meant.
        found = [inner] if isinstance(inner, dict) else [*json_values(inner if isinstance(inner, str) else arguments)]
        if found and isinstance(found[0], dict) and all(one == found[0] for one in found):
            return json_as_read(found[0])
    with suppress(ValueError):
        if isinstance(loose := read_loose_json(arguments.strip()), dict):
            return json_as_read(loose)
    return arguments
