"""The context in which a magic runs: the shell and its names, the session, the cell and the canvas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..session import Command
from .canvas import NotebookCanvas, is_notebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from ..session import Session
    from .canvas import Canvas
    from .execution import ExecutionInfo
    from .last_error import LastError


@dataclass(frozen=True)
class MagicContext:
    """The context in which a magic runs. `owns_cell` is true if the magic's output is the first of its cell."""

    shell: InteractiveShell
    session: Session
    cell: ExecutionInfo
    owns_cell: bool
    last_error: LastError

    @cached_property
    def command(self) -> Command:
        """What the magic works with: settings, cassette and endpoint, resolved once."""
        return Command(self.session)

    @property
    def names(self) -> Mapping[str, Any]:
        """The notebook's names."""
        names: dict[str, Any] = self.shell.user_ns
        return names

    def put(self, name: str, value: object) -> None:
        """Assign a value to a name in the notebook."""
        self.shell.user_ns[name] = value

    def canvas(self, format: str = "markdown") -> Canvas:
        """Return the canvas for this front end."""
        if not is_notebook(self.shell):
            # Imported in a terminal only, because rich is slow to import.
            from .terminal import terminal_canvas

            return terminal_canvas(format)
        return NotebookCanvas(
            self.shell,
            owns_cell=self.owns_cell,
            format=format,
            allow_images_from=self.session.settings.allow_images_from,
        )
