"""Record the cassettes of the examples, and draw their image.

A test fails if an example sends a request that is not recorded.

uv run python tests/record_examples.py            # all of them
uv run python tests/record_examples.py workshop   # one

The real practice model answers the workshop and the examples without a cassette of their own, whose cassettes the
documentation is built with; stand-ins (stand_in.py) answer the others.
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
# The replies to these examples in the documentation.
FOR_THE_PAGES: Final = Path(__file__).parent.parent / "docs" / "cassettes"
LIVE: Final = ("conversations", "labelling", "quickstart")
REPLAY, RECORD = "--mode replay", "--mode record"
# The address of the stand-ins in the cassettes. RFC 2606 reserves the name, so no host can have it.
STAND_IN_URL: Final = "https://stand-in.example/v1"


@contextmanager
def stand_ins() -> Iterator[tuple[dict[str, str], str]]:
    """Serve the stand-ins. Yield the environment variables that point to them, and their address."""
    with StandIn().running() as service:
        yield {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": QUICK}, service.url


@contextmanager
def practice_model() -> Iterator[tuple[dict[str, str], str]]:
    """Let the practice model answer: it is the endpoint if no variable is set."""
    yield {}, ""


# The cassettes whose names are not those of their notebooks, because only the first cells are answered from them.
CASSETTES: Final = {"quickstart": "quickstart-example.jsonl"}
RESET: Final = "%wbconfig --reset"
RECORDED: Final[dict[str, Callable[[], Any]]] = {
    "quickstart": stand_ins,
    "exploring": stand_ins,
    "comparing": stand_ins,
    "tools": stand_ins,
    "workshop": practice_model,
    "evaluating": practice_model,
}
# Their rows are asked again by later cells. A cassette in this mode holds each request once.
ASKS_AGAIN: Final = ("evaluating",)


def record(name: str) -> None:
    """Run an example with its cassette in record mode, and keep the file beside it."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if REPLAY in cell.source and "%wbconfig" in cell.source)
    cassette = EXAMPLES / CASSETTES.get(name, f"{name}.jsonl")
    if name in ASKS_AGAIN:
        cassette.unlink(missing_ok=True)
    cell.source = cell.source.replace(REPLAY, "--mode auto" if name in ASKS_AGAIN else RECORD)
    ends = [number for number, cell in enumerate(notebook.cells) if cell.source == RESET]
    notebook.cells[min(ends, default=len(notebook.cells)) :] = []
    with RECORDED[name]() as (variables, url), tempfile.TemporaryDirectory() as home:
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
        client.execute(env=clean_environment(Path(home)) | variables)
    if url:
        cassette.write_text(cassette.read_text(encoding="utf-8").replace(url, STAND_IN_URL), encoding="utf-8")


def record_live(name: str) -> None:
    """Run an example on the practice model, and record it for the documentation."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as home:
        variables = {
            "WANDB_INFERENCE_CASSETTE": f"{FOR_THE_PAGES / name}.jsonl",
            "WANDB_INFERENCE_CASSETTE_MODE": "record",
        }
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
        client.execute(env=clean_environment(Path(home)) | variables)


def draw_rides() -> None:
    """Draw the image that exploring.ipynb sends, with the notebook's own code."""
    import matplotlib as mpl

    mpl.use("agg")
    notebook = nbformat.read(EXAMPLES / "exploring.ipynb", as_version=4)
    namespace: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("import"):
            exec(cell.source, namespace)
    namespace["figure"].savefig(EXAMPLES / "rides.png")


if __name__ == "__main__":
    names = sys.argv[1:] or list(dict.fromkeys([*RECORDED, *LIVE]))
    if "exploring" in names and not (EXAMPLES / "rides.png").exists():
        draw_rides()
    for each in names:
        if each in RECORDED:
            record(each)
        if each in LIVE:
            record_live(each)
