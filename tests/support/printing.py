"""What code prints that runs in the process of the tests."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO


def printed_by(code: str, **names: object) -> list[str]:
    """Run code as a script that has these names, with the session of this process. Return the lines that it prints."""
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(code, "<script>", "exec", dont_inherit=True), {"__name__": "__main__", **names})
    return out.getvalue().splitlines()
