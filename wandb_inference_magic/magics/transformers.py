"""Pass `%wbchat what is pandas?` to the magic. IPython would treat the final `?` as a help request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import EscapedCommand, MagicAssign

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# `%wbchat?` and `%wbchat ?` are help requests and do not match.
_QUESTION = re.compile(r"(^|=)\s*%wbchat\s+\S.*\?\s*$")


def _if_asking(found: Any, tokens_by_line: Any) -> Any:
    """Return the magic that IPython found if its line is `%wbchat` with text that ends in `?`, else None."""
    if found is None:
        return None
    lines = (token.line for line in tokens_by_line for token in line if token.start[0] - 1 == found.start_line)
    return found if _QUESTION.search(next(lines, "")) else None


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


def install(shell: InteractiveShell) -> None:
    """Add the transforms to the shell. Its existing transforms are not changed."""
    shell.input_transformer_manager.token_transformers.extend(_TRANSFORMS)


def uninstall(shell: InteractiveShell) -> None:
    """Remove the transforms."""
    transforms = shell.input_transformer_manager.token_transformers
    transforms[:] = [transform for transform in transforms if transform not in _TRANSFORMS]
