"""The first line of a cell with a prompt: how it may go on below, and what may be above it and around its name."""

from __future__ import annotations

from typing import Any

import pytest
from kernels import SharedKernel

from wandb_inference_magic.magics.transformers import rewrite_cell_magic

pytestmark = pytest.mark.xdist_group("shared-first-line")


def sent(shared: SharedKernel) -> list[Any]:
    return [chat.body["messages"][-1]["content"] for chat in shared.service.chats]


@pytest.mark.short
@pytest.mark.parametrize(
    ("cell", "prompt"),
    [
        ("%%wbchat --once \\\n  -t 0.5\nHi", "Hi"),
        ("%%wbchat \\\n--once \\\n-t 0.5\n\nHi \\\nyou", "Hi \\\nyou"),
        ("%%wbchat --once\\\r\n-t 0.5\r\nHi", "Hi"),
        ("%%wbchat --once \\  \n-s 'Be brief' -t 0.5\nHi", "Hi"),
        ("%%time\n%%wbchat --once \\\n -t 0.5\nHi", "Hi"),
        ("%%asking --once \\\n -t 0.5\n-t 1", "-t 1"),
        ("%%wbmap ['a'] --into r \\\n  -t 0.5\n{{ text }}!", "a!"),
    ],
)
def test_the_options_of_a_cell_go_on_below_after_a_backslash(shared: SharedKernel, cell: str, prompt: str) -> None:
    shared.kernel.run("%alias_magic --cell asking wbchat")
    assert shared.kernel.run(cell).ok
    assert sent(shared) == [prompt]
    assert shared.service.last.body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("cell", "prompt"),
    [
        ("%ask {{ n }} apples", "3 apples"),
        ("%hurried {{ n }} pears", "3 pears"),
        ("%ask --raw Keep {n} and {{ n }}", "Keep {n} and {{ n }}"),
        ("reply = %ask \\frac{1}{2} costs $n", "\\frac{1}{2} costs $n"),
        ("%%asking --raw\n{n} {{ n }}", "{n} {{ n }}"),
        ("%asking {{ n }} figs", "3 figs"),
        ("%elsewhere {n}", None),
    ],
)
def test_the_line_of_an_alias_is_sent_as_that_of_its_magic(shared: SharedKernel, cell: str, prompt: str | None) -> None:
    shared.kernel.run(
        "n = 3\n%alias_magic ask wbchat\n%alias_magic -p '--once' hurried wbchat\n%alias_magic asking wbchat\n"
        "%alias_magic elsewhere pinfo"
    )
    shared.kernel.run("%wbthread --clear")
    run = shared.kernel.run(cell)
    assert sent(shared)[-1:] == ([] if prompt is None else [prompt]), run.text


def test_options_that_go_on_below_leave_no_prompt(shared: SharedKernel) -> None:
    assert "There is no prompt" in shared.kernel.run("%%wbchat --once \\\n-t 0.5").error
    assert "There is no prompt" in shared.kernel.run("%%wbchat --once \\").error
    assert "takes options only; found 'Hi'" in shared.kernel.run("%%wbchat --once \\\nHi\nyou").error
    assert sent(shared) == []


@pytest.mark.short
@pytest.mark.parametrize(
    "cell",
    [
        "x = 1\n%%wbchat --once\nName a colour",
        "x = 1\n\n  # why\n%%wbchat --once\nIt's 5 o'clock (\n",
        "import os; x = 1\n!echo it's\n%matplotlib inline\n%%wbmap [1]\n{{ text }}",
        "x = 1\n%%asking --once\nName",
        "if (x := 1):\n    %%wbeval [{'a': 1}] --truth a\n    Name",
        "%%time\nx = 1\n%%wbchat --once\nName",
        "x = 1\n%%wbchat --once\nx",
    ],
)
def test_a_cell_with_code_above_its_magic_is_refused_and_nothing_runs(shared: SharedKernel, cell: str) -> None:
    shared.kernel.run("x = 0\n%alias_magic --cell asking wbchat")
    error = shared.kernel.run(cell).error
    assert "is not on the first line of the cell: code is above it. Nothing was sent." in " ".join(error.split())
    assert "with its prompt, into a cell of its own. Nothing of this cell was run." in " ".join(error.split())
    assert sent(shared) == []
    assert shared.kernel.value("x") == 0


@pytest.mark.parametrize(
    "cell",
    [
        "text = '''\n%%wbchat --once\nName\n'''",
        "%%capture\nt = 1\n# %%wbchat",
        "b = 7; wbchat = 2\nb %wbchat",
        "x = 1\n%%wbchat?",
    ],
)
def test_a_magic_that_is_none_is_left_alone(shared: SharedKernel, cell: str) -> None:
    assert shared.kernel.run(cell).ok
    shared.kernel.run("del wbchat")
    assert sent(shared) == []


@pytest.mark.short
@pytest.mark.parametrize(
    "cell",
    [
        "#| echo: false\n%%wbchat --once\nHi",
        "\n#|hide\n\n  #| label: a\n\n%%wbchat --once\nHi",
        "#| output: false\n%%time\n%%wbchat --once\nHi",
        "#| echo: false\n%%wbchat \\\n--once\nHi",
    ],
)
def test_what_quarto_and_nbdev_read_may_be_above_the_magic(shared: SharedKernel, cell: str) -> None:
    assert shared.kernel.run(cell).ok
    assert sent(shared) == ["Hi"]


def test_in_a_prompt_it_is_text_and_any_other_comment_above_is_refused(shared: SharedKernel) -> None:
    assert shared.kernel.run("%%wbchat --once\n#| (sum xs) |#\nWhat is it?").ok
    assert sent(shared) == ["#| (sum xs) |#\nWhat is it?"]
    assert "a comment is above it" in shared.kernel.run("#| echo: false\n# Ask\n%%wbchat --once\nHi").error
    assert len(sent(shared)) == 1


@pytest.mark.parametrize("one", ["\u200b", "\ufeff", "\u2060", "\u00ad"])
@pytest.mark.parametrize(
    "cell",
    [
        "Z%%wbchat --once\nHi",
        "%%wbchatZ --once\nHi",
        "%%wbchatZ--once\nHi",
        "\n Z %%wbchat Z--onceZ\nHi",
        "Z%wbchat --once Hi",
        "%wbchatZ --once Hi",
        "x = %wbchatZ --once Hi",
        "Z#| echo: false\n%%wbchatZ \\\n--once\nHi",
    ],
)
def test_what_is_not_seen_around_the_name_of_a_magic_does_not_count(shared: SharedKernel, cell: str, one: str) -> None:
    assert shared.kernel.run(cell.replace("Z", one)).ok
    assert sent(shared) == ["Hi"]


@pytest.mark.parametrize("prompt", ["\u200b", "\ufeff \u200b"])
def test_a_prompt_of_which_nothing_is_seen_is_none(shared: SharedKernel, prompt: str) -> None:
    assert "There is no prompt" in shared.kernel.run(f"%wbchat --once {prompt}").error
    assert "There is no prompt" in shared.kernel.run(f"%%wbchat --once\n{prompt}").error
    assert "There is no prompt" in shared.kernel.run(f"%%wbmap [1]\n{prompt}").error
    assert "There is no prompt" in shared.kernel.run(f"%%wbeval [dict(a=1, b=2)] --truth b\n{prompt}").error
    assert sent(shared) == []


@pytest.mark.parametrize(
    "cell",
    [
        "x = 1\n",
        "\n\n# a\nx = 1\n",
        "\u200bx = 1\n",
        "%%html \\\n<b>\n",
        "#| echo: false\n%%html\n<b>\n",
        "\ufeff%pwd\n",
    ],
)
def test_other_cells_are_not_changed(cell: str) -> None:
    lines = cell.splitlines(keepends=True)
    assert rewrite_cell_magic(lines) == lines
