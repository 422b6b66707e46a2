"""`review()` in JupyterLab and Notebook 7, by keyboard."""

from __future__ import annotations

import re

import pytest
from browser import DARK, LIGHT, JupyterServer, Lab, Watch, keep_screenshot
from playwright.sync_api import Page, expect
from service import Answer, Wandb, completion

pytestmark = pytest.mark.browser

# A `+` stands for Shift.
PRESS = """
(one, [key, code]) => one.dispatchEvent(new KeyboardEvent(
    'keydown', {key: key.replace('+', ''), code, shiftKey: key.endsWith('+'), bubbles: true, composed: true}
))
"""
HOSTILE = '<img src="https://evil.example/x" onerror="alert(1)"> bad'
REVIEWS = ["The soup was cold and the waiter rude.", "Never again, though the view is fine.", "Lovely.", "<b>So-so</b>"]
CELLS = [
    "import pandas as pd\nfrom wandb_inference_magic import evaluate\n"
    f"df = pd.DataFrame({{'review': {REVIEWS}, 'label': ['bad', 'good', 'good', 'good']}})\n"
    "found = evaluate(df, '{{ review }}', truth='label', models=['test/a', 'test/b'])",
    "found.review()",
    "print(found.rows['label reviewed'].fillna('-').tolist(), found.reviewed().summary.right.tolist())",
]


def answer(one: Answer) -> None:
    row = REVIEWS.index(one.received.body["messages"][-1]["content"])
    is_first = one.received.body["model"] == "test/a"
    completion([("bad", "good"), ("bad", "bad"), ("good", "good"), (HOSTILE, "mixed")][row][not is_first])(one)


def test_doubtful_truth_is_corrected_by_keyboard(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, watch: Watch, path: str
) -> None:
    wandb_hosts.api.always = answer
    lab = Lab.open(
        server, page, f"review-{path[:3]}.ipynb", CELLS, path=path, theme=DARK if path == "notebooks" else LIGHT
    )
    lab.run(0)
    lab.run(1)
    review = lab.cell(1).locator(".wb-review-root")
    status = review.get_by_role("status")
    expect(status).to_have_text("1 of 3 rows (row 0), 0 decided")
    expect(review).to_have_accessible_name("Review of 3 rows")
    expect(review.get_by_role("button", name="answer 1: good")).to_be_visible()
    expect(review).not_to_contain_text("test/a")
    keep_screenshot(page, f"review-{path[:3]}")

    # The truth stays, an answer is right, back to see it, on, skip. No key is one of the notebook's.
    review.focus()
    page.keyboard.press("T")
    expect(status).to_have_text("2 of 3 rows (row 1), 1 decided")
    # Keys of other layouts are known by their place, but not those of a symbol or another Latin letter.
    for typed, place in ("!+", "Digit1"), ("y", "KeyT"), ("End", "Numpad1"):
        review.evaluate(PRESS, [typed, place])
    expect(status).to_have_text("2 of 3 rows (row 1), 1 decided")
    for typed, place in (
        ("&", "Digit1"),
        ("\u0435", "KeyT"),
        ("\u0661", "Numpad1"),
        ("\uff11", "Digit1"),
        ("\u042b+", "KeyS"),
    ):
        review.evaluate(PRESS, [typed, place])
        expect(status).to_contain_text("3 of 3 rows (row 3)")
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("7")
    page.keyboard.press("1")
    page.keyboard.press("ArrowLeft")
    chosen = review.get_by_role("button", name="answer 1: bad")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    page.emulate_media(forced_colors="active")
    expect(chosen).not_to_have_css("background-color", "rgb(255, 255, 255)")
    page.emulate_media(forced_colors="none")
    for part in review.locator("dt, dd, .wb-review-text").all():
        expect(part).to_have_attribute("dir", "auto")
    expect(review).to_be_focused()
    page.keyboard.press("Enter")
    expect(status).to_have_text("3 of 3 rows (row 3), 2 decided")
    expect(review.locator("img, b")).to_have_count(0)
    expect(review).to_contain_text(HOSTILE)
    keep_screenshot(page, f"review-{path[:3]}-hostile")
    page.set_viewport_size({"width": 700, "height": 900})
    keep_screenshot(page, f"review-{path[:3]}-narrow")
    page.keyboard.press("s")
    expect(status).to_have_text(re.compile("^End of 3 rows: 1 kept, 1 corrected, 1 skipped."))
    # By Tab and Enter too: back, and the answer that is reached.
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(status).to_have_text("3 of 3 rows (row 3), 3 decided")
    page.keyboard.press("2")
    # The kernel has stored it. A click may be handled in another subshell than the cell after it.
    expect(review).not_to_contain_class("wb-review-waiting")
    keep_screenshot(page, f"review-{path[:3]}-end")
    lab.run(2)
    expect(lab.output(2)).to_have_text("['bad', 'bad', '-', 'mixed'] [3, 3]")
    watch.assert_nothing()
    if path != "notebooks":
        saved = lab.save()
        assert "3 rows with an answer that is not label." in str(saved["cells"][1]["outputs"])
        # A restarted kernel: the review says that it has none. In a narrow page the button is in a menu.
        page.set_viewport_size({"width": 1400, "height": 900})
        page.locator("[data-command='notebook:restart-kernel'], [data-jp-item-name='restart']").first.click()
        page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        expect(review).to_contain_text("This review has no kernel: nothing more is stored.")
        expect(review.get_by_role("button", name="Back")).to_be_disabled()
