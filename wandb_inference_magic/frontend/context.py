"""The context in which a magic runs: the shell and its names, the session, the cell and the canvas."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from inspect import CO_NEWLOCALS, unwrap
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from ..arguments import MAGICS
from ..errors import shortened
from ..session import Command
from ..text import python_name
from .canvas import NotebookCanvas, has_no_colours, is_notebook
from .execution import bare_lines
from .output_widget import takes_output

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..session import JobEntry, Session
    from .canvas import Canvas
    from .execution import ExecutionInfo
    from .last_error import LastError
    from .user_output import UserOutput

_FUNCTIONS_OF_IPYTHON: Final = ("exit", "get_ipython", "open", "quit")
_OWN: Final = __name__.partition(".")[0]
_MAGIC: Final = re.compile(r"^%%?(\w+)(?!\S).*", re.MULTILINE)
# A block of code of Markdown. One that is not closed goes on to the end.
_FENCED: Final = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)


def names_in_scope(shell: InteractiveShell) -> Mapping[str, Any]:
    """Return the names at the place where the running magic was called, as Python would look them up there.

    They are those of the calling function, of the functions around it that are running, of its module, and of the
    notebook. IPython passes a magic the names of its caller (`needs_local_scope`) only for a line magic, and not
    those of the functions around it.

    Functions of IPython that the user has not replaced are not among them, as those of Python are not.
    """
    notebook: dict[str, Any] = shell.user_ns
    hidden = shell.user_ns_hidden
    # Of a shell that is embedded in a function, the notebook's names are the function's, and outside is its module.
    names = {
        name: value
        for name, value in {**shell.user_global_ns, **notebook}.items()
        if name not in _FUNCTIONS_OF_IPYTHON or value is not hidden.get(name, hidden)
    }
    frame = _calling_frame()
    if frame is None or frame.f_locals is notebook:
        return names
    if frame.f_globals is not notebook:
        names |= frame.f_globals
    running = [frame, *_frames_around(frame)]
    for code in _codes_around(frame):
        if not any(one.f_code is code for one in running):
            # This function has ended, and with it what the running one has not kept. A name outside is another one.
            for name in (*code.co_varnames, *code.co_cellvars):
                names.pop(name, None)
    for one in reversed(running):
        # A variable that has no value yet hides the one of the same name outside.
        for name in (*one.f_code.co_varnames, *one.f_code.co_cellvars, *one.f_code.co_freevars):
            names.pop(name, None)
        names |= one.f_locals
    return names


def _calling_frame() -> FrameType | None:
    """Return the frame of the code that called the magic, by way of IPython or as a function."""
    frame: FrameType | None = sys._getframe()
    magic = frame
    while frame is not None and not _is_of(frame, "IPython"):
        magic = frame if _is_of(frame, _OWN) else magic
        frame = frame.f_back
    frame = magic and magic.f_back
    while frame is not None and _is_of(frame, "IPython"):
        frame = frame.f_back
    return frame


def is_shown_by_ipython(magic: str, line: str) -> bool:
    """Return whether IPython would show the value of the running magic, a statement of its own."""
    # What runs need not be the cell: IPython's `-c`, `%%capture` and others run code of their own.
    frame = _calling_frame()
    source = "" if frame is None else "".join(linecache.getlines(frame.f_code.co_filename))
    return line.strip() in bare_lines(source, magic)


def _is_of(frame: FrameType, package: str) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(f"{package}.")


def _frames_around(frame: FrameType) -> Iterator[FrameType]:
    """Yield the running functions in which the code of a frame is defined, from the inside out."""
    code, outer = frame.f_code, frame.f_back
    while outer is not None:
        if code in outer.f_code.co_consts:
            code = outer.f_code
            # A class body has names too, but functions defined in it do not see them.
            if code.co_flags & CO_NEWLOCALS:
                yield outer
        outer = outer.f_back


def _codes_around(frame: FrameType) -> list[CodeType]:
    """Return the code of the functions in which that of a frame is defined, from the outside in. From Python 3.11."""
    outermost, is_inside, _ = getattr(frame.f_code, "co_qualname", "").partition(".<locals>")
    value: Any = frame.f_globals.get(outermost.partition(".")[0]) if is_inside else None
    for name in outermost.split(".")[1:]:
        value = getattr(value, name, None)
    code = getattr(unwrap(value) if callable(value) else None, "__code__", None)
    return _path(code, frame.f_code) if isinstance(code, CodeType) else []


def _path(outer: CodeType, inner: CodeType) -> list[CodeType]:
    for one in outer.co_consts:
        if one is inner:
            return [outer]
        if isinstance(one, CodeType) and (found := _path(one, inner)):
            return [outer, *found]
    return []


@dataclass(frozen=True)
class MagicContext:
    """The context in which a magic runs.

    Attributes
    ----------
    owns_cell : bool
        Whether nothing of the cell comes before the magic.
    user_output : UserOutput
        What the user's code has shown that this magic has run. The magic's output is below it.
    stop_button : callable
        Takes the command as a job, and returns a context manager that shows a button that ends it.
    """

    shell: InteractiveShell
    session: Session
    cell: ExecutionInfo
    owns_cell: bool
    user_output: UserOutput
    last_error: LastError
    stop_button: Callable[[JobEntry], AbstractContextManager[None]]

    @cached_property
    def command(self) -> Command:
        """What the magic works with: settings, cassette and endpoint, resolved once."""
        command = Command(self.session)
        if self.cell.in_other_thread and (takes_output(self.shell) or not self.cell.is_callback):
            command.show_stop_button = self.stop_button
        return command

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """The names at the place where the magic was called."""
        return names_in_scope(self.shell)

    def put(self, name: str, value: object) -> None:
        """Assign a value to a name in the notebook, in the form in which Python looks names up."""
        self.shell.user_ns[python_name(name)] = value

    def merged_prompts(self, text: str) -> tuple[str, ...]:
        """Return a notice if a line of a cell's prompt is a magic with a prompt: two cells may have become one."""
        magics = self.shell.magics_manager.magics
        for found in _MAGIC.finditer(_FENCED.sub("", text)):
            magic = magics["cell"].get(found[1]) or magics["line"].get(found[1])
            what = found[0].rstrip()
            # A prompt of one line may be about the magic.
            is_merged = what.startswith("%%") or what != text.strip()
            # Another name of one (`%alias_magic`).
            if is_merged and f"%%{getattr(magic, 'magic_name', found[1])}" in MAGICS:
                what = shortened(what)
                return (f"{what} is part of the prompt: a cell has one prompt. Put it into a cell of its own.",)
        return ()

    def canvas(self, format: str = "markdown") -> Canvas:
        """Return the canvas for this front end."""
        if not is_notebook(self.shell):
            # Imported in a terminal only, because rich is slow to import.
            from .terminal import terminal_canvas

            return terminal_canvas(format, has_no_colours=has_no_colours(self.shell))
        return NotebookCanvas(
            self.shell,
            owns_cell=self.owns_cell and not self.user_output.is_shown,
            is_final_new=self.cell.may_be_console,
            format=format,
            allow_images_from=self.session.settings.allow_images_from,
        )
