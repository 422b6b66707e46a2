"""The threads of a session, by name."""

from __future__ import annotations

from threading import Lock

from ..errors import InferenceError, did_you_mean, quoted
from .thread import DEFAULT_THREAD, Thread


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
