"""What is read in both themes: formulas and prices in every place, charts, errors and conversations."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from browser import DARK, LIGHT, JupyterServer, Lab, keep_screenshot
from known_models import MODELS
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page, expect
from service import Streamed, Wandb, pieces, refused, usage

pytestmark = pytest.mark.browser

TEXT = (
    "It costs $5 and $6, or **$7** a [$8 to $9](https://ok.example).\n\n"
    "| a | b |\n|---|---|\n| $1 | $2 |\n\nThe sum \\(a_1 + b_1\\)."
)
# What front ends show of it, without the formula.
MONEY = "It costs $5 and $6, or $7 a $8 to $9."

CELLS = [
    "%load_ext wandb_inference_magic",
    f"%%wbchat\n{TEXT}",
    f"%%wbchat --once --format html\n{TEXT}",
    f"%%wbchat --once --dry-run\n{TEXT}",
    "%wbthread --show",
    f"%wbchat --once -m {MODELS[0]} -m {MODELS[1]} hi",
    "%wbusage",
    "%wbchat this fails",
    "%wbthread --edit 1",
    "%wbthread --undo",
]

# The contrast of an element's text with what is behind it (WCAG 2.2, relative luminance).
CONTRAST = """
node => {
    const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
    const over = (top, below) => {
        const [r, g, b, a = 1] = top;
        return [r, g, b].map((one, index) => a * one + (1 - a) * below[index]);
    };
    const luminance = colour => {
        const parts = colour.map(one => one / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(rgb(getComputedStyle(one).backgroundColor));
    const behind = layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    const text = over(rgb(getComputedStyle(node).color), behind);
    const [low, high] = [luminance(text), luminance(behind)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}
"""


def assert_prices_are_text(output: Locator, formulas: int) -> None:
    expect(output).to_contain_text(MONEY)
    expect(output.locator("mjx-container")).to_have_count(formulas)
    # No link without a name.
    assert (
        output.locator("a:not([aria-label])").evaluate_all("all => all.filter(a => !a.textContent.trim()).length") == 0
    )


def test_all_is_readable_in_both_themes(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str, tmp_path: Path
) -> None:
    """Prices stay text and formulas are drawn; bars and errors are seen, in trusted and untrusted outputs."""
    wandb_hosts.api.always = Streamed(pieces(TEXT), per_second=400, counted=usage(31, 118))
    name = f"reading-{path.partition('/')[0]}.ipynb"
    lab = Lab.open(server, page, name, CELLS, path=path)
    for number in range(7):
        lab.run(number)
    wandb_hosts.api.then(refused(400, "The temperature must be below 2, and $5 or $6."))
    lab.run(7)
    lab.run(8)
    expect(lab.cell(9).locator(".cm-content")).to_contain_text("%%wbchat --raw")
    lab.run(10)
    for theme in (LIGHT, DARK):
        lab.set_theme(theme)
        check_outputs(lab)
        lab.page.locator(".jp-Cell").first.scroll_into_view_if_needed()
        keep_screenshot(page, f"reading-{path[:3]}-{theme.split()[-1]}", 1400, 700, height=2600)
    saved = lab.save()
    lab.close()
    server.end_kernel(name)
    server.write_untrusted(name, saved, *range(1, 8))
    lab.open_again()
    for theme in (DARK, LIGHT):
        lab.set_theme(theme)
        assert_has_bars(lab.output(6).nth(1))
    html, _ = HTMLExporter().from_notebook_node(nbformat.reads(json.dumps(saved), as_version=4))
    (tmp_path / "exported.html").write_text(html, encoding="utf-8")
    exported = page.context.new_page()
    exported.goto((tmp_path / "exported.html").as_uri(), wait_until="domcontentloaded")
    expect(exported.locator(".jp-OutputArea-output").first).to_contain_text(MONEY)


def check_outputs(lab: Lab) -> None:
    assert_prices_are_text(lab.output(1), 1)
    assert_prices_are_text(lab.output(2), 1)
    expect(lab.output(3)).to_contain_text(TEXT.splitlines()[0])
    expect(lab.output(3).locator("mjx-container")).to_have_count(0)
    # The prompt and the reply.
    assert_prices_are_text(lab.output(4), 2)
    expect(lab.output(4).get_by_text(MONEY)).to_have_count(2)
    assert_has_bars(lab.output(5).nth(1))
    assert_has_bars(lab.output(6).nth(1))
    error = lab.output(7)
    for line in error.locator(".ansi-bold").all():
        assert line.evaluate(CONTRAST) >= 4.5
    expect(error).to_contain_text("and $5 or $6")
    expect(lab.output(10)).to_contain_text("Undone: 'It costs $5 and $6")
    expect(lab.output(10).locator("mjx-container")).to_have_count(0)


def assert_has_bars(chart: Locator) -> None:
    """Check that a chart has bars of the text's colour, the longest one as wide as it was meant."""
    bars = chart.locator("td div")
    expect(bars.first).to_be_visible()
    widths = bars.evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert max(widths) == 110
    assert bars.first.evaluate("one => getComputedStyle(one).borderTopColor === getComputedStyle(one).color")
    assert bars.first.evaluate("one => parseFloat(getComputedStyle(one).borderTopWidth)") >= 3
