"""Finished blocks and the one that grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_inference_magic.blocks import split_finished

PIECES = [
    "a",
    "b\n",
    "\n",
    "- c\n",
    "```\n",
    "# d\n",
    "> e\n",
    "$$\n",
    "\\[",
    "\\]",
    "| f |\n|---|\n",
    "    g\n",
    "\r",
    "\t",
]


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("a", ""),
        ("a\n\nb", "a\n\n"),
        ("# T\nx", "# T\n"),
        ("- a\n\n- b\n\n", ""),
        ("x\n\n```\na\n\nb", "x\n\n"),
        ("x\n\\[\na\n+ b", ""),
        ("| a |\n|---|\n| b |\n\nc", "| a |\n|---|\n| b |\n\n"),
        ("", ""),
    ],
)
def test_all_but_the_last_block_is_finished(text: str, finished: str) -> None:
    assert split_finished(text) == (finished, text[len(finished) :])


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_nothing_is_lost(pieces: list[str]) -> None:
    shown, rest = "", ""
    for piece in pieces:
        finished, rest = split_finished(rest + piece)
        shown += finished
    assert shown + rest == "".join(pieces)
