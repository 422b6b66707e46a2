"""Texts as Pandoc reads them, all in one process: to start one takes longer than to read."""

from __future__ import annotations

import atexit
import json
import subprocess
from functools import cache
from typing import Any

import pypandoc

# One text a line, as JSON, and its document a line. Read as nbconvert does for LaTeX and PDF, except that headings get
# no names.
SCRIPT = """
for line in io.lines() do
  local document = pandoc.read(pandoc.json.decode(line), "markdown-auto_identifiers+tex_math_double_backslash")
  io.stdout:write(pandoc.write(document, "json"), "\\n")
  io.stdout:flush()
end
"""


def as_pandoc_reads(markdown: str) -> dict[str, Any]:
    """Return the document that Pandoc finds in Markdown, with its `blocks` and `meta`."""
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(markdown) + "\n")
    process.stdin.flush()
    document: dict[str, Any] = json.loads(process.stdout.readline())
    return document


@cache
def _process() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [pypandoc.get_pandoc_path(), "lua", "-e", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    atexit.register(process.communicate)
    return process
