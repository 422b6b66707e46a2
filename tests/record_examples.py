"""Record the examples' cassettes, and draw their picture. A test fails where an example asks what is not recorded.

uv run python tests/record_examples.py            # all of them
uv run python tests/record_examples.py workshop   # one

The workshop is answered by the real practice model, the others by hand-written stand-ins (stand_in.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent / "support"))

import nbformat
from environments import clean_environment
from nbclient import NotebookClient
from stand_in import QUICK, StandIn

EXAMPLES: Final = Path(__file__).parent.parent / "examples"
REPLAY, RECORD = "--mode replay", "--mode record"
# Where the stand-ins are said to be. Nobody can be there: RFC 2606 keeps the name free.
STAND_IN_URL: Final = "https://stand-in.example/v1"


@contextmanager
def stand_ins() -> Iterator[tuple[dict[str, str], str]]:
    """Serve the stand-ins; give the variables that lead to them, and their address."""
    with StandIn().running() as service:
        yield {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": QUICK}, service.url


@contextmanager
def practice_model() -> Iterator[tuple[dict[str, str], str]]:
    """Let the practice model answer: it does where nothing is set."""
    yield {}, ""


RECORDED: Final[dict[str, Callable[[], Any]]] = {
    "exploring": stand_ins,
    "comparing": stand_ins,
    "tools": stand_ins,
    "workshop": practice_model,
}


def record(name: str) -> None:
    """Run an example with its cassette set to record, and keep the file beside it."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if REPLAY in cell.source and "%wbconfig" in cell.source)
    cell.source = cell.source.replace(REPLAY, RECORD)
    cassette = EXAMPLES / f"{name}.jsonl"
    with RECORDED[name]() as (variables, url), tempfile.TemporaryDirectory() as home:
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
        client.execute(env=clean_environment(Path(home)) | variables)
    if url:
        cassette.write_text(cassette.read_text(encoding="utf-8").replace(url, STAND_IN_URL), encoding="utf-8")


def draw_rides() -> None:
    """Draw the picture that exploring.ipynb sends, with the notebook's own code."""
    import matplotlib as mpl

    mpl.use("agg")
    notebook = nbformat.read(EXAMPLES / "exploring.ipynb", as_version=4)
    namespace: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("import"):
            exec(cell.source, namespace)
    namespace["figure"].savefig(EXAMPLES / "rides.png")


if __name__ == "__main__":
    names = sys.argv[1:] or list(RECORDED)
    if "exploring" in names and not (EXAMPLES / "rides.png").exists():
        draw_rides()
    for each in names:
        record(each)
