"""What magics refuse before anything is sent, and what they say where there is nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import SharedKernel


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%wbjobs --cancel --pause 1", "%wbjobs does one thing at a time.\nWhat to do: Give one option."),
        ("%wbjobs --cancel", "--cancel needs the number of a job.\nWhat to do: %wbjobs shows them."),
        ("%wbjobs x", "'x' is not the number of a job."),
        ("%wbchat --fork a --new hi", "--fork cannot be combined with --new"),
        (
            f"%wbchat {' '.join(f'-m m{number}' for number in range(10))} hi",
            "10 models are too many to compare at once",
        ),
        ("%wbchat --image large.png hi", "The image large.png is larger than 20 MB."),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_sent(
    shared: SharedKernel, line: str, says: str, tmp_path: Path
) -> None:
    shared.kernel.run(f"%cd -q {tmp_path}")
    with (tmp_path / "large.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(20_000_001)
    assert says in shared.kernel.run(line).error
    assert shared.service.chats == []


def test_a_frame_without_rows_needs_no_request(shared: SharedKernel) -> None:
    shared.kernel.run("import pandas as pd\nempty = pd.DataFrame({'text': []})")
    assert "There are no rows; _wbmap has none either." in shared.kernel.run("%%wbmap empty\nSay {{ text }}").text
    assert "There are no rows." in shared.kernel.run("%%wbmap empty --dry-run\nSay {{ text }}").text
    assert (
        "There are no rows. Nothing was sent." in shared.kernel.run("%%wbeval empty --truth text\nSay {{ row }}").error
    )
    assert shared.service.chats == []


def test_a_dry_run_of_an_evaluation_says_how_many_rows_are_left_out(shared: SharedKernel) -> None:
    shared.kernel.run("rows = [{'text': 'a', 'label': 'b'}, {'text': 'c', 'label': None}]")
    run = shared.kernel.run("%%wbeval rows --truth label --dry-run\nSay {{ text }}")
    assert "1 row without a value in label left out." in run.text
    assert shared.service.chats == []


def test_a_job_that_has_ended_cannot_be_cancelled(shared: SharedKernel) -> None:
    shared.kernel.run("%%wbmap ['a'] --bg --no-cache -o later\nSay {{ text }}")
    assert shared.kernel.run("later.wait(60)").ok
    run = shared.kernel.run("get_ipython().run_line_magic('wbjobs', f'{later.id} --cancel')")
    assert "has ended already: done." in run.text
