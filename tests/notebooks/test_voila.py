"""Voila: a notebook served as a page whose buttons chat, each into its own output."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from browser import PATIENCE_MS, keep_screenshot, running_voila
from environments import clean_environment
from playwright.sync_api import Page, expect
from service import Streamed, Wandb

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext wandb_inference_magic",
    "%%wbchat --once\nWhat is this?",
    """\
import ipywidgets
def asking(name):
    button, output = ipywidgets.Button(description=f'Ask {name}'), ipywidgets.Output()
    @output.capture()
    def clicked(button):
        get_ipython().run_line_magic('wbchat', f'--once Hi')
    button.on_click(clicked)
    return ipywidgets.VBox([button, output])
ipywidgets.VBox([asking('one'), asking('two')])""",
]


def test_a_page_shows_replies_and_its_buttons_chat(wandb: Wandb, new_page: Page, tmp_path: Path) -> None:
    # The page of JupyterLab stays open for other tests.
    page = new_page
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    folder = tmp_path / "work"
    folder.mkdir()
    nbformat.write(notebook, folder / "page.ipynb")
    wandb.api.always = Streamed(["# A reply\n\n", "with **words**."])
    environment = clean_environment(tmp_path) | wandb.environment | {"WANDB_API_KEY": "a-key"}
    page.set_default_timeout(PATIENCE_MS)
    with running_voila(folder, "page.ipynb", environment) as address:
        page.goto(address)
        expect(page.locator("h1")).to_contain_text("A reply", timeout=PATIENCE_MS)
        expect(page.locator("strong")).to_have_text("words")
        expect(page.locator("small")).to_contain_text("12 + 3 tokens")
        for name in ("one", "two"):
            wandb.api.always = Streamed([f"I am *{name}*."])
            page.get_by_role("button", name=f"Ask {name}").click()
            expect(page.locator("em").filter(has_text=name)).to_be_visible(timeout=60_000)
        expect(page.locator("em")).to_have_count(2)
        keep_screenshot(page, "voila")
