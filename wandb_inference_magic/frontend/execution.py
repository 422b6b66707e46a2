"""Information about the running cell: its id, its execution, and how it calls a magic."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping, Set as AnySet
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Final

from ..messages import Origin

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

RUNNERS: Final = ("run_line_magic", "run_cell_magic")


@dataclass(frozen=True)
class ExecutionInfo:
    """The running cell. `id` is None if the front end sends no id. `source` is its code as it is typed.

    `transform` returns the code that Python runs. It takes as long as the cell is, so it is called only if needed.

    In a widget callback no cell runs (`is_callback`), and there is no id and no source. `is_interactive` is true if
    a user may be present to use a widget. It is false for a notebook that nbclient, nbconvert or papermill executes.
    `in_other_thread` is true for a callback or a cell that runs outside the main thread, where no interrupt reaches it.
    """

    id: str | None
    execution: str | None
    source: str
    transform: Callable[[str], Any] = str
    in_kernel: bool = False
    is_callback: bool = False
    is_interactive: bool = True
    in_other_thread: bool = False

    @classmethod
    def running(cls, shell: InteractiveShell, own_id: str | None = None) -> ExecutionInfo:
        """Return the running cell, from the kernel's request or else from the shell's history.

        Parameters
        ----------
        shell : InteractiveShell
        own_id : str, optional
            The id that IPython received (`run_cell(..., cell_id=...)`), for front ends that send no other id.
        """
        # The kernel of JupyterLite keeps the request itself, and its shell does not give it.
        get_parent = getattr(shell, "get_parent", None) or getattr(getattr(shell, "kernel", None), "get_parent", None)
        parent: Mapping[str, Any] = (get_parent() if get_parent else None) or {}
        content = parent.get("content") or {}
        header = parent.get("header") or {}
        # Cells that run without a request are identified by the shell's execution count.
        execution = header.get("msg_id") or f"execution {shell.execution_count}"
        # xeus-python gives the header of a cell's request, and nothing else of it.
        is_callback = bool(header) and "code" not in content and header.get("msg_type") != "execute_request"
        # A thread that the user's code starts in a cell does not count.
        in_other_thread = (is_callback or bool(header.get("subshell_id"))) and current_thread() is not main_thread()
        if is_callback:
            return cls(None, execution, "", in_kernel=True, is_callback=True, in_other_thread=in_other_thread)
        source = content.get("code") if "code" in content else shell.user_ns.get("_ih", [""])[-1]
        return cls(
            _cell_id(parent.get("metadata") or {}) or own_id,
            execution,
            str(source or ""),
            shell.transform_cell,
            in_kernel=get_parent is not None,
            is_interactive=_is_interactive(content),
            in_other_thread=in_other_thread,
        )

    @property
    def may_be_console(self) -> bool:
        """Whether the front end may be a console: one with a user, and without cell ids.

        The consoles of Jupyter and Spyder show only the plain text of a new output, and ignore updates of it.
        """
        return self.in_kernel and self.is_interactive and self.id is None and not self.is_callback

    @property
    def origin(self) -> Origin:
        """The cell's id and its execution, as the origin of a turn."""
        return Origin(self.id, self.execution)

    @cached_property
    def _statements(self) -> list[ast.stmt]:
        with suppress(SyntaxError):
            return ast.parse(str(self.transform(self.source))).body
        return []

    def starts_with(self, magic: str) -> bool:
        """Return whether the cell runs `magic` first, so that no other output is above the magic's output."""
        first = self._statements[:1]
        return bool(first) and isinstance(first[0], ast.Expr | ast.Assign) and _call(first[0].value, magic) is not None

    def is_only(self, magic: str) -> bool:
        """Return whether the cell runs `magic` once, and nothing else."""
        return len(self._statements) == 1 and self.starts_with(magic)


# A loop asks this of the same cell each time.
@lru_cache(maxsize=1)
def bare_lines(source: str, magic: str) -> AnySet[str]:
    """Return the lines with which code calls a magic as an expression statement, whose value IPython would show."""
    with suppress(SyntaxError):
        body = ast.parse(source).body
        calls = (_call(statement.value, magic) for statement in body if isinstance(statement, ast.Expr))
        return {line for line in calls if line is not None}
    return frozenset()


def _cell_id(metadata: Mapping[str, Any]) -> str | None:
    """Return the cell's id as sent by JupyterLab, Notebook and VS Code (`cellId`) or by Colab."""
    colab = metadata.get("colab")
    found = metadata.get("cellId") or (colab.get("cell_id") if isinstance(colab, dict) else None)
    return found if isinstance(found, str) else None


def _is_interactive(content: Mapping[str, Any]) -> bool:
    """Return whether the front end allows input, or the kernel is Voila's: no input there, but users at the widgets."""
    return bool(content.get("allow_stdin", True)) or os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def _call(value: ast.expr, magic: str) -> str | None:
    """Return the line of a call `get_ipython().run_*_magic(magic, line)`, or None for any other expression."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return None
    arguments = [one.value for one in value.args if isinstance(one, ast.Constant)]
    if value.func.attr not in RUNNERS or arguments[:1] != [magic] or len(arguments) < 2:
        return None
    return str(arguments[1]).strip()
