"""Put the code of a reply into new cells, if the front end allows it. The code is never run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..messages import CodeBlock
    from .execution import ExecutionInfo

NO_CODE = "There is no code block in the reply: no cell was made."
IGNORED = "This front end cannot put code into a new cell: copy it from the reply."
ONE_ONLY = "This front end takes one block at a time: the first one is in the next cell. The others are in the reply."
TAKEN = "The next cell is taken already: copy the code from the reply."


def put(shell: InteractiveShell, blocks: Sequence[CodeBlock], cell: ExecutionInfo) -> str:
    """Put each block into a separate cell below the running cell. Return a message for the user, or an empty string."""
    if not blocks:
        return NO_CODE
    # The shell of a terminal has one too, which nothing reads.
    manager = getattr(shell, "payload_manager", None) if cell.in_kernel else None
    # What an earlier chat of the cell, or the user's code, has put there stays.
    if manager is None:
        has_earlier = bool(getattr(shell, "rl_next_input", None))
    else:
        has_earlier = any(one.get("source") == "set_next_input" for one in manager.read_payload())
    if not has_earlier and (len(blocks) == 1 or manager is None or cell.may_be_console):
        shell.set_next_input(blocks[0].text, replace=False)
    elif manager is not None and not cell.may_be_console:
        # A terminal and a console have only one next input.
        for block in blocks:
            chunk = {"source": "set_next_input", "text": block.text, "replace": False}
            manager.write_payload(chunk, single=False)
    if not _takes_cells(cell):
        return IGNORED
    # VS Code makes one cell per payload. Its cell ids are URIs with the scheme `vscode-notebook-cell`.
    if str(cell.id).startswith("vscode-notebook-cell"):
        return ""
    return TAKEN if has_earlier else ONE_ONLY if len(blocks) > 1 else ""


def _takes_cells(cell: ExecutionInfo) -> bool:
    """Return whether the front end takes code. Colab (colabtools #1619) and what executes notebooks do not."""
    if "google.colab" in sys.modules:
        return False
    return cell.id is not None or not cell.in_kernel or cell.may_be_console
