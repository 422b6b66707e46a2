"""Cutting a growing Markdown text into the blocks that are finished and the one that may still grow."""

from __future__ import annotations

from .safety import block_parser


def split_finished(text: str) -> tuple[str, str]:
    """Split off the top-level blocks that no later text can change.

    Parameters
    ----------
    text : str
        The part of a reply that has not been split off yet; the whole of it is read each time.

    Returns
    -------
    tuple of str
        The finished blocks and the rest, which begins with the last block; together they are `text`.
    """
    env: dict[str, object] = {"definitions": [], "spans": [], "state": None}
    lines = text.split("\n")
    starts = [
        token.map[0]
        for token in block_parser().parse(text.replace("\r", " "), env)
        if token.level == 0 and token.nesting >= 0 and token.map is not None
    ]
    if not starts:
        return "", text
    cut = sum(len(line) + 1 for line in lines[: starts[-1]])
    return text[:cut], text[cut:]
