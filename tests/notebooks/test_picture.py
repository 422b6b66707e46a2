"""The moving picture of the README, recorded from Notebook 7.

`WRITE_PICTURES=1 uv run pytest tests/notebooks/test_picture.py` records it at the pace of a person. Otherwise it is
made quickly and thrown away.
"""

from __future__ import annotations

import base64
import io
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import FRONT_ENDS, JupyterServer, Lab
from PIL import Image, ImageChops
from playwright.sync_api import expect
from service import Streamed, Wandb, usage

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

TARGET = Path(__file__).parent.parent.parent / "examples" / "wbchat.gif"
MAX_BYTES = 1_500_000
LAST_FRAME_MS = 3000
CELL = "%%wbchat -t 0.2\nWhat is a median, and why use it?"
ANSWER = (
    "The **median** of a sample is its middle value: half of the data lie below it.\n\n"
    "- It is *robust*: an outlier hardly moves it.\n"
    "- For an even $n$ it is $(x_{n/2} + x_{n/2+1})/2$ of the sorted values.\n\n"
    '```python\ndf["price"].median()\n```\n\n'
    "| statistic | moved by one outlier |\n|---|---|\n| mean | much |\n| median | hardly |\n"
)


@pytest.mark.parametrize("path", [FRONT_ENDS["notebook"]], ids=["notebook"])
def test_a_chat_is_recorded_as_a_moving_picture(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str, tmp_path: Path
) -> None:
    is_kept = bool(os.environ.get("WRITE_PICTURES"))
    words = [f"{word} " for word in ANSWER.split(" ")]
    wandb_hosts.api.always = Streamed(words, per_second=14 if is_kept else 60, counted=usage(31, 118))
    page.set_viewport_size({"width": 820, "height": 660})
    lab = Lab.open(server, page, "picture.ipynb", ["%load_ext wandb_inference_magic", ""], path=path)
    lab.run(0)
    frames: list[tuple[float, bytes]] = []
    session = page.context.new_cdp_session(page)

    def keep(event: dict[str, Any]) -> None:
        frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    session.on("Page.screencastFrame", keep)
    session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 2})
    lab.cell(1).locator(".cm-content").click()
    page.keyboard.type(CELL, delay=40 if is_kept else 2)
    page.keyboard.press("Shift+Enter")
    lab.wait_until_run(1)
    expect(lab.output(1)).to_contain_text("31 + 118 tokens")
    page.screenshot(path=tmp_path / "last.png")
    session.send("Page.stopScreencast")
    target = TARGET if is_kept else tmp_path / TARGET.name
    write_gif(frames, tmp_path / "last.png", target)
    assert len(frames) > 4
    assert target.stat().st_size < MAX_BYTES
    with Image.open(target) as picture:
        assert picture.n_frames > 4  # type: ignore[attr-defined]


def write_gif(frames: list[tuple[float, bytes]], last: Path, target: Path) -> None:
    """Write the frames that differ, each as long as it was shown, at most ten a second."""
    kept: list[Image.Image] = []
    times: list[float] = []
    for at, data in frames:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if kept and (at - times[-1] < 0.1 or not ImageChops.difference(image, kept[-1]).getbbox()):
            continue
        kept.append(image)
        times.append(at)
    final = Image.open(last).convert("RGB")
    palette = final.quantize(48)
    pictures = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in [*kept, final]]
    shown = [round(1000 * (after - at)) for at, after in pairwise(times)]
    durations = [*(max(50, min(each, 1000)) for each in shown), 100, LAST_FRAME_MS]
    pictures[0].save(target, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
