"""Measure what a job of many rows costs the cells that run meanwhile. Part of `run.py`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import quantiles

from environments import clean_environment
from figures import Figure, as_difference, as_limit
from kernels import Kernel, quick_kernel, running_kernel
from map_run import MODEL, serving

CELLS = 50
CELL = "df.n.head(1000).sum()"
# The moment at which the prompts are rendered, and that at which the cell ends.
WATCH = """
import time
from wandb_inference_magic.batch import PreparedRuns
at = {}
render_all = PreparedRuns.render_all
def watched(self, *given):
    render_all(self, *given)
    at["rendered"] = time.perf_counter()
PreparedRuns.render_all = watched
def ended(*_):
    if "rendered" in at:
        at.setdefault("returned", time.perf_counter())
get_ipython().events.register("post_run_cell", ended)
"""


def figures(rows: int, *, quick: bool = False) -> list[Figure]:
    """Return how long `--bg` takes to return, and how much longer other cells take while the job runs."""
    with tempfile.TemporaryDirectory() as folder, serving() as url:
        variables = {"WANDB_INFERENCE_BASE_URL": url, "WANDB_INFERENCE_MODEL": MODEL}
        start = quick_kernel if quick else running_kernel
        with start(clean_environment(Path(folder)) | variables, Path(folder)) as kernel:
            assert kernel.run(f"%load_ext wandb_inference_magic\nimport pandas as pd\n{WATCH}").ok
            assert kernel.run(f"df = pd.DataFrame({{'n': range({rows})}})\n%wbchat hi").ok
            without = _late(kernel)
            begun = kernel.run("%%wbmap df --bg --no-cache -o job\nIs {{ n }} even?", allow_stdin=True)
            assert begun.ok, begun.error
            beside = _late(kernel)
            assert kernel.value("job.state") == "running", "the job was too short"
            returned = kernel.value("at['returned'] - at['rendered']")
            assert kernel.run("job.cancel()").ok
    return [
        as_limit(f"`--bg` of {rows:,} rows returns, after its prompts are rendered", returned, 0.2),
        as_difference(f"a cell while the job runs, the slowest of 20 of {CELLS}", beside, without, "alone", 0.02),
    ]


def _late(kernel: Kernel) -> float:
    """Return the 95th percentile of the seconds that cells take."""
    taken = []
    for _ in range(CELLS):
        started = time.perf_counter()
        assert kernel.run(CELL).ok
        taken.append(time.perf_counter() - started)
    return quantiles(taken, n=20)[-1]
