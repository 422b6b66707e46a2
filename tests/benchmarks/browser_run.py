"""How busy a long reply keeps the page: this package against redrawing the whole text with each token, in one browser.

uv run python tests/benchmarks/browser_run.py [tokens]
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from browser import JupyterServer, Lab, chromium
from environments import clean_environment
from figures import Figure, as_ratio, in_turns
from service import Service, Streamed, listing

if TYPE_CHECKING:
    from playwright.sync_api import Page

PER_SECOND = 200
PARAGRAPH = """\
Of the sample $x_1, \\dots, x_n$ the mean is $\\bar{x} = \\frac{1}{n} \\sum_i x_i$, and half of it is
not worth a thought.

```python
def mean(values):
    return sum(values) / len(values)
```

- one thing that is **bold**
- another thing, in `code`

"""
NAIVE = """
import time
from IPython.display import Markdown, display
handle = display(Markdown(" "), display_id=True)
start, text = time.perf_counter(), ""
for number, piece in enumerate(pieces):
    time.sleep(max(0.0, start + number / {per_second} - time.perf_counter()))
    text += piece
    handle.update(Markdown(text))
"""
WATCH = """
() => {
    window.busy = 0; window.worst = 0; window.frames = 0;
    window.observer = new PerformanceObserver(list => {
        for (const one of list.getEntries()) {
            window.busy += one.duration;
            window.worst = Math.max(window.worst, one.duration);
        }
    });
    window.observer.observe({type: 'longtask'});
    const count = () => { window.frames += 1; window.counting = requestAnimationFrame(count); };
    count();
    window.since = performance.now();
}
"""
REPORT = """
() => {
    cancelAnimationFrame(window.counting);
    const seconds = (performance.now() - window.since) / 1000;
    return {busy: window.busy / 1000, worst: window.worst / 1000, frames: window.frames / seconds, seconds: seconds};
}
"""


def measure_page(lab: Lab, cell: int) -> dict[str, Any]:
    """Run a cell and return how busy the page was during the run and for a second after it."""
    lab.page.evaluate(WATCH)
    lab.run(cell, wait=False)
    # A page that is redrawn with each token freezes for minutes.
    lab.wait_until_run(cell, 600_000)
    lab.page.wait_for_timeout(1000)
    found: dict[str, Any] = lab.page.evaluate(REPORT)
    return found


# The time from the press until the open list is laid out. The time of a frame, which is the same for all, is not in it.
OPEN = """
dropdown => {
    const since = performance.now();
    dropdown.click();
    document.body.getBoundingClientRect();
    return performance.now() - since;
}
"""
FEW = 30


def dropdown(times: int, models: int) -> Figure:
    """Open the picker with this number of models, in turns with one of few."""
    folder = Path(tempfile.mkdtemp())
    (folder / "home").mkdir()
    (folder / "work").mkdir()
    with Service().running() as service:
        environment = clean_environment(folder / "home")
        environment |= {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": "test/model-1"}
        with JupyterServer(folder / "work", environment).running() as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            return dropdown_at(server, page, service, times, models)


def dropdown_at(server: JupyterServer, page: Page, service: Service, times: int, models: int) -> Figure:
    """Do as `dropdown`, at a Jupyter server that runs. `service` is the endpoint of its kernels."""
    from playwright.sync_api import expect

    cells = ["%load_ext wandb_inference_magic", "%wbmodels --refresh", "%wbmodels --refresh"]
    lab = Lab.open(server, page, f"models-{models}.ipynb", cells)
    lab.run(0)

    def opening(cell: int, count: int) -> Callable[[], float]:
        service.listing = listing(*(f"test/model-{number}" for number in range(count)))
        lab.run(cell)
        shown = lab.cell(cell).locator(".wb-models-root").get_by_role("combobox", name="Model")
        shown.wait_for()

        def seconds() -> float:
            # What is not in view is not laid out.
            shown.scroll_into_view_if_needed()
            found = float(shown.evaluate(OPEN)) / 1000
            expect(lab.cell(cell)).to_contain_text(f"{count} of {count}")
            shown.click()
            return found

        return seconds

    ours, few = in_turns(times, opening(1, models), opening(2, FEW))
    return as_ratio(f"opening the picker with {models:,} models", ours * 1000, few * 1000, f"{FEW} models", "ms", 1.5)


def main(tokens: int) -> None:
    pieces = (re.findall(r"\S*\s*", PARAGRAPH) * (tokens // 20))[:tokens]
    folder = Path(tempfile.mkdtemp())
    (folder / "home").mkdir()
    (folder / "work").mkdir()
    with Service().running() as service:
        service.always = Streamed(pieces, per_second=PER_SECOND)
        environment = clean_environment(folder / "home")
        environment |= {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": "test/model-a"}
        cells = ["%load_ext wandb_inference_magic", f"pieces = {pieces!r}", "%%wbchat --once\nGo"]
        cells.append(NAIVE.format(per_second=PER_SECOND))
        with JupyterServer(folder / "work", environment).running() as server, chromium() as browser:
            ours, naive = (
                _in_a_page(server, browser, f"{name}.ipynb", cells, cell) for name, cell in (("a", 2), ("b", 3))
            )
    print(f"A reply of {tokens:,} tokens with code and LaTeX, {PER_SECOND} tokens a second:\n")
    print("| | ours | redrawn whole with each token | ratio |\n|---|---|---|---|")
    for name, label in (
        ("busy", "long tasks, s"),
        ("worst", "the longest, s"),
        ("seconds", "whole, s"),
        ("frames", "frames a second"),
    ):
        ratio = ours[name] / naive[name] if naive[name] else float("nan")
        print(f"| {label} | {ours[name]:.2f} | {naive[name]:.2f} | {ratio:.2f} |")


def _in_a_page(server: JupyterServer, browser: Any, name: str, cells: list[str], cell: int) -> dict[str, Any]:
    page = browser.new_context(viewport={"width": 1000, "height": 900}).new_page()
    lab = Lab.open(server, page, name, cells)
    lab.run(0)
    lab.run(1)
    found = measure_page(lab, cell)
    page.context.close()
    server.end_kernel(name)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500)
