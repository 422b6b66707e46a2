"""Finished blocks of a growing text."""

import re

import pytest
from hypothesis import given, strategies as st
from inert import HOSTILE, assert_inert

from wandb_inference_magic.frontend.canvas import BlockCanvas
from wandb_inference_magic.markup.blocks import goes_on, split_finished
from wandb_inference_magic.markup.parser import block_parser, expanded
from wandb_inference_magic.markup.sanitize import sanitize_markdown
from wandb_inference_magic.text.plain import safe_plain

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
    "1",
    "1. h\n",
    "- ",
    "#",
    "`",
    "===\n",
    "---\n",
    "-",
    "|",
    "~~~\n",
    "[r]: i\n",
    "\r\n",
    " ",
    "\x1b[1m",
    "\x1b]0;j\n",
    "\x00",
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
        # The beginning of an incomplete line may still become a part of the block before it.
        ("a\n#", ""),
        ("a\n\n#", "a\n\n"),
        ("1. a\n\n1", ""),
        ("| a |\n|---|\n$$\nb", ""),
        ("x\n\n$$\na $$", "x\n\n"),
        ("a\r\n\r\nb", "a\r\n\r\n"),
        ("a\r\rb", "a\r\r"),
        ("\x1b]0;a\n\n# b\nc\n\n", "\x1b]0;a\n\n# b\n"),
    ],
)
def test_all_but_the_last_block_is_finished(text: str, finished: str) -> None:
    assert split_finished(text) == (finished, text[len(finished) :])


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_no_text_is_lost(pieces: list[str]) -> None:
    shown, rest = "", ""
    for piece in pieces:
        finished, rest = split_finished(rest + piece)
        shown += finished
    assert shown + rest == "".join(pieces)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_finished_block_stays_finished(text: str) -> None:
    """Each cut made while the text grew, character by character, is at the start of a block of the whole text."""
    rest, position, cuts = "", 0, set()
    for character in text:
        finished, rest = split_finished(rest + character)
        position += len(finished)
        cuts.add(position)
    assert cuts - {0} <= block_starts(text)


ROWS = ["| a |\n", "|---|\n"]
ITEMS = ["- b\n", "* c\n", "1. d\n", "2) e\n", "  - f\n", "    g\n"]
LINES = [*ROWS, *ITEMS, "```\n", "~~~\n", "x = 1\n", "\n"]


@given(st.lists(st.sampled_from(LINES), max_size=8), st.lists(st.sampled_from(LINES), min_size=1, max_size=4))
def test_a_block_that_goes_on_has_not_ended(pieces: list[str], added: list[str]) -> None:
    rest = ""
    for piece in pieces:
        _, rest = split_finished(rest + piece)
    text = rest + "".join(added)
    if goes_on(text, len(rest.rstrip())):
        assert split_finished(text) == ("", text)


@pytest.mark.parametrize(
    ("begin", "line"),
    [
        ("| n | v |\n|---|---|\n", "| some words | and more |\n"),
        ("", "- some words\n"),
        ("```python\n", "x = f(x)\n\n"),
    ],
)
def test_a_long_block_is_not_parsed_with_each_of_its_lines(begin: str, line: str) -> None:
    """Parsed with each line, 8,000 of them take minutes."""
    screen = Screen()
    screen.append(begin)
    for _ in range(8_000):
        screen.append(line)
    screen.append(f"{'```' * begin.startswith('`')}\n\n# At last\n\nThe end.")
    assert screen.outputs[-1] == "The end."


@pytest.mark.parametrize("begin", ["```x``` is code.\n\n", "    ```\n\n", "~~~ a\n~~~\n\n"])
def test_what_only_looks_like_a_fence_keeps_no_block_open(begin: str) -> None:
    screen = Screen()
    for piece in (begin, "One.\n\n", "Two.\n\n", "Three."):
        screen.append(piece)
    assert screen.outputs[-1] == "Three."


class Screen(BlockCanvas):
    """Keep the text of each output. The last output is drawn again while it grows."""

    def __init__(self) -> None:
        super().__init__(prints_finished_blocks=True)
        self.outputs = [""]

    def _draw_open(self, text: str) -> None:
        before, self.outputs[-1] = self.outputs[-1], text
        assert text.startswith(before.rstrip()), "what was drawn is still there"

    def _leave(self, text: str) -> None:
        self._draw_open(text)
        self.outputs.append("")


@given(st.lists(st.sampled_from([*PIECES, "some words "]), max_size=30))
def test_drawn_text_stays_in_its_output(pieces: list[str]) -> None:
    screen = Screen()
    for piece in pieces:
        screen.append(piece)
    screen.flush()
    text, drawn = "".join(pieces), "".join(screen.outputs)
    assert text.startswith(drawn)
    assert "words" not in text[len(drawn) :]


@pytest.mark.parametrize("marks", ["1", "1.", "23)", "-", "##", "```python", "> "])
def test_the_marks_of_a_block_are_not_drawn_before_its_text(marks: str) -> None:
    """Front ends draw them as text of another height, which moves what is below when the text comes."""
    screen = Screen()
    screen.append("A paragraph.\n\n")
    screen.append(marks)
    screen.flush()
    assert screen.outputs[-1] == ""
    screen.append(" text" if marks[0].isdigit() else "\ntext")
    screen.flush()
    assert "text" in screen.outputs[-1]


def block_starts(text: str) -> set[int]:
    offsets = [0]
    for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text):
        offsets.append(offsets[-1] + len(line))
    tokens = block_parser().parse(expanded(safe_plain(text)), {"may_grow": True})
    starts = {offsets[token.map[0]] for token in tokens if token.level == 0 and token.map and token.nesting >= 0}
    # Several definitions are reported as one block.
    ranges = (range(token.map[0], token.map[1] + 1) for token in tokens if token.type == "definition" and token.map)
    definitions = {offsets[line] for lines in ranges for line in lines}
    return starts | definitions


@given(st.lists(st.sampled_from([*PIECES, *HOSTILE]), max_size=8))
def test_each_block_is_inert_on_its_own(pieces: list[str]) -> None:
    rest = ""
    for piece in pieces:
        finished, rest = split_finished(rest + piece)
        assert_inert(sanitize_markdown(finished))
    assert_inert(sanitize_markdown(rest))
