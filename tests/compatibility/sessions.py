"""Shared code of the fixtures' writer and of their test: how a session runs, and what is compared.

A session is a list of steps, and starts with the extension loaded again. A step is a cell, whether its output is
compared, and expressions whose values are. The results are kept with the steps in `expected.json`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernels import Kernel

EXPECTED: Final = "expected.json"
LOAD: Final = "%load_ext wandb_inference_magic"
# As after a restart, but faster.
ANEW: Final = f"%wbconfig --reset\n%unload_ext wandb_inference_magic\n{LOAD}"

# Used in the cells: values, types, tools, and functions that turn a frame into a plain value.
NOTEBOOK: Final = '''\
import json
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
import pandas as pd
from IPython.display import Image
from pydantic import BaseModel, Field
from wandb_inference_magic import InferenceError, chat, client, map_prompts, models

tone, city, record = "kind", "Oslo", {"name": "Ada", "born": 1815, "known for": ["notes", "numbers"]}
picture = Image(filename="square.png")
df = pd.DataFrame({
    "text": ["Good.", 'Grüße, "quoted"\\nand \\\\ more', "odd", "End \\u2028 \\N{PARTY POPPER}"],
    "n": [1, 2, 3, 4],
    "x": [0.5, 1.0, 1e-7, 2.25],
})

@dataclass
class Review:
    label: str
    score: int

class Verdict(BaseModel):
    good: bool
    why: str = Field(description="In a few words.")

def weather(city: str, days: int = 1) -> dict:
    """The weather in a city."""
    return {"city": city, "days": days, "celsius": 21.5}

def broken(x: int):
    """Fail."""
    raise RuntimeError("out of order")

def columns(frame):
    """What the answers have added to the frame."""
    def plain(value):
        if value is None or value is pd.NA or value != value:
            return None
        return json.loads(json.dumps(value, default=lambda one: one.item() if hasattr(one, "item") else str(one)))
    return {name: [plain(one) for one in frame[name].tolist()] for name in frame.columns if name not in df.columns}

def refused(call):
    try:
        call()
    except InferenceError as error:
        return str(error)

def steps(reply):
    return [(step.call.name, step.call.arguments, step.result, step.ok) for step in reply.steps]

def read(name):
    """A file's text; of a page what is seen of it."""
    text = Path(name).read_text(encoding="utf-8")
    return unescape(re.sub(r"(?s)<style>.*?</style>|<[^>]*>", "", text)).split() if name.endswith(".html") else text
'''

# The current date and time, and the duration of a whole map, differ in each run.
_NOW: Final = re.compile(r"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b")
_MAP_SECONDS: Final = re.compile(r"(rows answered[^\n]*?) · \d+\.\d s · ")


def begin(kernel: Kernel, notebook: str) -> None:
    """Load the extension, and run the code that the cells of the sessions use."""
    for cell in (LOAD, notebook):
        run = kernel.run(cell)
        assert run.ok, run.error


def step(cell: str, *values: str, shown: bool = True) -> dict[str, Any]:
    """Return a step. `values` are expressions, evaluated after the cell. An output is compared if `shown` is set."""
    return {"cell": cell, "shown": [] if shown else None, "values": dict.fromkeys(values)}


def run_steps(kernel: Kernel, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run steps and return what a user sees of each: the text of its outputs, its error, its values."""
    results = []
    for one in steps:
        run = kernel.run(one["cell"])
        error = "" if run.ok else run.error
        texts = [output["data"].get("text/plain", "") for output in run.outputs if output["type"] != "error"]
        values = {} if error else {name: kernel.value(name) for name in one["values"]}
        seen = {"shown": _timeless(texts) if one["shown"] is not None else None, "error": error, "values": values}
        # As read from a file, in which a tuple is a list.
        results.append(json.loads(json.dumps(seen)))
    return results


def _timeless(texts: list[str]) -> list[str]:
    return [_NOW.sub("NOW", _MAP_SECONDS.sub(r"\1 · ", text)) for text in texts]
