"""A job in JupyterLab and Notebook 7: its line grows while other cells run, and a reload loses nothing."""

from __future__ import annotations

from threading import Semaphore

import pytest
from browser import DARK, LIGHT, JupyterServer, Lab, keep_screenshot
from playwright.sync_api import Page, expect
from service import Answer, Wandb, completion, usage

pytestmark = pytest.mark.browser

ROWS = "import pandas as pd\ndf = pd.DataFrame({'n': range(40)})"
CELLS = [
    "%load_ext wandb_inference_magic",
    ROWS,
    "%%wbmap df --bg -o labelled --no-cache\nWhat is {{ n }}?",
    "1 + 1",
    "%wbjobs 1",
    "%wbjobs",
    "%%wbmap df --bg -o again --no-cache\nWhat is {{ n }}?",
    # It holds the kernel until the button was pressed.
    "while not again.is_over: again.join(60)",
]


class Counted:
    """Answers as many requests as are released."""

    def __init__(self) -> None:
        self._left = Semaphore(0)

    def __call__(self, one: Answer) -> None:
        if self._left.acquire(timeout=60):
            completion("A number.", counted=usage(12, 3))(one)

    def release(self, number: int) -> None:
        self._left.release(number)


def test_the_line_of_a_job_grows_beside_other_cells_and_after_a_reload(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    is_lab = path == "doc/tree"
    wandb_hosts.api.always = counted = Counted()
    page.set_viewport_size({"width": 1400, "height": 900})
    name = f"jobs-{is_lab}.ipynb"
    lab = Lab.open(server, page, name, CELLS, path=path, theme=DARK if is_lab else LIGHT)
    for number in range(3):
        lab.run(number)
    stop = lab.cell(2).get_by_role("button", name="Stop job 1: %%wbmap df")
    expect(stop).to_be_enabled()
    expect(lab.cell(2)).to_contain_text("running")
    counted.release(10)
    lab.run(3)
    expect(lab.cell(3)).to_contain_text("2")
    expect(lab.cell(2)).to_contain_text("10 of 40")
    lab.run(5)
    for width in (1400, 700):
        page.set_viewport_size({"width": width, "height": 900})
        keep_screenshot(page, f"job-{is_lab}-{width}")
    lab.save()
    # The page is reloaded in mid-job.
    page.reload()
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    lab.wait_for_kernel()
    expect(lab.cell(2)).to_contain_text("10 of 40")
    counted.release(10)
    # The line of the page before is above the one that goes on.
    expect(lab.cell(2)).to_contain_text("20 of 40")
    keep_screenshot(page, f"job-reloaded-{is_lab}")
    lab.run(4, wait=False)
    expect(lab.cell(4)).to_contain_text("20 of 40")
    keep_screenshot(page, f"job-followed-{is_lab}")
    counted.release(20)
    lab.wait_until_run(4)
    expect(lab.cell(4)).to_contain_text("40 of 40 rows answered, in labelled.frame()")
    expect(lab.cell(2)).to_contain_text("done · 40 of 40")
    expect(lab.cell(2).get_by_role("button", name="Stop")).to_have_count(0)
    keep_screenshot(page, f"job-ended-{is_lab}")
    # The button ends a job while another cell waits for it.
    lab.run(6)
    counted.release(5)
    expect(lab.cell(6)).to_contain_text("5 of 40")
    lab.run(7, wait=False)
    lab.cell(6).get_by_role("button", name="Stop").press("Enter")
    lab.wait_until_run(7)
    expect(lab.cell(6)).to_contain_text("5 of 40 rows answered, in again.frame()")
    expect(lab.cell(6).get_by_role("button")).to_have_count(0)
    # The keyboard goes on at the line of the job.
    expect(lab.cell(6).locator(":focus")).to_contain_text("5 of 40 rows answered")
    keep_screenshot(page, f"job-stopped-{is_lab}")
    lab.save()
    # Closed, and opened again: with the kernel, and without it.
    for is_ended in (False, True):
        lab.close()
        if is_ended:
            server.end_kernel(name)
        lab.open_again()
        expect(lab.cell(6)).to_contain_text("5 of 40 rows answered, in again.frame()")
        expect(lab.cell(6)).not_to_contain_text("Error displaying widget")
        expect(lab.cell(4)).to_contain_text("40 of 40 rows answered")
        keep_screenshot(page, f"job-opened-again-{is_ended}-{is_lab}")
