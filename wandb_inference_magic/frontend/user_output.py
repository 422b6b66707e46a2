"""Find out whether the user's code shows something while this package runs it: a tool, or a function in a template."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class UserOutput:
    """Whether the user's code has shown something in the cell, so that the cell's output is not only a reply.

    `is_cleared` is true if it has removed all output of the cell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.is_shown = self.is_cleared = False

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

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        """Take nothing that is shown inside the `with` block for the user's."""
        before = self.is_shown, self.is_cleared
        try:
            yield
        finally:
            self.is_shown, self.is_cleared = before

    def _note(self) -> None:
        self.is_shown = True

    def _note_message(self, message: Any) -> Any:
        self.is_shown = True
        self.is_cleared = self.is_cleared or message["msg_type"] == "clear_output"
        return message


# What is called for each write, with the thread that watches, and the streams that are replaced meanwhile.
_watching: list[tuple[int, Callable[[], None]]] = []
_replaced: list[tuple[str, Any, _Noted]] = []
_lock = Lock()


@contextmanager
def _noting_writes(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` when something is written to stdout or stderr inside the `with` block.

    Cells of several subshells may do so at the same time: the streams are replaced by the first, and put back by the
    last.
    """
    entry = get_ident(), note
    with _lock:
        if not _watching:
            for name in ("stdout", "stderr"):
                # Without a console there may be none.
                if (stream := getattr(sys, name)) is not None:
                    noted = _Noted(stream)
                    _replaced.append((name, stream, noted))
                    setattr(sys, name, noted)
        _watching.append(entry)
    try:
        yield
    finally:
        with _lock:
            _watching.remove(entry)
            while not _watching and _replaced:
                name, stream, noted = _replaced.pop()
                # The user's code may have put another one there for good.
                if getattr(sys, name) is noted:
                    setattr(sys, name, stream)


def _note_write() -> None:
    """Note a write for those who watch in this thread; in a thread that the user's code has started, for all."""
    watching = list(_watching)
    own = [note for thread, note in watching if thread == get_ident()]
    for note in own or [note for _, note in watching]:
        note()


class _Noted:
    """A stream that notes what is written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        if text:
            _note_write()
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
