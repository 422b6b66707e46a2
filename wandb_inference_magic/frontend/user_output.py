"""Find out whether the user's code shows something while this package runs it: a tool, or a function in a template."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
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
            stack.enter_context(redirect_stdout(_Noted(sys.stdout, self._note)))
            stack.enter_context(redirect_stderr(_Noted(sys.stderr, self._note)))
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


class _Noted:
    """A stream that notes what is written to it."""

    def __init__(self, stream: Any, note: Callable[[], None]) -> None:
        self._stream = stream
        self._note = note

    def write(self, text: str) -> Any:
        if text:
            self._note()
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
