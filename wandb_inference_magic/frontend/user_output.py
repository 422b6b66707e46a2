"""Find out whether the user's code shows something while this package runs it: a tool, or a function in a template."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class UserOutput:
    """Whether the user's code has shown something in the cell, so that the cell's output is not only a reply."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.is_shown = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch, inside the `with` block, what is printed and displayed. It is passed on unchanged."""
        with ExitStack() as stack:
            stack.enter_context(_noting_writes(self._note))
            publisher: Any = self._shell.display_pub
            if hasattr(publisher, "register_hook"):
                publisher.register_hook(self._note_message)
                stack.callback(publisher.unregister_hook, self._note_message)
            yield

    def watched_printing(self) -> AbstractContextManager[None]:
        """Return a context manager for a block in which what is printed is watched, but not what is displayed."""
        return _noting_writes(self._note)

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        """Take nothing that is shown inside the `with` block for the user's."""
        before = self.is_shown
        try:
            yield
        finally:
            self.is_shown = before

    def _note(self) -> None:
        self.is_shown = True

    def _note_message(self, message: Any) -> Any:
        self.is_shown = True
        return message


# What is called for each write, with the thread that watches, and the streams that are watched.
_watching: list[tuple[int, Callable[[], None]]] = []
_streams: list[_Watched] = []
_lock = Lock()


@contextmanager
def _noting_writes(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` when something is written to stdout or stderr inside the `with` block.

    Cells of several subshells may do so at the same time: the first one begins to watch the streams, and the last one
    ends it.
    """
    entry = get_ident(), note
    with _lock:
        if not _watching:
            # Without a console there may be no stream.
            _streams.extend(_Watched(one) for one in (sys.stdout, sys.stderr) if one is not None)
        _watching.append(entry)
    try:
        yield
    finally:
        with _lock:
            _watching.remove(entry)
            while not _watching and _streams:
                _streams.pop().end()


def _note_write() -> None:
    """Note a write for those who watch in this thread; in a thread that the user's code has started, for all."""
    watching = list(_watching)
    own = [note for thread, note in watching if thread == get_ident()]
    for note in own or [note for _, note in watching]:
        note()


class _Watched:
    """A stream whose method `write` is replaced: what logs has the stream itself, from before."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._before = stream, _own_write(stream)
        write = stream.write

        def noted(text: str) -> Any:
            if text:
                _note_write()
            return write(text)

        self._noted = noted
        # One with slots cannot be watched.
        with suppress(AttributeError):
            stream.write = noted

    def end(self) -> None:
        """Put the method back, unless the user's code has put another one there."""
        if _own_write(self._stream) is self._noted:
            del self._stream.write
            if self._before is not None:
                self._stream.write = self._before


def _own_write(stream: Any) -> Any:
    """Return the method that a stream itself has in place of that of its class, or None."""
    return getattr(stream, "__dict__", {}).get("write")
