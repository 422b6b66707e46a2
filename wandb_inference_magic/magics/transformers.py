"""Give the magics the lines that IPython would not.

`%wbchat what is pandas?`, whose final `?` it would treat as a help request; `%%wbchat --help` without a body, which it
would refuse; and a magic below a comment, which it would not take for a magic, so that the error would be about Python.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import EscapedCommand, MagicAssign

from ..errors import InferenceError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# `%wbchat?` and `%wbchat ?` are help requests and do not match.
_QUESTION = re.compile(r"(?:^|=)\s*%(\w+)\s+\S.*\?\s*$")


def _if_asking(found: Any, tokens_by_line: Any) -> Any:
    """Return the magic that IPython found if its line is a chat's with text that ends in `?`, else None."""
    if found is None:
        return None
    lines = (token.line for line in tokens_by_line for token in line if token.start[0] - 1 == found.start_line)
    asking = _QUESTION.search(next(lines, ""))
    return found if asking and _is_chat(asking[1]) else None


def _is_chat(name: str) -> bool:
    """Return whether a line magic is `%wbchat`, or another name for it (`%alias_magic`)."""
    shell = get_ipython()
    magic = None if shell is None else shell.magics_manager.magics["line"].get(name)
    return name == "wbchat" or getattr(magic, "magic_name", "") == "wbchat"


class QuestionLine(EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%wbchat text?`, matched before IPython looks for help requests."""

    priority = 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        return _if_asking(found, tokens_by_line)


class QuestionAssign(MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat text?`, matched before IPython looks for help requests."""

    priority = 1
    magic_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = _if_asking(super().find(tokens_by_line), tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        if found is not None:
            # IPython sorts by column before priority, and a help request starts at column 0.
            found.magic_col, found.start_col = found.start_col, 0
        return found

    def transform(self, lines: list[str]) -> Any:
        self.start_col = self.magic_col
        return super().transform(lines)  # type: ignore[no-untyped-call,unused-ignore]


_TRANSFORMS = (QuestionLine, QuestionAssign)
_CELL_MAGIC = re.compile(r"%%(wb(?:chat|map|eval))\b(.*)")


def rewrite_cell_magic(lines: list[str]) -> list[str]:
    """Return the lines of a cell, or a call in their place, if its cell magic is below a comment or asks for help."""
    above = next((number for number, line in enumerate(lines) if line.strip() and line.lstrip()[0] != "#"), 0)
    found = _CELL_MAGIC.match(lines[above]) if lines else None
    if found is None:
        return lines
    if above:
        return [f"__import__('importlib').import_module({__name__!r}).refuse_comment('%%{found[1]}')\n"]
    if {"-h", "--help"} & set(found[2].split()) and not "".join(lines[1:]).strip():
        return [f"get_ipython().run_cell_magic({found[1]!r}, {found[2].strip()!r}, '\\n')\n"]
    return lines


def refuse_comment(magic: str) -> None:
    """Raise the error for a cell with a comment above its magic."""
    raise InferenceError(
        f"{magic} is not on the first line of the cell: a comment is above it. Nothing was sent.",
        why="IPython recognizes a cell magic on the first line only.",
        remedy=f"Move the comment into a cell of its own, or delete it. Below {magic} it would be part of the prompt.",
    )


def install(shell: InteractiveShell) -> None:
    """Add the transforms to the shell. Its existing transforms are not changed."""
    shell.input_transformer_manager.line_transforms.insert(0, rewrite_cell_magic)
    shell.input_transformer_manager.token_transformers.extend(_TRANSFORMS)


def uninstall(shell: InteractiveShell) -> None:
    """Remove the transforms."""
    rewriting = shell.input_transformer_manager.line_transforms
    rewriting[:] = [transform for transform in rewriting if transform is not rewrite_cell_magic]
    transforms = shell.input_transformer_manager.token_transformers
    transforms[:] = [transform for transform in transforms if transform not in _TRANSFORMS]
