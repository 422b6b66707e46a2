"""Lets `%wbchat what is pandas?` reach the magic: IPython would take the final `?` for a request for help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import EscapedCommand, MagicAssign

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# `%wbchat?` and `%wbchat ?` ask for help and stay what they are.
_QUESTION = re.compile(r"(^|=)\s*%wbchat\s+\S.*\?\s*$")


def _if_asking(found: Any, tokens_by_line: Any) -> Any:
    """Return a magic that IPython found if its line is a question to `%wbchat`, else None."""
    if found is None:
        return None
    lines = (token.line for line in tokens_by_line for token in line if token.start[0] - 1 == found.start_line)
    return found if _QUESTION.search(next(lines, "")) else None


class QuestionLine(EscapedCommand):  # type: ignore[misc,unused-ignore]
    """A line `%wbchat text?`, taken before IPython looks for help requests."""

    priority = 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = super().find(tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        return _if_asking(found, tokens_by_line)


class QuestionAssign(MagicAssign):  # type: ignore[misc,unused-ignore]
    """A line `name = %wbchat text?`, taken before IPython looks for help requests."""

    priority = 1
    magic_col: int

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        found = _if_asking(super().find(tokens_by_line), tokens_by_line)  # type: ignore[no-untyped-call,unused-ignore]
        if found is not None:
            # IPython goes by the column first, and a help request begins where the line does.
            found.magic_col, found.start_col = found.start_col, 0
        return found

    def transform(self, lines: list[str]) -> Any:
        self.start_col = self.magic_col
        return super().transform(lines)  # type: ignore[no-untyped-call,unused-ignore]


_TRANSFORMS = (QuestionLine, QuestionAssign)


def install(shell: InteractiveShell) -> None:
    """Add the transforms to the shell's own, which are left as they are."""
    shell.input_transformer_manager.token_transformers.extend(_TRANSFORMS)


def uninstall(shell: InteractiveShell) -> None:
    """Take the transforms away again."""
    transforms = shell.input_transformer_manager.token_transformers
    transforms[:] = [transform for transform in transforms if transform not in _TRANSFORMS]
