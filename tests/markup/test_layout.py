"""Blocks stand where all parsers read them alike."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from inert import assert_inert
from markdown_it import MarkdownIt

from wandb_inference_magic.markup.layout import in_common_layout
from wandb_inference_magic.markup.sanitize import sanitize_markdown

CODE = r"\input{x}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n---\n\n```\n  x\n```", "a\n---\n\n```\n  x\n```"),
        ("  a\n   ---", "  a\n---"),
        ("1. x\n    ```py\n     a\n   b\n    ```\n2. y", "1. x\n   ```py\n    a\n   b\n   ```\n2. y"),
        ("- x\n\n\t```\n\ty\n\t```", "- x\n\n  ```\n  y\n  ```"),
        ("- - x\n      ~~~\n      y", "- - x\n    ~~~\n    y"),
        ("-     x\n    ```\n    y", "-     x\n  ```\n  y"),
        ("- a\n  ---\n  b", "- ## a\n\n  b"),
        ("1. a #\n    ===\n    b", "1. # a \\#\n\n    b"),
        ("- > a\n  > ===\n  > x", "- > # a\n  >\n  > x"),
        ("> a\\\nb\n> ---\nc", "> ## a b\n>\n>\nc"),
        ("- a\n\n  - - -", "- a\n\n  ___"),
        ("* - - -\n* b", "* ___\n* b"),
        (">  -----  ----\n> a", ">  ___\n> a"),
        ("- | a\n  ---\n  b\n  ```\n  c\n  ```", "- | a\n  ---\n  b\n\n  ```\n  c\n  ```"),
        # Lines in it would close the fence, which has fewer blanks before it now.
        ("1. x\n    ```\n    - a\n       ```\n    ```", "1. x\n   ````\n   - a\n      ```\n   ````"),
        ("- x\n    ~~~\n       ~~~", "- x\n  ~~~~\n     ~~~"),
        (">-\t--", ">___"),
        ("1. 1\n   =", "1. # 1\n"),
        ("1. b\t$\n\t-", "1. ## b    $\n"),
        (">\\\n>=", "># \\\n>"),
        ("> a\\\\\n> b\n> =", "> # a\\\\ b\n>\n>"),
        # A quotation's mark behind four blanks.
        ("> a\n    > b\n> c", "> a\n> b\n> c"),
        (">a\n\t> b\n    c", ">a\n> b\n    c"),
        ("> > a\n>      > b", "> > a\n> > b"),
        ("1.  a\n    > b\n    > c", "1.  a\n    > b\n    > c"),
        ("> 1. a\n>    - b\n>      > c\n>      > d", "> 1. a\n>    - b\n>      > c\n>      > d"),
    ],
)
def test_nested_fences_rules_and_headings_are_written_in_one_way(text: str, expected: str) -> None:
    assert in_common_layout(text) == expected


LINES = [
    "a",
    "",
    "---",
    "===",
    "  ---",
    "    ---",
    "```",
    "   ```",
    "    ~~~",
    "- b",
    "1. c",
    "  - d",
    "> e",
    "> ---",
    "\t```",
]


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the kinds and contents of what a page shows. A heading in several lines is one in one line."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [(token.tag, " ".join(token.content.split())) for token in tokens if token.type != "paragraph_open"]


@given(st.lists(st.sampled_from(LINES), max_size=8).map("\n".join))
def test_the_blocks_stay_what_they_are(text: str) -> None:
    assert blocks(in_common_layout(text)) == blocks(text)


@pytest.mark.parametrize(
    "text",
    [
        # To Pandoc, dashes make a table, whose columns cut code.
        "***\n $\\input{x}$`\n  ---\n  title: x",
        "> a\\\n> -----  ----\n> ===\n> `\\input{x}`{=latex}\n> \n> ",
        ">     [^1]: \\input{x}\n>  `\\input{x}`{=latex}`\n>   ---- ---\n> <x",
        f"1. `{CODE}` b\n    ---\n    c",
        f"> a | `x` | b\n    ---- ---\n  `$\\sum {CODE}$`",
        "1. ```\n   ---\n   $\\input{x}$\n   a | \\href{x}{y} | b",
        # Settings of the document.
        "> ---\n> title: x\n> ---\n> title: x",
        # An indented fence below a line of text is text.
        "- [ ] [r]: javascript:alert(1)\n   \\input{x}\n   ~~~~ python {k=v}\n   (@) \\href{x}{y}",
        f"- | a\n   ---\n   b\n   ```\n   {CODE}\n   ```",
        # The end of a fence that the reply has left open in a list.
        "1. ~~~ {=latex}\n\n~~~{=html}\n\n\\href{x}{y}",
        "- ~~~\n\n   </details><img src=x>\n\n```` ~~~\n\n\\href{x}{y}",
        # Lists that only Pandoc knows.
        f"a) `{CODE}\nb) `c",
        f"(1) `{CODE}\n(@) `c",
        f"- a\n  `{CODE}\n  iv. c`",
        f"a) `x\nb) ` and `{CODE}`",
        f"a) ```{{=latex}}\n    {CODE}\n    ```",
        # A fence in a quotation that is indented, with an empty line in it.
        f"> a\n>  ```\n>  {CODE}\n>\n>  b\n>  ```",
        f"> 1. a\n>     ~~~\n>     {CODE}\n>\n>     b\n>     ~~~",
        f"> ```\n    > a\n> {CODE}\n> ```",
        # A line block, the border of a table, and a caption.
        f"***\n| a |\n {CODE}`\na b`\na `{CODE}` b",
        "+---+\n| a |\n+---+\n    a`\n   a `\\input{x}`{=latex}`\n+---+\n| b |\n+---+",
        "b`\n: \\href{x}{y}\n   `\\input{x}`{=latex}",
        "Table: \nb\n~~~~ {=latex}\n---\n$\\input{x}$",
    ],
)
def test_what_pandoc_reads_otherwise_is_inert(text: str) -> None:
    assert_inert(sanitize_markdown(text))
