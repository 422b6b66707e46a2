"""The threads of a session, by name."""

from __future__ import annotations

from threading import Lock

from ..errors import InferenceError, did_you_mean, quoted
from .thread import DEFAULT_THREAD, Origin, Thread


class Threads(dict[str, Thread]):
    """The threads that have turns. `current` is the name of the one that the next chat continues.

    `recording` is held while a turn is recorded, because chats may run in several Python threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = DEFAULT_THREAD
        self.recording = Lock()

    def get_or_new(self, name: str) -> Thread:
        """Return the thread with this name, or an empty one if there is none yet."""
        return self.get(name) or Thread(name)

    def leave(self, origin: Origin, kept: str | None) -> list[str]:
        """Remove the turns of earlier runs of a cell from all threads but `kept`. Return the names of those threads."""
        left = []
        with self.recording:
            for name, thread in list(self.items()):
                turns = [
                    turn for turn in thread.turns if turn.cell != origin.cell or turn.execution == origin.execution
                ]
                if origin.cell is None or name == kept or len(turns) == len(thread.turns):
                    continue
                thread.turns = turns
                left.append(name)
                if not turns:
                    del self[name]
        return left

    def existing(self, name: str) -> Thread:
        """Return the thread with this name.

        Raises
        ------
        InferenceError
            When there is none.
        """
        if name in self:
            return self[name]
        near = did_you_mean(name, self)
        raise InferenceError(
            f"There is no thread {quoted(name)!r}.", remedy=near or "%wbthread lists the threads.", cause="option"
        )
