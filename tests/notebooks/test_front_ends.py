"""JupyterLab and Notebook 7, light and dark, wide and narrow: what a person sees during and after a reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import axe_playwright_python
import pytest
from browser import FRONT_ENDS, JupyterServer, KeptPages, Lab, keep_screenshot
from known_models import MODELS
from playwright.sync_api import Page, expect
from service import Endless, Streamed, Wandb, pieces, usage

pytestmark = pytest.mark.browser

LOOKS = [
    ("lab", "Light", 1200),
    ("lab", "Dark", 480),
    ("notebook", "Dark", 1200),
    ("notebook", "Light", 480),
]
# A wide table in a narrow window scrolls in a box of the front end. So does the user's own Markdown.
JUPYTERS_OWN = ("scrollable-region-focusable",)
LINE = 40  # pixels: a line of text, or the space around a block

ANSWER = """\
## Residuals

A residual is $y - \\hat{y}$: what is **left over** when the model has said what it knows. In display:

$$
r_i = y_i - \\hat{y}_i
$$

1. Fit the model.
2. Plot the *residuals* against the fitted values, with `plt.scatter`.
3. Look for a pattern: there should be none.

```python
residuals = y - model.predict(X)
plt.scatter(model.predict(X), residuals, alpha=0.3, label="a long line that a narrow window cannot hold")
```

| model | R² | remark |
|---|---:|---|
| linear | 0.71 | a pattern is left |
| tree | 0.93 | none |

> The residuals tell what the model does not know.
"""

CELLS = [
    "%load_ext wandb_inference_magic",
    "%%wbchat --once\nWhat are residuals?",
    "%wbchat --once hi",
    f"%%wbchat --once -m {MODELS[0]} -m {MODELS[1]}\nWhat are residuals?",
    "%wbmodels --table",
    "%wbmodels",
]
_, GROWING, THOUGHT, COMPARED, TABLE, PICKER = range(len(CELLS))

# The blocks of a rendered text in a page, with their words.
BLOCKS = """
root => [...root.querySelectorAll('h2, p, li, pre, th, td, blockquote, mjx-container')]
    .filter(one => !one.closest('details') && !one.querySelector('small') && !one.closest('small'))
    .map(one => one.tagName + ' ' + (one.tagName.startsWith('MJX') ? '' : one.textContent.trim().replace(/\\s+/g, ' ')))
"""
# The height of the cell's output and the scroll position of the page in each frame, without code: JupyterLab empties
# a code block while it highlights it, for several frames on a busy machine, also in the user's own Markdown.
WATCH = """
cell => {
    window.seen = [];
    const scroller = document.querySelector('.jp-WindowedPanel-outer') || document.querySelector('.jp-Notebook');
    const look = () => {
        const area = document.querySelectorAll('.jp-Notebook .jp-Cell')[cell].querySelector('.jp-OutputArea');
        const tall = (sum, one) => sum + one.getBoundingClientRect().height;
        const code = area ? [...area.querySelectorAll('pre')].reduce(tall, 0) : 0;
        const height = area ? area.getBoundingClientRect().height - code : 0;
        const last = area ? [...area.querySelectorAll('small')].pop() : null;
        const hasFooter = last && last.textContent.includes('tokens') ? 1 : 0;
        window.seen.push([height, scroller ? scroller.scrollTop : 0, hasFooter]);
        window.watching = requestAnimationFrame(look);
    };
    look();
}
"""


@dataclass(frozen=True)
class Look:
    """An open notebook. `name` is its front end, theme and width, `width` the width of the window in pixels."""

    lab: Lab
    name: str
    width: int


@pytest.fixture(scope="module")
def looks() -> dict[str, Look]:
    """The looks that tests have opened, by name."""
    return {}


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: "-".join(map(str, look)))
def chosen(request: pytest.FixtureRequest) -> tuple[str, str, int]:
    """One of LOOKS. Tests of the same one run one after the other."""
    front_end, theme, width = request.param
    return front_end, theme, width


@pytest.fixture
def look(
    request: pytest.FixtureRequest,
    server: JupyterServer,
    kept_pages: KeptPages,
    looks: dict[str, Look],
    chosen: tuple[str, str, int],
) -> Iterator[Look]:
    """A notebook open in a front end, with a theme and a width, without outputs. Each test runs its own cells in it.

    It is opened again where another test has opened its own in the page.
    """
    front_end, theme, width = chosen
    name = f"{front_end}-{theme.lower()}-{width}"
    path = FRONT_ENDS[front_end]
    failed_before = request.session.testsfailed
    page = kept_pages.page(path)
    page.set_viewport_size({"width": width, "height": 1100})
    if name not in looks or not looks[name].lab.is_open():
        lab = Lab.open(server, page, f"{name}.ipynb", CELLS, markdown=ANSWER, path=path, theme=f"JupyterLab {theme}")
        lab.run(0)
        looks[name] = Look(lab, name, width)
    looks[name].lab.clear_outputs()
    yield looks[name]
    kept_pages.leave(path, failed=request.session.testsfailed > failed_before)


def test_a_reply_grows_without_jumps_and_ends_like_a_markdown_cell(wandb_hosts: Wandb, look: Look) -> None:
    lab, page = look.lab, look.lab.page
    wandb_hosts.api.always = Streamed(
        pieces(ANSWER), per_second=60, counted=usage(31, 118), reasoning=["An example ", "helps."]
    )
    page.evaluate(WATCH, GROWING)
    lab.run(GROWING)
    reply = lab.output(GROWING)
    expect(reply).to_have_count(1)
    expect(reply.locator("small")).to_contain_text("31 + 118 tokens")
    expect(reply.locator("mjx-container").first).to_be_visible()
    page.evaluate("() => cancelAnimationFrame(window.watching)")
    keep_screenshot(page, look.name)

    seen: list[list[float]] = page.evaluate("() => window.seen")
    # The footer ends the reply. A line that says that it grows is in its place before.
    growing = [height for height, _, has_footer in seen if height and not has_footer]
    assert len(set(growing)) > 5, "the output grows while the reply arrives"
    worst = max(before - after for before, after in pairwise(growing))
    where = [round(one) for one in growing]
    assert worst < LINE, f"the growing output shrank by {worst} pixels: {where}"
    last = [height for height, _, _ in seen][-1]
    assert last > growing[-1] - LINE, "the final output is not smaller"
    places = [place for _, place, _ in seen]
    assert max(places) - min(places) < LINE, "the page does not scroll"

    blocks = reply.evaluate(BLOCKS)
    assert blocks == page.locator(".jp-MarkdownCell .jp-MarkdownOutput").evaluate(BLOCKS)
    assert len(blocks) >= 20
    box = reply.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= look.width


def test_reasoning_opens_by_click_and_by_keyboard(wandb_hosts: Wandb, look: Look) -> None:
    wandb_hosts.api.always = Streamed(["42"], reasoning=["Let me think."])
    look.lab.run(THOUGHT)
    folded = look.lab.output(THOUGHT).locator("details")
    thought = folded.get_by_text("Let me think.")
    expect(thought).to_be_hidden()
    folded.locator("summary").click()
    expect(thought).to_be_visible()
    folded.locator("summary").click()
    expect(thought).to_be_hidden()
    folded.locator("summary").focus()
    look.lab.page.keyboard.press("Enter")
    expect(thought).to_be_visible()
    keep_screenshot(look.lab.page, f"reasoning-{look.name}")


def test_outputs_are_accessible(wandb_hosts: Wandb, look: Look) -> None:
    """axe-core finds no serious violation in the reply, the comparison, the table and the picker."""
    lab, page = look.lab, look.lab.page
    wandb_hosts.api.always = Streamed([ANSWER], reasoning=["Let me think."])
    for number in (GROWING, COMPARED, TABLE, PICKER):
        lab.run(number)
    picker = lab.cell(PICKER).locator(".wb-models-root")
    picker.get_by_role("combobox", name="Model").click()
    expect(picker.get_by_role("option")).to_have_count(len(MODELS))
    # Prices are not maths.
    expect(lab.output(TABLE)).to_contain_text("0.03 / 0.13")
    expect(lab.output(TABLE).locator("mjx-container")).to_have_count(0)
    page.add_script_tag(path=str(Path(axe_playwright_python.__file__).parent / "axe.min.js"))
    found = page.evaluate("async () => (await axe.run('.jp-OutputArea-output')).violations")
    keep_screenshot(page, f"axe-{look.name}")
    serious = [
        (one["id"], [(node["html"][:150], node["failureSummary"]) for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical") and one["id"] not in JUPYTERS_OWN
    ]
    assert serious == []


def test_the_interrupt_button_keeps_the_partial_reply(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    endless = Endless("Half an answer")
    wandb_hosts.api.then(endless)
    cells = ["%load_ext wandb_inference_magic", "%wbchat --once hi"]
    lab = Lab.open(server, page, f"interrupt-{path.partition('/')[0]}.ipynb", cells, path=path)
    lab.run(0)
    lab.run(1, wait=False)
    expect(lab.cell(1).locator(".jp-OutputArea")).to_contain_text("Half an answer")
    page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name='interrupt']").first.click()
    expect(lab.cell(1).locator(".jp-OutputArea")).to_contain_text("Interrupted.")
    expect(lab.cell(1).locator(".jp-OutputArea")).to_contain_text("incomplete: interrupted")
    assert endless.gone.wait(30), "the connection was not closed"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_saved_notebook_is_complete_without_a_kernel(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, trusted: bool
) -> None:
    wandb_hosts.api.always = Streamed([ANSWER], reasoning=["Let me think."])
    name = f"saved-{trusted}.ipynb"
    lab = Lab.open(server, page, name, ["%load_ext wandb_inference_magic", "%wbchat --once hi", "%wbmodels --table"])
    for number in range(3):
        lab.run(number)
    saved = lab.save()
    if not trusted:
        # As if another tool had written it: this server has signed none of its contents.
        saved["cells"][1]["outputs"][0]["metadata"]["touched"] = True
    lab.close()
    server.end_kernel(name)
    saved["metadata"] = {"kernelspec": {"name": "no-such-kernel", "display_name": "gone", "language": "none"}}
    (server.folder / name).write_text(json.dumps(saved))
    lab.open_again()
    dialog = page.locator(".jp-Dialog")
    expect(dialog.first).to_be_visible()
    page.keyboard.press("Escape")
    reply = lab.output(1)
    expect(reply.locator("h2")).to_contain_text("Residuals")
    expect(reply.locator("mjx-container")).not_to_have_count(0)
    expect(reply.locator("small")).to_contain_text("tokens")
    expect(lab.output(2).locator("table")).to_contain_text(MODELS[0])
