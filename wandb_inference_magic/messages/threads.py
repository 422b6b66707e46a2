"""The threads of a session, and the parts of a thread that cells have begun afresh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import Lock

from ..errors import InferenceError, did_you_mean, quoted
from .thread import DEFAULT_THREAD, Origin, Thread, Turn


class ThreadParts:
    """One thread by name: its parts, in the order of their cells.

    A cell that begins the thread afresh begins a part. The cells above and below that have another part keep it: if
    they are run again, they continue it.

    Attributes
    ----------
    name : str
    current : Thread
        The part that new cells continue: the one begun last, or one below it that was used since.
    exists : bool
        Whether a chat has used the thread. If not, cells may have a place in it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.current = Thread(name)
        self.exists = False
        self._parts = [self.current]
        # The cell that used the thread last.
        self._latest: str | None = None

    def of(self, cell: str | None) -> Thread:
        """Return the part that a cell has used, or the current one if it is a new cell."""
        return next((part for part in reversed(self._parts) if cell in part.cells), self.current)

    def note(self, cell: str | None) -> None:
        """Note that a cell uses the thread. A new one is the last one, and keeps this place when it is run again.

        If a turn is edited, it is a cell of that turn's part.
        """
        if cell is not None:
            self._latest = cell
            self._put(cell, next((part for part in self._parts if part.edited_place is not None), self.current))

    def before_chat(self, origin: Origin) -> Thread:
        """Return a copy of what a chat of a cell would continue, and note the cell. The chat may fail."""
        self.note(origin.cell)
        copy = ThreadParts(self.name)
        copy._parts = [replace(part, turns=[*part.turns], cells=[*part.cells]) for part in self._parts]
        copy.current = copy._parts[self._index(self.current)]
        return copy.continued(origin)

    def continued(self, origin: Origin) -> Thread:
        """Return the part that the turn of a cell continues, and note the cell.

        A part whose first cell now continues the one before becomes one with it.
        """
        self.note(origin.cell)
        part = self.of(origin.cell)
        if not self.current.turns or self._index(part) > self._index(self.current):
            self.current = part
        self._join_unless_begun(part, origin)
        return part

    def begin(self, part: Thread, origin: Origin) -> None:
        """Begin a part at a cell: the cells of its part that come after it belong to the new one."""
        before = self.of(origin.cell)
        cells, own = before.cells, [] if origin.cell is None else [origin.cell]
        at = cells.index(origin.cell) if origin.cell in cells else len(cells)
        part.cells, part.begun = [*own, *cells[at + 1 :]], origin
        kept = [before.until(cells[:at])] if at else []
        index = self._index(before)
        self._parts[index : index + 1] = [*kept, part]
        self.current, self._latest, self.exists = part, origin.cell, True

    def fill(self, thread: Thread) -> None:
        """Put an imported thread in the place of the current part, for all its cells."""
        thread.cells, thread.begun = self.current.cells, self.current.begun
        self._parts[self._index(self.current)] = thread
        self.current, self.exists = thread, True

    def empty(self, origin: Origin) -> None:
        """Remove all turns and system prompts, but not which cells have used the thread, and begin it at a cell."""
        self.begin(Thread(self.name), origin)
        end = self._index(self.current) + 1
        self.current.cells += [cell for part in self._parts[end:] for cell in part.cells]
        del self._parts[end:]
        for part in self._parts:
            part.turns, part.system, part.edited = [], None, None

    def shown_in(self, cell: str | None) -> Thread:
        """Return the part that a cell shows or takes a turn back from.

        If cells above are run again, it is theirs, up to the first cell after them. For a new cell it is the current
        one.
        """
        if cell is not None:
            self._put(cell, self.current)
        return self.of(cell) if self._follows_latest(cell) else self.current

    def edit(self, thread: Thread, turn: Turn) -> None:
        """Have the next chat of a new cell replace a turn of a part, and no turn that was chosen before."""
        for part in self._parts:
            part.edited = None
        thread.edited = turn

    def undo(self, cell: str | None = None) -> Turn | None:
        """Remove the last turn and return it, or None if there is none.

        Of a cell that is run again after the cells before it, it is the turn before the cell.
        """
        part, is_in_order = self.shown_in(cell), self._follows_latest(cell)
        if is_in_order:
            self.note(cell)
        return part.take_back(before=cell if is_in_order else None)

    def leave(self, origin: Origin) -> bool:
        """Remove the turns of earlier runs of a cell, and return whether there were any.

        A part that the cell has begun becomes one with the part before it.
        """
        if origin.cell is None:
            return False
        part = self.of(origin.cell)
        turns = [turn for turn in part.turns if turn.cell != origin.cell or turn.execution == origin.execution]
        has_left, part.turns = len(turns) < len(part.turns), turns
        self._join_unless_begun(part, origin)
        if has_left:
            self.exists = any(one.turns for one in self._parts)
        return has_left

    def _index(self, part: Thread) -> int:
        return next(index for index, one in enumerate(self._parts) if one is part)

    def _follows_latest(self, cell: str | None) -> bool:
        order = [one for part in self._parts for one in part.cells]
        return cell in order and self._latest in order and order.index(self._latest) <= order.index(cell)

    def _put(self, cell: str, part: Thread) -> None:
        """Put a new cell after those of a part, and after those of the parts below it that have no turns."""
        if cell in self.of(cell).cells:
            return
        for below in self._parts[self._index(part) + 1 :]:
            if below.turns:
                break
            self._join(below)
            part = below
        part.note(cell)

    def _join_unless_begun(self, part: Thread, origin: Origin) -> None:
        """Make one part of a part and the one before it, if an earlier run of a cell has begun it."""
        if origin.cell is not None and part.begun.cell == origin.cell and part.begun != origin:
            self._join(part)

    def _join(self, part: Thread) -> None:
        """Make one part of a part and the one before it, if there is one."""
        if index := self._index(part):
            before = self._parts.pop(index - 1)
            part.put_after(before)
            self.current = part if self.current is before else self.current


class Threads(Mapping[str, Thread]):
    """The current parts of the threads that exist, by name.

    `current` is the name of the one that the next chat continues. `recording` is held while a turn is recorded, because
    chats may run in several Python threads.
    """

    def __init__(self) -> None:
        self.current = DEFAULT_THREAD
        self.recording = Lock()
        self._named: dict[str, ThreadParts] = {}

    def __getitem__(self, name: str) -> Thread:
        if not (parts := self._named[name]).exists:
            raise KeyError(name)
        return parts.current

    def __iter__(self) -> Iterator[str]:
        return (name for name, parts in list(self._named.items()) if parts.exists)

    def __len__(self) -> int:
        return sum(parts.exists for parts in self._named.values())

    def parts(self, name: str) -> ThreadParts:
        """Return the thread with this name and all its parts. It is an empty one if there is none yet."""
        return self._named.setdefault(name, ThreadParts(name))

    def existing(self, name: str) -> ThreadParts:
        """Return the thread with this name and all its parts.

        Raises
        ------
        InferenceError
            When there is none.
        """
        if name in self:
            return self._named[name]
        near = did_you_mean(name, self)
        raise InferenceError(f"There is no thread {quoted(name)!r}.", remedy=near or "%wbthread lists the threads.")

    def leave(self, origin: Origin, kept: str | None) -> list[str]:
        """Remove the turns of earlier runs of a cell from all threads but `kept`. Return the names of those threads."""
        with self.recording:
            return [name for name, parts in list(self._named.items()) if name != kept and parts.leave(origin)]
