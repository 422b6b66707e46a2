"""What a person sees while a reply grows: in each frame of JupyterLab, after a reload, and on a second page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from browser import PATIENCE_MS, TOKEN, JupyterServer, Lab, keep_screenshot
from environments import clean_environment
from playwright.sync_api import Browser, Page, expect
from registries import tool_environment
from service import Streamed, Wandb, pieces, usage

pytestmark = pytest.mark.browser

ANSWER = """\
## Residuals

A residual is what is **left over** when the model has said what it knows.

### How to look

A second paragraph, with `code` in it.

1. Fit the model.
2. Plot the *residuals*.

Between two lists.

- one
- two

```python
residuals = y - model.predict(X)
```

#### Why

> The residuals tell what the model does not know.

| model | remark |
|---|---|
| linear | a pattern is left |

The last words.
"""
REASONING = [f"Thought {number} of the model is about the residuals. " for number in range(30)]

GROWS = "still being written"
# A table's cells are rounded.
PIXEL = 1

# In each frame: the height of the output, the place of each block in it, and what it says.
WATCH = """
cell => {
    window.seen = [];
    const look = () => {
        const area = document.querySelectorAll('.jp-Notebook .jp-Cell')[cell].querySelector('.jp-OutputArea');
        if (area) {
            const top = area.getBoundingClientRect().top;
            const blocks = [...area.querySelectorAll('h2, h3, h4, p, li, pre, table, details')]
                .filter(one => !one.parentElement.closest('details, blockquote, li') && !one.querySelector('small'));
            window.seen.push([
                area.getBoundingClientRect().height,
                blocks.map(one => [
                    one.tagName + one.textContent.trim().slice(0, 12), one.getBoundingClientRect().top - top
                ]),
                area.textContent,
            ]);
        }
        window.watching = requestAnimationFrame(look);
    };
    look();
}
"""


def seen(page: Page) -> list[Any]:
    page.evaluate("() => cancelAnimationFrame(window.watching)")
    frames: list[Any] = page.evaluate("() => window.seen")
    return frames


@pytest.mark.parametrize("width", [1400, 700])
def test_no_line_moves_while_a_reply_grows_and_when_it_ends(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 1100})
    lab = Lab.open(
        server,
        page,
        f"growing-{width}.ipynb",
        ["%load_ext wandb_inference_magic", "%wbchat --once Hello"],
    )
    lab.run(0)
    gate = Event()
    wandb_hosts.api.always = Streamed(
        pieces(ANSWER), per_second=20, counted=usage(31, 118), reasoning=REASONING, reasoning_gate=gate
    )
    page.evaluate(WATCH, 1)
    lab.run(1, wait=False)
    expect(lab.cell(1)).to_contain_text("is thinking")
    expect(lab.cell(1)).to_contain_text("Thought 29")
    keep_screenshot(page, f"thinking-{width}")
    gate.set()
    expect(lab.cell(1)).to_contain_text("Between two lists")
    keep_screenshot(page, f"growing-{width}")
    lab.wait_until_run(1)
    expect(lab.output(1)).to_have_count(1)
    expect(lab.output(1).locator("small")).to_contain_text("31 + 118 tokens")
    frames = seen(page)
    lab.output(1).locator("summary").click()
    keep_screenshot(page, f"thought-{width}")
    check_frames(without_one_dip(frames))


def without_one_dip(frames: list[Any]) -> list[Any]:
    """Return frames without one that is lower than both beside it.

    On a busy machine, two updates that the kernel sends one directly after the other can come in different frames.
    """
    heights = [height for height, _, _ in frames]
    beside = zip(heights, heights[1:], heights[2:], strict=False)
    dip = next((at for at, (before, low, after) in enumerate(beside, 1) if min(before, after) - low > PIXEL), None)
    return frames if dip is None else frames[:dip] + frames[dip + 1 :]


def check_frames(frames: list[Any]) -> None:
    """Fail if the output shrinks, if a block moves once it is there, or if a frame with text does not say it grows."""
    # A busy machine draws a tenth of what a quiet one does.
    assert len(frames) > 10
    heights = [height for height, _, _ in frames]
    assert max(before - after for before, after in pairwise(heights)) <= PIXEL, heights
    moved = {
        (name, place, dict(after)[name])
        for (_, before, _), (_, after, _) in pairwise(frames)
        for name, place in before
        if name in dict(after) and abs(dict(after)[name] - place) > PIXEL
    }
    assert moved == set()
    texts = [text for _, _, text in frames if "Residuals" in text and "118 tokens" not in text]
    assert texts
    assert [text for text in texts if GROWS not in text] == []


SHARED_OUTPUTS_HOLD = """
([number, texts]) => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[number];
    const shown = JSON.stringify(cell.model.sharedModel.getOutputs());
    return texts.every(text => shown.includes(text));
}
"""
# In an environment of its own: where it is installed, JupyterLab keeps all documents in it.
COLLABORATION = "jupyter-collaboration==5.0.4"


@pytest.fixture
def shared_server(running_hosts: Wandb, tmp_path: Path) -> Iterator[JupyterServer]:
    """A server whose notebooks several pages edit together."""
    python = tool_environment(COLLABORATION, "jupyterlab") / "python"
    work = tmp_path / "work"
    work.mkdir()
    environment = clean_environment(tmp_path) | running_hosts.environment | {"WANDB_API_KEY": "a-key-of-the-tests"}
    with JupyterServer(work, environment).running(python) as running:
        yield running


def expect_shared(page: Page, *texts: str) -> None:
    """Wait until what a page has received of the growing cell holds these texts.

    What it shows may differ while the reply grows: a page that does not run the cell applies some of the changes in a
    wrong order (JupyterLab 4.6: its document is right, its outputs are not). It is right again at the end.
    """
    page.wait_for_function(SHARED_OUTPUTS_HOLD, arg=[1, texts])


def test_two_pages_end_with_the_same_output_and_a_reloaded_one_says_that_it_grew(
    shared_server: JupyterServer, wandb_hosts: Wandb, browser: Browser
) -> None:
    name = "together.ipynb"
    first, second = (browser.new_context().new_page() for _ in range(2))
    cells = ["%load_ext wandb_inference_magic", "%wbchat Hello", "%wbthread --show"]
    lab = Lab.open(shared_server, first, name, cells)
    second.set_default_timeout(PATIENCE_MS)
    second.goto(f"{shared_server.url}/doc/tree/{name}?token={TOKEN}")
    other = Lab(shared_server, second, name)
    lab.run(0)
    # The second page is open, and gets what the first one does.
    other.wait_until_run(0)
    gate = Event()
    wandb_hosts.api.always = Streamed(pieces(ANSWER), gate=gate, hold_after=40, per_second=60)
    lab.run(1, wait=False)
    expect(lab.cell(1)).to_contain_text("Fit the model.")
    expect(lab.cell(1)).to_contain_text(GROWS)
    expect_shared(second, "Fit the model.", GROWS)
    gate.set()
    for one in (lab, other):
        expect(one.cell(1)).to_contain_text("12 + 3 tokens")
        expect(one.output(1)).to_have_count(1)
        expect(one.cell(1)).not_to_contain_text(GROWS)
    assert lab.output(1).inner_text() == other.output(1).inner_text()

    # The page that runs the cell is reloaded while the reply grows.
    gate = Event()
    wandb_hosts.api.always = Streamed(pieces(ANSWER), gate=gate, hold_after=40, per_second=60)
    lab.run(1, wait=False)
    expect(other.cell(1)).not_to_contain_text("12 + 3 tokens")
    # All that comes before the gate: a page that is reloaded between two drawings has half of one.
    expect(lab.cell(1)).to_contain_text("Between two lists.")
    expect(lab.cell(1)).to_contain_text(GROWS)
    expect_shared(second, "Between two lists.", GROWS)
    first.reload()
    first.locator(".jp-Notebook .jp-Cell").first.wait_for()
    expect(lab.cell(1)).to_contain_text("Fit the model.")
    expect(lab.cell(1)).to_contain_text(GROWS)
    expect_shared(second, "Fit the model.", GROWS)
    keep_screenshot(first, "reloaded")
    gate.set()
    lab.run(2)
    for one in (lab, other):
        expect(one.cell(2)).to_contain_text("The last words.")
    expect(lab.cell(1)).to_contain_text(GROWS)
    expect_shared(second, GROWS)
    for page in (first, second):
        page.context.close()
