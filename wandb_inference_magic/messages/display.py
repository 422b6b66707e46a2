"""How a Reply shows itself as the value of a cell: a function of a layer above, imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _as_text(reply: Any) -> dict[str, Any]:
    return {"text/plain": reply.text}


# Returns the MIME bundle of a Reply. The package sets it when it is imported.
renderer: Callable[[Any], dict[str, Any]] = _as_text
