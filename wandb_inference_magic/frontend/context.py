"""What a magic has around it when it runs: the shell and its names, the session, the cell, and where to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .canvas import NotebookCanvas, is_notebook
from .terminal import terminal_canvas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from ..session import Session
    from .canvas import Canvas
    from .execution import ExecutionInfo
    from .last_error import LastError


@dataclass(frozen=True, slots=True)
class MagicContext:
    """`owns_cell` tells whether the magic's is the first output of its cell."""

    shell: InteractiveShell
    session: Session
    cell: ExecutionInfo
    owns_cell: bool
    last_error: LastError

    @property
    def names(self) -> Mapping[str, Any]:
        """The notebook's names."""
        names: dict[str, Any] = self.shell.user_ns
        return names

    def put(self, name: str, value: object) -> None:
        """Put a value under a name into the notebook."""
        self.shell.user_ns[name] = value

    def canvas(self, format: str = "markdown") -> Canvas:
        """Return where this front end draws."""
        if not is_notebook(self.shell):
            return terminal_canvas(format)
        return NotebookCanvas(
            self.shell,
            owns_cell=self.owns_cell,
            format=format,
            allow_images_from=self.session.resolve().allow_images_from,
        )
