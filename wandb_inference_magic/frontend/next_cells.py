"""Code of a reply into the next cells, where the front end takes it; it is never run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from ..messages import CodeBlock
    from .execution import ExecutionInfo

NO_CODE = "There is no code block in the reply: no cell was made."
IGNORED = "This front end may not put code into a new cell: copy it from the reply."
ONE_ONLY = "JupyterLab and Notebook make one new cell: it holds the first block. The others are in the reply."


def put(shell: InteractiveShell, blocks: Sequence[CodeBlock], cell: ExecutionInfo) -> str:
    """Put each block into a cell of its own below the running one, and return what the user should know."""
    if not blocks:
        return NO_CODE
    manager = getattr(shell, "payload_manager", None)
    if manager is None or len(blocks) == 1:
        # A terminal has one next line only.
        shell.set_next_input(blocks[0].text, replace=False)
    else:
        for block in blocks:
            chunk = {"source": "set_next_input", "text": block.text, "replace": False}
            manager.write_payload(chunk, single=False)
    if not _takes_cells(cell):
        return IGNORED
    # VS Code makes a cell of each payload; its cells' ids are addresses of its own.
    is_one_only = len(blocks) > 1 and cell.in_kernel and not str(cell.id).startswith("vscode-notebook-cell")
    return ONE_ONLY if is_one_only else ""


def _takes_cells(cell: ExecutionInfo) -> bool:
    """Whether the front end makes cells: Colab does not (colabtools #1619), nor one that has no cell ids."""
    if "google.colab" in sys.modules:
        return False
    return cell.id is not None or not cell.in_kernel
