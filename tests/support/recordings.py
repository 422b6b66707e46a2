"""Kernels that record and replay, and the files that they write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kernels import Kernel

from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of

LOAD = "%load_ext wandb_inference_magic"


def shown(kernel: Kernel, *cells: str) -> list[Any]:
    """Return what a saved notebook would contain for each cell, including execution errors."""
    runs = [kernel.run(cell) for cell in cells]
    parts = ("data", "metadata", "text")
    outputs = [[{name: output.get(name) for name in parts} for output in run.outputs] for run in runs]
    # The line of a map shows how long the whole map took.
    text = json.dumps(outputs, ensure_ascii=False)
    timeless = json.loads(re.sub(r"(rows answered[^\n]*?) · \d+\.\d s · ", r"\1 · ", text))
    return list(zip(timeless, ["" if run.ok else run.error for run in runs], strict=True))


def record(kernel: Kernel, *cells: str, file: str = "class.jsonl", mode: str = "record") -> list[Any]:
    assert kernel.run(f"%wbconfig --cassette {file} --mode {mode}").ok
    return shown(kernel, *cells)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


GOOD = json.loads(line_of(Exchange("http://127.0.0.1:9/v1", "/chat/completions", {"n": 1}, 0.1, {"data": []})))


def changed_line(**members: Any) -> str:
    """Return the valid line with other members. `reply_NAME` is a member of its reply."""
    reply = {**GOOD["reply"], **{name[6:]: one for name, one in members.items() if name.startswith("reply_")}}
    return json.dumps({**GOOD, "reply": reply, **{name: one for name, one in members.items() if "reply_" not in name}})


def take_requests(path: Path, *requests: dict[str, Any]) -> None:
    lines = [line_of(Exchange("wandb", "/chat/completions", one, 0.1, {"a": one.get("q")})) for one in requests]
    path.write_bytes(HEADER + b"".join(lines))


def take(path: Path, *texts: str) -> None:
    take_requests(path, *({"q": one} for one in texts))
